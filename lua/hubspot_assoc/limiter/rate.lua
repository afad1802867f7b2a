--- What all limiters have in common, wherever they keep their log: options, windows, and what an answer tells. Pure.
--
-- A window is { requests =, interval =, margin =, wait = } (s): no more than so many sends in any interval. `wait` is
-- the interval with its margin.

local core = require "hubspot_assoc.core"
local nearest = require "hubspot_assoc.nearest"

local error, ipairs, math, pairs, setmetatable = error, ipairs, math, pairs, setmetatable
local tonumber, tostring, type = tonumber, tostring, type

local MARGIN, MIN_MARGIN = 0.005, 0.02 -- share of the interval; s: clocks and processes differ a little
local MAX_HOLD, NO_HOLD = 86400, 60 -- s: the longest that HubSpot means; what a longer one counts as
local MAX_INTERVAL = 60 -- s, that headers may tell: one senseless answer must not silence everybody
local MAX_ANSWER = 0.05 -- share of the interval: what slower answers may cost at most

local Rate = {}
Rate.__index = Rate

-- ---- options ----

local function is_count(value)
  return type(value) == "number" and value >= 1 and value <= 1e6 and value % 1 == 0
end

local function is_interval(value)
  return type(value) == "number" and value > 0 and value <= 86400
end

local function is_of(wanted)
  return function(value) return type(value) == wanted end
end

local SHAPES = {
  requests = { is_count, "integer from 1 to 1000000" },
  interval = { is_interval, "seconds up to 86400" },
  prefix = { is_of "string", "string" },
  now = { is_of "function", "function" },
  peers = { is_count, "integer from 1 to 1000000" },
  timeout = { is_interval, "seconds up to 86400" },
  on_change = { is_of "function", "function" },
  release = { is_of "function", "function" },
}

local function refuse(what)
  error("bad argument #2 to 'new' (options" .. what .. ")", 5) -- refuse, check, new, a limiter's new, its caller
end

local function shown(value)
  return type(value) .. (type(value) == "number" and (" %.14g"):format(value) or "")
end

--- @param known list of the names that options may have
local function check(options, known)
  if type(options) ~= "table" then
    refuse((": table expected, got %s"):format(type(options)))
  end
  local names = {}
  for _, name in ipairs(known) do
    names[name] = true
  end
  for name, value in pairs(options) do
    local shape = names[name] and SHAPES[name]
    if not shape then
      local near = nearest(tostring(name), known)[1]
      refuse((".%s: unknown option%s"):format(tostring(name), near and ("; did you mean '%s'?"):format(near) or ""))
    elseif not shape[1](value) then
      refuse((".%s: %s expected, got %s"):format(name, shape[2], shown(value)))
    end
  end
end

-- ---- windows ----

local function new_window(requests, interval)
  local margin = math.max(interval * MARGIN, MIN_MARGIN)
  return { requests = requests, interval = interval, margin = margin, wait = interval + margin }
end

--- A window's part where so many share it: less than one request counts as one, in an interval longer by as much.
local function share_of(window, peers)
  local requests = math.max(math.floor(window.requests / peers), 1)
  return new_window(requests, window.interval * math.max(peers / window.requests, 1))
end

