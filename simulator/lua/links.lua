-- Which records are associated with which, and by which association types. Pure. An association is kept in both
-- directions, each with its own types. Any record id exists; ids are strings of digits.
local M = {}

local Links = {}
Links.__index = Links

function M.new()
  return setmetatable({ sides = {} }, Links) -- "0-1/17/0-2" → id → association type → true
end

local function key(from, id, to)
  return from .. "/" .. id .. "/" .. to
end

--- Ids are compared as the numbers that they are; a double could not hold them all.
function M.less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- One direction. `kind`: an association type, which names the object types.
local function add(links, kind, from_id, to_id)
  local place = key(kind.from, from_id, kind.to)
  local side = links.sides[place] or {}
  links.sides[place] = side
  side[to_id] = side[to_id] or {}
  side[to_id][kind] = true
end

local function remove(links, kind, from_id, to_id)
  local side = links.sides[key(kind.from, from_id, kind.to)]
  if not side or not side[to_id] then return end
  side[to_id][kind] = nil
  if not next(side[to_id]) then side[to_id] = nil end
end

--- Associates two records. `inverse`: what the type is in the other direction.
function Links:add(kind, inverse, from_id, to_id)
  add(self, kind, from_id, to_id)
  add(self, inverse, to_id, from_id)
end

function Links:remove(kind, inverse, from_id, to_id)
  remove(self, kind, from_id, to_id)
  remove(self, inverse, to_id, from_id)
end

--- Removes all that associates two records.
function Links:cut(from, from_id, to, to_id)
  local side, back = self.sides[key(from, from_id, to)], self.sides[key(to, to_id, from)]
  if side then side[to_id] = nil end
  if back then back[from_id] = nil end
end

--- Are two records associated by this type?
function Links:has(kind, from_id, to_id)
  local side = self.sides[key(kind.from, from_id, kind.to)]
  return side and side[to_id] and side[to_id][kind] or false
end

--- How many records this one is associated with by this type.
function Links:count(kind, from_id)
  local count = 0
  for _, kinds in pairs(self.sides[key(kind.from, from_id, kind.to)] or {}) do
    if kinds[kind] then count = count + 1 end
  end
  return count
end

--- How many records each record has by this type: a list of { id, count }, in the order of the ids.
function Links:counts(kind)
  local found = {}
  for place in pairs(self.sides) do
    local from, id, to = place:match "^([^/]+)/(%d+)/(.+)$"
    local count = from == kind.from and to == kind.to and self:count(kind, id) or 0
    if count > 0 then found[#found + 1] = { id = id, count = count } end
  end
  table.sort(found, function(a, b) return M.less(a.id, b.id) end)
  return found
end

--- The records of a type that a record is associated with: a list of { id, kinds }, in the order of their ids; the
-- association types in that of their type ids.
function Links:of(from, from_id, to)
  local found = {}
  for id, kinds in pairs(self.sides[key(from, from_id, to)] or {}) do
    local list = {}
    for kind in pairs(kinds) do list[#list + 1] = kind end
    table.sort(list, function(a, b) return a.type_id < b.type_id end)
    found[#found + 1] = { id = id, kinds = list }
  end
  table.sort(found, function(a, b) return M.less(a.id, b.id) end)
  return found
end

--- Removes an association type wherever it is used.
function Links:forget(kind)
  for _, side in pairs(self.sides) do
    for id, kinds in pairs(side) do
      kinds[kind] = nil
      if not next(kinds) then side[id] = nil end
    end
  end
end

return M
