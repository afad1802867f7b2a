-- client:list_all and client:read_all.
local assoc = require "hubspot_assoc"
local async = require "spec.support.async"
local binding = require "spec.support.binding"
local cjson = require("cjson").new()
local hosts = require "spec.support.loop_hosts"
local simulator = require "spec.support.simulator"
local system = require "system"

local unpack = table.unpack or unpack -- luacheck: ignore

-- A client that `answer(request)` answers, which gives a table, sent as JSON with 200, or { status =, body = text }.
local function answered(answer, changes)
  local options = binding.options { access_token = "pat-nobody", transport = function(request)
    local value = answer(request)
    if type(value) == "table" and not value.status then value = { status = 200, body = cjson.encode(value) } end
    return value
  end }
  for name, value in pairs(changes or {}) do options[name] = value end
  return assoc.new(options)
end

-- An id's records: "<id>0" and so on; nil: none. What `answers` has of an id goes before that.
local function result_of(id, n)
  local records = {}
  for i = 1, n or 1 do records[i] = { toObjectId = id .. i } end
  return { from = { id = id }, to = records }
end

-- The ids that a request of `read` asks for, and its inputs.
local function ids_of(request)
  local inputs, ids = cjson.decode(request.body).inputs, {}
  for i, input in ipairs(inputs) do ids[i] = input.id end
  return ids, inputs
end

