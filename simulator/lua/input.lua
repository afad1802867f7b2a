-- Reads a request's body the way HubSpot does: what is wrong with its form fails the request as a whole (400).
local errors = require "simulator.errors"
local json = require "simulator.json"

local M = {}
local INT32 = 2 ^ 31

local function is_int32(value)
  return type(value) == "number" and value % 1 == 0 and value >= -INT32 and value < INT32
end

local CATEGORIES = { HUBSPOT_DEFINED = true, USER_DEFINED = true, INTEGRATOR_DEFINED = true, WORK = true }

local CHECKS = {
  int32 = { test = is_int32, wanted = "an int32" },
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

local function check_field(value, check, place)
  if value == nil or value == json.null then
    error(errors.validation(("Some required fields were not set: [%s]"):format(place),
      { { message = "must not be null", ["in"] = place } }))
  elseif not check.test(value) then
    error(errors.validation(("Invalid input JSON: %s must be %s"):format(place, check.wanted),
      { { message = "must be " .. check.wanted, ["in"] = place } }))
  end
end

--- The object in a body, or raises a 400.
function M.object(body)
  local value, problem = json.decode(body or "")
  if value == nil then error(errors.validation("Invalid input JSON: " .. problem)) end
  if type(value) ~= "table" then error(errors.validation "Invalid input JSON: an object is expected") end
  return value
end

--- The list under "inputs", or raises a 400. `fields`: name → kind of value, a key of CHECKS; others are ignored.
function M.inputs(body, fields, most)
  local inputs = M.object(body).inputs
  if inputs == nil or inputs == json.null then
    error(errors.validation("Some required fields were not set: [inputs]"))
  end
  if not is_list(inputs) then error(errors.validation "Invalid input JSON: inputs must be a list") end
  if #inputs == 0 then error(errors.validation "inputs must not be empty") end
  if #inputs > most then
    error(errors.validation(("The maximum number of inputs supported in a batch request is %d, %d were given")
      :format(most, #inputs)))
  end
  for i, input in ipairs(inputs) do
    local place = ("inputs[%d]"):format(i - 1)
    if type(input) ~= "table" then
      error(errors.validation(("Invalid input JSON: %s must be an object"):format(place)))
    end
    for name, kind in pairs(fields) do check_field(input[name], CHECKS[kind], place .. "." .. name) end
  end
  return inputs
end

return M
