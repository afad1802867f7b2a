--- The part of a plan that is about the labels of a pair. Pure.

local digest = require "hubspot_assoc.schema.digest"

local abs, ipairs, pairs = math.abs, ipairs, pairs

local OWN = "USER_DEFINED"
local USUAL_MOST_LABELS = 10 -- where HubSpot has not told

-- ---- what is made and renamed ----

-- A name for inside HubSpot: letters, digits and _ of the texts; where they have others, their digest keeps it apart.
local function name_of(label, inverse_label)
  local text = inverse_label and inverse_label ~= label and label .. "_" .. inverse_label or label
  local name = text:lower():gsub("[^a-z0-9]+", "_"):gsub("^_+", ""):gsub("_+$", "")
  if text:find("[\128-\255]") or name == "" then
    name = (name == "" and "label" or name) .. "_" .. digest(text):sub(1, 6)
  end
  return name:find("^%d") and "label_" .. name or name
end

-- A text that nobody means, but that an account may have: a line break of YAML's, a space that nobody sees.
local function check_text(task, entry, field, old)
  local text = entry[field]
  if text and text ~= old and (text:find "^ " or text:find " $" or text:find "[%c%z]") then
    task:problem(task.place_of(entry, field), "%s: '%s' is not in the account, and no label is given a text with "
      .. "spaces around it, or of several lines", field, text)
  end
end

local function plan_new(task, entry)
  local inverse = task.inverse_text(task.pair, entry)
  check_text(task, entry, "label")
  check_text(task, entry, "inverse_label")
  return task:step("create_label", task.place_of(entry, "label"), { label = entry.label, inverse_label = inverse,
    category = OWN, name = entry.name or name_of(entry.label, inverse), why = "not in the account" })
end

local function plan_rename(task, one)
  local entry = one.entry
  local inverse = task.inverse_text(task.pair, entry)
  local old_inverse = one.old_inverse or one.inverse_row and one.inverse_row.label
  check_text(task, entry, "label", one.row.label)
  check_text(task, entry, "inverse_label", old_inverse)
  return task:step("rename_label", task.place_of(entry, "label"), { label = entry.label, inverse_label = inverse,
    category = OWN, type_id = one.row.typeId, old = { label = one.row.label, inverse_label = old_inverse },
    new = { label = entry.label, inverse_label = inverse }, why = "the file calls it so" })
end

