--- Limiter: nginx's workers share one rate, kept in a lua_shared_dict.
--
--     lua_shared_dict hubspot 1m;                                        -- in nginx.conf
--
--     local shdict = require "hubspot_assoc.limiter.shdict"
--     local client = assoc.new { limiter = shdict.new(ngx.shared.hubspot) }
--
-- A limiter is a table of two methods, neither of which may yield:
--   limiter:reserve(cost, most) -> seconds until so many requests may be sent; more than `most` if none were reserved
--   limiter:observe(rate_limit) learns from an answer: max, remaining, interval_ms, and in seconds retry_after (all
--     are to hold still) and late (how much later than reserved the request left); any of them may be absent
--
-- A sliding window of N requests in W seconds is N slots in a list, each the time of its last use: who takes one waits
-- until that is W old. However often and by however many workers they are taken, no W seconds ever hold more than N.
-- Taking from the list is atomic; so no lock is held.

local core = require "hubspot_assoc.core"

local Limiter = {}
Limiter.__index = Limiter

local MARGIN, MIN_MARGIN = 0.01, 0.02 -- share of the interval; s: requests differ in their travel times
local MAX_HOLD = 86400 -- s: one senseless answer must not silence everybody for ever
local BUCKETS = 10 -- of one interval, in which requests are counted
local TRIES = 1000 -- another worker has the last slot for a few microseconds

local function check(value, name, is_right, expected)
  if value ~= nil and not is_right(value) then
    error(("bad argument #2 to 'new' (options.%s: %s expected)"):format(name, expected), 3)
  end
  return value
end

local function is_count(value)
  return type(value) == "number" and value >= 1 and value <= 1e6 and value % 1 == 0
end

local function is_interval(value)
  return type(value) == "number" and value > 0 and value <= 86400
end

local function is_string(value)
  return type(value) == "string"
end

--- Makes a limiter; all workers make theirs with the same dictionary, prefix and options.
-- @param dict of lua_shared_dict: ngx.shared.NAME
-- @param options table or nil: requests (100) in any interval (10 s), which HubSpot's headers correct; if they are
--   given the headers can only lower them. prefix ("hubspot_assoc:") of the keys: one for each account
-- @return a limiter, for the option `limiter` of a client; raises if the options are wrong
-- @see https://developers.hubspot.com/docs/api/usage-details
local function new(dict, options)
  options = options or {}
  if type(dict) ~= "table" or type(dict.lpop) ~= "function" then
    error("bad argument #1 to 'new' (a shared dictionary expected: ngx.shared.NAME, which nginx.conf declares by "
      .. "lua_shared_dict NAME 1m)", 2)
  end
  for name in pairs(options) do
    if name ~= "requests" and name ~= "interval" and name ~= "prefix" and name ~= "now" then
      error(("bad argument #2 to 'new' (options.%s: unknown option)"):format(tostring(name)), 2)
    end
  end
  local requests = check(options.requests, "requests", is_count, "integer from 1 to 1000000")
  local interval = check(options.interval, "interval", is_interval, "seconds up to 86400")
  local prefix = check(options.prefix, "prefix", is_string, "string") or "hubspot_assoc:"
  return setmetatable({
    dict = dict, now = options.now or core.now,
    requests = requests or 100, interval = interval or 10, is_ceiling = (requests or interval) ~= nil,
    slots_key = prefix .. "slots", size_key = prefix .. "size", interval_key = prefix .. "interval",
    hold_key = prefix .. "hold", late_key = prefix .. "late", lock_key = prefix .. "lock",
    bucket_key = prefix .. "sent:",
  }, Limiter)
end

local function must(ok, why)
  if not ok then
    error("the shared dictionary: " .. tostring(why), 0)
  end
  return ok
end

-- ---- the window ----

local function window_of(self)
  return self.dict:get(self.interval_key) or self.interval
end

local function margin_of(interval)
  return math.max(interval * MARGIN, MIN_MARGIN)
end

--- The slots are made by whoever comes first.
local function make_slots(self)
  if self.dict:add(self.size_key, self.requests) then
    for _ = 1, self.requests do
      must(self.dict:rpush(self.slots_key, -math.huge))
    end
  end
