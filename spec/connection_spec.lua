-- Connections that end, die, fall silent or say what nobody asked: what was not processed is sent again, and nothing is
-- applied twice.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local libcurl = require "spec.support.libcurl"
local nginx = require "spec.support.nginx"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"
local system = require "system"
local ways = require "spec.support.ways"
local wire = require "spec.support.wire"

local LATE = 10 -- s

local folder -- of the certificate

local function run(command)
  local status = os.execute(command)
  assert(status == true or status == 0, command)
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  run(("mkdir %s && cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>/dev/null")
    :format(shell.quote(folder), shell.quote(folder)))
end)

teardown(function() os.execute("rm -r " .. shell.quote(folder)) end)

-- An nginx that counts how often each input was applied. PORT speaks HTTP/1.1; PORT1 TLS, with HTTP/2 if
-- asked; PORT2 TLS without.
local function counting_server(settings)
  return nginx.start {
    http = "lua_shared_dict applied 10m; lua_shared_dict counts 1m;",
    server = ([[
      listen 127.0.0.1:@PORT1@ ssl http2;
      listen 127.0.0.1:@PORT2@ ssl;
      ssl_certificate %s/cert;
      ssl_certificate_key %s/key;
      %s
      location / { content_by_lua_block {
        ngx.req.read_body()
        local id = ngx.req.get_body_data():match '"typeId":(%%d+)'
        ngx.shared.applied:incr(id, 1, 0)
        ngx.header["Content-Type"] = "application/json"
        ngx.print('{"status":"COMPLETE","results":[{"category":"USER_DEFINED","typeId":', id, '}]}')
      } }
      location = /counts { content_by_lua_block {
        local applied, twice = 0, 0
        for _, id in ipairs(ngx.shared.applied:get_keys(0)) do
          applied = applied + 1
          if ngx.shared.applied:get(id) > 1 then twice = twice + 1 end
        end
        ngx.print(applied, " ", twice)
      } } ]]):format(folder, folder, settings),
  }
end

local function https(server)
  return ("https://localhost:%d"):format(server.port + 1)
end

-- Starts so many calls at once, each with an input of its own, and waits for all: how many went well, an error of one.
local function call_all(client, calls)
  local well, problem, typeId = 0, nil, 0
  for _, call in ipairs(calls) do
    for _ = 1, call[2] do
      typeId = typeId + 1
      local id = typeId
      local inputs = { { category = "USER_DEFINED", typeId = id, maxToObjectIds = 5 } }
      client.async[call[1]](client.async, "contacts", "companies", inputs):on_done(function(results, errors)
        if errors then problem = tostring(errors)
        elseif results[1].typeId == id then well = well + 1
        else problem = ("%d is the answer to %d"):format(results[1].typeId, id) end
      end)
    end
  end
  client:drain(100)
  return well, problem
end

describe("a server that ends each connection after some requests #nginx", function()
  local server
  after_each(nginx.stop_all)

  for _, scheme in ipairs { "http", "https" } do
    for requests, calls in pairs {
      [3] = { { "batch_update", 200 }, { "batch_create", 50 } },
      [1000] = { { "batch_create", 3500 } },
    } do
      it(("(%d, %s) loses no call and applies none twice"):format(requests, scheme), function()
        server = counting_server(("keepalive_requests %d;"):format(requests))
        local client = wire.client(scheme == "https" and https(server) or server.url,
          { ca_file = folder .. "/cert", deadline = 100, timeout = 30, max_attempts = 4 })
        local wanted = 0
        for _, call in ipairs(calls) do wanted = wanted + call[2] end
        local well, problem = call_all(client, calls)
        assert.same({ wanted, nil }, { well, problem })
        local applied, twice = server:request("GET", "/counts").body:match "(%d+) (%d+)"
        assert.equal(wanted, tonumber(applied))
        assert.equal(0, tonumber(twice))
      end)
    end
  end
end)

