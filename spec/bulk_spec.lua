-- client:bulk: what becomes of each input. (Journals: bulk_journal_spec; the simulator and loops: bulk_job_spec.)
local assoc = require "hubspot_assoc"
local bulk_server = require "spec.support.bulk_server"
local core = require "hubspot_assoc.core"

local unpack = table.unpack or unpack -- luacheck: ignore
local pair, pairs_of, status = bulk_server.pair, bulk_server.pairs, bulk_server.status

local outcomes -- of the job, by index

local function note(outcome)
  assert(not outcomes[outcome.index], "told twice of " .. outcome.index)
  outcomes[outcome.index] = outcome
end

local function begin(server, options, client_options, name)
  outcomes = {}
  local all = { on_outcome = note }
  for key, value in pairs(options or {}) do all[key] = value end
  return server.client(client_options):bulk(name or "associate_default", "contacts", "companies", all)
end

local function statuses()
  local list = {}
  for i = 1, #outcomes do list[i] = outcomes[i].status end
  return table.concat(list, " ")
end

local function counts(summary)
  return { summary.done, summary.failed, summary.unknown, summary.left, summary.skipped }
end

local limit_at = 0
local function limit(type_id)
  limit_at = limit_at + 1
  return { category = "USER_DEFINED", typeId = type_id or limit_at, maxToObjectIds = 5 }
end

