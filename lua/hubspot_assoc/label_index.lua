--- The association types of one direction, by their labels. Pure.

local limit_steps = require "hubspot_assoc.limit_steps"
local nearest = require "hubspot_assoc.nearest"

local concat, ipairs, type = table.concat, ipairs, type

local MAX_SHOWN = 10 -- names in a message

-- What the type without a label is called.
local label_index = { UNLABELLED = "unlabelled" }

--- Adds a row under a name; several may have the same.
local function put(rows_of, name, row)
  local rows = rows_of[name] or {}
  rows_of[name] = rows
  rows[#rows + 1] = row
end

--- The rows that are association types: a server may send anything.
function label_index.sound_rows(rows)
  local sound = {}
  for _, row in ipairs(rows) do
    local label = type(row) == "table" and row.label
    if label ~= false and type(row.category) == "string" and type(row.typeId) == "number"
      and (label == nil or type(label) == "string") then
      sound[#sound + 1] = row
    end
  end
  return sound
end

--- The association types of one direction, by their labels and by "USER_DEFINED:38".
-- @param given rows, as get_labels gives them
function label_index.new(given)
  local rows = label_index.sound_rows(given)
  local index = { rows = rows, by_name = {}, by_key = {}, names = {} }
  for _, row in ipairs(rows) do
    local name = row.label or label_index.UNLABELLED
    put(index.by_name, name, row)
    if #index.by_name[name] == 1 then
      index.names[#index.names + 1] = name
    end
    index.by_key[limit_steps.key(row)] = row
  end
  return index
end

local function quote_all(names)
  local quoted = {}
  for i = 1, #names do
    if i > MAX_SHOWN then
      quoted[i] = ("and %d more"):format(#names - MAX_SHOWN)
      break
    end
    quoted[i] = '"' .. names[i] .. '"'
  end
  return concat(quoted, ", ")
end

--- Several labels have the same text: says how each is told apart.
local function say_which(name, rows)
  local keys = {}
  for i, row in ipairs(rows) do
    keys[i] = limit_steps.key(row)
  end
  return ('%d association types are named "%s"; say which one: %s'):format(#rows, name, quote_all(keys))
end

--- There is no such label: says what there is.
-- @param hint what else to know, or nil
local function say_unknown(name, index, hint)
  local near = nearest(name, index.names)
  if near[1] then
    return ('no label is named "%s"; did you mean %s?'):format(name, quote_all(near))
  end
  return ('no label is named "%s"; there are %s%s'):format(name, index.names[1] and quote_all(index.names) or "none",
    hint or "")
end

--- The association type of this name.
-- @param hint what else to know where there is none, or nil
-- @return row, or nil and what is wrong
function label_index.find(index, name, hint)
  local rows = index.by_name[name]
  if rows and #rows > 1 then
    return nil, say_which(name, rows)
  end
  local row = rows and rows[1] or index.by_key[name]
  if not row then
    return nil, say_unknown(name, index, hint)
  end
  return row
end

return label_index