end

--- Takes the slot that was used longest ago. If none comes back, then a worker has died with the last one, and there is
-- a new one, as if it had just been used.
local function take(self, now)
  for _ = 1, TRIES do
    local used = self.dict:lpop(self.slots_key)
    if used then
      return used
    end
    make_slots(self)
  end
  return now
end

local function count(self, at, interval, cost)
  local bucket = self.bucket_key .. math.floor(at / interval * BUCKETS)
  self.dict:incr(bucket, cost, 0, 2 * interval)
end

--- How many requests of ours the last interval holds, or a few more.
local function count_sent(self, now, interval)
  local bucket, n = math.floor(now / interval * BUCKETS), 0
  for i = bucket - BUCKETS - 1, bucket do
    n = n + (self.dict:get(self.bucket_key .. i) or 0)
  end
  return n
end

--- Reserves the sending of so many requests.
-- @param cost how many
-- @param most s that they can wait; nil: any time
-- @return s until they may be sent; if that is more than `most`, nothing was reserved
function Limiter:reserve(cost, most)
  local now, interval = self.now(), window_of(self)
  local wait = interval + margin_of(interval) + (self.dict:get(self.late_key) or 0)
  local at, slots = math.max(now, self.dict:get(self.hold_key) or now), {}
  for i = 1, cost do
    slots[i] = take(self, now)
    at = math.max(at, slots[i] + wait)
  end
  if at - now > (most or math.huge) then
    for i = cost, 1, -1 do
      must(self.dict:lpush(self.slots_key, slots[i]))
    end
    return at - now
  end
  for _ = 1, cost do
    must(self.dict:rpush(self.slots_key, at))
  end
  count(self, at, interval, cost)
  return at - now
end

-- ---- learning ----

--- Makes the slots as many as the server's limit says; whoever comes second leaves it to the first.
local function resize(self, wanted)
  local size = self.dict:get(self.size_key)
  if not size or size == wanted or not self.dict:add(self.lock_key, true, 1) then
    return
  end
  while size < wanted do
    must(self.dict:lpush(self.slots_key, -math.huge))
    size = size + 1
  end
  while size > wanted and self.dict:lpop(self.slots_key) do
    size = size - 1
  end
  self.dict:set(self.size_key, size)
  self.dict:delete(self.lock_key)
end

--- Both windows are kept where the headers may only lower the rate.
local function learn_window(self, max, interval)
  if not is_count(max) or not is_interval(interval) then
    return
  end
  if self.is_ceiling then
    max, interval = math.min(max, self.requests), math.max(interval, self.interval)
  end
  if interval ~= window_of(self) then
    self.dict:set(self.interval_key, interval)
  end
  resize(self, max)
end

--- What the server has counted and we have not was sent by others, just now at the latest.
local function learn_others(self, now, used, interval)
  local others = used - count_sent(self, now, interval)
  if others <= 0 then
    return
  end
  for _ = 1, math.min(others, self.dict:get(self.size_key) or 0) do
    must(self.dict:rpush(self.slots_key, math.max(take(self, now), now)))
  end
  count(self, now, interval, others)
end

--- Keeps the later, or the longer, of what is known and what is new.
local function raise(self, key, value, ttl)
  if value > (self.dict:get(key) or -math.huge) then
    self.dict:set(key, value, ttl)
  end
end

--- Learns from an answer.
-- @param rate_limit table as described above
function Limiter:observe(rate_limit)
  local now, max, remaining = self.now(), rate_limit.max, rate_limit.remaining
  learn_window(self, max, (rate_limit.interval_ms or 0) / 1000)
  local interval = window_of(self)
  if max and remaining and remaining >= 0 and remaining <= max then
    learn_others(self, now, max - remaining, interval)
  end
  if rate_limit.retry_after then
    local hold = math.min(rate_limit.retry_after, MAX_HOLD)
    raise(self, self.hold_key, now + hold, hold + interval)
  end
  if rate_limit.late and rate_limit.late > margin_of(interval) / 2 then
    raise(self, self.late_key, rate_limit.late, 2 * interval)
  end
end

return { new = new }
