--- What an account has, as a file would say it. Pure.

local links = require "hubspot_assoc.schema.links"
local objects = require "hubspot_assoc.schema.objects"

local concat, ipairs, sort = table.concat, ipairs, table.sort
local OWN = "USER_DEFINED"

local export = {}

local function note(notes, message, ...)
  notes[#notes + 1] = { message = message:format(...) }
end

-- The entry of a label, and of its other side; nil where there is nothing to say: it is HubSpot's, and has no limit.
local function entry_of(row, other, is_guess)
  if row.category ~= OWN and not row.limit and not (other and other.limit) then
    return nil
  end
  local entry = { label = row.label, limit = row.limit, is_guess = row.category == OWN and is_guess or nil }
  if other then
    entry.inverse_label, entry.inverse_limit = other.label, other.limit
  end
  if row.category ~= OWN then
    entry.category = row.category -- else another account, which has no such label, would get one of its own
  end
  return entry
end

-- One object type with itself: HubSpot does not tell which labels are two sides of one. A single one has none.
local function same_labels(pair, add, notes)
  local own = {}
  for _, row in ipairs(pair.forward) do
    if row.category == OWN and row.label then
      own[#own + 1] = row.label
    end
  end
  for _, row in ipairs(pair.forward) do
    if row.label then
      local is_single = row.category == OWN and #own == 1
      add(row, entry_of(row, is_single and { label = row.label } or nil, not is_single))
    end
  end
  if #own > 1 then
    note(notes, "%s to %s: HubSpot does not tell which labels are two sides of one: where they are, join them by "
      .. "inverse_label: %s", pair.from, pair.to, concat(own, ", "))
  end
end

local function cross_labels(pair, add, notes)
  local linked, guessed = links.find(pair)
  local unsure = {}
  for _, row in ipairs(pair.forward) do
    if row.label then
      local other = linked[row]
      add(row, entry_of(row, other, guessed[row]))
      if guessed[row] and row.category == OWN then
        unsure[#unsure + 1] = other and ("%s and %s"):format(row.label, other.label) or row.label
      end
    end
  end
  if unsure[1] then
    note(notes, "%s to %s: HubSpot does not tell the other sides of these labels; their ids suggest: %s", pair.from,
      pair.to, concat(unsure, "; "))
  end
end

-- Limits that no entry can hold.
local function note_unnamed(from, to, rows, notes)
  local unlabelled = links.unlabelled(rows)
  for _, row in ipairs(rows) do
    if row.limit and not row.label and row ~= unlabelled then
      note(notes, "%s to %s: the limit %d of type %s %d, which has no label, is left out", from, to, row.limit,
        row.category, row.typeId)
    end
  end
end

local function check_name(state, name, notes, seen)
  if objects.is_of_account(name) and not seen[name] then
    seen[name] = true
    local title = state.titles and state.titles[name]
    note(notes, "%s%s is this account's own number of an object: give its name, which holds in others, too", name,
      title and (" (%s)"):format(title) or "")
  end
end

local function by_text(a, b)
  if a.label ~= b.label then
    return a.label < b.label
  end
  return (a.category or "") < (b.category or "")
end

local function export_pair(pair, options, notes)
  local wanted = { from = objects.name(pair.from, options.names), to = objects.name(pair.to, options.names),
    is_same = pair.is_same, labels = {} }
  local seen = {}
  local function add(row, entry)
    local key = row.category .. " " .. row.label
    if entry and seen[key] then
      note(notes, "%s to %s: a second label '%s' is left out", pair.from, pair.to, row.label)
    elseif entry then
      seen[key] = true
      wanted.labels[#wanted.labels + 1] = entry
    end
  end
  local unlabelled, inverse = links.unlabelled(pair.forward), links.unlabelled(pair.inverse)
  wanted.limit = unlabelled and unlabelled.limit
  wanted.inverse_limit = not pair.is_same and inverse and inverse.limit or nil
  if pair.is_same then
    same_labels(pair, add, notes)
  else
    cross_labels(pair, add, notes)
    note_unnamed(pair.to, pair.from, pair.inverse, notes)
  end
  note_unnamed(pair.from, pair.to, pair.forward, notes)
  sort(wanted.labels, by_text)
  return wanted
end

--- What a file would have to say so that an account is as this one.
-- @param state of account.lua
-- @param options table or nil: unmanaged ("keep" or "remove"), names (custom objects: id -> name)
-- @return what is wanted, as reader.lua describes it; and notes, a list of { message = }: what people should know of it
function export.wanted_of(state, options)
  options = options or {}
  local notes, seen = {}, {}
  local wanted = { version = 1, unmanaged = options.unmanaged or "keep", pairs = {} }
  for i, pair in ipairs(state.pairs) do
    wanted.pairs[i] = export_pair(pair, options, notes)
    check_name(state, wanted.pairs[i].from, notes, seen)
    check_name(state, wanted.pairs[i].to, notes, seen)
  end
  return wanted, notes
end

return export
