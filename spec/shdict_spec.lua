-- The limiter by which nginx's workers share one rate: what it lets through, whatever its workers do, at which moment.
-- (In a real nginx: spec/nginx/limiter_spec.lua.)
local rates = require "spec.support.rates"
local shared_dict = require "spec.support.shared_dict"
local shdict = require "hubspot_assoc.limiter.shdict"

local MARGIN = 0.02 -- s, the least

local generator, new_seed = rates.generator, rates.new_seed
local check_windows, waits_of, within = rates.check_windows, rates.waits_of, rates.within

local dict, clock

before_each(function() dict, clock = shared_dict.new() end)

local function new(requests, interval, prefix)
  return shdict.new(dict, { requests = requests, interval = interval, prefix = prefix, now = clock.read })
end

describe("a rate in a shared dictionary", function()
  it("lets the whole burst go at once, then waits for the window and its margin", function()
    local waits = waits_of(new(5, 1), 12)
    assert.equal(0, waits[5])
    within(1 + MARGIN, 1.1, waits[6])
    assert.equal(waits[6], waits[10])
    within(2 + 2 * MARGIN, 2.2, waits[11])
  end)

  it("is 100 in 10 s unless told", function()
    local waits = waits_of(shdict.new(dict, { now = clock.read }), 101)
    assert.equal(0, waits[100])
    within(10.05, 10.1, waits[101])
  end)

  it("is shared by all limiters of the dictionary", function()
    local all = {}
    for i = 1, 4 do all[i] = new(8, 1) end
    for i = 1, 8 do assert.equal(0, all[i % 4 + 1]:reserve(1)) end
    for i = 1, 4 do assert.is_true(all[i]:reserve(1) > 1) end
  end)

  it("is uneven as the sends are: each frees its place when its own window ends", function()
    local limiter = new(2, 1)
    limiter:reserve(1)
    clock.now = clock.now + 0.6
    limiter:reserve(1)
    within(0.4 + MARGIN, 0.45, limiter:reserve(1))
    within(1 + MARGIN, 1.05, limiter:reserve(1))
  end)

  it("reserves several at once for the time when the last of them may go", function()
    local limiter = new(5, 1)
    assert.equal(0, limiter:reserve(3))
    within(1, 1.1, limiter:reserve(3))
    within(1, 1.1, limiter:reserve(2))
    within(2, 2.2, limiter:reserve(1))
  end)

  it("reserves nothing where the wait would be longer than can be waited for", function()
    local limiter = new(3, 1)
    waits_of(limiter, 3)
    for _ = 1, 50 do
      within(1, 1.1, limiter:reserve(1, 0.5))
      within(1, 1.1, limiter:reserve(3, 1))
    end
    clock.now = clock.now + 1.1
    assert.same({ 0, 0, 0 }, waits_of(limiter, 3, 0))
    assert.is_true(limiter:reserve(1, 0) > 1)
  end)

  it("has nothing to do with another prefix", function()
    local one, other = new(2, 1, "one:"), new(3, 1, "other:")
    waits_of(one, 5)
    one:observe { retry_after = 100, late = 3, max = 1, remaining = 0, interval_ms = 5000 }
    assert.same({ 0, 0, 0 }, waits_of(other, 3))
    within(1, 1.1, other:reserve(1))
  end)

  it("forgets nothing and keeps nothing: what has left the window is removed in time", function()
    local limiter = new(10, 1)
    local most = 0
    for _ = 1, 3000 do
      clock.now = clock.now + limiter:reserve(1)
      dict:flush_expired()
      most = math.max(most, dict.count)
    end
    assert.is_true(most < 150, most .. " entries")
  end)
end)

