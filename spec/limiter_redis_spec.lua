-- limiter.redis where something goes wrong: a server that is slow, gone, emptied or not what it should be. (What every
-- limiter does: limiter_conformance_spec.lua.)
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local fake_redis = require "spec.support.fake_redis"
local rates = require "spec.support.rates"
local redis = require "hubspot_assoc.limiter.redis"
local redis_server = require "spec.support.redis_server"
local simulator = require "spec.support.simulator"
local system = require "system" -- busted needs it too

local unpack = rawget(_G, "unpack") or table.unpack
local check_windows, waits_of, within = rates.check_windows, rates.waits_of, rates.within

local clock, server, changes

before_each(function()
  clock = { now = 1000 }
  server = fake_redis.new(clock)
  changes = {}
end)

-- A limiter of the stand-in, with a connection of its own whenever it needs one.
local function new(requests, interval, more)
  local options = { requests = requests, interval = interval, now = function() return clock.now end,
    on_change = function(change) changes[#changes + 1] = change end }
  for name, value in pairs(more or {}) do options[name] = value end
  return redis.new(options.client or function() return server:client { breaks = true } end, (function()
    options.client = nil
    return options
  end)())
end

local function reserve(times, limiter, n)
  for _ = 1, n do times[#times + 1] = clock.now + limiter:reserve(1) end
end

describe("the script of limiter.redis", function()
  it("is sent once, then named", function()
    local limiter, other = new(5, 1), new(5, 1)
    waits_of(limiter, 3)
    other:observe { retry_after = 1 }
    assert.same({ "evalsha", "eval", "evalsha", "evalsha", "evalsha" }, server.commands)
    server.commands = {}
    server:flush(true)
    waits_of(limiter, 2)
    assert.same({ "evalsha", "eval", "evalsha" }, server.commands)
  end)

  it("asks and keeps little, however long it goes on", function()
    local limiter, most = new(10, 1), 0
    for i = 1, 2000 do
      clock.now = clock.now + limiter:reserve(1)
      if i > 500 then
        local n = 0
        for _ in pairs(server.hashes["hubspot_assoc:rate"]) do n = n + 1 end
        most = math.max(most, n)
      end
    end
    assert.is_true(most < 200, most .. " fields")
    server.calls = 0
    limiter:reserve(1)
    assert.is_true(server.calls < 40, server.calls .. " calls")
  end)

  it("leaves nothing behind when nobody uses it any more", function()
    local limiter = new(5, 1)
    waits_of(limiter, 12)
    limiter:observe { max = 5, remaining = 2, interval_ms = 1000, age = 0, late = 0.2 }
    clock.now = clock.now + 80
    server:client():evalsha("x", 0)
    assert.is_true(server.ends["hubspot_assoc:rate"] <= clock.now)
  end)

  it("leaves nothing behind that does not expire, also where it is asked for too much", function()
    new(nil, nil):observe { max = 5, remaining = 5, interval_ms = 1000 }
    local knows_nothing = new(nil, nil)
    pcall(knows_nothing.reserve, knows_nothing, 50)
    new(nil, nil, { prefix = "other:" }):observe { retry_after = 1 }
    for key in pairs(server.hashes) do assert.is_number(server.ends[key]) end
  end)

  it("keeps a hold of a day", function()
    local limiter = new(5, 1)
    limiter:observe { retry_after = 86400 }
    clock.now = clock.now + 80000
    within(6400, 6401, limiter:reserve(1, 5))
  end)

  it("has a key of its own for each prefix", function()
    local one, other = new(2, 1, { prefix = "one:" }), new(2, 1, { prefix = "other:" })
    waits_of(one, 5)
    assert.equal(0, waits_of(other, 2)[2])
    assert.is_table(server.hashes["one:rate"])
  end)

  it("goes on where the server's clock is set back or ahead", function()
    for _, skew in ipairs { -7200, -0.5, -1e-4, 0, 0.0001 } do
      local limiter, times = new(5, 1, { prefix = "p" .. skew }), {}
      server.skew = 0
      reserve(times, limiter, 7)
      clock.now = clock.now + 0.25
      server.skew = skew
      reserve(times, limiter, 7)
      check_windows(times, 5, 1 - 0.001, "skew " .. skew)
      within(2, 2.5, times[14] - times[1])
    end
  end)
end)

describe("a Redis server that fails", function()
  for _, trouble in ipairs { "timeout", "closed", "LOADING Redis is loading", "READONLY no", "late" } do
    it("('" .. trouble .. "') leaves each its part of the rate, and is told what was sent when it is back", function()
      local limiters, times = { new(8, 1), new(8, 1) }, {}
      for _, limiter in ipairs(limiters) do reserve(times, limiter, 2) end
      clock.now = clock.now + 2
      times = {}
      server.trouble = trouble
      for _, limiter in ipairs(limiters) do reserve(times, limiter, 4) end
      local away = { unpack(times) }
      check_windows(away, 4, 1)
      assert.is_true(times[4] - times[1] >= 1)
      assert.same({ false, trouble }, { changes[1].shared, changes[1].reason })
      assert.equal(2, #changes)
      server.trouble = nil
      clock.now = clock.now + 1.5
      for _, limiter in ipairs(limiters) do reserve(times, limiter, 10) end
      assert.equal(4, #changes)
      assert.is_true(changes[4].shared)
      check_windows(times, 8, 1)
      within(0, 8, times[#times] - clock.now)
    end)
  end

  it("leaves to each the part that it has not used yet", function()
    local limiter = new(8, 1)
    waits_of(limiter, 2)
    server.trouble = "timeout"
    within(1, 1.1, limiter:reserve(1))
  end)

  it("is let alone for a second", function()
    local limiter = new(100, 1)
    server.trouble = "timeout"
    waits_of(limiter, 20)
    limiter:observe { retry_after = 0.1 }
    assert.equal(1, #server.commands)
    clock.now = clock.now + 1.01
    waits_of(limiter, 20)
    assert.equal(2, #server.commands)
  end)

  it("from the beginning costs no call", function()
    local limiter = new(8, 1, { client = function() return nil, "connection refused" end })
    assert.equal(0, limiter:reserve(2))
    assert.equal("connection refused", changes[1].reason)
    limiter = new(8, 1, { client = function() error("no route to host", 0) end })
    assert.equal(0, limiter:reserve(2))
    assert.equal("no route to host", changes[2].reason)
    limiter = new(8, 1, { client = function() return { eval = function() end } end })
    assert.equal(0, limiter:reserve(2))
    assert.equal("what was returned as a connected Redis client has no method 'evalsha'", changes[3].reason)
    limiter = new(8, 1, { client = function() return 5 end })
    assert.equal(0, limiter:reserve(1))
  end)

  it("makes all hold still with what this process alone was told", function()
    local limiter = new(8, 1)
    server.trouble = "timeout"
    limiter:observe { retry_after = 3 }
    within(2.9, 3.1, limiter:reserve(1, 5))
  end)

  it("has its errors ignored where on_change fails", function()
    local limiter = new(8, 1, { on_change = function() error "no luck" end })
    server.trouble = "timeout"
    assert.equal(0, limiter:reserve(1))
  end)

  it("and takes too long is asked no more for a while, but its answer counts", function()
    local limiter = new(5, 1)
    limiter:reserve(1)
    server.before = function() clock.now = clock.now + 0.06 end
    limiter:reserve(1)
    assert.matches("took more than 0.05 s", changes[1].reason)
    server.commands = {}
    limiter:reserve(1)
    assert.same({}, server.commands)
  end)
end)

describe("a connection of limiter.redis", function()
  it("is not used again after trouble", function()
    local made = 0
    local limiter = new(5, 1, { client = function()
      made = made + 1
      return server:client { breaks = true }
    end })
    waits_of(limiter, 5)
    assert.equal(1, made)
    server.trouble = "timeout"
    limiter:reserve(1)
    server.trouble = nil
    clock.now = clock.now + 2
    waits_of(limiter, 2)
    assert.equal(2, made)
  end)

  it("that brings another request's answer is not believed", function()
    local client, answers = server:client(), { "" }
    for _, name in ipairs { "eval", "evalsha" } do
      local real = client[name]
      client[name] = function(...)
        local answer, why = real(...)
        if answer then
          answers[#answers + 1] = answer
          answer = table.remove(answers, 1)
        end
        return answer, why
      end
    end
    local limiter = new(4, 1, { client = client })
    for _ = 1, 3 do
      limiter:reserve(1)
      clock.now = clock.now + 1.5
    end
    assert.equal(1, #changes)
    assert.matches("the answer of another request", changes[1].reason)
  end)

  it("is given back after each use, where `release` is given", function()
    local given, made = {}, 0
    local limiter = new(5, 1, { release = function(client) given[#given + 1] = client end, client = function()
      made = made + 1
      return server:client()
    end })
    waits_of(limiter, 3)
    assert.same({ 3, 3 }, { made, #given })
    server.trouble = "timeout"
    limiter:reserve(1)
    assert.same({ 4, 3 }, { made, #given })
  end)

  it("is given the time to answer, as its client allows", function()
    local set = {}
    local function client_with(name, fn)
      local client = server:client()
      client[name] = fn
      return client
    end
    new(5, 1, { client = client_with("set_timeouts", function(_, ...) set[1] = { ... } end) }):reserve(1)
    new(5, 1, { client = client_with("set_timeout", function(_, ...) set[2] = { ... } end) }):reserve(1)
    new(5, 1, { timeout = 0.2, client = client_with("network", { socket = {
      settimeout = function(_, ...) set[3] = { ... } end } }) }):reserve(1)
    assert.same({ { 50, 50, 50 }, { 50 }, { 0.2 } }, set)
    local given
    new(5, 1, { client = function(timeout)
      given = timeout
      return server:client()
    end }):reserve(1)
    assert.equal(0.05, given)
  end)

  it("is nobody else's while it is used: others take another, or do without", function()
    server.before = coroutine.yield
    for _, made in ipairs { false, true } do
      local client = server:client()
      local limiter = new(8, 1, { client = made and function() return server:client() end or client })
      local threads, waits = {}, {}
      for i = 1, 2 do
        threads[i] = coroutine.create(function() waits[i] = limiter:reserve(1) end)
        assert(coroutine.resume(threads[i]))
      end
      while coroutine.status(threads[1]) ~= "dead" do assert(coroutine.resume(threads[1])) end
      while coroutine.status(threads[2]) ~= "dead" do assert(coroutine.resume(threads[2])) end
      assert.same({ 0, 0 }, waits)
    end
    assert.same({}, changes)
  end)
end)

describe("Ctrl-C in a connection of limiter.redis", function()
  it("is handed on, and is no trouble of the server's", function()
    local limiter = new(5, 1)
    limiter:reserve(1)
    server.before = function() error("stdin:1: interrupted!", 0) end
    local ok, text = pcall(limiter.reserve, limiter, 1)
    assert.same({ false, "stdin:1: interrupted!" }, { ok, text })
    server.before = nil
    limiter:reserve(1)
    assert.same({}, changes)
  end)
end)

describe("a Redis server that has lost its data", function()
  it("holds up those who knew it, and all with them, for a window", function()
    local limiters, times = { new(5, 1), new(5, 1) }, {}
    for _ = 1, 2 do
      for _, limiter in ipairs(limiters) do reserve(times, limiter, 1) end
    end
    clock.now = clock.now + 0.3
    server:flush(true)
    for i = 1, 10 do
      if i == 5 then clock.now = clock.now + 0.5 end
      reserve(times, limiters[i % 2 + 1], 1)
    end
    check_windows(times, 5, 1)
    within(2, 3.2, times[#times] - times[1])
    clock.now = clock.now + 5
    assert.equal(0, waits_of(limiters[2], 5)[5])
  end)

  it("lets who begins then send no more than one window too many", function()
    local times = {}
    reserve(times, new(5, 1), 5)
    server:flush()
    reserve(times, new(5, 1), 10)
    check_windows(times, 10, 1)
  end)
end)

-- ---- a real server ----

describe("a real Redis server", function()
  local real

  before_each(function() real = redis_server.start() end)
  after_each(function() real:stop() end)

  -- A process that makes calls, so many at a time, until it was told of so many changes: how many it has made, how many
  -- went well, and the changes.
  local function start_process(name, token, calls, expected)
    return child.start({}, ([[
      package.path = package.path .. ";/usr/share/lua/5.1/?.lua"
      local assoc = require "hubspot_assoc"
      local redis = require "redis"
      local limiter = require "hubspot_assoc.limiter.redis"
      local url, token, port, calls, expected, name = ...
      calls, expected = tonumber(calls), tonumber(expected)
      local changes = {}
      local client = assoc.new { base_url = url, access_token = token, user_agent = name,
        limiter = limiter.new(function(timeout)
          return redis.connect { host = "127.0.0.1", port = tonumber(port), timeout = timeout }
        end, { requests = 40, interval = 1.2, peers = 4, timeout = 5, on_change = function(change)
          changes[#changes + 1] = tostring(change.shared)
        end }) }
      local made, good = 0, 0
      repeat
        for _ = 1, calls do
          client.async:get_limits("contacts", "companies"):on_done(function(results, errors)
            good = good + (results and 1 or 0)
          end)
        end
        made = made + calls
        client:drain()
      until #changes >= expected
      return made, good, table.concat(changes, " ")]]), simulator.url, token, real.port, calls, expected, name)
  end

  -- The processes' window is longer.
  local function account()
    local token = simulator.token()
    simulator.control("rate", { token = token, max = 40, interval_ms = 1000 })
    return token
  end

  it("knows the script by the name that is in the module", function()
    local limiter = redis.new(real.connect, { timeout = 5 }) -- a busy machine's server may be slow
    waits_of(limiter, 5)
    local statistics = real.connect():info "commandstats"
    local all = statistics.commandstats or statistics
    assert.matches("calls=1,", all.cmdstat_eval)
    assert.matches("calls=5,", all.cmdstat_evalsha)
  end)

  it("gives one rate to four processes", function()
    local token, collect, since = account(), {}, system.gettime()
    for i = 1, 4 do collect[i] = start_process("p" .. i, token, 40, 0) end
    for i = 1, 4 do assert.same({ "40", "40", "" }, { unpack(collect[i]()) }) end
    local log = simulator.log(token)
    assert.equal(160, #log - simulator.refused(log))
    rates.check_log(log, since, 40, 1.2)
  end)

  it("that is killed in the middle costs no call, and is used again when it is back", function()
    local token, collect = account(), {}
    for i = 1, 3 do collect[i] = start_process("p" .. i, token, 10, 2) end
    local started = core.now()
    repeat -- until each has used it
      assert.is_true(core.now() - started < 20)
      system.sleep(0.1)
      local seen = {}
      for _, call in ipairs(simulator.log(token)) do seen[call.headers["user-agent"]:match "p%d$"] = true end
    until seen.p1 and seen.p2 and seen.p3
    real:signal "KILL"
    system.sleep(1)
    real:start_again()
    local made = 0
    for i = 1, 3 do
      local lines = collect[i]()
      assert.equal(lines[1], lines[2])
      assert.equal("false true", lines[3])
      made = made + lines[1]
    end
    local log = simulator.log(token)
    assert.equal(made, #log - simulator.refused(log))
  end)

  it("that stands still costs one wait, then none", function()
    local limiter = redis.new(real.connect, { requests = 100, interval = 1, timeout = 1, on_change = function(change)
      changes[#changes + 1] = change
    end })
    limiter:reserve(1)
    real:signal "STOP"
    local started = core.now()
    waits_of(limiter, 20)
    assert.is_true(core.now() - started < 10) -- 20 waits would be twice as long
    assert.matches("timeout", changes[1].reason)
    real:signal "CONT"
    system.sleep(1.1)
    limiter:reserve(1)
    assert.is_true(changes[2].shared)
  end)
end)

describe("wrong arguments of limiter.redis", function()
  it("raise and name the place", function()
    for _, row in ipairs {
      { nil, nil, "bad argument #1 to 'new' (a Redis client with methods eval and evalsha expected" },
      { {}, nil, "#1" }, { 5, nil, "#1" }, { print, { requests = 0 }, "options.requests: integer from 1 to 1000000" },
      { print, { timeout = 0 }, "options.timeout: seconds" }, { print, { url = "x" }, "options.url: unknown option" },
    } do
      local ok, text = pcall(function()
        local limiter = redis.new(row[1], row[2])
        return limiter
      end)
      assert.is_false(ok)
      assert.matches("^spec/limiter_redis_spec.lua:%d+: ", text)
      assert.matches(row[3], text, 1, true)
    end
  end)

  it("of reserve, too, also where the server has learned of a smaller rate", function()
    local limiter = new(nil, nil)
    limiter:reserve(50)
    new(nil, nil):observe { max = 5, remaining = 5, interval_ms = 1000 }
    for _, cost in ipairs { 50, 101, 0 } do
      local ok, text = pcall(function()
        local wait = limiter:reserve(cost)
        return wait
      end)
      assert.is_false(ok)
      assert.matches("^spec/limiter_redis_spec.lua:%d+: bad argument #1 to 'reserve' %(integer from 1 to the rate's ",
        text)
    end
  end)
end)
