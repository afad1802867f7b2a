-- What every limiter has to do, also one of your own:
--
--     local busted = { describe = describe, it = it, before_each = before_each, after_each = after_each,
--       assert = assert }
--     require "spec.support.limiter_conformance" (busted, "my limiter", function()
--       return { new = function(options) return my_limiter.new(options) end }
--     end)
--
-- A host is made anew for each spec:
--   new(options)      makes one of several limiters that share one rate: options is nil, or { requests =, interval = },
--                     a ceiling; a rate that nobody gives is 100 in 10 s
--   now(), sleep(s)   where it has a clock of its own
--   run(fn)           for limiters that yield: runs fn where they may
--   stop()            is called at the end of a spec
--   learns = false    it does not learn windows, nor what others send, from `observe` (hold still it must)
--   options(requests, interval)   in place of new: a client's options that make it keep such a rate; then only what
--                     arrives at the server is looked at
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local rates = require "spec.support.rates"
local simulator = require "spec.support.simulator"
local system = require "system" -- busted needs it too

local check_windows, waits_of, within = rates.check_windows, rates.waits_of, rates.within

local INTERVAL = 1 -- s
local SOON = 0.4 -- s, that a busy machine may take for what is to be done at once
local WIDER = 0.1 -- share of an interval, that a window may be wider

