--- An account's association schema as a file: labels and limits, read, compared, and applied.
--
--     local schema = require "hubspot_assoc.schema"
--     local wanted, problems = schema.parse(text)            -- the file, in YAML or JSON
--     local plan, errors = schema.plan_for(client, wanted)   -- what would change, and why; only reads
--     local report, errors = schema.apply(client, plan)
--
-- docs/as-code.md tells what a file looks like, and what a plan does. It needs lyaml, which the library does not.
-- Nothing here prints; the program hubspot-assoc does.

local account = require "hubspot_assoc.schema.account"
local apply = require "hubspot_assoc.schema.apply"
local difference = require "hubspot_assoc.schema.difference"
local export = require "hubspot_assoc.schema.export"
local imagine = require "hubspot_assoc.schema.imagine"
local objects = require "hubspot_assoc.schema.objects"
local plan_module = require "hubspot_assoc.schema.plan"
local reader = require "hubspot_assoc.schema.reader"
local usage = require "hubspot_assoc.schema.usage"
local writer = require "hubspot_assoc.schema.writer"

local ipairs = ipairs

local schema = {
  parse = reader.parse,
  read = account.read,
  wanted_of = export.wanted_of,
  write = writer.write,
  plan = plan_module.plan,
  read_usage = usage.read,
  apply = apply.apply,
  diff_lines = difference.lines,
  step_text = difference.text,
  state_of = imagine,
}

--- The pairs that a file names, as `read` takes them.
function schema.pairs_of(wanted)
  local list = {}
  for i, pair in ipairs(wanted.pairs) do
    list[i] = { from = pair.from, to = pair.to }
  end
  return list
end

--- Reads what an account has, and plans. Only reads.
-- @param client
-- @param wanted what `parse` gave
-- @param options table or nil: on_progress (as in `read`), usage (false: who exceeds a new limit is not asked)
-- @return plan (plan.lua), or nil and errors
function schema.plan_for(client, wanted, options)
  local state, errors = account.read(client, schema.pairs_of(wanted), options)
  if not state then
    return nil, errors
  end
  local plan = plan_module.plan(state, wanted)
  if plan.count == 0 or options and options.usage == false then
    return plan
  end
  local found, notes = usage.read(client, plan)
  plan = plan_module.plan(state, wanted, found)
  for _, note in ipairs(notes) do
    plan.notes[#plan.notes + 1] = note
  end
  return plan
end

local function has_pair(pairs_of_state, from, to)
  for _, pair in ipairs(pairs_of_state) do
    if objects.pair_key(pair.from, pair.to) == objects.pair_key(from, to) then
      return true
    end
  end
  return false
end

-- The pairs of one state that another lacks. Numbers of custom objects mean nothing in another account.
local function lacking(state, other, notes)
  local found = {}
  for _, pair in ipairs(other.pairs) do
    if objects.is_of_account(pair.from) or objects.is_of_account(pair.to) then
      notes[#notes + 1] = { message = ("%s to %s is left out: give the object's name, which holds in both accounts")
        :format(pair.from, pair.to) }
    elseif not has_pair(state.pairs, pair.from, pair.to) then
      found[#found + 1] = { from = pair.from, to = pair.to }
    end
  end
  return found
end

-- Reads into a state what the other has and it lacks. Returns true, or nil and errors.
local function complete(client, state, other)
  local missing = lacking(state, other, state.notes)
  if not missing[1] then
    return true
  end
  local more, errors = account.read(client, missing)
  if not more then
    return nil, errors
  end
  for _, pair in ipairs(more.pairs) do
    state.pairs[#state.pairs + 1] = pair
  end
  return true
end

--- Reads two accounts, so that they can be compared: each has what the other has.
-- @param client_a, client_b
-- @param list of pairs, or nil: all that are found in one of them
-- @param options_a, options_b tables or nil, as in `read`: on_progress, names
-- @return state of a, state of b; or nil and errors
function schema.read_both(client_a, client_b, list, options_a, options_b)
  local state_a, errors = account.read(client_a, list, options_a)
  if not state_a then
    return nil, errors
  end
  local state_b
  state_b, errors = account.read(client_b, list, options_b)
  if not state_b then
    return nil, errors
  end
  local ok
  ok, errors = complete(client_a, state_a, state_b)
  if ok then
    ok, errors = complete(client_b, state_b, state_a)
  end
  if not ok then
    return nil, errors
  end
  return state_a, state_b
end

-- A state without the pairs that only one account can mean, as a file would say it.
local function wanted_everywhere(state, options)
  local common = { pairs = {}, notes = state.notes, problems = state.problems, titles = state.titles }
  for _, pair in ipairs(state.pairs) do
    local from, to = objects.name(pair.from, options.names), objects.name(pair.to, options.names)
    if not objects.is_of_account(from) and not objects.is_of_account(to) then
      common.pairs[#common.pairs + 1] = pair
    end
  end
  return export.wanted_of(common, options)
end

--- What would make account b as account a is, and would take from it what a has not: to be looked at.
-- @param state_a, state_b of `read_both`
-- @return plan for b; its steps say no `why`
function schema.diff(state_a, state_b)
  local wanted = wanted_everywhere(state_a, { unmanaged = "remove" })
  for _, pair in ipairs(wanted.pairs) do
    for _, label in ipairs(pair.labels) do
      label.is_guess = nil -- nothing is made
    end
  end
  local plan = plan_module.plan(state_b, wanted)
  plan.problems, plan.warnings = {}, {} -- they are about applying it
  for _, step in ipairs(plan.steps) do
    step.why = nil -- about a file, and there is none
  end
  return plan
end

--- What has to be done so that one account has what another one has.
-- @param source, target states of `read_both`
-- @param options table or nil, as in `wanted_of`: unmanaged ("remove": what the source has not is removed), names
-- @return plan for the target. It has problems where HubSpot does not tell what would have to be made.
function schema.copy_plan(source, target, options)
  local wanted, notes = wanted_everywhere(source, options or {})
  local plan = plan_module.plan(target, wanted)
  plan.notes = {}
  for _, list in ipairs { source.notes, target.notes, notes } do
    for _, note in ipairs(list) do
      plan.notes[#plan.notes + 1] = note
    end
  end
  return plan
end

return schema