-- Answers `read` with one record an id, in reverse order, unless `special(id, input)` gives a result or an error.
local function reader(special, log)
  return function(request)
    local ids, inputs = ids_of(request)
    if log then log[#log + 1] = ids end
    local results, errors = {}, {}
    for i = #ids, 1, -1 do
      local result, failure = result_of(ids[i]), nil
      if special then
        local given, wrong = special(ids[i], inputs[i])
        if given or wrong then result, failure = given, wrong end
      end
      results[#results + 1] = result
      errors[#errors + 1] = failure
    end
    local body = { status = "COMPLETE", results = results }
    if errors[1] then body.errors, body.numErrors = errors, #errors end
    local text = cjson.encode(body):gsub('"results":{}', '"results":[]')
    return { status = errors[1] and 207 or 200, body = text }
  end
end

-- Lua 5.1 lets no iterator of a `for` yield, so in an event loop it is called by hand there.
local cannot_yield_in_for = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

-- As `iterator` in a `for`.
local function each(iterator)
  if not cannot_yield_in_for or not coroutine.running() then return iterator end
  local given, place = {}, 0
  local value = { iterator() }
  while value[1] do
    given[#given + 1] = value
    value = { iterator() }
  end
  return function()
    place = place + 1
    return unpack(given[place] or {}, 1, 3)
  end
end

-- All that an iterator gives: lists of ids, of how many records each has (or the kind of its first error), of errors.
local function collect(iterator)
  local ids, counts, failures = {}, {}, {}
  for id, records, errors in each(iterator) do
    ids[#ids + 1] = id
    counts[#counts + 1] = records and #records or errors[1].kind
    failures[id] = errors
    assert(not records == not not errors)
  end
  return ids, counts, failures
end

local function numbers(first, last)
  local list = {}
  for i = first, last do list[#list + 1] = tostring(i) end
  return list
end

-- Associates each of the contacts with a company of the same number; contact 1 with `n` more from 100001 on.
local function fill_account(client, last, n)
  local inputs = {}
  for i = 1, last do inputs[i] = { from = { id = i }, to = { id = i } } end
  for i = 1, n or 0 do inputs[#inputs + 1] = { from = { id = 1 }, to = { id = 100000 + i } } end
  assoc.check(client:batch_purge("contacts", "companies", { { category = "HUBSPOT_DEFINED", typeId = 279 } }))
  assoc.check(client:associate_default("contacts", "companies", inputs))
end

-- ---- list_all ----

describe("list_all", function()
  local function list_of(iterator)
    local ids = {}
    for record in iterator do ids[#ids + 1] = record.toObjectId end
    return ids
  end

  for _, version in ipairs { "v4", "2026-09" } do
    it("gives the records of all pages, with " .. version, function()
      local client, token = binding.client { api_version = version }
      fill_account(client, 2, 1200)
      simulator.clear_log(token)
      local it = client:list_all("contacts", 1, "companies")
      local ids = list_of(it)
      assert.equal(1201, #ids)
      assert.same({ "1", "100001", "101200" }, { ids[1], ids[2], ids[1201] })
      assert.is_nil(it.errors)
      assert.equal(200, it.response.http_status)
      assert.is_nil(it())
      local log = simulator.log(token)
      assert.equal(3, #log)
      assert.equal("limit=500", log[1].query)
      assert.same({}, list_of(client:list_all("contacts", 77, "companies")))
      assert.equal(1201, #list_of(client:list_all("contacts", "1", "companies", { limit = 300 })))
      assert.equal(3 + 1 + 5, simulator.log(token).count)
    end)
  end

  it("can begin behind a cursor, and leaves the options alone", function()
    local client = binding.client()
    fill_account(client, 1, 9)
    local _, _, response = client:list("contacts", 1, "companies", { limit = 4 })
    local options = { limit = 4, after = response.paging.next.after, timeout = 5 }
    assert.equal(6, #list_of(client:list_all("contacts", 1, "companies", options)))
    assert.same({ limit = 4, after = response.paging.next.after, timeout = 5 }, options)
  end)

  it("says why it ended early", function()
    local client, token = binding.client()
    fill_account(client, 1, 9)
    simulator.fault(token, { skip = 1, status = 500, times = 1 })
    local it = client:list_all("contacts", 1, "companies", { limit = 4 })
    assert.equal(4, #list_of(it))
    assert.same({ "api", 500, "list" }, { it.errors[1].kind, it.errors[1].http_status, it.errors[1].call })
    assert.equal(500, it.response.http_status)
    assert.is_nil(it())
    assert.is_false((pcall(assoc.check, true, it.errors)))
  end)

  it("ends where a cursor comes a second time", function()
    local cursors, asked = { "a", "b", "a", "c" }, 0
    local client = answered(function()
      asked = asked + 1
      return { results = { { toObjectId = asked } }, paging = { next = { after = cursors[asked] } } }
    end)
    local it = client:list_all("contacts", 1, "companies")
    assert.same({ "1", "2", "3" }, list_of(it))
    assert.equal("protocol", it.errors[1].kind)
    assert.matches('^list contacts %-> companies: protocol: HubSpot gives the cursor "a" a second time',
      tostring(it.errors))
    assert.equal(3, asked)
    it = client:list_all("contacts", 1, "companies", { after = "c" })
    assert.same({ "4" }, list_of(it))
    assert.equal("protocol", it.errors[1].kind)
  end)

  it("goes on behind an empty page, and takes a number for a cursor", function()
    local asked = {}
    local client = answered(function(request)
      asked[#asked + 1] = request.url:match "after=(%w+)" or "none"
      if #asked == 1 then return { status = 200, body = '{"results":[],"paging":{"next":{"after":12345678901}}}' } end
      return { results = { { toObjectId = "5" } }, paging = { next = { after = "" } } }
    end)
    local it = client:list_all("contacts", 1, "companies")
    assert.same({ "5" }, list_of(it))
    assert.is_nil(it.errors)
    assert.same({ "none", "12345678901" }, asked)
  end)

  it("raises for misuse, before anything is sent", function()
    local client, token = binding.client()
    local function message(...)
      local arguments, n = { ... }, select("#", ...)
      local ok, text = pcall(function() client:list_all(unpack(arguments, 1, n)) end)
      assert.is_false(ok)
      return text:match "iterators_spec.lua:%d+: (.*)"
    end
    assert.equal("bad argument #2 to 'list_all' (fromId: record id (a string of digits) expected, got string \"x\")",
      message("contacts", "x", "companies"))
    assert.matches("^bad argument #4 to 'list_all' %(options.limit: integer from 1 to 500 expected",
      message("contacts", 1, "companies", { limit = 501 }))
    assert.equal(0, simulator.log(token).count)
  end)
end)

-- ---- read_all ----

describe("read_all", function()
  teardown(async.stop)

  for _, version in ipairs { "v4", "2026-09" } do
    it("gives each id once with all its records, in order, with " .. version, function()
      local client, token = binding.client { api_version = version }
      fill_account(client, 60, 1200)
      simulator.clear_log(token)
      local given = numbers(1, 70)
      local it = client:read_all("contacts", "companies", given, { batch_size = 25 })
      local ids, counts = collect(it)
      assert.same(given, ids)
      assert.equal(1201, counts[1])
      for i = 2, 70 do assert.equal(i <= 60 and 1 or 0, counts[i]) end
      assert.is_nil(it.errors)
      assert.equal(3 + 2, simulator.log(token).count) -- batches, and the two further pages of the first id
    end)
  end

  it("takes a list or a function, and ids as strings or numbers; an id that comes twice is given twice", function()
    local log = {}
    local client = answered(reader(nil, log))
    local ids, counts = collect(client:read_all("contacts", "companies", { 5, "007", "7", 5, "5" }))
    assert.same({ 5, "007", "7", 5, "5" }, ids)
    assert.same({ 1, 1, 1, 1, 1 }, counts)
    assert.same({ { "5", "7" } }, log)
    local n = 0
    local function next_id()
      n = n + 1
      return n <= 3 and n or nil
    end
    assert.same({ 1, 2, 3 }, (collect(client:read_all("contacts", "companies", next_id))))
    n = 0
    local callable = setmetatable({}, { __call = next_id })
    assert.same({ 1, 2, 3 }, (collect(client:read_all("contacts", "companies", callable))))
    assert.same({}, (collect(client:read_all("contacts", "companies", {}))))
    assert.equal(3, #log)
  end)

  it("gives errors to the ids that they are about", function()
    local client = answered(reader(function(id)
      if id == "3" then
        return nil, { category = "VALIDATION_ERROR", message = "No 3", context = { fromObjectId = { "3" } } }
      elseif id == "4" then
        return nil, { category = "OBJECT_NOT_FOUND", subCategory = "crm.associations.NO_ASSOCIATIONS_FOUND",
          message = "None", context = { fromObjectId = { "4" } } }
      end
    end))
    local it = client:read_all("contacts", "companies", numbers(1, 5))
    local _, counts, failures = collect(it)
    assert.same({ 1, 1, "api", 0, 1 }, counts)
    assert.same({ 1, "No 3", 207 }, { #failures["3"], failures["3"][1].message, failures["3"][1].http_status })
    assert.is_nil(failures["3"][1].index)
    assert.is_nil(it.errors)
  end)

  it("gives errors that name no id to those of whom nothing came, or keeps them", function()
    local nameless = { category = "VALIDATION_ERROR", message = "Somebody" }
    local client = answered(reader(function(id)
      if id == "3" or id == "4" then return nil, nameless end
    end))
    local it = client:read_all("contacts", "companies", numbers(1, 5))
    local _, counts, failures = collect(it)
    assert.same({ 1, 1, "api", "api", 1 }, counts)
    assert.equal("Somebody", failures["4"][1].message)
    assert.is_nil(it.errors)

    client = answered(reader(function(id)
      if id == "3" then return result_of(id), nameless end
    end))
    it = client:read_all("contacts", "companies", numbers(1, 5))
    _, counts = collect(it)
    assert.same({ 1, 1, 1, 1, 1 }, counts)
    assert.equal("Somebody", it.errors[1].message)
    assert.is_false((pcall(assoc.check, true, it.errors)))

    client = answered(reader(function(id)
      if id == "3" or id == "4" then return nil, { subCategory = { name = "NO_ASSOCIATIONS_FOUND" } } end
    end))
    _, counts = collect(client:read_all("contacts", "companies", numbers(1, 5)))
    assert.same({ 1, 1, 0, 0, 1 }, counts)

    client = answered(reader(function(id)
      if id == "3" then return { from = { id = "99" }, to = {} } end
    end))
    _, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 5)))
    assert.same({ 1, 1, "protocol", 1, 1 }, counts)
    assert.matches("says nothing of this record", tostring(failures["3"]))
  end)

  it("gives an id that is none its error, and goes on", function()
    local log = {}
    local client = answered(reader(nil, log))
    for _, wrong in ipairs { "x", "", "-1", 1.5, -1, true, {}, 2 ^ 60 + 0.0 } do
      local ids, counts, failures = collect(client:read_all("contacts", "companies", { "1", wrong, "2" }))
      assert.same({ "1", wrong, "2" }, ids)
      assert.same({ 1, "config", 1 }, counts)
      assert.matches("record id %(a string of digits%) expected", tostring(failures[wrong]))
    end
    assert.same({ "x" }, (collect(client:read_all("contacts", "companies", { "x" }))))
    assert.same({ "1", "2" }, log[1])
  end)

  it("takes ids up to int64", function()
    local client = answered(reader())
    local ids = { "9223372036854775807", "9223372036854775808", ("9"):rep(20), "1" }
    local _, counts, failures = collect(client:read_all("contacts", "companies", ids))
    assert.same({ 1, "config", "config", 1 }, counts)
    assert.matches("record id %(9223372036854775807 at most%) expected, got string 9223372036854775808",
      tostring(failures[ids[2]]))
  end)

  it("fails an id that HubSpot refuses, and none of those that were asked for with it", function()
    for _, version in ipairs { "v4", "2026-09" } do
      local client, token = binding.client { api_version = version }
      fill_account(client, 100, 600)
      simulator.clear_log(token)
      local ids = numbers(1, 100)
      ids[17], ids[64] = "0", "00"
      local it = client:read_all("contacts", "companies", ids, { batch_size = 100 })
      local _, counts, failures = collect(it)
      for i, count in ipairs(counts) do
        assert.equal((i == 17 or i == 64) and "api" or i == 1 and 601 or 1, count)
      end
      assert.same({ 400, 1 }, { failures["0"][1].http_status, #failures["0"] })
      assert.is_nil(it.errors)
      assert.is_true(simulator.log(token).count < 20)
    end
  end)

  it("finds out which ids an error without a name is about, and which error is whose", function()
    local client = answered(reader(function(id)
      if id == "3" or id == "7" then return nil, { category = "VALIDATION_ERROR", message = "Not " .. id } end
    end))
    local it = client:read_all("contacts", "companies", numbers(1, 9))
    local _, _, failures = collect(it)
    assert.same({ 1, "Not 3" }, { #failures["3"], failures["3"][1].message })
    assert.same({ 1, "Not 7" }, { #failures["7"], failures["7"][1].message })
    assert.is_nil(it.errors)
  end)

  it("seeks no longer which ids are bad where none is read: all requests are refused alike", function()
    local sent = 0
    local client = answered(function()
      sent = sent + 1
      return { status = 400, body = '{"message":"no such object type"}' }
    end, { rate = false })
    local _, counts, failures = collect(client:read_all("contacts", "p_none", numbers(1, 3000)))
    assert.same({ 3000, "api", "api" }, { #counts, counts[1], counts[3000] })
    assert.same({ 400, "no such object type" }, { failures["3000"][1].http_status, failures["3000"][1].message })
    assert.is_true(sent < 200, sent)
  end)

  it("sends no halves after an answer that ends everything", function()
    local sent = 0
    local client = answered(function()
      sent = sent + 1
      return { status = sent == 1 and 400 or 401, body = '{"message":"no"}' }
    end)
    local _, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 8)))
    assert.equal(8, #counts)
    assert.same({ 401, 1 }, { failures["1"][1].http_status, failures["1"][1].attempts })
    assert.same({ 0, 2 }, { failures["8"][1].attempts, sent })
  end)

  it("gives the error of a request to all of its ids", function()
    local client, token = binding.client()
    fill_account(client, 30)
    simulator.fault(token, { skip = 1, status = 500, times = 1 })
    local _, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 30),
      { batch_size = 10, in_flight = 1 }))
    for i = 1, 30 do assert.equal((i > 10 and i <= 20) and "api" or 1, counts[i]) end
    assert.equal(500, failures["11"][1].http_status)
    assert.is_nil(failures["11"][1].first)
  end)

  it("fails an id of which a further page fails, and no other", function()
    local client, token = binding.client()
    fill_account(client, 3, 600)
    simulator.fault(token, { skip = 1, status = 500, times = 1 })
    local _, counts = collect(client:read_all("contacts", "companies", numbers(1, 3)))
    assert.same({ "api", 1, 1 }, counts)
  end)

  it("fails an id whose cursor comes twice, and no other", function()
    local asked = 0
    local client = answered(reader(function(id, input)
      if id ~= "2" then return nil end
      asked = asked + 1
      local result = result_of(id)
      result.paging = { next = { after = input.after == "a" and "b" or "a" } }
      return result
    end))
    local _, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 3)))
    assert.same({ 1, "protocol", 1 }, counts)
    assert.matches('HubSpot gives the cursor "a" a second time', tostring(failures["2"]))
    assert.equal(3, asked)
  end)

  it("sends nothing more after 401, 403 and the daily limit, and still gives each id", function()
    for _, fault in ipairs { { status = 401 }, { status = 403 }, { status = 429, policy = "DAILY" } } do
      local client, token = binding.client()
      fault.times = 50
      simulator.fault(token, fault)
      local ids, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 100),
        { batch_size = 10, in_flight = 2 }))
      assert.equal(100, #ids)
      assert.equal(fault.status == 429 and "throttled" or "api", counts[100])
      assert.equal(fault.status, failures["1"][1].http_status)
      assert.same({ 0, false }, { failures["100"][1].attempts, failures["100"][1].retryable })
      assert.matches("not sent: ", tostring(failures["100"]))
      assert.is_true(simulator.log(token).count <= 4)
    end
  end)

  it("halves a request whose answer is too large, down to the one that is", function()
    local client = answered(reader(function(id)
      if id == "3" then return result_of(id, 400) end
    end), { max_response_bytes = 4096 })
    local _, counts, failures = collect(client:read_all("contacts", "companies", numbers(1, 40)))
    assert.equal(40, #counts)
    for i, count in ipairs(counts) do assert.equal(i == 3 and "protocol" or 1, count) end
    assert.matches("max_response_bytes", tostring(failures["3"]))
  end)

  it("keeps so many requests in flight, and reads no more ids than these hold", function()
    local read = 0
    local function next_id()
      read = read + 1
      return read <= 100 and read or nil
    end
    local client = answered(reader())
    local given = 0
    for _ in client:read_all("contacts", "companies", next_id, { batch_size = 5, in_flight = 3 }) do
      given = given + 1
      assert.is_true(read <= given + 15)
      if given == 1 then assert.equal(15, read) end
    end
    assert.equal(100, given)
  end)

  it("asks for as many ids as have some 10,000 records, unless it is told how many", function()
    for records, size in pairs { [0] = 1000, [1] = 1000, [40] = 250, [500] = 20 } do
      local log = {}
      local client = answered(reader(function(id) return result_of(id, records) end, log))
      local ids = collect(client:read_all("contacts", "companies", numbers(1, 1400), { in_flight = 1 }))
      assert.equal(1400, #ids)
      assert.same({ 50, size }, { #log[1], #log[2] })
    end
  end)

  it("has several requests with the server at the same time", function()
    local client, token = binding.client()
    fill_account(client, 40)
    simulator.clear_log(token)
    simulator.fault(token, { delay = 0.5, times = 4 })
    local started = async.timed(function()
      collect(client:read_all("contacts", "companies", numbers(1, 40), { batch_size = 10 }))
    end)
    assert.is_true(started < 1.9)
  end)

  it("loses nothing where the loop takes longer than the deadline, whatever its requests ask for meanwhile", function()
    local client = binding.client { max_connections = 1, deadline = 0.5, limiter = {
      reserve = function() return 0 end, observe = function() end } }
    local counts = {}
    for _, records, errors in client:read_all("contacts", "companies", numbers(1, 6), { batch_size = 2 }) do
      counts[#counts + 1] = records and #records or tostring(errors)
      if #counts == 1 then system.sleep(0.8) end
    end
    assert.same({ 0, 0, 0, 0, 0, 0 }, counts)
  end)

  it("needs no step, and leaves nothing to hand out", function()
    for _, driver in ipairs(async.drivers) do
      local client = binding.client { io_thread = driver.io_thread }
      fill_account(client, 20)
      local seen = 0
      client.async:get_labels("contacts", "companies"):on_done(function() seen = seen + 1 end)
      collect(client:read_all("contacts", "companies", numbers(1, 20), { batch_size = 5 }))
      assert.equal(0, seen) -- what others wait for is handed out by step alone
      assert.equal(1, client:pending())
      client:drain()
      assert.same({ 1, 0 }, { seen, client:pending() })
    end
  end)

  it("lets go of a loop that is left", function()
    local client = binding.client()
    fill_account(client, 40)
    for id in client:read_all("contacts", "companies", numbers(1, 40), { batch_size = 5 }) do
      if id == "7" then break end
    end
    client:drain(async.LONG)
    assert.equal(0, client:pending())
    assert.equal(1, #client:read("contacts", "companies", { { id = 1 } }))
  end)

  it("hands on an error of the ids' iterator, and is of no use afterwards", function()
    local client = answered(reader())
    local n = 0
    local it = client:read_all("contacts", "companies", function()
      n = n + 1
      if n == 12 then error("no more paper", 0) end
      return n
    end, { batch_size = 5, in_flight = 2 })
    local ids = {}
    local ok, message = pcall(function()
      for id in it do ids[#ids + 1] = id end
    end)
    assert.is_false(ok)
    assert.equal("no more paper", message)
    assert.is_true(#ids <= 10)
    assert.matches("an error has left it", select(2, pcall(it)))
    client:drain(async.LONG)
    assert.equal(0, client:pending())
  end)

  it("gives errors when its client is closed in between", function()
    local client = binding.client()
    fill_account(client, 40)
    local counts = {}
    for id, records, errors in client:read_all("contacts", "companies", numbers(1, 40), { batch_size = 5 }) do
      counts[#counts + 1] = records and "ok" or errors[1].kind
      if id == "3" then client:close() end
    end
    assert.equal(40, #counts)
    assert.same({ "ok", "ok" }, { counts[1], counts[5] })
    assert.is_true(counts[40] == "config" or counts[40] == "canceled")
  end)

  for _, name in ipairs { "luv", "cqueues" } do
    it("lets the event loop go on: " .. name, function()
      if not hosts.has(name) then return pending("(no " .. name .. " for this Lua)") end
      local client = binding.client { loop = name }
      local done, turns = {}, 0
      local function export(place)
        fill_account(client, 20)
        local records = 0
        for record in each(client:list_all("contacts", 1, "companies")) do records = records + (record and 1 or 0) end
        done[place] = { records, collect(client:read_all("contacts", "companies", numbers(1, 20), { batch_size = 5 })) }
      end
      if name == "luv" then
        local uv = require "luv"
        local timer = uv.new_timer()
        timer:start(1, 1, function() turns = turns + 1 end)
        for place = 1, 2 do
          coroutine.wrap(function()
            export(place)
            if done[1] and done[2] then timer:close() end
          end)()
        end
        uv.run()
      else
        local controller = require "cqueues".new()
        for place = 1, 2 do controller:wrap(export, place) end
        controller:wrap(function()
          while not (done[1] and done[2]) do
            turns = turns + 1
            require "cqueues".sleep(0.001)
          end
        end)
        assert(controller:loop())
      end
      for place = 1, 2 do
        assert.equal(1, done[place][1])
        assert.same(numbers(1, 20), done[place][2])
      end
      assert.is_true(turns > 0)
    end)
  end

  it("refuses a second coroutine while it waits for one", function()
    if not hosts.has "luv" then return pending "(no luv for this Lua)" end
    local client = binding.client { loop = "luv" }
    local uv = require "luv"
    local ok, message
    local n = 0
    coroutine.wrap(function()
      local it = client:read_all("contacts", "companies", { 1 })
      coroutine.wrap(function() it() n = n + 1 end)()
      ok, message = pcall(it)
    end)()
    uv.run()
    assert.is_false(ok)
    assert.matches("in use by another coroutine", message)
    assert.equal(1, n)
  end)

  it("asks for headers when it makes a request, and only then", function()
    local asked = 0
    local headers = function()
      asked = asked + 1
      return { ["X-Job"] = tostring(asked) }
    end
    local client, token = binding.client { headers = headers }
    local it = client:read_all("contacts", "companies", { 1, 2 }, { batch_size = 1 })
    local others = client:list_all("contacts", 1, "companies", { headers = headers })
    assert.equal(0, asked)
    collect(it)
    assert.equal(2, asked)
    others()
    assert.equal(4, asked) -- the client's, and its own
    client:label_types("contacts", "companies")
    client:label_types("contacts", "companies")
    assert.equal(6, asked)
    client:set_limits("contacts", "companies", { Employee = 3 })
    assert.equal(9, asked)
    assert.equal(8, simulator.log(token).count)
    assert.has_error(function() client:list_all("contacts", 1, "companies", { headers = { A = "1", a = "2" } }) end)
    assert.equal(8, simulator.log(token).count)
  end)

  it("raises for misuse, before anything is sent", function()
    local client, token = binding.client()
    local function message(...)
      local arguments, n = { ... }, select("#", ...)
      local ok, text = pcall(function() client:read_all(unpack(arguments, 1, n)) end)
      assert.is_false(ok)
      return text:match "iterators_spec.lua:%d+: (.*)"
    end
    assert.equal("bad argument #1 to 'read_all' (from: string expected, got nil)", message())
    assert.equal("bad argument #3 to 'read_all' (ids: list or function expected, got string)",
      message("contacts", "companies", "1"))
    assert.equal("bad argument #3 to 'read_all' (ids: a list without holes expected, it has nil at 2)",
      message("contacts", "companies", { 1, nil, 3 }))
    assert.equal("bad argument #3 to 'read_all' (ids: list or function expected, got a table with the key 'id'; "
      .. "put a single one into a list: { ... })", message("contacts", "companies", { id = 1 }))
    assert.equal("bad argument #4 to 'read_all' (options.in_flight: integer from 1 to 100 expected, got number 0)",
      message("contacts", "companies", {}, { in_flight = 0 }))
    assert.matches("%(options.batch_size: integer from 1 to 1000 expected, got string \"9\"%)$",
      message("contacts", "companies", {}, { batch_size = "9" }))
    assert.matches("'read_all' %(options.inflight: unknown field; did you mean 'in_flight'%?%)$",
      select(2, pcall(client.read_all, client, "contacts", "companies", {}, { inflight = 4 })))
    assert.matches("^bad argument #4 to 'read_all' %(options.timeot: unknown field; did you mean 'timeout'",
      message("contacts", "companies", {}, { timeot = 1 }))
    assert.equal(0, simulator.log(token).count)
  end)
end)

-- ---- examples/export.lua ----

describe("examples/export.lua", function()
  local MANY = 20000

  -- Runs it with the lines as its input: its output's lines, what it said on standard error, its exit status.
  local function export(token, lines, extra)
    local names = { os.tmpname(), os.tmpname(), os.tmpname() }
    local file = assert(io.open(names[1], "w"))
    file:write(table.concat(lines, "\n"), "\n")
    file:close()
    local command = "HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s %s examples/export.lua %s <%s >%s 2>%s; echo $?"
    local pipe = assert(io.popen(command
      :format(token, simulator.url, os.getenv "LUA", extra or "contacts companies", unpack(names))))
    local status = tonumber(pipe:read "*a")
    pipe:close()
    local output = {}
    for line in io.lines(names[2]) do output[#output + 1] = line end
    file = assert(io.open(names[3]))
    local said = file:read "*a"
    file:close()
    for _, name in ipairs(names) do os.remove(name) end
    return output, said, status
  end

  it("exports 20,000 contacts, in order", function()
    local client, token = binding.client()
    for first = 1, MANY, 2000 do
      local inputs = {}
      for i = first, first + 1999 do
        if i % 5 > 0 then inputs[#inputs + 1] = { from = { id = i }, to = { id = i } } end
      end
      assoc.check(client:associate_default("contacts", "companies", inputs))
    end
    local output, said, status = export(token, numbers(1, MANY))
    assert.same({ "20000 records exported, 0 failed\n", 0 }, { said, status })
    assert.equal(MANY, #output)
    for i, line in ipairs(output) do
      local row = cjson.decode(line)
      assert(row.id == tostring(i), line)
      assert((row.to[1] and row.to[1].toObjectId or "none") == (i % 5 > 0 and row.id or "none"), line)
    end
    assert.equal('{"id":"5","to":[]}', output[5])
  end)

  it("says what it could not export", function()
    local output, said, status = export(simulator.token(), { "1\r", "x", "", "2" }) -- as made on Windows
    assert.same({ '{"id":"1","to":[]}', '{"id":"2","to":[]}' }, output)
    assert.matches("^x: read contacts %-> companies: config: record id.*\n2 records exported, 1 failed\n$", said)
    assert.equal(1, status)
    output, said, status = export(simulator.token "noscope", numbers(1, 3))
    assert.same({ {}, 1 }, { output, status })
    assert.matches("MISSING_SCOPES.*\n0 records exported, 3 failed\n$", said)
    output, said, status = export("x", {}, "contacts")
    assert.same({ {}, 2 }, { output, status })
    assert.matches("^usage: ", said)
  end)

  it("says in a line that its ids cannot be read", function()
    local pipe = assert(io.popen(("HUBSPOT_ACCESS_TOKEN=x %s examples/export.lua contacts companies </ 2>&1")
      :format(os.getenv "LUA")))
    assert.equal("export.lua: Is a directory\n", pipe:read "*a")
    pipe:close()
  end)
end)
