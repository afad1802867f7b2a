-- What must not pile up in a worker: requests that are broken off, light threads that are killed, states of Lua that
-- come and go, calls by the thousand.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local system = require "system"

local quick = "faults.none"

-- Answers each request after 0.05 s.
local slow = { "answers.after", 0.05 }

local app = [[ return require "hubspot_assoc".new { rate = false, max_connections = 50, max_attempts = 1 } ]]

local CALL = [[
  location /call { content_by_lua_block {
    local limits, errors = require "app":get_limits("contacts", "companies")
    ngx.print(errors and tostring(errors) or #limits)
  } }
  location /state { content_by_lua_block {
    local app = require "app"
    collectgarbage() collectgarbage()
    ngx.print(app:pending(), " ", collectgarbage "count")
  } } ]]

local is_slow = os.getenv "SLOW" ~= nil

local function start(script, options)
  options.modules = { app = options.app or app }
  options.environment = { HUBSPOT_BASE_URL = fault_server.start(script).url }
  options.server = (options.server or "") .. CALL
  return nginx.start(options)
end

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
end)

-- What the worker holds once all is quiet: calls pending, threads, descriptors, KiB of Lua, KiB of memory.
local function state_of(server)
  local worker = server:workers()[1]
  local pending, kibs
  nginx.wait_until(function()
    pending, kibs = server:get("/state").body:match "^(%d+) ([%d.]+)$"
    return pending == "0"
  end, 8)
  system.sleep(0.1) -- the requests above close
  return { pending = tonumber(pending), tasks = nginx.tasks(worker), fds = nginx.fds(worker), lua = tonumber(kibs),
    rss = nginx.rss(worker), worker = worker }
end

-- nginx keeps the light threads that have ended, with stacks that have grown: it takes this many calls until most have.
local WARM = 120

-- Does this so often, twice: the second time nothing may be added to what the first has left. (All connections to
-- HubSpot are there before, and so are light threads.)
local function expect_stable(server, times, round)
  server:get_many("/call", 60)
  for _ = 1, math.max(1, math.floor(WARM / times)) do round(times) end
  local first = state_of(server)
  round(times)
  local second = state_of(server)
  assert.equal(first.worker, second.worker, "a worker has died")
  assert.same({ 0, 0 }, { first.pending, second.pending })
  assert.equal(first.tasks, second.tasks)
  assert.is_true(math.abs(second.fds - first.fds) <= 3, ("%d, then %d descriptors"):format(first.fds, second.fds))
  assert.is_true(second.lua < first.lua + 60 + times / 4, ("%.0f, then %.0f KiB of Lua"):format(first.lua, second.lua))
  assert.is_true(second.rss < first.rss + 2000 + 4 * times, ("%d, then %d KiB"):format(first.rss, second.rss))
  for _, answer in ipairs(server:get_many("/call", 5)) do
    assert.same({ 200, "1" }, { answer.status, answer.body })
  end
  assert.not_matches("exited on signal", server:log())
end

local COUNT = is_slow and 200 or 40

