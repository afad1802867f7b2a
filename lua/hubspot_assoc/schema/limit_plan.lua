--- The part of a plan that is about the limits of a pair. Pure. In which order limits go is limit_steps.lua's to say.

local limit_steps = require "hubspot_assoc.limit_steps"
local links = require "hubspot_assoc.schema.links"

local ipairs, setmetatable, type = ipairs, setmetatable, type

local FIRST_NEW_ID = 2 ^ 40 -- labels that are not made yet stand behind all others

-- One direction: its rows, the limits that they have, those that they are to have, and the rows that the file names.
local Direction = {}
Direction.__index = Direction

local function new_direction(task, from, to, rows)
  local direction = setmetatable({ task = task, from = from, to = to, rows = rows, current = {}, wanted = {},
    named = {}, unlabelled = links.unlabelled(rows), new_id = FIRST_NEW_ID }, Direction)
  for _, row in ipairs(rows) do
    if not task.gone[row] and (row.label or row == direction.unlabelled) then
      direction.current[#direction.current + 1] = { category = row.category, typeId = row.typeId, label = row.label,
        userEnforcedMaxToObjectIds = row.limit }
    end
  end
  return direction
end

-- Notes what the file says of a type's limit.
-- @param row nil: of a label that is still to be made
-- @param limit a number, "none", or nil: nothing
function Direction:want(row, label, limit, place)
  local type_id = row and row.typeId or self.new_id
  if row then
    self.named[row] = true
  else
    self.new_id = self.new_id + 1
  end
  if limit or self.task.unmanaged == "remove" then
    self.wanted[#self.wanted + 1] = { category = row and row.category or "USER_DEFINED", typeId = type_id,
      label = label, place = place, is_named = limit ~= nil, limit = type(limit) == "number" and limit }
  end
end

-- The pair's own limit, which is that of the unlabelled type.
function Direction:want_unlabelled(field)
  local task = self.task
  local limit, place = task.wanted[field], task.place_of(task.wanted, field)
  self.place = place
  if self.unlabelled then
    self:want(self.unlabelled, nil, limit, place)
  elseif type(limit) == "number" then
    task:problem(place, "HubSpot tells of no unlabelled type from %s to %s whose limit could be set", self.from,
      self.to)
  end
end

-- The limits of one side of the file's labels. `row_field`: where the side's row is, `field`: its limit.
function Direction:want_labels(field, row_field, text_of)
  for _, one in ipairs(self.task.found) do
    local row, label = one[row_field], text_of(one.entry)
    if row or label then
      self:want(row, label, one.entry[field], self.task.place_of(one.entry, field))
    end
  end
end

-- What the file does not name loses its limit, where that is told. A second type without a label, an app's, has nothing
-- that the file could name it by: it is left alone.
function Direction:remove_others()
  for _, row in ipairs(self.task.unmanaged == "remove" and self.rows or {}) do
    if row.limit and row.label and not self.named[row] and not self.task.gone[row] then
      self:want(row, row.label, nil, self.task.wanted.at or {})
    end
  end
end

local function why(change, want)
  if change.after then
    return change.before and ("%d in the account, %d in the file"):format(change.before, change.after)
      or "none in the account"
  end
  return want.is_named and "the file says none" or "not in the file, and what it does not name is to be removed"
end

-- Labels whose limits would be above the pair's in the end.
function Direction:check_rules(by_key)
  for _, conflict in ipairs(limit_steps.conflicts(self.current, self.wanted)) do
    local want = by_key[limit_steps.key(conflict)]
    self.task:problem(want and want.place or self.place,
      "%s to %s: the limit %d of '%s'%s would be more than %d, the pair's: HubSpot refuses that", self.from, self.to,
      conflict.limit, conflict.label, want and "" or ", which is in the account,", conflict.most)
  end
end

-- Adds the direction's steps; those of one request have one number.
function Direction:add_steps(steps)
  local by_key = links.by_key(self.wanted)
  self:check_rules(by_key)
  for _, group in ipairs(limit_steps.steps(self.current, self.wanted)) do
    local request = self.task:next_request()
    for _, change in ipairs(group.changes) do
      local want = by_key[limit_steps.key(change)]
      steps[#steps + 1] = self.task:step(change.after and "set_limit" or "remove_limit", want.place, {
        from = self.from, to = self.to, label = want.label, category = change.category,
        type_id = change.typeId < FIRST_NEW_ID and change.typeId or nil, old = change.before or nil,
        new = change.after or nil, why = why(change, want), request = request, call = group.action })
    end
  end
end

local function label_of(entry)
  return entry.label
end

--- Plans the limits of a pair.
-- @param task of plan.lua
-- @return list of steps
return function(task)
  local steps, pair = {}, task.pair
  local function inverse_of(entry)
    return task.inverse_text(pair, entry)
  end
  local forward = new_direction(task, pair.from, pair.to, pair.forward)
  forward:want_unlabelled("limit")
  forward:want_labels("limit", "row", label_of)
  if pair.is_same then
    -- Both sides of a label are in the one direction that there is.
    forward:want_labels("inverse_limit", "inverse_row", inverse_of)
  end
  forward:remove_others()
  forward:add_steps(steps)
  if not pair.is_same then
    local inverse = new_direction(task, pair.to, pair.from, pair.inverse)
    inverse:want_unlabelled("inverse_limit")
    inverse:want_labels("inverse_limit", "inverse_row", inverse_of)
    inverse:remove_others()
    inverse:add_steps(steps)
  end
  return steps
end
