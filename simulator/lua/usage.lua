-- Limits tracking: which records, and which pairs of object types, are at or near a limit.
local input = require "simulator.input"
local json = require "simulator.json"
local schema = require "simulator.schema"

local M = {}
local NEAR = 0.8 -- of a limit, and more
local MOST_SAMPLES = 10

-- The records of a pair that are at its limit, and those near it: lists of { id, count }; and the limit, if it is set.
local function used(account, from, to)
  local kind = account:unlabelled(from, to)
  local limit = kind and account.limits[kind]
  local at, near = {}, {}
  for _, record in ipairs(limit and account.links:counts(kind) or {}) do
    if record.count >= limit then
      at[#at + 1] = record
    elseif record.count >= NEAR * limit then
      near[#near + 1] = record
    end
  end
  return at, near, limit
end

local function type_fields(account, object_type)
  return { objectTypeId = object_type, singularLabel = account:singular(object_type),
    pluralLabel = account:plural(object_type) }
end

-- A list of those object types for which find(type) → at, near has any record.
local function list_types(account, find)
  local results = {}
  for _, object_type in ipairs(account.object_types) do
    local at, near = find(object_type)
    if at > 0 or near > 0 then
      local row = type_fields(account, object_type)
      row.hasRecordsAtLimit, row.hasRecordsNearLimit = at > 0, near > 0
      results[#results + 1] = row
    end
  end
  return { status = 200, body = { results = json.list(results) } }
end

--- The object types that have records at or near a limit to any other.
function M.types_from(call)
  return list_types(call.account, function(from)
    local at_count, near_count = 0, 0
    for _, to in ipairs(call.account.object_types) do
      local at, near = used(call.account, from, to)
      at_count, near_count = at_count + #at, near_count + #near
    end
    return at_count, near_count
  end)
end

--- The object types to which records of this one are at or near a limit.
function M.types_to(call)
  local from = input.object_type(call, call.segments.from)
  return list_types(call.account, function(to)
    local at, near = used(call.account, from, to)
    return #at, #near
  end)
end

local function samples(account, records, from, limit)
  local list = {}
  for i = 1, math.min(#records, MOST_SAMPLES) do
    local id, count = records[i].id, records[i].count
    list[i] = { objectId = json.number(id), label = ("%s %s"):format(account:singular(from), id),
      usage = limit and count, percentage = limit and 100 * count / limit }
  end
  return json.list(list)
end

--- The records of a pair that are at or near its limit. The answer is the object itself.
function M.records(call)
  local from, to = input.pair(call)
  local at, near, limit = used(call.account, from, to)
  return { status = 200, body = {
    limit = limit or json.null, totalRecordsAtLimit = #at, totalRecordsNearLimit = #near,
    atLimitFromRecordSamples = samples(call.account, at, from),
    nearLimitFromRecordSamples = samples(call.account, near, from, limit),
  } }
end

-- The labels of one's own from one object type to another.
local function labels_of(account, from, to)
  local labels = {}
  for _, kind in ipairs(account:types_of(from, to)) do
    if kind.category == "USER_DEFINED" and kind.label then labels[#labels + 1] = kind.label end
  end
  return labels
end

--- How many labels of one's own the pairs have, of those that they may have.
function M.labels(call)
  local only_from = call.query.fromObjectTypeId and input.object_type(call, call.query.fromObjectTypeId)
  local only_to = call.query.toObjectTypeId and input.object_type(call, call.query.toObjectTypeId)
  local account, results = call.account, {}
  for _, from in ipairs(account.object_types) do
    for _, to in ipairs(account.object_types) do
      local labels = labels_of(account, from, to)
      if #labels > 0 and (not only_from or from == only_from) and (not only_to or to == only_to) then
        results[#results + 1] = {
          fromObjectType = type_fields(account, from), toObjectType = type_fields(account, to), allLabels = labels,
          limit = schema.MOST_LABELS, usage = #labels, percentage = 100 * #labels / schema.MOST_LABELS,
        }
      end
    end
  end
  return { status = 200, body = { results = json.list(results) } }
end

return M
