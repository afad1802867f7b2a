--- Limits by the names of labels.

local core = require "hubspot_assoc.core"
local label_index = require "hubspot_assoc.label_index"
local limit_steps = require "hubspot_assoc.limit_steps"
local names_of = require "hubspot_assoc.names"
local room = require "hubspot_assoc.room"

local error, ipairs, max, pairs = error, ipairs, math.max, pairs
local tonumber, tostring, type = tonumber, tostring, type

local MAX_LIMIT = 2147483647
local MIN_DEADLINE = 0.001 -- s: what is left of one that has passed

--- Is it a limit, or false for none?
local function is_limit(value)
  return value == false or type(value) == "number" and value >= 0 and value <= MAX_LIMIT and value % 1 == 0
end

--- Raises unless it is a table of names and limits. Returns the names in order.
local function check_limits(limits, level)
  local function refuse(where, problem)
    error(("bad argument #3 to 'set_limits' (limits%s: %s)"):format(where, problem), level + 3)
  end
  if type(limits) ~= "table" then
    refuse("", ("table expected, got %s"):format(type(limits)))
  end
  for name, limit in pairs(limits) do
    if type(name) ~= "string" then
      refuse("", ('its keys are names of labels, or "unlabelled", got %s %s'):format(type(name), tostring(name)))
    elseif not is_limit(limit) then
      refuse(('["%s"]'):format(name), ("integer from 0 to %d, or false for no limit, expected, got %s")
        :format(MAX_LIMIT, room.show(limit)))
    end
  end
  return names_of(limits)
end

room.own_options.set_limits = { dry_run = room.type_option "boolean" }

--- One run of set_limits: what it has done so far. What is sent through it shares its deadline.
local function new_run(client, from, to, options)
  return { client = client, from = from, to = to, options = options, started = core.now(), done = {}, errors = {},
    responses = {}, was_answered = false }
end

--- The options for the next request. The deadline is that of the whole run.
local function next_options(run, is_batch)
  local options = {}
  for name, value in pairs(run.options) do
    options[name] = value
  end
  if options.deadline then
    options.deadline = max(options.deadline - (core.now() - run.started), MIN_DEADLINE)
  end
  if not is_batch then
    options.batch_size = nil
  end
  return options
end