describe("wrong arguments of the shared limiter", function()
  local function message(wrong_dict, options)
    local ok, text = pcall(function()
      local limiter = shdict.new(wrong_dict, options)
      return limiter
    end)
    assert.is_false(ok)
    return text
  end

  it("raise and name the place", function()
    for _, row in ipairs {
      { { requests = 0 }, "options.requests: integer from 1 to 1000000 expected, got number 0" },
      { { requests = 1.5 }, "options.requests" }, { { requests = "5" }, "options.requests" },
      { { requests = 1e7 }, "options.requests" }, { { requests = 0 / 0 }, "options.requests" },
      { { interval = 0 }, "options.interval: seconds" }, { { interval = -1 }, "options.interval" },
      { { interval = 1e9 }, "options.interval" }, { { interval = 0 / 0 }, "options.interval" },
      { { prefix = 5 }, "options.prefix: string expected" }, { { now = 5 }, "options.now: function expected" },
      { { request = 5 }, "options.request: unknown option; did you mean 'requests'?" },
      { { 5 }, "options.1: unknown option" },
      { "x", "options: table expected, got string" },
    } do
      local text = message(dict, row[1])
      assert.matches("bad argument #2 to 'new' (" .. row[2], text, 1, true)
      assert.matches("^spec/shdict_spec.lua:%d+: ", text)
    end
    for _, wrong in ipairs { false, 5, "dict", {} } do
      assert.matches("bad argument #1 to 'new' (a shared dictionary expected", message(wrong), 1, true)
    end
    assert.matches("lua_shared_dict", message(nil))
  end)

  it("of reserve, too", function()
    local limiter = new(3, 1)
    for _, cost in ipairs { 4, 0, -1, 1.5, "1", 0 / 0 } do
      local ok, text = pcall(function()
        local wait = limiter:reserve(cost)
        return wait
      end)
      assert.is_false(ok)
      assert.matches("^spec/shdict_spec.lua:%d+: ", text)
      assert.matches("bad argument #1 to 'reserve' (integer from 1 to the rate's 3 requests expected", text, 1, true)
    end
    assert.equal(0, dict.count)
  end)
end)

