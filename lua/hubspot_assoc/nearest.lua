--- Which known names are most like one that is not known: "did you mean". Pure.

local ipairs, min, sort = ipairs, math.min, table.sort

local MOST = 3 -- names that are worth showing
local MAX_LENGTH = 64 -- bytes: a longer name is not compared

--- Edit distance (Levenshtein), in bytes.
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local differs = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = min(row[j] + 1, row[j - 1] + 1, diagonal + differs)
      diagonal = above
    end
  end
  return row[#b]
end

--- The names that are like this one, letter case (ASCII's) aside.
-- @param name string
-- @param names list of strings
-- @return list of up to three of them, the nearest first; empty if none is like it
return function(name, names)
  local found, lower = {}, name:lower()
  for place, known in ipairs(names) do
    if #name <= MAX_LENGTH and #known <= MAX_LENGTH then
      local far = distance(lower, known:lower())
      if far <= 1 + #known / 3 then
        found[#found + 1] = { name = known, far = far, place = place }
      end
    end
  end
  sort(found, function(a, b)
    if a.far ~= b.far then
      return a.far < b.far
    end
    return a.place < b.place
  end)
  local nearest = {}
  for i = 1, min(MOST, #found) do
    nearest[i] = found[i].name
  end
  return nearest
end
