--- Which limits of an object pair have to be changed, and in which order. Pure: no client, no clock.
--
-- HubSpot's rule (HubSpot: Associations v4 > Set limits): a label's limit must not exceed the limit of its object pair,
-- which is that of the unlabelled type; without a limit there, labels are free. So a pair's limit that rises, or goes,
-- is sent before the labels', and one that falls, or comes, after them. HubSpot's text says "must not exceed", its
-- examples are all below: both hold at every moment if both hold at the beginning and in the end. Of contacts to
-- contacts, say, both directions share the unlabelled type and the symmetric labels: there each has one row, too.

local ipairs, pairs, sort = ipairs, pairs, table.sort
local NO_LIMIT = 1 / 0

local limit_steps = {}

-- Phases: what a later one may do depends on the one before.
local PAIR_RISES, LABELS, PAIR_FALLS = 1, 2, 3

local ACTIONS = { "purge", "update", "create" } -- of a phase, in this order

--- What tells an association type from the others of its object pair.
-- @param row with category and typeId
-- @return "USER_DEFINED:38"
function limit_steps.key(row)
  return ("%s:%.0f"):format(row.category, row.typeId)
end

local key_of = limit_steps.key

--- Which call takes a limit from `before` to `after`, each a number or false, and not the same.
local function action_of(before, after)
  if not after then
    return "purge"
  end
  return before and "update" or "create"
end

local function phase_of(change)
  if change.label then
    return LABELS
  end
  return (change.after or NO_LIMIT) > (change.before or NO_LIMIT) and PAIR_RISES or PAIR_FALLS
end

--- The limits that differ: { action, category, typeId, label, before, after } each, in the order of their type ids.
local function find_changes(current, wanted)
  local rows, changes = {}, {}
  for _, row in ipairs(current) do
    rows[key_of(row)] = row
  end
  for _, want in ipairs(wanted) do
    local row = rows[key_of(want)] or {}
    local before, after = row.userEnforcedMaxToObjectIds or false, want.limit
    if before ~= after then
      changes[#changes + 1] = { action = action_of(before, after), category = want.category, typeId = want.typeId,
        label = row.label or want.label, before = before, after = after }
    end
  end
  sort(changes, function(a, b)
    if a.typeId ~= b.typeId then
      return a.typeId < b.typeId
    end
    return a.category < b.category
  end)
  return changes
end

--- A change as an input of the call that makes it.
local function input_of(change)
  return { category = change.category, typeId = change.typeId, maxToObjectIds = change.after or nil }
end

--- Adds to the step of the change's phase and action, which is made if there is none.
local function add(steps, change)
  local phase = phase_of(change)
  local id = phase .. change.action
  local step = steps[id] or { phase = phase, action = change.action, changes = {}, inputs = {} }
  steps[id] = step
  step.changes[#step.changes + 1] = change
  step.inputs[#step.inputs + 1] = input_of(change)
end

--- The steps that lead from the limits that are set to those that are wanted.
-- @param current the pair's limits, as get_limits gives them: { category =, typeId =, label =,
--   userEnforcedMaxToObjectIds = } each. A type that is not among them has no limit.
-- @param wanted list of { category =, typeId =, label =, limit = number, or false for none }, each type once. `label`
--   (nil: the unlabelled type) counts for types that are not in `current`. Types that are not among them stay as they
--   are.
-- @return list of steps, in the order in which they have to be sent, each one call's inputs, and none empty:
--   { action = "create", "update" or "purge" (batch_create, batch_update, batch_purge), inputs = that call's,
--   changes = what each input changes: { action =, category =, typeId =, label =, before =, after = }, limits or false,
--   phase = 1 to 3: a step depends on those of earlier phases }
function limit_steps.steps(current, wanted)
  local found, steps = {}, {}
  for _, change in ipairs(find_changes(current, wanted)) do
    add(found, change)
  end
  for phase = PAIR_RISES, PAIR_FALLS do
    for _, action in ipairs(ACTIONS) do
      steps[#steps + 1] = found[phase .. action]
    end
  end
  return steps
end

--- The labels whose limits exceed the pair's, in the end: HubSpot refuses those.
-- @param current, wanted as in steps
-- @return list of { category =, typeId =, label =, limit =, most = the pair's limit }, in no order
function limit_steps.conflicts(current, wanted)
  local rows, most, conflicts = {}, NO_LIMIT, {}
  local function put(row, label, limit)
    rows[key_of(row)] = { category = row.category, typeId = row.typeId, label = label, limit = limit or nil }
  end
  for _, row in ipairs(current) do
    put(row, row.label, row.userEnforcedMaxToObjectIds)
  end
  for _, want in ipairs(wanted) do
    put(want, (rows[key_of(want)] or want).label, want.limit)
  end
  for _, row in pairs(rows) do
    if not row.label and row.limit and row.limit < most then
      most = row.limit
    end
  end
  for _, row in pairs(rows) do
    if row.label and row.limit and row.limit > most then
      row.most = most
      conflicts[#conflicts + 1] = row
    end
  end
  return conflicts
end

return limit_steps