describe("the shared limiter learns", function()
  it("HubSpot's window in place of its own", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:reserve(1)
    limiter:observe { max = 4, remaining = 3, interval_ms = 2000 }
    local waits = waits_of(limiter, 4)
    assert.equal(0, waits[3])
    within(2, 2.1, waits[4])
    assert.equal(0, shdict.new(dict, { now = clock.read }):reserve(1, 0) > 0 and 0 or 1) -- so do the others
  end)

  it("a window that is smaller or larger than before, at once", function()
    local limiter = shdict.new(dict, { now = clock.read })
    for _, max in ipairs { 5, 200, 3, 50, 1, 10 } do
      limiter:observe { max = max, remaining = max, interval_ms = 1000 }
      clock.now = clock.now + 50
      local waits = waits_of(limiter, 2 * max)
      assert.equal(0, waits[max])
      within(1, 1.1, waits[max + 1])
      within(1, 1.1, waits[2 * max])
    end
  end)

  it("what others send, and leaves room for it", function()
    for own = 0, 9 do
      for others = 0, 9 - own do
        dict, clock = shared_dict.new()
        local limiter = shdict.new(dict, { now = clock.read })
        waits_of(limiter, own)
        local left = 10 - own - others
        for age = 0, 6, 3 do limiter:observe { max = 10, remaining = left, interval_ms = 1000, age = age } end
        local waits = waits_of(limiter, left + 1)
        assert.equal(0, waits[left])
        within(1, 1.1, waits[left + 1])
      end
    end
  end)

  it("what others send, though calls of its own wait", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:observe { max = 10, remaining = 10, interval_ms = 1000, retry_after = 0.5 }
    waits_of(limiter, 3)
    limiter:observe { max = 10, remaining = 6, interval_ms = 1000, age = 0 }
    local waits = waits_of(limiter, 4)
    within(0.5, 0.51, waits[3])
    within(1.5, 1.6, waits[4])
  end)

  it("that the last place is taken", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:reserve(1)
    limiter:observe { max = 10, remaining = 0, interval_ms = 1000 }
    within(1, 1.1, limiter:reserve(1))
  end)

  it("not to take its own for others', however late their answers come", function()
    for _, age in ipairs { 0, 0.5, 0.99, 5 } do
      dict, clock = shared_dict.new()
      local limiter = shdict.new(dict, { now = clock.read })
      limiter:observe { max = 10, remaining = 10, interval_ms = 1000 }
      waits_of(limiter, 10)
      clock.now = clock.now + age
      for i = 1, 10 do limiter:observe { max = 10, remaining = 10 - i, interval_ms = 1000, age = age } end
      clock.now = clock.now + math.max(0, 1.1 - age)
      assert.equal(0, waits_of(limiter, 10)[10], age)
    end
  end)

  it("not to take its own for others', though many wait", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:observe { max = 10, remaining = 10, interval_ms = 1000 }
    local waits = waits_of(limiter, 200)
    for i = 1, 10 do limiter:observe { max = 10, remaining = 10 - i, interval_ms = 1000, age = 0 } end
    within(waits[200], waits[200] + 1.1, limiter:reserve(1))
  end)

  it("nothing from answers that make no sense", function()
    local limiter = new(3, 1)
    for _, rate in ipairs { {}, { max = 5 }, { max = 0, remaining = 0, interval_ms = 1000 }, { remaining = 3 },
      { max = 5, remaining = 6, interval_ms = 1000 }, { max = 5, remaining = -1, interval_ms = 1000 },
      { max = 5, remaining = 0, interval_ms = 0 }, { max = 5, remaining = 0, interval_ms = -5 },
      { max = 1e9, remaining = 0, interval_ms = 1000 }, { max = 5, remaining = 0, interval_ms = 1e12 },
      { max = 2.5, remaining = 1, interval_ms = 1000 }, { daily = 5, daily_remaining = 0 }, { late = 0, age = 0 } } do
      limiter:observe(rate)
    end
    assert.same({ 0, 0, 0 }, waits_of(limiter, 3))
    within(1, 1.1, limiter:reserve(1))
  end)

  it("to hold still, and all others with it", function()
    local one, other = new(10, 1), new(10, 1)
    one:observe { retry_after = 5 }
    one:observe { retry_after = 2 } -- the later one counts
    within(5, 5.01, other:reserve(1))
    assert.is_true(other:reserve(1, 4) > 4)
    clock.now = clock.now + 5.01
    assert.equal(0, other:reserve(1))
  end)

  it("to hold still for a day, but for a minute where it is told more than HubSpot can mean", function()
    local limiter = new(10, 1)
    limiter:observe { retry_after = 1e9 }
    within(60, 60.1, limiter:reserve(1, 5))
    limiter:observe { retry_after = 86400 }
    within(86400, 86401, limiter:reserve(1, 5))
  end)

  it("a window of a minute at most", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:observe { max = 1, remaining = 0, interval_ms = 86399999 }
    within(60, 60.5, limiter:reserve(1))
  end)

  it("a window for as long as answers tell it, and a minute more", function()
    local limiter = shdict.new(dict, { now = clock.read })
    local rate = { max = 1, interval_ms = 86399999 }
    for _ = 1, 2 do
      limiter:observe(rate)
      clock.now = clock.now + 50
    end
    limiter:reserve(1)
    within(60, 60.5, limiter:reserve(1, 5))
    clock.now = clock.now + 15
    assert.same({ 0, 0, 0 }, waits_of(limiter, 3))
  end)

  it("how long answers take, and widens the window by that, for a while", function()
    local limiter = shdict.new(dict, { now = clock.read })
    waits_of(limiter, 100)
    limiter:observe { late = 0.02, age = 0.28 }
    limiter:observe { late = 0.1, age = 0.1 }
    within(10.35, 10.36, limiter:reserve(1))
    limiter:observe { age = 20 } -- not by more than a twentieth
    clock.now = clock.now + 9
    within(1.55, 1.56, limiter:reserve(1))
  end)

  it("nothing of others from a refusal but to hold still", function()
    local limiter = shdict.new(dict, { now = clock.read })
    limiter:observe { max = 10, remaining = 0, interval_ms = 10000, retry_after = 0.5 }
    within(0.5, 0.51, limiter:reserve(1))
  end)

  it("that requests leave late, and widens the window by that, for a while", function()
    local limiter = new(2, 1)
    waits_of(limiter, 2)
    limiter:observe { late = 0.4 }
    limiter:observe { late = 0.1 }
    limiter:observe { late = 0.009 }
    within(1.4 + MARGIN, 1.5, limiter:reserve(1))
    clock.now = clock.now + 20
    waits_of(limiter, 2)
    within(1 + MARGIN, 1.1, limiter:reserve(1))
  end)
end)

