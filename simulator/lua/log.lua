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

function M.new()
  return { count = 0, turns = 0, calls = {} }
end

--- A place in the order of what happens: one count of all arrivals and of all calls that are carried out.
function M.next_turn(log)
  log.turns = log.turns + 1
  return log.turns
end

--- Notes a call as it arrives; the caller adds `carried_out`, and `status` (or `closed`), once they are known.
function M.add(log, entry)
  entry.headers = without_secrets(entry.headers)
  if entry.body and #entry.body > MOST_BODY then
    entry.body, entry.cut = entry.body:sub(1, MOST_BODY), true
  end
  log.count = log.count + 1
  entry.number, entry.turn = log.count, M.next_turn(log)
  log.calls[log.count] = entry
  log.calls[log.count - MOST_CALLS] = nil
end

--- The calls kept whose numbers are above `after`, oldest first.
function M.kept(log, after)
  local kept = {}
  for number = math.max(after, log.count - MOST_CALLS, 0) + 1, log.count do kept[#kept + 1] = log.calls[number] end
  return kept
end

return M
