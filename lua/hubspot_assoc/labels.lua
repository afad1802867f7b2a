--- Labels by their names: what `associate` needs for them, and their limits.

local client_module = require "hubspot_assoc.client"
local core = require "hubspot_assoc.core"
local limit_steps = require "hubspot_assoc.limit_steps"
local nearest = require "hubspot_assoc.nearest"

local error, getmetatable, ipairs, pairs = error, getmetatable, ipairs, pairs
local concat, max, select, setmetatable, sort = table.concat, math.max, select, setmetatable, table.sort
local tonumber, tostring, type = tonumber, tostring, type

local UNLABELLED = "unlabelled"
local MAX_LIMIT = 2147483647
local MAX_SHOWN = 10 -- names in a message
local ANY_TIME = -1 -- s on core.now's clock
local MIN_DEADLINE = 0.001 -- s: what is left of one that has passed

-- ---- errors ----

--- What is wrong with the account's labels, or with what a program expects of them.
local function new_problem(call, from, to, message, label)
  return { kind = "config", message = message, call = call, from = from, to = to, label = label, attempts = 0,
    retryable = false, ambiguous = false }
end

-- ---- the labels of one direction, by name ----

--- Adds a row under a name; several may have the same.
local function put(rows_of, name, row)
  local rows = rows_of[name] or {}
  rows_of[name] = rows
  rows[#rows + 1] = row
end

--- The rows that are association types: a server may send anything.
local function sound_rows(rows)
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
local function new_index(given)
  local rows = sound_rows(given)
  local index = { rows = rows, by_name = {}, by_key = {}, names = {} }
  for _, row in ipairs(rows) do
    local name = row.label or UNLABELLED
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
local function find(index, name, hint)
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

-- ---- label types ----

local LabelTypes = { __name = "hubspot_assoc.label_types" }
LabelTypes.__index = LabelTypes

function LabelTypes:__tostring()
  return ("hubspot_assoc.label_types: %s -> %s"):format(self.from, self.to)
end

local function expect_types(self, name)
  if getmetatable(self) ~= LabelTypes then
    error(("'%s' is a method of label types: call it with a colon, types:%s(...)"):format(name, name), 3)
  end
end

local KEPT = {} -- the key of a client's field

--- What is kept of a client. Each table's keys are pairs, "from\0to".
local function kept_of(client)
  local kept = client[KEPT]
  if not kept then
    kept = { types = {}, reads = {} } -- label types; reads under way: { future =, began = }
    client[KEPT] = kept
  end
  return kept
end

--- The label types of a direction if they have been read, by a request that began at this time or later.
local function find_kept(client, from, to, since)
  local types = kept_of(client).types[from .. "\0" .. to]
  return types and types.began >= since and types or nil
end

--- Keeps what was read. Each direction has one object, whatever it is read for and how often.
local function keep(client, from, to, rows, response, began)
  local types, key = kept_of(client).types, from .. "\0" .. to
  local kept = types[key] or setmetatable({ client = client, from = from, to = to }, LabelTypes)
  kept.index, kept.response, kept.began = new_index(rows), response, began
  types[key] = kept
  return kept
end

--- Has a request for the labels of a direction begun, unless there is one that is new enough.
local function begin_read(client, from, to, options, since)
  local reads, key = kept_of(client).reads, from .. "\0" .. to
  local read = reads[key]
  if not read or read.began < since then
    local call = client_module.make_call(client, 1, "label_types", "get_labels", from, to, options)
    read = { began = core.now(), future = client_module.begin(client, 1, "label_types", call) }
    reads[key] = read
  end
  return read
end

--- The label types of a direction. Coroutines that want the same at the same time share one request.
-- @param since the time before which it must not have begun
-- @return label types, nil, response; or nil, errors, response
local function read_direction(client, from, to, options, since)
  local kept = find_kept(client, from, to, since)
  if kept then
    return kept, nil, kept.response
  end
  local reads, key = kept_of(client).reads, from .. "\0" .. to
  local read = begin_read(client, from, to, options, since)
  local rows, errors, response = read.future:wait()
  if reads[key] == read then
    reads[key] = nil
  end
  if errors then
    return nil, errors, response
  end
  return find_kept(client, from, to, read.began) or keep(client, from, to, rows, response, read.began), nil, response
end

--- May one of these be one side of a paired label, whose other side has a text of its own?
local function has_own_labels(types)
  for _, row in ipairs(types.index.rows) do
    if row.label and row.category == "USER_DEFINED" then
      return true
    end
  end
  return false
end

--- The label types of a pair of object types; those of the other direction are read, too, if there may be paired
-- labels. (HubSpot does not say which are.)
-- @return label types, nil, response; or nil, errors, response
local function read_pair(client, from, to, options, since)
  local types, errors, response = read_direction(client, from, to, options, since)
  if types and from ~= to and has_own_labels(types) then
    local others, other_errors, other_response = read_direction(client, to, from, options, since)
    if not others then
      return nil, other_errors, other_response
    end
  end
  return types, errors, response
end

local function check_names(...)
  local n = select("#", ...)
  for i = 1, n > 0 and n or 1 do
    local name = select(i, ...)
    if type(name) ~= "string" then
      error(('bad argument #%d to \'of\' (the name of a label expected, or "unlabelled", got %s)')
        :format(i, n > 0 and type(name) or "no value"), 3)
    end
  end
  return n
end

--- The association type of this name.
-- @param hint what else to know where there is none, or nil
-- @return row, or nil and an error
local function find_row(types, name)
  local row, problem = find(types.index, name, "; of labels made since these were read types:refresh() tells")
  local inverse = not row and find_kept(types.client, types.to, types.from, ANY_TIME)
  if inverse and not types.index.by_name[name] and inverse.index.by_name[name] then
    problem = ('"%s" is its name in the other direction, %s -> %s: associate from there, with types:inverse():of("%s")')
      :format(name, types.to, types.from, name)
  end
  return row, problem and new_problem("label_types", types.from, types.to, problem, name)
end

--- Turns names of labels into the `types` of an input for associate and archive_labels, or of associate_one.
-- @param ... one name or more: a label's text, exactly as HubSpot has it; "unlabelled"; or, where several have the same
--   text, category and type id: "USER_DEFINED:38"
-- @return list of { associationCategory =, associationTypeId = }, a new one each time; or nil and errors of kind
--   "config", one for each name that nothing or more than one thing has, with the field `label`. Raises if a name is no
--   string.
function LabelTypes:of(...)
  expect_types(self, "of")
  local types, problems, seen = {}, {}, {}
  for i = 1, check_names(...) do
    local row, problem = find_row(self, (select(i, ...)))
    if problem then
      problems[#problems + 1] = problem
    elseif not seen[row] then
      seen[row] = true
      types[#types + 1] = { associationCategory = row.category, associationTypeId = row.typeId }
    end
  end
  if problems[1] then
    return nil, core.errors(problems)
  end
  return types
end

--- What `of` has names for: a list of them, in HubSpot's order.
function LabelTypes:names()
  expect_types(self, "names")
  local names = {}
  for i, name in ipairs(self.index.names) do
    names[i] = name
  end
  return names
end

local methods = {}

--- The label types of the other direction, where the other side of a paired label has its own name and type.
-- @return as client:label_types(to, from) does
function LabelTypes:inverse()
  expect_types(self, "inverse")
  local types, errors, response = methods.label_types(self.client, 2, self.to, self.from)
  return types, errors, response
end

--- Reads the labels anew; the other direction's, too, where they had been read.
-- @return the label types, nil, response; or nil, errors, response, and they stay as they were
function LabelTypes:refresh()
  expect_types(self, "refresh")
  local types, errors, response = read_pair(self.client, self.from, self.to, nil, core.now())
  return types, errors, response
end

--- The labels of a pair of object types by name (HubSpot: Associations v4 > Retrieve association types). They are read
-- once for each client, in both directions if there are labels of one's own, and kept; `refresh` reads them anew.
--
--     local types = assoc.check(client:label_types("contacts", "companies"))
--     local employee = assoc.check(types:of("Employee"))
--     client:associate_one("contacts", 101, "companies", 201, employee)
--
-- @param from, to object types
-- @param options call options, for each of the requests
-- @return an object with the methods of(name, ...), names(), inverse() and refresh(), nil, the response of get_labels;
--   or nil, errors, response
function methods.label_types(client, level, from, to, options)
  client_module.check_call(client, level, "label_types", "get_labels", from, to, options)
  if not find_kept(client, from, to, ANY_TIME) then
    client_module.check_wait(client, level, "label_types")
  end
  return read_pair(client, from, to, options, ANY_TIME)
end

-- ---- limits by name ----

--- Is it a limit, or false for none?
local function is_limit(value)
  return value == false or type(value) == "number" and value >= 0 and value <= MAX_LIMIT and value % 1 == 0
end

--- Raises unless it is a table of names and limits. Returns the names in order.
local function check_limits(limits, level)
  local names = {}
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
        :format(MAX_LIMIT, type(limit) == "number" and "number " .. tostring(limit) or type(limit)))
    end
    names[#names + 1] = name
  end
  sort(names)
  return names
end

client_module.own_options.set_limits = { "dry_run" }

--- The options of the calls, without ours; raises if they are wrong.
-- @return call options, is it a dry run?
local function take_options(client, level, from, to, options)
  local call_options, dry_run = options, false
  if type(options) == "table" then
    dry_run = options.dry_run
    if dry_run ~= nil and type(dry_run) ~= "boolean" then
      error(("bad argument #4 to 'set_limits' (options.dry_run: boolean expected, got %s)"):format(type(dry_run)),
        level + 2)
    end
    call_options = {}
    for name, value in pairs(options) do
      if name ~= "dry_run" then
        call_options[name] = value
      end
    end
  end
  client_module.check_call(client, level + 1, "set_limits", "batch_update", from, to, {}, call_options)
  return call_options or {}, dry_run
end

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
    local call = client_module.make_call(client, 1, "set_limits", name, from, to, next_options(run))
    futures[i] = client_module.begin(client, 1, "set_limits", call)
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
  return read[1], sound_rows(read[2])
end

--- The types and limits that are wanted, for limit_steps; what is wrong with the names goes to the run's errors.
local function find_wanted(run, index, limits, names)
  local wanted, taken = {}, {}
  for _, name in ipairs(names) do
    local row, problem = find(index, name)
    if row and taken[row] then
      problem = ('"%s" and "%s" are the same'):format(taken[row], name)
    end
    if problem then
      add_errors(run, { new_problem("set_limits", run.from, run.to, problem, name) })
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
    local has = new_index(results).by_key
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
    failure.index, failure.label = nil, change.label or UNLABELLED
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
  local unsent = new_problem("set_limits", run.from, run.to,
    ("%d of the limits not sent: what comes before them failed"):format(n))
  unsent.kind, unsent.retryable = "canceled", true
  add_errors(run, { unsent })
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
  local call_options, dry_run = take_options(client, level, from, to, options)
  local names = check_limits(limits, level)
  client_module.check_wait(client, level, "set_limits")
  local run = new_run(client, from, to, call_options)
  local labels, current = read_state(run)
  if not labels then
    return end_run(run, nil)
  end
  local wanted = find_wanted(run, new_index(labels), limits, names)
  if run.errors[1] then
    return end_run(run, nil)
  end
  local steps = limit_steps.steps(current, wanted)
  if dry_run then
    return end_run(run, all_changes(steps))
  end
  send_all(run, steps)
  return end_run(run, (run.was_answered or #steps == 0) and run.done or nil)
end

return methods