-- Calls one after the other to spec/support/h2_server.c, which sets the first ones aside.
describe("a server of HTTP/2 that leaves requests aside", function()
  local _, version = libcurl.version()
  local only = libcurl.speaks_http2() and it or pending

  -- Starts it, has fn(client) use it, and returns what that does and how many requests the server applied.
  local function with_server(mode, fn, options)
    local code = ("package.loadlib(%q, 'serve')()"):format(child.shared_object "h2_server")
    local command = "echo $$; unset LD_PRELOAD LUA_INIT; H2_MODE=%s H2_CERTIFICATE=%s/cert H2_KEY=%s/key exec %s -e %s"
    local lua = os.getenv "HELPER_LUA" or "lua5.4"
    local pipe = assert(io.popen(command:format(mode, folder, folder, lua, shell.quote(code)) .. " </dev/null"))
    local pid = pipe:read "*l"
    local port = assert((pipe:read "*l" or ""):match "^port (%d+)$", "no server")
    local all = { ca_file = folder .. "/cert", max_attempts = 1 }
    for name, value in pairs(options or {}) do all[name] = value end
    local client = wire.client("https://localhost:" .. port, all)
    local ok, result = pcall(fn, client)
    client:close()
    os.execute("kill " .. pid)
    local _, applied = pipe:read "*a":gsub("applied", "")
    pipe:close()
    assert(ok, result)
    return result, applied
  end

  for mode, what in pairs { http1 = "and wants HTTP/1.1", refuse = "and refuses them", goaway = "and says GOAWAY" } do
    only(what .. " gets them again, and none twice", function()
      for _, method in ipairs { "batch_create", "batch_update" } do
        -- Which streams a GOAWAY leaves aside is asked for only where that matters.
        local most = mode == "goaway" and method == "batch_update" and 4 or 1
        local _, applied = with_server(mode, function(client)
          for _ = 1, 4 do
            assert.is_true(wire.good_call(client, method, { max_attempts = most }).response.attempts <= most)
          end
        end)
        assert.equal(4, applied)
      end
    end)
  end

  local is_rewritten = version >= 8001000
  for mode, since in pairs { ping = 0, settings = 0, push = 0, interim = is_rewritten and 8007000 or 0,
    unknown = 8007000, priority = 8007000, empty = 8007000 } do
    -- Older ones read what means nothing until none is there (SECURITY.md).
    local bounded = version < since and pending or only
    bounded("and floods the client with frames holds no call beyond its deadline: " .. mode, function()
      local outcome = with_server("flood_" .. mode, function(client)
        return wire.timed(client, "get_limits", "contacts", "companies")
      end, { deadline = 1, timeout = 1 })
      assert.truthy(({ timeout = true, transport = true, protocol = true })[outcome.error.kind])
      assert.is_true(outcome.seconds < 1 + LATE, outcome.seconds)
    end)
  end

  -- libcurl 7.88 takes such an answer for a whole one.
  only("and cuts its answers off has none taken for a success", function()
    for _, method in ipairs { "batch_create", "batch_update", "batch_purge" } do
      local outcome = with_server("cut", function(client) return wire.call(client, method) end)
      assert.truthy(({ transport = true, protocol = true })[outcome.error.kind])
      assert.same({ 200, 1, true }, { outcome.error.http_status, outcome.error.attempts, outcome.error.ambiguous })
    end
  end)

  only("and never does another thing is left to itself in the end, and that is not ambiguous", function()
    local err, applied = with_server("refuse_all", function(client)
      return wire.call(client, "batch_create").error
    end, { timeout = 60, deadline = 60 })
    assert.same({ "transport", "receive", 1, true, false, 0 },
      { err.kind, err.code, err.attempts, err.retryable, err.ambiguous, applied })
  end)
end)

-- Scripts of connections that answer one call well; what happens then is the first connection's alone, or everybody's.
local function idle(action)
  return ([[ return function(conn, n) conn:serve(1) if n == 1 then %s end conn:serve() end ]]):format(action)
end

