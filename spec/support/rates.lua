-- What specs of limiters share: random numbers that can come again, and windows.
local rates = {}

-- The same in every Lua: random(n) is one of 1 to n, random() from 0 to 1.
function rates.generator(seed)
  local state = seed % 2147483647
  if state == 0 then state = 1 end
  local function random(n)
    state = (state * 16807) % 2147483647
    local share = (state - 1) / 2147483646
    return n and math.min(n, math.floor(share * n) + 1) or share
  end
  for _ = 1, 5 do random() end
  return random
end

function rates.new_seed()
  return tonumber(os.getenv "SEED") or os.time()
end

-- No window of so many seconds, wherever it begins, holds more than n. what: an error's beginning.
function rates.check_windows(times, n, interval, what)
  table.sort(times)
  for i = n + 1, #times do
    if times[i] - times[i - n] < interval then
      error(("%s: %d sends within %.4f s, at %.4f"):format(what or "", n + 1, times[i] - times[i - n], times[i]), 2)
    end
  end
end

function rates.within(low, high, value)
  if not (value >= low - 1e-6 and value <= high + 1e-6) then
    error(("%s is not within %s and %s"):format(value, low, high), 2)
  end
end

-- Reserves n times at once: the waits, shortest first.
function rates.waits_of(limiter, n, most)
  local waits = {}
  for i = 1, n do waits[i] = limiter:reserve(1, most) end
  table.sort(waits)
  return waits
end

return rates
