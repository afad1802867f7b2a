--- Which association types are the two sides of one label. Pure.
--
-- HubSpot makes both sides of a label at once, and does not tell later which two belong together. Those with one text
-- do, as a rule; one that is left on each side are one label; and of several, those whose ids follow one another are,
-- most likely: that is a guess.

local limit_steps = require "hubspot_assoc.limit_steps"

local abs, ipairs, pairs, setmetatable, sort = math.abs, ipairs, pairs, setmetatable, table.sort

local links = {}

-- The labelled rows of a category, in the order of their ids; of two with one text the first.
local function labelled(rows, category)
  local found, list = {}, {}
  for _, row in ipairs(rows) do
    if row.label and row.category == category and not found[row.label] then
      found[row.label] = row
      list[#list + 1] = row
    end
  end
  return list
end

local Linking = {}
Linking.__index = Linking

-- Those that nobody has been found for yet.
function Linking:left_of(rows)
  local left = {}
  for _, row in ipairs(rows) do
    if not self.linked[row] then
      left[#left + 1] = row
    end
  end
  return left
end

-- Links each row to the first of the other side that fits.
function Linking:link(forward, inverse, fits, is_guess)
  for _, row in ipairs(self:left_of(forward)) do
    for _, other in ipairs(inverse) do
      if not self.linked[row] and not self.linked[other] and fits(row, other) then
        self.linked[row], self.linked[other] = other, row
        self.guessed[row] = is_guess or nil
      end
    end
  end
end

local function are_neighbours(row, other)
  return abs(row.typeId - other.typeId) == 1
end

local function have_one_text(row, other)
  return row.label == other.label
end

local function are_twins(row, other)
  return are_neighbours(row, other) and have_one_text(row, other)
end

local function any()
  return true
end

-- Rows of both sides whose ids follow one another without a gap: lists of { row =, is_forward = }.
local function find_runs(forward, inverse)
  local all, runs = {}, {}
  for _, row in ipairs(forward) do
    all[#all + 1] = { row = row, is_forward = true }
  end
  for _, row in ipairs(inverse) do
    all[#all + 1] = { row = row, is_forward = false }
  end
  sort(all, function(a, b) return a.row.typeId < b.row.typeId end)
  for i, one in ipairs(all) do
    if i == 1 or one.row.typeId ~= all[i - 1].row.typeId + 1 then
      runs[#runs + 1] = {}
    end
    runs[#runs][#runs[#runs] + 1] = one
  end
  return runs
end

-- Is a run made of labels, each with both its sides side by side?
local function is_regular(run)
  for i = 1, #run, 2 do
    if not run[i + 1] or run[i].is_forward == run[i + 1].is_forward then
      return false
    end
  end
  return true
end

function Linking:link_runs(forward, inverse)
  for _, run in ipairs(find_runs(forward, inverse)) do
    for i = 1, is_regular(run) and #run or 0, 2 do
      local row, other = run[i].row, run[i + 1].row
      self.linked[row], self.linked[other] = other, row
      self.guessed[run[i].is_forward and row or other] = not have_one_text(row, other) or nil
    end
  end
end

function Linking:link_category(forward, inverse)
  self:link_runs(forward, inverse)
  local left, inverse_left = self:left_of(forward), self:left_of(inverse)
  self:link(left, inverse_left, are_twins)
  self:link(left, inverse_left, are_neighbours, true)
  self:link(left, inverse_left, have_one_text)
  left, inverse_left = self:left_of(left), self:left_of(inverse_left)
  if #left == #inverse_left then
    self:link(left, inverse_left, any, true)
  else
    for _, row in ipairs(left) do
      self.guessed[row] = true
    end
  end
  self:settle(forward)
end

-- Where all others have their sides by their texts, there is nothing to guess about one.
function Linking:settle(forward)
  local only
  for _, row in ipairs(forward) do
    if self.guessed[row] and (only or not self.linked[row]) then
      return
    end
    only = self.guessed[row] and row or only
  end
  if only then
    self.guessed[only] = nil
  end
end

-- Of one object type with itself both sides are in one list, beside labels that have one side only: neighbours are
-- taken for one label, each as a guess.
local function find_same(rows)
  local linked, guessed, before = {}, {}, nil
  for _, row in ipairs(rows) do
    if row.label and row.category == "USER_DEFINED" then
      guessed[row] = true
      if before and row.typeId == before.typeId + 1 then
        linked[row], linked[before] = before, row
        before = nil
      else
        before = row
      end
    end
  end
  return linked, guessed
end

--- Finds the other sides of a pair's labels.
-- @param pair of a state (account.lua)
-- @return linked: row -> the row of the other direction, both ways; guessed: row of the forward direction -> true where
--   that is a guess, or where no other side was found
function links.find(pair)
  if pair.is_same then
    return find_same(pair.forward)
  end
  local linking = setmetatable({ linked = {}, guessed = {} }, Linking)
  for _, category in ipairs { "USER_DEFINED", "HUBSPOT_DEFINED", "INTEGRATOR_DEFINED", "WORK" } do
    linking:link_category(labelled(pair.forward, category), labelled(pair.inverse, category))
  end
  return linking.linked, linking.guessed
end

--- The type without a label, whose limit is the pair's: HubSpot's own, or in pairs of custom objects the account's.
-- @return row, or nil
function links.unlabelled(rows)
  local found
  for _, row in ipairs(rows) do
    if not row.label and (row.category == "HUBSPOT_DEFINED" or row.category == "USER_DEFINED")
      and (not found or row.category == "HUBSPOT_DEFINED" and found.category ~= row.category) then
      found = row
    end
  end
  return found
end

--- Rows by their keys (limit_steps.key).
function links.by_key(rows)
  local found = {}
  for _, row in pairs(rows) do
    found[limit_steps.key(row)] = row
  end
  return found
end

return links
