-- Tests of a user's own code: hubspot_assoc.testing, and the option skip_waits.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local simulator = require "spec.support.simulator"
local testing = require "hubspot_assoc.testing"

local LIMIT = { category = "HUBSPOT_DEFINED", typeId = 279, userEnforcedMaxToObjectIds = 5 }

local function assert_raises(expected, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(tostring(message):find(expected, 1, true) ~= nil, ("%q is not in %q"):format(expected, message))
end

local function update(client)
  return client:batch_update("contacts", "companies", { binding.limit() })
end

for _, driver in ipairs { { name = "the caller" }, { name = "a thread", io_thread = true } } do
  describe("the option skip_waits, with calls driven by " .. driver.name .. ",", function()
    local function client_of(answers, options)
      options = options or {}
      options.io_thread = driver.io_thread
      return testing.new(answers):client(options)
    end

    it("waits for no retry and no Retry-After, but counts their time", function()
      local before = os.time()
      local client = client_of { batch_update = {
        { status = 429, headers = { ["Retry-After"] = "50" } }, { status = 503, headers = { ["Retry-After"] = "30" } },
        "timeout", { results = { LIMIT } },
      } }
      local results, errors, response = client.async:batch_update("contacts", "companies", { binding.limit() }):wait()
      assert.is_nil(errors)
      assert.equal(279, results[1].typeId)
      assert.equal(4, response.attempts)
      assert.is_true(response.elapsed >= 80)
      assert.is_true(os.time() - before < 30)
    end)

    it("lets the deadline pass in the same time", function()
      local client = client_of({ get_limits = { status = 429, headers = { ["Retry-After"] = "50" } } })
      local results, errors = client.async:get_limits("contacts", "companies"):wait()
      assert.is_nil(results)
      assert.same({ "throttled", 3 }, { errors[1].kind, errors[1].attempts })
    end)

    it("keeps to the rate, in that time", function()
      local before, client = os.time(), client_of({ get_all_limits = { results = {} } },
        { rate = { requests = 2, interval = 10 } })
      local started = require "hubspot_assoc.core".now()
      for _ = 1, 20 do
        assert(client.async:get_all_limits():wait())
      end
      assert.is_true(require "hubspot_assoc.core".now() - started >= 90)
      assert.is_true(os.time() - before < 30)
    end)
  end)
end

describe("a fake", function()
  it("answers by the call's name, and tells what was asked", function()
    local fake = testing.new { get_limits = { results = { LIMIT } }, batch_update = { results = { LIMIT } } }
    local client = fake:client()
    local limits, errors, response = client:get_limits("contacts", "companies")
    assert.is_nil(errors)
    assert.same({ LIMIT }, limits)
    assert.equal("COMPLETE", response.status)
    assert(update(client))
    assert.equal(2, #fake.requests)
    local request = fake.requests[2]
    assert.same({ "batch_update", "contacts", "companies", "POST", 1 },
      { request.call, request.from, request.to, request.method, request.attempt })
    assert.equal("/crm/associations/v4/definitions/configurations/contacts/companies/batch/update", request.path)
    assert.same({ binding.limit() }, request.inputs)
    assert.same({ inputs = { binding.limit() } }, request.data)
    assert.is_nil(fake.requests[1].inputs)
    assert.is_nil(binding.find_text(fake.requests, "testing"))
    fake:check()
  end)

  it("answers by method and path, with a query or without", function()
    local path = "GET /crm/v4/objects/contacts/1/associations/deals"
    local fake = testing.new { [path] = { results = {} }, [path .. "?limit=2"] = { results = {
      { toObjectId = 9007199254740993, associationTypes = {} } } } }
    local client = fake:client()
    assert.same({}, (client:list("contacts", 1, "deals")))
    assert.same({}, (client:list("contacts", 1, "deals", { after = "5" })))
    assert.equal(1, #client:list("contacts", 1, "deals", { limit = 2 }))
  end)

  it("answers by a function of the request", function()
    local fake = testing.new { batch_update = function(request)
      if request.inputs[1].maxToObjectIds > 100 then return nil, "connect" end
      return { results = { { category = request.inputs[1].category, typeId = request.inputs[1].typeId } } }
    end, get_limits = function() return "timeout" end }
    local client = fake:client()
    assert.equal(279, update(client)[1].typeId)
    local errors = select(2, client:batch_update("contacts", "companies", { binding.limit { maxToObjectIds = 101 } }))
    assert.same({ "transport", "connect", 4 }, { errors[1].kind, errors[1].code, errors[1].attempts })
    errors = select(2, client:get_limits("contacts", "companies"))
    assert.equal("timeout", errors[1].kind)
  end)

  it("gives what HubSpot gives where a part fails, and where all does", function()
    local fake = testing.new {
      batch_update = { results = { LIMIT }, errors = { { category = "VALIDATION_ERROR", message = "no" } } },
      get_limits = { status = 403, body = { category = "MISSING_SCOPES", message = "no scope" } },
      get_labels = { body = "<html>" }, archive_one = { status = 204 },
    }
    local client = fake:client()
    local errors
    local results, partial, response = update(client)
    assert.same({ 279, "VALIDATION_ERROR", 207, 1 },
      { results[1].typeId, partial[1].category, response.http_status, response.numErrors })
    results, errors = client:get_limits("contacts", "companies")
    assert.is_nil(results)
    assert.same({ "api", 403, "MISSING_SCOPES" }, { errors[1].kind, errors[1].http_status, errors[1].category })
    results, errors = client:get_labels("contacts", "companies")
    assert.is_nil(results)
    assert.equal("protocol", errors[1].kind)
    assert.is_true((client:archive_one("contacts", 1, "deals", 2)))
  end)

  it("serves the module's functions, too", function()
    local fake = testing.new { get_limits = { results = { LIMIT } } }
    local lines = binding.run([[
      local assoc = require "hubspot_assoc"
      local fake = require "hubspot_assoc.testing".new { get_limits = { results = { {}, {} } } }
      assoc.configure(fake:options())
      print(#assoc.get_limits("contacts", "companies"), #fake.requests)]])
    assert.equal("2\t1", lines)
    assert.equal(5, assoc.new(fake:options { deadline = 5 }):get_limits("contacts", "companies")[1]
      .userEnforcedMaxToObjectIds)
  end)

  it("does not answer what nobody expects, and says so", function()
    local fake = testing.new { get_limits = { results = {} }, batch_update = { { results = { LIMIT } }, "timeout" } }
    local client = fake:client()
    local _, errors = client:get_labels("contacts", "companies")
    assert.equal("config", errors[1].kind)
    assert.matches("unexpected request: get_labels (GET /crm/associations/v4/contacts/companies/labels) has no answer; "
      .. "did you mean 'get_limits'?", errors[1].message, 1, true)
    assert_raises("unexpected request: get_labels", fake.check, fake)
    fake = testing.new { batch_update = { { results = { LIMIT } } } }
    client = fake:client()
    assert(update(client))
    _, errors = update(client)
    assert.matches("batch_update .* has got all 1 answers", tostring(errors))
    _, errors = testing.new({}):client():get_all_limits()
    assert.matches("there are no answers at all", tostring(errors))
  end)

  it("misses what was not asked for", function()
    local fake = testing.new { get_limits = { results = {} }, batch_update = { { results = { LIMIT } }, "timeout" } }
    assert_raises("batch_update: of 2 answers only 0 were asked for", fake.check, fake)
    local ok, message = pcall(function() fake:check() end)
    assert.is_false(ok)
    assert.matches("testing_spec.lua:%d+: ", message)
  end)

  it("refuses wrong answers, and says where", function()
    for expected, answers in pairs {
      ["(answers['batch_updte']: unknown call; did you mean 'batch_update'?"] = { batch_updte = {} },
      ["(answers.batch_update.stauts: unknown field; did you mean 'status'?)"] = { batch_update = { stauts = 200 } },
      ["(answers.get_labels[2]: unknown fault \"timout\"; did you mean 'timeout'?)"] = {
        get_labels = { {}, "timout" } },
      ["(answers.get_limits.status: integer from 200 to 599 expected, got 199)"] = { get_limits = { status = 199 } },
      ["(answers.get_limits.body: table or string expected, got number)"] = { get_limits = { body = 5 } },
      ["(answers.get_limits.body: give this, or results and errors)"] = { get_limits = { body = {}, results = {} } },
      ["(answers.get_limits: answer expected"] = { get_limits = 5 },
      ["(answers[1]: name of a call or \"METHOD /path\" expected)"] = { {} },
    } do
      assert_raises("bad argument #1 to 'new' " .. expected, testing.new, answers)
    end
    assert_raises("bad argument #1 to 'new' (answers: table expected, got nil)", testing.new)
    assert_raises("call it with a colon, fake:client(...)", testing.new({}).client)
    local _, errors = testing.new({ get_limits = function() return 5 end }):client():get_limits("contacts", "deals")
    assert.matches("the answer to get_limits: answer expected", tostring(errors))
    _, errors = testing.new({ get_limits = { body = { print } } }):client():get_limits("contacts", "deals")
    assert.matches("the answer to get_limits.body: a function cannot be JSON", tostring(errors))
  end)
end)

describe("a recording", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read()
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  -- What a program does, and what it sees.
  local function use(client)
    local seen = {}
    local function note(results, errors, response)
      seen[#seen + 1] = { results or false, errors and tostring(errors) or false, response and response.http_status }
    end
    note(client:get_limits("contacts", "companies"))
    note(update(client))
    note(client:batch_update("contacts", "companies", { binding.limit(), binding.limit { typeId = 38,
      category = "USER_DEFINED", maxToObjectIds = 5000 } }))
    note(client:get_limits("contacts", "companies"))
    note(client:read("contacts", "deals", { { id = 1 }, { id = "9223372036854775807" } }))
    note(client:archive("contacts", "deals", { { from = { id = 1 }, to = { { id = 2 } } } }))
    note(client:get_limits("contacts", "nothing"))
    return seen
  end

  it("answers as HubSpot did, without HubSpot", function()
    local options, token = binding.simulator_options()
    local recorder = assert(testing.record(path, options))
    simulator.fault(token, { status = 503, times = 1 })
    local recorded = use(recorder:client { max_attempts = 3 })
    assert(recorder:close())
    local replay = assert(testing.replay(path))
    local replayed = use(replay:client { max_attempts = 3 })
    for i, expected in ipairs(recorded) do
      local function without_attempts(text) return text and text:gsub("%d attempts?", "") end
      assert.same(expected[1], replayed[i][1])
      assert.same(without_attempts(expected[2]), without_attempts(replayed[i][2]))
      assert.same(expected[3], replayed[i][3])
    end
    replay:check()
    assert.is_nil(read():find(token, 1, true))
  end)

  it("never has the token, also where an answer repeats it", function()
    local fake = testing.new { get_limits = { status = 400, body = { message = "what is pat-secret-1?" },
      headers = { ["X-HubSpot-Correlation-Id"] = "pat-secret-1" } } }
    local recorder = assert(testing.record(path, fake:options { access_token = function() return "pat-secret-1" end }))
    recorder:client():get_limits("contacts", "companies")
    assert(recorder:close())
    assert.matches('"message\\\":\\\"what is ', read(), 1, true)
    assert.is_nil(read():find("pat-secret-1", 1, true))
  end)

  it("has the rate that HubSpot told, however large", function()
    local recorder = assert(testing.record(path, testing.new { get_all_limits = { results = {},
      headers = { ["X-HubSpot-RateLimit-Daily"] = "5000000000" } } }:options()))
    assert(recorder:client():get_all_limits())
    assert(recorder:close())
    assert.matches('"X-HubSpot-RateLimit-Daily":"5000000000"', read(), 1, true)
  end)

  it("is the same each time it is made of the same", function()
    local texts = {}
    for i = 1, 2 do
      local recorder = assert(testing.record(path, testing.new { get_limits = { results = { LIMIT } },
        batch_update = { results = { LIMIT } } }:options()))
      update(recorder:client())
      recorder:client():get_limits("contacts", "companies")
      assert(recorder:close())
      texts[i] = read()
    end
    assert.equal(texts[1], texts[2])
  end)

  it("has faults, and answers retries with the same", function()
    local recorder = assert(testing.record(path, testing.new { get_limits = { "timeout", "connect", "connect",
      { results = { LIMIT } } }, get_labels = { { status = 429 }, { results = {} } } }:options()))
    local client = recorder:client { max_attempts = 3 }
    assert.is_nil((client:get_limits("contacts", "companies")))
    assert(client:get_limits("contacts", "companies"))
    assert(client:get_labels("contacts", "companies"))
    assert(recorder:close())
    local replay = assert(testing.replay(path))
    client = replay:client { max_attempts = 3 }
    local _, errors = client:get_limits("contacts", "companies")
    assert.same({ "transport", "connect", 3 }, { errors[1].kind, errors[1].code, errors[1].attempts })
    assert(client:get_limits("contacts", "companies"))
    assert(client:get_labels("contacts", "companies"))
    replay:check()
  end)

  it("says what differs", function()
    local recorder = assert(testing.record(path, testing.new { batch_update = { results = { LIMIT } } }:options()))
    update(recorder:client())
    assert(recorder:close())
    local replay = assert(testing.replay(path))
    local client = replay:client()
    local _, errors = client:batch_update("contacts", "companies", { binding.limit { maxToObjectIds = 6 } })
    assert.matches("request 1 of the recording differs: request.data.inputs[1].maxToObjectIds: recorded 5, now 6",
      tostring(errors), 1, true)
    assert(update(client))
    errors = select(2, update(client))
    assert.matches("all 1 recorded requests have been made", tostring(errors), 1, true)
    assert_raises("recorded 5, now 6", replay.check, replay)
    replay = assert(testing.replay(path))
    assert_raises("request 1, POST /crm/associations/v4/definitions/configurations/contacts/companies/batch/update, "
      .. "was not made", replay.check, replay)
  end)

  it("has the API version that it was made with", function()
    local recorder = assert(testing.record(path, testing.new { get_all_limits = { results = {} } }
      :options { api_version = "2026-09" }))
    assert(recorder:client():get_all_limits())
    assert(recorder:close())
    assert(assert(testing.replay(path)):client():get_all_limits())
  end)

  it("calls the user's on_event, too", function()
    local types = {}
    local recorder = assert(testing.record(path, testing.new { get_all_limits = { results = {} } }:options {
      on_event = function(event) types[#types + 1] = event.type end }))
    assert(recorder:client():get_all_limits())
    assert(recorder:close())
    assert.same({ "attempt", "done" }, types)
  end)

  it("says why it cannot be made, or read", function()
    local recorder, problem = testing.record("/nowhere/to/be/found")
    assert.is_nil(recorder)
    assert.matches("/nowhere", problem, 1, true)
    local replay
    replay, problem = testing.replay("/nowhere/to/be/found")
    assert.is_nil(replay)
    assert.matches("/nowhere", problem, 1, true)
    for text, expected in pairs { [""] = "empty", ["{}\n"] = ":1: not of a recording",
      ['{"what":"hubspot_assoc recording"}\n{"answer"'] = ":2: not of a recording" } do
      local file = assert(io.open(path, "wb"))
      file:write(text)
      file:close()
      replay, problem = testing.replay(path)
      assert.is_nil(replay)
      assert.matches(expected, problem, 1, true)
    end
    assert_raises("bad argument #1 to 'record' (path: string expected, got nil)", testing.record)
  end)

  it("that is not whole says so", function()
    local full = io.open("/dev/full", "wb")
    if not full then return pending "(no /dev/full)" end
    full:close()
    local function record(to)
      local recorder = assert(testing.record(to, testing.new { get_all_limits = { results = {} } }:options()))
      assert(recorder:client():get_all_limits())
      return recorder:close()
    end
    for _ = 1, 300 do assert(record(path)) end -- until LuaJIT has compiled it
    for _ = 1, 10 do
      local ok, problem = record "/dev/full"
      assert.is_nil(ok)
      assert.matches("/dev/full", problem, 1, true)
    end
  end)
end)

describe("examples/testing", function()
  it("passes", function()
    local command = ("cd examples/testing && env -u HUBSPOT_ACCESS_TOKEN %s ../../scripts/busted.lua limits_spec.lua")
      :format(os.getenv "LUA" or "lua5.4") .. " 2>&1"
    local pipe = assert(io.popen(command))
    local output = pipe:read "*a"
    pipe:close()
    assert.matches("2 successes / 0 failures / 0 errors", output, 1, true)
  end)
end)

describe("JSON as hubspot_assoc.json writes it", function()
  local to_json = require "hubspot_assoc.json"
  local decode = require "hubspot_assoc.core".decode

  it("is always the same, and comes back", function()
    local value = { b = { 1, 2.5, -3, "x\n\"\\\0é" }, a = {}, id = 9007199254740992, ok = false }
    assert.equal('{"a":[],"b":[1,2.5,-3,"x\\n\\"\\\\\\u0000é"],"id":9007199254740992,"ok":false}', to_json(value))
    assert.same(value.b, decode(to_json(value)).b)
  end)

  it("refuses what JSON cannot hold", function()
    local deep = {}
    deep.deep = deep
    for expected, value in pairs { ["a function"] = print, ["a table in itself"] = deep, ["not finite"] = 0 / 0,
      ["neither a list nor"] = { 1, a = 2 } } do
      assert_raises(expected, to_json, { value })
    end
  end)
end)
