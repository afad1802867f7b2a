-- Bulk jobs against the simulator: in scripts and event loops, at HubSpot's rate, and killed at any moment.
local assoc = require "hubspot_assoc"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local hosts = require "spec.support.loop_hosts"
local simulator = require "spec.support.simulator"

local function account()
  local token = simulator.token()
  simulator.control("rate", { token = token, max = 100000, interval_ms = 1000 })
  return token
end

local function pair(i)
  return { from = { id = i }, to = { id = 1000 + i } }
end

local function counts(summary)
  return { summary.done, summary.failed, summary.unknown, summary.left, summary.skipped }
end

-- How many companies the contacts 1 to n have.
local function count_associated(token, n)
  local client = assoc.new { access_token = token, rate = false }
  local ids, count = {}, 0
  for i = 1, n do ids[i] = { id = i } end
  local results = client:read("contacts", "companies", ids)
  for _, result in ipairs(results or {}) do count = count + #result.to end
  client:close()
  return count
end

local TYPES = { { associationCategory = "USER_DEFINED", associationTypeId = 36 } }

describe("a bulk job", function()
  for _, io_thread in ipairs { true, false } do
    it(("does all seven calls, %s an I/O thread"):format(io_thread and "with" or "without"), function()
      for _, version in ipairs { "v4", "2026-03", "2026-09" } do
        local token = account()
        local client = assoc.new { access_token = token, io_thread = io_thread, api_version = version, rate = false }
        local function run(name, n, input_of, options)
          local summary, errors = client:bulk(name, "contacts", "companies", options or { batch_size = 7 })
            :run((function()
              local i = 0
              return function()
                i = i + 1
                return i <= n and input_of(i) or nil
              end
            end)())
          assert.is_nil(errors and tostring(errors))
          assert.same({ n, 0, 0, 0, 0 }, counts(summary))
        end
        run("associate_default", 50, pair)
        assert.equal(50, count_associated(token, 60))
        run("associate", 50, function(i)
          local input = pair(i)
          input.types = TYPES
          return input
        end)
        run("archive_labels", 50, function(i)
          local input = pair(i)
          input.types = TYPES
          return input
        end)
        run("archive", 50, function(i) return { from = { id = i }, to = { { id = 1000 + i } } } end)
        assert.equal(0, count_associated(token, 60))
        local ids = { 279, 36, 38 }
        run("batch_purge", 3, function(i)
          return { category = i == 1 and "HUBSPOT_DEFINED" or "USER_DEFINED", typeId = ids[i] }
        end)
        for _, name in ipairs { "batch_create", "batch_update" } do
          run(name, 3, function(i)
            return { category = i == 1 and "HUBSPOT_DEFINED" or "USER_DEFINED", typeId = ids[i], maxToObjectIds = 9 }
          end, { in_flight = 1 })
        end
        client:close()
      end
    end)
  end

  it("finds what HubSpot refuses among what it takes", function()
    local token = account()
    local client = assoc.new { access_token = token, rate = false }
    local failed = {}
    local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 50,
      on_outcome = function(outcome)
        if outcome.status == "failed" then failed[#failed + 1] = outcome.index end
      end })
    for i = 1, 200 do job:add(i == 77 and { from = { id = "0" }, to = { id = 5 } } or pair(i)) end
    local summary, errors = job:finish()
    assert.same({ 199, 1, 0, 0, 0 }, counts(summary))
    assert.same({ 77 }, failed)
    assert.equal(77, errors[1].index)
    client:close()
  end)

  it("writes answers when add or step looks, and step does not wait", function()
    local path, client = os.tmpname(), assoc.new { access_token = account(), rate = false }
    os.remove(path)
    local told = 0
    local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 2, journal = path,
      on_outcome = function() told = told + 1 end })
    job:step() -- nothing to do is no harm
    job:add(pair(1))
    job:add(pair(2))
    local give_up_at = core.now() + 20
    repeat
      os.execute "sleep 0.05"
    until client:stats().bytes_received > 0 and client:stats().in_flight == 0 or core.now() > give_up_at
    assert.same({ 0, 2 }, { told, job:progress().left })
    repeat job:step() until told > 0 or core.now() > give_up_at
    assert.same({ 2, 0 }, { told, job:progress().left })
    local n = 0
    for _ in io.lines(path) do n = n + 1 end
    assert.equal(2, n)
    assert.same({ 2, 0, 0, 0, 0 }, counts(job:finish()))
    job:step()
    assert.error_matches(function() job.step() end, "'step' is a method of a job")
    client:close()
    os.remove(path)
  end)

  it("goes through faults of all kinds", function()
    local token = account()
    for _, fault in ipairs { { status = 503 }, { close = true }, { close = true, after = true }, { status = 429 },
      { status = 423 }, { status = 500, after = true } } do
      fault.times, fault.skip = 2, 1
      simulator.fault(token, fault)
    end
    local client = assoc.new { access_token = token, rate = false, max_attempts = 1 }
    local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 10 })
    for i = 1, 200 do job:add(pair(i)) end
    local summary = job:finish()
    assert.same({ 200, 0, 0, 0, 0 }, counts(summary))
    assert.equal(200, count_associated(token, 200))
    client:close()
  end)

  it("ends by Ctrl-C wherever it waits, and can go on", function()
    local token = account()
    simulator.fault(token, { delay = 60, times = 8 })
    local report = child.run({ HUBSPOT_ACCESS_TOKEN = token }, [[
      local client = require "hubspot_assoc".new { rate = false }
      local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 1 })
      os.execute "(sleep 0.3; kill -INT $PPID) &"
      local ok, message
      for i = 1, 10 do
        ok, message = pcall(job.add, job, { from = { id = i }, to = { id = 5 } })
        if not ok then break end
      end
      local added = job:progress().added
      client:close()
      local summary = job:finish()
      return ok, message, added == summary.added, summary.left == summary.added ]])
    assert.same({ "false", "true", "true" }, { report[1], report[3], report[4] })
    assert.matches("interrupted", report[2])
  end)
