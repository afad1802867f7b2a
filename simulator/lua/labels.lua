-- The calls on labels ("definitions"): read, create, update, delete. A label has an association type in each direction:
-- with the same text, or, where it is paired, each with its own.
local errors = require "simulator.errors"
local input = require "simulator.input"
local json = require "simulator.json"
local schema = require "simulator.schema"

local M = {}

local function definition(kind)
  return { category = kind.category, typeId = kind.type_id, label = kind.label or json.null }
end

--- Every association type of the pair.
function M.read(call)
  local results = {}
  for i, kind in ipairs(call.account:types_of(input.pair(call))) do results[i] = definition(kind) end
  return { status = 200, body = { results = json.list(results) } }
end

-- Refuses a label whose name the pair has, or that would be one too many.
local function check_new(account, from, to, name)
  local count = 0
  for _, kind in ipairs(account:types_of(from, to)) do
    if kind.category == "USER_DEFINED" and kind.label then
      if kind.name == name then
        error(errors.refusal(409, "CONFLICT", ("A label with the name '%s' exists already"):format(name)))
      end
      -- Both sides of a paired label of contacts to contacts, say, are here: they count as one.
      if account:inverse(kind).type_id >= kind.type_id or from ~= to then count = count + 1 end
    end
  end
  if count >= schema.MOST_LABELS then
    error(errors.validation(("An object pair may have no more than %d labels"):format(schema.MOST_LABELS)))
  end
end

--- Creates both directions. A paired label's are both in the answer.
function M.create(call)
  local from, to = input.pair(call)
  local wanted = input.object(call.body, { name = "text", label = "text", inverseLabel = "text?" })
  local account, inverse_label = call.account, wanted.inverseLabel ~= json.null and wanted.inverseLabel or nil
  local results = {}
  check_new(account, from, to, wanted.name)

  local function add(from_type, to_type, label)
    return account:add_type { from = from_type, to = to_type, category = "USER_DEFINED", name = wanted.name,
      type_id = account:new_type_id(), label = label }
  end
  results[1] = definition(add(from, to, wanted.label))
  if inverse_label or from ~= to then
    local inverse = add(to, from, inverse_label or wanted.label)
    if inverse_label then results[2] = definition(inverse) end
  end
  return { status = 200, body = { results = results } }
end

-- The label of one's own that has this type id, or raises the answer that there is none.
local function find(call, type_id)
  local from, to = input.pair(call)
  if call.account:type_of(from, to, "HUBSPOT_DEFINED", type_id) then
    error(errors.validation(("The association type %d is HubSpot's and cannot be changed"):format(type_id)))
  end
  return call.account:type_of(from, to, "USER_DEFINED", type_id)
    or error(errors.refusal(404, "OBJECT_NOT_FOUND", ("No label %d from %s to %s"):format(type_id, from, to)))
end

--- Changes the texts. One that both directions share stays the same in both, unless an inverse one is given.
function M.update(call)
  local wanted = input.object(call.body, { associationTypeId = "int32", label = "text", inverseLabel = "text?" })
  local kind = find(call, wanted.associationTypeId)
  local inverse = call.account:inverse(kind)
  local is_shared = inverse.label == kind.label
  kind.label = wanted.label
  if inverse ~= kind and wanted.inverseLabel and wanted.inverseLabel ~= json.null then
    inverse.label = wanted.inverseLabel
  elseif is_shared then
    inverse.label = wanted.label
  end
  return { status = 204 }
end

--- Deletes both directions, with their limits; records lose the label and stay associated.
function M.delete(call)
  local type_id = tonumber(call.segments.typeId:match "^%d+$")
  if not type_id then error(errors.validation("Not an association type id: " .. call.segments.typeId)) end
  local kind = find(call, type_id)
  local inverse = call.account:inverse(kind)
  call.account:remove_type(kind)
  if inverse ~= kind then call.account:remove_type(inverse) end
  return { status = 204 }
end

return M