describe("a ceiling of the shared limiter", function()
  it("can be lowered but not raised by what HubSpot tells", function()
    local limiter = new(5, 1)
    limiter:observe { max = 100, remaining = 100, interval_ms = 1000 }
    within(1, 1.1, waits_of(limiter, 6)[6])
    clock.now = clock.now + 50
    limiter:observe { max = 3, remaining = 3, interval_ms = 1000 }
    local waits = waits_of(limiter, 4)
    assert.equal(0, waits[3])
    within(1, 1.1, waits[4])
  end)

  it("of a short window and HubSpot's of a long one hold both", function()
    local limiter = new(5, 0.5)
    limiter:observe { max = 20, remaining = 20, interval_ms = 10000 }
    local waits = waits_of(limiter, 21)
    assert.equal(0, waits[5])
    within(0.5, 0.6, waits[6])
    within(1.5, 1.7, waits[20])
    within(10, 10.2, waits[21])
  end)

  it("is each worker's own: after a reload new ones keep to theirs", function()
    local old = new(5, 1)
    waits_of(old, 5)
    clock.now = clock.now + 2
    local raised = new(8, 1)
    assert.equal(0, waits_of(raised, 8)[8])
    clock.now = clock.now + 2
    local lowered = new(2, 1)
    waits_of(lowered, 2)
    within(1, 1.1, lowered:reserve(1, 0.5))
    assert.equal(0, old:reserve(3)) -- one of the old ones, until it ends
    assert.is_true(old:reserve(1) > 1)
  end)
end)

-- ---- what goes wrong ----

