-- What a call gives when the answer goes wrong: for every fault that spec/support knows, and for the simulator's.
local async = require "spec.support.async"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"
local ways = require "spec.support.ways"
local wire = require "spec.support.wire"

local AT_ONCE = 3      -- s: generous, and less than any timeout here that is not meant to pass
local LARGE = 60       -- s: the same, for what takes a busy machine its time
local BACKOFF = 0.5    -- s: the longest wait before a second attempt
local SHORT = 0.2      -- s: timeout where it is meant to pass

-- Faults on a first connection, the same for every request. again: a call that may be sent twice is. slow: the
-- attempt's timeout ends it. applied: false if the call surely was not.
local BROKEN = {
  reset_mid_body      = { kind = "transport", code = "receive", status = 200, again = true },
  reset_without_reply = { kind = "transport", code = "receive", again = true },
  close_without_reply = { kind = "transport", code = "receive", again = true },
  never_answers       = { kind = "timeout", again = true, slow = true },
  slow_drip           = { kind = "timeout", status = 200, again = true, slow = true },
  slow_headers        = { kind = "timeout", status = 200, again = true, slow = true },
  short_length        = { kind = "protocol", status = 200, again = true },
  short_chunk         = { kind = "protocol", status = 200, again = true },
  endless_headers     = { kind = "protocol", status = 200 },
  endless_header_line = { kind = "protocol", status = 200 },
  endless_body        = { kind = "protocol", status = 200, message = "larger than max_response_bytes", large = true },
  gzip_bomb           = { kind = "protocol", status = 200, message = "larger than max_response_bytes", large = true },
  garbage             = { kind = "protocol" },
  not_json            = { kind = "protocol", status = 200, message = "not JSON" },
  empty_body          = { kind = "protocol", status = 200, message = "empty" },
  invalid_utf8        = { kind = "protocol", status = 200, message = "UTF%-8" },
  truncated_json      = { kind = "protocol", status = 200, message = "not JSON" },
  deep_json           = { kind = "protocol", status = 200, message = "not JSON" },
  html_error          = { kind = "api", status = 502, again = true },
  redirect            = { kind = "protocol", status = 302, message = "redirect" },
  echo_authorization  = { kind = "api", status = 401, message = "Authentication failed", applied = false },
}

-- Faults after which every call goes well.
local HARMLESS = { none = true, long_length = true, forged_answer = true, close_after_answer = true }

-- The connection opens and dies, maybe before the client knows that it is open.
local RACE = { reset_on_connect = true }

-- Faults that hit a connection which has answered once before.
local WARM = { reset_warm_after_post = true, close_warm_after_post = true, close_warm_idle = true }

local function sorted_names(...)
  local names = {}
  for _, faults_of_a_kind in ipairs { ... } do
    for name in pairs(faults_of_a_kind) do names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- Fails if the text is anywhere in the value.
local function refuse_text(text, value, place)
  if type(value) == "table" then
    for name, field in pairs(value) do refuse_text(text, field, place .. "." .. tostring(name)) end
  end
  assert.is_nil(tostring(value):find(text, 1, true), place)
end

local function check_time(outcome, attempts, fault, timeout)
  local least = fault.slow and attempts * (timeout or SHORT) or 0
  assert.is_true(outcome.seconds >= least - 0.01, "too soon: " .. outcome.seconds)
  local most = least + (attempts - 1) * BACKOFF + (fault.large and LARGE or AT_ONCE)
  assert.is_true(outcome.seconds < most, "too late: " .. outcome.seconds)
end

