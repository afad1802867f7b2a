--- A progress line. Pure: time is a parameter.

local progress = {}

local BAR = 24 -- columns
local SOONEST = 0.1 -- s between two lines
local LEAST_PART, LEAST_SECONDS = 0.01, 2 -- of the whole, and of time, before anything is foretold

--- 83 -> "1:23"; 3723 -> "1:02:03"
function progress.duration(seconds)
  seconds = math.floor(seconds + 0.5)
  local hours, minutes = math.floor(seconds / 3600), math.floor(seconds / 60) % 60
  if hours > 0 then return ("%d:%02d:%02d"):format(hours, minutes, seconds % 60) end
  return ("%d:%02d"):format(minutes, seconds % 60)
end

--- 1234567 -> "1,234,567"
function progress.number(n)
  local grouped = ("%d"):format(math.floor(n)):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (grouped:gsub("^,", ""))
end

local function bar(part)
  local full = math.floor(part * BAR)
  return "[" .. ("#"):rep(full) .. ("."):rep(BAR - full) .. "]"
end

--- Describes how far a job has come.
-- @param state { rows = done with, failed =, rate = rows a second, seconds = since it began, retry_in = s until it goes
--   on after trouble, or nil }
-- @param part how much of all that is, 0 to 1, or nil
-- @return string
function progress.line(state, part)
  local words = {}
  if part then words[1] = ("%s %3d %%"):format(bar(part), math.floor(part * 100)) end
  words[#words + 1] = progress.number(state.rows) .. " rows"
  if state.seconds >= 1 then words[#words + 1] = progress.number(state.rate) .. "/s" end
  if state.retry_in then
    words[#words + 1] = ("HubSpot is in trouble; again in %d s"):format(math.ceil(state.retry_in))
  elseif part and part >= LEAST_PART and state.seconds >= LEAST_SECONDS then
    words[#words + 1] = progress.duration(state.seconds * (1 - part) / part) .. " left"
  end
  if state.failed > 0 then words[#words + 1] = progress.number(state.failed) .. " failed" end
  return table.concat(words, "  ")
end

--- May another line be shown?
-- @param shown when the last one was, s
function progress.is_due(shown, now)
  return not shown or now - shown >= SOONEST
end

return progress