local FORGED = [[ local forged = OK:gsub("279", "666")
  conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #forged .. "\r\n\r\n" .. forged) ]]

for _, way in ipairs(ways) do
  describe("an idle connection, where calls are " .. way.name .. ",", function()
    after_each(fault_server.stop_all)

    for what, action in pairs {
      ["on which an answer comes that nobody asked for"] = FORGED,
      ["on which half of a line comes"] = [[ conn:send "HTT" ]],
      ["on which a 408 comes before it is closed"] = [[
        conn:send "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" conn:close() ]],
      ["that is closed"] = "conn:close()",
      ["that is reset"] = "conn:reset()",
    } do
      it(what .. " is not used for the next call", function()
        for _, method in ipairs { "batch_create", "batch_update", "get_limits" } do
          local server = fault_server.start(idle(action))
          local client = way.client(server, { max_attempts = 1 })
          wire.good_call(client, "batch_purge")
          server:seen() -- by now that has happened
          local outcome = wire.good_call(client, method)
          assert.same({ 279, 1 }, { outcome.results[1].typeId, outcome.response.attempts })
          local seen = server:stop()
          assert.same({ 2, 2 }, { #seen, seen.connections })
        end
      end)
    end
  end)
end

describe("a connection", function()
  after_each(fault_server.stop_all)

  it("that dies each time it is used again fails each call that must not be sent twice in the same way", function()
    local server = fault_server.start { "acts.once", { "serve", 1 }, "request", "reset" }
    local client = wire.client(server, { max_attempts = 1 })
    local first
    for _ = 1, 16 do
      wire.good_call(client, "batch_create")
      local err = wire.call(client, "batch_create").error
      first = first or err
      assert.same({ "transport", "receive", 1, true, false, first.message },
        { err.kind, err.code, err.attempts, err.ambiguous, err.retryable, err.message })
    end
    assert.equal(16, server:stop().connections)
  end)

  it("that dies each time it is used again fails no call that may be sent twice", function()
    local server = fault_server.start { "acts.once", { "serve", 1 }, "request", "reset" }
    local client = wire.client(server, { max_attempts = 1 })
    for _ = 1, 20 do assert.equal(1, wire.good_call(client, "batch_update").response.attempts) end
    assert.equal(20, server:stop().connections)
  end)

  it("to the first of two addresses that does not answer gives way to the other", function()
    -- A listener at 127.0.0.2 whose queue is full: the kernel drops what comes then.
    local server = fault_server.start [[
      local socket = require "socket"
      local deaf, waiting = nil, {}
      return function(conn)
        local _, _, port = conn.socket:localname()
        conn:request()
        if not deaf then
          deaf = assert(socket.bind("127.0.0.2", port, 0))
          for i = 1, 4 do
            waiting[i] = socket.tcp4()
            waiting[i]:settimeout(0)
            waiting[i]:connect("127.0.0.2", port)
          end
        end
        conn:ok()
        conn:serve()
      end ]]
    wire.good_call(wire.client(server), "get_limits")
    for _, io_thread in ipairs { "true", "false" } do
      local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "two_addresses"), http_proxy = false,
        all_proxy = false, ALL_PROXY = false }, [[
        local url, io_thread = ...
        local wire = require "spec.support.wire"
        local client = wire.client(url, { allow_http = true, connect_timeout = 3, max_attempts = 1,
          io_thread = io_thread == "true" })
        local results, errors, response = client.async:get_limits("contacts", "companies"):wait()
        return errors and tostring(errors) or #results, response and response.attempts
      ]], (server.url:gsub("127.0.0.1", "two-addresses.test")), io_thread)
      assert.same({ "1", "1", "0" }, { report[1], report[2], report.status })
      assert.is_true(report.seconds < 3 + LATE, report.seconds)
    end
  end)
end)

describe("a libcurl that refuses", function()
  after_each(fault_server.stop_all)

  -- Forty calls at once, with that option of curl_easy_setopt refused from that value on: how many went well, the last
  -- error, how often it was tried.
  local function call_many(option, value)
    local server = fault_server.start { "acts.once", "serve" }
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "refuses_option"),
      REFUSED_OPTION = option, REFUSED_VALUE = value }, [[
      local wire = require "spec.support.wire"
      local client = wire.client(..., { rate = false, timeout = 10, max_attempts = 1 })
      local futures, good, errors = {}, 0, nil
      for i = 1, 40 do futures[i] = client.async:get_limits("contacts", "companies") end
      for i = 1, 40 do
        local results, failed = futures[i]:wait()
        good, errors = good + (results and 1 or 0), failed or errors
      end
      return good, errors and errors[1].message, errors and errors[1].attempts
    ]], server.url)
    assert.equal("0", report.status)
    return report
  end

  it("HTTP/2, because it was built without, speaks HTTP/1.1", function()
    local report = call_many(84, 3) -- CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2_0
    assert.same({ "40", "nil", "nil" }, { report[1], report[2], report[3] })
  end)

  it("to begin a transfer (memory ran out) ends each call at once, those that waited for a connection too", function()
    local report = call_many(156, 0) -- CURLOPT_CONNECTTIMEOUT_MS
    assert.same({ "0", "memory ran out in libcurl", "1" }, { report[1], report[2], report[3] })
    assert.is_true(report.seconds < 9, report.seconds)
  end)
end)

