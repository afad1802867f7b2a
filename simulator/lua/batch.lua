-- A batch: every input is tried in turn, and what fails leaves the others alone.
local json = require "simulator.json"

local M = {}

-- ISO 8601 with milliseconds, UTC. `time`: s since 1970.
function M.timestamp(time)
  local seconds = math.floor(time)
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%03dZ"):format((time - seconds) * 1000)
end

local function by_type(a, b)
  return a.typeId < b.typeId
end

-- HubSpot promises no order of the results: ours is one of their own, so that nobody comes to rely on the inputs'.
local function sort_results(results, less)
  local place = {}
  for i, result in ipairs(results) do place[result] = i end
  table.sort(results, function(a, b)
    if less(a, b) then return true end
    return not less(b, a) and place[a] < place[b]
  end)
end

--- Calls try(input) → result (or nil if there is none to give), or nil and the error for a 207, for each input.
-- `status`: that of the answer if all went well; `no_body`: then there is only the status. `less(a, b)`: the order of
-- the results, by type id unless told.
function M.run(call, inputs, try, status, no_body, less)
  local results, failures = {}, {}
  local started = call.now()
  for _, input in ipairs(inputs) do
    local result, failure = try(input)
    if failure then failures[#failures + 1] = failure else results[#results + 1] = result end
  end
  if #failures == 0 and no_body then return { status = status } end

  sort_results(results, less or by_type)
  local body = {
    status = "COMPLETE", results = json.list(results),
    requestedAt = M.timestamp(call.arrived), startedAt = M.timestamp(started), completedAt = M.timestamp(call.now()),
  }
  if #failures > 0 then
    body.numErrors, body.errors = #failures, failures
    status = 207
  end
  return { status = status, body = body }
end

return M
