--- simulator

local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"

local function find()
  local given = os.getenv "HUBSPOT_ASSOC_SIMULATOR"
  if given and given ~= "" then return given end
  if system.has "hubspot-assoc-simulator" then return "hubspot-assoc-simulator" end
  local beside = (arg and arg[0] or ""):gsub("[^/]*$", "hubspot-assoc-simulator")
  if system.read_file(beside) and not system.read_file(beside):find("@SIMDIR@", 1, true) then return beside end
  problem.raise("the simulator is not installed here",
    "It comes with the library ('make install', or its rock). In a clone of it: make simulator.")
end

local function simulate(run, args)
  local words = {}
  if args.port then words[1] = "PORT=" .. system.quote(args.port) end
  words[#words + 1] = "SIMULATOR_OWNER=$PPID" -- this process: if a signal ends it, the simulator ends, too
  words[#words + 1] = "exec"
  words[#words + 1] = system.quote(find())
  if #args.arguments > 0 then
    words[#words + 1] = "exec"
    for _, word in ipairs(args.arguments) do words[#words + 1] = system.quote(word) end
  else
    words[#words + 1] = "run"
    run.terminal:note("An offline HubSpot, until Ctrl-C. In another terminal: "
      .. "export HUBSPOT_BASE_URL=URL HUBSPOT_ACCESS_TOKEN=simulator-token")
  end
  run.terminal:flush()
  return system.run(table.concat(words, " "))
end

return {
  name = "simulator", summary = "Run an offline HubSpot.",
  description = "Runs the simulated HubSpot on this machine, until Ctrl-C; with a command, for as long as that runs, "
    .. "which then finds it by its environment.",
  arguments = { { name = "arguments", argname = "COMMAND", args = "*",
    description = "What to run; write '--' before it." } },
  options = { { name = "--port", argname = "PORT", description = "Its port; by default one that is free." } },
  examples = {
    "hubspot-assoc simulator --port 8080",
    { "hubspot-assoc simulator -- hubspot-assoc limits get contacts companies", "a command in a fresh account" },
    { "hubspot-assoc simulator -- sh", "a shell to try things in" },
  },
  run = simulate,
}
