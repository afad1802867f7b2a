--- Files of associations, and plans, as the commands read and show them. What they mean, hubspot_assoc.schema knows.

local objects = require "hubspot_assoc.schema.objects"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"
local text = require "hubspot_assoc.cli.text"

local MOST_SHOWN = 100 -- of what is wrong with a file

local files = {}

--- hubspot_assoc.schema, or a problem where what it needs is missing.
function files.schema()
  local ok, schema = pcall(require, "hubspot_assoc.schema")
  if ok then return schema end
  if tostring(schema):find("module 'l?yaml", 1) then
    problem.raise("lyaml is missing, which reads YAML", "Install it: luarocks install lyaml, or Debian's lua-yaml.")
  end
  error(schema, 0)
end

-- ---- reading ----

local function read_content(path)
  if path == "-" then return io.read "*a" end
  local content, reason = system.read_file(path)
  if not content then
    problem.raise("cannot read " .. tostring(reason),
      "'hubspot-assoc export >FILE' writes one of the account as it is.")
  end
  return content
end

-- "FILE:3:5: error: …", as compilers say it and editors find it.
local function tell_problems(run, path, problems)
  local errors = 0
  for i, found in ipairs(problems) do
    if found.severity ~= "warning" then errors = errors + 1 end
    if i <= MOST_SHOWN then
      local place = found.line and ("%s:%d:%d"):format(path, found.line, found.column or 1) or path
      run.terminal:point(place, found.severity or "error", found.message)
    end
  end
  if #problems > MOST_SHOWN then run.terminal:note(("and %d more"):format(#problems - MOST_SHOWN)) end
  return errors
end

--- Reads a file of associations; what is wrong with it is told.
-- @param path "-" for the standard input
-- @return wanted, as hubspot_assoc.schema has it; raises a problem
function files.read(run, path)
  local wanted, problems = files.schema().parse(read_content(path))
  local name = path == "-" and "the standard input" or path
  local errors = tell_problems(run, name, problems)
  if wanted then return wanted end
  problem.raise(("%s cannot be used: %s; nothing was sent"):format(name, files.counted(errors, "mistake")),
    "Correct what is named. 'hubspot-assoc schema' writes a JSON Schema with which editors check such files.")
end

