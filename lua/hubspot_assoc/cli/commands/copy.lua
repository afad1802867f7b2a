--- copy SOURCE TARGET [PAIR …]

local account = require "hubspot_assoc.cli.account"
local applying = require "hubspot_assoc.cli.applying"
local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local function copy(run, args)
  if args.source == args.target then
    problem.raise("source and target are the same", "Name two profiles.", problem.status.usage)
  end
  local pairs, names = files.pairs(args.pairs), files.names(args.name)
  local client = account.client({ profile = args.target }, run.terminal)
  local source, target = files.read_both(run, account.client({ profile = args.source }, run.terminal), client, pairs,
    names)
  local plan = files.schema().copy_plan(source, target, { unmanaged = args.unmanaged, names = names })
  return applying.apply(run, args, args.source, client, plan)
end

local all_options = {
  { name = "--unmanaged", argname = "WHAT", choices = { "keep", "remove" },
    description = "What becomes of limits and labels that the target alone has: keep (default) or remove." },
  options.names,
}
for _, option in ipairs(applying.options) do all_options[#all_options + 1] = option end

return {
  name = "copy", summary = "Make an account like another one.",
  description = "Copies limits and labels from one account to another: shows the plan, asks, and applies it as apply "
    .. "does. Labels are found by name, and made where they are missing.",
  arguments = {
    { name = "source", argname = "SOURCE", description = "The profile to copy from." },
    { name = "target", argname = "TARGET", description = "The profile that is changed." },
    { name = "pairs", argname = "PAIR", args = "*", description = "FROM:TO; by default all that can be found." },
  },
  options = all_options, statuses = applying.statuses,
  examples = { "hubspot-assoc copy sandbox production contacts:companies" },
  run = copy,
}