-- A server that closes idle connections soon: what a client sends may cross that.
describe("#nginx closes idle connections soon, and over", function()
  after_each(nginx.stop_all)

  for _, protocol in ipairs { "http", "https", "http2" } do
    it(protocol .. " that stops no call", function()
      local server = counting_server "keepalive_timeout 50ms;"
      local client = protocol == "http" and wire.client(server.url)
        or wire.client(protocol == "https" and ("https://localhost:%d"):format(server.port + 2) or https(server),
          { ca_file = folder .. "/cert" })
      for i = 1, 12 do
        local outcome = wire.good_call(client, "batch_create")
        assert.equal(1, outcome.response.attempts)
        system.sleep(i % 2 == 0 and 0.06 or 0.12)
      end
      server:quit()
    end)
  end
end)

describe("a connection that has fallen silent", function()
  after_each(fault_server.stop_all)

  -- Relays to the simulator's TLS port; the first connection only until there is a file of this name. Then it stays
  -- open, and nothing comes through any more.
  local function start_relay(path)
    return fault_server.start(([[
      local cqueues, socket = require "cqueues", require "cqueues.socket"
      local function is_there(path)
        local file = io.open(path)
        return file and file:close()
      end
      return function(conn, n)
        local server = socket.connect("127.0.0.1", %s)
        server:setmode("b", "bn")
        local done = false
        local function pump(from, to)
          for bytes in function() return from:xread(-65536, "b") end do
            while n == 1 and is_there %q do cqueues.sleep(1) end
            to:xwrite(bytes, "bn")
          end
          done = true
        end
        local loop = cqueues.new()
        loop:wrap(pump, conn.socket, server)
        loop:wrap(pump, server, conn.socket)
        while not done do loop:step(0.02) end
        server:close()
      end
    ]]):format(simulator.https_url:match ":(%d+)$", path))
  end

  for _, way in ipairs(ways) do
    it("is left after one timeout, where calls are " .. way.name, function()
      local silent = os.tmpname()
      os.remove(silent)
      local relay, token = start_relay(silent), simulator.token()
      local client = way.client((relay.url:gsub("^http://127.0.0.1", "https://localhost")),
        { ca_file = simulator.ca_file, access_token = token, timeout = 2, deadline = 30, max_attempts = 2 })
      wire.good_call(client, "batch_update")
      assert(io.open(silent, "w")):close()
      local started = system.monotime()
      local outcome = wire.good_call(client, "batch_update")
      assert.equal(2, outcome.response.attempts)
      for _ = 1, 5 do assert.equal(1, wire.good_call(client, "batch_update").response.attempts) end
      assert.is_true(system.monotime() - started < 2 + 0.5 + LATE)
      assert.equal(2, relay:stop().connections)
      os.remove(silent)
    end)
  end

  -- Over HTTP/1.1 each connection has its own call.
  local function expect_one_connection(token)
    local log = simulator.log(token)
    if log[1].protocol ~= "HTTP/2.0" then return end
    for _, call in ipairs(log) do assert.equal(log[1].connection, call.connection) end
  end

  it("is not one that is merely slow: that stays in use", function()
    local token = simulator.token()
    local client = wire.client(simulator.https_url, { ca_file = simulator.ca_file, access_token = token, timeout = 5 })
    wire.good_call(client, "batch_update")
    simulator.fault(token, { delay = 20 })
    local slow = client.async:get_limits("contacts", "companies", { timeout = 4, max_attempts = 1 })
    for _ = 1, 3 do -- these are sent behind it, and answered before its time is up, however busy the machine is
      assert(client.async:get_limits("contacts", "companies"):wait())
    end
    assert.is_false(slow:done())
    local _, errors = slow:wait()
    assert.equal("timeout", errors[1].kind)
    wire.good_call(client, "batch_update")
    expect_one_connection(token)
  end)

  it("is not one whose answers are there as soon as requests are written: no socket is waited for then", function()
    local token = simulator.token()
    local result = child.run({ LD_PRELOAD = child.preload(child.shared_object "slow_send") }, [[
      local simulator, wire = require "spec.support.simulator", require "spec.support.wire"
      local client = wire.client(simulator.https_url, { ca_file = simulator.ca_file, access_token = ..., timeout = 5 })
      wire.good_call(client, "get_limits")
      simulator.fault(..., { delay = 20 })
      local slow = client.async:get_limits("contacts", "companies", { timeout = 2, max_attempts = 1 })
      client:step(0)
      for _ = 1, 3 do wire.good_call(client, "get_limits") end
      local _, errors = slow:wait()
      wire.good_call(client, "get_limits")
      return errors[1].kind
    ]], token)
    assert.equal("timeout", result[1])
    expect_one_connection(token)
  end)
end)
