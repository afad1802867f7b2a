--- The state of an account that is just as a file says, to compare files with. Pure.

local account = require "hubspot_assoc.schema.account"
local objects = require "hubspot_assoc.schema.objects"

local ipairs, type = ipairs, type

local FIRST_ID = 1000001 -- ids that nobody has

local function limit_of(value)
  return type(value) == "number" and value or nil
end

-- Adds a row with the next id; both sides of a label get ids that follow one another, as in HubSpot.
local function add(ids, rows, category, label, limit)
  ids.last = ids.last + 1
  rows[#rows + 1] = { category = category, typeId = ids.last, label = label, limit = limit_of(limit) }
end

-- The category of the label that a text means (match.lua): the account's own, unless there is only another.
local function category_of(label, others)
  local category
  for _, row in ipairs(others) do
    if row.label == label.label and (not category or row.category == "USER_DEFINED") then
      category = row.category
    end
  end
  return label.category or category or "USER_DEFINED"
end

local function has(rows, row)
  for _, other in ipairs(rows) do
    if other.label == row.label and other.category == row.category then
      return true
    end
  end
  return false
end

-- HubSpot's own types are in every account, named in the file or not.
local function add_others(ids, rows, others)
  for _, row in ipairs(others) do
    if row.category ~= "USER_DEFINED" and row.label and not has(rows, row) then
      add(ids, rows, row.category, row.label)
    end
  end
end

local NOTHING = { forward = {}, inverse = {} }

-- @param other the pair of another state, seen from the same side, or NOTHING
local function pair_of(ids, wanted, other)
  local pair = { from = wanted.from, to = wanted.to, is_same = objects.id(wanted.from) == objects.id(wanted.to),
    forward = {}, inverse = {} }
  if pair.is_same then
    pair.inverse = pair.forward
  end
  add(ids, pair.forward, "HUBSPOT_DEFINED", nil, wanted.limit)
  if not pair.is_same then
    add(ids, pair.inverse, "HUBSPOT_DEFINED", nil, wanted.inverse_limit)
  end
  for _, label in ipairs(wanted.labels) do
    local category = category_of(label, other.forward)
    local inverse = label.inverse_label or not pair.is_same and label.label or nil
    ids.last = ids.last + 1 -- no label's id follows another label's
    add(ids, pair.forward, category, label.label, label.limit)
    if inverse and not (pair.is_same and inverse == label.label) then
      add(ids, pair.inverse, category, inverse, label.inverse_limit)
    end
  end
  add_others(ids, pair.forward, other.forward)
  if not pair.is_same then
    add_others(ids, pair.inverse, other.inverse)
  end
  return pair
end

-- The pair of a state that is between the same object types, seen from the same side.
local function find(state, pair)
  for _, other in ipairs(state and state.pairs or {}) do
    if objects.pair_key(other.from, other.to) == objects.pair_key(pair.from, pair.to) then
      return objects.id(other.from) == objects.id(pair.from) and other or account.turned(other)
    end
  end
  return nil
end

--- The state of an account as a file says it is.
-- @param wanted as reader.lua describes it; what it does not say is taken not to be there
-- @param other a state to compare it with, or nil: its pairs are there, too, and HubSpot's own labels
-- @return state (account.lua), whose type ids are made up
return function(wanted, other)
  local state, ids = { pairs = {}, notes = {}, problems = {} }, { last = FIRST_ID }
  for i, pair in ipairs(wanted.pairs) do
    state.pairs[i] = pair_of(ids, pair, find(other, pair) or NOTHING)
  end
  for _, pair in ipairs(other and other.pairs or {}) do
    if not find(state, pair) then
      state.pairs[#state.pairs + 1] = pair_of(ids, { from = pair.from, to = pair.to, labels = {} }, pair)
    end
  end
  return state
end
