-- HubSpot's rate limits: so many calls in any interval (a true rolling window), and so many a day.
-- Pure: the time comes in as a parameter, in seconds. Calls that are refused do not count.
local M = {}

function M.new()
  return {
    max = 100, interval_ms = 10000, daily = 250000, latency_ms = 0, -- latency_ms: server.lua
    sent = {}, first = 1, last = 0, day = nil, used = 0,
  }
end

-- Forgets the calls that have left the window.
local function roll(rate, now)
  while rate.first <= rate.last and rate.sent[rate.first] <= now - rate.interval_ms / 1000 do
    rate.sent[rate.first] = nil
    rate.first = rate.first + 1
  end
  local today = math.floor(now / 86400)
  if rate.day ~= today then rate.day, rate.used = today, 0 end
end

local function used_in_window(rate)
  return rate.last - rate.first + 1
end

--- Counts a call at `now`, or returns the name of the policy that refuses it.
function M.take(rate, now)
  roll(rate, now)
  if rate.used >= rate.daily then return "DAILY" end
  if used_in_window(rate) >= rate.max then return "TEN_SECONDLY_ROLLING" end
  rate.last = rate.last + 1
  rate.sent[rate.last] = now
  rate.used = rate.used + 1
end

--- The response headers that tell how things stand.
function M.headers(rate)
  return {
    ["X-HubSpot-RateLimit-Max"] = rate.max,
    ["X-HubSpot-RateLimit-Remaining"] = math.max(0, rate.max - used_in_window(rate)),
    ["X-HubSpot-RateLimit-Interval-Milliseconds"] = rate.interval_ms,
    ["X-HubSpot-RateLimit-Daily"] = rate.daily,
    ["X-HubSpot-RateLimit-Daily-Remaining"] = math.max(0, rate.daily - rate.used),
  }
end

return M
