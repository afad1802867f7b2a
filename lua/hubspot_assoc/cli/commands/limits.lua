--- limits get | set | unset

local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local UNLABELLED = "unlabelled"

local COLUMNS = { { title = "FROM" }, { title = "TO" }, { title = "LABEL" }, { title = "LIMIT", right = true },
  { title = "CATEGORY" }, { title = "TYPE ID", right = true } }

-- HubSpot's list of all limits does not say of which pair each is: the pairs are read for that.
local function add_set(list, from, to, rows)
  for _, row in ipairs(rows) do
    if row.limit then
      list[#list + 1] = { from = from, to = to, category = row.category, typeId = row.typeId, label = row.label,
        userEnforcedMaxToObjectIds = row.limit }
    end
  end
end

local function get_all(run)
  local state, list = files.read_state(run, run:client()), {}
  files.tell_notes(run, "the account", state)
  for _, pair in ipairs(state.pairs) do
    add_set(list, pair.from, pair.to, pair.forward)
    if not pair.is_same then add_set(list, pair.to, pair.from, pair.inverse) end
  end
  return list
end

local function get_pair(run, args)
  local list = problem.check(run:client():get_limits(args.from, args.to))
  for _, limit in ipairs(list) do limit.from, limit.to = args.from, args.to end
  return list
end

local function get(run, args)
  if args.from and not args.to then
    problem.raise("TO is missing", "Give both object types, or none for all limits that are set.", problem.status.usage)
  end
  local list = args.from and get_pair(run, args) or get_all(run)
  if args.json then return run.terminal:json { results = list } end
  local rows = {}
  for i, limit in ipairs(list) do
    rows[i] = { limit.from, limit.to, limit.label or "(unlabelled)", limit.userEnforcedMaxToObjectIds or "none",
      limit.category, limit.typeId }
  end
  run.terminal:table(COLUMNS, rows)
end

-- ---- changing them ----

-- "200" -> "unlabelled", 200; "Employee=50" -> "Employee", 50
local function parse_setting(setting)
  local label, value = setting:match("^(.*)=(.-)$")
  label, value = label or UNLABELLED, value or setting
  local number = value:match("^%d+$") and tonumber(value)
  if not number or label == "" or number > 2147483647 then
    problem.raise(("'%s' is no limit"):format(setting),
      "Write a number, for the pair as a whole, or LABEL=NUMBER; 'limits unset' removes limits.", problem.status.usage)
  end
  return label, number
end

local function add(limits, label, value)
  if limits[label] ~= nil then
    problem.raise(("'%s' is given twice"):format(label), nil, problem.status.usage)
  end
  limits[label] = value
end

local function in_words(value)
  return value and ("%d"):format(value) or "none"
end

local function show_done(run, args, done, errors)
  if args.json then
    local failed = {}
    for i, failure in ipairs(errors or {}) do
      failed[i] = { message = failure.message, kind = failure.kind, label = failure.label,
        category = failure.category }
    end
    return run.terminal:json { results = done, errors = errors and failed }
  elseif #done == 0 and not errors then
    return run.terminal:note("nothing to do: it is so already")
  end
  local rows = {}
  for i, change in ipairs(done) do
    rows[i] = { change.label or "(unlabelled)", in_words(change.before), in_words(change.after) }
  end
  if #rows > 0 then
    run.terminal:table({ { title = "LABEL" }, { title = "WAS", right = true },
      { title = args.dry_run and "WOULD BE" or "IS", right = true } }, rows)
  end
end

local function change(run, args, limits)
  run:begin_changes("Run it again: it does the rest.")
  local done, errors = run:client():set_limits(args.from, args.to, limits, { dry_run = args.dry_run })
  if not done then problem.check(nil, errors) end
  show_done(run, args, done, errors)
  if errors then
    run.terminal:complain(problem.describe(errors), problem.advice(errors))
    return problem.status.failed
  end
end

local function set(run, args)
  local limits = {}
  for _, setting in ipairs(args.settings) do add(limits, parse_setting(setting)) end
  return change(run, args, limits)
end

local function unset(run, args)
  local limits = {}
  for _, label in ipairs(args.labels) do add(limits, label, false) end
  if #args.labels == 0 then limits[UNLABELLED] = false end
  return change(run, args, limits)
end

local DRY_RUN = { name = "--dry-run", flag = true, description = "Only tell what would be done." }

return {
  name = "limits", summary = "Association limits of object pairs: get, set, unset.",
  commands = {
    {
      name = "get", summary = "Show the limits of a pair, or all that are set.",
      arguments = { options.with(options.from, { args = "?" }), options.with(options.to, { args = "?" }) },
      options = { options.json },
      examples = {
        "hubspot-assoc limits get contacts companies",
        "hubspot-assoc limits get --json | jq '.results[].userEnforcedMaxToObjectIds'",
      },
      run = get,
    },
    {
      name = "set", summary = "Set limits.",
      description = "Sets limits of a pair, in the order that HubSpot's rules need. Those that are not named stay. "
        .. "What is associated already stays, too, where it exceeds a new limit: see usage.",
      arguments = { options.from, options.to, { name = "settings", argname = "LIMIT", args = "+",
        description = "A number, for the pair as a whole, or LABEL=NUMBER." } },
      options = { DRY_RUN, options.json },
      examples = {
        { "hubspot-assoc limits set contacts companies 200", "how many companies a contact may have" },
        { "hubspot-assoc limits set contacts companies 200 Employee=50 'Decision maker=5'", "with labels" },
      },
      run = set,
    },
    {
      name = "unset", summary = "Remove limits.",
      description = "Removes the limits of labels; that of the pair as a whole where none is named.",
      arguments = { options.from, options.to, { name = "labels", argname = "LABEL", args = "*",
        description = "A label; 'unlabelled' is the pair as a whole." } },
      options = { DRY_RUN, options.json },
      examples = { "hubspot-assoc limits unset contacts companies Employee" },
      run = unset,
    },
  },
}
