-- Asynchronous calls: futures, step and its kin; driven by the client's own thread and by step, which changes nothing.
local assoc = require "hubspot_assoc"
local async = require "spec.support.async"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local libcurl = require "spec.support.libcurl"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local AT_ONCE, LONG = async.AT_ONCE, async.LONG
local probe, start, start_from, timed = async.probe, async.start, async.start_from, async.timed

local unpack = table.unpack or unpack -- luacheck: ignore

-- A function that counts its calls and keeps the last one's arguments: counter() → fn, record.
local function recorder()
  local record = { n = 0 }
  return function(...)
    record.n = record.n + 1
    record.arguments = { n = select("#", ...), ... }
  end, record
end

local function assert_canceled(results, errors, response)
  assert.is_nil(results)
  assert.equal(1, #errors)
  assert.equal("canceled", errors[1].kind)
  assert.is_nil(response)
end

-- It raises this text, and blames this file.
local function assert_raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(tostring(message):find(text, 1, true) ~= nil, tostring(message))
  return message
end

local function assert_blames_us(text, fn)
  assert.matches("async_spec%.lua:%d+: ", assert_raises(text, fn))
end

teardown(async.stop)

for _, driver in ipairs(async.drivers) do
  local function by(text)
    return text .. ", driven by " .. driver.name
  end

  local client

  local function fresh(options)
    client = async.client(driver, options)
    return client
  end

  -- Steps until so many have been handed out, no step giving more than there are.
  local function hand_out(n)
    local handed = 0
    async.step_until(client, function()
      handed = handed + client:step(0.01)
      return handed >= n
    end)
    assert.equal(n, handed)
  end

  describe(by "a future", function()
    before_each(function() fresh() end)
    after_each(function() client:close() end)

    it("has what the ordinary call returns", function()
      local inputs = { { category = "USER_DEFINED", typeId = 7, maxToObjectIds = 5 } }
      local results, errors, response = client:batch_update("contacts", "companies", inputs)
      local future = start(client, 7)
      local other_results, other_errors, other_response = future:wait()
      assert.same(results, other_results)
      assert.is_nil(errors)
      assert.is_nil(other_errors)
      response.elapsed, other_response.elapsed = nil, nil
      assert.same(response, other_response)
    end)

    it("has the ordinary call's errors", function()
      local results, errors, response = client:get_limits("missing", "companies")
      local other_results, other_errors, other_response = start_from(client, "missing"):wait()
      assert.is_nil(results)
      assert.is_nil(other_results)
      assert.equal(tostring(errors), tostring(other_errors))
      assert.same({ "api", 404, "no such thing" },
        { other_errors[1].kind, other_errors[1].http_status, other_errors[1].message })
      assert.equal(response.http_status, other_response.http_status)
    end)

    it("is the same however often it is waited for", function()
      local future = start(client)
      local results, _, response = future:wait()
      local again, _, again_response = future:wait(0)
      assert.is_true(rawequal(results, again) and rawequal(response, again_response))
    end)

    it("comes at once, before anything is known of the call", function()
      local seconds, future = timed(start_from, client, "never")
      assert.is_true(seconds < AT_ONCE)
      assert.is_false(future:done())
      assert.equal(1, client:pending())
    end)

    it("is pending when the time of wait is up, and the call goes on", function()
      local future = start_from(client, "slow")
      local seconds, results, errors, response = timed(future.wait, future, 0.04)
      assert.is_true(seconds >= 0.039 and seconds < AT_ONCE, seconds)
      assert.is_nil(results)
      assert.is_nil(response)
      assert.same({ 1, "pending" }, { #errors, errors[1].kind })
      assert.matches("get_limits slow %-> companies: pending", tostring(errors))
      assert.is_false(future:done())
      assert.is_nil(select(2, future:wait()))
      assert.is_true(future:done())
    end)

    it("is pending at once with wait(0) and less", function()
      local future = start_from(client, "never")
      for _, seconds in ipairs { 0, -1, -math.huge } do
        local took, _, errors = timed(future.wait, future, seconds)
        assert.equal("pending", errors[1].kind)
        assert.is_true(took < AT_ONCE)
      end
    end)

    it("is waited for as long as need be with wait(math.huge)", function()
      assert.is_nil(select(2, start_from(client, "slow"):wait(math.huge)))
    end)

    it("is there with the first of several futures, and waits for no other", function()
      local never, soon = start_from(client, "never"), start(client)
      assert.is_nil(select(2, soon:wait()))
      assert.is_false(never:done())
    end)

    it("tells when it is done", function()
      local future = start_from(client, "slow")
      assert.is_false(future:done())
      async.step_until(client, function() return future:done() end)
      assert.is_true(future:done())
    end)

    it("is done at once if nothing is to be sent", function()
      local future = client.async:batch_update("contacts", "companies", {})
      assert.is_true(future:done())
      assert.same({}, (future:wait()))
      assert.equal(1, client:pending())
      assert.equal(1, client:step())
    end)

    it("is not made for wrong arguments: they raise, and blame the caller", function()
      assert_blames_us("bad argument #3 to 'batch_update' (inputs[1].typeId: integer expected, got string \"x\")",
        function() client.async:batch_update("contacts", "companies", { binding.limit { typeId = "x" } }) end)
      assert_blames_us("bad argument #2 to 'get_limits'", function() client.async:get_limits("contacts") end)
      assert.equal(0, client:pending())
    end)

    it("is made by every API call", function()
      for name in pairs(require "hubspot_assoc.core".calls) do
        assert.equal("function", type(client.async[name]), name)
      end
      local options = binding.simulator_options()
      local results, errors = fresh(options).async:get_all_limits():wait()
      assert.is_nil(errors)
      assert.equal(7, #results)
    end)

    it("says what is wrong with how its methods are called", function()
      local future = start(client)
      for _, name in ipairs { "wait", "done", "cancel", "on_done" } do
        assert_blames_us(("'%s' is a method of a future: call it with a colon, future:%s(...)"):format(name, name),
          function() future[name]() end)
        assert_blames_us("call it with a colon", function() future[name](client) end)
      end
      for _, value in ipairs { "x", {}, true } do
        assert_blames_us("bad argument #1 to 'wait' (number expected, got " .. type(value) .. ")",
          function() future:wait(value) end)
      end
      assert_blames_us("bad argument #1 to 'on_done' (function expected, got nil)", function() future:on_done() end)
    end)

    it("says what is wrong with how it is asked for", function()
      assert_blames_us("call it with a colon, client.async:get_limits(...)",
        function() client.async.get_limits("contacts", "companies") end)
      assert_blames_us("call it with a colon", function() client.async.get_limits(client, "contacts", "companies") end)
      assert_blames_us("call it with a colon", function() assoc.async.get_limits("contacts", "companies") end)
      assert.equal(0, client:pending())
    end)

    it("prints as what it is", function()
      assert.matches("^hubspot_assoc%.future", tostring(start(client)))
    end)
  end)

  describe(by "cancel", function()
    after_each(function()
      client:close()
    end)

    for _, case in ipairs(async.hanging) do
      it("ends " .. case.name .. ", at once", function()
        local future
        client, future = case.start(driver)
        local fn, record = recorder()
        future:on_done(fn)
        local seconds, canceled = timed(future.cancel, future)
        assert.is_true(canceled)
        assert.is_true(seconds < AT_ONCE, seconds)
        assert.is_true(future:done())
        assert_canceled(future:wait(0))
        assert.is_false(future:cancel())
        assert.equal(0, record.n) -- only step calls it
        hand_out(1)
        assert.equal(1, record.n)
        assert_canceled(unpack(record.arguments, 1, 3))
      end)
    end

    it("leaves the client, and other calls, as they were", function()
      fresh()
      local first, second = start_from(client, "never"), start_from(client, "slow")
      client:step(0.02)
      first:cancel()
      assert.is_nil(select(2, second:wait()))
      assert.is_nil(select(2, start(client):wait()))
      assert.equal(3, client:drain())
    end)

    it("says whether the call may have been applied", function()
      fresh()
      local read, write = start_from(client, "never"), start(client, 666)
      client:step(0.1)
      read:cancel()
      write:cancel()
      local read_error, write_error = select(2, read:wait())[1], select(2, write:wait())[1]
      assert.same({ 1, false, false }, { read_error.attempts, read_error.ambiguous, read_error.retryable })
      assert.same({ 1, true, false }, { write_error.attempts, write_error.ambiguous, write_error.retryable })
    end)

    it("of what was not sent says so, and it is not sent", function()
      local server = async.own_server()
      fresh { base_url = server.url, rate = { requests = 1, interval = 20 } }
      start(client, 1):wait()
      local future = start(client, 2)
      future:cancel()
      local err = select(2, future:wait())[1]
      assert.same({ "canceled", 0, false }, { err.kind, err.attempts, err.ambiguous })
      client:step(0.05)
      assert.equal(1, #server:stop())
    end)

    it("ends a wait before another attempt", function()
      local token = simulator.token()
      simulator.fault(token, { status = 503, retry_after = 20 })
      fresh { base_url = simulator.url, access_token = token }
      local future = start(client)
      local _, errors = future:wait(0.2)
      assert.equal("pending", errors[1].kind)
      future:cancel()
      local err = select(2, future:wait(0))[1]
      assert.same({ "canceled", 1 }, { err.kind, err.attempts })
      assert.equal(1, simulator.log(token).count)
    end)

    it("of a call that is done changes nothing", function()
      fresh()
      local future = start(client, 9)
      future:wait()
      assert.is_false(future:cancel())
      assert.equal(9, future:wait()[1].typeId)
    end)

    it("in the middle of a split batch keeps what was done, and sends no more", function()
      local server, requests = async.own_server(), 0
      fresh { base_url = server.url, on_event = function(event)
        if event.type == "attempt" then requests = requests + 1 end
      end }
      local inputs = {}
      for i, type_id in ipairs { 1, 666, 3, 4 } do inputs[i] = binding.limit { typeId = type_id } end
      local future = client.async:batch_update("contacts", "companies", inputs, { batch_size = 1 })
      async.step_until(client, function() return requests == 2 end)
      client:step(0.02)
      future:cancel()
      local results, errors, response = future:wait()
      assert.same({ 1, 1 }, { #results, results[1].typeId })
      assert.equal(2, #errors)
      assert.same({ "canceled", 1, 2, 2 }, { errors[1].kind, errors[1].attempts, errors[1].first, errors[1].last })
      assert.same({ "canceled", 0, 3, 4 }, { errors[2].kind, errors[2].attempts, errors[2].first, errors[2].last })
      assert.equal(200, response.http_status)
      assert.equal(2, #server:stop())
      assert.equal(2, requests)
    end)

    it("of many at once is right for each", function()
      fresh()
      local futures = {}
      for i = 1, 100 do futures[i] = i % 2 == 0 and start_from(client, "never") or start(client, i) end
      for i = 2, 100, 2 do futures[i]:cancel() end
      for i = 1, 100 do
        local results, errors = futures[i]:wait()
        if i % 2 == 0 then assert.equal("canceled", errors[1].kind) else assert.equal(i, results[1].typeId) end
      end
      assert.equal(100, client:drain())
    end)
  end)

  describe(by "on_done", function()
    before_each(function() fresh() end)
    after_each(function() client:close() end)

    it("gets results, errors, response: once, and from step only", function()
      local fn, record = recorder()
      local future = start(client, 5)
      assert.equal(future, future:on_done(fn))
      local results, errors, response = future:wait()
      assert.is_true(future:done())
      client:get_limits("contacts", "companies")
      assert.equal(0, record.n)
      assert.equal(1, client:step())
      assert.same({ 1, 3 }, { record.n, record.arguments.n })
      assert.is_true(rawequal(results, record.arguments[1]))
      assert.is_nil(errors)
      assert.is_true(rawequal(response, record.arguments[3]))
      assert.equal(0, client:step())
      assert.equal(0, client:drain())
      client:close()
      client:step()
      assert.equal(1, record.n)
    end)

    it("gets errors as wait does", function()
      local fn, record = recorder()
      local future = start_from(client, "missing"):on_done(fn)
      assert.equal(1, client:drain())
      local _, errors = future:wait()
      assert.is_nil(record.arguments[1])
      assert.is_true(rawequal(errors, record.arguments[2]))
    end)

    it("is called by the next step if the call is done already", function()
      local fn, record = recorder()
      local future = start(client)
      future:wait()
      future:on_done(fn)
      assert.equal(0, record.n)
      assert.equal(1, client:step())
      assert.equal(1, record.n)
    end)

    it("is called by the next step if the future was handed out already", function()
      local fn, record = recorder()
      local future = start(client)
      assert.equal(1, client:drain())
      future:on_done(fn)
      future:on_done(fn)
      assert.same({ 0, 1 }, { record.n, client:pending() })
      client:step()
      assert.same({ 2, 0 }, { record.n, client:pending() })
    end)

    it("may be several functions, called in their order", function()
      local order, future = {}, start(client)
      for i = 1, 3 do future:on_done(function() order[#order + 1] = i end) end
      future:on_done(function() future:on_done(function() order[#order + 1] = 5 end) order[#order + 1] = 4 end)
      client:drain()
      client:step()
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("may raise: that leaves step, and the next steps hand out the rest", function()
      local problem, order = { "any value" }, {}
      local futures = {}
      for i = 1, 3 do
        futures[i] = start(client, i)
        futures[i]:on_done(function()
          order[#order + 1] = i
          if i == 2 then error(problem) end
        end)
        futures[i]:on_done(function() order[#order + 1] = 10 * i end)
      end
      for i = 1, 3 do futures[i]:wait() end
      local ok, message = pcall(client.step, client)
      assert.is_false(ok)
      assert.is_true(rawequal(problem, message))
      async.step_until(client, function() return #order == 6 end)
      table.sort(order)
      assert.same({ 1, 2, 3, 10, 20, 30 }, order)
      assert.equal(0, client:pending())
      assert.equal(0, client:step())
    end)

    it("may raise out of drain, which can be called again", function()
      local done = 0
      for i = 1, 10 do start(client, i):on_done(function() done = done + 1 error("no " .. i, 0) end) end
      for i = 1, 10 do
        assert_raises("no ", client.drain, client)
        assert.equal(i, done)
      end
      assert.equal(0, client:drain())
    end)

    it("may start calls, which a later step hands out", function()
      local n, most = 0, 0
      local function again()
        n = n + 1
        if n < 20 then
          -- One that is done at once, and one that is not: neither may keep this step busy.
          client.async:batch_update("contacts", "companies", {})
          start(client):on_done(again)
        end
      end
      start(client):on_done(again)
      while client:pending() > 0 do
        local before = n
        client:step(1)
        most = math.max(most, n - before)
      end
      assert.same({ 20, 1 }, { n, most })
    end)

    it("may make ordinary calls, and wait", function()
      local results
      start(client):on_done(function()
        results = { client:get_limits("contacts", "companies"), (start(client, 8):wait()) }
      end)
      assert.equal(2, client:drain())
      assert.same({}, results[1])
      assert.equal(8, results[2][1].typeId)
    end)

    it("may cancel other calls, and its own to no effect", function()
      local other, outcome = start_from(client, "never"), nil
      local fn, record = recorder()
      other:on_done(fn)
      local future = start(client)
      future:on_done(function() outcome = { future:cancel(), other:cancel() } end)
      assert.equal(2, client:drain())
      assert.same({ false, true }, outcome)
      assert.equal(1, record.n)
      assert_canceled(unpack(record.arguments, 1, 3))
    end)

    it("may close the client: the others are canceled and handed out", function()
      local fn, record = recorder()
      for _ = 1, 5 do start_from(client, "never"):on_done(fn) end
      start(client):on_done(function() client:close() end)
      local seconds, n = timed(client.drain, client)
      assert.is_true(seconds < AT_ONCE)
      assert.same({ 6, 5, 0 }, { n, record.n, client:pending() })
      assert_canceled(unpack(record.arguments, 1, 3))
    end)

    it("may step and drain: nothing is handed out twice", function()
      local n = 0
      for i = 1, 10 do
        start(client, i):on_done(function()
          n = n + 1
          if i % 3 == 0 then client:step() elseif i % 3 == 1 then client:drain() end
        end)
      end
      client:drain()
      assert.same({ 10, 0, 0 }, { n, client:pending(), client:step() })
    end)

    it("may not yield: that raises, and the rest is handed out", function()
      local n = 0
      local first, second = start(client), start(client)
      first:on_done(function() coroutine.yield() end)
      second:on_done(function() n = n + 1 end)
      first:wait()
      second:wait()
      local ok, message = coroutine.resume(coroutine.create(function() client:step() client:step() end))
      assert.is_false(ok, "it yielded")
      assert.matches("yield", message)
      client:drain()
      assert.same({ 1, 0 }, { n, client:pending() })
    end)

    it("is called in the coroutine that steps", function()
      local where
      start(client):on_done(function() where = coroutine.running() end)
      local thread = coroutine.create(function() client:drain() end)
      assert(coroutine.resume(thread))
      assert.equal(thread, where)
    end)
  end)

  describe(by "step", function()
    before_each(function() fresh() end)
    after_each(function() client:close() end)

    it("gives 0 at once while there is nothing to wait for", function()
      local seconds, n = timed(client.step, client, LONG)
      assert.equal(0, n)
      assert.is_true(seconds < AT_ONCE)
      assert.same({ 0, 0 }, { client:pending(), client:drain(LONG) })
    end)

    it("does not wait unless it is told to", function()
      start_from(client, "never")
      for _, argument in ipairs { false, 0, -1, -math.huge } do
        local seconds, n = timed(client.step, client, argument or nil)
        assert.equal(0, n)
        assert.is_true(seconds < AT_ONCE)
      end
    end)

    it("waits no longer than it is told", function()
      start_from(client, "never")
      local seconds, n = timed(client.step, client, 0.2)
      assert.equal(0, n)
      assert.is_true(seconds >= 0.199 and seconds < 0.2 + AT_ONCE, seconds)
    end)

    it("waits no longer than until there is something", function()
      start_from(client, "slow")
      start_from(client, "never")
      local seconds, n = timed(client.step, client, LONG)
      assert.equal(1, n)
      assert.is_true(seconds < AT_ONCE)
      assert.equal(1, client:pending())
      start_from(client, "slow")
      assert.equal(1, client:step(math.huge))
    end)

    it("tells how many it has handed out", function()
      local futures = {}
      for i = 1, 7 do futures[i] = start(client, i) end
      assert.equal(7, client:pending())
      for i = 1, 7 do futures[i]:wait() end
      assert.equal(7, client:pending()) -- done, but not handed out
      assert.equal(7, client:step())
      assert.equal(0, client:pending())
      assert.equal(0, client:step())
    end)

    it("hands out so many at most as it is told", function()
      local futures, n = {}, 0
      for i = 1, 7 do futures[i] = start(client, i):on_done(function() n = n + 1 end) end
      for i = 1, 7 do futures[i]:wait() end
      assert.same({ 3, 3, 4 }, { client:step(0, 3), n, client:pending() })
      assert.same({ 0, 3 }, { client:step(0, 0), n })
      assert.same({ 0, 0, 3 }, { client:step(0, -1), client:step(0, 0.5), n })
      assert.same({ 4, 7, 0 }, { client:step(0, 100), n, client:pending() })
      assert.has_error(function() client:step(0, "all") end, "bad argument #2 to 'step' (number expected, got string)")
    end)

    it("hands out in the order in which the calls came to their end", function()
      local order = {}
      start_from(client, "slow"):on_done(function() order[#order + 1] = "slow" end)
      start_from(client, "contacts"):on_done(function() order[#order + 1] = "fast" end)
      client:drain()
      assert.same({ "fast", "slow" }, order)
    end)

    it("does not wait for those who start ordinary calls", function()
      start_from(client, "never")
      client:get_limits("contacts", "companies")
      assert.equal(0, client:step())
      assert.equal(1, client:pending())
    end)

    it("is drain's work until nothing is pending", function()
      for i = 1, 5 do start(client, i) end
      start_from(client, "slow")
      assert.equal(6, client:drain())
      assert.equal(0, client:pending())
    end)

    it("is drain's work until the time is up", function()
      start_from(client, "never")
      start(client)
      local seconds, n = timed(client.drain, client, 2)
      assert.equal(1, n)
      assert.is_true(seconds >= 1.999 and seconds < 2 + AT_ONCE)
      assert.equal(1, client:pending())
      assert.equal(0, client:drain(0))
    end)

    it("says what is wrong with its argument", function()
      for _, name in ipairs { "step", "drain" } do
        for _, value in ipairs { "x", {}, true } do
          assert_blames_us(("bad argument #1 to '%s' (number expected, got %s)"):format(name, type(value)),
            function() client[name](client, value) end)
        end
      end
      for _, name in ipairs { "step", "drain", "pending", "fd", "close" } do
        assert_blames_us(("'%s' is a method of a client: call it with a colon, client:%s(...)"):format(name, name),
          function() client[name]() end)
        assert_blames_us("call it with a colon", function() client[name](client.async) end)
      end
    end)
  end)

  describe(by "close", function()

    for _, case in ipairs(async.hanging) do
      it("ends " .. case.name .. ", at once", function()
        local future
        client, future = case.start(driver)
        local fn, record = recorder()
        future:on_done(fn)
        local pending = client:pending()
        assert.is_true(timed(client.close, client) < AT_ONCE)
        assert.is_true(future:done())
        assert_canceled(future:wait())
        assert.same({ 0, pending }, { record.n, client:pending() })
        assert.equal(pending, client:step())
        assert.same({ 1, 0 }, { record.n, client:pending() })
        assert_canceled(unpack(record.arguments, 1, 3))
      end)
    end

    it("ends many calls, each once", function()
      fresh { max_connections = 4 }
      local fn, record = recorder()
      for _ = 1, 200 do start_from(client, "never"):on_done(fn) end
      client:step(0.05)
      assert.is_true(timed(client.close, client) < AT_ONCE)
      assert.equal(200, client:drain())
      assert.equal(200, record.n)
    end)

    it("gives what has finished before as it is", function()
      fresh()
      local future = start(client, 3)
      future:wait()
      client:close()
      assert.equal(3, future:wait()[1].typeId)
      assert.equal(1, client:step())
    end)

    it("ends a wait for a token", function()
      fresh { access_token = function() coroutine.yield "asked" return "x" end }
      local future
      local thread = coroutine.create(function() future = start(client) return future:wait() end)
      assert.equal("asked", select(2, coroutine.resume(thread)))
      client:close()
      assert.equal(1, client:step())
      local ok, results, errors, response = coroutine.resume(thread)
      assert.is_true(ok)
      assert_canceled(results, errors, response)
      assert.is_true(future:done())
    end)

    it("makes later calls fail with kind config, done at once", function()
      fresh()
      start(client):wait()
      client:close()
      client:drain()
      local results, errors, response = client:get_limits("contacts", "companies")
      assert.is_nil(results)
      assert.is_nil(response)
      assert.same({ "config", 0 }, { errors[1].kind, errors[1].attempts })
      assert.matches("closed", errors[1].message)
      local fn, record = recorder()
      local future = start(client):on_done(fn)
      assert.is_true(future:done())
      assert.equal("config", select(2, future:wait())[1].kind)
      assert.equal(1, client:step())
      assert.equal(1, record.n)
    end)

    it("may come twice, and before any call", function()
      for _ = 1, 2 do
        fresh()
        client:close()
        client:close()
        assert.same({ 0, 0, 0 }, { client:step(1), client:pending(), client:drain() })
      end
    end)

    it("leaves nothing open and no thread", function()
      local server = async.own_server()
      fresh { base_url = server.url }
      start(client):wait() -- what libcurl opens once for the process
      client:close()
      local descriptors, threads = probe.descriptors(), probe.threads()
      for _ = 1, 5 do
        fresh { base_url = server.url }
        if driver.io_thread then client:fd() end
        for i = 1, 10 do start(client, i) end
        start_from(client, "never")
        client:step(0.02)
        assert.is_true(probe.descriptors() > descriptors)
        client:close()
        assert.same({ descriptors, threads }, { probe.descriptors(), probe.threads() })
      end
      server:stop()
    end)
  end)

  describe(by "a token function", function()
    after_each(function() client:close() end)

    it("is asked for asynchronous calls too, once for each request", function()
      local token, reasons = simulator.token(), {}
      fresh { base_url = simulator.url, access_token = function(...)
        reasons[#reasons + 1] = select("#", ...) == 1 and ... == nil and "none" or ...
        return token
      end }
      for _ = 1, 3 do client.async:get_all_limits() end
      assert.equal(3, client:drain())
      assert.same({ "none", "none", "none" }, reasons)
      assert.equal(3, simulator.log(token).count)
    end)

    it("is asked for a fresh token", function()
      local expired, good, reasons = simulator.token "expired", simulator.token(), {}
      fresh { base_url = simulator.url, access_token = function(reason)
        reasons[#reasons + 1] = reason or "none"
        return reason and good or expired
      end }
      local results, errors = client.async:get_all_limits():wait()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.same({ "none", "expired" }, reasons)
    end)

    it("that has no token, or fails, ends the call", function()
      local answers = { function() return nil, "the safe is shut" end, function() error("lost", 0) end,
        function() return 7 end }
      local n = 0
      fresh { access_token = function()
        n = n + 1
        return answers[n]()
      end }
      local messages = {}
      for i = 1, 3 do
        local _, errors = start(client):wait()
        assert.same({ "config", 0 }, { errors[1].kind, errors[1].attempts })
        messages[i] = errors[1].message
      end
      assert.matches("the safe is shut", messages[1])
      assert.matches("lost", messages[2])
      assert.equal(3, client:drain())
    end)

    it("may yield in the coroutine that makes the call, while others go on", function()
      fresh { access_token = function() return coroutine.running() and coroutine.yield "asked" or "main" end }
      local threads, outcomes = {}, {}
      for i = 1, 3 do
        threads[i] = coroutine.create(function() outcomes[i] = { start(client, i):wait() } end)
        assert.equal("asked", select(2, coroutine.resume(threads[i])))
      end
      assert.equal(3, client:pending())
      for i = 3, 1, -1 do assert(coroutine.resume(threads[i], "late")) end
      for i = 1, 3 do assert.equal(i, outcomes[i][1][1].typeId) end
    end)

    it("that never comes back does not outlast the deadline, nor does its coroutine", function()
      local future
      fresh { deadline = 0.15, access_token = function() coroutine.yield() return "x" end }
      coroutine.wrap(function() future = start(client) end)()
      collectgarbage()
      local seconds, n = timed(client.drain, client)
      assert.equal(1, n)
      assert.is_true(seconds < AT_ONCE)
      assert.is_nil(future)
    end)

    it("that yields where nothing can ends the call", function()
      fresh { access_token = function() coroutine.yield() return "x" end }
      local ok, results, errors = pcall(function() return start(client):wait() end)
      if ok then -- else what ran busted is a coroutine, which Lua 5.1 does not let it leave
        assert.is_nil(results)
        assert.equal("config", errors[1].kind)
      end
    end)

    it("may cancel, start and close", function()
      local n, other = 0, nil
      fresh { access_token = function()
        n = n + 1
        if n == 2 then other = start(client, 1) elseif n == 4 then other:cancel() elseif n == 5 then client:close() end
        return "x"
      end }
      assert.is_nil(select(2, start(client):wait()))
      assert.is_nil(select(2, start(client):wait())) -- the third is what it starts
      assert.is_nil(select(2, other:wait()))
      other = start_from(client, "never") -- 4: cancels what is done already
      assert.is_nil(select(2, other:wait(0.05))[1].http_status)
      assert_canceled(start(client):wait()) -- 5
      assert.is_true(other:done())
      assert.equal(5, client:drain())
    end)
  end)

  describe(by "on_event", function()
    local events

    before_each(function() events = {} end)
    after_each(function() client:close() end)

    local function record(event) events[#events + 1] = event end

    it("tells of asynchronous calls what it tells of ordinary ones", function()
      local token = simulator.token()
      fresh { base_url = simulator.url, access_token = token, on_event = record, max_attempts = 3 }
      local told = {}
      for i, call in ipairs { function() return client:get_all_limits() end,
        function() return client.async:get_all_limits():wait() end,
        function() client.async:get_all_limits() client:drain() end } do
        events = {}
        simulator.fault(token, { status = 503, retry_after = 0 })
        call()
        for _, event in ipairs(events) do
          assert.equal(i, event.number)
          event.number, event.elapsed, event.delay = nil, nil, event.delay and 0
          event.correlationId = event.correlationId and "some"
          event.rate_limit = event.rate_limit and "some"
        end
        told[i] = events
      end
      assert.equal(4, #told[1])
      assert.same(told[1], told[2])
      assert.same(told[1], told[3])
    end)

    it("is called by those who look after calls, not in between", function()
      fresh { on_event = record }
      local future = start(client)
      local before = #events
      wire.sleep(0.1)
      assert.equal(before, #events)
      future:wait()
      assert.equal("done", events[#events].type)
    end)

    it("tells of the end of a canceled call", function()
      fresh { on_event = record }
      local future = start_from(client, "never")
      client:step(0.05)
      future:cancel()
      client:step()
      assert.same({ "done", "canceled" }, { events[#events].type, events[#events].kind })
    end)

    it("may raise, and harms no call", function()
      fresh { on_event = function() error("oh", 0) end }
      local results, errors, response = start(client, 4):wait()
      assert.is_nil(errors)
      assert.equal(4, results[1].typeId)
      assert.equal("oh", response.on_event_error)
    end)

    it("may cancel the call, and others", function()
      local future, other
      fresh { on_event = function() if future then future:cancel() other:cancel() end end }
      other = start_from(client, "never")
      future = start(client)
      client:drain()
      assert.is_true(future:done() and other:done())
      assert.equal("canceled", select(2, other:wait())[1].kind)
    end)

    it("may close the client", function()
      fresh { on_event = function(event) if event.type == "done" then client:close() end end }
      local other, future = start_from(client, "never"), start(client)
      assert.equal(2, client:drain())
      assert.equal("canceled", select(2, other:wait())[1].kind)
      assert.is_true(future:done())
    end)

    it("may start calls, step, and make ordinary ones", function()
      local n = 0
      fresh { on_event = function(event)
        n = n + 1
        if event.type == "done" and n < 20 then
          start(client)
          client:step()
          client:get_limits("contacts", "companies")
        end
      end }
      start(client)
      start(client)
      client:drain(5)
      assert.equal(0, client:pending())
    end)

    it("may ask whether the call is done, but not wait for it", function()
      local future, done, ok, message
      fresh { on_event = function()
        if future then
          done = future:done()
          ok, message = pcall(future.wait, future)
        end
      end }
      future = start_from(client, "slow")
      local _, errors = future:wait()
      assert.is_nil(errors)
      assert.is_boolean(done)
      assert.is_false(ok)
      assert.matches("on_event", message)
      assert.equal(1, client:drain())
    end)
  end)

  describe(by "many calls", function()

    it("at once have each its own results", function()
      local server = async.own_server()
      fresh { base_url = server.url }
      local futures, seen, n = {}, {}, 300
      for i = 1, n do
        futures[i] = start(client, i):on_done(function(results)
          assert(not seen[results[1].typeId])
          seen[results[1].typeId] = true
        end)
      end
      assert.equal(n, client:drain(20))
      for i = 1, n do
        assert.is_true(seen[i])
        local results, errors = futures[i]:wait(0)
        assert.is_nil(errors)
        assert.same({ 1, i }, { #results, results[1].typeId })
      end
      local log = server:stop()
      assert.equal(n, #log)
      assert.is_true(log.connections <= 8)
      client:close()
    end)

    it("over HTTP/2 share a connection, where libcurl can be trusted with it", function()
      local most = libcurl.speaks_http2() and 1 or 8
      local token = simulator.token()
      fresh { base_url = simulator.https_url, access_token = token, ca_file = simulator.ca_file }
      local n = 0
      for _ = 1, 50 do client.async:get_all_limits():on_done(function(results) n = n + #results end) end
      assert.equal(50, client:drain(20))
      assert.equal(350, n)
      local log = simulator.log(token)
      local connections = {}
      for _, call in ipairs(log) do connections[call.connection] = true end
      local count = 0
      for _ in pairs(connections) do count = count + 1 end
      assert.is_true(count <= most, count)
      client:close()
    end)

    it("over HTTP/2 do not wait for the first one's answer", function()
      local token = simulator.token()
      simulator.fault(token, { delay = 3 })
      fresh { base_url = simulator.https_url, access_token = token, ca_file = simulator.ca_file }
      local done = {}
      for i = 1, 5 do client.async:get_all_limits():on_done(function(results) done[#done + 1] = results and i end) end
      local given_up = wire.monotime() + 2
      while #done < 4 and wire.monotime() < given_up do client:step(0.1) end
      assert.equal(4, #done)
      client:close()
    end)

    it("keep to the rate", function()
      local token = simulator.token()
      fresh { base_url = simulator.url, access_token = token, rate = { requests = 10, interval = 0.2 } }
      for _ = 1, 25 do client.async:get_all_limits() end
      assert.equal(25, client:drain())
      local log = simulator.log(token)
      for i = 11, 25 do assert.is_true(log[i].time - log[i - 10].time >= 0.185) end
      assert.is_true(log[25].time - log[1].time < 2)
      client:close()
    end)

    it("go on while ordinary ones are made", function()
      fresh()
      local slow, never, futures = start_from(client, "slow"), start_from(client, "never"), {}
      for i = 1, 20 do futures[i] = start(client, i) end
      for i = 1, 20 do
        local results = assert(client:batch_update("contacts", "companies", { binding.limit { typeId = 100 + i } }))
        assert.equal(100 + i, results[1].typeId)
      end
      client:get_limits("slow", "companies")
      client:get_limits("contacts", "companies")
      assert.is_true(slow:done()) -- it moved on meanwhile
      for i = 1, 20 do assert.equal(i, futures[i]:wait(0)[1].typeId) end
      assert.is_false(never:done())
      assert.equal(21, client:step())
      client:close()
    end)

    it("of many inputs are split as ordinary ones are", function()
      fresh()
      local inputs = binding.limits(25)
      local results, errors, response = client:batch_update("contacts", "companies", inputs, { batch_size = 10 })
      local future = client.async:batch_update("contacts", "companies", inputs, { batch_size = 10 })
      inputs[1].typeId = 99 -- too late
      local other_results, other_errors, other_response = future:wait()
      assert.is_nil(errors)
      assert.is_nil(other_errors)
      assert.same(results, other_results)
      assert.same({ 25, 3, 3 }, { #results, #response.requests, #other_response.requests })
      client:close()
    end)

    it("of a large batch fail in parts as ordinary ones do", function()
      fresh { max_attempts = 1 }
      local inputs = {}
      for i, type_id in ipairs { 1, 2, 666, 4, 5 } do inputs[i] = binding.limit { typeId = type_id } end
      local options = { batch_size = 2, timeout = 0.6 }
      local results, errors = client:batch_update("contacts", "companies", inputs, options)
      local other_results, other_errors = client.async:batch_update("contacts", "companies", inputs, options):wait()
      assert.same(results, other_results)
      assert.same({ 3, 1, "timeout" }, { #other_results, #other_errors, other_errors[1].kind })
      assert.same({ 3, 4 }, { other_errors[1].first, other_errors[1].last })
      assert.equal(errors[1].attempts, other_errors[1].attempts)
      client:close()
    end)
  end)

  describe(by "another attempt", function()
    local token

    before_each(function()
      token = simulator.token()
      fresh { base_url = simulator.url, access_token = token, max_attempts = 3 }
    end)
    after_each(function() client:close() end)

    it("is not made after the last", function()
      simulator.fault(token, { status = 503, retry_after = 0, times = 9 })
      local _, errors = client.async:get_all_limits({ max_attempts = 2 }):wait()
      assert.same({ "api", 503, 2, true }, { errors[1].kind, errors[1].http_status, errors[1].attempts,
        errors[1].retryable })
    end)

    it("waits as long as HubSpot asks, while other calls go on", function()
      simulator.fault(token, { status = 503, retry_after = 1 })
      local order = {}
      local future = client.async:get_all_limits()
      future:on_done(function() order[#order + 1] = "late" end)
      async.step_until(client, function() return simulator.log(token).count == 1 end)
      client.async:get_all_limits():on_done(function() order[#order + 1] = "early" end)
      assert.equal(2, client:drain())
      assert.same({ "early", "late" }, order)
      local results, errors, response = future:wait()
      assert.is_nil(errors)
      assert.same({ 7, 2 }, { #results, response.attempts })
      local log = simulator.log(token)
      assert.is_true(log[3].time - log[1].time >= 0.99)
    end)

    it("is not waited for past the deadline", function()
      client:close()
      fresh { base_url = simulator.url, access_token = token, rate = { requests = 100, interval = 1 } }
      simulator.fault(token, { status = 429, retry_after = 5 })
      local future = client.async:get_all_limits({ deadline = 1 })
      local seconds, _, errors = timed(future.wait, future)
      assert.same({ "throttled", 429, 1 }, { errors[1].kind, errors[1].http_status, errors[1].attempts })
      assert.is_true(seconds < 0.9)
      -- The whole client holds still.
      _, errors = client.async:get_all_limits({ deadline = 1 }):wait()
      assert.same({ "throttled", 0 }, { errors[1].kind, errors[1].attempts })
    end)
  end)

  describe(by "a deadline", function()
    after_each(function() client:close() end)

    for _, case in ipairs(async.hanging) do
      if case.name ~= "a wait for the rate" then it("ends " .. case.name, function()
        local future
        client, future = case.start(driver, nil, { deadline = 0.2, max_attempts = 1 })
        local seconds, results, errors = timed(future.wait, future)
        assert.is_nil(results)
        assert.equal("timeout", errors[1].kind)
        assert.is_true(seconds < 0.2 + AT_ONCE)
      end) end
    end

    it("is not waited for if the rate lets nothing be sent before it", function()
      fresh { rate = { requests = 1, interval = 20 } }
      start(client)
      local future = start(client, 1, { deadline = 1 })
      client:step(0.2)
      local err = select(2, future:wait(0))[1]
      assert.same({ "throttled", 0 }, { err.kind, err.attempts })
    end)
  end)
end

describe("the asynchronous calls of the default client", function()
  it("are assoc.async's", function()
    local token = simulator.token()
    local report = child.run({ HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = simulator.url }, [[
      local assoc = require "hubspot_assoc"
      local first = assoc.async
      local future = assoc.async:get_all_limits()
      local results, errors = future:wait()
      local client = assoc.configure { access_token = "simulator-other-token" .. ... }
      local second = assoc.async:get_all_limits()
      return #results, errors, rawequal(first, assoc.async), client:pending(), #(second:wait()), client:step()
    ]], token)
    assert.same({ "7", "nil", "true", "1", "7", "1" }, { unpack(report) })
    assert.equal(1, simulator.log(token).count)
  end)

  it("fail without a token, and do not raise", function()
    local report = child.run({ HUBSPOT_ACCESS_TOKEN = false, HUBSPOT_BASE_URL = simulator.url }, [[
      local future = require "hubspot_assoc".async:get_all_limits()
      return future:done(), select(2, future:wait())[1].kind ]])
    assert.same({ "true", "config" }, { unpack(report) })
  end)
end)

describe("the descriptor", function()
  local client

  before_each(function() client = async.client(async.drivers[1]) end)
  after_each(function() client:close() end)

  local function assert_tells(is_readable)
    assert.equal(is_readable, probe.poll(client:fd(), is_readable and 5 or 0))
  end

  it("is there before the first call, and stays the same", function()
    local fd = client:fd()
    assert.equal(math.floor(fd), fd)
    assert_tells(false)
    assert.equal(1, probe.threads())
    start(client):wait()
    assert.equal(fd, client:fd())
    assert.is_true(probe.is_kept_from_programs(fd))
  end)

  it("may be asked for when there is something already", function()
    start(client):wait()
    start(client)
    wire.sleep(0.1)
    assert_tells(true)
  end)

  it("is readable while there is something for step, and only then", function()
    for _ = 1, 3 do
      start_from(client, "slow")
      start_from(client, "slow")
      assert_tells(false)
      assert.is_true(probe.poll(client:fd(), 5))
      assert_tells(true) -- looking changes nothing
      assert.is_true(client:step() > 0)
      if client:pending() > 0 then client:drain() end
      assert_tells(false)
    end
  end)

  it("is readable while something is done that was not handed out", function()
    local a, b = start(client), start(client)
    assert.is_nil(select(2, a:wait()))
    assert.is_nil(select(2, b:wait()))
    assert_tells(true)
    assert.is_true(a:done())
    assert_tells(true)
    assert.equal(2, client:step())
    assert_tells(false)
  end)

  it("is readable after a function was given to what was handed out", function()
    local future = start(client)
    client:drain()
    assert_tells(false)
    future:on_done(function() end)
    assert_tells(true)
    client:step()
    assert_tells(false)
  end)

  it("is readable for a call that is done at once, and for a canceled one", function()
    client.async:batch_update("contacts", "companies", {})
    assert_tells(true)
    client:step()
    assert_tells(false)
    local future = start_from(client, "never")
    client:step(0.02)
    assert_tells(false)
    future:cancel()
    assert_tells(true)
    client:step()
    assert_tells(false)
  end)

  it("is readable after an error in on_done, for the rest", function()
    local futures = {}
    for i = 1, 3 do futures[i] = start(client):on_done(function() error "no" end) end
    for i = 1, 3 do futures[i]:wait() end
    for _ = 1, 3 do
      assert_tells(true)
      assert.is_false(pcall(client.step, client))
    end
    client:step()
    assert_tells(false)
  end)

  it("is readable for what on_done has started and was done at once", function()
    start(client):on_done(function() client.async:batch_update("contacts", "companies", {}) end)
    assert.is_true(probe.poll(client:fd(), 5))
    assert.equal(1, client:step())
    assert_tells(true)
    assert.equal(1, client:step())
    assert_tells(false)
  end)

  it("is not left readable by ordinary calls", function()
    start(client)
    client:drain()
    for _ = 1, 3 do client:get_limits("contacts", "companies") end
    assert_tells(false)
  end)

  it("is readable when a token is wanted", function()
    local tokens = { "x", "y" }
    client:close()
    client = async.client(async.drivers[1], { base_url = simulator.url,
      access_token = function(reason) return reason and simulator.token() or table.remove(tokens) end })
    client.async:get_all_limits()
    async.step_until(client, function() return client:pending() == 0 or probe.poll(client:fd(), 1) end)
    client:drain()
    assert_tells(false)
  end)

  it("is enough to be told of everything", function()
    local n = 0
    for i = 1, 50 do start(client, i):on_done(function() n = n + 1 end) end
    while n < 50 do
      assert.is_true(probe.poll(client:fd(), 5))
      client:step()
    end
    assert_tells(false)
  end)

  it("can be watched by luasocket and by cqueues", function()
    local fd = client:fd()
    local ok, socket = pcall(require, "socket")
    if ok then
      local watched = { getfd = function() return fd end, dirty = function() return false end }
      assert.equal(0, #socket.select({ watched }, nil, 0))
      start(client)
      assert.equal(1, #socket.select({ watched }, nil, 5))
      client:drain()
      assert.equal(0, #socket.select({ watched }, nil, 0))
    end
    local cqueues
    ok, cqueues = pcall(require, "cqueues")
    if ok then
      local watched = { pollfd = fd, events = "r" }
      start(client)
      assert.equal(watched, cqueues.poll(watched, 5))
      client:drain()
      assert.is_not.equal(watched, cqueues.poll(watched, 0))
    end
  end)

  it("is nil after close", function()
    local fd = client:fd()
    start_from(client, "never")
    client:close()
    assert.is_nil(client:fd())
    assert.is_false(probe.is_open(fd))
    assert.equal(1, client:step())
  end)

  it("is not there for a client without a thread: that raises", function()
    client:close()
    client = async.client(async.drivers[2])
    for _ = 1, 2 do
      assert_blames_us("io_thread = false", function() client:fd() end)
      start(client):wait()
    end
  end)
end)

describe("the I/O thread", function()
  it("leaves answers encoded that a step has no use for yet", function()
    local token = simulator.token()
    simulator.fault(token, { status = 400, times = 3 })
    local client = assoc.new { base_url = simulator.url, access_token = token }
    for _ = 1, 3 do client.async:get_limits("contacts", "companies") end
    repeat
      require "socket".sleep(0.01)
      local stats = client:stats()
    until stats.attempts == 3 and stats.in_flight == 0
    local had = client:stats().errors.api -- who starts a call looks after one that has ended meanwhile
    for i = 1, 3 do
      assert.equal(1, client:step(0, 1))
      assert.equal(math.min(had + i, 3), client:stats().errors.api) -- counted as it is made
    end
  end)


  it("is not there before the first asynchronous call, nor without leave, and one a client", function()
    local report = child.run({}, [[
      local shared_object, url = ...
      local probe = assert(package.loadlib(shared_object, "luaopen_probe"))()
      local function threads() return ("%d"):format(probe.threads()) end
      local assoc = require "hubspot_assoc"
      local seen = { threads() }
      local client = assoc.new { base_url = url, access_token = "x", rate = false }
      client:fd()
      seen[2] = threads()
      client:get_limits("contacts", "companies")
      seen[3] = threads()
      local other = assoc.new { base_url = url, access_token = "x", rate = false, io_thread = false }
      other.async:get_limits("contacts", "companies"):wait()
      seen[4] = threads()
      for _ = 1, 10 do client.async:get_limits("contacts", "companies") end
      seen[5] = threads()
      seen[6] = probe.threads_block(15) and probe.threads_block(13) and probe.threads_block(2)
      client:drain()
      assoc.new { base_url = url, access_token = "x" }.async:get_limits("contacts", "companies")
      seen[7] = threads()
      client:close()
      client.async:get_limits("contacts", "companies")
      seen[8] = threads()
      return (table.unpack or unpack)(seen, 1, 8)
    ]], child.shared_object "probe", async.server().url)
    assert.same({ "1", "1", "1", "1", "2", "true", "3", "2" }, { unpack(report) })
  end)

  it("sleeps while there is nothing to do", function()
    local client = async.client(async.drivers[1])
    start_from(client, "never")
    start(client):wait()
    wire.sleep(0.05)
    local before = os.clock() -- of all threads
    wire.sleep(0.3)
    assert.is_true(os.clock() - before < 0.1)
    client:close()
  end)

  it("sleeps as step does while it waits", function()
    local client = async.client(async.drivers[2])
    local future = start_from(client, "never")
    client:step(0.05)
    local before = os.clock()
    client:step(0.2)
    future:wait(0.2)
    assert.is_true(os.clock() - before < 0.1)
    client:close()
  end)

  it("is missed where the system has none to give: calls fail, nothing raises", function()
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "no_threads") }, [[
      local assoc = require "hubspot_assoc"
      local client = assoc.new { base_url = ..., access_token = "x", rate = false }
      local ordinary = client:get_limits("contacts", "companies")
      local ok, future = pcall(client.async.get_limits, client.async, "contacts", "companies")
      local results, errors
      if ok then results, errors = future:wait() end
      local pending, handed = client:pending(), client:step()
      return ordinary and #ordinary, ok, results or errors[1].kind, pending, handed, client:pending(),
        errors[1].message
    ]], async.server().url)
    assert.matches("the option io_thread = false does without", table.remove(report, 7), 1, true)
    assert.same({ "0", "true", "config", "1", "1", "0" }, { unpack(report) })
  end)
end)