--- The text of a window, as `lesson.window` has it: requests and interval (us; no decimal point of any locale's).
local function text_of(requests, interval)
  return ("%.0f:%.0f"):format(requests, math.max(interval * 1e6, 1))
end

local function parse(text)
  local requests, interval = (text or ""):match "^(%d+):(%d+)$"
  return requests and new_window(tonumber(requests), tonumber(interval) / 1e6)
end

--- The same text, with what has to be waited (us) in place of the interval.
local function with_wait(text)
  local window = parse(text)
  return text_of(window.requests, window.wait)
end

--- What the options say of a rate.
-- @param options table or nil, of a limiter's `new`: raises where they are wrong, for the caller of `new`
-- @param names list of the names that options may have
-- @param clock function, in place of core.now
-- @return rate: own, the window; is_ceiling: headers can only lower it; now, the clock
local function new(options, names, clock)
  options = options or {}
  check(options, names)
  return setmetatable({
    own = new_window(options.requests or 100, options.interval or 10),
    is_ceiling = (options.requests or options.interval) ~= nil,
    now = options.now or clock or core.now,
  }, Rate)
end

--- The same rate, of which this limiter has one of so many parts.
function Rate:part(peers)
  return setmetatable({ own = self.own, is_ceiling = self.is_ceiling, now = self.now, peers = peers }, Rate)
end

--- The windows that hold at present: HubSpot's, where its headers have told it; one's own until then, or as a ceiling.
-- @param text what was told, as `lesson.window` has it; nil if nothing
-- @return array of windows: the last one is HubSpot's, if it was told
function Rate:windows(text)
  if self.list and text == self.text then
    return self.list
  end
  local told, list = parse(text), {}
  if not told or self.is_ceiling then
    list[1] = self.own
  end
  list[#list + 1] = told
  for i, window in ipairs(list) do
    list[i] = self.peers and share_of(window, self.peers) or window
  end
  self.text, self.list = text, list
  return list
end

--- The longest of these windows, with its margin (s).
local function longest_of(windows)
  return math.max(windows[1].wait, windows[#windows].wait)
end

--- Raises for so many requests at once, of which the rate has no more than `most`.
-- @param level of the call stack that the error is for (1: who calls this)
local function refuse_cost(cost, most, level)
  error(("bad argument #1 to 'reserve' (integer from 1 to the rate's %d requests expected, got %s)"):format(most,
    tostring(cost)), level + 1)
end

--- Raises, for that level of the call stack, unless so many requests can be sent at once.
local function check_cost(windows, cost, level)
  for _, window in ipairs(windows) do
    if not is_count(cost) or cost > window.requests then
      refuse_cost(cost, window.requests, level + 1)
    end
  end
end

-- ---- what an answer tells ----

--- HubSpot counts a request at some moment between its leaving and its answer; and it may have left late. By the
-- longest such time the window is widened for a while.
-- @return s from the time reserved for a request until its answer
local function lateness(window, rate_limit)
  return math.min(rate_limit.late or 0, MAX_HOLD) + math.min(rate_limit.age or 0, window.wait * MAX_ANSWER)
end

--- What an answer tells that makes sense.
-- @param rate_limit what `observe` is given
-- @param text the window that was told before, or nil
-- @return lesson: window (text) for window_ttl (s), what no answer tells again is forgotten; hold (s) from now on; late
--   (s) for late_ttl; used, what the server had counted `age` seconds ago; longest (s). What was not told is absent.
function Rate:lesson(rate_limit, text)
  local max, interval = rate_limit.max, (rate_limit.interval_ms or 0) / 1000
  local lesson = { age = rate_limit.age or 0 }
  if is_count(max) and is_interval(interval) then
    interval = math.min(interval, MAX_INTERVAL)
    lesson.window = text_of(max, interval)
    lesson.window_ttl = math.max(MAX_INTERVAL, new_window(max, interval).wait)
  end
  local windows, remaining = self:windows(lesson.window or text), rate_limit.remaining
  local window = windows[#windows]
  lesson.longest = longest_of(windows)
  -- After a refusal nothing remains, of course: the time to hold still is for just that.
  if lesson.window and remaining and remaining >= 0 and remaining <= max and not rate_limit.retry_after then
    lesson.used = max - remaining
  end
  if rate_limit.retry_after then
    lesson.hold = rate_limit.retry_after <= MAX_HOLD and rate_limit.retry_after or NO_HOLD
  end
  local late = lateness(window, rate_limit)
  if late > math.min(window.margin, windows[1].margin) / 2 then
    lesson.late, lesson.late_ttl = late, 2 * lesson.longest
  end
  return lesson
end

return { new = new, check_cost = check_cost, refuse_cost = refuse_cost, longest_of = longest_of, with_wait = with_wait }
