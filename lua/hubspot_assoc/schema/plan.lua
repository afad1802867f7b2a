--- What has to be done to an account so that it is as a file says. Pure.
--
-- A plan is { steps =, digest =, count =, deletes =, removes =, problems =, warnings =, notes =, pairs =, wanted =,
-- state = }, and a step
--   { kind = "create_label" | "rename_label" | "delete_label" | "set_limit" | "remove_limit",
--     from =, to = (the direction of a limit; of labels the file's), pair = the file's pair,
--     label = text (nil: the unlabelled type), inverse_label = text (nil: no other side, or it is a limit's step),
--     category =, type_id = (nil: not known before the label is made), name = internal name of a label to be made,
--     old =, new = (limits: numbers, nil for none; rename_label: { label =, inverse_label = }),
--     why = text, line =, column = (in the file),
--     request = steps of one number go in one request, call = "create" | "update" | "purge" (both of limits only) }
-- Steps are in the order of sending. Labels come before limits, of all pairs: a limit may be a new label's.

local account = require "hubspot_assoc.schema.account"
local digest = require "hubspot_assoc.schema.digest"
local links = require "hubspot_assoc.schema.links"
local match = require "hubspot_assoc.schema.match"
local objects = require "hubspot_assoc.schema.objects"
local plan_labels = require "hubspot_assoc.schema.label_plan"
local plan_limits = require "hubspot_assoc.schema.limit_plan"
local usage_of = require "hubspot_assoc.schema.usage"

local concat, ipairs, setmetatable, tostring, type = table.concat, ipairs, setmetatable, tostring, type

local plan = {}

-- ---- a task: the planning of one pair ----

-- { plan =, pair = the account's (account.lua), seen from the file's `from`, wanted = the file's, unmanaged =,
--   found =, taken = (match.lua), linked = (links.lua), gone = rows that are deleted -> true }
local Task = {}
Task.__index = Task

--- Where the file says a field of an entry; where the entry is, if it does not.
function Task.place_of(entry, field)
  return entry.at and (entry.at[field] or entry.at) or {}
end

--- What a label is called on its other side; nil where it has none.
function Task.inverse_text(pair, entry)
  if pair.is_same then
    return entry.inverse_label ~= entry.label and entry.inverse_label or nil
  end
  return entry.inverse_label or entry.label
end

local function add(list, place, message, ...)
  list[#list + 1] = { message = message:format(...), line = place.line, column = place.column }
end

function Task:problem(place, message, ...)
  add(self.plan.problems, place, message, ...)
end

function Task:warn(place, message, ...)
  add(self.plan.warnings, place, message, ...)
end

--- Makes a step.
function Task:step(kind, place, fields)
  fields.kind, fields.pair, fields.line, fields.column = kind, self.wanted, place.line, place.column
  fields.from, fields.to = fields.from or self.pair.from, fields.to or self.pair.to
  return fields
end

--- The number of a request for limits.
function Task:next_request()
  self.plan.requests = self.plan.requests + 1
  return self.plan.requests
end

-- The account's pair as the file sees it: from its side, and with its names.
local function seen_by(wanted, pair)
  local is_turned = objects.id(pair.from) ~= objects.id(wanted.from)
  local seen = is_turned and account.turned(pair) or pair
  return { from = wanted.from, to = wanted.to, is_same = seen.is_same, forward = seen.forward, inverse = seen.inverse,
    most_labels = seen.most_labels }
end

local function new_task(result, pair, wanted)
  local task = setmetatable({ plan = result, pair = pair, wanted = wanted, gone = {}, linked = links.find(pair),
    unmanaged = wanted.unmanaged or result.wanted.unmanaged }, Task)
  task.found, task.taken = match(task)
  return task
end

-- ---- all pairs ----

local function append(list, more)
  for _, element in ipairs(more) do
    list[#list + 1] = element
  end
end

local function plan_pairs(result, state, wanted)
  local labels, limits, known = {}, {}, {}
  for _, pair in ipairs(state.pairs) do
    known[objects.pair_key(pair.from, pair.to)] = pair
  end
  for _, pair in ipairs(wanted.pairs) do
    local found = known[objects.pair_key(pair.from, pair.to)]
    if not found then
      add(result.problems, pair.at or {}, "%s to %s is not in the account", pair.from, pair.to)
    else
      local task = new_task(result, seen_by(pair, found), pair)
      append(labels, plan_labels(task))
      append(limits, plan_limits(task))
    end
  end
  append(labels, limits)
  return labels
end

-- What a step is, as the digest takes it.
local function text_of(step)
  local function values(value)
    if type(value) == "table" then
      return ("%s\1%s"):format(value.label, tostring(value.inverse_label))
    end
    return tostring(value)
  end
  return concat({ step.kind, objects.id(step.from), objects.id(step.to), step.category, tostring(step.type_id),
    tostring(step.label), tostring(step.inverse_label), values(step.old), values(step.new) }, "\1")
end

local function finish(result)
  local texts, count = {}, {}
  for i, step in ipairs(result.steps) do
    texts[i] = text_of(step)
    count[step.kind] = (count[step.kind] or 0) + 1
  end
  result.count, result.deletes, result.removes = #texts, count.delete_label or 0, count.remove_limit or 0
  result.digest, result.requests = digest(concat(texts, "\2")), nil
  if count.create_label and result.state.unread_usage then
    result.notes[#result.notes + 1] = { message = "How many labels the pairs may have could not be read: "
      .. result.state.unread_usage }
  end
end

--- Plans.
-- @param state of the account (account.lua), with all pairs of the file
-- @param wanted what the file says (reader.lua), or what another account has (export.lua)
-- @param usage what usage.lua has read, or nil: warns where records have more than a new limit
-- @return plan (above). With problems it cannot be applied.
function plan.plan(state, wanted, usage)
  local result = { problems = {}, warnings = {}, notes = {}, pairs = #wanted.pairs, wanted = wanted,
    state = state, requests = 0 }
  append(result.notes, state.notes)
  append(result.problems, state.problems)
  result.steps = plan_pairs(result, state, wanted)
  finish(result)
  if usage then
    append(result.warnings, usage_of.warnings(result, usage))
  end
  return result
end

return plan