local function check_error(outcome, fault, expected)
  assert.is_nil(outcome.results)
  assert.equal(1, #outcome.errors)
  local err = outcome.error
  assert.same({ kind = fault.kind, code = fault.code, http_status = fault.status, attempts = expected.attempts,
      retryable = expected.retryable, ambiguous = expected.ambiguous },
    { kind = err.kind, code = err.code, http_status = err.http_status, attempts = err.attempts,
      retryable = err.retryable, ambiguous = err.ambiguous })
  assert.is_nil(err.retry_after)
  assert.truthy(err.message:find(fault.message or ".", 1))
  assert.equal(fault.status, outcome.response and outcome.response.http_status)
  refuse_text(wire.TOKEN, outcome, "outcome")
  refuse_text(wire.TOKEN, tostring(outcome.errors), "tostring(errors)")
end

-- Makes one call against the fault and checks all that can be seen of it.
local function check_broken(name, method, expected)
  local fault = BROKEN[name]
  local server = fault_server.start(faults[name])
  local client = wire.client(server, { timeout = fault.slow and SHORT or fault.large and LARGE or nil,
    deadline = fault.large and LARGE or nil })
  local outcome = wire.call(client, method)
  local seen = server:stop()
  check_error(outcome, fault, expected)
  check_time(outcome, expected.attempts, fault)
  assert.equal(expected.attempts, #seen)
  for _, request in ipairs(seen) do assert.equal(0, request.extra) end
end

-- How calls are made: in the way of the specs that run.
local way = ways[1]

-- A server with this fault, and a client whose connection has answered once.
local function warm(name)
  local server = fault_server.start(faults[name])
  local client = way.client(server)
  wire.good_call(client, "batch_purge")
  server:seen() -- by now the server has also done what it does after an answer
  return server, client
end

local function answer_with(status, body, headers)
  return { "acts.always", { "answer", status, body, headers } }
end

describe("a fault", function()
  after_each(fault_server.stop_all)

  it("of every name is known to these specs", function()
    assert.same(sorted_names(faults), sorted_names(BROKEN, HARMLESS, RACE, WARM))
  end)

  for _, name in ipairs(sorted_names(BROKEN)) do
    local fault = BROKEN[name]
    local applied = fault.applied ~= false

    it(("'%s' ends batch_update after %s"):format(name, fault.again and "two attempts" or "one attempt"), function()
      check_broken(name, "batch_update",
        { attempts = fault.again and 2 or 1, retryable = fault.again or false, ambiguous = applied })
    end)

    if fault.again then
      it(("'%s' ends batch_create, which is sent once"):format(name), function()
        check_broken(name, "batch_create", { attempts = 1, retryable = false, ambiguous = applied })
      end)
    end
  end

  for _, name in ipairs { "reset_without_reply", "never_answers", "garbage" } do
    it(("'%s' ends a read, which never is ambiguous"):format(name), function()
      local again = BROKEN[name].again or false
      check_broken(name, "get_limits", { attempts = again and 2 or 1, retryable = again, ambiguous = false })
    end)
  end

  it("'reset_on_connect' ends a call, which is sent again if it may be", function()
    for _, method in ipairs { "batch_update", "batch_create" } do
      local server = fault_server.start(faults.reset_on_connect)
      local outcome = wire.call(wire.client(server), method)
      local err, seen = outcome.error, server:stop()
      assert.equal("transport", err.kind)
      assert.is_true(err.code == "connect" or err.code == "send" or err.code == "receive", err.code)
      if err.code ~= "connect" then assert.is_true(err.ambiguous) end
      if method == "batch_create" and err.ambiguous then
        assert.is_false(err.retryable)
      else
        assert.same({ 2, true }, { err.attempts, err.retryable })
      end
      assert.same({ 0, err.attempts }, { #seen, seen.connections })
      check_time(outcome, err.attempts, {})
    end
  end)
end)

-- The same faults and expectations, where the calls are asynchronous: all at once, each fault on a server of its own,
-- and each client with two calls at a time. Together they need longer until a request is sent.
local LONGER = 12 * SHORT

for _, driver in ipairs(async.drivers) do
  describe("a fault, where calls are driven by " .. driver.name .. ",", function()
    local jobs, clients

    local function begin(job, client)
      local inputs, started = wire.INPUTS[job.method], wire.monotime()
      local future = client.async[job.method](client.async, "contacts", "companies", inputs)
      future:on_done(function(results, errors, response)
        job.outcome = { results = results, errors = errors, error = errors and errors[1] or {}, response = response,
          seconds = wire.monotime() - started }
      end)
    end

    local function pending()
      local n = 0
      for _, client in ipairs(clients) do n = n + client:pending() end
      return n
    end

    setup(function()
      jobs, clients = {}, {}
      for _, name in ipairs(sorted_names(BROKEN)) do
        local fault = BROKEN[name]
        local server = fault_server.start(faults[name])
        local client = wire.client(server, { io_thread = driver.io_thread, timeout = fault.slow and LONGER or nil,
          max_response_bytes = 1024 * 1024 }) -- less to compute for what is endless
        clients[#clients + 1] = client
        for _, method in ipairs { "batch_update", "batch_create" } do
          local again = fault.again and method == "batch_update" or false
          jobs[name .. method] = { fault = fault, method = method, server = server, client = client, expected = {
            attempts = again and 2 or 1, retryable = again, ambiguous = fault.applied ~= false } }
        end
      end
      -- Only now: starting servers takes its time, in which calls that step drives would not move on.
      for _, job in pairs(jobs) do begin(job, job.client) end
      local give_up_at = wire.monotime() + 60
      while pending() > 0 and wire.monotime() < give_up_at do
        for _, client in ipairs(clients) do client:step(0.001) end
      end
    end)

    teardown(fault_server.stop_all)

    for _, name in ipairs(sorted_names(BROKEN)) do
      for _, method in ipairs { "batch_update", "batch_create" } do
        it(("'%s' ends %s as if it were ordinary"):format(name, method), function()
          local job = jobs[name .. method]
          check_error(job.outcome, job.fault, job.expected)
          check_time(job.outcome, job.expected.attempts, job.fault, LONGER)
          assert.equal(job.expected.attempts, wire.count(job.server:stop(), method))
        end)
      end
    end
  end)
end

for _, each in ipairs(ways) do
  describe("a fault that does no harm, where calls are " .. each.name, function()
    setup(function() way = each end)
    after_each(fault_server.stop_all)

    for _, name in ipairs(sorted_names(HARMLESS)) do
      for _, method in ipairs { "batch_update", "batch_create" } do
        it(("'%s' harms no %s"):format(name, method), function()
          local server, client = warm(name)
          local outcome = wire.good_call(client, method)
          local seen = server:stop()
          assert.equal(279, outcome.results[1].typeId)
          assert.equal(1, outcome.response.attempts)
          assert.equal(1, wire.count(seen, method))
          assert.equal(name == "none" and 1 or 2, seen.connections)
          assert.is_true(outcome.seconds < AT_ONCE)
        end)
      end
    end
  end)

  describe("a kept connection that dies, where calls are " .. each.name, function()
    setup(function() way = each end)
    after_each(fault_server.stop_all)

    for _, name in ipairs(sorted_names(WARM)) do
      local read = name == "close_warm_idle" and 0 or 1 -- how often the dying connection read the call

      it(("('%s') does not stop batch_update, which is sent again"):format(name), function()
        local server, client = warm(name)
        local outcome = wire.good_call(client, "batch_update")
        local seen = server:stop()
        assert.equal(279, outcome.results[1].typeId)
        assert.equal(read + 1, wire.count(seen, "batch_update"))
        assert.equal(2, seen.connections)
        assert.equal(2, seen[#seen].connection)
        assert.is_true(outcome.seconds < BACKOFF + AT_ONCE)
      end)

      it(("('%s') never has batch_create sent twice"):format(name), function()
        local server, client = warm(name)
        local outcome = wire.call(client, "batch_create", { max_attempts = 4 })
        local seen = server:stop()
        assert.equal(read, wire.count(seen, "batch_create"))
        for _, request in ipairs(seen) do assert.equal(1, request.connection) end
        check_error(outcome, { kind = "transport", code = "receive" },
          { attempts = 1, retryable = false, ambiguous = true })
        assert.is_true(outcome.seconds < AT_ONCE)
      end)

      it(("('%s') is replaced: the client goes on"):format(name), function()
        local server, client = warm(name)
        wire.call(client, "batch_create")
        for _ = 1, 3 do wire.good_call(client, "batch_create") end
        assert.equal(read + 3, wire.count(server:stop(), "batch_create"))
      end)
    end

    it("and another after it are told of by what became of the last", function()
      local server = fault_server.start {
        "acts.by_connection", { { { "serve", 1 }, "request", "reset" } }, "request", "close" }
      local client = way.client(server)
      wire.good_call(client, "batch_update")
      local outcome = wire.call(client, "batch_update", { max_attempts = 1 })
      check_error(outcome, { kind = "transport", code = "receive", message = "Empty reply from server" },
        { attempts = 1, retryable = true, ambiguous = true })
      assert.equal(3, #server:stop())
    end)

    -- The second call on each connection is read, and then the connection dies: HubSpot may have counted it.
    local function dying_server()
      return fault_server.start { "acts.once", { "serve", 1 }, "request", "reset" }
    end

    it("gives its call back: what is sent again takes a place of its own in the rate", function()
      local server = dying_server()
      local client = way.client(server, { rate = { requests = 3, interval = 600 } })
      for _ = 1, 2 do assert.equal(1, wire.good_call(client, "batch_update").response.attempts) end
      local err = wire.call(client, "batch_update").error
      assert.same({ "throttled", 0 }, { err.kind, err.attempts })
      assert.equal(3, #server:stop())
    end)

    it("gives its call back to a rate that is used up", function()
      local server = dying_server()
      local client = way.client(server, { rate = { requests = 2, interval = 600 } })
      wire.good_call(client, "batch_update")
      local err = wire.call(client, "batch_update").error
      assert.same({ "throttled", 1, true, true }, { err.kind, err.attempts, err.retryable, err.ambiguous })
      assert.equal(2, #server:stop())
    end)

    it("has the limiter asked once more", function()
      local server, asked, told = dying_server(), 0, 0
      local client = way.client(server, { limiter = {
        reserve = function()
          asked = asked + 1
          return 0
        end,
        observe = function() told = told + 1 end } })
      for _ = 1, 2 do assert.equal(1, wire.good_call(client, "batch_update").response.attempts) end
      assert.same({ 3, 2, 3 }, { asked, told, #server:stop() })
    end)

    it("one after the other takes no call with it that may be sent again", function()
      -- Every connection answers one call and dies at the second, after reading it.
      local server = fault_server.start { "acts.once", { "serve", 1 }, "request", "reset" }
      local client = way.client(server)
      for _ = 1, 5 do wire.good_call(client, "batch_update") end
      local seen = server:stop()
      assert.equal(5, seen.connections)
      assert.equal(9, #seen)
    end)
  end)
end

describe("an error status", function()
  after_each(fault_server.stop_all)

  -- One call to a server that does this with each request: see spec/servers/acts.lua.
  local function call_scripted(acts, options)
    table.insert(acts, 1, "acts.always")
    local client = wire.client(fault_server.start(acts), options)
    return wire.call(client, "batch_update", { max_attempts = 1 })
  end

  it("is HubSpot's no, even if the body is cut short", function()
    local outcome = call_scripted { { "head", 400, { ["Content-Length"] = 500 } }, { "send", '{"status"' }, "close" }
    assert.same({ "api", 400, false }, { outcome.error.kind, outcome.error.http_status, outcome.error.ambiguous })
  end)

  it("is HubSpot's no, even if the body is reset", function()
    local outcome = call_scripted {
      { "head", 404, { ["Content-Length"] = 500 } }, { "send", "{" }, { "sleep", 0.05 }, "reset" }
    assert.same({ "api", 404 }, { outcome.error.kind, outcome.error.http_status })
  end)

  it("is HubSpot's no, even if the body never ends", function()
    local outcome = call_scripted({ { "head", 403, { ["Content-Length"] = 500 } }, { "send", "{" }, { "sleep", 30 } },
      { timeout = SHORT })
    assert.same({ "api", 403 }, { outcome.error.kind, outcome.error.http_status })
    assert.is_true(outcome.seconds >= SHORT - 0.01 and outcome.seconds < SHORT + AT_ONCE)
  end)

  it("is HubSpot's no, even if the body is too large", function()
    local outcome = call_scripted({ { "json", 409, ("x"):rep(5000) } }, { max_response_bytes = 1000 })
    assert.same({ "api", 409 }, { outcome.error.kind, outcome.error.http_status })
  end)

  it("of a number that nobody knows is HubSpot's no", function()
    local outcome = call_scripted { { "json", 418, '{"message":"short and stout"}' } }
    assert.same({ "api", 418, "short and stout" },
      { outcome.error.kind, outcome.error.http_status, outcome.error.message })
  end)
end)

describe("an unusual answer", function()
  after_each(fault_server.stop_all)

  local OK = '{"status":"COMPLETE","results":[{"category":"USER_DEFINED","typeId":36}]}'

  local function call_server(script)
    return wire.call(wire.client(fault_server.start(script)), "batch_update", { max_attempts = 1 })
  end

  it("with an interim answer before it is the last one", function()
    local outcome = call_server {
      "acts.always", { "send", "HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n" }, "ok" }
    assert.is_nil(outcome.errors)
    assert.equal(200, outcome.response.http_status)
  end)

  it("of endless interim answers is stopped", function()
    local outcome = call_server "answers.endless_hints"
    assert.equal("protocol", outcome.error.kind)
    assert.is_true(outcome.seconds < AT_ONCE)
  end)

  it("without a length ends where the connection ends", function()
    local outcome = call_server "answers.until_the_end"
    assert.is_nil(outcome.errors)
    assert.equal(279, outcome.results[1].typeId)
  end)

  it("in chunks is put together", function()
    local outcome = call_server "answers.in_chunks"
    assert.is_nil(outcome.errors)
    assert.equal(279, outcome.results[1].typeId)
  end)

  for status, sentence in pairs { [201] = "created", [202] = "accepted", [299] = "of any 2xx" } do
    it(("is well if it is %s (%d)"):format(sentence, status), function()
      local server = fault_server.start(answer_with(status, OK))
      local outcome = wire.good_call(wire.client(server), "batch_update")
      assert.same({ 36, status }, { outcome.results[1].typeId, outcome.response.http_status })
    end)
  end

  it("without content (204) is an empty list", function()
    for _, method in ipairs { "batch_update", "batch_create", "batch_purge", "get_limits" } do
      local server = fault_server.start { "acts.always", { "send", "HTTP/1.1 204 No Content\r\n\r\n" } }
      local client = wire.client(server)
      for _ = 1, 2 do assert.same({}, wire.good_call(client, method).results) end
      assert.equal(1, server:stop().connections)
    end
  end)

  for encoding, sentence in pairs { gzip = "that is no gzip", unheard = "in an unknown encoding" } do
    it(("%s is a protocol error"):format(sentence), function()
      local server = fault_server.start(answer_with(200, OK, { ["Content-Encoding"] = encoding }))
      local outcome = wire.call(wire.client(server), "batch_update")
      assert.same({ "protocol", 1 }, { outcome.error.kind, outcome.error.attempts })
      assert.is_true(outcome.error.ambiguous)
    end)
  end

  for _, status in ipairs { 300, 301, 303, 304, 307, 308 } do
    it(("of status %d is a protocol error and not followed"):format(status), function()
      local server = fault_server.start { "answers.moved", status }
      local outcome = wire.call(wire.client(server), "batch_update")
      assert.same({ "protocol", status, 1 }, { outcome.error.kind, outcome.error.http_status, outcome.error.attempts })
      assert.equal(1, #server:stop())
    end)
  end
end)

describe("a fault of the simulator", function()
  local token, client

  before_each(function()
    token = simulator.token()
    client = wire.client(simulator.url, { access_token = token })
  end)

  local function limit_of(type_id)
    for _, limit in ipairs(wire.good_call(client, "get_limits").results) do
      if limit.typeId == type_id then return limit.userEnforcedMaxToObjectIds end
    end
  end

  it("of one call is over with it", function()
    simulator.fault(token, { status = 400 })
    assert.equal(400, wire.call(client, "batch_update").error.http_status)
    wire.good_call(client, "batch_update")
    assert.equal(2, simulator.log(token).count)
  end)

  it("that closes without an answer is overcome by batch_update", function()
    simulator.fault(token, { close = true })
    local outcome = wire.good_call(client, "batch_update")
    assert.equal(2, outcome.response.attempts)
    assert.equal(2, simulator.log(token).count)
    assert.equal(5, limit_of(36))
  end)

  it("that closes without an answer leaves batch_create ambiguous", function()
    simulator.fault(token, { close = true })
    local outcome = wire.call(client, "batch_create")
    check_error(outcome, { kind = "transport", code = "receive" },
      { attempts = 1, retryable = false, ambiguous = true })
    assert.equal(1, simulator.log(token).count)
  end)

  it("after the call was carried out does not have batch_create carried out twice", function()
    for _, fault in ipairs { { status = 502, after = true }, { close = true, after = true } } do
      token = simulator.token()
      client = wire.client(simulator.url, { access_token = token })
      simulator.fault(token, fault)
      local outcome = wire.call(client, "batch_create", { max_attempts = 4 })
      assert.is_nil(outcome.results)
      assert.is_true(outcome.error.ambiguous)
      assert.is_false(outcome.error.retryable)
      assert.equal(1, simulator.log(token).count)
      assert.equal(5, limit_of(1))
    end
  end)

  it("hides from the client what the log tells", function()
    simulator.fault(token, { status = 400 })
    simulator.fault(token, { status = 502, after = true })
    wire.call(client, "batch_update")
    wire.good_call(client, "batch_update")
    local log = simulator.log(token)
    assert.is_nil(log[1].carried_out)
    assert.same({ 502, 200 }, { log[2].status, log[2].carried_out.status })
  end)

  it("after the call was carried out does no harm to batch_update", function()
    simulator.fault(token, { status = 502, after = true })
    wire.good_call(client, "batch_update")
    assert.equal(2, simulator.log(token).count)
    assert.equal(5, limit_of(36))
  end)

  it("that delays the answer ends the attempt, and the next one goes well", function()
    simulator.fault(token, { delay = 1 })
    local outcome = wire.good_call(client, "batch_update", { timeout = SHORT })
    assert.equal(2, outcome.response.attempts)
    assert.is_true(outcome.seconds >= SHORT - 0.01 and outcome.seconds < SHORT + BACKOFF + AT_ONCE)
    assert.equal(2, simulator.log(token).count)
  end)

  it("that delays a request has it carried out after what the program did next, as the log tells", function()
    local function change(name, to, options)
      local _, errors = client[name](client, "contacts", "companies", { { from = { id = "1" }, to = to } }, options)
      assert.is_nil(errors)
    end
    simulator.fault(token, { delay = 3 })
    change("associate_default", { id = "2" }, { timeout = SHORT })
    change("archive", { { id = "2" } })
    local log
    repeat
      wire.sleep(0.05)
      log = simulator.log(token)
    until log[1].carried_out
    local given_up, associated, archived = log[1], log[2], log[3]
    assert.same({ 1, 2, 4 }, { given_up.turn, associated.turn, archived.turn })
    assert.same({ 6, 3, 5 }, { given_up.carried_out.turn, associated.carried_out.turn, archived.carried_out.turn })
    assert.is_true(given_up.carried_out.time >= given_up.time + 2.9)
    assert.equal("2", client:list("contacts", "1", "companies")[1].toObjectId)
    assert.equal(archived.number, simulator.log(token, associated.number)[1].number)
  end)

  it("that delays the answer leaves batch_create ambiguous", function()
    simulator.fault(token, { delay = 1 })
    local outcome = wire.call(client, "batch_create", { timeout = SHORT })
    check_error(outcome, { kind = "timeout" }, { attempts = 1, retryable = false, ambiguous = true })
    assert.is_true(outcome.seconds >= SHORT - 0.01 and outcome.seconds < SHORT + 0.6)
    assert.equal(1, simulator.log(token).count)
  end)

  it("that delays the answer is waited for if there is time", function()
    simulator.fault(token, { delay = 0.3 })
    local outcome = wire.good_call(client, "batch_create")
    assert.equal(1, outcome.response.attempts)
    assert.is_true(outcome.seconds >= 0.29 and outcome.response.elapsed >= 0.29)
  end)
end)
