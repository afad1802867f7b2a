--- export [PAIR …]

local files = require "hubspot_assoc.cli.files"
local options = require "hubspot_assoc.cli.options"

local function export(run, args)
  local schema = files.schema()
  local names = files.names(args.name)
  local state = files.read_state(run, run:client(), files.pairs(args.pairs), names)
  files.tell_notes(run, "the account", state)
  local wanted, notes = schema.wanted_of(state, { unmanaged = args.unmanaged, names = names })
  files.tell_notes(run, "the account", { notes = notes })
  run.terminal:print((schema.write(wanted, { format = args.format }):gsub("\n$", "")))
end

return {
  name = "export", summary = "Write the account's limits and labels as a file.",
  description = "Writes the limits and labels of the account as a file for plan and apply, to the standard output: of "
    .. "all pairs that can be found, or of those that are named.",
  arguments = { { name = "pairs", argname = "PAIR", args = "*", description = "FROM:TO, as in contacts:companies." } },
  options = {
    { name = "--format", argname = "FORMAT", choices = { "yaml", "json" }, description = "yaml (default) or json." },
    { name = "--unmanaged", argname = "WHAT", choices = { "keep", "remove" },
      description = "What the file is to say of limits and labels that it does not name: keep (default) or remove." },
    options.names,
  },
  examples = {
    "hubspot-assoc export >associations.yaml",
    { "hubspot-assoc export contacts:companies contacts:deals", "some pairs" },
  },
  run = export,
}
