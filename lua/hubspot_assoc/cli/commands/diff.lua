--- diff ONE OTHER [PAIR …]

local account = require "hubspot_assoc.cli.account"
local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local function client_of(run, profile)
  return account.client({ profile = profile }, run.terminal)
end

-- What a file says, and what an account has of the pairs in it.
local function read_file_and(run, path, profile)
  local schema = files.schema()
  local wanted = files.read(run, path)
  local other = files.read_state(run, client_of(run, profile), schema.pairs_of(wanted))
  return schema.state_of(wanted, other), other
end

-- Each has the pairs of the other, and the labels that both take for HubSpot's.
local function read_files(run, one, other)
  local schema = files.schema()
  local wanted, other_wanted = files.read(run, one), files.read(run, other)
  return schema.state_of(wanted, schema.state_of(other_wanted)), schema.state_of(other_wanted, schema.state_of(wanted))
end

local function read(run, args)
  local one_is_file, other_is_file = files.is_file(args.one), files.is_file(args.other)
  if one_is_file and other_is_file then
    return read_files(run, args.one, args.other)
  elseif one_is_file then
    return read_file_and(run, args.one, args.other)
  elseif other_is_file then
    local other, one = read_file_and(run, args.other, args.one)
    return one, other
  end
  return files.read_both(run, client_of(run, args.one), client_of(run, args.other), files.pairs(args.pairs),
    files.names(args.name))
end

local function diff(run, args)
  local one, other = read(run, args)
  local plan = files.schema().diff(other, one) -- what would make the one like the other
  if args.json then
    run.terminal:json(files.plan_for_json(plan))
  else
    files.show_plan(run, args.other, plan)
  end
  if plan.count == 0 then
    if not args.json then run.terminal:note(("%s and %s are alike"):format(args.one, args.other)) end
    return problem.status.done
  end
  return problem.status.differs
end

return {
  name = "diff", summary = "Compare two accounts.",
  description = "Shows how two accounts differ: '-' is in the first only, '+' in the second only. Labels are compared "
    .. "by name, for their type ids differ between accounts.",
  arguments = {
    { name = "one", argname = "ONE", description = "A profile, or a file (with a '.' or a '/' in its name)." },
    { name = "other", argname = "OTHER", description = "Another one." },
    { name = "pairs", argname = "PAIR", args = "*", description = "FROM:TO; by default all that can be found." },
  },
  options = { options.json, options.names },
  statuses = { { 0, "they are alike" }, { 1, "an error" }, { 2, "they differ" } },
  examples = { "hubspot-assoc diff sandbox production", "hubspot-assoc diff associations.yaml production" },
  run = diff,
}
