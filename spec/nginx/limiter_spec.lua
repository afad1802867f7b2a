-- The rate in a real nginx: workers that share it through a dictionary, and workers that have a part of it each. What
-- counts is what arrives at the simulator.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local rates = require "spec.support.rates"
local redis_server = require "spec.support.redis_server"
local simulator = require "spec.support.simulator"
local system = require "system" -- busted needs it too

local JITTER = 0.015 -- s: how differently two requests may travel; the client's margin is 0.02 s at least

local token

-- One call a request; /pid tells the worker.
local SERVER = [[
  location /call { content_by_lua_block {
    local limits, errors = require "app":get_limits("contacts", "companies")
    ngx.header["x-worker"] = ngx.worker.pid()
    ngx.print(errors and tostring(errors) or #limits)
  } }
  location /calls { content_by_lua_block {
    local app, futures, ok = require "app", {}, 0
    for i = 1, tonumber(ngx.var.arg_n) do futures[i] = app.async:get_limits("contacts", "companies") end
    for _, future in ipairs(futures) do ok = ok + (future:wait() and 1 or 0) end
    ngx.print(ok)
  } } ]]

local SHARED = [[ local shdict = require "hubspot_assoc.limiter.shdict"
  return require "hubspot_assoc".new { max_connections = 30, limiter = shdict.new(ngx.shared.hubspot%s) } ]]

-- An nginx of so many workers, whose client talks to an account of its own with this limit.
local function start(options)
  token = simulator.token()
  simulator.control("rate", { token = token, max = options.max, interval_ms = options.interval * 1000 })
  local modules = options.modules or {}
  modules.app = options.app
  return nginx.start { workers = options.workers or 3, server = SERVER .. (options.server or ""), modules = modules,
    main = options.main,
    http = ("lua_shared_dict hubspot %s; %s"):format(options.size or "1m", options.http or ""),
    environment = { HUBSPOT_ACCESS_TOKEN = token } }
end

local function shared(limiter_options)
  return SHARED:format(limiter_options and ", " .. limiter_options or "")
end

local function expect_good(answers)
  for _, answer in ipairs(answers) do assert.same({ 200, "4" }, { answer.status, answer.body }) end
end

local busiest, refused = simulator.busiest, simulator.refused

local function workers_of(answers)
  local seen, n = {}, 0
  for _, answer in ipairs(answers) do
    local pid = answer.headers["x-worker"]
    if not seen[pid] then n = n + 1 end
    seen[pid] = true
  end
  return n
end

local function ends_well(server)
  assert.same({}, server:complaints())
  server:quit()
end

local function calls_of(log)
  return log.calls or log
end

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
end)

