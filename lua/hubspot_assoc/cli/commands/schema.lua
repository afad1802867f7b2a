--- schema: the JSON Schema of the file

local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"

-- Beside the Lua files where it was installed; in a clone, in a folder of its own.
local function find()
  local folder = debug.getinfo(1, "S").source:match "^@(.*)hubspot_assoc/cli/commands/" or "./"
  for _, path in ipairs { folder .. "hubspot_assoc/schema/associations.schema.json",
    folder .. "../schema/associations.schema.json" } do
    local content = system.read_file(path)
    if content then return path, content end
  end
  problem.raise("the JSON Schema is not where this program is installed", "Install it anew.")
end

local function schema(run, args)
  local path, content = find()
  run.terminal:print(args.path and path or (content:gsub("\n$", "")))
end

return {
  name = "schema", summary = "Write the JSON Schema of the file, for editors.",
  options = { { name = "--path", flag = true, description = "Only tell where it is." } },
  examples = {
    "hubspot-assoc schema >associations.schema.json",
    { "echo \"# yaml-language-server: \\$schema=$(hubspot-assoc schema --path)\"", "a first line for the YAML file" },
  },
  run = schema,
}
