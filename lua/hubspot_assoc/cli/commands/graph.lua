--- graph [PAIR …]

local drawing = require "hubspot_assoc.cli.drawing"
local files = require "hubspot_assoc.cli.files"
local near = require "hubspot_assoc.cli.near"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"

-- Counts of records near limits, by "FROM TO", under all names that a type goes by.
local function marks_of(rows)
  local marks = {}
  for _, row in ipairs(rows) do
    local mark = { at = row.totalRecordsAtLimit or 0, near = row.totalRecordsNearLimit or 0 }
    for _, from in ipairs { row.from, row.fromObjectTypeId } do
      for _, to in ipairs { row.to, row.toObjectTypeId } do marks[from .. " " .. to] = mark end
    end
  end
  return marks
end

-- Not every token may read who is near a limit: the graph is worth drawing without that.
local function read_marks(run, client)
  local ok, rows = pcall(near.read, client)
  if ok then return marks_of(rows) end
  if not problem.is(rows) or not rows.message then error(rows, 0) end
  run.terminal:warn("who is near a limit could not be read, and is not marked: " .. rows.message)
  return {}
end

local function svg(source)
  if not system.has "dot" then
    problem.raise("Graphviz is not installed, which draws the graph",
      "Install it (Debian: graphviz), or take --format dot or mermaid and draw it elsewhere.")
  end
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(source)
  file:close()
  local drawn, status = system.capture("dot -Tsvg " .. system.quote(path))
  os.remove(path)
  if status ~= 0 then problem.raise("Graphviz could not draw the graph", "Look at it with --format dot.") end
  return (drawn:gsub("\n$", ""))
end

local function graph(run, args)
  local client = run:client()
  local state = files.read_state(run, client, files.pairs(args.pairs))
  files.tell_notes(run, "the account", state)
  local made = drawing.graph(state, read_marks(run, client))
  local format = args.format or "dot"
  local source = format == "mermaid" and drawing.mermaid(made) or drawing.dot(made)
  run.terminal:print(format == "svg" and svg(source) or source)
end

return {
  name = "graph", summary = "Draw object types, their labels and limits.",
  description = "Draws object types as nodes, their limits and labels as edges. Pairs that have records at their limit "
    .. "are red, those near it (80 % and more) orange.",
  arguments = { { name = "pairs", argname = "PAIR", args = "*",
    description = "FROM:TO; by default all that are found." } },
  options = { { name = "--format", argname = "FORMAT", choices = { "dot", "mermaid", "svg" },
    description = "dot (default) for Graphviz, mermaid for Markdown, svg drawn by Graphviz." } },
  examples = {
    "hubspot-assoc graph --format svg >associations.svg",
    "hubspot-assoc graph --format mermaid contacts:companies deals:contacts",
  },
  run = graph,
}