return function(busted, name, new_host)
  local before_each, after_each, assert = busted.before_each, busted.after_each, busted.assert

  busted.describe(name .. " as a limiter", function()
    local host, now, sleep

    before_each(function()
      host = new_host()
      now, sleep = host.now or core.now, host.sleep or system.sleep
    end)
    after_each(function() if host.stop then host.stop() end end)

    local function it(label, fn)
      busted.it(label, function()
        if host.run then return host.run(fn) end
        fn()
      end)
    end

    local function new(requests, interval)
      return host.new { requests = requests, interval = interval or INTERVAL }
    end

    -- Reserves, notes when that many are to be sent, and gives the wait. A process that is held up on its way knows
    -- this within some time only.
    local function reserve(times, limiter, cost, most)
      times.earliest = times.earliest or {}
      local before, wait = now(), limiter:reserve(cost, most)
      assert.is_true(wait >= 0)
      if wait <= (most or math.huge) then
        for _ = 1, cost do
          times.earliest[#times + 1] = before + wait
          times[#times + 1] = now() + wait
        end
      end
      return wait
    end

    -- How long it takes from the first send to the n-th, at most.
    local function span(times, n)
      return times[n] - times.earliest[1]
    end

    -- So many limiters of one rate reserve n sends by turns: their times, and the waits.
    local function reserve_by_turns(limiters, n)
      local times, waits = {}, {}
      for i = 1, n do waits[i] = reserve(times, limiters[i % #limiters + 1], 1) end
      return times, waits
    end

    if new_host().options then
      it("never sends more in a window than it may, and uses what it may", function()
        local token = simulator.token()
        simulator.control("rate", { token = token, max = 20, interval_ms = 1000 })
        local options = host.options(20, 1.2)
        options.base_url, options.access_token = simulator.url, token
        local client = assoc.new(options)
        local good, futures, since = 0, {}, system.gettime()
        for i = 1, 70 do futures[i] = client.async:get_limits("contacts", "companies") end
        for _, future in ipairs(futures) do good = good + (future:wait(60) and 1 or 0) end
        client:close()
        assert.equal(70, good)
        local log = simulator.log(token)
        assert.equal(70, #log - simulator.refused(log))
        rates.check_log(log, since, 20, 1.2)
        assert.is_true(log[#log].time - log[1].time < 30)
      end)
      return
    end

    it("lets the whole rate go at once, then waits for the window", function()
      local times, waits = reserve_by_turns({ new(8) }, 17)
      within(0, SOON, waits[8])
      within(INTERVAL, INTERVAL * (1 + WIDER) + SOON, span(times, 9))
      within(2 * INTERVAL, 2 * INTERVAL * (1 + WIDER) + SOON, span(times, 17))
      check_windows(times, 8, INTERVAL)
    end)

    it("is 100 in 10 s unless told", function()
      local times, waits = reserve_by_turns({ host.new() }, 101)
      within(0, SOON, waits[100])
      within(10, 11, span(times, 101))
    end)

    it("is one rate for all that share it, and they use at least 95 % of it", function()
      local times = reserve_by_turns({ new(20), new(20), new(20) }, 401)
      check_windows(times, 20, INTERVAL)
      within(20 * INTERVAL, 20 * INTERVAL / 0.95 + SOON, span(times, 401))
    end)

    it("keeps to the window whenever and however many reserve", function()
      local seed = rates.new_seed()
      local random = rates.generator(seed)
      local limiters, times = { new(7), new(7), new(7) }, {}
      for _ = 1, 60 do
        reserve(times, limiters[random(3)], random(3), random(3) > 1 and 2 * random() or nil)
        if random(4) == 1 then sleep(random() * 0.05) end
      end
      check_windows(times, 7, INTERVAL, "seed " .. seed)
    end)

    it("reserves several at once for the time when the last of them may go", function()
      local limiter, times = new(5), {}
      within(0, SOON, reserve(times, limiter, 3))
      within(INTERVAL - SOON, INTERVAL * (1 + WIDER), reserve(times, limiter, 3))
      check_windows(times, 5, INTERVAL)
    end)

    it("reserves nothing where the wait would be longer than can be waited for", function()
      local limiter, times = new(3, 2), {}
      for _ = 1, 3 do reserve(times, limiter, 1, 0.5) end
      for _ = 1, 20 do assert.is_true(limiter:reserve(1, 0.5) > 0.5) end
      within(0.5, 2 * (1 + WIDER), reserve(times, limiter, 1))
      check_windows(times, 3, 2)
    end)

    it("frees a place when its own window ends", function()
      local limiter, times = new(2), {}
      reserve(times, limiter, 1)
      sleep(0.5)
      reserve(times, limiter, 1)
      reserve(times, limiter, 1)
      within(INTERVAL, INTERVAL * (1 + WIDER) + SOON, span(times, 3))
      sleep(INTERVAL)
      reserve(times, limiter, 1)
      check_windows(times, 2, INTERVAL)
    end)

    it("lets the whole rate go again after a pause", function()
      local limiter = new(5)
      waits_of(limiter, 5)
      sleep(1.3)
      within(0, 0.05, waits_of(limiter, 5)[5])
      assert.is_true(limiter:reserve(1, 0) > 0.3)
    end)

    it("holds still for all after a refusal, for as long as it is told", function()
      local one, other = new(50), new(50)
      one:observe { retry_after = 3 }
      one:observe { retry_after = 1 } -- the later one counts
      within(3 - SOON, 3.1, other:reserve(1, 1))
      within(3 - SOON, 3.1, one:reserve(1, 1))
    end)

    it("takes answers that tell nothing, or what makes no sense", function()
      local limiter = new(3)
      for _, rate in ipairs { {}, { max = 5 }, { max = 0, remaining = 0, interval_ms = 1000 }, { remaining = 3 },
        { max = 5, remaining = 6, interval_ms = 1000 }, { max = 5, remaining = -1, interval_ms = 1000 },
        { max = 5, remaining = 0, interval_ms = 0 }, { max = 1e9, remaining = 0, interval_ms = 1000 },
        { daily = 5, daily_remaining = 0 }, { late = 0, age = 0 } } do
        limiter:observe(rate)
      end
      within(0, SOON, waits_of(limiter, 3)[3])
      within(INTERVAL - SOON, INTERVAL * (1 + WIDER), limiter:reserve(1))
    end)

    it("raises for what no rate can let go at once", function()
      local limiter = new(3)
      for _, cost in ipairs { 4, 0, -1, 1.5, "1", 0 / 0 } do
        assert.is_false((pcall(limiter.reserve, limiter, cost)), tostring(cost))
      end
      within(0, SOON, waits_of(limiter, 3)[3])
    end)

    if new_host().learns == false then return end

    it("learns the server's window, and others with it", function()
      local one, other = host.new(), host.new()
      one:observe { max = 4, remaining = 4, interval_ms = 2000 }
      local times = reserve_by_turns({ one, other }, 9)
      check_windows(times, 4, 2)
      within(4, 4 * (1 + WIDER) + SOON, span(times, 9))
    end)

    it("has a ceiling that can be lowered, not raised", function()
      local limiter = new(5)
      limiter:observe { max = 100, remaining = 100, interval_ms = 1000 }
      check_windows(reserve_by_turns({ limiter }, 11), 5, INTERVAL)
      limiter:observe { max = 2, remaining = 2, interval_ms = 2000 }
      sleep(2.3)
      check_windows(reserve_by_turns({ limiter }, 5), 2, 2)
    end)

    it("leaves room for what others send", function()
      local limiter = host.new()
      waits_of(limiter, 2)
      limiter:observe { max = 10, remaining = 3, interval_ms = 2000, age = 0 }
      local waits = waits_of(limiter, 4)
      within(0, SOON, waits[3])
      within(1, 2.3, waits[4])
    end)

    it("does not take its own for others'", function()
      local limiter = host.new()
      limiter:observe { max = 10, remaining = 10, interval_ms = 2000 }
      waits_of(limiter, 10)
      for i = 1, 10 do limiter:observe { max = 10, remaining = 10 - i, interval_ms = 2000, age = 0 } end
      sleep(2.2)
      within(0, 0.05, waits_of(limiter, 10)[10])
    end)

    it("holds a place until the answer: by how late requests are sent and answered the window is wider", function()
      local one, other = new(2), new(2)
      local times = reserve_by_turns({ one, other }, 2)
      one:observe { late = 0.5, age = 0.01 }
      reserve(times, other, 1)
      within(1.5, 1.7 + SOON, span(times, 3))
    end)
  end)
end
