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
--     are to hold still), late (how much later than reserved the request left) and age (how long ago it left); any of
--     them may be absent
--
-- What has been reserved is a log, in order: entry number k is the time of the k-th send. Where N requests are allowed,
-- the k-th may go when the (k - N)-th has left the window. Whoever adds the entry k, which is one atomic operation, has
-- reserved that send: what its time depends on was in the log before, and does not change. So no window ever holds more
-- than N, however many workers take part; nobody holds a lock, and a worker that dies leaves a whole log behind.

local core = require "hubspot_assoc.core"

local error, ipairs, math, pairs, setmetatable = error, ipairs, math, pairs, setmetatable
local table, tonumber, tostring, type = table, tonumber, tostring, type

local Limiter = {}
Limiter.__index = Limiter

local MARGIN, MIN_MARGIN = 0.005, 0.02 -- share of the interval; s: clocks and workers differ a little
local MAX_HOLD, NO_HOLD = 86400, 60 -- s: the longest that HubSpot means; what a longer one counts as
local MAX_INTERVAL = 60 -- s, that headers may tell: one senseless answer must not silence everybody
local MAX_ANSWER = 0.05 -- share of the interval: what slower answers may cost at most
local MAX_AHEAD = 100 -- that the count of entries can be ahead of them: so many workers at once
local MEMORY = 10 -- s that an entry stays when it holds up nobody any more: who is slow must not find its place free

-- ---- options ----

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

local function is_function(value)
  return type(value) == "function"
end

local OPTIONS = { requests = true, interval = true, prefix = true, now = true }

local function check_names(options)
  if type(options) ~= "table" then
    error(("bad argument #2 to 'new' (options: table expected, got %s)"):format(type(options)), 3)
  end
  for name in pairs(options) do
    if not OPTIONS[name] then
      error(("bad argument #2 to 'new' (options.%s: unknown option)"):format(tostring(name)), 3)
    end
  end
end

local function new_window(requests, interval)
  local margin = math.max(interval * MARGIN, MIN_MARGIN)
  return { requests = requests, margin = margin, wait = interval + margin }
end

--- Makes a limiter; all workers make theirs with the same dictionary, prefix and options.
-- @param dict of lua_shared_dict: ngx.shared.NAME, for nothing but limiters
-- @param options table or nil: requests (100) in any interval (10 s), which HubSpot's headers correct; if they are
--   given the headers can only lower them. prefix ("hubspot_assoc:") of the keys: one for each account. now: the clock,
--   a function that returns seconds
-- @return a limiter, for the option `limiter` of a client; raises if the options are wrong
-- @see https://developers.hubspot.com/docs/api/usage-details
local function new(dict, options)
  options = options or {}
  if type(dict) ~= "table" or type(dict.safe_add) ~= "function" then
    error("bad argument #1 to 'new' (a shared dictionary expected: ngx.shared.NAME, which nginx.conf declares by "
      .. "lua_shared_dict NAME 1m)", 2)
  end
  check_names(options)
  local requests = check(options.requests, "requests", is_count, "integer from 1 to 1000000")
  local interval = check(options.interval, "interval", is_interval, "seconds up to 86400")
  local prefix = check(options.prefix, "prefix", is_string, "string") or "hubspot_assoc:"
  local own = new_window(requests or 100, interval or 10)
  return setmetatable({
    dict = dict, now = check(options.now, "now", is_function, "function") or core.now,
    own = own, is_ceiling = (requests or interval) ~= nil, windows = { own },
    entry_key = prefix .. "sent:", last_key = prefix .. "last", window_key = prefix .. "window",
    hold_key = prefix .. "hold", late_key = prefix .. "late",
  }, Limiter)
end

-- ---- the dictionary ----

--- Nothing is written in a way that could push other entries out when the dictionary is full.
local function write(self, method, key, value, ttl)
  local ok, why = self.dict[method](self.dict, key, value, ttl)
  if why == "no memory" then
    self.dict:flush_expired()
    ok, why = self.dict[method](self.dict, key, value, ttl)
  end
  if not ok and why ~= "exists" then
    error(("the shared dictionary: %s (lua_shared_dict gives it its size)"):format(why), 0)
  end
  return ok
end

local function number_at(self, key, otherwise)
  return self.dict:get(key) or otherwise
end

--- Keeps the later, or the longer, of what is known and what is new.
local function raise(self, key, value, ttl)
  if value > number_at(self, key, -math.huge) then
    write(self, "safe_set", key, value, ttl)
  end
end

--- The windows that hold at present: HubSpot's, where its headers have told it; one's own until then, or as a ceiling.
local function windows_of(self)
  local text = self.dict:get(self.window_key)
  if text ~= self.text then
    local requests, interval = (text or ""):match "^(%d+) (%S+)$"
    self.text, self.windows = text, {}
    if not requests or self.is_ceiling then
      self.windows[1] = self.own
    end
    if requests then
      table.insert(self.windows, new_window(tonumber(requests), tonumber(interval)))
    end
  end
  return self.windows
end

-- ---- the log ----

local function key_of(self, number)
  return ("%s%d"):format(self.entry_key, number)
end

--- The time of an entry; of none, or one that is forgotten, long ago.
local function time_of(self, number)
  return number_at(self, key_of(self, number), -math.huge)
end

--- The number of the last entry that is remembered. The count is a little behind or ahead where workers add entries at
-- the same time, die, or are held up on their way to it.
local function last_of(self)
  local count = number_at(self, self.last_key, 0)
  local last, least = count, math.max(count - MAX_AHEAD, 0)
  while self.dict:get(key_of(self, last + 1)) do
    last = last + 1
  end
  while last > least and not self.dict:get(key_of(self, last)) do
    last = last - 1
  end
  return last > least and last or count
