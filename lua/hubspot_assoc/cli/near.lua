--- Which pairs have records at their limit, or near it, as HubSpot tracks them.

local problem = require "hubspot_assoc.cli.problem"

local near = {}

-- Object types that records of `from` come near a limit with; of all types if it is nil: list of { from, to }.
local function find_pairs(client, from)
  local from_types = {}
  if from then
    from_types[1] = { objectTypeId = from, pluralLabel = from }
  else
    from_types = problem.check(client:get_types_at_limit())
  end
  local futures, found = {}, {}
  for i, kind in ipairs(from_types) do futures[i] = client.async:get_types_at_limit(kind.objectTypeId) end
  for i, kind in ipairs(from_types) do
    for _, to in ipairs((problem.check(futures[i]:wait()))) do found[#found + 1] = { from = kind, to = to } end
  end
  return found
end

local function read_records(client, found)
  local rows, futures = {}, {}
  for i, pair in ipairs(found) do
    futures[i] = client.async:get_records_at_limit(pair.from.objectTypeId, pair.to.objectTypeId)
  end
  for i, pair in ipairs(found) do
    local records = problem.check(futures[i]:wait())
    rows[i] = {
      from = pair.from.pluralLabel or pair.from.objectTypeId, to = pair.to.pluralLabel or pair.to.objectTypeId,
      fromObjectTypeId = pair.from.objectTypeId, toObjectTypeId = pair.to.objectTypeId,
      limit = records.limit, totalRecordsAtLimit = records.totalRecordsAtLimit,
      totalRecordsNearLimit = records.totalRecordsNearLimit,
      atLimitFromRecordSamples = records.atLimitFromRecordSamples or {},
      nearLimitFromRecordSamples = records.nearLimitFromRecordSamples or {},
    }
  end
  return rows
end

--- Reads them, with requests in flight together.
-- @param client
-- @param from, to object types or nil: of all, or of one, or this pair
-- @return list of { from =, to = (names), fromObjectTypeId =, toObjectTypeId =, limit =, totalRecordsAtLimit =,
--   totalRecordsNearLimit =, atLimitFromRecordSamples =, nearLimitFromRecordSamples = }; raises a problem
function near.read(client, from, to)
  if to then return read_records(client, { { from = { objectTypeId = from }, to = { objectTypeId = to } } }) end
  return read_records(client, find_pairs(client, from))
end

return near