--- "contacts:companies" … as lists of { from =, to = }, each pair once whichever side it is named from; nil for none.
function files.pairs(words)
  if not words or #words == 0 then return nil end
  local list, seen = {}, {}
  for _, word in ipairs(words) do
    local from, to = word:match "^([^:]+):([^:]+)$"
    if not from then
      problem.raise(("'%s' is no pair"):format(word), "Write FROM:TO, as in contacts:companies.", problem.status.usage)
    end
    local key = objects.pair_key(from, to)
    if not seen[key] then list[#list + 1] = { from = from, to = to } end
    seen[key] = true
  end
  return list
end

--- "2-1234567=p_car" … as a table id -> name.
function files.names(words)
  local names = {}
  for _, word in ipairs(words or {}) do
    local id, name = word:match "^(2%-%d+)=(%a[%w_]*)$"
    if not id then
      problem.raise(("'%s' is no name of a custom object"):format(word), "Write ID=NAME, as in 2-1234567=p_car.",
        problem.status.usage)
    end
    names[id] = name
  end
  return names
end

--- Is this the name of a file, rather than of a profile?
function files.is_file(word)
  return word == "-" or word:find "[/.]" ~= nil or system.read_file(word) ~= nil
end

--- An on_progress function that shows how far reading has come.
function files.progress(run)
  return function(done, total)
    run.terminal:progress(("reading the account: %d of %d"):format(done, total))
  end
end

--- Reads two accounts, so that they can be compared.
-- @param names of custom objects (files.names)
-- @return state, state; raises a problem
function files.read_both(run, client, other_client, list, names)
  local options = { on_progress = files.progress(run), names = names }
  local state, other = files.schema().read_both(client, other_client, list, options, options)
  if not state then problem.check(nil, other) end
  run.terminal:clear_progress()
  return state, other
end

--- Reads an account.
-- @param client
-- @param list of pairs, or nil for all that can be found
-- @param names of custom objects (files.names), or nil
-- @return state; raises a problem
function files.read_state(run, client, list, names)
  local state = problem.check(files.schema().read(client, list, { on_progress = files.progress(run), names = names }))
  run.terminal:clear_progress()
  return state
end

--- What a client's account would need to be as a file wants it.
-- @return plan; raises a problem
function files.plan_for(run, client, wanted)
  local plan = problem.check(files.schema().plan_for(client, wanted, { on_progress = files.progress(run) }))
  run.terminal:clear_progress()
  return plan
end

-- ---- showing plans ----

local COLORS = { ["+"] = "green", ["-"] = "red", ["~"] = "yellow" }

local function show_lines(run, plan)
  for _, line in ipairs(files.schema().diff_lines(plan)) do
    local shown = text.escape(line.text)
    if COLORS[line.sign] then
      shown = run.terminal:paint(COLORS[line.sign], ("  %s %s"):format(line.sign, shown))
    else
      shown = run.terminal:paint("bold", (shown:gsub("^ ", "")))
    end
    if line.why then shown = shown .. run.terminal:paint("dim", "  # " .. text.escape(line.why)) end
    run.terminal:print(shown)
  end
end

--- Tells what a plan or a state says beside its steps.
function files.tell_notes(run, name, plan)
  for _, note in ipairs(plan.notes or {}) do run.terminal:warn(note.message) end
  for _, warning in ipairs(plan.warnings or {}) do
    if warning.line then
      run.terminal:point(("%s:%d:%d"):format(name, warning.line, warning.column or 1), "warning", warning.message)
    else
      run.terminal:warn(warning.message)
    end
  end
end

--- Shows a plan to people: a line for each step, under the pair.
function files.show_plan(run, name, plan)
  show_lines(run, plan)
  files.tell_notes(run, name, plan)
end

--- A problem where a plan cannot be applied.
function files.check_problems(run, name, plan)
  if not plan.problems or #plan.problems == 0 then return end
  tell_problems(run, name, plan.problems)
  problem.raise(("%s cannot be applied to this account; nothing was sent"):format(name),
    "Correct what is named, in the file or in the account.")
end

local function counted(n, what)
  return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end
files.counted = counted

--- "3 changes (1 label deleted, 2 limits removed)"
function files.summary(plan)
  local parts = {}
  if plan.deletes > 0 then parts[#parts + 1] = counted(plan.deletes, "label") .. " deleted" end
  if plan.removes > 0 then parts[#parts + 1] = counted(plan.removes, "limit") .. " removed" end
  return counted(plan.count, "change") .. (#parts > 0 and " (" .. table.concat(parts, ", ") .. ")" or "")
end

local STEP_FIELDS = { "kind", "from", "to", "label", "inverse_label", "old", "new", "why", "line", "column" }

function files.steps_for_json(steps)
  local list = {}
  for i, step in ipairs(steps or {}) do
    list[i] = {}
    for _, name in ipairs(STEP_FIELDS) do list[i][name] = step[name] end
  end
  return list
end

local function places_for_json(places)
  local list = {}
  for i, place in ipairs(places or {}) do
    list[i] = { message = place.message, line = place.line, column = place.column }
  end
  return list
end

--- A plan for programs.
function files.plan_for_json(plan)
  return {
    digest = plan.digest, count = plan.count, deletes = plan.deletes, removes = plan.removes, pairs = plan.pairs,
    steps = files.steps_for_json(plan.steps), problems = places_for_json(plan.problems),
    warnings = places_for_json(plan.warnings), notes = places_for_json(plan.notes),
  }
end

return files
