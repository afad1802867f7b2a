-- What goes over the wire, and what does not: requests as the server sees them, connections, sizes, files never read.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local LATE = 1.5 -- s
local V4 = "/crm/associations/v4/definitions/configurations/"

local function assert_error(expected, outcome)
  local got = {}
  for name in pairs(expected) do got[name] = outcome.error[name] end
  assert.is_nil(outcome.results)
  assert.same(expected, got)
end

local function many_inputs(n)
  local inputs = {}
  for i = 1, n do inputs[i] = { category = "USER_DEFINED", typeId = 36, maxToObjectIds = i % 20 + 1 } end
  return inputs
end

describe("a request", function()
  local server

  before_each(function() server = fault_server.start(faults.none) end)
  after_each(fault_server.stop_all)

  local function request_of(method, options)
    wire.good_call(wire.client(server, options), method)
    return server:stop()[1]
  end

  it("with inputs is a POST of JSON with the token", function()
    local request = request_of "batch_update"
    assert.same({ "POST", V4 .. "contacts/companies/batch/update" }, { request.method, request.path })
    local headers = request.headers
    assert.equal("Bearer " .. wire.TOKEN, headers.authorization)
    assert.equal("application/json", headers["content-type"])
    assert.equal("application/json", headers.accept)
    assert.equal(tostring(#request.body), headers["content-length"])
    assert.truthy(request.body:find('"typeId":36', 1, true))
    assert.equal(server.url, "http://" .. headers.host)
  end)

  it("without inputs is a GET without a body", function()
    local request = request_of "get_limits"
    assert.same({ "GET", V4 .. "contacts/companies", "" }, { request.method, request.path, request.body })
    assert.is_nil(request.headers["content-type"])
    assert.is_nil(request.headers["content-length"])
    assert.equal("Bearer " .. wire.TOKEN, request.headers.authorization)
  end)

  it("has no header that nobody asked for", function()
    local known = { host = true, authorization = true, ["content-type"] = true, ["content-length"] = true,
      accept = true, ["accept-encoding"] = true, ["user-agent"] = true }
    for name in pairs(request_of("batch_update").headers) do assert.is_true(known[name], name) end
  end)

  it("does not wait for leave to send a large body", function()
    local inputs = many_inputs(2000)
    for _, input in ipairs(inputs) do input.category = ("X"):rep(600) end
    local outcome = wire.timed(wire.client(server), "batch_update", "contacts", "companies", inputs)
    assert.is_nil(outcome.errors)
    local request = server:stop()[1]
    assert.is_true(#request.body > 1024 * 1024) -- from there on, libcurl would ask, and wait for 1 s
    assert.is_nil(request.headers.expect)
  end)

  it("names this library, libcurl and Lua in its User-Agent", function()
    local agent = request_of("get_limits").headers["user-agent"]
    assert.truthy(agent:find "^hubspot_assoc/%d[%d.]* %(libcurl/%d+%.%d+%.%d+[%w.+-]*; Lua 5%.%d%)$", agent)
  end)

  it("has the user_agent option behind that", function()
    local agent = request_of("get_limits", { user_agent = "my-app/1.0 (mail@example.com)" }).headers["user-agent"]
    assert.truthy(agent:find "^hubspot_assoc/.*%) my%-app/1%.0 %(mail@example%.com%)$")
  end)

  it("goes below the path of base_url, slash or not", function()
    for _, tail in ipairs { "/prefix", "/prefix/" } do
      server = fault_server.start(faults.none)
      wire.good_call(wire.client(server.url .. tail), "get_limits")
      assert.equal("/prefix" .. V4 .. "contacts/companies", server:stop()[1].path)
    end
  end)

  it("has a dated version in its path", function()
    assert.equal("/crm/associations/2026-03/definitions/configurations/contacts/companies/batch/update",
      request_of("batch_update", { api_version = "2026-03" }).path)
  end)

  for segment, encoded in pairs {
    ["../x"] = "..%2Fx", ["a/b"] = "a%2Fb", ["a?b=c"] = "a%3Fb%3Dc", ["a#b"] = "a%23b", ["a b"] = "a%20b",
    ["%2e%2e"] = "%252e%252e", ["..\\x"] = "..%5Cx", ["a;b"] = "a%3Bb", ["ä"] = "%C3%A4", ["@x:y"] = "%40x%3Ay",
    ["..."] = "...", ["2-1234567"] = "2-1234567", ["p_my.thing~"] = "p_my.thing~", ["a+b&c"] = "a%2Bb%26c",
  } do
    it(("keeps %q one segment of the path"):format(segment), function()
      local client = wire.client(server)
      assert(client:get_limits(segment, "companies"))
      assert(client:get_limits("contacts", segment))
      assert(client:batch_purge(segment, segment, wire.INPUTS.batch_purge))
      local seen = server:stop()
      assert.equal(V4 .. encoded .. "/companies", seen[1].path)
      assert.equal(V4 .. "contacts/" .. encoded, seen[2].path)
      assert.equal(V4 .. encoded .. "/" .. encoded .. "/batch/purge", seen[3].path)
    end)
  end

  it("is understood by a server that decodes its path", function()
    local token = simulator.token()
    local client = wire.client(simulator.url, { access_token = token })
    local _, errors = client:get_limits("contacts/companies", "deals")
    assert.equal(400, errors[1].http_status) -- an unknown object type, not another path
    assert.truthy(tostring(errors):find("contacts/companies", 1, true))
  end)

  it("takes the token anew from the environment if no option gives one", function()
    local report = child.run({ HUBSPOT_ACCESS_TOKEN = "pat-from-environment", HUBSPOT_BASE_URL = server.url },
      [[ local results, errors = require("hubspot_assoc").get_all_limits() return results and #results, errors ]])
    assert.same({ "1", "nil" }, { report[1], report[2] })
    assert.equal("Bearer pat-from-environment", server:stop()[1].headers.authorization)
  end)
end)

describe("HUBSPOT_ACCESS_TOKEN", function()
  it("is a token alone: with blanks in it nothing is sent", function()
    for _, token in ipairs { " ", "Bearer pat-x" } do
      local report = child.run({ HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = "http://127.0.0.1:1" },
        [[ local _, errors = require("hubspot_assoc").get_all_limits() return errors[1].kind, errors[1].message ]])
      assert.equal("config", report[1])
      assert.matches("HUBSPOT_ACCESS_TOKEN must have no blanks in it", report[2], 1, true)
    end
  end)
end)

describe("between two requests", function()
  after_each(fault_server.stop_all)

  it("no cookie is kept", function()
    local server = fault_server.start { "acts.always", { "ok", { ["Set-Cookie"] = "id=1; Path=/" } } }
    local client = wire.client(server)
    for _ = 1, 3 do wire.good_call(client, "batch_update") end
    for _, request in ipairs(server:stop()) do assert.is_nil(request.headers.cookie) end
  end)

  it("the connection is kept", function()
    local server = fault_server.start(faults.none)
    local client = wire.client(server)
    for _ = 1, 5 do
      wire.good_call(client, "batch_update")
      wire.good_call(client, "get_limits")
    end
    local seen = server:stop()
    assert.same({ 10, 1 }, { #seen, seen.connections })
  end)

  it("the connection is kept after errors of the API", function()
    local server = fault_server.start "transport.refuse"
    local client = wire.client(server, { max_attempts = 1 })
    for _ = 1, 3 do
      wire.call(client, "get_limits")
      wire.call(client, "batch_update")
    end
    local seen = server:stop()
    assert.same({ 6, 1 }, { #seen, seen.connections })
  end)

  it("the connection is given up if the server says so", function()
    local server = fault_server.start { "acts.always", { "ok", { Connection = "close" } }, "close" }
    local client = wire.client(server)
    for _ = 1, 3 do wire.good_call(client, "batch_create") end
    assert.equal(3, server:stop().connections)
  end)

  it("the connection is given up after a timeout, and a late answer is nobody's", function()
    local server = fault_server.start "transport.late"
    local client = wire.client(server, { max_attempts = 1 })
    assert.equal("timeout", wire.call(client, "batch_update", { timeout = 0.2 }).error.kind)
    wire.sleep(0.3)
    assert.equal(279, wire.good_call(client, "batch_update").results[1].typeId)
    assert.equal(2, server:stop().connections)
  end)

  it("clients share no connection", function()
    local server = fault_server.start(faults.none)
    for _ = 1, 2 do wire.good_call(wire.client(server), "batch_update") end
    assert.equal(2, server:stop().connections)
  end)

  local ENDS_SOON = "transport.ends_soon"

  local function collect()
    collectgarbage()
    collectgarbage()
  end

  it("a dropped client's connection is closed", function()
    local server = fault_server.start(ENDS_SOON)
    local function use_client() wire.good_call(wire.client(server), "batch_update") end
    use_client()
    collect()
    wire.sleep(0.5)
    server:stop()
  end)

  it("a program that is started does not inherit the connection, which would keep it open", function()
    local server = fault_server.start(ENDS_SOON)
    local program
    local function use_client()
      local client = wire.client(server)
      wire.good_call(client, "batch_update")
      program = io.popen "exec sleep 0.8" -- while the connection is open
    end
    use_client()
    collect()
    wire.sleep(0.5)
    server:stop()
    program:close()
  end)

  -- Else what it prints would go to the server, in a connection's descriptor.
  it("a program that was started without standard input, output and error may print", function()
    local script, report = os.tmpname(), os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write [[
      local client = require "hubspot_assoc".new()
      local all_went_well = true
      for _ = 1, 3 do
        all_went_well = client:get_all_limits() ~= nil and all_went_well
        io.stdout:write "hello\n"
        io.stdout:flush()
        io.stderr:write "hello\n"
      end
      local report = assert(io.open(..., "w"))
      report:write(tostring(all_went_well), " ", client:stats().connections_opened)
      report:close()
    ]]
    file:close()
    os.execute(("HUBSPOT_BASE_URL=%s HUBSPOT_ACCESS_TOKEN=%s %s %s %s <&- >&- 2>&-"):format(
      simulator.url, simulator.token(), os.getenv "LUA" or "lua5.4", script, report))
    file = assert(io.open(report))
    assert.equal("true 1", file:read "*a")
    file:close()
    os.remove(script)
    os.remove(report)
  end)

  it("dropped clients leave no descriptor open", function()
    local function descriptors()
      collect()
      -- The pipe of the question itself may be seen once or twice.
      local pipe = assert(io.popen "ls -l /proc/$PPID/fd | grep -v pipe: | wc -l")
      local n = tonumber(pipe:read "*a")
      pipe:close()
      return n
    end
    local server = fault_server.start(faults.none)
    local function use_clients(n) -- in a function of its own, so that no register keeps the last one
      for _ = 1, n do wire.good_call(wire.client(server), "batch_update") end
    end
    use_clients(1) -- libcurl keeps some for the process
    local before = descriptors()
    use_clients(5)
    assert.is_true(descriptors() <= before)
  end)
end)

describe("an answer", function()
  after_each(fault_server.stop_all)

  it("of max_response_bytes is taken, one byte more is not", function()
    local server = fault_server.start { "transport.envelope", 5000 }
    wire.good_call(wire.client(server, { max_response_bytes = 5000 }), "batch_update")
    local outcome = wire.call(wire.client(server, { max_response_bytes = 4999 }), "batch_update")
    assert_error({ kind = "protocol", http_status = 200, attempts = 1, ambiguous = true, retryable = false }, outcome)
    assert.equal(2, #server:stop())
  end)

  it("in gzip is decoded, and max_response_bytes counts what came out", function()
    local server = fault_server.start { "transport.envelope_in_gzip", 5000 }
    wire.good_call(wire.client(server, { max_response_bytes = 5000 }), "batch_update")
    local outcome = wire.call(wire.client(server, { max_response_bytes = 4999 }), "batch_update")
    assert_error({ kind = "protocol", http_status = 200 }, outcome)
    assert.equal("gzip", server:stop()[1].headers["accept-encoding"])
  end)

  it("of 64 MiB in gzip takes no more memory than max_response_bytes", function()
    local server = fault_server.start(faults.gzip_bomb)
    local report = child.run({}, child.MOST_MEMORY .. [[
      local client = require("spec.support.wire").client(..., { max_response_bytes = 1000000 })
      client:get_limits("contacts", "a/b", { timeout = 0.001, max_attempts = 1 }) -- libcurl is loaded and ready
      local before = most()
      local _, errors = client:batch_update("contacts", "companies",
        { { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 5 } })
      return errors[1].kind, most() - before
    ]], server.url)
    assert.equal("protocol", report[1])
    assert.is_true(tonumber(report[2]) < 16 * 1024, report[2] .. " KiB")
  end)

  it("with headers under 64 KiB is taken, with more it is not", function()
    local function call_with_headers(kib)
      local server = fault_server.start { "transport.long_head", kib }
      return wire.call(wire.client(server), "batch_update")
    end
    assert.is_nil(call_with_headers(60).errors)
    assert_error({ kind = "protocol", http_status = 200, attempts = 1 }, call_with_headers(70))
  end)

  it("may end with headers", function()
    local server = fault_server.start "transport.trailer"
    wire.good_call(wire.client(server), "batch_update")
  end)

  it("of 2000 results comes whole", function()
    local token = simulator.token()
    local client = wire.client(simulator.url, { access_token = token })
    local outcome = wire.timed(client, "batch_update", "contacts", "companies", many_inputs(2000))
    assert.is_nil(outcome.errors)
    assert.equal(2000, #outcome.results)
    assert.equal(1, simulator.log(token).count)
  end)

  it("in bytes one by one is as good as any", function()
    local server = fault_server.start "transport.bytes"
    assert.equal(279, wire.good_call(wire.client(server), "batch_update").results[1].typeId)
  end)

  it("that comes before the request was read is the answer all the same", function()
    -- HubSpot's edge may refuse a large body early. The server reads all of it later, so that no reset is in the way.
    local server = fault_server.start {
      "acts.once", "wait_readable", { "json", 413, '{"message":"too much"}' }, "request" }
    local outcome = wire.timed(wire.client(server), "batch_update", "contacts", "companies", many_inputs(2000))
    assert_error({ kind = "api", http_status = 413, message = "too much" }, outcome)
  end)
end)

describe("files of the user", function()
  after_each(fault_server.stop_all)

  it("are not read: no .netrc, no .curlrc", function()
    -- Whoever opens these pipes to read waits for ever.
    local home = os.tmpname()
    os.remove(home)
    os.execute(("mkdir %s && mkfifo %s/.netrc %s/_netrc %s/.curlrc"):format(home, home, home, home))
    local server = fault_server.start(faults.none)
    local report = child.run({ HOME = home, CURL_HOME = home, XDG_CONFIG_HOME = home, NETRC = home .. "/.netrc" }, [[
      local wire = require "spec.support.wire"
      return #wire.good_call(wire.client(...), "batch_update").results
    ]], server.url)
    os.execute("rm -r " .. shell.quote(home))
    assert.same({ "0", "1" }, { report.status, report[1] })
    assert.equal("Bearer " .. wire.TOKEN, server:stop()[1].headers.authorization)
  end)
end)

describe("a connection", function()
  after_each(fault_server.stop_all)

  it("that nobody answers ends with connect_timeout, and nothing was sent", function()
    -- A listener whose queue is full: the kernel drops what comes then. Its port is the first call's result.
    local server = fault_server.start "transport.deaf"
    local port = wire.good_call(wire.client(server), "get_limits").results[1].typeId
    local client = wire.client(("http://127.0.0.1:%d"):format(port), { connect_timeout = 0.3 })
    local outcome = wire.call(client, "batch_create")
    assert_error({ kind = "timeout", attempts = 2, ambiguous = false, retryable = true }, outcome)
    assert.is_nil(outcome.response)
    assert.is_true(outcome.seconds >= 0.59 and outcome.seconds < 0.6 + 0.5 + LATE, outcome.seconds)
  end)

  it("that is refused is told as connect", function()
    local outcome = wire.call(wire.client("http://127.0.0.1:1"), "batch_update")
    assert_error({ kind = "transport", code = "connect", attempts = 2, ambiguous = false, retryable = true }, outcome)
    assert.is_true(outcome.seconds < 0.5 + LATE)
  end)

  it("to a name that cannot be looked up is told as resolve", function()
    local impossible = ("x"):rep(64) .. ".example" -- no label may be that long: nobody is asked
    local outcome = wire.call(wire.client("https://" .. impossible), "batch_create", { max_attempts = 1 })
    assert_error({ kind = "transport", code = "resolve", attempts = 1, ambiguous = false }, outcome)
  end)

  it("that is reset while a large body is sent is told, and does not kill the program", function()
    for _, ending in ipairs { "reset", "close" } do
      local server = fault_server.start { "acts.once", "wait_readable", ending }
      local outcome = wire.timed(wire.client(server), "batch_create", "contacts", "companies", many_inputs(2000))
      assert_error({ kind = "transport", attempts = 1, ambiguous = true, retryable = false }, outcome)
      assert.truthy(({ send = true, receive = true })[outcome.error.code])
    end
  end)
end)

-- SIGPIPE comes from the TLS of an older libcurl (7.81, not 7.88) that writes to a connection which is gone. Between
-- client and simulator there is a relay that resets; the programs run by themselves: the signal would end this one.
describe("SIGPIPE", function()
  after_each(fault_server.stop_all)

  local function start_relay()
    return fault_server.start { "transport.relay", tonumber(simulator.https_url:match ":(%d+)$") }
  end

  local function run(code)
    local relay = start_relay()
    return child.run({}, [[
      local url, ca_file, token = ...
      local wire = require "spec.support.wire"
      local client = wire.client(url, { ca_file = ca_file, access_token = token, max_attempts = 1 })
      wire.good_call(client, "batch_update")
      wire.sleep(1) -- the relay has reset the connection
    ]] .. code, (relay.url:gsub("^http:", "https:")), simulator.ca_file, simulator.token())
  end

  it("would end a program here", function()
    local report = child.run({}, [[ local pipe = io.popen("true", "w")
      require("system").sleep(0.2)
      for _ = 1, 9 do pipe:write(("x"):rep(100000)) end
      return "alive" ]])
    assert.equal("141", report.status)
  end)

  it("stays ignored where it is, whatever libcurl does", function()
    local server = fault_server.start(faults.none)
    for _, io_thread in ipairs { false, true } do
      local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "resets_sigpipe") }, ([[
        local wire = require "spec.support.wire"
        local client = wire.client(..., { io_thread = %s })
        assert(client.async:get_limits("contacts", "companies"):wait())
        local pipe = io.popen("true", "w")
        require("system").sleep(0.2)
        for _ = 1, 9 do pipe:write(("x"):rep(100000)) end
        return "alive" ]]):format(tostring(io_thread)), server.url)
      assert.same({ "alive", "0" }, { report[1], report.status })
    end
  end)

  it("does not end a program whose next call finds the connection gone", function()
    local report = run [[
      wire.good_call(client, "batch_update")
      return "alive"
    ]]
    assert.same({ "alive", "0" }, { report[1], report.status })
  end)

  it("does not end a program that drops the client", function()
    local report = run [[
      client = nil
      collectgarbage()
      collectgarbage()
      return "alive"
    ]]
    assert.same({ "alive", "0" }, { report[1], report.status })
  end)

  it("still ends the program for reasons of its own after a call", function()
    local report = run [[
      wire.call(client, "batch_update")
      local pipe = io.popen("true", "w")
      wire.sleep(0.2)
      for _ = 1, 9 do pipe:write(("x"):rep(100000)) end
      return "alive"
    ]]
    assert.equal("141", report.status)
  end)
end)