end

--- Counts an entry, and one more where the count is behind. (To add is harmless at any later time; to set is not.)
local function count_up(self, number)
  local behind = number - number_at(self, self.last_key, 0)
  if behind > 0 and not self.dict:incr(self.last_key, math.min(behind, 2)) then
    write(self, "safe_add", self.last_key, 1)
  end
end

--- Adds an entry; false if another worker has added it meanwhile.
local function add(self, number, at, ttl)
  if not write(self, "safe_add", key_of(self, number), at, ttl) then
    return false
  end
  count_up(self, number)
  return true
end

--- The earliest time for the entries behind the last one, so many as `cost`.
-- @return time, and s for which entries of that time are kept
local function earliest(self, windows, now, last, cost)
  local at = math.max(now, number_at(self, self.hold_key, now), time_of(self, last)) -- in order
  local longest, late = 0, number_at(self, self.late_key, 0)
  for _, window in ipairs(windows) do
    at = math.max(at, time_of(self, last + cost - window.requests) + window.wait + late)
    longest = math.max(longest, window.wait + late)
  end
  return at, at - now + longest + MEMORY
end

local function check_cost(windows, cost)
  for _, window in ipairs(windows) do
    if not is_count(cost) or cost > window.requests then
      error(("bad argument #1 to 'reserve' (integer from 1 to the rate's %d requests expected, got %s)"):format(
        window.requests, tostring(cost)), 3)
    end
  end
end

--- Adds entries of that time behind the last one; false if another worker comes in between. Those added before that
-- stay, as if they had been sent, which harms nobody.
local function add_all(self, last, cost, at, ttl)
  for number = last + 1, last + cost do
    if not add(self, number, at, ttl) then
      return false
    end
  end
  return true
end

--- Reserves the sending of so many requests at once.
-- @param cost how many
-- @param most s that they can wait; nil: any time
-- @return s until they may be sent; if that is more than `most`, nothing was reserved
function Limiter:reserve(cost, most)
  local started = self.now()
  while true do
    local now, windows, last = self.now(), windows_of(self), last_of(self)
    check_cost(windows, cost)
    local at, ttl = earliest(self, windows, now, last, cost)
    if at - started > (most or math.huge) then
      return at - started
    end
    local is_added = add_all(self, last, cost, at, ttl)
    local later = self.now() -- a worker may be held up on its way, and then too late to send at that time
    if is_added and later < at + MIN_MARGIN / 2 and later < now + MEMORY / 2 then
      return math.max(at - later, 0)
    end
  end
end

-- ---- learning ----

--- HubSpot counts a request at some moment between its leaving and its answer; and it may have left late. By the
-- longest such time the window is widened for a while.
-- @return s from the time reserved for a request until its answer
local function lateness(window, rate_limit)
  return math.min(rate_limit.late or 0, MAX_HOLD) + math.min(rate_limit.age or 0, window.wait * MAX_ANSWER)
end

--- What no answer has told again for a minute is forgotten.
-- @return does the answer tell of a window that makes sense?
local function learn_window(self, max, interval)
  if not is_count(max) or not is_interval(interval) then
    return false
  end
  interval = math.min(interval, MAX_INTERVAL)
  local text = ("%d %.17g"):format(max, interval)
  write(self, "safe_set", self.window_key, text, math.max(MAX_INTERVAL, new_window(max, interval).wait))
  return true
end

--- How many of the entries up to the last one are later than that.
local function count_since(self, last, since)
  local low, high = 0, 1 -- so many are; so many are not
  while time_of(self, last + 1 - high) > since do
    low, high = high, high * 2
  end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if time_of(self, last + 1 - middle) > since then
      low = middle
    else
      high = middle
    end
  end
  return low
end

--- What the server had counted when it received a request, and we have not, was sent by others: just now at the latest.
local function learn_others(self, window, used, age)
  local now, last, late = self.now(), last_of(self), number_at(self, self.late_key, 0)
  if age + late > MEMORY then
    return -- what is remembered does not reach back so far
  end
  local ours = count_since(self, last, now - age - window.wait - late) - count_since(self, last, now)
  local at, n = math.max(now, time_of(self, last)), math.min(used - ours, window.requests)
  while n > 0 do
    last = last + 1
    if add(self, last, at, at - now + window.wait + late + MEMORY) then
      n = n - 1
    else
      at = math.max(at, time_of(self, last)) -- in order
    end
  end
end

--- Learns from an answer.
-- @param rate_limit table as described above
function Limiter:observe(rate_limit)
  local max, remaining = rate_limit.max, rate_limit.remaining
  local interval = (rate_limit.interval_ms or 0) / 1000
  local is_told = learn_window(self, max, interval)
  local windows = windows_of(self)
  local window = windows[#windows]
  -- After a refusal nothing remains, of course: the time to hold still is for just that.
  if is_told and remaining and remaining >= 0 and remaining <= max and not rate_limit.retry_after then
    learn_others(self, window, max - remaining, rate_limit.age or 0)
  end
  local longest = math.max(window.wait, windows[1].wait)
  if rate_limit.retry_after then
    local hold = rate_limit.retry_after <= MAX_HOLD and rate_limit.retry_after or NO_HOLD
    raise(self, self.hold_key, self.now() + hold, hold + longest)
  end
  local late = lateness(window, rate_limit)
  if late > math.min(window.margin, windows[1].margin) / 2 then
    raise(self, self.late_key, late, 2 * longest)
  end
end

return { new = new }
