--- Which association types of an account a file's labels mean, and what has to be done so that they are there. Pure.

local ipairs, setmetatable = ipairs, setmetatable

local OWN = "USER_DEFINED"
local CATEGORIES = { OWN, "HUBSPOT_DEFINED", "INTEGRATOR_DEFINED", "WORK" } -- whose label a text means, in this order

local Match = {}
Match.__index = Match

function Match:problem(entry, field, message, ...)
  self.task:problem(self.task.place_of(entry, field), message, ...)
end

-- The row with this text, of this category (nil: the first that has one), which nobody else has taken.
local function find(rows, taken, text, category)
  for _, wanted in ipairs(category and { category } or CATEGORIES) do
    for _, row in ipairs(rows) do
      if row.label == text and row.category == wanted and not taken[row] then
        return row
      end
    end
  end
  return nil
end

-- ---- the side that the file names ----

-- Labels that are there come first: none of them can be another's old name.
function Match:find_forward()
  for _, entry in ipairs(self.wanted.labels) do
    local found = { entry = entry, row = find(self.pair.forward, self.taken, entry.label, entry.category) }
    if found.row then
      self.taken[found.row] = found
    end
    self.found[#self.found + 1] = found
  end
  for _, found in ipairs(self.found) do
    local entry = found.entry
    if not found.row and entry.was then
      found.row = find(self.pair.forward, self.taken, entry.was, OWN)
      found.is_renamed = found.row ~= nil
    end
    if found.row then
      self.taken[found.row] = found
    end
  end
end

-- ---- the other side ----

-- A row that has the text of a label's other side may be another label's, as far as one can tell (links.lua): then it
-- goes when that one is deleted, or gets another text when that one does. If that guess is wrong no harm is done: it is
-- always by the side that the file names that a label is deleted or renamed. One object type with itself has no sides.
function Match:will_go(found, row)
  local side = self.linked[row]
  if self.pair.is_same or not side or side == found.row then
    return false
  end
  local other = self.taken[side]
  return other and other.is_pending or not other and self.unmanaged == "remove"
end

-- Labels of one's own that are there: is_pending where the other side is not called as the file says, or will not be
-- any more.
function Match:find_pending()
  for _, found in ipairs(self.found) do
    local is_own = found.row and found.row.category == OWN
    found.text = is_own and self.inverse_text(self.pair, found.entry) or nil
    found.candidate = found.text and find(self.pair.inverse, self.taken, found.text, OWN)
    found.is_pending = found.text ~= nil and not found.candidate
  end
  local is_settled
  repeat
    is_settled = true
    for _, found in ipairs(self.found) do
      if found.candidate and not found.is_pending and self:will_go(found, found.candidate) then
        found.is_pending, is_settled = true, false
      end
    end
  until is_settled
end

-- The other side gets the text that the file says, if it says it.
function Match:rename_inverse(found)
  local entry, other = found.entry, self.linked[found.row]
  other = other and not self.taken[other] and other or nil
  local old_text = other and other.label
  if not entry.inverse_label and (not old_text or old_text ~= entry.was) then
    self:problem(entry, "label", "'%s' is called otherwise in the other direction%s: say so with inverse_label",
      entry.label, old_text and (" (%s)"):format(old_text) or "")
    return
  end
  found.is_renamed, found.inverse_row, found.old_inverse = true, other, old_text
  if other then
    self.taken[other] = found
  end
end

function Match:find_own_inverses()
  self:find_pending()
  for _, found in ipairs(self.found) do
    if found.candidate and not found.is_pending then
      found.inverse_row = found.candidate
      self.taken[found.candidate] = found
    end
  end
  for _, found in ipairs(self.found) do
    if found.is_pending then
      self:rename_inverse(found)
    end
  end
end

-- HubSpot's own, or an app's: there is nothing that could be changed but its limits.
function Match:find_other_inverse(found)
  local entry, text = found.entry, self.inverse_text(self.pair, found.entry)
  found.inverse_row = text and find(self.pair.inverse, self.taken, text, found.row.category)
  if found.inverse_row then
    self.taken[found.inverse_row] = found
  elseif entry.inverse_label and text or entry.inverse_limit then
    self:problem(entry, entry.inverse_label and "inverse_label" or "inverse_limit",
      "'%s' (%s) has no other side that is called '%s'", entry.label, found.row.category, text or entry.label)
  end
end

-- A label that is not there is to be made, unless that cannot be meant.
function Match:check_new(found)
  local entry, text = found.entry, self.inverse_text(self.pair, found.entry)
  if entry.category and entry.category ~= OWN then
    return self:problem(entry, "label", "there is no label '%s' (%s), and only USER_DEFINED ones can be made",
      entry.label, entry.category)
  elseif entry.is_guess then
    return self:problem(entry, "label", "'%s' would have to be made, and HubSpot does not tell whether it has another "
      .. "side: export, say so with inverse_label, and apply that file", entry.label)
  end
  local other = text and find(self.pair.inverse, self.taken, text, OWN)
  if other and self.unmanaged ~= "remove" then
    return self:problem(entry, entry.inverse_label and "inverse_label" or "label",
      "the other direction has a label '%s' already, which is the other side of another label than '%s'; "
      .. "to rename that one, say what it was (was: …)", text, entry.label)
  end
  found.is_new = true
end

--- Finds what a file's pair means in an account's.
-- @param task of plan.lua, to which problems are told
-- @return list of { entry =, row = (nil: to be made), inverse_row = (nil where there is none, or it is not known),
--   is_new =, is_renamed =, old_inverse = the text that the other side had, if it is to be renamed };
--   and taken: row -> one of these, for the rows of both directions
return function(task)
  local self = setmetatable({ task = task, pair = task.pair, wanted = task.wanted, unmanaged = task.unmanaged,
    linked = task.linked, inverse_text = task.inverse_text, found = {}, taken = {} }, Match)
  self:find_forward()
  self:find_own_inverses()
  for _, found in ipairs(self.found) do
    if found.row and found.row.category ~= OWN then
      self:find_other_inverse(found)
    end
  end
  for _, found in ipairs(self.found) do
    if not found.row then
      self:check_new(found)
    end
  end
  return self.found, self.taken
end
