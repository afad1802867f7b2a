--- apply FILE

local applying = require "hubspot_assoc.cli.applying"
local files = require "hubspot_assoc.cli.files"

local function apply(run, args)
  local wanted = files.read(run, args.file)
  local client = run:client()
  return applying.apply(run, args, args.file, client, files.plan_for(run, client, wanted))
end

return {
  name = "apply", summary = "Make the account as a file says.",
  description = "Shows the plan, asks, and applies it, in the order that HubSpot's rules need. If the account has "
    .. "changed since the plan was made, it says so and stops. Ended at any moment, it can be run again and does the "
    .. "rest.",
  arguments = { { name = "file", argname = "FILE", description = "YAML or JSON." } },
  options = applying.options, statuses = applying.statuses,
  examples = {
    "hubspot-assoc apply associations.yaml",
    { "hubspot-assoc apply associations.yaml --yes", "without asking" },
    { "hubspot-assoc apply associations.yaml --confirm 9f86d081884c", "the plan that has this digest" },
  },
  run = apply,
}
