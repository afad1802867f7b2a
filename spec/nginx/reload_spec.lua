-- Workers that end while calls are under way: reloads, QUIT, TERM.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local system = require "system"

local function answers_after(seconds)
  return { "answers.after", seconds }
end

local silent = { "acts.once", "request", { "sleep", 60 } }

local app = [[ return require "hubspot_assoc".new { rate = false, max_connections = 20, max_attempts = 1 } ]]

local CALL = [[ location /call { content_by_lua_block {
  local limits, errors = require "app":get_limits("contacts", "companies")
  ngx.print(errors and tostring(errors) or #limits)
} } ]]

local function start(script, options)
  options = options or {}
  local hubspot = fault_server.start(script)
  options.server = options.server or CALL
  options.modules = { app = options.app or app }
  options.environment = options.environment or {}
  options.environment.HUBSPOT_BASE_URL = hubspot.url
  return nginx.start(options), hubspot
end

-- Waits until so many requests have reached HubSpot.
local function wait_for_requests(hubspot, n)
  assert(nginx.wait_until(function() return #hubspot:seen() >= n end), "HubSpot was not called")
end

local function expect_good(answers, count)
  assert.equal(count, #answers)
  for _, answer in ipairs(answers) do assert.same({ 200, "1" }, { answer.status, answer.body }) end
end

-- Seconds until done() is true.
local function seconds_until(done)
  local started = system.monotime()
  assert(nginx.wait_until(done, 20), "never")
  return system.monotime() - started
end

-- The Lua module 0.10.23 itself complains of each timer that a worker makes while it ends, be it empty.
local function expect_clean(log)
  log = log:gsub("[^\n]*%[alert%][^\n]*open socket #%-2 left[^\n]*\n[^\n]*%[alert%][^\n]*aborting\n", "")
  assert.not_matches("%[alert%]", log)
  assert.not_matches("exited on signal", log)
end

local function quit(server)
  server:signal "QUIT"
  local seconds = seconds_until(function() return not server:pid() end)
  local log = server:log()
  server:forget()
  expect_clean(log)
  return seconds
end

-- A reload, until there is a worker that none of the old ones is: those.
local function reload(server)
  local old = server:workers()
  server:signal "HUP"
  assert(nginx.wait_until(function()
    local workers = server:workers()
    return workers[#workers] ~= old[#old] or #workers > #old
  end), "no new worker")
  return old
end

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
end)

describe("a reload #nginx", function()
  it("lets calls under way end well, and then the old worker", function()
    local server, hubspot = start(answers_after(0.5))
    local pending = server:begin("/call", { count = 10 })
    wait_for_requests(hubspot, 10)
    local old = reload(server)
    local later = server:begin("/call", { count = 5 })
    expect_good(pending:wait(), 10)
    assert.is_true(seconds_until(function() return not nginx.is_alive(old[1]) end) < 0.6)
    expect_good(later:wait(), 5)
    assert.is_true(nginx.wait_until(function() return #server:workers() == 1 end)) -- once it is reaped
    assert.same({}, server:complaints())
    quit(server)
  end)

  it("of an idle worker ends it promptly, though it has just made calls", function()
    local server = start(answers_after(0))
    expect_good(server:get_many("/call", 3), 3)
    local old = reload(server)
    assert.is_true(seconds_until(function() return not nginx.is_alive(old[1]) end) < 0.4)
    assert.same({}, server:complaints())
    quit(server)
  end)

  it("lets calls without a request end, whose on_done functions are called", function()
    local server, hubspot = start(answers_after(0.5), { server = [[
      location / { content_by_lua_block {
        local app = require "app"
        app.async:get_limits("contacts", "companies"):on_done(function(limits)
          ngx.log(ngx.NOTICE, "handed out ", #limits)
        end)
      } } ]] })
    server:get "/"
    wait_for_requests(hubspot, 1)
    local old = reload(server)
    assert.is_true(seconds_until(function() return not nginx.is_alive(old[1]) end) < 1)
    assert.matches("handed out 1", server:log())
    assert.same({}, server:complaints())
    quit(server)
  end)

  -- In a worker that is ending there are no timers but those of 0 s, so nothing lingers.
  it("does not keep a worker whose last call fails at once", function()
    local server = start(answers_after(0), { environment = { HUBSPOT_ACCESS_TOKEN = "" },
      server = [[ location / { content_by_lua_block {
        ngx.sleep(0.5)
        local _, errors = require "app":get_limits("contacts", "companies")
        ngx.print(errors[1].kind)
      } } ]] })
    local pending = server:begin "/"
    system.sleep(0.2)
    local old = reload(server)
    assert.equal("config", pending:wait()[1].body)
    assert.is_true(nginx.wait_until(function() return not nginx.is_alive(old[1]) end, 2),
      "the old worker is still there")
    quit(server)
  end)

  it("does not keep a worker that cancels its last call", function()
    local server, hubspot = start(answers_after(0.3), { server = [[ location / { content_by_lua_block {
        local app = require "app"
        local limits = app:get_limits("contacts", "companies")
        ngx.sleep(1.5)
        local future = app.async:get_limits("contacts", "companies")
        future:cancel()
        ngx.print(#limits, " ", select(2, future:wait())[1].kind)
      } } ]] })
    local pending = server:begin "/"
    wait_for_requests(hubspot, 1)
    local old = reload(server)
    assert.equal("1 canceled", pending:wait()[1].body)
    assert.is_true(seconds_until(function() return not nginx.is_alive(old[1]) end) < 1)
    quit(server)
  end)

  it("does not keep a worker that begins its first call while it ends", function()
    local server = start(answers_after(0.2), { server = [[ location / { content_by_lua_block {
        ngx.sleep(0.5)
        local app = require "app"
        for _ = 1, 2 do
          local limits, errors = app:get_limits("contacts", "companies")
          ngx.print(errors and tostring(errors) or #limits, " ")
        end
      } } ]] })
    local pending = server:begin "/"
    system.sleep(0.2)
    local old = reload(server)
    assert.equal("1 1 ", pending:wait()[1].body)
    assert.is_true(seconds_until(function() return not nginx.is_alive(old[1]) end) < 1)
    quit(server)
  end)

  if os.getenv "SLOW" then
    it("after reload loses no call", function()
      local server = start(answers_after(0.1), { workers = 2 })
      local pending = server:begin("/call", { count = 400, parallel = 20 })
      local old = {}
      for _ = 1, 5 do
        system.sleep(0.3)
        for _, pid in ipairs(reload(server)) do old[#old + 1] = pid end
      end
      expect_good(pending:wait(), 400)
      assert.is_true(seconds_until(function() return #server:workers() == 2 end) < 2)
      for _, pid in ipairs(old) do assert.is_false(nginx.is_alive(pid)) end
      expect_good(server:get_many("/call", 20), 20)
      assert.same({}, server:complaints())
      assert.equal("", nginx.folders())
      quit(server)
    end)
  end
end)

describe("QUIT #nginx", function()
  it("lets calls under way be answered, and nginx ends promptly", function()
    local server, hubspot = start(answers_after(0.5))
    local pending = server:begin("/call", { count = 10 })
    wait_for_requests(hubspot, 10)
    server:signal "QUIT"
    expect_good(pending:wait(), 10)
    assert.is_true(seconds_until(function() return not server:pid() end) < 0.4)
    assert.same({}, server:complaints())
    assert.equal("", nginx.folders())
  end)

  it("at idle takes no longer than without us", function()
    local server = start(answers_after(0), { workers = 2 })
    expect_good(server:get_many("/call", 8), 8)
    local seconds = quit(server)
    assert.is_true(seconds < 0.35, ("%.2f s"):format(seconds))
  end)

  it("ends calls that take longer than worker_shutdown_timeout", function()
    for _, call in ipairs { "app", "app.async" } do
      local server, hubspot = start(silent, { main = "worker_shutdown_timeout 500ms;", server = [[
        location / { content_by_lua_block {
          local app = require "app"
          ]] .. call .. [[:get_limits("contacts", "companies")
        } } ]] })
      local pending = server:begin "/"
      wait_for_requests(hubspot, 1)
      assert.is_true(quit(server) < 2)
      pending:wait()
    end
  end)

  it("ends though calls were started that nobody waits for", function()
    local server, hubspot = start(answers_after(0.3), { server = [[ location / { content_by_lua_block {
      for _ = 1, 5 do require "app".async:get_limits("contacts", "companies") end
    } } ]] })
    server:get "/"
    wait_for_requests(hubspot, 5)
    assert.is_true(quit(server) < 1)
  end)
end)

describe("TERM #nginx", function()
  it("ends nginx at once, whatever hangs", function()
    local server, hubspot = start(silent, { workers = 2 })
    local pending = server:begin("/call", { count = 10 })
    wait_for_requests(hubspot, 10)
    server:signal "TERM"
    local seconds = seconds_until(function() return not server:pid() end)
    assert.is_true(seconds < 0.5, ("%.2f s"):format(seconds))
    for _, answer in ipairs(pending:wait()) do assert.equal(0, answer.status) end
    assert.not_matches("exited on signal", server:log())
    assert.not_matches("exited with code [1-9]", server:log())
    assert.equal("", nginx.folders())
  end)

  it("leaves no folder behind, though it comes right after the first call", function()
    for _ = 1, 5 do
      local server = start(silent)
      server:begin("/call", { count = 3, close_after = 0.001 }):wait()
      server:signal "TERM"
      assert(nginx.wait_until(function() return not server:pid() end))
      assert.not_matches("exited on signal", server:log())
    end
    assert.equal("", nginx.folders())
  end)

  if os.getenv "SLOW" then
    it("ends a worker that is already ending, too", function()
      local server, hubspot = start(silent)
      local pending = server:begin("/call", { count = 3 })
      wait_for_requests(hubspot, 3)
      server:signal "QUIT"
      system.sleep(1)
      assert.is_truthy(server:pid())
      server:signal "TERM"
      assert.is_true(seconds_until(function() return not server:pid() end) < 0.5)
      pending:wait()
      assert.not_matches("exited on signal", server:log())
    end)
  end
end)