-- Renames in an order in which each text is free before another label gets it.
local function in_order(renamed)
  local ordered, left = {}, renamed
  while left[1] do
    local later, used = {}, {}
    for _, step in ipairs(left) do
      for _, text in pairs(step.old) do
        used[text] = step
      end
    end
    for i, step in ipairs(left) do
      local by_label, by_inverse = used[step.new.label], used[step.new.inverse_label or step.new.label]
      local is_free = (not by_label or by_label == step) and (not by_inverse or by_inverse == step)
      if is_free or i == #left and #later == #left - 1 then -- a circle has no right order
        ordered[#ordered + 1] = step
      else
        later[#later + 1] = step
      end
    end
    left = later
  end
  return ordered
end

-- ---- what is deleted ----

local function check_neighbours(task, one, deleted)
  for _, step in ipairs(deleted) do
    for _, row in ipairs { one.row, one.inverse_row } do
      if abs(step.type_id - row.typeId) == 1 then
        return task:problem(task.place_of(one.entry, "inverse_label"), "'%s', which the file does not name, may be the "
          .. "other side of '%s', by their ids: if it is another label, delete it by hand; if not, name it as the "
          .. "inverse_label", step.label, row.label)
      end
    end
  end
end

-- Of contacts to contacts, say, a label that the file does not name may be the other side of one that it names:
-- deleting it would delete that. HubSpot does not tell; ids that follow one another are a hint.
local function check_sides(task, deleted)
  for _, one in ipairs(task.found) do
    local entry, row, other = one.entry, one.row, one.inverse_row
    local is_own = row and row.category == OWN
    if is_own and not entry.inverse_label then
      task:problem(task.place_of(entry, "label"), "'%s' may be one label with '%s', which the file does not name, and "
        .. "HubSpot does not tell: write the other side, or inverse_label: %s if it has none", entry.label,
        deleted[1].label, entry.label)
    elseif is_own and other and abs(row.typeId - other.typeId) ~= 1 then
      check_neighbours(task, one, deleted)
    end
  end
end

-- Labels that the file does not name. Of two directions the one that the file names from has each label once; what goes
-- with them in the other is noted in task.gone.
local function plan_deletes(task)
  local deleted, pair = {}, task.pair
  for _, row in ipairs(task.unmanaged == "remove" and pair.forward or {}) do
    if row.category == OWN and row.label and not task.taken[row] then
      deleted[#deleted + 1] = task:step("delete_label", task.wanted.at or {}, { label = row.label, category = OWN,
        type_id = row.typeId, why = "not in the file, and what it does not name is to be removed" })
      task.gone[row] = true
      local other = task.linked[row]
      if other and not task.taken[other] then
        task.gone[other] = true
      end
    end
  end
  if pair.is_same and deleted[1] then
    check_sides(task, deleted)
  end
  return deleted
end

-- ---- all of them ----

local function count_own(rows)
  local own = 0
  for _, row in ipairs(rows) do
    own = own + (row.category == OWN and row.label and 1 or 0)
  end
  return own
end

local function check_count(task, created, deleted)
  local most = task.pair.most_labels
  local own = count_own(task.pair.forward) + #created - #deleted
  if most and created[1] and own > most then
    task:problem(task.wanted.at or {}, "%s to %s: %d labels of one's own, and HubSpot allows this account %d for a "
      .. "pair", task.pair.from, task.pair.to, own, most)
  end
end

local function spelling(label)
  return (label:lower():gsub(" +", " "))
end

-- A text that is there in another spelling is hardly meant to be another label, and deleting that one is not meant.
local function check_spelling(task, created)
  for _, step in ipairs(created) do
    for _, row in ipairs(task.pair.forward) do
      local is_like = row.label and row.label ~= step.label and spelling(row.label) == spelling(step.label)
      if is_like and task.gone[row] then
        task:problem(step, "'%s' would be made and '%s' deleted: write it as it is, or was: %s to rename it",
          step.label, row.label, row.label)
      elseif is_like then
        task:warn(step, "'%s' is new beside '%s'; is another spelling meant?", step.label, row.label)
      end
    end
  end
end

-- What goes and what comes may be one label under another name.
local function check_renames(task, created, deleted)
  if created[1] and deleted[1] then
    task:warn(created[1], "'%s' is made and '%s' deleted; if that is one label under another name, was: %s renames "
      .. "it, and records keep it", created[1].label, deleted[1].label, deleted[1].label)
  end
end

-- Does a label that goes stand in the way of one that comes or is renamed: by its texts, its name, or their number?
local function must_go_first(task, created, renamed, deleted)
  local words = {}
  for row in pairs(task.gone) do
    local other = task.linked[row]
    words[row.label:lower()], words[name_of(row.label)] = true, true
    words[name_of(row.label, other and other.label)] = true
  end
  for _, list in ipairs(deleted[1] and { created, renamed } or {}) do
    for _, step in ipairs(list) do
      local inverse = step.inverse_label or step.label
      if words[step.label:lower()] or words[inverse:lower()] or step.name and words[step.name] then
        return true
      end
    end
  end
  return count_own(task.pair.forward) + #created > (task.pair.most_labels or USUAL_MOST_LABELS)
end

--- Plans the labels of a pair.
-- @param task of plan.lua
-- @return list of steps; and in task.gone the rows that will not be there any more
return function(task)
  local created, renamed = {}, {}
  for _, one in ipairs(task.found) do
    if one.is_new then
      created[#created + 1] = plan_new(task, one.entry)
    elseif one.is_renamed then
      renamed[#renamed + 1] = plan_rename(task, one)
    end
  end
  renamed = in_order(renamed)
  local deleted = plan_deletes(task)
  check_count(task, created, deleted)
  check_spelling(task, created)
  check_renames(task, created, deleted)
  local order = { renamed, created, deleted }
  if must_go_first(task, created, renamed, deleted) then
    -- Of one object type with itself a rename comes first all the same: the other side that it renames is known then.
    order = task.pair.is_same and { renamed, deleted, created } or { deleted, renamed, created }
  end
  local steps = {}
  for _, list in ipairs(order) do
    for _, step in ipairs(list) do
      steps[#steps + 1] = step
    end
  end
  return steps
end
