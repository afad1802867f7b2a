--- Carries out a plan. It keeps nothing: whatever ends it, planning anew finds what is left.

local account = require "hubspot_assoc.schema.account"
local limit_steps = require "hubspot_assoc.limit_steps"
local objects = require "hubspot_assoc.schema.objects"
local plan_module = require "hubspot_assoc.schema.plan"

local concat, ipairs, next, setmetatable, tostring = table.concat, ipairs, next, setmetatable, tostring
local OWN = "USER_DEFINED"

local apply = {}

local Run = {}
Run.__index = Run

local function is_of_label(step)
  return step.kind == "create_label" or step.kind == "rename_label" or step.kind == "delete_label"
end

function Run:tell(step, status, errors)
  self.status[step] = status
  if self.on_step then
    self.on_step(step, status, errors)
  end
end

-- ---- labels ----

local send = {}

function send.create_label(client, step)
  local is_paired = step.inverse_label and step.inverse_label ~= step.label
  return client:create_label(step.from, step.to, { name = step.name, label = step.label,
    inverseLabel = is_paired and step.inverse_label or nil })
end

function send.rename_label(client, step)
  local old, new = step.old, step.new
  local stays_one = new.inverse_label == new.label and old.inverse_label == old.label
  return client:update_label(step.from, step.to, { associationTypeId = step.type_id, label = new.label,
    inverseLabel = not stays_one and new.inverse_label or nil })
end

function send.delete_label(client, step)
  return client:delete_label(step.from, step.to, step.type_id)
end

-- The label of one's own that has this id, or else this text; nil if there is none.
local function find_row(rows, type_id, text)
  for _, row in ipairs(rows) do
    if row.category == OWN and (type_id and row.typeId == type_id or not type_id and row.label == text) then
      return row
    end
  end
  return nil
end

-- Has a step reached what it was to reach? It asks HubSpot. Returns nil and errors if that cannot be told.
local function is_reached(client, step)
  local forward, errors = client:get_labels(step.from, step.to)
  if errors then
    return nil, errors
  end
  local row = find_row(forward, step.type_id, step.label)
  if step.kind == "delete_label" then
    return not row
  elseif not row or row.label ~= step.label then
    return false
  elseif not step.inverse_label then
    return true
  end
  local inverse
  inverse, errors = client:get_labels(step.to, step.from)
  if errors then
    return nil, errors
  end
  return find_row(inverse, nil, step.inverse_label) ~= nil
end

-- What is deleted is what was shown: an id may stand for another text by now, where its label was renamed a moment ago.
local function is_there(client, step)
  local rows, errors = client:get_labels(step.from, step.to)
  if errors then
    return nil, errors
  end
  local row = find_row(rows, step.type_id)
  return row ~= nil and row.label == step.label
end

-- Sends a step about a label. Returns true, or nil and what stopped it.
function Run:send_label(step)
  local client = self.client
  local is_wanted, errors = true, nil
  if step.kind == "delete_label" then
    is_wanted, errors = is_there(client, step)
  end
  if is_wanted then
    local _
    _, errors = send[step.kind](client, step)
  end
  if errors then
    -- An answer that went missing, or somebody who was quicker: what counts is what is there now.
    local reached, problem = is_reached(client, step)
    if not reached then
      self:tell(step, problem and "unknown" or "failed", errors)
      return nil, errors
    end
  end
  self:tell(step, "done")
  return true
end

-- ---- limits ----

local CALLS = { create = "batch_create", update = "batch_update", purge = "batch_purge" }

local function input_of(step)
  return { category = step.category, typeId = step.type_id, maxToObjectIds = step.new }
end

