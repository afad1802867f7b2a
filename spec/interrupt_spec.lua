-- Ctrl-C: lua and luajit answer it by a debug hook, which runs when Lua does. So no wait keeps it from that for long.
local async = require "spec.support.async"
local assoc = require "hubspot_assoc"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local hosts = require "spec.support.loop_hosts"
local interrupt = require "spec.support.interrupt"

local OK = { status = 200, body = '{"results":[]}' }
local TOKENS = { status = 200, body = '{"access_token":"pat-y","refresh_token":"new","expires_in":1800}' }

local unpack = table.unpack or unpack -- luacheck: ignore
local SOON = 10 -- s; the calls would take a minute

local ways = {
  { "an ordinary call", "print(client:get_limits('never', 'companies'))" },
  { "future:wait", "client.async:get_limits('never', 'companies'):wait()" },
  { "client:drain", "client.async:get_limits('never', 'companies') client:drain()" },
  { "client:step", "client.async:get_limits('never', 'companies') client:step(60)" },
}

-- The hook may run when any function is called or returns, cjson's too: the answer is not to blame then.
describe("Ctrl-C, at any call of a function in a call,", function()
  teardown(async.stop)

  local function interrupted_at(nth, act)
    local n, is_inside = 0, false
    debug.sethook(function()
      n = is_inside and n + 1 or n
      if is_inside and n == nth then error("interrupted!", 0) end
    end, "cr")
    local ok, first, second = pcall(function()
      is_inside = true
      local results, errors = act()
      is_inside = false
      return results, errors
    end)
    debug.sethook()
    return n < nth, ok, first, second
  end

  it("leaves the call", function()
    local client = require "hubspot_assoc".new { base_url = async.server().url, access_token = "x", rate = false }
    local nth, is_over, results = 0, false, nil
    while not is_over do
      nth = nth + 1
      local ended, ok, first, second = interrupted_at(nth, function()
        return client:get_limits("contacts", "companies")
      end)
      assert.is_true(nth < 2000)
      if ok then assert.is_nil(second) else assert.equal("interrupted!", first) end
      is_over, results = ended, first
    end
    assert.is_true(nth > 10)
    assert.same({}, results)
  end)
end)

-- What a call asks for, and what else of the user's the library calls: name -> options of a client.
local asked = {
  ["a token function"] = function(work)
    return { access_token = function()
      work()
      return "pat-x"
    end }
  end,
  ["a transport"] = function(work)
    return { transport = function()
      work()
      return OK
    end }
  end,
  ["a headers function"] = function(work) return { headers = work } end,
  on_event = function(work) return { on_event = work } end,
  reserve = function(work)
    return { limiter = { reserve = function()
      work()
      return 0
    end, observe = function() end } }
  end,
  observe = function(work) return { limiter = { reserve = function() return 0 end, observe = work } } end,
  on_refresh = function(work)
    return { access_token = assoc.oauth { client_id = "id", client_secret = "secret", refresh_token = "old",
      on_refresh = work, transport = function() return TOKENS end } }
  end,
  ["a function that gives a refresh token"] = function(work)
    return { access_token = assoc.oauth { client_id = "id", client_secret = "secret", refresh_token = function()
      work()
      return "old"
    end, transport = function() return TOKENS end } }
  end,
}

local function client_of(options, more)
  local all = { access_token = "pat-x", base_url = "http://127.0.0.1:1", rate = false, max_attempts = 1, deadline = 5,
    transport = function() return OK end }
  for _, fields in ipairs { options, more } do
    for name, value in pairs(fields) do all[name] = value end
  end
  return assoc.new(all)
end

local ways_to_call = {
  { "an ordinary call", function(client) client:get_limits("a", "b") end },
  { "step", function(client)
    client.async:get_limits("a", "b")
    client.async:get_limits("a", "b")
    client:drain(5)
  end },
  { "step without an I/O thread", function(client)
    client.async:get_limits("a", "b")
    client:drain(5)
  end, { io_thread = false } },
  { "future:wait", function(client) client.async:get_limits("a", "b"):wait(5) end },
}

describe("an error that a hook raises in", function()
  local jit = rawget(_G, "jit")
  setup(function() if jit then jit.off() end end)
  teardown(function() if jit then jit.on() end end)
  local work = (loadstring or load)("local x = 0 for i = 1, 2 do x = x + i end", "=asked") -- luacheck: ignore

  for name, options_of in pairs(asked) do
    for _, way in ipairs(ways_to_call) do
      it(("%s leaves %s, whatever its instruction, and loses nothing"):format(name, way[1]), function()
        local n, has_raised = 0, true
        while has_raised do
          n = n + 1
          local client = client_of(options_of(work), way[3] or {})
          local place, has_left, _
          has_raised, place, _, has_left = interrupt(n, function() way[2](client) end, { within = "asked" })
          assert.equal(has_raised, has_left, place)
          client:drain(5)
          assert.equal(0, client:pending())
          assert.is_nil(select(2, client:get_limits("a", "b")))
        end
        assert.is_true(n > 5, n .. " instructions")
      end)
    end
  end

  it("what a call asks in a coroutine of an event loop leaves the coroutine", function()
    if _VERSION == "Lua 5.1" and not jit then return end -- hooks are set for one coroutine, and there it is another one
    for name, options_of in pairs(asked) do
      if not name:find "refresh" then -- that has a coroutine of its own
        local host, has_left = hosts.own(), nil
        local client = client_of(options_of(work), { loop = host.loop })
        host.start(function()
          has_left = select(4, interrupt(3, function() client:get_limits("a", "b") end, { within = "asked" }))
        end)
        host.run()
        assert.is_true(has_left, name)
        client:drain(5)
        assert.equal(0, client:pending())
      end
    end
  end)

  it("hubspot_assoc.core's calls leaves them", function()
    for name, options_of in pairs(asked) do
      if not name:find "refresh" then
        local all = { access_token = "pat-x", transport = function() return OK end, rate = false }
        for key, value in pairs(options_of(work)) do all[key] = value end
        local client = core.new(all)
        local _, _, _, has_left = interrupt(3, function() client:get_limits("a", "b") end, { within = "asked" })
        assert.is_true(has_left, name)
      end
    end
  end)
end)