describe("a shared dictionary that is full", function()
  it("is an error that says so, and that passes", function()
    dict, clock = shared_dict.new { capacity = 6 }
    local limiter = new(10, 1)
    local ok, text
    for _ = 1, 10 do
      ok, text = pcall(limiter.reserve, limiter, 1)
      if not ok then break end
    end
    assert.equal("the shared dictionary: no memory (lua_shared_dict gives it its size)", text)
    clock.now = clock.now + 30
    assert.equal(0, limiter:reserve(1))
  end)

  it("loses no send that was reserved", function()
    dict, clock = shared_dict.new { capacity = 8 }
    local limiter, times = new(5, 1), {}
    for _ = 1, 200 do
      local ok, wait = pcall(limiter.reserve, limiter, 1, 0)
      if ok and wait == 0 then times[#times + 1] = clock.now end
      clock.now = clock.now + 0.1
    end
    check_windows(times, 5, 1)
    assert.is_true(#times >= 10)
  end)
end)

describe("a shared dictionary that is emptied", function()
  it("begins anew, with one window more at most", function()
    local limiter, other = new(5, 1), new(5, 1)
    waits_of(limiter, 7)
    dict:flush_all()
    assert.equal(0, waits_of(other, 5)[5])
    within(1, 1.1, limiter:reserve(1))
    clock.now = clock.now + 3
    assert.equal(0, waits_of(limiter, 5)[5])
    within(1, 1.1, other:reserve(1))
  end)

  it("of any one key loses no more than that", function()
    local probe = new(3, 1)
    probe:observe { max = 3, remaining = 3, interval_ms = 1000, retry_after = 0.1, late = 0.2 }
    waits_of(probe, 5)
    local keys = {}
    for key in pairs(dict.entries) do keys[#keys + 1] = key end
    assert.is_true(#keys >= 8)
    for _, key in ipairs(keys) do
      dict, clock = shared_dict.new()
      local limiter = new(3, 1)
      limiter:observe { max = 3, remaining = 3, interval_ms = 1000, retry_after = 0.1, late = 0.2 }
      waits_of(limiter, 5)
      dict:delete(key)
      waits_of(limiter, 3)
      clock.now = clock.now + 20
      assert.equal(0, waits_of(limiter, 3)[3], key)
      within(1, 1.3, limiter:reserve(1))
    end
  end)
end)

-- ---- workers at the same time ----

-- Lets a worker, a coroutine, go on until its next operation on the dictionary. False when it has come to its end.
local function resume(worker)
  dict.before = coroutine.yield
  assert(coroutine.resume(worker))
  dict.before = nil
  return coroutine.status(worker) ~= "dead"
end

-- A worker is held up before its n-th operation, so many seconds (nil: for ever); others work meanwhile. work(note)
-- and others(note) make reservations, and note(wait, cost) them. The times of all, nil if work has no n-th operation.
local function interleave(work, n, others, held)
  local times = {}
  local function note(wait, cost)
    for _ = 1, cost or 1 do times[#times + 1] = clock.now + wait end
  end
  dict, clock = shared_dict.new()
  others(note, 1)
  clock.now = clock.now + 0.3
  local worker = coroutine.create(function() work(note) end)
  local goes_on = true
  for _ = 1, n do goes_on = goes_on and resume(worker) end
  if not goes_on then return nil end
  others(note)
  if held then
    clock.now = clock.now + held
    others(note)
    while resume(worker) do end
  end
  others(note)
  return times
end

-- Does so for every n. check(times, label)
local function interleave_everywhere(work, others, held, check)
  local n, times = 0, {}
  while times do
    n = n + 1
    times = interleave(work, n, others, held)
    if times then check(times, ("held up %s s before operation %d"):format(held or "endless", n)) end
  end
  assert.is_true(n > 5)
end

local HELD = { 0, 0.005, 0.05, 0.5, 1.5, 8, 12, 60 } -- s

describe("a worker that is held up at any point", function()
  local function reserving(requests, cost, most)
    return function(note)
      local wait = new(requests, 1):reserve(cost, most)
      if wait <= (most or math.huge) then note(wait, cost) end
    end
  end

  it("lets no more through, however long", function()
    for requests = 1, 3 do
      local function others(n)
        return function(note, first)
          local limiter = new(requests, 1)
          for _ = 1, first or n do note(limiter:reserve(1)) end
        end
      end
      local function check(times, label)
        check_windows(times, requests, 1, ("%d in 1 s, "):format(requests) .. label)
      end
      for _, held in ipairs(HELD) do
        for _, n in ipairs { 0, 1, 2, 5, 20 } do
          for cost = 1, requests do
            interleave_everywhere(reserving(requests, cost), others(n), held, check)
          end
          interleave_everywhere(reserving(requests, 1, 1.72), others(n), held, check)
        end
      end
    end
  end)

  it("and then waits for what was long ago does not spoil what others have reserved since", function()
    local function slow() return shdict.new(dict, { now = clock.read }) end
    for held = 14, 20 do
      interleave_everywhere(function(note) note(slow():reserve(1)) end, function(note, first)
        local limiter = slow()
        if first then
          limiter:observe { max = 1, remaining = 1, interval_ms = 20000 }
          note(limiter:reserve(1))
        else
          limiter:observe { max = 5, remaining = 5, interval_ms = 1000 }
          for _ = 1, 20 do note(limiter:reserve(1)) end
        end
      end, held, function(times, label) check_windows(times, 5, 1, label) end)
    end
  end)

  it("while it learns, makes no room where there is none", function()
    for requests = 2, 4 do
      for _, held in ipairs(HELD) do
        interleave_everywhere(function()
          new(requests, 1):observe { max = requests, remaining = 0, interval_ms = 1000, age = 0, late = 0.03 }
        end, function(note, first)
          local limiter = new(requests, 1)
          for _ = 1, first or 2 * requests + 1 do note(limiter:reserve(1)) end
        end, held, function(times, label) check_windows(times, requests, 1, label) end)
      end
    end
  end)

  it("leaves nothing behind that makes the others slower", function()
    local function operations()
      local n, limiter = 0, new(2, 1)
      dict.before = function() n = n + 1 end
      limiter:reserve(1)
      dict.before = nil
      return n
    end
    waits_of(new(2, 1), 4)
    local usual = operations()
    for n = 1, usual do
      local worker = coroutine.create(function() new(2, 1):reserve(1) end)
      for _ = 1, n do resume(worker) end
    end
    waits_of(new(2, 1), 2)
    assert.equal(usual, operations())
  end)

  it("and dies there, lets no more through, and takes no place with it for ever", function()
    for requests = 1, 3 do
      interleave_everywhere(reserving(requests, 1), function(note, first)
        local limiter = new(requests, 1)
        for _ = 1, first or requests do note(limiter:reserve(1)) end
      end, nil, function(times, label)
        check_windows(times, requests, 1, label)
        clock.now = times[#times] + 5
        local limiter = new(requests, 1)
        assert.equal(0, waits_of(limiter, requests)[requests])
        within(1, 1.1, limiter:reserve(1))
      end)
    end
  end)
end)

-- Workers that make random calls of random limiters, each held up at random before each operation.
local Crowd = {}
Crowd.__index = Crowd

-- options: workers, steps (of the clock: a function of random), dies (the share of steps behind which a worker does),
-- limiter() makes a worker's, work(crowd, limiter) is what it does, again and again.
local function new_crowd(random, options)
  dict, clock = shared_dict.new()
  return setmetatable({ random = random, times = {}, workers = {}, options = options, reserved = 0 }, Crowd)
end

function Crowd:reserve(limiter, cost, most)
  local wait = limiter:reserve(cost, most)
  if wait <= (most or math.huge) then
    for _ = 1, cost do self.times[#self.times + 1] = clock.now + wait end
    self.reserved = self.reserved + cost
  end
  return wait
end

function Crowd:hire(i)
  self.workers[i] = coroutine.create(function()
    local limiter = self.options.limiter()
    while true do
      self.options.work(self, limiter)
      coroutine.yield "between two"
    end
  end)
end

-- Until so many sends are reserved, or for so many steps.
function Crowd:run(n)
  for i = 1, self.options.workers do self:hire(i) end
  local steps = 0
  while self.reserved < n and steps < 100 * n do
    local i = self.random(self.options.workers)
    resume(self.workers[i])
    if self.random() < (self.options.dies or 0) then self:hire(i) end
    clock.now = clock.now + self.options.steps(self.random)
    steps = steps + 1
  end
end

local function restless(random)
  local kind = random(1000)
  return kind == 1 and random() * 3 or kind < 20 and random() * 0.1 or kind < 300 and random() * 0.001 or 0
end

local function hurried(random)
  return random() * 1e-5
end

describe("workers that come at random", function()
  local random, seed

  before_each(function()
    seed = new_seed()
    random = generator(seed)
  end)

  it("let no window hold more than the rate, though some die", function()
    for run = 1, 25 do
      local requests = 1 + random(11) -- of 1, two deaths right behind an entry could let one more through
      local crowd = new_crowd(random, { workers = random(5), steps = restless, dies = 0.001 * random(3),
        limiter = function() return new(requests, 1) end,
        work = function(self, limiter)
          local most = random(3) > 1 and random() * 4 or nil
          self:reserve(limiter, random(3) > 1 and 1 or random(math.min(3, requests)), most)
        end })
      crowd:run(150)
      assert.is_true(crowd.reserved > 0)
      check_windows(crowd.times, requests, 1, ("seed %d, run %d, rate %d"):format(seed, run, requests))
    end
  end)

  it("use the whole rate, however many they are", function()
    for _ = 1, 10 do
      local requests, rounds = random(20), 10
      local crowd = new_crowd(random, { workers = random(6), steps = hurried,
        limiter = function() return new(requests, 1) end,
        work = function(self, limiter) self:reserve(limiter, 1) end })
      local began = clock.now
      crowd:run(requests * rounds)
      local label = ("seed %d, rate %d"):format(seed, requests)
      check_windows(crowd.times, requests, 1, label)
      local last = crowd.times[requests * rounds] - began
      local windows = math.ceil((requests * rounds + 6) / requests) - 1 -- six may have reserved, and not yet noted it
      assert.is_true(last < windows * (1 + MARGIN) + 0.2, ("%s: %.3f s"):format(label, last))
    end
  end)

  it("never have more than the larger rate while it changes, and the whole new one afterwards", function()
    for run = 1, 10 do
      local most = 10
      local crowd = new_crowd(random, { workers = 4, steps = restless, dies = 0.001,
        limiter = function() return shdict.new(dict, { now = clock.read }) end,
        work = function(self, limiter)
          if random(10) == 1 then
            limiter:observe { max = random(most), remaining = most, interval_ms = 1000 }
          else
            self:reserve(limiter, 1, 2)
          end
        end })
      shdict.new(dict, { now = clock.read }):observe { max = most, remaining = most, interval_ms = 1000 }
      crowd:run(200)
      check_windows(crowd.times, most, 1, ("seed %d, run %d"):format(seed, run))
      local limiter = shdict.new(dict, { now = clock.read })
      limiter:observe { max = 7, remaining = 7, interval_ms = 1000 }
      clock.now = clock.now + 30
      local waits = waits_of(limiter, 8)
      assert.equal(0, waits[7])
      within(1, 1.1, waits[8])
    end
  end)

  it("never have more than the rate while they learn and hold still", function()
    for run = 1, 10 do
      local requests = 1 + random(8)
      local crowd = new_crowd(random, { workers = 4, steps = restless,
        limiter = function() return new(requests, 1) end,
        work = function(self, limiter)
          local kind = random(12)
          if kind == 1 then
            limiter:observe { retry_after = random() }
          elseif kind == 2 then
            limiter:observe { late = random() / 4 }
          elseif kind < 5 then
            limiter:observe { max = requests, remaining = random(requests), interval_ms = 1000, age = random() }
          else
            self:reserve(limiter, 1, 5)
          end
        end })
      crowd:run(200)
      check_windows(crowd.times, requests, 1, ("seed %d, run %d, rate %d"):format(seed, run, requests))
    end
  end)
end)
