-- JSON, with empty arrays and long integers: plain lua-cjson writes every empty table as {}, and 14 digits of a number.
local cjson = require("cjson").new()
cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(100)

local M = { null = cjson.null }
local EMPTY_LIST = "(simulator: an empty list)"

--- Marks a table as a list, so that it is written as [] when it is empty.
function M.list(values)
  return #values > 0 and values or EMPTY_LIST
end

--- A string of digits, to be written as a number.
function M.number(digits)
  return ("(simulator: number %s)"):format(digits)
end

function M.encode(value)
  return (cjson.encode(value):gsub('"%(simulator: an empty list%)"', "[]"):gsub('"%(simulator: number (%d+)%)"', "%1"))
end

--- The value, or nil and what is wrong.
function M.decode(text)
  local ok, value = pcall(cjson.decode, text)
  if ok then return value end
  return nil, value
end

return M
