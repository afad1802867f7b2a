--- The names that a table has for its fields, in order. Pure.

local pairs, sort = pairs, table.sort

--- @param fields table whose keys are strings
-- @return sorted list of them
return function(fields)
  local names = {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  sort(names)
  return names
end
