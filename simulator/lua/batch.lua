-- A batch: every input is tried in turn, and what fails leaves the others alone.
local json = require "simulator.json"

local M = {}

-- ISO 8601 with milliseconds, UTC. `time`: s since 1970.
local function timestamp(time)
  local seconds = math.floor(time)
  return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%03dZ"):format((time - seconds) * 1000)
end

-- HubSpot promises no order of the results: ours is by type id, so that nobody comes to rely on that of the inputs.
local function sort_results(results)
  local place = {}
  for i, result in ipairs(results) do place[result] = i end
  table.sort(results, function(a, b)
    if a.typeId ~= b.typeId then return a.typeId < b.typeId end
    return place[a] < place[b]
  end)
end

--- Calls try(input) → result (or nil if there is none to give), or nil and the error for a 207, for each input.
-- `status`: that of the answer if all went well; `no_body`: then there is only the status.
function M.run(call, inputs, try, status, no_body)
  local results, failures = {}, {}
  local started = call.now()
  for _, input in ipairs(inputs) do
    local result, failure = try(input)
    if failure then failures[#failures + 1] = failure else results[#results + 1] = result end
  end
  if #failures == 0 and no_body then return { status = status } end

  sort_results(results)
  local body = {
    status = "COMPLETE", results = json.list(results),
    requestedAt = timestamp(call.arrived), startedAt = timestamp(started), completedAt = timestamp(call.now()),
  }
  if #failures > 0 then
    body.numErrors, body.errors = #failures, failures
    status = 207
  end
  return { status = status, body = body }
end

return M
