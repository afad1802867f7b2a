-- Ctrl-C: lua and luajit answer it by a debug hook, which runs when Lua does. So no wait keeps it from that for long.
local async = require "spec.support.async"
local child = require "spec.support.child"

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
