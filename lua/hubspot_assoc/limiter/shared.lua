--- What limiters have in common whose log is outside of this process, and may be out of reach for a while.
--
-- Then each goes on by itself, with its part of the rate, for which it remembers its own sends of the last window.
-- Those made meanwhile are added to the shared log when that is back, and as many for each of the others, who may tell
-- of theirs later. A log that was lost meanwhile is another one, which its users see by the time of its beginning: what
-- was sent before that is in no log, so a window has to pass from then.

local ask_user = require "hubspot_assoc.pcall".ask
local logs = require "hubspot_assoc.limiter.log"
local rates = require "hubspot_assoc.limiter.rate"

local math, setmetatable = math, setmetatable

-- ---- a log in this process ----

local Memory = {}
Memory.__index = Memory

local function new_memory(now)
  return setmetatable({ now = now, values = {}, entries = {}, first = 1 }, Memory)
end

function Memory:get(name)
  local kept = self.values[name]
  return kept and kept.ends > self.now() and kept.value or nil
end

function Memory:put(name, value, ttl)
  self.values[name] = { value = value, ends = self.now() + ttl }
end

function Memory:entry(number)
  local entry = self.entries[number]
  return entry and entry.at
end

function Memory:add(number, at, ttl)
  local now = self.now()
  while self.entries[self.first] and self.entries[self.first].ends <= now do
    self.first = self.first + 1
    self.entries[self.first - 1] = nil
  end
  self.entries[number] = { at = at, ends = now + ttl }
  self:put("last", number, math.huge)
  return true
end

-- ---- the limiter ----

local Shared = {}
Shared.__index = Shared

--- @param rate of limiter/rate.lua
-- @param options table: peers (4), how many share the rate; on_change(change) is told when the log gets out of
--   reach and when it is back: change.shared, change.reason
-- @param far table, the log outside:
--   far:reserve(cost, most, own, is_away) -> s, or nil; then why to leave it alone for a while, if there is a reason
--   far:learn(lesson) -> anything; likewise
--   far.pause (s), that while
--   own: n (how many sends of the last window the log may not have), age (s, of the last one; < 0: to come)
-- @return a limiter: reserve and observe
local function new(rate, options, far)
  local store, peers = new_memory(rate.now), options.peers or 4
  return setmetatable({
    rate = rate, far = far, now = rate.now, on_change = options.on_change, store = store,
    peers = peers, mine = logs.new(store, rate:part(peers)), away = 0, is_away = false, back_at = 0,
  }, Shared)
end

--- Tells on_change. An error there must not cost a call, so it is lost.
function Shared:tell(is_shared, reason)
  if self.on_change then
    ask_user(self.on_change, { shared = is_shared, reason = reason })
  end
end

local function leave(self, reason)
  self.back_at = self.now() + self.far.pause
  if not self.is_away then
    self.is_away = true
    self:tell(false, reason)
  end
end

local function come_back(self)
  if self.is_away then
    self.is_away = false
    self:tell(true, "it can be reached again")
  end
end

--- What this process has sent, or will, that the far log does not know, times those who may have done the same.
local function own_of(self)
  if self.away == 0 then
    return { n = 0, age = 0 }
  end
  local mine, now = self.mine, self.now()
  local last, window = mine:last(), rates.longest_of(self.rate:windows(self.store:get "window"))
  local n = math.min(self.away, mine:count_since(last, now - window - mine:late()))
  return { n = n * self.peers, age = now - mine:time_of(last) }
end

--- Asks the log outside, unless it is out of reach.
local function ask(self, cost, most)
  if self.is_away and self.now() < self.back_at then
    return nil
  end
  local away = self.away
  local wait, why = self.far:reserve(cost, most, own_of(self), self.is_away)
  if wait then
    self.away = math.max(self.away - away, 0)
  end
  if why then
    leave(self, why)
  elseif wait then
    come_back(self)
  end
  return wait
end

--- Reserves in this process alone. (A part may be smaller than `cost`: so one after the other.)
local function reserve_alone(self, cost, most)
  local wait = 0
  for _ = 1, cost do
    wait = math.max(wait, self.mine:reserve(1, most))
    if wait > (most or math.huge) then
      return wait
    end
    self.away = self.away + 1
  end
  return wait
end

--- Reserves the sending of so many requests at once: limiter/log.lua.
function Shared:reserve(cost, most)
  rates.check_cost(self.rate:windows(self.store:get "window"), cost, 2)
  local wait = ask(self, cost, most)
  if not wait then
    return reserve_alone(self, cost, most)
  end
  if wait <= (most or math.huge) then
    self.mine:note(cost, self.now() + wait)
  end
  return wait
end

--- Learns from an answer: limiter/log.lua.
function Shared:observe(rate_limit)
  local lesson = self.rate:lesson(rate_limit, self.store:get "window")
  if not self.is_away then
    local _, why = self.far:learn(lesson)
    if why then
      leave(self, why)
    end
  end
  lesson.used = nil -- what others send is not this part's
  self.mine:learn(lesson)
end

return { new = new }
