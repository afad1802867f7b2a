-- The option limiter: somebody else decides when each attempt may be sent, and hears of every answer. (In event loops:
-- loop_spec.lua.)
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local async = require "spec.support.async"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"
local ways = require "spec.support.ways"
local wire = require "spec.support.wire"

local AT_ONCE = 3 -- s: less than the deadline, which is 10
local LONG = 30     -- s

-- A limiter that does as told, and notes what it was asked and told: asked = { { cost, most }, ... }, told = { ... }.
-- reserve(n): what it does when it is asked for the n-th time; default: no wait. observe(rate_limit, n) likewise.
local function scripted(reserve, observe)
  local limiter = { asked = {}, told = {} }
  function limiter:reserve(...)
    assert(self == limiter and select("#", ...) == 2)
    self.asked[#self.asked + 1] = { ... }
    if not reserve then return 0 end
    return reserve(#self.asked)
  end
  function limiter:observe(...)
    assert(self == limiter and select("#", ...) == 1)
    self.told[#self.told + 1] = (...)
    if observe then observe((...), #self.told) end
  end
  return limiter
end

-- Options for the simulator, in an account of its own, with this limiter: options, token.
local function options_of(limiter, options)
  local token = simulator.token()
  local all = { base_url = simulator.url, access_token = token, limiter = limiter, deadline = 10, max_attempts = 4 }
  for name, value in pairs(options or {}) do all[name] = value end
  all.rate = nil
  return all, token
end

-- The same for wire.client and ways, which give rate = false: that goes together with a limiter.
local function client_of(limiter, options)
  local all, token = options_of(limiter, options)
  return assoc.new(all), token
end

local function within(low, high, value)
  assert.is_true(value >= low and value <= high, ("%s is not within %s and %s"):format(value, low, high))
end

local function costs(limiter)
  local list = {}
  for i, asked in ipairs(limiter.asked) do list[i] = asked[1] end
  return list
end

after_each(fault_server.stop_all)
teardown(async.stop)

for _, way in ipairs(ways) do
  describe("a limiter, with calls that are " .. way.name, function()
    local function start(limiter, options)
      local all, token = options_of(limiter, options)
      return way.client(simulator.url, all), token
    end

    it("that returns nil and a message is the call's error", function()
      local client = start { reserve = function() return nil, "no window today" end, observe = print }
      local outcome = wire.call(client, "get_limits")
      assert.equal("config", outcome.error.kind)
      assert.matches("the limiter failed: no window today", outcome.error.message, 1, true)
    end)

    it("is asked once for a call, and told of its answer", function()
      local limiter = scripted()
      local client = start(limiter)
      local outcome = wire.good_call(client, "get_limits")
      assert.same({ 1 }, costs(limiter))
      within(9, 10, limiter.asked[1][2])
      assert.equal(1, #limiter.told)
      local told = limiter.told[1]
      within(0, 1, told.late)
      within(0, 1, told.age)
      told.late, told.age = nil, nil
      assert.same({ max = 100, remaining = 99, interval_ms = 10000, daily = 250000, daily_remaining = 249999 }, told)
      assert.same(outcome.response.rate_limit, told)
    end)

    it("is asked before every retry, and told of the answers before", function()
      local limiter = scripted()
      local client, token = start(limiter)
      simulator.fault(token, { status = 503, retry_after = 0, times = 2 })
      assert.equal(3, wire.good_call(client, "get_limits").response.attempts)
      assert.same({ 1, 1, 1 }, costs(limiter))
      assert.is_true(limiter.asked[3][2] < limiter.asked[1][2])
      assert.equal(3, #limiter.told)
      assert.is_nil(limiter.told[1].max)
      assert.is_nil(limiter.told[1].retry_after)
      assert.equal(100, limiter.told[3].max)
    end)

    it("is asked for each request of a batch", function()
      local limiter = scripted()
      local client, token = start(limiter)
      simulator.fault(token, { status = 503, retry_after = 0, skip = 1 })
      local results, errors = client:batch_update("contacts", "companies", binding.limits(5), { batch_size = 2 })
      assert.is_table(results)
      assert.is_table(errors) -- types that are not there
      assert.same({ 1, 1, 1, 1 }, costs(limiter))
      assert.equal(4, #limiter.told)
    end)

    it("is waited for", function()
      local limiter = scripted(function(n) return n == 1 and 0.15 or 0.3 end)
      local client, token = start(limiter)
      simulator.fault(token, { status = 503, retry_after = 0 })
      local outcome = wire.good_call(client, "get_limits")
      within(0.45, 2, outcome.seconds)
      local calls = simulator.log(token).calls or simulator.log(token)
      within(0.3, 1.5, calls[2].time - calls[1].time)
    end)

    it("whose wait would outlast the deadline ends the call at once, and nothing is sent", function()
      for _, wait in ipairs { 10.5, 1e6, 1e300 } do
        local limiter = scripted(function() return wait end)
        local client, token = start(limiter)
        local outcome = wire.call(client, "get_limits")
        assert.is_nil(outcome.results)
        assert.is_nil(outcome.response)
        assert.same({ "throttled", 0, true, false }, { outcome.error.kind, outcome.error.attempts,
          outcome.error.retryable, outcome.error.ambiguous })
        assert.is_true(outcome.error.retry_after >= math.min(wait, 1e9))
        assert.is_true(outcome.seconds < AT_ONCE)
        assert.equal(1, #limiter.asked)
        assert.same({}, limiter.told)
        assert.equal(0, simulator.log(token).count)
      end
    end)

    it("that gives no leave for a retry leaves what was sent", function()
      local limiter = scripted(function(n) return n == 1 and 0 or 50 end)
      local client, token = start(limiter)
      simulator.fault(token, { status = 503, retry_after = 0 })
      local outcome = wire.call(client, "get_limits")
      assert.same({ "throttled", 1, 503 }, { outcome.error.kind, outcome.error.attempts, outcome.error.http_status })
      within(49, 51, outcome.error.retry_after)
      assert.equal(1, simulator.log(token).count)
    end)

    it("that gives no leave ends a batch: what was sent, what was not", function()
      local limiter = scripted(function(n) return n < 3 and 0 or 50 end)
      local client = start(limiter)
      local inputs = {}
      for i = 1, 5 do inputs[i] = wire.INPUTS.batch_update[1] end
      local outcome = wire.timed(client, "batch_update", "contacts", "companies", inputs, { batch_size = 1 })
      assert.equal(2, #outcome.results)
      local next_input = 3
      for _, err in ipairs(outcome.errors) do
        assert.same({ "throttled", 0, next_input }, { err.kind, err.attempts, err.first })
        next_input = err.last + 1
      end
      assert.equal(6, next_input)
      assert.equal(3, #limiter.asked)
    end)

    it("is told how long all are to hold still", function()
      for _, status in ipairs { 429, 423, 477 } do
        local limiter = scripted()
        local client, token = start(limiter, { deadline = 5 })
        simulator.fault(token, { status = status, retry_after = 7 })
        wire.call(client, "get_limits")
        assert.equal(1, #limiter.told)
        assert.equal(7, limiter.told[1].retry_after, status)
      end
    end)

    it("is not told to hold still where HubSpot's daily limit is used up, or something else is wrong", function()
      local faults = { { status = 429, policy = "DAILY" }, { status = 503, retry_after = 7 }, { status = 404 } }
      for _, fault in ipairs(faults) do
        local limiter = scripted()
        local client, token = start(limiter, { max_attempts = 1 })
        simulator.fault(token, fault)
        wire.call(client, "get_limits")
        assert.equal(1, #limiter.told)
        assert.is_nil(limiter.told[1].retry_after)
      end
    end)

    it("is told nothing where nothing was sent", function()
      local limiter = scripted()
      local client = start(limiter, { base_url = binding.closed_url(), max_attempts = 1 })
      assert.equal("transport", wire.call(client, "get_limits").error.kind)
      assert.equal(1, #limiter.asked)
      assert.same({}, limiter.told)
      client:batch_update("contacts", "companies", {})
      assert.equal(1, #limiter.asked)
    end)

    it("is asked after a token function, also when the token has expired, and told of that answer", function()
      local order, tokens = {}, { simulator.token "expired", simulator.token() }
      local limiter = scripted(function()
        order[#order + 1] = "limiter"
        return 0
      end)
      local client = start(limiter, { access_token = function(reason)
        order[#order + 1] = "token " .. tostring(reason)
        return reason and tokens[2] or tokens[1]
      end })
      assert.equal(2, wire.good_call(client, "get_limits").response.attempts)
      assert.same({ "token nil", "limiter", "token expired", "limiter" }, order)
      assert.equal(2, #limiter.told)
    end)

    it("is not asked where there is no token", function()
      local limiter = scripted()
      local client = start(limiter, { access_token = function() return nil, "none today" end })
      assert.equal("config", wire.call(client, "get_limits").error.kind)
      assert.same({}, limiter.asked)
    end)

    it("that fails is the call's error", function()
      for _, row in ipairs {
        { function() error("no luck", 0) end, "the limiter failed: no luck" },
        { function() error {} end, "the limiter failed: with a value that is no string" },
        { function() return nil end, "'reserve' must return the seconds to wait, got nil" },
        { function() end, "got nil" },
        { function() return "1" end, "got string" },
        { function() return {} end, "got table" },
        { function() return 0 / 0 end, "got nan" },
        { function() return -0.5 end, "got -0.5" },
        { function() return 1 / 0 end, "got inf" },
        { function() return -1 / 0 end, "got -inf" },
        { function() coroutine.yield() end, "attempt to yield" },
      } do
        local limiter = scripted(row[1])
        local client, token = start(limiter)
        local outcome = wire.call(client, "get_limits")
        assert.is_nil(outcome.results)
        assert.same({ "config", 0 }, { outcome.error.kind, outcome.error.attempts })
        assert.matches(row[2], outcome.error.message, 1, true)
        assert.equal(0, simulator.log(token).count)
      end
    end)

    it("that fails when it is told harms no call", function()
      for _, wrong in ipairs { function() error "no luck" end, function() error {} end,
        function() coroutine.yield() end } do
        local client = start(scripted(nil, wrong))
        local outcome = wire.good_call(client, "get_limits")
        assert.is_truthy(outcome.response.on_event_error)
        wire.good_call(client, "get_limits")
      end
    end)

    it("may be an object whose methods are its class's, and change", function()
      local asked = 0
      local Class = { reserve = function() asked = asked + 1 return 0 end, observe = function() end }
      Class.__index = Class
      local limiter = setmetatable({}, Class)
      local client = start(limiter)
      wire.good_call(client, "get_limits")
      assert.equal(1, asked)
      setmetatable(limiter, { __index = function(_, name) error("there is no " .. name, 0) end })
      local outcome = wire.call(client, "get_limits")
      assert.same({ "config", 0 }, { outcome.error.kind, outcome.error.attempts })
      assert.matches("there is no reserve", outcome.error.message, 1, true)
      setmetatable(limiter, nil)
      assert.matches("the limiter failed: attempt to call", wire.call(client, "get_limits").error.message, 1, true)
      setmetatable(limiter, Class)
      wire.good_call(client, "get_limits")
    end)
  end)
end

describe("a limiter takes the place of the client's own pacing", function()
  it("which lets more than its default through then", function()
    local server = fault_server.start "faults.none"
    local limiter = scripted()
    local client = wire.client(server, { limiter = limiter, deadline = 1 })
    for _ = 1, 130 do wire.good_call(client, "get_limits") end
    assert.equal(130, #limiter.asked)
    assert.equal(130, #server:stop())
  end)

  it("also after a 429", function()
    local client, token = client_of(scripted(), { max_attempts = 1 })
    simulator.fault(token, { status = 429, retry_after = 100 })
    assert.equal("throttled", wire.call(client, "get_limits").error.kind)
    wire.good_call(client, "get_limits")
  end)
end)

describe("a limiter and on_event", function()
  it("get along: both are told, and an error of either is found", function()
    local events, limiter = {}, scripted()
    local client, token = client_of(limiter, { on_event = function(event) events[#events + 1] = event.type end })
    simulator.fault(token, { status = 503, retry_after = 0 })
    wire.good_call(client, "get_limits")
    assert.same({ "attempt", "retry", "attempt", "done" }, events)
    assert.equal(2, #limiter.told)
  end)
end)

-- ---- waiting, canceling, closing ----

for _, driver in ipairs(async.drivers) do
  describe("a call that waits for its limiter, driven by " .. driver.name, function()
    local function start(limiter, options)
      local all, token = options_of(limiter, options)
      all.io_thread = driver.io_thread
      return assoc.new(all), token
    end

    it("is pending, and others pass it", function()
      local client = start(scripted(function(n) return n == 1 and 0.3 or 0 end))
      local first = client.async:get_limits("contacts", "companies")
      local second = client.async:get_limits("contacts", "deals")
      assert.is_table((second:wait(5)))
      local results, errors = first:wait(0.01)
      assert.is_nil(results)
      assert.equal("pending", errors[1].kind)
      assert.is_false(first:done())
      assert.is_table((first:wait(5)))
    end)

    it("is asked no sooner than a connection is free for the call", function()
      local limiter = scripted(function() return 0.2 end)
      local client = start(limiter, { max_connections = 2 })
      local n = 0
      for _ = 1, 6 do
        client.async:get_limits("contacts", "companies"):on_done(function() n = n + 1 end)
      end
      local till = core.now() + 0.1
      while core.now() < till do client:step(0.01) end
      assert.equal(2, #limiter.asked)
      client:drain(10)
      assert.same({ 6, 6 }, { n, #limiter.asked })
    end)

    it("can be canceled, and is told of nothing", function()
      local limiter = scripted(function() return 5 end)
      local client, token = start(limiter)
      local future = client.async:get_limits("contacts", "companies")
      assert.is_true(future:cancel())
      local results, errors = future:wait()
      assert.is_nil(results)
      assert.same({ "canceled", 0 }, { errors[1].kind, errors[1].attempts })
      assert.same({}, limiter.told)
      assert.equal(0, simulator.log(token).count)
      assert.equal(1, client:step())
      assert.equal(0, client:pending())
    end)

    it("ends when its client is closed", function()
      local client = start(scripted(function() return 5 end))
      local future = client.async:get_limits("contacts", "companies")
      client:close()
      assert.equal("canceled", select(2, future:wait())[1].kind)
    end)

    it("ends with its deadline, if the limiter takes too long to answer", function()
      local limiter = scripted(function()
        wire.sleep(0.3)
        return 0
      end)
      local client, token = start(limiter, { deadline = 0.2 })
      local _, errors = client.async:get_limits("contacts", "companies"):wait()
      assert.same({ "timeout", 0 }, { errors[1].kind, errors[1].attempts })
      assert.equal(0, simulator.log(token).count)
    end)

    -- Where the limiter is asked for the second time.
    local places = {
      { name = "for a retry", status = 503, body = "" },
      { name = "behind a token function", status = 401, body = '{"category":"EXPIRED_AUTHENTICATION"}' },
      { name = "for the next request of a batch", batch_size = 1, status = 200, body = '{"results":[{}]}' },
    }

    -- Makes a call whose limiter does act(client, future) then: client, future, what wait gave. The first answer comes
    -- when there is a future.
    local function run(place, act)
      local client, future
      local go_on = os.tmpname()
      os.remove(go_on)
      local server = fault_server.start { "limiter.held", go_on, place.status, place.body }
      client = start(scripted(function(n)
        if n == 2 then act(client, future) end
        return 0
      end), { base_url = server.url, access_token = function(reason) return reason or "fresh" end })
      future = client.async:batch_update("contacts", "companies", binding.limits(4), { batch_size = place.batch_size })
      assert(io.open(go_on, "w")):close()
      local waited = { future:wait(LONG) }
      os.remove(go_on)
      return client, future, waited
    end

    for _, place in ipairs(places) do
      it("can be canceled by its limiter, " .. place.name, function()
        local client, future, waited = run(place, function(_, future) assert.is_true(future:cancel()) end)
        assert.equal("canceled", waited[2][#waited[2]].kind)
        assert.is_true(future:done())
        assert.equal(1, client:drain(1))
        assert.equal(0, client:pending())
        wire.good_call(client, "get_limits")
      end)

      it("can have its client closed by its limiter, " .. place.name, function()
        local client, future, waited = run(place, function(client) client:close() end)
        assert.equal("canceled", waited[2][#waited[2]].kind)
        assert.is_true(future:done())
        assert.equal(1, client:drain(1))
        assert.equal(0, client:pending())
      end)

      it("cannot be waited for in its limiter, " .. place.name, function()
        local _, _, waited = run(place, function(client, future)
          assert.has_error(function() future:wait() end)
          assert.has_error(function() client:drain() end)
          assert.equal(0, client:step(0))
        end)
        assert.is_truthy(waited[1])
      end)
    end

    it("may be canceled, or its client closed, when the limiter is told of an answer", function()
      for _, act in ipairs { function(_, future) future:cancel() end, function(client) client:close() end } do
        for _, fault in ipairs { { status = 503, retry_after = 0 }, { delay = 0 } } do
          local client, future
          local limiter = scripted(nil, function() if future then act(client, future) end end)
          local token
          client, token = start(limiter)
          simulator.fault(token, fault)
          future = client.async:get_limits("contacts", "companies")
          local results, errors = future:wait(LONG)
          assert.is_true(results ~= nil or errors[1].kind == "canceled")
          assert.equal(1, client:drain(1))
        end
      end
    end)
  end)
end

describe("an ordinary call", function()
  it("ends well though its limiter closes the client", function()
    for _, module in ipairs { assoc, core } do
      local client
      client = module.new((options_of(scripted(function()
        client:close()
        return 0
      end))))
      local results, errors = client:get_limits("contacts", "companies")
      assert.is_nil(results)
      assert.equal("canceled", errors[1].kind)
      results, errors = client:batch_update("contacts", "companies", binding.limits(2), { batch_size = 1 })
      assert.is_nil(results)
      assert.equal("config", errors[1].kind)
    end
  end)

  it("has a limiter that may make calls, step, and close another client", function()
    local other, client, results = binding.client(), nil, nil
    local limiter = scripted(function(n)
      if n == 1 then
        assert(other:get_limits("contacts", "deals"))
        other:close()
        client.async:get_limits("contacts", "deals"):on_done(function(...) results = ... end) -- it asks, too
        client:step()
      end
      return 0
    end)
    client = client_of(limiter)
    wire.good_call(client, "get_limits")
    client:drain()
    assert.is_table(results)
    assert.same({ 1, 1 }, costs(limiter))
  end)

  it("of hubspot_assoc.core alone has limiters, too", function()
    local limiter = scripted()
    local client = core.new((options_of(limiter)))
    assert.is_table((client:get_limits("contacts", "companies")))
    assert.same({ 1 }, costs(limiter))
    assert.equal(1, #limiter.told)
  end)

  it("whose limiter makes the same call without end is an error", function()
    local client
    client = client_of(scripted(function() return client:get_limits("contacts", "companies") and 0 end),
      { deadline = 120 }) -- LuaJIT has room for thousands
    local _, errors = client:get_limits("contacts", "companies")
    assert.equal("config", errors[1].kind)
  end)
end)

describe("observe that yields", function()
  it("keeps no call from ending with its client", function()
    for _, io_thread in ipairs { true, false } do
      local client = client_of(scripted(nil, coroutine.yield), { io_thread = io_thread, transport = function()
        return { status = 200, body = '{"results":[]}' }
      end })
      coroutine.wrap(function() client.async:get_limits("contacts", "companies"):wait() end)()
      assert.equal(1, client:pending())
      client:close()
      assert.equal(1, client:step())
      assert.equal(0, client:pending())
    end
  end)
end)

describe("a limiter that holds its client", function()
  it("does not keep it from being collected", function()
    local gone = setmetatable({}, { __mode = "k" })
    do
      local limiter = scripted()
      local client = client_of(limiter)
      limiter.client = client
      client:get_limits("contacts", "companies")
      gone[limiter] = true
    end
    for _ = 1, 4 do collectgarbage() end
    assert.is_nil(next(gone))
  end)
end)

-- ---- options ----

describe("a wrong limiter", function()
  local function message(module, name, options)
    local ok, text = pcall(function()
      local client = module[name](options)
      return client
    end)
    assert.is_false(ok)
    assert.matches("^spec/limiter_spec.lua:%d+: bad argument #1 to '" .. name .. "' %(options", text)
    return text
  end

  it("raises, and names the place", function()
    for _, module in ipairs { assoc, core } do
      for _, name in ipairs { "new", "configure" } do
        for _, row in ipairs {
          { {}, "options.limiter: a table with methods reserve and observe expected; it has no reserve" },
          { { reserve = function() end }, "it has no observe" }, { { observe = function() end }, "it has no reserve" },
          { { reserve = 5, observe = function() end }, "it has no reserve" },
          { 5, "options.limiter: table expected, got number" }, { "x", "table expected" },
          { function() end, "table expected, got function" }, { true, "table expected, got boolean" },
        } do
          assert.matches(row[2], message(module, name, { limiter = row[1] }), 1, true)
        end
      end
    end
  end)

  it("is one beside a rate, but not beside rate = false", function()
    for _, module in ipairs { assoc, core } do
      local text = message(module, "new", { limiter = scripted(), rate = { requests = 1, interval = 1 } })
      assert.matches("options.limiter: takes the place of options.rate", text, 1, true)
      assert.is_truthy(module.new { limiter = scripted(), rate = false })
    end
  end)
end)