local function add_response(run, response)
  run.responses[#run.responses + 1] = response
end

local function add_errors(run, errors)
  for i = 1, errors and #errors or 0 do
    run.errors[#run.errors + 1] = errors[i]
  end
end

--- Adds an error of ours.
local function add_error(run, fields)
  fields.call, fields.from, fields.to = "set_limits", run.from, run.to
  add_errors(run, { room.new_error(fields) })
end

--- The response of the run: the last one, with all of them in `requests`.
local function response_of(run)
  local last, response = run.responses[#run.responses], nil
  if last then
    response = {}
    for name, value in pairs(last) do
      response[name] = value
    end
    response.requests = run.responses
  end
  return response
end

--- What set_limits returns.
local function end_run(run, results)
  local errors = run.errors[1] and core.errors(run.errors) or nil
  return results, errors, response_of(run)
end

--- Reads what there is, in two requests at the same time.
-- @return labels, limits; nil if that failed
local function read_state(run)
  local client, from, to = run.client, run.from, run.to
  local futures = {}
  for i, name in ipairs { "get_labels", "get_limits" } do
    local call = room.make_call(client, 1, "set_limits", name, from, to, next_options(run))
    futures[i] = room.begin(client, 1, "set_limits", call)
  end
  local read = {}
  for i = 1, 2 do
    local rows, errors, response = futures[i]:wait()
    add_response(run, response)
    add_errors(run, errors)
    read[i] = rows
  end
  if run.errors[1] then
    return nil
  end
  return read[1], label_index.sound_rows(read[2])
end

--- The types and limits that are wanted, for limit_steps; what is wrong with the names goes to the run's errors.
local function find_wanted(run, index, limits, names)
  local wanted, taken = {}, {}
  for _, name in ipairs(names) do
    local row, problem = label_index.find(index, name)
    if row and taken[row] then
      problem = ('"%s" and "%s" are the same'):format(taken[row], name)
    end
    if problem then
      add_error(run, { kind = "config", message = problem, label = name })
    else
      taken[row] = name
      wanted[#wanted + 1] = { category = row.category, typeId = row.typeId, label = row.label,
        limit = limits[name] and tonumber(("%d"):format(limits[name])) }
    end
  end
  return wanted
end

--- Which changes of a step were made? Those with a result; of a purge, which has none, those without an error.
local function find_done(step, results, errors)
  local is_done = {}
  if not errors then
    return step.changes
  elseif step.action == "purge" then
    for i = 1, #step.changes do
      is_done[i] = true
    end
    for _, failure in ipairs(errors) do
      for i = failure.index or failure.first or 1, failure.index or failure.last or #step.changes do
        is_done[i] = false
      end
    end
  else
    local has = label_index.new(results).by_key
    for i, change in ipairs(step.changes) do
      is_done[i] = has[limit_steps.key(change)] ~= nil
    end
  end
  local done = {}
  for i, change in ipairs(step.changes) do
    if is_done[i] then
      done[#done + 1] = change
    end
  end
  return done
end

--- Says of an error which label it is about; there are no inputs here that an index could mean.
local function name_label(failure, step)
  local change = step.changes[failure.index]
  if change then
    failure.index, failure.label = nil, change.label or label_index.UNLABELLED
  end
  failure.first, failure.last = nil, nil
end

--- Sends a step.
-- @return may steps that do not depend on it be sent?
local function send(run, step)
  local results, errors, response = run.client["batch_" .. step.action](run.client, run.from, run.to, step.inputs,
    next_options(run, true))
  add_response(run, response)
  if results then
    run.was_answered = true
    for _, change in ipairs(find_done(step, results, errors)) do
      run.done[#run.done + 1] = change
    end
  end
  for i = 1, errors and #errors or 0 do
    name_label(errors[i], step)
  end
  add_errors(run, errors)
  return results ~= nil
end

--- Says that a step, and those behind it, were not sent.
local function add_unsent(run, steps, first)
  local n = 0
  for i = first, #steps do
    n = n + #steps[i].changes
  end
  add_error(run, { kind = "canceled", message = ("%d of the limits not sent: what comes before them failed"):format(n),
    retryable = true })
end

--- Sends the steps, as far as they can be sent.
local function send_all(run, steps)
  local failed_in, may_go_on = nil, true -- the phase in which something failed
  for i, step in ipairs(steps) do
    if not may_go_on or failed_in and step.phase > failed_in then
      add_unsent(run, steps, i)
      break
    end
    local before = #run.errors
    may_go_on = send(run, step)
    failed_in = failed_in or #run.errors > before and step.phase or nil
  end
end

local function all_changes(steps)
  local changes = {}
  for _, step in ipairs(steps) do
    for _, change in ipairs(step.changes) do
      changes[#changes + 1] = change
    end
  end
  return changes
end

local methods = {}

--- Sets the limits of a pair of object types by the names of its labels (HubSpot: Associations v4 > Set limits): reads
-- what there is, and sends what differs, in the order that HubSpot's rules need. What is not named stays as it is.
-- Interrupted at any moment, it can be called again, and does the rest.
--
--     client:set_limits("contacts", "companies", { unlabelled = 200, Employee = 50, Consultant = false })
--
-- @param from, to object types
-- @param limits table: name -> number, or false to remove the limit. A name is a label's text, "unlabelled", or
--   "USER_DEFINED:38", as in label_types
-- @param options call options, of which the deadline (s) is that of all requests together if it is given; and
--   dry_run = true: nothing is sent, and what would be done is returned
-- @return list of what was done, in order: { action = "create", "update" or "purge", category =, typeId =, label =
--   (nil: unlabelled), before =, after = (number, or false for none) }; empty if nothing differs. errors: as calls
--   have them, with `label` where it is known which one it is about; of kind "config" for a name that nothing or more
--   than one thing has, and then nothing is sent; of kind "canceled" for what was not sent because what it depends on
--   failed.
--   response: the last one, with all in `requests`.
function methods.set_limits(client, level, from, to, limits, options)
  local own, call_options = room.split_options(level, "set_limits", options)
  room.check_call(client, level, "set_limits", "batch_update", from, to, {}, call_options)
  local names = check_limits(limits, level)
  room.check_wait(client, level, "set_limits")
  local run = new_run(client, from, to, call_options or {})
  local labels, current = read_state(run)
  if not labels then
    return end_run(run, nil)
  end
  local wanted = find_wanted(run, label_index.new(labels), limits, names)
  if run.errors[1] then
    return end_run(run, nil)
  end
  local steps = limit_steps.steps(current, wanted)
  if own.dry_run then
    return end_run(run, all_changes(steps))
  end
  send_all(run, steps)
  return end_run(run, (run.was_answered or #steps == 0) and run.done or nil)
end

return methods