end)

-- ---- event loops ----

for _, name in ipairs { "luv", "cqueues" } do
  local new_host = hosts[name]
  describe("in " .. name, function()
    if not hosts.has(name) then return pending("(no " .. name .. " for this Lua)") end

    it("a bulk job lets others go on, and takes inputs from several coroutines", function()
      local token, host, ticks, finished, summary = account(), new_host(), 0, false, nil
      simulator.control("rate", { token = token, max = 100000, interval_ms = 1000, latency_ms = 100 })
      simulator.fault(token, { status = 503, skip = 3 })
      local client = assoc.new { access_token = token, loop = host.loop, rate = false, max_attempts = 1 }
      local job = client:bulk("associate_default", "contacts", "companies", { batch_size = 10, in_flight = 3 })
      local adding = 3
      for part = 1, 3 do
        host.start(function()
          for i = 1, 100 do job:add(pair(part * 1000 + i), part .. "/" .. i) end
          adding = adding - 1
          if adding == 0 then
            summary = job:finish()
            finished = true
          end
        end)
      end
      host.start(function()
        while not finished do
          ticks = ticks + 1
          host.sleep(0.01)
        end
      end)
      host.run()
      assert.same({ 300, 0, 0, 0, 0 }, counts(summary))
      assert.is_true(ticks > 20, ticks .. " ticks")
      client:close()
    end)

    it("its iterator may yield, and what cannot wait says so", function()
      local token, host, summary, message = account(), new_host(), nil, nil
      simulator.fault(token, { skip = 4, delay = 0.3 }) -- the answer that is waited for is not there at once
      local client = assoc.new { access_token = token, loop = host.loop, rate = false }
      host.start(function()
        local n = 0
        summary = client:bulk("associate_default", "contacts", "companies", { batch_size = 3 }):run(function()
          host.sleep(0.001)
          n = n + 1
          return n <= 10 and pair(n) or nil
        end)
        simulator.fault(token, { delay = 0.3 })
        local job = client:bulk("associate_default", "contacts", "companies")
        job:add(pair(1))
        table.sort({ 1, 2 }, function(a, b)
          local _, what = pcall(job.finish, job)
          message = message or what
          return a < b
        end)
        assert.equal(1, job:finish().done)
      end)
      host.run()
      assert.same({ 10, 0, 0, 0, 0 }, counts(summary))
      if coroutine.isyieldable then assert.matches("'finish' cannot wait here: no coroutine can yield", message) end
      client:close()
    end)
  end)
