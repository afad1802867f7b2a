-- Event loops: calls in a coroutine yield, and everything else goes on. With the real libraries.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local conformance = require "spec.support.loop_conformance"
local fault_server = require "spec.support.fault_server"
local hosts = require "spec.support.loop_hosts"
local simulator = require "spec.support.simulator"
local socket = require "socket"

-- Answers each request after 0.1 s.
local slow = { "answers.after", 0.1 }

-- Answers the first request of each connection after 0.3 s.
local slower = { "acts.once", "request", { "sleep", 0.3 }, "ok" }

local busted = { describe = describe, it = it, before_each = before_each, after_each = after_each, assert = assert }

for _, entry in ipairs(hosts) do
  local name, new_host, library = entry[1], entry[2], entry[3]
  if hosts.has(library) then
    conformance(busted, name, new_host)
  else
    describe("in " .. name, function() pending("(no " .. library .. " for this Lua)") end)
  end
end

describe("a coroutine that dies while it waits", function()
  after_each(fault_server.stop_all)

  -- Lua 5.4's coroutine.close
  local close = rawget(coroutine, "close")

  it("is no concern of luv's loop, which ends", function()
    if not close or not hosts.has "luv" then return pending "(cannot be killed in this Lua)" end
    local host = hosts.luv()
    local client, server = binding.scripted(slow, { loop = "luv" })
    local dead = host.start(function() client:get_limits("contacts", "companies") end)
    local results
    host.start(function() results = client:get_limits("contacts", "companies") end)
    close(dead)
    host.run()
    assert.is_table(results)
    assert.equal(2, #server:seen())
  end)

  it("with its cqueues controller, is no concern of the next", function()
    if not hosts.has "cqueues" then return pending "(no cqueues for this Lua)" end
    local cqueues = require "cqueues"
    local client = binding.scripted(slower, { loop = "cqueues" })
    local dropped = cqueues.new()
    dropped:wrap(function() client:get_limits("contacts", "companies") end)
    dropped:step(0)
    dropped = nil -- luacheck: ignore
    for _ = 1, 3 do
      local controller, results = cqueues.new(), nil
      controller:wrap(function() results = client:get_limits("contacts", "companies") end)
      assert(controller:loop(5))
      assert.is_table(results)
      collectgarbage()
    end
  end)

  it("and whose loop does not tell leaves the call to others after some seconds", function()
    local host = hosts.own()
    local asked, future = 0, nil
    local client = assoc.new { loop = host.loop, base_url = "http://127.0.0.1:1", access_token = "pat-x", deadline = 20,
      limiter = { reserve = function()
        asked = asked + 1
        return 0
      end, observe = function() end },
      transport = function()
        if asked < 2 then return nil, "connect" end
        return { status = 200, body = '{"results":[]}' }
      end }
    local is_dead
    host.loop.suspend = function(start)
      start(function() end) -- it is woken, and nothing comes of it
      is_dead = true
      coroutine.yield()
    end
    host.start(function()
      future = client.async:get_limits("contacts", "companies")
      future:wait()
    end)
    local give_up_at = socket.gettime() + 15
    while client:pending() > 0 and socket.gettime() < give_up_at do client:step(0.1) end
    assert.is_true(is_dead)
    assert.same({ 0, 2 }, { client:pending(), asked })
    assert.same({}, (future:wait()))
  end)

  it("of an error lets the others go on", function()
    local host = hosts.own()
    local client = binding.scripted(slow, { loop = host.loop })
    local finished, problems = 0, {}
    for i = 1, 3 do
      host.start(function()
        client:get_limits("contacts", "companies")
        if i == 1 then error "enough" end
        finished = finished + 1
      end)
    end
    socket.sleep(0.3) -- all answers are there: one look finds them
    while true do
      local ok, message = pcall(host.run)
      if ok then break end
      problems[#problems + 1] = message
    end
    assert.equal(2, finished)
    assert.equal(1, #problems)
    assert.matches("enough", problems[1])
  end)

  it("of an error is luv's to report, with a traceback of the coroutine", function()
    if not hosts.has "luv" then return pending "(no luv for this Lua)" end
    local server = fault_server.start(slow)
    local lines = child.run({}, [[
      local client = require "hubspot_assoc".new { loop = "luv", base_url = ..., access_token = "pat-x" }
      local function deep() client:get_all_limits() error "enough" end
      coroutine.wrap(function() deep() end)()
      require "luv".run() ]], server.url)
    local text = table.concat(lines, "\n")
    assert.matches("Uncaught Error: .*enough", text)
    assert.matches("in [%w ]*'?deep'?", text)
    assert.equal("255", lines.status)
  end)
end)

describe("step in an event loop", function()
  after_each(fault_server.stop_all)

  it("waits for no longer than it was told", function()
    local host = hosts.own()
    local client = binding.scripted({ "answers.after", 30 }, { loop = host.loop })
    local suspend, waited = host.loop.suspend, 0
    host.loop.suspend = function(start, seconds)
      waited = waited + seconds
      return suspend(start, seconds)
    end
    host.start(function()
      local future = client.async:get_limits("contacts", "companies")
      assert.equal(0, client:step(2))
      future:cancel()
    end)
    host.run()
    assert.is_true(waited > 1.5 and waited < 2.5, waited .. " s")
  end)
end)

describe("300 asynchronous calls that ask at one time", function()
  it("are answered, and handed out by drain", function()
    local client, n = assoc.new { loop = hosts.own().loop, access_token = "pat-x", max_connections = 300,
      limiter = { reserve = function() return 0.2 end, observe = function() end },
      transport = function() return { status = 200, body = '{"results":[]}' } end }, 0
    for _ = 1, 300 do
      client.async:get_limits("a", "b"):on_done(function(results) n = n + (results and 1 or 0) end)
    end
    socket.sleep(0.5)
    assert.equal(300, client:drain(30))
    assert.equal(300, n)
  end)
end)

describe("a token that is not to be had", function()
  it("is told at once to all whose calls wait for it", function()
    local host, n = hosts.own(), 0
    local suspend = host.loop.suspend
    host.loop.suspend = function(start) return suspend(start) end -- nobody is woken by the time
    local client = assoc.new { loop = host.loop, access_token = function()
      host.sleep(0.05)
      return nil, "none today"
    end }
    for _ = 1, 3 do
      host.start(function()
        local _, errors = client:get_limits("a", "b")
        assert.matches("none today", errors[1].message)
        n = n + 1
      end)
    end
    host.run()
    assert.equal(3, n)
  end)
end)

describe("what waits, in a function that cannot yield,", function()
  it("blames who called it", function()
    if not coroutine.isyieldable then return end -- then nobody can tell
    local host, places = hosts.own(), {}
    local client = assoc.new { loop = host.loop, access_token = "pat-x", transport = function()
      return { status = 200, body = '{"results":[]}' }
    end }
    host.start(function()
      client.async:get_limits("a", "b"):on_done(function()
        local ways = { step = function() client:step(1) end, drain = function() client:drain() end,
          list_all = function() client:list_all("a", 1, "b")() end,
          read_all = function() client:read_all("a", "b", { 1 })() end }
        for name, way in pairs(ways) do
          local _, message = pcall(way)
          places[name] = message:match("^(.*):%d+: '" .. name .. "' cannot wait here: no coroutine can yield")
        end
      end):wait()
      client:step()
    end)
    host.run()
    local here = "spec/loop_spec.lua"
    assert.same({ step = here, drain = here, list_all = here, read_all = here }, places)
  end)
end)

describe("in cqueues", function()
  if not hosts.has "cqueues" then
    pending "(no cqueues for this Lua)"
    return
  end
  local cqueues = require "cqueues"
  after_each(fault_server.stop_all)

  it("a coroutine of no controller blocks", function()
    local client, results = binding.client { loop = "cqueues" }, nil
    coroutine.wrap(function() results = client:get_all_limits() end)()
    assert.equal(7, #results)
  end)

  it("controllers may run inside each other", function()
    local client = binding.scripted(slow, { loop = "cqueues" })
    local outer, n = cqueues.new(), 0
    local function call()
      if client:get_limits("contacts", "companies") then n = n + 1 end
    end
    outer:wrap(call)
    outer:wrap(function()
      local inner = cqueues.new()
      inner:wrap(call)
      inner:wrap(call)
      assert(inner:loop(5))
      call()
    end)
    assert(outer:loop(5))
    assert.equal(4, n)
  end)
end)

describe("hubspot_assoc.socket", function()
  local socket_of = require "hubspot_assoc.socket"
  after_each(fault_server.stop_all)

  it("has its old name, too", function()
    assert.equal(socket_of, require "hubspot_assoc.loop.socket")
  end)

  it("gives luasocket's select something to wait for", function()
    local client = binding.scripted(slow)
    local calls = socket_of(client)
    assert.same({}, (socket.select({ calls }, nil, 0)))
    local seen
    client.async:get_limits("contacts", "companies"):on_done(function(results) seen = results end)
    assert.same({}, (socket.select({ calls }, nil, 0)))
    local readable = socket.select({ calls }, nil, 5)
    assert.equal(calls, readable[1])
    assert.equal(1, client:step())
    assert.is_table(seen)
    assert.same({}, (socket.select({ calls }, nil, 0)))
  end)

  it("is dirty while there is something for step that was found on another way", function()
    local client = binding.scripted(slow)
    local calls = socket_of(client)
    client.async:get_limits("contacts", "companies"):wait()
    assert.is_true(calls:dirty())
    assert.equal(calls, socket.select({ calls }, nil, 5)[1])
    client:step()
    assert.is_false(calls:dirty())
  end)

  it("is passed over when the client is closed", function()
    local client = binding.client()
    local calls = socket_of(client)
    client:close()
    assert.equal(-1, calls:getfd())
    assert.same({}, (socket.select({ calls }, nil, 0)))
  end)

  it("works in copas", function()
    -- Debian 12 and 13 have copas for Lua 5.1 and 5.2 (and LuaJIT) only; Debian 14's does not load.
    if _VERSION > "Lua 5.2" and not pcall(require, "copas") or not hosts.has "copas" then
      return pending "(no copas for this Lua)"
    end
    local copas = require "copas"
    local client = binding.scripted(slow)
    local calls = socket_of(client)
    local counts, done = {}, 0
    local function count() done = done + 1 end
    for _ = 1, 10 do client.async:get_limits("contacts", "companies"):on_done(count) end
    local why
    copas.addthread(function()
      local n
      repeat
        n, why = copas.receive(calls)
        counts[#counts + 1] = n
      until not n
    end)
    for _ = 1, 100 do
      if why then break end
      copas.step(0.1)
    end
    assert.equal("closed", why)
    assert.equal(10, done)
    assert.is_true(#counts >= 2, "handed out as they arrived")
  end)

  it("refuses a descriptor that select cannot take", function()
    local lines = child.run({}, [[
      local files = {}
      for i = 1, 1100 do files[i] = assert(io.open("/dev/null")) end
      local client = require "hubspot_assoc".new { access_token = "pat-x" }
      local ok, message = pcall(require "hubspot_assoc.socket", client)
      for i = 1, 1100 do files[i]:close() end
      return ok, message ]])
    if lines[2]:find "Too many open files" then return pending "(ulimit -n is too low)" end
    assert.equal("false", lines[1])
    assert.matches("descriptor 1%d%d%d is too large for select, which takes those below 1024", lines[2])
  end)
end)

-- The blocks of the README and the reference that begin with "``` lua" are run here, or are part of an example, which
-- host_spec.lua or testing_spec.lua runs.
describe("the README's section on hosts, and the reference's", function()
  local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  local examples = read "examples/love/main.lua" .. read "examples/neovim/plugin/hubspot.lua"
    .. read "examples/testing/limits_spec.lua"
  local texts, n = read "README.md" .. read "docs/reference.md", 0

  for block, behind in texts:gmatch "\n``` lua\n(.-\n)```\n()" do
    n = n + 1
    it("shows what works in block " .. n, function()
      if examples:find(block, 1, true) then return end
      for library in block:gmatch "require \"([%w.]+)\"\n" do
        if not pcall(require, library) then return pending("(no " .. library .. " for this Lua)") end
      end
      local environment = { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url }
      local printed = binding.run(block, environment)
      assert.equal(texts:match("^\n```text\n(.-)\n```\n", behind) or "", printed)
    end)
  end

  it("has blocks", function() assert.is_true(n >= 5) end)
end)
