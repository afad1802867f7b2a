-- Name lookups that hang: nothing waits for them. libcurl before 7.87 cannot but wait; there all must end well once the
-- lookups do.
local async = require "spec.support.async"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local libcurl = require "spec.support.libcurl"

local unpack = table.unpack or unpack -- luacheck: ignore
local SLOW = 2 -- s, of a lookup that is waited for

-- Lookups take so many seconds, or for good.
local function environment(seconds)
  return { LD_PRELOAD = child.preload(child.shared_object "slow_lookup"),
    SLOW_LOOKUP = seconds and tostring(seconds) }
end

-- What every child has: client, one whose lookups hang; start(n), that many calls of it under way; seconds_of(fn, ...),
-- how long that took; works(), whether a client that needs no lookup works.
local function preamble(driver, url)
  return ([[
    local io_thread, url = %s, %q
    local assoc = require "hubspot_assoc"
    local system = require "system"
    local function new(base_url)
      return assoc.new { base_url = base_url, access_token = "x", rate = false, io_thread = io_thread, deadline = 60,
        timeout = 60, connect_timeout = 60, max_attempts = 1, allow_http = true }
    end
    client = new "https://hubspot.invalid" -- a global: what lua_close finds
    local function start(n)
      local futures = {}
      for i = 1, n do futures[i] = client.async:get_limits("contacts", "companies") end
      client:step(0.2)
      return futures
    end
    local function seconds_of(fn, ...)
      local started = system.monotime()
      fn(...)
      local seconds = system.monotime() - started
      return seconds < 1 and "at once" or seconds
    end
    local function works()
      local results, errors = new(url):get_limits("contacts", "companies")
      return errors and tostring(errors) or #results
    end
  ]]):format(tostring(driver.io_thread), url)
end

describe("a name lookup that hangs", function()
  local version_text, version = libcurl.version()
  local waits = version < 7087000
  local server = fault_server.start(faults.none)
  teardown(function() fault_server.stop_all() end)

  -- Is it our lookup at all that libcurl calls? (c-ares asks the network by itself.)
  local ours = child.run(environment(0), preamble(async.drivers[2], server.url) .. [[
    local client = new("http://hubspot.invalid:" .. url:match ":(%d+)$")
    return client:get_limits("contacts", "companies", { deadline = 5 }) ~= nil
  ]])[1] == "true"

  if not ours then return pending(("(libcurl %s does not look up by getaddrinfo)"):format(version_text)) end

  for _, driver in ipairs(async.drivers) do
    -- A spec: the code returns these values; the process ends with status 0, and at once, or where libcurl waits for
    -- its lookups, when they have ended. `anyhow`: even there it does not wait.
    local function holds_up(what, code, expected, anyhow)
      it("holds up " .. what .. ", driven by " .. driver.name, function()
        local report = child.run(environment(waits and SLOW), preamble(driver, server.url) .. code)
        local said = { unpack(report) }
        for i, text in ipairs(said) do
          if waits and tonumber(text) and expected[i] == "at once" then said[i] = "at once" end
        end
        assert.same({ expected, "0" }, { said, report.status })
        assert.is_true(report.seconds < (waits and 10 * SLOW or 6), report.seconds)
        if waits and not anyhow then -- as README.md says
          assert.is_true(report.seconds > SLOW - 0.5, "it did not wait")
        end
      end)
    end

    holds_up("no cancel", [[
      local future = start(1)[1]
      local seconds = seconds_of(future.cancel, future)
      return seconds, select(2, future:wait())[1].kind, works() ]], { "at once", "canceled", "1" })

    holds_up("no close", "start(9) return seconds_of(client.close, client), works()", { "at once", "1" })

    holds_up("no close after it was canceled", [[
      for _, future in ipairs(start(9)) do future:cancel() end
      return seconds_of(client.close, client), works() ]], { "at once", "1" })

    holds_up("no collection", [[
      start(9)
      client = nil
      return seconds_of(function() collectgarbage() collectgarbage() end), works() ]], { "at once", "1" })

    holds_up("no lua_close", "start(1000) return client:pending()", { "1000" })

    holds_up("no exit", "start(9) print(client:pending()) io.stdout:flush() os.exit(0)", { "9" }, true)

    holds_up("no deadline", [[
      local future = client.async:get_limits("contacts", "companies", { deadline = 0.3 })
      local seconds = seconds_of(future.wait, future)
      local _, errors = future:wait()
      return seconds, errors[1].kind, errors[1].ambiguous, works() ]], { "at once", "timeout", "false", "1" })

    holds_up("neither side of a fork", ([[
      local forker = assert(package.loadlib(%q, "luaopen_forker"))()
      local futures = start(9)
      local pid = forker.fork()
      if pid == 0 then
        local canceled = select(2, futures[1]:wait(0))[1].kind == "canceled"
        forker.exit(canceled and works() == 1 and seconds_of(client.close, client) == "at once" and 0 or 1)
      end
      return forker.wait(pid) == 0, works(), client:pending(), seconds_of(client.close, client) ]])
      :format(child.shared_object "forker"), { "true", "1", "9", "at once" })

    -- libcurl 8.11.1 closes a descriptor twice after each lookup, which may be another one's by then.
    local sound = version == 8011001 and pending or it
    sound("is followed by ones that work, more than a pool of threads holds, driven by " .. driver.name, function()
      local report = child.run(environment(1), preamble(driver, server.url) .. [[
        client = new("http://hubspot.invalid:" .. url:match ":(%d+)$")
        for i = 1, 5 do
          for _, future in ipairs(start(9)) do future:cancel() end
        end
        local results, errors = client:get_limits("contacts", "companies")
        return errors and tostring(errors) or #results ]])
      assert.same({ "1", status = "0", seconds = report.seconds }, report)
    end)
  end
end)

describe("a name lookup that fails for now", function()
  local server = fault_server.start(faults.none)
  teardown(function() fault_server.stop_all() end)

  it("is tried again", function()
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "slow_lookup"), SLOW_LOOKUP = "0",
      FAILED_LOOKUPS = "2" }, [[
        local client = require "hubspot_assoc".new { base_url = "http://hubspot.invalid:" .. (...), access_token = "x",
          allow_http = true, deadline = 20, max_attempts = 6 }
        local limits, errors = client:get_limits("contacts", "companies")
        return errors and tostring(errors) or #limits ]], server.port)
    assert.same({ "1", "0" }, { report[1], report.status })
  end)
end)
