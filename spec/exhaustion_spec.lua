-- What a machine may run out of, or change, while calls are under way: descriptors, threads, the right time. Calls end
-- with an error that says so, nothing is lost, and a later call works. (No descriptor from the beginning:
-- question_spec.lua. Memory: torture/. Disks: bulk_journal_spec.lua, limiter_file_spec.lua, cli/shortage_spec.lua.
-- Name servers: lookup_spec.lua. SIGPIPE: transport_spec.lua.)
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

-- What every child has: take(), all descriptors but `left`; give_back().
local TAKE = [[
  local files = {}
  os.execute "prlimit --pid $PPID --nofile=64:64"
  local function give_back()
    for _, file in ipairs(files) do file:close() end
    files = {}
  end
  local function take(left)
    local file
    repeat
      file = io.open "/dev/null"
      files[#files + 1] = file
    until not file
    for _ = 1, left or 0 do table.remove(files):close() end
  end
]]

describe("descriptors that run out", function()
  after_each(fault_server.stop_all)

  for _, way in ipairs { "client:get_limits('contacts', 'companies')",
    "client.async:get_limits('contacts', 'companies'):wait()" } do
    it("in the middle of a call are that call's error, and missed by no other: " .. way, function()
      local server = fault_server.start { "acts.by_connection", { { "request", { "head", 503 }, "close" } }, "serve" }
      local lines = child.run({}, TAKE .. ([[
        local asked = 0
        local limiter = { observe = function() end, reserve = function() -- before each attempt, which waits for it
          asked = asked + 1
          if asked == 2 then take() end
          return 0
        end }
        local client = require "hubspot_assoc".new { base_url = ..., access_token = "x", max_attempts = 3,
          deadline = 20, limiter = limiter }
        local results, errors = %s
        local err = results and {} or errors[1]
        give_back()
        local later = client:get_limits("contacts", "companies")
        client:step()
        return err.kind, err.attempts, err.ambiguous, later and #later, client:pending(), err.message
      ]]):format(way), server.url)
      assert.same({ "config", "2", "false", "1", "0", "0" }, { lines[1], lines[2], lines[3], lines[4], lines[5],
        lines.status }, table.concat(lines, "\n"))
      assert.matches("descriptors are left", lines[6], 1, true)
    end)
  end

  it("keep a job from its journal, which it says", function()
    local lines = child.run({}, TAKE .. [[
      local path = os.tmpname()
      local client = require "hubspot_assoc".new { base_url = "http://127.0.0.1:1", access_token = "x" }
      require "hubspot_assoc.bulk" -- which reads files, too
      take()
      local _, errors = client:bulk("associate_default", "contacts", "companies", { journal = path })
      give_back()
      os.remove(path)
      return errors[1].kind, (errors[1].message:gsub(path, "PATH"))
    ]])
    assert.same({ "config", "0" }, { lines[1], lines.status }, table.concat(lines, "\n"))
    assert.matches("PATH: Too many open files", lines[2], 1, true)
  end)

  it("keep a call from a limiter's file, which it says", function()
    local lines = child.run({}, TAKE .. [[
      local path = os.tmpname()
      os.remove(path)
      local limiter = require "hubspot_assoc.limiter.file".new(path, { requests = 10, interval = 1 })
      local client = require "hubspot_assoc".new { base_url = ..., access_token = "x", limiter = limiter,
        max_attempts = 1 }
      take(9) -- enough for the call
      local reserve = limiter.reserve
      limiter.reserve = function(...)
        take()
        return reserve(...)
      end
      local _, errors = client:get_limits("contacts", "companies")
      give_back()
      limiter.reserve = nil
      local later, why = client:get_limits("contacts", "companies")
      os.remove(path)
      return errors[1].kind, (errors[1].message:gsub(path, "PATH")), later and #later or why
    ]], fault_server.start({ "acts.always", "ok" }).url)
    assert.equal("0", lines.status, table.concat(lines, "\n"))
    assert.matches("PATH: Too many open files", lines[2] or "", 1, true)
    assert.equal("1", lines[3])
  end)
end)

describe("threads that run out", function()
  it("are missed by who looks up a name alone, and then by no call to an address", function()
    local lines = child.run({ LD_PRELOAD = child.preload(child.shared_object "no_threads") }, [[
      local assoc = require "hubspot_assoc"
      local function call(url)
        local results, errors = assoc.new { base_url = url, access_token = "x", max_attempts = 2, deadline = 3,
          allow_http = true }:get_limits("contacts", "companies")
        return results and "good" or errors[1].kind .. "/" .. tostring(errors[1].code)
      end
      return call("http://localhost.localdomain.invalid:1"), call(...)
    ]], fault_server.start({ "acts.always", "ok" }).url)
    fault_server.stop_all()
    -- libcurl 8.20 and later waits for a thread.
    assert.is_true(lines[1] == "transport/resolve" or lines[1] == "timeout/nil", lines[1])
    assert.same({ "good", "0" }, { lines[2], lines.status })
  end)
end)

-- wild_clock.c: each look at the wall clock is hours off the one before, ahead or behind. The monotonic one is sound.
describe("a wall clock that jumps", function()
  local wild = { LD_PRELOAD = child.preload(child.shared_object "wild_clock"), SIMULATOR_URL = simulator.url }

  it("does not change what Retry-After means as a date, if the server tells its own time", function()
    local server = fault_server.start { "acts.by_number", { { { "answer", 503, "{}",
      { Date = "Sun, 06 Nov 1994 08:49:37 GMT", ["Retry-After"] = "Sun, 06 Nov 1994 08:49:38 GMT" } } } }, "ok" }
    local lines = child.run(wild, [[
      local system = require "system"
      local client = require "hubspot_assoc".new { base_url = ..., access_token = "x", deadline = 20 }
      local started = system.monotime()
      local results, errors = client:get_limits("contacts", "companies")
      local seconds = system.monotime() - started
      return results and #results or errors, seconds >= 0.99 and seconds < 15
    ]], server.url)
    fault_server.stop_all()
    assert.same({ "1", "true", "0" }, { lines[1], lines[2], lines.status })
  end)

  it("gives no wait beyond the deadline, if the server does not", function()
    local server = fault_server.start { "acts.by_number", { { { "answer", 503, "{}",
      { ["Retry-After"] = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 2) } } } }, "ok" }
    local lines = child.run(wild, [[
      local client = require "hubspot_assoc".new { base_url = ..., access_token = "x", deadline = 5 }
      local results, errors = client:get_limits("contacts", "companies")
      return results and #results == 1 or errors[1].http_status == 503
    ]], server.url)
    fault_server.stop_all()
    assert.same({ "true", "0" }, { lines[1], lines.status })
    assert.is_true(lines.seconds < 15)
  end)

  it("lets OAuth's tokens live as long as they do", function()
    local app = "app-" .. simulator.token()
    simulator.control("oauth", { token = app })
    local lines = child.run(wild, [[
      local assoc = require "hubspot_assoc"
      local url = os.getenv "SIMULATOR_URL"
      local oauth = assoc.oauth { client_id = ..., client_secret = "simulator-secret",
        refresh_token = "simulator-first", base_url = url }
      local client = assoc.new { base_url = url, access_token = oauth }
      local n = 0
      for _ = 1, 5 do n = n + #assert(client:get_limits("contacts", "companies")) end
      return n > 0
    ]], app)
    assert.same({ "true", "0" }, { lines[1], lines.status })
    local asked = 0
    for _, entry in ipairs(simulator.log(app)) do asked = asked + (entry.path:find "^/oauth/" and 1 or 0) end
    assert.equal(1, asked)
  end)

  it("changes neither the rate of a limiter's file nor a job's journal", function()
    local lines = child.run(wild, [[
      local path = os.tmpname()
      os.remove(path)
      local limiter = require "hubspot_assoc.limiter.file".new(path, { requests = 3, interval = 60 })
      local waits = {}
      for i = 1, 4 do waits[i] = limiter:reserve(1) end
      os.remove(path)
      local bulk_server = require "spec.support.bulk_server"
      local skipped, done = 0, 0
      for _ = 1, 2 do
        local summary = bulk_server.new().client():bulk("associate_default", "contacts", "companies",
          { journal = path }):run(bulk_server.pairs(50))
        done, skipped = done + summary.done, skipped + summary.skipped
      end
      os.remove(path)
      return waits[1], waits[3], waits[4], done, skipped
    ]])
    -- Who is held up on a busy machine takes another place, perhaps of the next window.
    for i = 1, 2 do assert.is_true(tonumber(lines[i]) >= 0 and tonumber(lines[i]) < 70, lines[i]) end
    assert.is_true(tonumber(lines[3]) > 50 and tonumber(lines[3]) < 130, lines[3])
    assert.same({ "50", "50", "0" }, { lines[4], lines[5], lines.status })
  end)
end)
