-- The calls that an account has seen, so that a test can count them. Never holds a token.
local M = {}

local MOST_CALLS = 2000 -- kept; all are counted
local MOST_BODY = 65536 -- bytes kept of a body
local SECRET = { authorization = true, ["proxy-authorization"] = true, cookie = true }

local function without_secrets(headers)
  local open = {}
  for name, value in pairs(headers) do
    if not SECRET[name] then open[name] = value end
  end
  return open
end

--- Notes a call as it arrives; the caller adds `status` (or `closed`) once it is known.
function M.add(log, entry)
  entry.headers = without_secrets(entry.headers)
  if entry.body and #entry.body > MOST_BODY then
    entry.body, entry.cut = entry.body:sub(1, MOST_BODY), true
  end
  log.count = log.count + 1
  entry.number = log.count
  log.calls[log.count] = entry
  log.calls[log.count - MOST_CALLS] = nil
end

--- The calls kept, oldest first.
function M.kept(log)
  local kept = {}
  for number = math.max(1, log.count - MOST_CALLS + 1), log.count do kept[#kept + 1] = log.calls[number] end
  return kept
end

return M
