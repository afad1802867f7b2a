--- drift FILE: for cron

local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local function drift(run, args)
  local wanted = files.read(run, args.file)
  local plan = files.plan_for(run, run:client(), wanted)
  if args.json then run.terminal:json(files.plan_for_json(plan)) end
  files.check_problems(run, args.file, plan)
  if plan.count == 0 then return problem.status.done end
  if not args.json then
    run.terminal:print(("The account is not as %s says: %s would make it so."):format(args.file, files.summary(plan)))
    files.show_plan(run, args.file, plan)
  end
  return problem.status.differs
end

return {
  name = "drift", summary = "Say something only if the account is not as a file says: for cron.",
  description = "As plan, but silent where there is nothing to do: cron then sends no mail.",
  arguments = { { name = "file", argname = "FILE", description = "YAML or JSON." } },
  options = { options.json },
  statuses = { { 0, "the account is as the file says" }, { 1, "an error" }, { 2, "it is not" } },
  examples = { { "0 6 * * *  hubspot-assoc drift /etc/hubspot/associations.yaml --profile production", "a crontab" } },
  run = drift,
}