-- Steps that go in one request, as lists.
local function grouped(steps)
  local groups, last = {}, nil
  for _, step in ipairs(steps) do
    if not last or last.request ~= step.request then
      last = { request = step.request, call = step.call, from = step.from, to = step.to, steps = {}, inputs = {} }
      groups[#groups + 1] = last
    end
    last.steps[#last.steps + 1] = step
    last.inputs[#last.inputs + 1] = input_of(step)
  end
  return groups
end

-- After a request that failed, in whole or in part: which of its limits are as they were to be. All unknown if HubSpot
-- does not tell. Returns whether all are.
function Run:look_at(group, errors)
  local rows, problem = self.client:get_all_limits()
  local limits, all = {}, true
  for _, row in ipairs(rows or {}) do
    limits[limit_steps.key(row)] = row.userEnforcedMaxToObjectIds
  end
  for _, step in ipairs(group.steps) do
    local is_done = not problem and limits[limit_steps.key(input_of(step))] == step.new
    all = all and is_done
    local status = is_done and "done" or problem and "unknown" or "failed"
    self:tell(self.planned[step] or step, status, not is_done and errors or nil)
  end
  return all
end

function Run:send_limits(group)
  local _, errors = self.client[CALLS[group.call]](self.client, group.from, group.to, group.inputs)
  if not errors then
    for _, step in ipairs(group.steps) do
      self:tell(self.planned[step] or step, "done")
    end
    return true
  elseif self:look_at(group, errors) then
    return true
  end
  return nil, errors
end

-- ---- between labels and limits ----

-- What a step is to reach, whatever its label's id may be.
local function key(step)
  local is_of_limit = not is_of_label(step)
  return concat({ step.kind, objects.id(step.from), objects.id(step.to), step.category, tostring(step.label),
    tostring(is_of_limit and step.old), tostring(is_of_limit and step.new) }, "\1")
end

-- The limits that are still to be set in pairs whose labels have changed: new labels have their ids only now. They must
-- be those of the plan.
-- @return steps; or nil, the new plan, and a step about a label that is planned again though it was done
function Run:limits_after_labels(state, wanted)
  local fresh, expected = plan_module.plan(state, wanted), {}
  for _, step in ipairs(self.plan.steps) do
    expected[key(step)] = step
  end
  local steps = {}
  for _, step in ipairs(fresh.steps) do
    local planned = expected[key(step)]
    if is_of_label(step) or not planned then
      return nil, fresh, planned
    end
    steps[#steps + 1], self.planned[step] = step, planned
  end
  if fresh.problems[1] then
    return nil, fresh
  end
  return steps
end

-- The steps about limits that are left, by pairs. Those of a label that is gone now have gone with it.
function Run:collect_limits(fresh, changed)
  local steps, is_planned = {}, {}
  for _, step in ipairs(fresh) do
    is_planned[self.planned[step]] = true
  end
  for _, step in ipairs(self.plan.steps) do
    if not is_of_label(step) and not changed[step.pair] then
      steps[#steps + 1] = step
    elseif not is_of_label(step) and not is_planned[step] then
      self:tell(step, "done")
    end
  end
  for i, step in ipairs(fresh) do
    step.request = "after labels " .. step.request
    steps[#steps + 1] = fresh[i]
  end
  return grouped(steps)
end

-- ---- all ----

-- What became of the plan.
function Run:report(status, message, errors, new_plan)
  local report = { status = status, message = message, errors = errors, plan = new_plan,
    done = {}, failed = {}, left = {} }
  for _, step in ipairs(self.plan.steps) do
    local became = self.status[step]
    local list = became == "done" and report.done or became and report.failed or report.left
    list[#list + 1] = step
  end
  return report
end

local STOPPED = "Stopped at the first failure. Nothing is undone; apply the file again to finish what is left."
local NAME_TAKEN = "HubSpot has another label of this pair under the name '%s', inside; give '%s' another (name: …). "

-- @param step that failed, or nil
function Run:stopped(errors, step)
  local is_taken = step and step.kind == "create_label" and errors[1].category == "CONFLICT"
  return self:report("failed", (is_taken and NAME_TAKEN:format(step.name, step.label) or "") .. STOPPED, errors)
end

local CHANGED = "The account has changed since the plan was made, and nothing was sent. Look at the new plan."
local NO_EFFECT = "HubSpot took the new texts of '%s', and it is not called so all the same. No limit was sent.%s"
local ONE_SIDE = " A label with one side does not become one with two: delete it and apply the file again, or leave "
  .. "out its inverse_label."
local NOT_EXPECTED = "After its labels were changed, the account is not as the plan expected, and no limit was sent. "
  .. "Look at the new plan."

-- Does all steps about labels. Returns the file's pairs that they were about; or nil, errors and the failed step.
function Run:change_labels()
  local changed = {}
  for _, step in ipairs(self.plan.steps) do
    if is_of_label(step) then
      local ok, errors = self:send_label(step)
      if not ok then
        return nil, errors, step
      end
      changed[step.pair] = true
    end
  end
  return changed
end

local function list_pairs(wanted, changed)
  local list = {}
  for _, pair in ipairs(wanted.pairs) do
    if changed[pair] then
      list[#list + 1] = pair
    end
  end
  return list
end

local MOST_READINGS = 5 -- after labels were changed: what HubSpot reads may be a moment older than what it has

-- Reads the pairs whose labels have changed.
-- @return the steps about their limits; or nil and a report
function Run:read_again(changed)
  local wanted = { version = 1, unmanaged = self.plan.wanted.unmanaged, pairs = list_pairs(self.plan.wanted, changed) }
  local steps, new_plan, repeated
  for _ = 1, MOST_READINGS do
    local state, errors = account.read(self.client, wanted.pairs)
    if not state then
      return nil, self:stopped(errors)
    end
    steps, new_plan, repeated = self:limits_after_labels(state, wanted)
    if steps or not repeated then
      break
    end
  end
  if steps then
    return steps
  elseif repeated and repeated.kind == "rename_label" then
    self:tell(repeated, "failed")
    local hint = repeated.pair.is_same and ONE_SIDE or ""
    return nil, self:report("failed", NO_EFFECT:format(repeated.label, hint))
  end
  return nil, self:report("changed", NOT_EXPECTED, nil, new_plan)
end

-- Returns a report.
function Run:carry_out()
  local changed, errors, failed = self:change_labels()
  if not changed then
    return self:stopped(errors, failed)
  end
  local fresh = {}
  if next(changed) then
    local steps, report = self:read_again(changed)
    if not steps then
      return report
    end
    fresh = steps
  end
  for _, group in ipairs(self:collect_limits(fresh, changed)) do
    local ok
    ok, errors = self:send_limits(group)
    if not ok then
      return self:stopped(errors)
    end
  end
  return self:report("done", ("%d of %d steps done."):format(#self.plan.steps, #self.plan.steps))
end

--- Carries out a plan: reads first, and sends nothing if the plan would be another one by now. Steps are sent one
-- request after the other; it stops at the first failure that reading does not explain.
-- @param client
-- @param plan of plan.lua
-- @param options table or nil: on_step (function(step, status, errors), status "done", "failed" or "unknown"),
--   on_progress (as in account.read)
-- @return report, or nil and errors if the first reading failed: { status = "done", "changed", "failed" or "refused"
--   (the plan has problems), message =, errors = of what failed, plan = the new one where it changed, done =, failed =,
--   left = lists of steps; in `failed` are those, too, of which it is not known }
function apply.apply(client, plan, options)
  options = options or {}
  local run = setmetatable({ client = client, plan = plan, on_step = options.on_step, status = {}, planned = {} }, Run)
  if plan.problems[1] then
    return run:report("refused", "The plan has problems, and nothing was sent: " .. plan.problems[1].message)
  end
  local state, errors = account.read(client, plan.wanted.pairs, options)
  if not state then
    return nil, errors
  end
  local fresh = plan_module.plan(state, plan.wanted)
  if fresh.digest ~= plan.digest or fresh.problems[1] then
    return run:report("changed", CHANGED, nil, fresh)
  end
  return run:carry_out()
end

return apply
