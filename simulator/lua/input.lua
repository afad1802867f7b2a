-- Reads a request the way HubSpot does: what is wrong with its form fails the request as a whole (400).
local errors = require "simulator.errors"
local json = require "simulator.json"

local M = {}
local INT32 = 2 ^ 31
local INT64_MAX = "9223372036854775807"

local function is_int32(value)
  return type(value) == "number" and value % 1 == 0 and value >= -INT32 and value < INT32
end

-- Strings, of which a double could not hold all.
local function is_id(value)
  return type(value) == "string" and value:find "^[1-9]%d*$"
    and (#value < #INT64_MAX or #value == #INT64_MAX and value <= INT64_MAX)
end

local CATEGORIES = { HUBSPOT_DEFINED = true, USER_DEFINED = true, INTEGRATOR_DEFINED = true, WORK = true }

local CHECKS = {
  int32 = { test = is_int32, wanted = "an int32" },
  id = { test = is_id, wanted = "a record id, as a string" },
  text = { test = function(value) return type(value) == "string" and value ~= "" end, wanted = "a string, not empty" },
  category = {
    test = function(value) return CATEGORIES[value] end,
    wanted = "one of [HUBSPOT_DEFINED, INTEGRATOR_DEFINED, USER_DEFINED, WORK]",
  },
}

-- A list as JSON has it: a table with the keys 1 to n and no others.
local function is_list(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count == #value
end

local check

local function check_fields(value, fields, place)
  if type(value) ~= "table" then
    error(errors.validation(("Invalid input JSON: %s must be an object"):format(place)))
  end
  for name, kind in pairs(fields) do check(value[name], kind, place == "" and name or place .. "." .. name) end
end

local function check_list(value, fields, place)
  if not is_list(value) then error(errors.validation(("Invalid input JSON: %s must be a list"):format(place))) end
  if #value == 0 then error(errors.validation(place .. " must not be empty")) end
  for i, element in ipairs(value) do check_fields(element, fields, ("%s[%d]"):format(place, i - 1)) end
end

-- `kind`: a key of CHECKS, with ? behind it if the value may be missing; a table of fields; { list = fields }.
function check(value, kind, place)
  local name, optional
  if type(kind) == "string" then name, optional = kind:match "^(%w+)(%??)$" end
  if value == nil or value == json.null then
    if optional == "?" then return end
    error(errors.validation(("Some required fields were not set: [%s]"):format(place),
      { { message = "must not be null", ["in"] = place } }))
  elseif not name then
    return kind.list and check_list(value, kind.list, place) or not kind.list and check_fields(value, kind, place)
  elseif not CHECKS[name].test(value) then
    error(errors.validation(("Invalid input JSON: %s must be %s"):format(place, CHECKS[name].wanted),
      { { message = "must be " .. CHECKS[name].wanted, ["in"] = place } }))
  end
end

local function decode(body)
  local value, problem = json.decode(body or "")
  if value == nil then error(errors.validation("Invalid input JSON: " .. problem)) end
  return value
end

--- The object in a body, or raises a 400. `fields`: name → kind of value, see above; others are ignored.
function M.object(body, fields)
  local value = decode(body)
  if type(value) ~= "table" then error(errors.validation "Invalid input JSON: an object is expected") end
  check_fields(value, fields or {}, "")
  return value
end

--- The list in a body, or raises a 400. `fields`: of its elements.
function M.list(body, fields)
  local value = decode(body)
  check_list(value, fields, "body")
  return value
end

--- The list under "inputs", or raises a 400. `fields`: of its elements; `most`: how many there may be.
function M.inputs(body, fields, most)
  local inputs = M.object(body).inputs
  check(inputs, { list = {} }, "inputs")
  if #inputs > most then
    error(errors.validation(("The maximum number of inputs supported in a batch request is %d, %d were given")
      :format(most, #inputs)))
  end
  check_list(inputs, fields, "inputs")
  return inputs
end

--- The id of an object type, or raises a 400.
function M.object_type(call, name)
  return call.account:object_type(name) or error(errors.validation("Unable to infer object type from: " .. name))
end

--- The two object types of a call's path, as ids, or raises a 400.
function M.pair(call)
  return M.object_type(call, call.segments.from), M.object_type(call, call.segments.to)
end

--- A record or user id of a call's path, or raises a 400.
function M.id(call, name)
  check(call.segments[name], "id", name)
  return call.segments[name]
end

return M