describe("an error is told from an interruption:", function()
  local function fails(fn)
    local client = client_of({ access_token = fn }, {})
    local ok, results, errors = pcall(client.get_limits, client, "a", "b")
    return ok, ok and errors[1].message or results
  end

  it("Lua's own text of Ctrl-C leaves the call, though the function has caught it and handed it on", function()
    for _, text in ipairs { "interrupted!", "x.lua:3: interrupted!" } do
      assert.same({ false, text }, { fails(function() error(text, 0) end) })
    end
    for _, text in ipairs { "it was interrupted!", "interrupted! by a mouse", "interrupted" } do
      assert.same({ true, "the token function failed: " .. text }, { fails(function() error(text, 0) end) })
    end
  end)

  it("what a function raises itself is its call's error, also where a hook has raised the same before", function()
    local client = client_of({ access_token = function() debug.traceback() end }, {})
    debug.sethook(function() if debug.getinfo(2, "f").func == debug.traceback then error("enough", 0) end end, "c")
    local ok, message = pcall(client.get_limits, client, "a", "b")
    debug.sethook()
    assert.same({ false, "enough" }, { ok, message })
    assert.same({ true, "the token function failed: enough" }, { fails(function() error("enough", 0) end) })
  end)

  it("where a hook calls the library, too", function()
    local outcome
    debug.sethook(function()
      debug.sethook()
      outcome = { fails(function() error("enough", 0) end) }
    end, "", 1)
    for _ = 1, 2 do outcome = outcome end
    assert.same({ true, "the token function failed: enough" }, outcome)
  end)

  it("hooks that were set stay set", function()
    local n = 0
    local function hook() n = n + 1 end
    debug.sethook(hook, "r", 1000)
    fails(function() error("enough", 0) end)
    local set, mask, count = debug.gethook()
    debug.sethook()
    assert.same({ hook, "r", 1000 }, { set, mask, count })
  end)
end)

for _, driver in ipairs(async.drivers) do
  describe(("Ctrl-C, driven by %s,"):format(driver.name), function()
    teardown(async.stop)

    for _, way in ipairs(ways) do
      it("ends " .. way[1], function()
        local report = child.run({}, ([[
          local url, io_thread = ...
          client = require "hubspot_assoc".new { base_url = url, access_token = "x", timeout = 60, deadline = 60,
            io_thread = io_thread == "true", rate = false }
          os.execute "(sleep 0.3; kill -INT $PPID) &"
          %s ]]):format(way[2]), async.server().url, tostring(driver.io_thread))
        assert.matches("interrupted!", table.concat(report, "\n"))
        assert.equal("1", report.status)
        assert.is_true(report.seconds < SOON, "took " .. report.seconds)
      end)
    end

    it("ends a token function, and the program", function()
      local report = child.run({}, [[
        local client = require "hubspot_assoc".new { io_thread = ... == "true", access_token = function()
          os.execute "(sleep 0.3; kill -INT $PPID) &"
          for _ = 1, 1000 do require "socket".sleep(0.01) end
          return "pat-x"
        end, transport = function() return { status = 200, body = '{"results":[]}' } end }
        client.async:get_limits("a", "b")
        client:drain(60)
        return "went on" ]], tostring(driver.io_thread))
      assert.matches("interrupted!", table.concat(report, "\n"))
      assert.equal("1", report.status)
    end)

    for name, wait in pairs {
      ["an ordinary call"] = "pcall(client.get_limits, client, 'never', 'companies')",
      ["a wait"] = "pcall(future.wait, future)",
    } do
      it(("leaves calls and clients as they were where %s is ended and the error caught"):format(name), function()
        local report = child.run({}, ([[
          local url, io_thread = ...
          local client = require "hubspot_assoc".new { base_url = url, access_token = "x", timeout = 60, deadline = 60,
            io_thread = io_thread == "true", rate = false }
          local future = client.async:get_limits("never", "companies")
          os.execute "(sleep 0.3; kill -INT $PPID) &"
          local is_whole = %s
          local before = client:pending()
          future:cancel()
          return is_whole, before, client:drain(), client:pending(), #client:get_limits("contacts", "companies")
          ]]):format(wait), async.server().url, tostring(driver.io_thread))
        assert.same({ "false", "1", "1", "0", "0" }, { unpack(report) })
      end)
    end
  end)
end
