-- What on_event is told.
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"

-- A handler and the list of events that it got.
local function recorder()
  local events = {}
  return function(...)
    assert(select("#", ...) == 1)
    events[#events + 1] = (...)
  end, events
end

local function types(events)
  local list = {}
  for i, event in ipairs(events) do list[i] = event.type end
  return list
end

-- All field names of all events, so that new ones are noticed here.
local KNOWN = { type = true, call = true, attempt = true, first = true, last = true, http_status = true, kind = true,
  delay = true, number = true, from = true, to = true, elapsed = true, correlationId = true, rate_limit = true }

local function assert_known(events)
  for _, event in ipairs(events) do
    assert.equal("table", type(event))
    for name in pairs(event) do assert.is_true(KNOWN[name] ~= nil, tostring(name)) end
  end
end

for _, module in ipairs { { "hubspot_assoc", assoc }, { "hubspot_assoc.core", core } } do
  describe("on_event of " .. module[1], function()
    local events, client, token

    before_each(function()
      local on_event, options
      on_event, events = recorder()
      options, token = binding.simulator_options { max_attempts = 3, on_event = on_event }
      client = module[2].new(options)
    end)

    it("is told of a call's attempt and its end", function()
      client:get_all_limits()
      for _, event in ipairs(events) do
        assert.is_true(event.elapsed >= 0)
        event.elapsed = nil
      end
      events[2].correlationId, events[2].rate_limit = nil, nil
      assert.same({ { type = "attempt", call = "get_all_limits", number = 1, attempt = 1 },
        { type = "done", call = "get_all_limits", number = 1, attempt = 1, http_status = 200 } }, events)
    end)

    it("is told that a call has ended of which nothing could be sent", function()
      client:close()
      client:batch_update("contacts", "companies", { binding.limit() })
      assert.same({ { type = "done", call = "batch_update", number = 1, from = "contacts", to = "companies",
        attempt = 0, elapsed = 0, kind = "config" } }, events)
    end)

    it("is told the call's number, what it is about, how long it took, and what HubSpot's answer told", function()
      local server = fault_server.start { "answers.first", 502, { ["X-HubSpot-Correlation-Id"] = "id-1",
        ["X-HubSpot-RateLimit-Max"] = "190", ["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000" },
        '{"results":[]}' }
      local on_event
      on_event, events = recorder()
      client = module[2].new(binding.options { base_url = server.url, access_token = "pat-x", max_attempts = 2,
        on_event = on_event })
      client:get_limits("contacts", "companies")
      client:get_all_limits()
      server:stop()
      assert.same({ "attempt", "retry", "attempt", "done", "attempt", "done" }, types(events))
      local last = 0
      for i, event in ipairs(events) do
        assert.equal(i <= 4 and 1 or 2, event.number)
        assert.same({ i <= 4 and "contacts" or nil, i <= 4 and "companies" or nil }, { event.from, event.to })
        last = i == 5 and 0 or last
        assert.is_true(event.elapsed >= last)
        last = event.elapsed
      end
      assert.same({ "id-1", 190, 10000 },
        { events[2].correlationId, events[2].rate_limit.max, events[2].rate_limit.interval_ms })
      assert.is_nil(events[4].correlationId)
      assert.is_nil(events[4].rate_limit)
      assert_known(events)
    end)

    it("counts calls, not requests", function()
      client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 1 })
      client:get_all_limits()
      local numbers = {}
      for i, event in ipairs(events) do numbers[i] = event.number end
      assert.same({ 1, 1, 1, 1, 1, 1, 2, 2 }, numbers)
    end)

    it("is told in the end what response tells", function()
      local _, _, response = client:get_all_limits()
      local event = events[2]
      assert.same({ response.correlationId, response.rate_limit, response.elapsed },
        { event.correlationId, event.rate_limit, event.elapsed })
    end)

    it("is told of every retry, with the time to wait", function()
      simulator.fault(token, { status = 503, retry_after = 0, times = 2 })
      client:get_all_limits()
      assert.same({ "attempt", "retry", "attempt", "retry", "attempt", "done" }, types(events))
      assert.same({ 1, 503, "api" }, { events[2].attempt, events[2].http_status, events[2].kind })
      assert.is_true(events[2].delay >= 0 and events[2].delay <= 8)
      assert.equal(2, events[3].attempt)
      assert.same({ 3, 200 }, { events[6].attempt, events[6].http_status })
      assert.is_nil(events[6].kind)
      assert_known(events)
    end)

    it("is told how a call failed", function()
      simulator.fault(token, { status = 404 })
      client:get_all_limits()
      assert.same({ "attempt", "done" }, types(events))
      assert.same({ 404, "api" }, { events[2].http_status, events[2].kind })
    end)

    it("is told of a second attempt with a fresh token", function()
      local tokens, n = { simulator.token "expired", simulator.token() }, 0
      local on_event
      on_event, events = recorder()
      client = module[2].new((binding.simulator_options { max_attempts = 3, on_event = on_event,
        access_token = function()
          n = n + 1
          return tokens[n]
        end }))
      client:get_all_limits()
      assert.equal("done", events[#events].type)
      assert.equal(200, events[#events].http_status)
      local attempts = 0
      for _, event in ipairs(events) do
        if event.type == "attempt" then attempts = attempts + 1 end
      end
      assert.equal(2, attempts)
      assert_known(events)
    end)

    it("is told nothing if nothing is sent", function()
      client:batch_update("contacts", "companies", {})
      pcall(client.batch_update, client, "contacts", 5, {})
      assert.same({}, events)
    end)

    it("is told the range of each request of a batch", function()
      client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 2 })
      assert.same({ "attempt", "done", "attempt", "done" }, types(events))
      assert.same({ 1, 2 }, { events[1].first, events[1].last })
      assert.same({ 3, 3 }, { events[4].first, events[4].last })
      assert.equal("batch_update", events[4].call)
      assert_known(events)
    end)

    it("has nothing to say about ranges where there is one request", function()
      client:batch_update("contacts", "companies", binding.limits(3))
      assert.is_nil(events[1].first)
      assert.is_nil(events[2].last)
    end)

    it("is told of a wait for the client's own rate", function()
      local on_event
      on_event, events = recorder()
      client = module[2].new((binding.simulator_options {
        on_event = on_event, rate = { requests = 2, interval = 0.2 } }))
      for _ = 1, 3 do client:get_all_limits() end
      assert.same({ "attempt", "done", "attempt", "done", "wait", "attempt", "done" }, types(events))
      assert.is_true(events[5].delay > 0 and events[5].delay < 1)
      assert_known(events)
    end)

    it("is told of a wait that a limiter asks for", function()
      local on_event
      on_event, events = recorder()
      local waits, n = { 0, 0.1, 0 }, 0
      local limiter = { observe = function() end, reserve = function()
        n = n + 1
        return waits[n]
      end }
      client = module[2].new((binding.simulator_options { on_event = on_event, limiter = limiter }))
      for _ = 1, 3 do client:get_all_limits() end
      assert.same({ "attempt", "done", "wait", "attempt", "done", "attempt", "done" }, types(events))
      assert.is_true(events[3].delay > 0.05 and events[3].delay <= 0.1)
      assert_known(events)
    end)

    it("is never told the token", function()
      local server = fault_server.start(faults.echo_authorization)
      local on_event
      on_event, events = recorder()
      client = module[2].new(binding.options {
        base_url = server.url, access_token = "pat-secret", on_event = on_event })
      client:get_all_limits()
      server:stop()
      assert.is_true(#events >= 2)
      assert.is_nil(binding.find_text(events, "pat-secret"))
    end)

    it("may fail without harm to the call, and the response tells", function()
      local options = binding.simulator_options { on_event = function(event)
        error("handler broke at " .. event.type)
      end }
      local results, errors, response = module[2].new(options):get_all_limits()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.matches("handler broke at ", response.on_event_error)
    end)

    it("may fail with any value", function()
      for _, value in ipairs { {}, 5, true } do
        local options = binding.simulator_options { on_event = function() error(value) end }
        local results, errors, response = module[2].new(options):get_all_limits()
        assert.is_nil(errors)
        assert.equal(7, #results)
        assert.is_true(response.on_event_error ~= nil)
      end
      local options = binding.simulator_options { on_event = function() error() end }
      assert.equal(7, #(module[2].new(options):get_all_limits()))
    end)

    it("cannot yield, which harms no call either", function()
      local options = binding.simulator_options { on_event = function() coroutine.yield() end }
      local client_of_it = module[2].new(options)
      local thread = coroutine.create(function() return client_of_it:get_all_limits() end)
      local _, results, errors, response = coroutine.resume(thread)
      assert.equal("dead", coroutine.status(thread))
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.is_string(response.on_event_error)
    end)

    it("may fail in a call that fails, which then fails as it would have", function()
      local options = binding.simulator_options { on_event = function() error "broke" end }
      options.base_url = binding.closed_url()
      local results, errors, response = module[2].new(options):get_all_limits()
      assert.is_nil(results)
      assert.equal("transport", errors[1].kind)
      assert.is_nil(response)
    end)

    it("leaves no trace in the response if it does not fail", function()
      local _, _, response = client:get_all_limits()
      assert.is_nil(response.on_event_error)
    end)

    it("belongs to its client", function()
      local on_event, others = recorder()
      local other = module[2].new((binding.simulator_options { on_event = on_event }))
      other:get_all_limits()
      assert.equal(0, #events)
      assert.equal(2, #others)
    end)

    it("may change its event, collect garbage and make calls", function()
      local inner = module[2].new((binding.simulator_options()))
      local counts = {}
      local options = binding.simulator_options { on_event = function(event)
        collectgarbage()
        counts[#counts + 1] = #(inner:get_all_limits())
        event.type, event.attempt = nil, {}
      end }
      local results, errors = module[2].new(options):get_all_limits()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.same({ 7, 7 }, counts)
    end)

    it("may make calls with its own client", function()
      local depth, own = 0, nil
      local options = binding.simulator_options { on_event = function()
        depth = depth + 1
        if depth < 3 then assert(own:get_all_limits()) end
      end }
      own = module[2].new(options)
      local results, errors, response = own:get_all_limits()
      assert.is_nil(errors)
      assert.is_nil(response.on_event_error)
      assert.equal(7, #results)
    end)
  end)
end
