--- What HubSpot's log says of a round: which requests arrived about each pair and each limit, for which call, and when
-- each was carried out. A client's word is held against that.
--
-- No client can prevent that a request which it gave up, and sent again, is carried out late, behind what its program
-- did next. The log tells this from an untruth: the next call about the same thing begins once the outcome of the one
-- before has been told, so what is carried out behind the next one's arrival cannot be what that outcome told of.

local simulator = require "spec.support.simulator"

local history = {}

-- What requests make, the first that fits. A pair has its contact's number, which is no company's.
local CHANGES = {
  { path = "definitions.*/batch/create$", makes = "limit", id = '"typeId":(%d+)' },
  { path = "/batch/create$", makes = "in" }, { path = "/associate/default$", makes = "in" },
  { path = "/associations/default/", makes = "in" }, { path = "/batch/archive$", makes = "out" },
}

local function change_of(entry)
  for _, change in ipairs(CHANGES) do
    if entry.path:find(change.path) then return change end
  end
end

local function add_request(all, entry)
  local change = change_of(entry)
  if not change then return end
  local out = entry.carried_out or {}
  local request = { makes = change.makes, call = tonumber(entry.headers["x-soak-call"] or 0), arrived = entry.turn,
    turn = out.turn, is_good = out.status ~= nil and out.status < 207 }
  local lists = change.makes == "limit" and all.limits or all.pairs
  for id in (entry.body or entry.path):gmatch(change.id or "%f[%d](%d+)") do
    local list = lists[tonumber(id)]
    if list then
      list[#list + 1] = request
      all.changes = all.changes + (out.turn and 1 or 0)
    end
  end
end

local function by_turn(a, b)
  return (a.turn or math.huge) < (b.turn or math.huge)
end

--- @param after how many calls the log had when the round began
-- @param pair_numbers, limit_ids tables whose keys the history is about: two workers may share an account
-- @return { pairs =, limits = number -> the requests about it, as carried out; changes = how many were }
function history.read(token, after, pair_numbers, limit_ids)
  local all = { pairs = {}, limits = {}, changes = 0 }
  for n in pairs(pair_numbers) do all.pairs[n] = {} end
  for id in pairs(limit_ids) do all.limits[id] = {} end
  local log = simulator.log(token, after)
  assert(#log == log.count - after, "HubSpot's log is too short for a round")
  for _, entry in ipairs(log) do add_request(all, entry) end
  for _, lists in ipairs { all.pairs, all.limits } do
    for _, list in pairs(lists) do table.sort(list, by_turn) end
  end
  return all
end

--- The last good change.
function history.last(requests)
  for i = #requests, 1, -1 do
    if requests[i].is_good then return requests[i] end
  end
end

-- When the first request of a call arrived; never, if none did.
local function arrival(requests, call)
  local first = math.huge
  for _, request in ipairs(requests) do
    if request.call == call then first = math.min(first, request.arrived) end
  end
  return first
end

--- Was a call carried out well, and was that before this turn?
local function was_done(requests, call, turn)
  local was_good, was_in_time = false, false
  for _, request in ipairs(requests) do
    if request.call == call and request.is_good then
      was_good, was_in_time = true, was_in_time or request.turn < turn
    end
  end
  return was_good, was_in_time
end

--- What is untrue of what was told, or nil.
-- @param told of one thing, in order: list of { call =, outcome = "done", "failed" or "unknown" }
function history.untruth(requests, told)
  for i, word in ipairs(told) do
    local next_one = told[i + 1]
    local turn = next_one and arrival(requests, next_one.call) or math.huge
    local was_good, was_in_time = was_done(requests, word.call, turn)
    if word.outcome == "done" and not was_in_time then return "told done, and HubSpot had not done it" end
    if word.outcome == "failed" and was_good then return "told failed, and HubSpot did it" end
  end
end

--- How often something was carried out, well or not.
function history.times(requests)
  local n = 0
  for _, request in ipairs(requests) do n = n + (request.turn and 1 or 0) end
  return n
end

--- For whoever looks into a problem.
function history.text(requests, told)
  local words = {}
  for _, word in ipairs(told) do words[#words + 1] = ("call %d: %s"):format(word.call, word.outcome or "?") end
  for _, request in ipairs(requests) do
    words[#words + 1] = ("call %d's arrived at %d, %s"):format(request.call, request.arrived, request.turn and
      ("%s at %d"):format(request.is_good and request.makes or "refused", request.turn) or "not carried out")
  end
  return "(" .. table.concat(words, "; ") .. ")"
end

return history
