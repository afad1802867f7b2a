-- The calls on association limits ("definition configurations"): read all, read a pair, create, update, purge.
-- A handler takes a call { account, version, segments, query, body, arrived, now } and returns or raises an answer.
local batch = require "simulator.batch"
local errors = require "simulator.errors"
local input = require "simulator.input"
local json = require "simulator.json"
local rules = require "simulator.limit_rules"

local M = {}
local MOST_INPUTS = 2000

local function configuration(account, kind)
  return {
    category = kind.category, typeId = kind.type_id,
    label = kind.label or json.null,
    userEnforcedMaxToObjectIds = account.limits[kind] or json.null,
  }
end

--- Every type of the account that has a limit.
function M.read_all(call)
  local results = {}
  for _, kind in ipairs(call.account.types) do
    if call.account.limits[kind] then results[#results + 1] = configuration(call.account, kind) end
  end
  return { status = 200, body = { results = json.list(results) } }
end

--- Every type of the pair, with or without a limit.
function M.read_pair(call)
  local results = {}
  for i, kind in ipairs(call.account:types_of(input.pair(call))) do results[i] = configuration(call.account, kind) end
  return { status = 200, body = { results = json.list(results) } }
end

-- Makes the function that tries one input: it finds the association type and does `act(kind, input)`, which returns a
-- result, or nil, category and message of an error. The error's context says which input it is about.
local function each_type(call, act)
  local from, to = input.pair(call)
  return function(wanted)
    local result, category, message
    local kind = call.account:type_of(from, to, wanted.category, wanted.typeId)
    if kind then
      result, category, message = act(kind, wanted)
    else
      category = "OBJECT_NOT_FOUND"
      message = ("No association type %s %d from %s to %s"):format(wanted.category, wanted.typeId, from, to)
    end
    if not category then return result end
    return nil, errors.of_input(category, message, {
      category = wanted.category, typeId = wanted.typeId, maxToObjectIds = wanted.maxToObjectIds,
      fromObjectTypeId = from, toObjectTypeId = to,
    })
  end
end

-- Sets a limit unless a rule forbids it. `rule`: what this call asks of the limit there is.
local function set(call, rule, kind, limit)
  local category, message = rule(call.account, kind)
  if not category then category, message = rules.allowed(call.account, kind, limit) end
  if category then return nil, category, message end
  call.account.limits[kind] = limit
  return configuration(call.account, kind)
end

local LIMIT_FIELDS = { category = "category", typeId = "int32", maxToObjectIds = "int32" }
local TYPE_FIELDS = { category = "category", typeId = "int32" }

function M.create(call)
  local try = each_type(call, function(kind, wanted)
    return set(call, rules.creatable, kind, wanted.maxToObjectIds)
  end)
  local created = (call.version == "v4" or call.version == "2026-03") and 201 or 200
  return batch.run(call, input.inputs(call.body, LIMIT_FIELDS, MOST_INPUTS), try, created)
end

function M.update(call)
  local try = each_type(call, function(kind, wanted)
    local result, category, message = set(call, rules.updatable, kind, wanted.maxToObjectIds)
    if result then result.label = nil end -- the one difference from what a creation returns
    return result, category, message
  end)
  return batch.run(call, input.inputs(call.body, LIMIT_FIELDS, MOST_INPUTS), try, 200)
end

--- Purging gives no results. A limit that is not set is no error.
function M.purge(call)
  local try = each_type(call, function(kind) call.account.limits[kind] = nil end)
  local v4 = call.version == "v4"
  return batch.run(call, input.inputs(call.body, TYPE_FIELDS, MOST_INPUTS), try, v4 and 204 or 200, v4)
end

return M