describe("nothing is left of #nginx", function()
  it("calls whose clients go away", function()
    local server = start(slow, { server = [[ location /abort {
      lua_check_client_abort on;
      content_by_lua_block {
        ngx.on_abort(function() ngx.exit(499) end)
        require "app":get_limits("contacts", "companies")
      } } ]] })
    expect_stable(server, COUNT, function(n)
      server:begin("/abort", { count = n, parallel = 20, close_after = 0.02 }):wait()
    end)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("calls whose clients go away unnoticed", function()
    local server = start(slow, {})
    expect_stable(server, COUNT, function(n)
      server:begin("/call", { count = n, parallel = 20, close_after = 0.02 }):wait()
    end)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("calls in requests that end meanwhile", function()
    local server = start(slow, { server = [[ location /exit { content_by_lua_block {
        local app = require "app"
        for _ = 1, 3 do
          ngx.thread.spawn(function() app:get_limits("contacts", "companies") end)
        end
        local future = app.async:get_limits("contacts", "companies")
        ngx.thread.spawn(function() future:wait(5) end)
        ngx.thread.spawn(function() app:step(5) end)
        ngx.thread.spawn(function() app:drain(5) end)
        ngx.sleep(0.02)
        ngx.exit(204)
      } } ]] })
    expect_stable(server, COUNT, function(n)
      for _, answer in ipairs(server:get_many("/exit", n, 10)) do assert.equal(204, answer.status) end
    end)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("light threads that are killed while they wait", function()
    local server = start(slow, { server = [[ location /kill { content_by_lua_block {
        local app, threads = require "app", {}
        for i = 1, 10 do
          threads[i] = ngx.thread.spawn(function() app:get_limits("contacts", "companies") end)
        end
        ngx.sleep(tonumber(ngx.var.arg_after))
        for i = 1, 10 do ngx.thread.kill(threads[i]) end
      } } ]] })
    expect_stable(server, COUNT / 4, function(n)
      server:get_many("/kill?after=0", n, 5)
      server:get_many("/kill?after=0.02", n, 5)
      server:get_many("/kill?after=0.05", n, 5)
    end)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("calls in the middle of a C function, which cannot wait", function()
    local server = start(slow, { server = [[ location /sort { content_by_lua_block {
        local app = require "app"
        local ok, message = pcall(table.sort, { 1, 2, 3 }, function(a, b)
          app:get_limits("contacts", "companies")
          return a < b
        end)
        ngx.sleep(0.07)
        ngx.print(tostring(ok), " ", message)
      } } ]] })
    expect_stable(server, COUNT / 2, function(n)
      for _, answer in ipairs(server:get_many("/sort", n, 10)) do
        assert.matches("^false .*yield", answer.body)
        assert.is_true(answer.seconds > 0.065, ("ngx.sleep(0.07) took %.2f s"):format(answer.seconds))
      end
    end)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("clients that are dropped, with calls under way or without", function()
    local server = start(slow, { server = [[ location /drop { content_by_lua_block {
        local assoc = require "hubspot_assoc"
        local clients = {}
        for i = 1, 4 do clients[i] = assoc.new { rate = false, max_attempts = 1 } end
        local limits = clients[1]:get_limits("contacts", "companies")
        clients[2].async:get_limits("contacts", "companies")
        clients[3].async:get_limits("contacts", "companies"):cancel()
        clients[4].async:get_limits("contacts", "companies")
        clients[4]:close()
        ngx.print(#limits)
      } } ]] })
    expect_stable(server, COUNT / 2, function(n)
      for _, answer in ipairs(server:get_many("/drop", n, 5)) do assert.equal("1", answer.body) end
      local worker = server:workers()[1]
      nginx.wait_until(function()
        server:get "/state"
        return nginx.tasks(worker) <= 2
      end, 4)
    end)
    assert.same({}, server:complaints())
    assert.equal("", nginx.folders())
    server:quit()
  end)
end)

describe("lua_code_cache off #nginx", function()
  -- Each request has a state of Lua of its own, and so a client.
  it("works, and nothing piles up", function()
    local server = start(quick, { http = "lua_code_cache off;" })
    local worker = server:workers()[1]
    local function round(n)
      for _, answer in ipairs(server:get_many("/call", n, 8)) do
        assert.same({ 200, "1" }, { answer.status, answer.body })
      end
      nginx.wait_until(function() return nginx.tasks(worker) == 1 end, 4)
    end
    round(math.ceil(COUNT / 4))
    local tasks, fds, rss = nginx.tasks(worker), nginx.fds(worker), nginx.rss(worker)
    round(COUNT)
    assert.equal(1, tasks)
    assert.equal(1, nginx.tasks(worker))
    assert.is_true(nginx.fds(worker) <= fds + 2, ("%d, then %d descriptors"):format(fds, nginx.fds(worker)))
    assert.is_true(nginx.rss(worker) < rss + 4000 + 20 * COUNT, ("%d, then %d KiB"):format(rss, nginx.rss(worker)))
    assert.equal("", nginx.folders())
    assert.same({ worker }, server:workers())
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("survives requests that leave calls behind, and clients that go away", function()
    local server = start(slow, { http = "lua_code_cache off;", server = [[
      location /leave { content_by_lua_block {
        require "app".async:get_limits("contacts", "companies"):on_done(function()
          ngx.log(ngx.NOTICE, "handed out")
        end)
      } } ]] })
    local worker = server:workers()[1]
    server:begin("/leave", { count = 20, parallel = 10 }):wait()
    server:begin("/call", { count = 20, parallel = 10, close_after = 0.02 }):wait()
    assert.is_true(nginx.wait_until(function() return nginx.tasks(worker) == 1 end, 4),
      nginx.tasks(worker) .. " threads")
    local _, n = server:log():gsub("handed out", "")
    assert.equal(20, n)
    assert.equal("1", server:get("/call").body)
    assert.same({ worker }, server:workers())
    assert.equal("", nginx.folders())
    assert.same({}, server:complaints())
    server:quit()
  end)
end)

describe("a worker #nginx", function()
  it("of a thousand calls is as good as new", function()
    local server = start(quick, { server = [[ location /many { content_by_lua_block {
        local app = require "app"
        local n = 0
        for _ = 1, tonumber(ngx.var.arg_n) do
          if app:get_limits("contacts", "companies") then n = n + 1 end
        end
        ngx.print(n)
      } } ]] })
    local n = is_slow and 250 or 40
    local function round()
      for _, answer in ipairs(server:get_many("/many?n=" .. n, 8)) do assert.equal(tostring(n), answer.body) end
    end
    round()
    local first = state_of(server)
    round()
    local second = state_of(server)
    assert.same({ first.tasks, first.worker, 0 }, { second.tasks, second.worker, second.pending })
    assert.is_true(second.fds <= first.fds + 2)
    assert.is_true(second.lua < first.lua + 50, ("%.0f, then %.0f KiB of Lua"):format(first.lua, second.lua))
    assert.is_true(second.rss < first.rss + 2000, ("%d, then %d KiB"):format(first.rss, second.rss))
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("may rest longer than the connection lingers, again and again", function()
    local server = start(quick, { })
    for _ = 1, is_slow and 5 or 2 do
      for _, answer in ipairs(server:get_many("/call", 3)) do assert.equal("1", answer.body) end
      system.sleep(is_slow and 1.05 or 0.2)
    end
    assert.same({}, server:complaints())
    server:quit()
  end)
end)