end

-- ---- kill -9 ----

-- One run of a job in a process of its own, killed after a random time; its inputs are always the same.
local RUN = [[
  local path, name, n = ...
  local client = require "hubspot_assoc".new { rate = false, max_attempts = 1 }
  local job, errors = client:bulk(name, "contacts", "companies", { journal = path, batch_size = 5, in_flight = 4 })
  if errors then return "errors", tostring(errors) end
  for i = 1, tonumber(n) do
    local ok, why = job:add(name == "batch_create"
      and { category = "USER_DEFINED", typeId = 100000 + i, maxToObjectIds = 5 }
      or { from = { id = i }, to = { id = 1000 + i } })
    if not ok then return "errors", tostring(why) end
  end
  local summary, errors = job:finish()
  return "finished", summary.done, summary.failed, summary.unknown, summary.skipped, tostring(errors) ]]

local function outcomes_in(path)
  local seen, statuses = {}, {}
  for line in io.lines(path) do
    local record = assert(core.decode(line), line)
    if record.status ~= "sent" and record.status ~= "unsent" then
      assert.is_nil(seen[record.index], record.index)
      seen[record.index] = record.status
      statuses[record.status] = (statuses[record.status] or 0) + 1
    end
  end
  return seen, statuses
end

local function run_killed(token, path, name, n, kills)
  local report
  for attempt = 1, 100 do
    local seconds = attempt <= kills and 0.02 + math.random() * 0.3 or nil
    report = child.run({ HUBSPOT_ACCESS_TOKEN = token },
      (seconds and ("os.execute [=[(sleep %.3f; kill -9 $PPID) &]=]\n"):format(seconds) or "") .. RUN, path, name, n)
    if report[1] == "finished" then return attempt end
    assert(report.status == "137", table.concat(report, "\n"))
  end
end

describe("a bulk job that is killed at any moment, and begun again with its journal", function()
  local path
  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)
  after_each(function() os.remove(path) end)

  it("applies each input, and has one outcome for each", function()
    local token = account()
    simulator.control("rate", { token = token, max = 100000, interval_ms = 1000, latency_ms = 150 })
    local runs = run_killed(token, path, "associate_default", 600, 12)
    local seen, statuses = outcomes_in(path)
    assert.same({ done = 600 }, statuses)
    assert.equal(600, #seen)
    assert.equal(600, count_associated(token, 600))
    assert.is_true(runs > 2, runs .. " runs")
  end)

  it("never applies twice what must be applied once", function()
    local token = account()
    simulator.control("rate", { token = token, max = 100000, interval_ms = 1000, latency_ms = 150 })
    -- No such types: each creation that arrives is in the log, whatever became of it.
    local runs = run_killed(token, path, "batch_create", 300, 12)
    local seen = outcomes_in(path)
    assert.equal(300, #seen)
    local sent = {}
    for _, call in ipairs(simulator.log(token)) do
      for id in call.body:gmatch '"typeId":(%d+)' do
        sent[id] = (sent[id] or 0) + 1
        assert.equal(1, sent[id], id .. " was sent twice")
      end
    end
    assert.is_true(runs > 2, runs .. " runs")
  end)
end)

