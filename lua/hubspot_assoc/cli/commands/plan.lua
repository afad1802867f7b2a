--- plan FILE

local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local function plan_command(run, args)
  local wanted = files.read(run, args.file)
  local plan = files.plan_for(run, run:client(), wanted)
  if args.json then
    run.terminal:json(files.plan_for_json(plan))
  else
    files.show_plan(run, args.file, plan)
  end
  files.check_problems(run, args.file, plan)
  if plan.count == 0 then
    if not args.json then run.terminal:note("nothing to do: the account is as the file says") end
    return problem.status.done
  end
  if not args.json then
    run.terminal:note(("%s; digest %s. 'hubspot-assoc apply %s' does it."):format(files.summary(plan), plan.digest,
      args.file))
  end
  return problem.status.differs
end

return {
  name = "plan", summary = "Show what a file would change, and why.",
  description = "Shows what would have to change for the account to be as the file says, and why; warns where records "
    .. "exceed a new limit already. Changes nothing.",
  arguments = { { name = "file", argname = "FILE", description = "YAML or JSON; '-' is the standard input." } },
  options = { options.json },
  statuses = { { 0, "nothing to do" }, { 1, "an error" }, { 2, "there are changes" } },
  examples = { "hubspot-assoc plan associations.yaml", "hubspot-assoc plan associations.yaml --json | jq .digest" },
  run = plan_command,
}