describe("client:bulk", function()
  it("works in a finalizer, where Lua 5.4's collector tells nothing", function()
    local job, summary = begin(bulk_server.new(), nil, { io_thread = false }), nil
    local function finalize() summary = job:run(pairs_of(3)) end
    if rawget(_G, "newproxy") then
      getmetatable(newproxy(true)).__gc = finalize -- luacheck: ignore
    else
      setmetatable({}, { __gc = finalize })
    end
    collectgarbage()
    collectgarbage()
    assert.same({ 3, 0, 0, 0, 0 }, counts(summary))
  end)

  it("gives each input its outcome", function()
    local server = bulk_server.new { fails = function(input) return input.from.id == "3" and "bad luck" end }
    local job = begin(server, { batch_size = 2 })
    local inputs = pairs_of(5)
    for i, input in ipairs(inputs) do assert.is_true(job:add(input, "row " .. i)) end
    local summary, errors = job:finish()
    assert.equal("done done failed done done", statuses())
    for i, outcome in ipairs(outcomes) do
      assert.equal(i, outcome.index)
      assert.equal("row " .. i, outcome.tag)
      assert.equal(inputs[i], outcome.input)
      if i == 3 then
        assert.same({ nil, "bad luck", 3, "api" }, { outcome.result, outcome.error.message, outcome.error.index,
          outcome.error.kind })
      else
        assert.same({ tostring(i), i, nil }, { outcome.result.from.id, outcome.result.index, outcome.error })
      end
    end
    assert.same({ 4, 1, 0, 0, 0 }, counts(summary))
    assert.same({ 5, 3 }, { summary.added, summary.requests })
    assert.is_true(summary.seconds >= 0 and summary.rate >= 0)
    assert.equal(1, #errors)
    assert.matches("bad luck", tostring(errors))
    assert.is_false(pcall(assoc.check, summary, errors))
  end)

  it("returns no errors where each input is done", function()
    local summary, errors = begin(bulk_server.new()):run(pairs_of(3))
    assert.same({ 3, 0, 0, 0, 0 }, counts(summary))
    assert.is_nil(errors)
    assert.is_true(assoc.check(summary, errors).done == 3)
  end)

  it("does nothing where there are no inputs", function()
    local server = bulk_server.new()
    local summary, errors = begin(server):finish()
    assert.same({ 0, 0, 0, 0, 0 }, counts(summary))
    assert.same({ 0, nil }, { #server.sizes, errors })
  end)

  for name, input in pairs {
    associate = { from = { id = 1 }, to = { id = 2 },
      types = { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } } },
    associate_default = pair(1, 2),
    archive = { from = { id = 1 }, to = { { id = 2 }, { id = 3 } } },
    archive_labels = { from = { id = 1 }, to = { id = 2 },
      types = { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } } },
    batch_update = limit(), batch_create = limit(), batch_purge = { category = "USER_DEFINED", typeId = 3 },
  } do
    it("does " .. name, function()
      local server = bulk_server.new()
      local summary, errors = begin(server, nil, nil, name):run { input }
      assert.same({ 1, nil }, { summary.done, errors })
      assert.equal(input, outcomes[1].input)
      assert.equal(name:find "archive" == nil and name:find "purge" == nil, outcomes[1].result ~= nil)
      for _, times in pairs(server.applied) do assert.equal(1, times) end
    end)
  end

  it("takes a list, a function, or a table that can be called", function()
    local i = 0
    local function next_pair()
      i = i + 1
      if i <= 3 then return pair(i), "tag " .. i end
    end
    assert.equal(3, begin(bulk_server.new()):run(next_pair).done)
    assert.equal("tag 2", outcomes[2].tag)
    i = 0
    assert.equal(3, begin(bulk_server.new()):run(setmetatable({}, { __call = next_pair })).done)
    assert.error_matches(function() begin(bulk_server.new()):run "x" end,
      "bad argument #1 to 'run' %(list or function expected, got string%)")
  end)

  it("loses nothing of a list: one with a hole, or a single input, is refused", function()
    local function message(list)
      local job = begin(bulk_server.new())
      return select(2, pcall(function() job:run(list) end)):match "bulk_spec.lua:%d+: (.*)"
    end
    assert.equal("bad argument #1 to 'run' (a list without holes expected, it has nil at 2)",
      message { pair(1), nil, pair(3) })
    assert.matches("^bad argument #1 to 'run' %(list or function expected, got a table with the key '",
      message(pair(1)))
    assert.equal("bad argument #1 to 'run' (list or function expected, got nil)", message(nil))
    local job = begin(bulk_server.new())
    job:finish()
    assert.matches("^[^:]*bulk_spec.lua:%d+: 'run' cannot be called after finish", -- who called it, not the library
      select(2, pcall(function() job:run { pair(1) } end)))
  end)

  it("sends no more inputs a request than HubSpot takes, whatever batch_size says", function()
    local server = bulk_server.new()
    local summary = begin(server, { batch_size = 5000 }, nil, "archive"):run(function()
      limit_at = limit_at + 1
      if limit_at % 251 ~= 0 then return { from = { id = limit_at }, to = { { id = 1 } } } end
    end)
    assert.is_true(#server.sizes > 0)
    local all = 0
    for _, size in ipairs(server.sizes) do
      all = all + size
      assert.is_true(size <= 100)
    end
    assert.equal(summary.done, all)
  end)

  it("keeps so many requests under way, and makes add wait", function()
    local under_way, most, asked = 0, 0, 0
    local server
    server = bulk_server.new { on_request = function()
      under_way = under_way + 1
      most = math.max(most, under_way)
      coroutine.yield()
      under_way = under_way - 1
    end }
    -- A loop of one's own: what waits is resumed in turn.
    local waiting, spawned = {}, {}
    local loop = {
      watch = function() return function() end end,
      suspend = function(start)
        start(function() end)
        waiting[#waiting + 1] = coroutine.running()
        coroutine.yield()
      end,
      spawn = function(fn, ...)
        local thread = coroutine.create(fn)
        assert(coroutine.resume(thread, ...))
        spawned[#spawned + 1] = thread
        return true
      end,
    }
    local summary
    local thread = coroutine.create(function()
      local job = begin(server, { batch_size = 2, in_flight = 3 },
        { loop = loop, io_thread = true, skip_waits = false })
      for i = 1, 30 do
        assert(job:add(pair(i)))
        asked = i
        assert.is_true(job:progress().left <= 3 * 2 + 2)
      end
      summary = job:finish()
    end)
    assert(coroutine.resume(thread))
    assert.is_true(asked < 10, "add has not waited") -- three requests are under way, and none has been answered
    while coroutine.status(thread) ~= "dead" do
      local again = spawned
      spawned = {}
      for _, each in ipairs(again) do assert(coroutine.resume(each)) end
      again, waiting = waiting, {}
      for _, each in ipairs(again) do assert(coroutine.resume(each)) end
    end
    assert.same({ 30, 0, 0, 0, 0 }, counts(summary))
    assert.equal(3, most)
  end)

  it("tells of its progress", function()
    local seen = {}
    begin(bulk_server.new(), { batch_size = 2, on_progress = function(progress) seen[#seen + 1] = progress.done end })
      :run(pairs_of(6))
    assert.equal(6, seen[#seen])
    for i = 2, #seen do assert.is_true(seen[i] > seen[i - 1]) end
  end)

  it("is a function of the module, too", function()
    local server = bulk_server.new()
    assoc.configure { access_token = "pat-x", base_url = "http://127.0.0.1:1", transport = server.transport,
      io_thread = false }
    local job = assoc.bulk("associate_default", "contacts", "companies")
    assert.equal(2, job:run(pairs_of(2)).done)
    assert.equal("hubspot_assoc.job", tostring(job))
    assoc.configure()
  end)
end)

describe("wrong arguments of client:bulk raise, and say where:", function()
  local function message_of(...)
    local ok, message = pcall(function(...)
      local client = bulk_server.new().client()
      return client:bulk(...), client
    end, ...)
    assert.is_false(ok)
    assert.matches("spec/bulk_spec.lua:%d+: ", message)
    return (message:gsub("^.-:%d+: ", ""))
  end

  for _, case in ipairs {
    { { "assocate", "a", "b" }, "bad argument #1 to 'bulk' %(one of archive, .* expected, got string \"assocate\"; "
      .. "did you mean 'associate'%?%)" },
    { { "read", "a", "b" }, "bad argument #1 to 'bulk' %(one of archive, archive_labels, associate, " },
    { { nil, "a", "b" }, "bad argument #1 to 'bulk' .*got nil" },
    { { "associate", 5, "b" }, "bad argument #2 to 'bulk' %(from: string expected, got number 5%)" },
    { { "associate", "a", "" }, "bad argument #3 to 'bulk' %(to: must not be empty%)" },
    { { "associate", "a", "b", 5 }, "bad argument #4 to 'bulk' %(options: table expected, got number%)" },
    { { "associate", "a", "b", { in_flight = "x" } },
      "bad argument #4 to 'bulk' %(options.in_flight: integer from 1 to 1000000 expected, got string \"x\"%)" },
    { { "associate", "a", "b", { journal = "" } }, "options.journal: string %(a path%) expected, got string \"\"" },
    { { "associate", "a", "b", { journal = "a\0b" } }, "options.journal: string %(a path%) expected, got string" },
    { { "associate", "a", "b", { in_flight = 0 } },
      "options.in_flight: integer from 1 to 1000000 expected, got number 0" },
    { { "associate", "a", "b", { in_flght = 5 } },
      "bad argument #4 to 'bulk' %(options.in_flght: unknown field; did you mean 'in_flight'%?%)" },
    { { "associate", "a", "b", { batch_size = 1.5 } },
      "options.batch_size: integer from 1 to 1000000 expected, got number 1.5" },
    { { "associate", "a", "b", { deadline = "x" } },
      "bad argument #4 to 'bulk' %(options.deadline: number expected, got string \"x\"%)" },
    { { "associate", "a", "b", { journal = true } }, "options.journal: string %(a path%) expected, got boolean" },
    { { "associate", "a", "b", { isolate = 1 } }, "options.isolate: boolean expected, got number 1" },
    { { "associate", "a", "b", { on_outcome = {} } }, "options.on_outcome: function expected, got table" },
    { { "associate", "a", "b", { give_up_after = -1 } }, "options.give_up_after: seconds from 0 expected" },
  } do
    it(case[2]:sub(1, 70), function()
      assert.matches(case[2], message_of(unpack(case[1], 1, 4)))
    end)
  end

  it("methods without their job, add after finish, tags", function()
    local job = begin(bulk_server.new())
    assert.error_matches(function() job.add(pair(1)) end, "'add' is a method of a job: call it with a colon")
    assert.error_matches(function() job.finish() end, "'finish' is a method of a job")
    for _, tag in ipairs { true, 1.5, {}, 1 / 0 } do
      assert.error_matches(function() job:add(pair(1), tag) end,
        "bad argument #2 to 'add' %(string or integer expected, got ")
    end
    job:finish()
    local _, message = pcall(function() job:add(pair(1)) end)
    assert.matches("^spec/bulk_spec.lua:%d+: 'add' cannot be called after finish", message)
    assert.equal(0, job:finish().added) -- twice is no harm
  end)
end)

describe("a bad input of a bulk job", function()
  it("is a failed outcome, and the others go through", function()
    local server = bulk_server.new()
    local job = begin(server)
    local inputs = { pair(1), { from = { id = "x" }, to = { id = 2 } }, 5, pair(2), { form = { id = 1 } }, {}, "x",
      pair(3), setmetatable({}, { __index = error }) }
    for _, input in ipairs(inputs) do assert.is_true(job:add(input)) end
    assert.is_true(job:add(nil, "none"))
    local summary, errors = job:finish()
    assert.equal("done failed failed done failed failed failed done failed failed", statuses())
    assert.same({ 3 }, server.sizes)
    assert.same({ 3, 7, 0, 0, 0 }, counts(summary))
    assert.equal(7, #errors)
    local error = outcomes[2].error
    assert.same({ "config", 2, 0, false, false }, { error.kind, error.index, error.attempts, error.retryable,
      error.ambiguous })
    assert.matches('from.id: record id .* expected, got string "x"', error.message)
    assert.matches("table expected, got number", outcomes[3].error.message)
    assert.matches("unknown field; did you mean 'from'", outcomes[5].error.message)
    assert.matches("table expected, got nil", outcomes[10].error.message)
  end)

  it("is cheap, be there thousands", function()
    local server = bulk_server.new()
    local job = begin(server)
    for i = 1, 6000 do job:add(i % 2 == 0 and pair(i) or { from = 5 }) end
    assert.same({ 3000, 3000, 0, 0, 0 }, counts(job:finish()))
  end)
end)

describe("which input an error of HubSpot's is about", function()
  local function fails(input) return tonumber(input.from.id) % 7 == 3 and "seven " .. input.from.id end

  local function check(n)
    for i = 1, n do
      assert.equal(i % 7 == 3 and "failed" or "done", outcomes[i].status, i)
      assert.equal(i % 7 == 3 and "seven " .. i or nil, outcomes[i].error and outcomes[i].error.message)
    end
  end

  for _, name in ipairs { "associate_default", "archive_labels" } do
    local function run(server, options)
      local job = begin(server, options, nil, name)
      for i = 1, 100 do
        local input = pair(i)
        input.types = name ~= "associate_default"
          and { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } } or nil
        job:add(input)
      end
      return job:finish()
    end

    it("is found where it names none, " .. name, function()
      local server = bulk_server.new { fails = fails, names = false }
      assert.same({ 86, 14, 0, 0, 0 }, counts(run(server)))
      check(100)
    end)

    it("is found where a bad input has the whole request refused, " .. name, function()
      local server = bulk_server.new { refuses = fails }
      assert.same({ 86, 14, 0, 0, 0 }, counts(run(server)))
      check(100)
      for _, times in pairs(server.applied) do assert.equal(1, times) end
    end)

    it("is not looked for with isolate = false, " .. name, function()
      local server = bulk_server.new { refuses = fails }
      assert.same({ 0, 100, 0, 0, 0 }, counts(run(server, { isolate = false })))
      assert.equal(1, #server.sizes)
      server = bulk_server.new { fails = fails, names = false }
      local summary = run(server, { isolate = false })
      assert.equal(0, summary.left + summary.unknown)
      assert.is_true(summary.failed >= 14)
      assert.equal(1, #server.sizes)
    end)
  end

  it("is found for batch_create, and none is applied twice", function()
    for _, what in ipairs {
      { fails = function(input) return input.typeId % 7 == 3 and "seven" end, names = false },
      { refuses = function(input) return input.typeId % 7 == 3 and "seven" end },
    } do
      local server = bulk_server.new(what)
      local job = begin(server, nil, nil, "batch_create")
      for i = 1, 50 do job:add(limit(i)) end
      assert.same({ 43, 7, 0, 0, 0 }, counts(job:finish()))
      for i = 1, 50 do assert.equal(i % 7 == 3 and "failed" or "done", outcomes[i].status) end
      for _, times in pairs(server.applied) do assert.equal(1, times) end
    end
  end)

  it("is unknown for batch_create where results are missing", function()
    local server = bulk_server.new { on_request = function()
      return bulk_server.refusal(207, { status = "COMPLETE", numErrors = 1, results = {},
        errors = { { status = "error", message = "one of them" } } })
    end }
    local summary, errors = begin(server, nil, nil, "batch_create"):run { limit(), limit(), limit() }
    assert.same({ 0, 0, 3, 0, 0 }, counts(summary))
    assert.equal(1, #server.sizes)
    assert.matches("one of them", tostring(errors))
  end)

  it("is found where results are missing without an error", function()
    local server = bulk_server.new { on_request = function(inputs)
      local results = {}
      for _, input in ipairs(inputs) do
        if input.from.id ~= "2" then results[#results + 1] = { from = input.from, to = input.to } end
      end
      if #results < #inputs then return bulk_server.refusal(200, { status = "COMPLETE", results = results }) end
    end }
    assert.same({ 2, 1, 0, 0, 0 }, counts(begin(server):run(pairs_of(3))))
    assert.equal("done failed done", statuses())
    assert.equal("protocol", outcomes[2].error.kind)
  end)

  it("costs few requests more, be it one or all of them", function()
    local function cost(is_bad)
      local server = bulk_server.new { refuses = function(input) return is_bad(tonumber(input.from.id)) and "no" end }
      local n = 0
      local summary = begin(server, { batch_size = 256 }):run(function()
        n = n + 1
        if n <= 1024 then return pair(n) end
      end)
      for i = 1, 1024 do assert(outcomes[i].status == (is_bad(i) and "failed" or "done"), i) end
      for _, times in pairs(server.applied) do assert.equal(1, times) end
      assert.equal(#server.sizes, summary.requests)
      return #server.sizes
    end
    assert.is_true(cost(function(i) return i == 901 end) <= 4 + 2 * 8)
    assert.is_true(cost(function(i) return i > 256 end) <= 768 * 1.2) -- not two for each
    assert.is_true(cost(function(i) return i % 2 == 0 end) <= 1024 * 1.55)
    assert.is_true(cost(function(i) return i <= 200 end) <= 200 * 1.4) -- the first ones are no sign of the others
  end)

  it("lists a hundred errors at most, and says how many there are", function()
    local server = bulk_server.new { fails = function() return "no" end }
    local summary, errors = begin(server):run(pairs_of(500))
    assert.same({ 0, 500, 0, 0, 0 }, counts(summary))
    assert.equal(101, #errors)
    assert.equal("500 inputs failed; an error that inputs share is listed once, and a hundred at most",
      errors[101].message)
  end)
end)

describe("what must be applied once", function()
  it("is not sent, one input after the other, into an outage: the job holds still, and gives up", function()
    local server = bulk_server.new { on_request = function()
      return bulk_server.refusal(502, { status = "error", message = "broken" })
    end }
    local job = begin(server, { batch_size = 1, give_up_after = 30 }, nil, "batch_create")
    for i = 1, 1000 do
      if not job:add(limit(i)) then break end
    end
    local summary, errors = job:finish()
    assert.is_true(summary.unknown >= 3 and summary.unknown <= 20, summary.unknown .. " unknown")
    assert.equal(summary.unknown, #server.sizes)
    assert.is_true(summary.seconds >= 10, summary.seconds .. " s") -- of a clock that is put forward
    assert.equal(502, errors[1].http_status)
  end)

  it("goes on when the outage is over", function()
    local server = bulk_server.new { on_request = function(_, number)
      return number <= 2 and bulk_server.refusal(502, { status = "error", message = "broken" }) or nil
    end }
    local job = begin(server, { batch_size = 1, in_flight = 1 }, nil, "batch_create")
    for i = 1, 6 do job:add(limit(i)) end
    assert.same({ 4, 0, 2, 0, 0 }, counts(job:finish()))
  end)
end)

describe("inputs that are alike", function()
  it("are never in a request together, nor under way at a time; each has its outcome, in order", function()
    local server = bulk_server.new { on_request = function(inputs)
      local seen = {}
      for _, input in ipairs(inputs) do
        assert(not seen[input.typeId], "twice")
        seen[input.typeId] = true
      end
    end }
    local job = begin(server, { batch_size = 4 }, nil, "batch_update")
    for i = 1, 30 do job:add { category = "USER_DEFINED", typeId = i % 3 + 1, maxToObjectIds = i } end
    assert.same({ 30, 0, 0, 0, 0 }, counts(job:finish()))
    local last = {}
    for _, input in ipairs(server.order) do
      assert.is_true(input.maxToObjectIds > (last[input.typeId] or 0))
      last[input.typeId] = input.maxToObjectIds
    end
    for i = 1, 30 do assert.equal(i, outcomes[i].result.userEnforcedMaxToObjectIds) end
  end)

  it("are known whatever they are written as, and are few in memory", function()
    local server = bulk_server.new()
    local job = begin(server, { batch_size = 10, in_flight = 2 })
    for i = 1, 100 do
      job:add(pair(i % 2 == 0 and 7 or "007", i % 3 == 0 and "08" or 8))
      assert.is_true(job:progress().left <= 2 * 10 + 2 * 10 + 10)
    end
    assert.same({ 100, 0, 0, 0, 0 }, counts(job:finish()))
    for _, size in ipairs(server.sizes) do assert.equal(1, size) end
  end)

  it("go together where they remove: one record's associations with many", function()
    local function remove(what)
      local server = bulk_server.new(what)
      local job = begin(server, nil, nil, "archive")
      for i = 1, 300 do job:add { from = { id = 7 }, to = { { id = i } } } end
      return server, (job:finish())
    end
    local server, summary = remove()
    assert.same({ 300, 0, 0, 0, 0 }, counts(summary))
    assert.same({ 100, 100, 100 }, server.sizes)
    -- An error names the record that all of them have: the one that is meant is found.
    local _, with_one = remove { fails = function(input) return input.to[1].id == "150" and "bad luck" end }
    assert.same({ 299, 1, 0, 0, 0 }, counts(with_one))
    assert.equal("failed", outcomes[150].status)
  end)

  it("that fail leave the next one its chance", function()
    local n = 0
    local server = bulk_server.new { fails = function(input)
      if input.from.id == "1" then n = n + 1 end
      return n == 1 and input.from.id == "1" and "not now"
    end }
    begin(server):run { pair(1), pair(1), pair(2) }
    assert.equal("failed done done", statuses())
  end)
end)

describe("trouble that may pass", function()
  for what, response in pairs { ["a 503"] = { status(503) }, ["a connection that breaks"] = { "apply", "receive" } } do
    it("is waited out: " .. what, function()
      local server = bulk_server.new { on_request = function(_, n)
        if n <= 6 then return response[1], response[2] end
      end }
      local seen
      local summary = begin(server, { batch_size = 2, on_progress = function(progress)
        seen = seen or progress.trouble and progress
      end }):run(pairs_of(20))
      assert.same({ 20, 0, 0, 0, 0 }, counts(summary))
      assert.is_true(#server.sizes <= 10 + 6)
      assert.is_true(seen.retry_in > 0)
      assert.is_true(seen.trouble.retryable)
    end)
  end

  it("is given up in the end; what was tried has failed, what was not is left", function()
    local server = bulk_server.new { on_request = function() return status(503) end }
    local job = begin(server, { batch_size = 2, in_flight = 3, give_up_after = 60 })
    local n = 0
    repeat n = n + 1 until not job:add(pair(n)) or n > 1000
    assert.is_true(n < 20)
    local summary, errors = job:finish()
    assert.equal(n, summary.failed + summary.left)
    assert.is_true(summary.failed >= 6 and summary.failed <= 8, summary.failed)
    assert.is_true(#server.sizes < 30, #server.sizes) -- with growing pauses
    assert.is_true(#server.sizes > 5)
    assert.matches("the job ended, %d+ inputs are left, and all that it was not given: ", errors[1].message)
    assert.same({ 503, true }, { errors[1].http_status, errors[1].retryable })
  end)

  it("of one request alone does not hold up the others", function()
    local server = bulk_server.new { on_request = function(inputs)
      if inputs[1].from.id == "1" then return status(500) end
    end }
    local summary = begin(server, { batch_size = 2, give_up_after = 100 }):run(pairs_of(100))
    assert.same({ 98, 2, 0, 0, 0 }, counts(summary))
    assert.equal("failed", outcomes[1].status)
  end)

  it("is waited out for as long as HubSpot asks", function()
    local at
    local server = bulk_server.new { on_request = function(_, n)
      if n == 1 then
        at = core.now()
        return status(503, { ["retry-after"] = "40" })
      end
      at = core.now() - at
    end }
    assert.equal(1, begin(server, { deadline = 10 }):run { pair(1) }.done)
    assert.is_true(at >= 40)
  end)

  it("ends the job at once where HubSpot asks for more than give_up_after", function()
    local server = bulk_server.new { on_request = function() return status(477, { ["retry-after"] = "7200" }) end }
    local summary, errors = begin(server, { batch_size = 1 }):run(pairs_of(50))
    assert.equal(0, summary.done)
    assert.is_true(#server.sizes <= 8)
    assert.equal(7200, errors[1].retry_after)
  end)

  it("of batch_create, where an attempt may have been applied, is unknown and is not sent again", function()
    for _, response in ipairs { { status(500) }, { "apply", "receive" }, { "apply", "timeout" } } do
      local server = bulk_server.new { on_request = function(_, n)
        if n == 2 then return response[1], response[2] end
      end }
      local summary = begin(server, { batch_size = 2, in_flight = 1 }, nil, "batch_create"):run {
        limit(), limit(), limit(), limit(), limit() }
      assert.same({ 3, 0, 2, 0, 0 }, counts(summary))
      assert.equal("done done unknown unknown done", statuses())
      assert.is_true(outcomes[3].error.ambiguous)
      for _, times in pairs(server.applied) do assert.equal(1, times) end
    end
  end)

  it("of batch_create, where it surely was not applied, is waited out", function()
    local server = bulk_server.new { on_request = function(_, n)
      if n <= 3 then return nil, "connect" end
    end }
    assert.same({ 2, 0, 0, 0, 0 }, counts(begin(server, nil, nil, "batch_create"):run { limit(), limit() }))
  end)
end)

describe("what ends a job", function()
  local DAILY = { status = 429, headers = {}, body = '{"status":"error","policyName":"DAILY","message":"too many"}' }

  for what, response in pairs { ["a 401"] = status(401), ["a 403"] = status(403), ["a 405"] = status(405),
    ["the daily limit"] = DAILY,
    ["a redirect"] = status(302) } do
    it("leaves the rest for the next one: " .. what, function()
      local server = bulk_server.new { on_request = function(_, n)
        if n > 3 then return response end
      end }
      local job = begin(server, { batch_size = 2, in_flight = 2 })
      local n = 0
      repeat n = n + 1 until not job:add(pair(n)) or n > 100
      local summary, errors = job:finish()
      assert.is_true(n < 20)
      assert.same({ 6, 0, 0, n - 6, 0 }, counts(summary))
      assert.is_true(#server.sizes <= 5)
      assert.equal(response.status, errors[1].http_status)
      assert.matches("the job ended, %d+ inputs are left", tostring(errors))
      assert.equal(response.status, summary.ended.http_status)
    end)
  end

  local function refuse(message)
    return bulk_server.refusal(400, { status = "error", category = "VALIDATION_ERROR", message = message })
  end

  for what, response in pairs { ["a 400"] = refuse "no such type", ["a 404"] = status(404) } do
    it("is a request that HubSpot refuses whatever inputs it has: " .. what, function()
      local now = core.now
      finally(function() core.now = now end)
      local begun_at = now()
      core.now = function() return begun_at end -- inputs come so fast that the job does not look for answers meanwhile
      local server = bulk_server.new { on_request = function() return response end }
      local n = 0
      local summary, errors = begin(server):run(function()
        n = n + 1
        return n <= 100000 and pair(n) or nil
      end)
      assert.is_true(#server.sizes < 100, #server.sizes)
      assert.is_true(n < 20000)
      assert.same({ 0, 0, n }, { summary.done, summary.unknown, summary.failed + summary.left })
      assert.is_true(summary.failed >= 20 and summary.failed <= 25, summary.failed)
      local last = 0
      for index in pairs(outcomes) do last = math.max(last, index) end
      assert.is_true(last > 3000, last) -- they were of all that was under way
      assert.equal(response.status, errors[1].http_status)
      assert.is_nil(errors[1].index)
      assert.matches("the job ended, %d+ inputs are left, .*: all 20 inputs that were sent alone were refused alike, "
        .. "and nothing has gone well: look at from, to and the inputs. HubSpot said: ", errors[1].message)
      assert.matches(response.status == 400 and "no such type" or "HTTP 404", errors[1].message)
    end)
  end

  it("is such a request also in an answer about its inputs", function()
    local server = bulk_server.new { fails = function() return "no" end, names = false }
    local summary = begin(server):run(pairs_of(1000))
    assert.is_true(#server.sizes < 100, #server.sizes)
    assert.same({ 0, 0, 1000 }, { summary.done, summary.unknown, summary.failed + summary.left })
    assert.is_true(summary.failed >= 20 and summary.failed <= 30)
  end)

  it("is such a request with isolate = false, too", function()
    local server = bulk_server.new { on_request = function() return refuse "no" end }
    local summary, errors = begin(server, { isolate = false, batch_size = 2, in_flight = 1 }):run(pairs_of(100))
    assert.equal(20, #server.sizes)
    assert.same({ 0, 40 }, { summary.done, summary.failed })
    assert.matches("all 20 requests were refused alike", errors[1].message)
  end)

  it("is not inputs that are refused each for its own reason, or 20 among others", function()
    local server = bulk_server.new { refuses = function(input) return "no " .. input.from.id end }
    assert.same({ 0, 100, 0, 0, 0 }, counts(begin(server):run(pairs_of(100))))
    server = bulk_server.new { refuses = function(input) return tonumber(input.from.id) <= 60 and "no" end }
    assert.same({ 40, 60, 0, 0, 0 }, counts(begin(server):run(pairs_of(100))))
  end)

  it("is told: what the job was not given any more is not counted", function()
    local server = bulk_server.new { on_request = function(_, n) return n > 1 and status(401) or nil end }
    local job = begin(server, { batch_size = 1, in_flight = 1 })
    local n = 0
    local summary, errors = job:run(function()
      n = n + 1
      return n < 9 and pair(n) or nil
    end)
    assert.same({ 1, 0, summary.added - 1 }, { summary.done, summary.failed, summary.left })
    assert.is_true(summary.added < 8)
    assert.equal(401, summary.ended.http_status)
    assert.matches("and all that it was not given: ", errors[1].message)
    assert.is_nil(begin(bulk_server.new()):run(pairs_of(3)).ended)
  end)

  it("is waited for no longer than for what is under way, though there is more to send", function()
    local jit = rawget(_G, "jit")
    if jit then jit.off() end
    finally(function()
      debug.sethook()
      if jit then jit.on() end
    end)
    local server = bulk_server.new { on_request = function(_, n) return n == 2 and status(401) or nil end }
    local job = begin(server, { batch_size = 1, in_flight = 2 }, { rate = { requests = 1, interval = 1 },
      io_thread = false, skip_waits = true })
    for i = 1, 4 do job:add(pair(i)) end -- one is done, one ends it, one waits for the rate
    debug.sethook(function() error("it goes round and round", 0) end, "", 5000000)
    local summary = job:finish()
    assert.same({ 2, 0, 0, 2, 0 }, counts(summary))
  end)

  it("is a client that is closed", function()
    local client
    local server = bulk_server.new { on_request = function(_, n) if n == 3 then client:close() end end }
    client = server.client()
    local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 1 })
    local summary, errors = job:run(pairs_of(10))
    assert.equal(summary.added, summary.done + summary.left)
    assert.is_true(summary.left > 0)
    assert.is_true(errors[1].kind == "config" or errors[1].kind == "canceled")
  end)

  it("is a token function that fails", function()
    local server = bulk_server.new()
    local summary, errors = begin(server, nil, { access_token = function() return nil, "the vault is shut" end })
      :run(pairs_of(3))
    assert.same({ 0, 0, 0, 3, 0 }, counts(summary))
    assert.matches("the vault is shut", tostring(errors))
  end)
end)

describe("an error in the functions of a bulk job", function()
  it("comes out of add and finish, and the job goes on", function()
    local raised, told = 0, 0
    local server = bulk_server.new()
    local job = begin(server, { batch_size = 3, on_outcome = function(outcome)
      told = told + 1
      note(outcome)
      if outcome.index % 4 == 0 then error("oops " .. outcome.index, 0) end
    end, on_progress = function() error("progress", 0) end })
    for i = 1, 20 do
      local ok, message = pcall(job.add, job, pair(i))
      if not ok then
        raised = raised + 1
        assert.is_true(message == "progress" or message:find "oops" ~= nil, message)
      end
      assert.equal(i, job:progress().added)
    end
    local ok, summary
    repeat
      ok, summary = pcall(job.finish, job)
      raised = raised + (ok and 0 or 1)
    until ok
    assert.same({ 20, 0, 0, 0, 0 }, counts(summary))
    assert.equal(20, told)
    assert.is_true(raised >= 5)
    for _, times in pairs(server.applied) do assert.equal(1, times) end
  end)

  it("that yield is an error", function()
    local job = begin(bulk_server.new(), { on_outcome = function() coroutine.yield() end })
    local thread = coroutine.create(function() job:run(pairs_of(2)) end)
    local ok, message = coroutine.resume(thread)
    assert.is_false(ok)
    assert.matches("yield", message)
  end)

  it("may be in add itself: on_outcome gives the job more to do", function()
    local server, job = bulk_server.new(), nil
    job = begin(server, { batch_size = 2, on_outcome = function(outcome)
      note(outcome)
      if outcome.index <= 10 then job:add(pair(100 + outcome.index)) end
    end })
    for i = 1, 10 do job:add(pair(i)) end
    while job:progress().left > 0 and job:progress().added < 20 do job:add(pair(1000 + job:progress().added)) end
    job:finish()
    for _, times in pairs(server.applied) do assert.equal(1, times) end
  end)

  it("of the iterator comes out of run, and what was added is not lost", function()
    local server, i = bulk_server.new(), 0
    local job = begin(server)
    assert.error_matches(function()
      job:run(function()
        i = i + 1
        return i < 4 and pair(i) or error("no row", 0)
      end)
    end, "no row")
    assert.same({ 3, 0, 0, 0, 0 }, counts(job:finish()))
  end)
end)
