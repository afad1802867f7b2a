--- What gives one thing after another: a function, or a list. Pure.

local floor, getmetatable, pairs, tostring, type = math.floor, getmetatable, pairs, tostring, type

local function is_place(key)
  return type(key) == "number" and key >= 1 and key == floor(key)
end

--- What keeps a table from being a list that can be gone through without losing any of it, or nil.
local function find_problem(list)
  local n = 0
  for key in pairs(list) do
    if not is_place(key) then
      return ("list or function expected, got a table with the key '%s'; put a single one into a list: { ... }")
        :format(tostring(key))
    end
    n = n + 1
  end
  for place = 1, n do
    if list[place] == nil then
      return ("a list without holes expected, it has nil at %d"):format(place)
    end
  end
  return nil
end

--- The function that gives one after the other, and nil at the end.
-- @param value function, or table that can be called: given as it is; or list
-- @return function; or nil and what is wrong with the value
return function(value)
  local metatable = type(value) == "table" and getmetatable(value)
  if type(value) == "function" or type(metatable) == "table" and metatable.__call then
    return value
  elseif type(value) ~= "table" then
    return nil, "list or function expected, got " .. type(value)
  end
  local problem = not metatable and find_problem(value) -- what a metatable gives, nobody can count
  if problem then
    return nil, problem
  end
  local place = 0
  return function()
    place = place + 1
    return value[place]
  end
end
