-- The fault server does what it says: seen from raw sockets, byte by byte.
if _VERSION >= "Lua 5.5" and not pcall(require, "cqueues") then
  return it("does what it says", function() pending "(no cqueues for this Lua)" end)
end

local cqueues = require "cqueues"
local errno = require "cqueues.errno"
local socket = require "cqueues.socket"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"

local OK_BODY = '"userEnforcedMaxToObjectIds":5}]}'
local RESET = errno.strerror(errno.ECONNRESET)
local TIMEOUT = errno.strerror(errno.ETIMEDOUT)
local GET = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
local POST = "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"

-- cqueues rather than luasocket: the latter calls a reset connection "closed".
local function connect(server)
  local client = socket.connect("127.0.0.1", server.port)
  client:settimeout(30)
  client:setmode("b", "bn")
  client:onerror(function(_, _, why) return why end)
  return client:connect() and client
end

-- Reads until the stream ends or `seconds` have passed: the bytes, and how it ended.
local function read_all(client, seconds)
  local deadline = cqueues.monotime() + (seconds or 30)
  local parts = {}
  while true do
    local part, why = client:xread(-65536, math.max(0, deadline - cqueues.monotime()))
    if not part then return table.concat(parts), why and errno.strerror(why) or "closed" end
    parts[#parts + 1] = part
  end
end

local function exchange(server, request)
  local client = connect(server)
  client:xwrite(request)
  local bytes, why = read_all(client)
  client:close()
  return bytes, why
end

-- One well-formed answer on a connection that stays open: status line and body.
local function read_answer(client)
  local status, length = client:xread "*l", 0
  for line in function() return client:xread "*l" end do
    if line == "\r" then break end
    length = tonumber(line:match "^Content%-Length: (%d+)") or length
  end
  return status, length == 0 and "" or client:xread(length)
end

local function every_byte()
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  return table.concat(bytes) .. "\r\n]]\\\n"
end

describe("the fault server #once", function()
  after_each(fault_server.stop_all)

  it("logs requests, whatever their bytes", function()
    local server = fault_server.start(faults.none)
    local client = connect(server)
    local body = every_byte():rep(1000)
    client:xwrite("POST /p?q=1 HTTP/1.1\r\nX-One: a\r\nx-one:b \r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
    local status, answer = read_answer(client)
    assert.equal("HTTP/1.1 200 Scripted\r", status)
    assert.equal(OK_BODY, answer:sub(-#OK_BODY))
    client:xwrite(GET)
    read_answer(client)
    local seen = server:stop()
    assert.equal(2, #seen)
    assert.equal(1, seen.connections)
    assert.same({ "POST", "/p?q=1", "a, b", 1, 0 },
      { seen[1].method, seen[1].path, seen[1].headers["x-one"], seen[1].connection, seen[1].extra })
    assert.is_true(seen[1].body == body)
    assert.is_true(seen[2].at >= seen[1].at and seen[2].at < seen[1].at + 5)
  end)

  it("reads chunked bodies, and answers Expect: 100-continue", function()
    local server = fault_server.start(faults.none)
    local client = connect(server)
    client:xwrite "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    assert.equal("HTTP/1.1 100 Continue\r\n\r\n", client:xread(25))
    client:xwrite "3\r\nabc\r\n1A;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"
    read_answer(client)
    assert.equal("abcabcdefghijklmnopqrstuvwxyz", server:stop()[1].body)
  end)

  it("tells when more than one request arrived", function()
    local server = fault_server.start(faults.none)
    local client = connect(server)
    client:xwrite(POST .. GET)
    read_answer(client)
    read_answer(client)
    local seen = server:stop()
    assert.same({ #GET, 0 }, { seen[1].extra, seen[2].extra })
  end)

  it("does not log half a request, but counts its connection", function()
    local server = fault_server.start(faults.none)
    local client = connect(server)
    client:xwrite "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"
    client:close()
    local seen = server:stop()
    assert.same({ 0, 1 }, { #seen, seen.connections })
  end)

  it("shows what it has seen while it runs, and stops more than once", function()
    local server = fault_server.start(faults.none)
    local client = connect(server)
    client:xwrite(GET)
    read_answer(client)
    assert.equal(1, #server:seen())
    client:xwrite(GET)
    read_answer(client)
    assert.equal(2, #server:seen())
    local seen = server:stop()
    assert.equal(2, #seen)
    assert.equal(seen, server:stop())
    assert.equal(seen, server:seen())
  end)

  it("serves connections side by side", function()
    local server = fault_server.start { "acts.once", "request", { "sleep", 0.3 }, "ok" }
    local started, clients = cqueues.monotime(), {}
    for i = 1, 5 do
      clients[i] = connect(server)
      clients[i]:xwrite(GET)
    end
    for i = 1, 5 do read_answer(clients[i]) end
    assert.is_true(cqueues.monotime() - started < 1)
    assert.equal(5, server:stop().connections)
  end)

  it("runs beside another of its kind", function()
    local one, other = fault_server.start(faults.none), fault_server.start(faults.not_json)
    local client = connect(other)
    client:xwrite(GET)
    local _, body = read_answer(client)
    assert.equal("all is well", body)
    assert.same({ 0, 1 }, { #one:stop(), #other:stop() })
  end)

  it("reports a script that does not load, and one that fails", function()
    assert.error_matches(function() fault_server.start "return function(" end, "script:1:")
    assert.error_matches(function() fault_server.start "return 1" end, "must return a function")
    local server = fault_server.start "return function(conn) conn:request() conn:nonsense() end"
    local bytes, why = exchange(server, GET)
    assert.same({ "", "closed" }, { bytes, why })
    assert.error_matches(function() server:stop() end, "script:1: .*nonsense")
    assert.equal(1, #server:stop())
  end)

  it("ends by itself", function()
    local server = fault_server.start(faults.none, { lifetime = 0.3 })
    cqueues.sleep(1)
    assert.is_falsy(connect(server))
    assert.error_matches(function() server:stop() end, "ended by itself")
  end)

  it("ends in time even if the script never waits", function()
    local server = fault_server.start("return function(conn) while true do end end", { lifetime = 0.5 })
    local _, why = exchange(server, GET)
    assert.is_true(why == "closed" or why == RESET)
    assert.error_matches(function() server:stop() end, "ended by itself")
  end)

  it("ends when the process that started it is killed", function()
    local pipe = io.popen [[exec lua5.4 -e '
      print(require "spec.support.fault_server".start(require "spec.support.faults".none).port)
      io.stdout:flush()
      os.execute "kill -KILL $PPID"']]
    local port = tonumber(pipe:read "*l")
    pipe:close()
    cqueues.sleep(0.3)
    assert.is_falsy(connect { port = port })
  end)
end)

-- What one request to a fresh server gets: a pattern of the bytes, and how the stream ended.
local ONE_REQUEST = {
  reset_mid_body = { "^HTTP/1.1 200 .*COMPLETE.*[^}]$", RESET },
  reset_without_reply = { "^$", RESET },
  close_without_reply = { "^$", "closed" },
  never_answers = { "^$", TIMEOUT },
  short_length = { "Content%-Length: %d+\r\n\r\n{.*}]}$", "closed" },
  long_length = { "}]}x+$", TIMEOUT },
  forged_answer = { "279.*\r\n\r\n.*666.*}]}$", TIMEOUT },
  short_chunk = { "chunked\r\n\r\n1000\r\n{.*}]}$", "closed" },
  slow_drip = { "Content%-Length: %d+\r\n\r\n{?.?.?.?.?$", TIMEOUT },
  slow_headers = { "^HTTP/1.1 200 OK\r\nX?%-?F?i?l?l?e?r?$", TIMEOUT },
  garbage = { "^%z\1\2\255 this is no HTTP", "closed" },
  not_json = { "^HTTP/1.1 200 .*\r\n\r\nall is well$", TIMEOUT },
  empty_body = { "^HTTP/1.1 200 .*\r\n\r\n$", TIMEOUT },
  invalid_utf8 = { '"A\195%(B\255"', TIMEOUT },
  truncated_json = { "^HTTP/1.1 200 .*\r\n\r\n{.*[^}]$", TIMEOUT },
  deep_json = { "%[%[%[%[%]%]%]%]", TIMEOUT },
  html_error = { "^HTTP/1.1 502 .*text/html.*<html>", TIMEOUT },
  redirect = { "^HTTP/1.1 302 .*Location: /moved\r\n", TIMEOUT },
  echo_authorization = { '^HTTP/1.1 401 .*"message":"Authentication failed for Bearer secret"', TIMEOUT },
}

describe("a fault #once", function()
  after_each(fault_server.stop_all)

  for name, expected in pairs(ONE_REQUEST) do
    it(name .. " is what it is called", function()
      local server = fault_server.start(faults[name])
      local client = connect(server)
      client:xwrite "POST /b HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 2\r\n\r\n{}"
      local bytes, why = read_all(client, 0.3)
      assert.matches(expected[1], bytes)
      assert.matches(expected[2], why)
      local seen = server:stop()
      assert.same({ 1, "/b", "{}" }, { #seen, seen[1].path, seen[1].body })
    end)
  end

  it("reset_on_connect resets before the request is read", function()
    local server = fault_server.start(faults.reset_on_connect)
    local client = connect(server) -- the reset may come first
    if client then
      local _, why = read_all(client)
      assert.matches(RESET, why)
    end
    assert.same({ 0, 1 }, { #server:seen(), server:stop().connections })
  end)

  for _, name in ipairs { "endless_headers", "endless_header_line", "endless_body" } do
    it(name .. " sends for as long as the client reads, and lets others go on", function()
      local server = fault_server.start(faults[name])
      local client = connect(server)
      client:xwrite(GET)
      assert.is_truthy(client:xread(8 * 1024 * 1024))
      assert.equal(1, #server:seen())
      client:close()
      cqueues.sleep(0.05)
      assert.equal(1, #server:stop())
    end)
  end

  it("gzip_bomb is 64 MiB of zeros", function()
    local server = fault_server.start(faults.gzip_bomb)
    local client = connect(server)
    client:xwrite(GET)
    local _, body = read_answer(client)
    assert.is_true(#body < 128 * 1024)
    local file = os.tmpname()
    local gzip = io.popen("gzip -dc | wc -c >" .. file, "w")
    gzip:write(body)
    gzip:close()
    assert.equal(64 * 1024 * 1024, tonumber(io.open(file):read "*l"))
    os.remove(file)
  end)

  it("redirect is well at the place it leads to", function()
    local server = fault_server.start(faults.redirect)
    local client = connect(server)
    client:xwrite "GET /moved HTTP/1.1\r\n\r\n"
    assert.equal("HTTP/1.1 200 Scripted\r", (read_answer(client)))
  end)

  -- Connection 1 answers once and then ends as said; the log tells whether its second request was read.
  local WARM = {
    reset_warm_after_post = { RESET, 2 },
    close_warm_after_post = { "closed", 2 },
    close_warm_idle = { RESET, 1 },
    close_after_answer = { "closed", 1 },
  }
  for name, expected in pairs(WARM) do
    it(name .. " spoils a warm connection only", function()
      local server = fault_server.start(faults[name])
      local warm = connect(server)
      warm:xwrite(POST)
      assert.matches("200", (read_answer(warm)))
      if name ~= "close_after_answer" then warm:xwrite(POST) end
      local bytes, why = read_all(warm)
      assert.equal("", bytes)
      assert.matches(expected[1], why)
      local later = connect(server)
      for _ = 1, 2 do
        later:xwrite(POST)
        assert.matches("200", (read_answer(later)))
      end
      assert.equal(expected[2] + 2, #server:stop())
    end)
  end

  it("can be any script of one's own", function()
    local server = fault_server.start [[
      return function(conn, n)
        local request = conn:request()
        conn:json(429, '{"n":' .. n .. '}', { ["Retry-After"] = "1" })
        conn:drip("tick", 40)
        conn:send(request.path, conn.n)
      end
    ]]
    local bytes, why = exchange(server, GET)
    assert.equal("closed", why)
    assert.matches("^HTTP/1.1 429 .*Retry%-After: 1\r\n.*{\"n\":1}tick/a1$", bytes)
  end)
end)
