-- What every adapter of an event loop has to pass, also one of your own:
--
--     local busted = { describe = describe, it = it, before_each = before_each, after_each = after_each,
--       assert = assert }
--     require "spec.support.loop_conformance" (busted, "my loop", function()
--       return { loop = my_adapter, start = ..., sleep = ..., run = ... }
--     end)
--
-- A host is made anew for each spec: loop is what the option of that name takes, start(fn) runs fn in a new coroutine,
-- sleep(seconds) lets others go on meanwhile, run() runs until nothing is left to do. looks_by_itself = false: the loop
-- looks after calls only while a coroutine waits in it.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"
local socket = require "socket"

-- Answers each request after 0.1 s.
local slow = { "answers.after", 0.1 }

-- Answers the first request of each connection after 0.3 s.
local slower = { "acts.once", "request", { "sleep", 0.3 }, "ok" }

local silent = { "acts.once", "request", { "sleep", 60 } }

return function(busted, name, new_host)
  local it, before_each, after_each, assert = busted.it, busted.before_each, busted.after_each, busted.assert
  busted.describe("in " .. name, function()
    local host
    before_each(function() host = new_host() end)
    after_each(fault_server.stop_all)

    local function client_of(script)
      return binding.scripted(script, { loop = host.loop })
    end

    local function call(client)
      return client:batch_update("contacts", "companies", { binding.limit() })
    end

    it("a call gives what it gives elsewhere", function()
      local client = binding.client { loop = host.loop }
      local inside
      host.start(function() inside = { client:get_limits("contacts", "companies") } end)
      host.run()
      local outside = { client:get_limits("contacts", "companies") } -- blocks: no coroutine
      assert.is_true(#inside[1] > 0)
      assert.same(outside[1], inside[1])
      assert.same({ nil, 200 }, { inside[2], inside[3].http_status })
    end)

    it("nothing is watched any more after a call that has ended at once", function()
      local client = binding.client { loop = host.loop }
      local results
      host.start(function() results = client:batch_update("contacts", "companies", {}) end)
      host.run() -- it ends when nothing is watched
      assert.same({}, results)
    end)

    it("calls go on side by side, and so does everything else", function()
      local client = client_of(slow)
      local results, ticks, started = {}, 0, socket.gettime()
      for i = 1, 16 do
        host.start(function()
          local limits = call(client)
          results[i] = limits[1].userEnforcedMaxToObjectIds + call(client)[1].userEnforcedMaxToObjectIds
        end)
      end
      host.start(function()
        while #results < 16 do
          host.sleep(0.01)
          ticks = ticks + 1
        end
      end)
      host.run()
      assert.equal(16, #results)
      assert.equal(10, results[16])
      assert.is_true(socket.gettime() - started < 3, "32 calls of 0.1 s, one after the other")
      assert.is_true(ticks > 0) -- as often as the processor has time for it
      assert.equal(0, client:pending())
    end)

    it("errors come back as they do elsewhere", function()
      local options = binding.options { base_url = binding.closed_url(), access_token = "pat-x", loop = host.loop }
      local client, results, errors = assoc.new(options), nil, nil
      host.start(function() results, errors = client:get_all_limits() end)
      host.run()
      assert.is_nil(results)
      assert.same({ "transport", "connect" }, { errors[1].kind, errors[1].code })
    end)

    it("wrong arguments raise in the coroutine", function()
      local client = binding.client { loop = host.loop }
      local ok, message
      host.start(function() ok, message = pcall(client.get_limits, client, "contacts") end)
      host.run()
      assert.is_false(ok)
      assert.matches("bad argument #2 to 'get_limits'", message)
    end)

    it("several coroutines may wait for one future", function()
      local client = client_of(slow)
      local seen = {}
      host.start(function()
        local future = client.async:batch_update("contacts", "companies", { binding.limit() })
        for i = 1, 3 do
          host.start(function() seen[i] = future:wait()[1].typeId end)
        end
      end)
      host.run()
      assert.same({ 279, 279, 279 }, seen)
    end)

    it("300 coroutines that wait for futures go on at one time", function()
      local client, n = assoc.new { loop = host.loop, access_token = "pat-x", max_connections = 300,
        limiter = { reserve = function() return 0.2 end, observe = function() end },
        transport = function() return { status = 200, body = '{"results":[]}' } end }, 0
      for _ = 1, 300 do
        host.start(function()
          client.async:get_limits("contacts", "companies"):wait()
          n = n + 1
        end)
      end
      host.run()
      assert.equal(300, n)
    end)

    it("a wait costs no processor time, also beside a finished future that nobody has taken", function()
      local client = client_of(slower)
      local used
      host.start(function()
        client.async:get_limits("contacts", "companies"):wait()
        local before = os.clock()
        call(client)
        used = os.clock() - before
      end)
      host.run()
      assert.is_true(used < 0.15, ("%.2f s of processor time in 0.3 s"):format(used))
    end)

    it("on_done functions are called while a coroutine waits", function()
      local client = client_of(slow)
      local seen
      host.start(function()
        client.async:get_limits("contacts", "companies"):on_done(function(results) seen = results end)
        call(client)
        call(client)
      end)
      host.run()
      assert.is_table(seen)
    end)

    it("a token function may yield, whenever it is asked", function()
      local reasons = {}
      local tokens = { simulator.token "expired", simulator.token(), simulator.token() }
      local options = binding.simulator_options { loop = host.loop, max_attempts = 4 }
      options.access_token = function(reason)
        host.sleep(0.02)
        reasons[#reasons + 1] = tostring(reason)
        return tokens[#reasons]
      end
      local client, errors = assoc.new(options), nil
      host.start(function()
        errors = select(2, client:batch_update("contacts", "companies",
          { binding.limit { maxToObjectIds = 200 }, binding.limit { maxToObjectIds = 300 } }, { batch_size = 1 }))
      end)
      host.run()
      assert.is_nil(errors)
      assert.same({ "nil", "expired", "nil" }, reasons)
    end)

    it("a token function may make calls of its own", function()
      local keeper = binding.client { loop = host.loop }
      local options, token = binding.simulator_options { loop = host.loop }
      options.access_token = function()
        assert.is_nil(select(2, keeper:get_all_limits()))
        return token
      end
      local client, results = assoc.new(options), nil
      host.start(function() results = client:get_all_limits() end)
      host.run()
      assert.equal(7, #results)
    end)

    -- A client with a limiter that lets the first attempt wait; what that was asked and told is counted.
    local function limited(first_wait, act)
      local limiter, asked, told = {}, 0, 0
      function limiter.reserve()
        asked = asked + 1
        if act then act() end
        return asked == 1 and first_wait or 0
      end
      function limiter.observe() told = told + 1 end
      local options, token = binding.simulator_options { loop = host.loop, max_attempts = 4, limiter = limiter }
      return assoc.new(options), token, function() return asked, told end
    end

    it("others go on while a call waits for its limiter", function()
      local client, _, counts = limited(0.3)
      local begun, ended = {}, {}
      for _, to in ipairs { "companies", "deals" } do
        host.start(function()
          begun[#begun + 1] = to
          assert(client:get_limits("contacts", to))
          ended[#ended + 1] = to
        end)
      end
      host.run()
      assert.same({ begun[2], begun[1] }, ended)
      assert.same({ 2, 2 }, { counts() })
    end)

    it("a limiter is asked before retries", function()
      local client, token, counts = limited(0)
      simulator.fault(token, { status = 503, retry_after = 0 })
      local results
      host.start(function() results = client:get_limits("contacts", "companies") end)
      host.run()
      assert.is_table(results)
      assert.same({ 2, 2 }, { counts() })
    end)

    it("a limiter's methods may yield, and others go on", function()
      local n, ticks = 0, 0
      local client, _, counts = limited(0, function()
        local before, started = ticks, socket.gettime()
        repeat host.sleep(0.01) until ticks > before or socket.gettime() - started > 10
        assert.is_true(ticks > before)
      end)
      for _ = 1, 5 do
        host.start(function()
          assert(client:get_limits("contacts", "companies"))
          n = n + 1
        end)
      end
      host.start(function()
        while n < 5 do host.sleep(0.01) ticks = ticks + 1 end
      end)
      host.run()
      assert.equal(5, n)
      assert.same({ 5, 5 }, { counts() })
    end)

    it("in asynchronous calls that nobody waits for, too", function()
      local client, _, counts = limited(0, function() host.sleep(0.05) end)
      local n = 0
      host.start(function()
        for _ = 1, 3 do
          client.async:get_limits("contacts", "companies"):on_done(function(limits) n = n + (limits and 1 or 0) end)
        end
        while n < 3 do
          host.sleep(0.01)
          if host.looks_by_itself == false then client:step(0.01) end
        end
      end)
      host.run()
      assert.equal(3, n)
      assert.same({ 3, 3 }, { counts() })
    end)

    it("a wait ends when its time is up, and the call goes on", function()
      local client = client_of(silent)
      local kind, took
      host.start(function()
        local future = client.async:batch_update("contacts", "companies", { binding.limit() })
        local started = socket.gettime()
        kind = select(2, future:wait(0.1))[1].kind
        took = socket.gettime() - started
        assert.is_false(future:done())
        client:close()
      end)
      host.run()
      assert.equal("pending", kind)
      assert.is_true(took >= 0.1 and took < 2, ("%.2f s"):format(took))
    end)

    it("a limiter that is told and never returns holds no call beyond its deadline", function()
      local thread
      local client = assoc.new { loop = host.loop, base_url = "http://127.0.0.1:1", access_token = "pat-x",
        deadline = 0.4,
        transport = function() return { status = 200, body = '{"results":[]}' } end,
        limiter = { reserve = function() return 0 end, observe = function()
          thread = coroutine.running()
          host.sleep(3)
        end } }
      local results, took
      host.start(function()
        local future = client.async:get_limits("contacts", "companies")
        host.sleep(0.05)
        local started = socket.gettime()
        host.start(function()
          results = future:wait()
          took = socket.gettime() - started
        end)
        future:wait()
      end)
      host.run()
      assert.is_truthy(thread)
      assert.same({}, results)
      assert.is_true(took < 2.5, ("%.2f s"):format(took))
    end)

    it("on_event cannot wait for a call, which raises and leaves nothing behind", function()
      if not coroutine.isyieldable then return end -- Lua 5.1 and 5.2 cannot tell
      local other = client_of(slow)
      local message, results
      local client = assoc.new { loop = host.loop, base_url = "http://127.0.0.1:1", access_token = "pat-x",
        transport = function() return { status = 200, body = '{"results":[]}' } end,
        on_event = function(event)
          if event.type == "done" then
            message = select(2, pcall(other.get_limits, other, "contacts", "companies"))
          end
        end }
      host.start(function()
        results = client:get_limits("contacts", "companies")
        host.sleep(0.05)
      end)
      host.run()
      assert.same({}, results)
      assert.matches("'get_limits' cannot wait here: no coroutine can yield inside on_event", message, 1, true)
      assert.equal(0, other:pending())
    end)

    it("close ends all waits at once", function()
      local client = client_of(silent)
      local kinds, started = {}, socket.gettime()
      for i = 1, 3 do
        host.start(function() kinds[i] = select(2, call(client))[1].kind end)
      end
      host.start(function()
        host.sleep(0.05)
        client:close()
        kinds[4] = select(2, call(client))[1].kind
      end)
      host.run()
      assert.same({ "canceled", "canceled", "canceled", "config" }, kinds)
      assert.is_true(socket.gettime() - started < 1)
    end)

    it("what close cancels is handed out by the loop", function()
      local client = client_of(silent)
      local kinds = {}
      host.start(function()
        for i = 1, 3 do
          client.async:batch_update("contacts", "companies", { binding.limit() }):on_done(function(_, errors)
            kinds[i] = errors[1].kind
            client:close() -- once more
          end)
        end
        host.sleep(0.05)
        client:close()
        assert.same({}, kinds)
        assert.same({ 3 }, { client:pending(), client:fd() })
        host.sleep(0.05)
        if host.looks_by_itself == false then client:drain(1) end -- its loop looks while a coroutine waits for a call
      end)
      host.run()
      assert.same({ "canceled", "canceled", "canceled" }, kinds)
      assert.equal(0, client:pending())
    end)

    it("a future that is canceled wakes who waits for it", function()
      local client = client_of(silent)
      local kind
      host.start(function()
        local future = client.async:batch_update("contacts", "companies", { binding.limit() })
        host.start(function() kind = select(2, future:wait())[1].kind end)
        host.sleep(0.05)
        future:cancel()
      end)
      host.run()
      assert.equal("canceled", kind)
    end)

    it("many coroutines come and go", function()
      local client = client_of(faults.none)
      local n = 0
      for _ = 1, 100 do
        host.start(function()
          for _ = 1, 3 do
            if client:get_limits("contacts", "companies") then n = n + 1 end
          end
        end)
      end
      host.run()
      assert.equal(300, n)
    end)

    it("a client without an I/O thread is refused", function()
      assert.has_error(function() assoc.new { loop = host.loop, io_thread = false } end)
    end)

    it("50 calls answered with EXPIRED_AUTHENTICATION ask for a token once, though that yields", function()
      local old, fresh, asked, n = simulator.token "expired", simulator.token(), 0, 0
      local options = binding.simulator_options { loop = host.loop, max_attempts = 4, rate = false }
      options.access_token = function(reason)
        if reason then
          asked = asked + 1
          host.sleep(0.05)
        end
        return reason and fresh or old
      end
      local client = assoc.new(options)
      for _ = 1, 50 do
        host.start(function()
          if client:get_limits("contacts", "companies") then n = n + 1 end
        end)
      end
      host.run()
      assert.same({ 50, 1 }, { n, asked })
    end)

    it("so do 50 asynchronous calls that nobody waits for", function()
      local asked, n = { ["nil"] = 0, expired = 0 }, 0
      local client = assoc.new { loop = host.loop, base_url = "http://127.0.0.1:1", rate = false, max_connections = 50,
        access_token = function(reason)
          asked[tostring(reason)] = asked[tostring(reason)] + 1
          host.sleep(0.05)
          return "pat-x"
        end,
        transport = function()
          if asked.expired > 0 then return { status = 200, body = '{"results":[]}' } end
          return { status = 401, body = '{"status":"error","category":"EXPIRED_AUTHENTICATION"}' }
        end }
      host.start(function()
        for _ = 1, 50 do
          client.async:get_limits("contacts", "companies"):on_done(function(limits) n = n + (limits and 1 or 0) end)
        end
        while client:pending() > 0 do
          host.sleep(0.01)
          if host.looks_by_itself == false then client:step(0.01) end
        end
      end)
      host.run()
      assert.same({ 50, 1, 1 }, { n, asked["nil"], asked.expired })
    end)
  end)
end
