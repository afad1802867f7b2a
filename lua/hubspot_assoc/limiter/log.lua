--- The window as a log of sends, in order: entry number k is the time of the k-th send. Where N requests are allowed,
-- the k-th may go when the (k - N)-th has left the window. Whoever adds the entry k, which is one atomic operation, has
-- reserved that send: what its time depends on was in the log before, and does not change. So no window ever holds more
-- than N, however many take part; nobody holds a lock, and who dies leaves a whole log behind.
--
-- Where the log is kept is a store's business:
--   store:get(name) -> what was put, or nil; names: "last" (number of the last entry), "hold" (s, a time), "late" (s),
--     "window" (text)
--   store:put(name, value, ttl) for so many seconds
--   store:entry(number) -> its time, or nil if there is none or it is forgotten
--   store:add(number, at, ttl) adds it, and counts it as the last; false if it is there already

local rates = require "hubspot_assoc.limiter.rate"

local ipairs, math, setmetatable = ipairs, math, setmetatable

local Log = {}
Log.__index = Log

local MAX_AHEAD = 100 -- that the count of entries can be ahead of them: so many workers at once
local MEMORY = 10 -- s that an entry stays when it holds up nobody any more: who is slow must not find its place free
local TOO_LATE = 0.01 -- s: half of the least margin

--- @param store as above
-- @param rate of limiter/rate.lua
-- @return a limiter: reserve and observe
local function new(store, rate)
  return setmetatable({ store = store, rate = rate, now = rate.now }, Log)
end

--- The time of an entry; of none, or one that is forgotten, long ago.
function Log:time_of(number)
  return self.store:entry(number) or -math.huge
end

--- The number of the last entry that is remembered. The count is a little behind or ahead where workers add entries at
-- the same time, die, or are held up on their way to it.
function Log:last()
  local store = self.store
  local count = store:get "last" or 0
  local last, least = count, math.max(count - MAX_AHEAD, 0)
  while store:entry(last + 1) do
    last = last + 1
  end
  while last > least and not store:entry(last) do
    last = last - 1
  end
  return last > least and last or count
end

--- The windows that hold at present.
function Log:windows()
  return self.rate:windows(self.store:get "window")
end

--- How much later than reserved requests are sent and answered (s).
function Log:late()
  return self.store:get "late" or 0
end

-- ---- reserving ----

--- The earliest time for the entries behind the last one, so many as `cost`.
-- @return time, and s for which entries of that time are kept
function Log:earliest(windows, now, last, cost)
  local at = math.max(now, self.store:get "hold" or now, self:time_of(last)) -- in order
  local late = self:late()
  for _, window in ipairs(windows) do
    at = math.max(at, self:time_of(last + cost - window.requests) + window.wait + late)
  end
  return at, at - now + rates.longest_of(windows) + late + MEMORY
end

--- Adds entries of that time behind the last one; false if another worker comes in between. Those added before that
-- stay, as if they had been sent, which harms nobody.
function Log:append(last, cost, at, ttl)
  for number = last + 1, last + cost do
    if not self.store:add(number, at, ttl) then
      return false
    end
  end
  return true
end

--- Reserves the sending of so many requests at once.
-- @param cost how many; raises if that is no number of requests that the rate allows
-- @param most s that they can wait; nil: any time
-- @param level of the call stack that such an error is for; default: the caller
-- @return s until they may be sent; if that is more than `most`, nothing was reserved
function Log:reserve(cost, most, level)
  local started = self.now()
  while true do
    local now, windows, last = self.now(), self:windows(), self:last()
    rates.check_cost(windows, cost, (level or 1) + 1)
    local at, ttl = self:earliest(windows, now, last, cost)
    if at - started > (most or math.huge) then
      return at - started
    end
    local is_added = self:append(last, cost, at, ttl)
    local later = self.now() -- a worker may be held up on its way, and then too late to send at that time
    if is_added and later < at + TOO_LATE and later < now + MEMORY / 2 then
      return math.max(at - later, 0)
    end
  end
end

--- Adds sends that were not reserved here, as if at that time, or behind the last entry.
function Log:note(n, at)
  local last, keep = self:last(), rates.longest_of(self:windows()) + self:late() + MEMORY
  at = math.max(at, self:time_of(last))
  while n > 0 do
    last = last + 1
    if self.store:add(last, at, math.max(at - self.now(), 0) + keep) then
      n = n - 1
    else
      at = math.max(at, self:time_of(last)) -- in order
    end
  end
end

-- ---- learning ----

--- How many of the entries up to the last one are later than that.
function Log:count_since(last, since)
  local low, high = 0, 1 -- so many are; so many are not
  while self:time_of(last + 1 - high) > since do
    low, high = high, high * 2
  end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if self:time_of(last + 1 - middle) > since then
      low = middle
    else
      high = middle
    end
  end
  return low
end

--- What the server had counted when it received a request, and we have not, was sent by others: just now at the latest.
function Log:learn_others(used, age)
  local windows = self:windows()
  local window = windows[#windows]
  local now, last, late = self.now(), self:last(), self:late()
  if age + late > MEMORY then
    return -- what is remembered does not reach back so far
  end
  local ours = self:count_since(last, now - age - window.wait - late) - self:count_since(last, now)
  self:note(math.min(used - ours, window.requests), now)
end

--- Keeps the later, or the longer, of what is known and what is new.
function Log:raise(name, value, ttl)
  if value > (self.store:get(name) or -math.huge) then
    self.store:put(name, value, ttl)
  end
end

--- Learns what an answer tells: rate:lesson.
function Log:learn(lesson)
  if lesson.window then
    self.store:put("window", lesson.window, lesson.window_ttl)
  end
  if lesson.used then
    self:learn_others(lesson.used, lesson.age)
  end
  if lesson.hold then
    self:raise("hold", self.now() + lesson.hold, lesson.hold + lesson.longest)
  end
  if lesson.late then
    self:raise("late", lesson.late, lesson.late_ttl)
  end
end

--- Learns from an answer.
-- @param rate_limit table: max, remaining, interval_ms, and in s retry_after, late, age; any of them may be absent
function Log:observe(rate_limit)
  self:learn(self.rate:lesson(rate_limit, self.store:get "window"))
end

return { new = new }
