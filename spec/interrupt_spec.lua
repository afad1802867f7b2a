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
