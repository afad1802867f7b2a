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

-- No window of so many seconds, wherever it begins, holds more than n. what: an error's beginning. Where it is not
-- known exactly when each is sent, times tells the latest and times.earliest the earliest: then an error is certain.
function rates.check_windows(times, n, interval, what)
  local earliest = times.earliest or times
  table.sort(times)
  table.sort(earliest)
  for i = n + 1, #times do
    if times[i] - earliest[i - n] < interval then
      error(("%s: %d sends within %.4f s, at %.4f"):format(what or "", n + 1, times[i] - earliest[i - n], times[i]), 2)
    end
  end
end

-- None of a simulator's calls, the first of which was reserved then or later (s since 1970), had left before a rate of
-- n in so many seconds allowed it. (A limiter knows when they leave, not when they arrive: on a busy machine one may be
-- overtaken by those of the next window, and a few may be refused.)
function rates.check_log(log, since, n, interval)
  for i = n + 1, #log, n do
    if log[i].time - since < (i - 1) / n * interval then
      error(("%d sends within %.3f s"):format(i, log[i].time - since), 2)
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