describe("workers that share a rate #nginx", function()
  it("never exceed it together, and use all of it", function()
    local server = start { max = 1000, interval = 1, app = shared "{ requests = 20, interval = 2 }" }
    local since = system.gettime()
    local answers = server:get_many("/call", 50, 40)
    expect_good(answers)
    assert.is_true(workers_of(answers) > 1, "one worker had all the load")
    local log = calls_of(simulator.log(token))
    assert.equal(50, #log)
    rates.check_log(log, since, 20, 2)
    local seconds = log[50].time - log[1].time
    assert.is_true(seconds < 10, ("%.2f s"):format(seconds))
    ends_well(server)
  end)

  it("keep to the account's limit, which they learn, though all load falls on one", function()
    local server = start { max = 15, interval = 2, app = shared() }
    server:get "/call"
    assert.equal("44", server:get("/calls?n=44").body)
    local log = calls_of(simulator.log(token))
    assert.equal(45, #log - refused(log))
    assert.is_true(refused(log) < 45, refused(log) .. " were refused") -- some are overtaken; else there are 100
    assert.is_true(log[#log].time - log[1].time < 12, "it had but a part of the rate")
    ends_well(server)
  end)

  it("count retries, and hold still together after a 429", function()
    local server = start { max = 100, interval = 1, app = shared "{ requests = 4, interval = 0.5 }" }
    simulator.fault(token, { status = 429, retry_after = 1 })
    local first = server:begin "/call"
    assert(nginx.wait_until(function() return #calls_of(simulator.log(token)) == 1 end))
    expect_good(server:get_many("/call", 6))
    expect_good(first:wait())
    local log = calls_of(simulator.log(token))
    assert.equal(8, #log)
    assert.is_true(log[2].time - log[1].time >= 1, "others went on")
    assert.is_true(log[6].time - log[1].time >= 1 + 0.5, "more than 4 went on")
    ends_well(server)
  end)

  it("say so where the dictionary is too small", function()
    local server = start { workers = 2, max = 1000, interval = 1, size = "12k",
      app = shared "{ requests = 1000, interval = 1 }" }
    local body
    for _ = 1, 20 do
      body = server:get("/calls?n=40").body
      if body ~= "40" then break end
    end
    assert.not_equal("40", body)
    local answer = server:get "/call"
    assert.matches("config: the limiter failed: the shared dictionary: no memory (lua_shared_dict gives it its size)",
      answer.body, 1, true)
    ends_well(server)
  end)
end)

describe("workers that share a rate in Redis #nginx", function()
  local redis

  before_each(function() redis = redis_server.start() end)
  after_each(function() redis:stop() end)

  -- A connection from nginx's pool for each use, as with lua-resty-redis.
  local function app()
    return ([[ local limiter = require "hubspot_assoc.limiter.redis"
      local resp = require "spec.support.resp"
      changes = {}
      local function connect(timeout)
        local socket = ngx.socket.tcp()
        socket:settimeouts(timeout * 1000, timeout * 1000, timeout * 1000)
        local ok, why = socket:connect("127.0.0.1", %d)
        if not ok then return nil, why end
        return resp.new(socket)
      end
      return require "hubspot_assoc".new { max_connections = 30, limiter = limiter.new(connect, {
        requests = 20, interval = 2, peers = 3, timeout = 5, -- a server may be slow, a killed one is not
        release = function(client) client:set_keepalive(10000, 10) end,
        on_change = function(change) table.insert(changes, tostring(change.shared)) end }) } ]]):format(redis.port)
  end

  it("never exceed it together, and go on with a part each when the server is killed", function()
    local server = start { max = 1000, interval = 1, app = app(), server = [[
      location /changes { content_by_lua_block { require "app" ngx.print(table.concat(changes, " ")) } } ]],
      http = "lua_socket_log_errors off;" }
    local since = system.gettime()
    local answers = server:get_many("/call", 50, 40)
    expect_good(answers)
    assert.is_true(workers_of(answers) > 1, "one worker had all the load")
    local log = calls_of(simulator.log(token))
    assert.equal(50, #log)
    rates.check_log(log, since, 20, 2)
    redis:signal "KILL"
    expect_good(server:get_many("/call", 30, 20))
    assert.equal(80, #calls_of(simulator.log(token)))
    assert.equal("false", server:get("/changes").body)
    ends_well(server)
  end)
end)

describe("workers without a limiter #nginx", function()
  it("keep a rate together: each has a part", function()
    local server = start { max = 1000, interval = 1,
      app = [[ return require "hubspot_assoc".new { rate = { requests = 20, interval = 0.5 } } ]] }
    expect_good(server:get_many("/call", 30, 30))
    assert.is_true(busiest(calls_of(simulator.log(token)), 0.5 - JITTER) <= 18) -- 20 / 3 = 6 each
    ends_well(server)
  end)

  if os.getenv "SLOW" then
    it("keep it on average where they are more than its requests", function()
      local server = start { workers = 4, max = 1000, interval = 1,
        app = [[ return require "hubspot_assoc".new { rate = { requests = 2, interval = 0.5 } } ]] }
      expect_good(server:get_many("/call", 10, 10))
      assert.is_true(busiest(calls_of(simulator.log(token)), 1 - JITTER) <= 4) -- 2 in 0.5 s are as many
      ends_well(server)
    end)
  end
end)

describe("outside of the workers' shares #nginx", function()
  -- Two requests in 20 s, which is the one worker's share.
  local app = [[ return require "hubspot_assoc".new { rate = { requests = 2, interval = 20 } } ]]

  it("a privileged agent has one of its own, in addition", function()
    local server = start { max = 100, interval = 10, workers = 1, app = app, http = [[
      init_by_lua_block { agent = { pcall(require "ngx.process".enable_privileged_agent) } }
      init_worker_by_lua_block {
        if require "ngx.process".type() == "privileged agent" then
          ngx.timer.at(0, function()
            for _ = 1, 2 do require "app":get_limits("contacts", "companies") end
          end)
        end
      } ]], server = [[ location /agent { content_by_lua_block { ngx.print(tostring(agent[1] and agent[2])) } } ]] }
    if server:get("/agent").body ~= "true" then return pending "(no privileged agent in this nginx)" end
    assert.equal("2", server:get("/calls?n=2").body)
    assert.is_true(nginx.wait_until(function() return #calls_of(simulator.log(token)) == 4 end, 8))
    ends_well(server)
  end)

  it("a worker thread has one of its own, in addition", function()
    local server = start { max = 100, interval = 10, workers = 1, app = app, main = "thread_pool calls threads=1;",
      modules = { threaded = [[
        local threaded = {}
        function threaded.call()
          local limits, errors = require "app":get_limits("contacts", "companies")
          return errors and tostring(errors) or tostring(#limits)
        end
        return threaded ]] },
      server = [[ location /thread { content_by_lua_block {
        ngx.print(select(2, ngx.run_worker_thread("calls", "threaded", "call")))
      } } ]] }
    assert.equal("2", server:get("/calls?n=2").body)
    assert.equal("4", server:get("/thread").body)
    ends_well(server)
  end)

  it("without Lua's code cache each request begins with an empty window", function()
    local server = start { max = 100, interval = 10, workers = 1, app = app, http = "lua_code_cache off;" }
    expect_good(server:get_many("/call", 6, 1))
    assert.equal(6, #calls_of(simulator.log(token)))
    server:quit()
  end)
end)

if os.getenv "SLOW" then
  describe("a reload of workers that share a rate #nginx", function()
    it("keeps what has been sent, and takes the new options", function()
      local server = start { max = 1000, interval = 1, app = shared "{ requests = 10, interval = 5 }" }
      local since = system.gettime()
      expect_good(server:get_many("/call", 10, 10))
      local file = assert(io.open(server.folder .. "/app.lua", "w"))
      file:write(shared "{ requests = 15, interval = 5 }")
      file:close()
      local old = server:workers()
      server:signal "HUP"
      assert(nginx.wait_until(function()
        for _, pid in ipairs(old) do
          if nginx.is_alive(pid) then return false end
        end
        return #server:workers() == 3
      end))
      expect_good(server:get_many("/call", 10, 10))
      local log = calls_of(simulator.log(token))
      assert.is_true(log[15].time - log[1].time < 5)
      rates.check_log(log, since, 15, 5)
      ends_well(server)
    end)

    it("under load never exceeds it, and loses no call", function()
      local server = start { max = 1000, interval = 1, app = shared "{ requests = 20, interval = 0.5 }" }
      local since = system.gettime()
      local pending = server:begin("/call", { count = 150, parallel = 30 })
      for _ = 1, 3 do
        nginx.wait_until(function() return false end, 0.7)
        server:signal "HUP"
      end
      expect_good(pending:wait())
      local log = calls_of(simulator.log(token))
      assert.equal(150, #log)
      rates.check_log(log, since, 20, 0.5)
      server:quit()
    end)
  end)
end
