--- Associations as a graph: object types as nodes, labels with their limits as edges. As DOT and as Mermaid. Pure.

local text = require "hubspot_assoc.cli.text"

local drawing = {}

local COLORS = { at = "#c0392b", near = "#e67e22" }

local function edge_text(row, mark)
  local words = {}
  if row.label then words[1] = row.label .. (row.limit and ":" or "") end
  if row.limit then words[#words + 1] = ("%d"):format(row.limit) end
  if mark and not row.label then
    if mark.at > 0 then words[#words + 1] = ("(%d at the limit)"):format(mark.at) end
    if mark.near > 0 then words[#words + 1] = ("(%d near it)"):format(mark.near) end
  end
  return text.escape(table.concat(words, " "))
end

-- Is it worth an edge? What HubSpot has without a limit is everywhere.
local function is_shown(row)
  return row.limit ~= nil or (row.label ~= nil and row.category ~= "HUBSPOT_DEFINED")
end

local function color_of(row, mark)
  if not mark or row.label then return nil end
  return mark.at > 0 and COLORS.at or mark.near > 0 and COLORS.near or nil
end

local function add_edges(edges, from, to, rows, mark)
  for _, row in ipairs(rows) do
    if is_shown(row) then
      edges[#edges + 1] = { from = from, to = to, text = edge_text(row, mark), color = color_of(row, mark),
        is_label = row.label ~= nil }
    end
  end
end

--- Nodes and edges of a state.
-- @param state as hubspot_assoc.schema reads it
-- @param marks "FROM TO" -> { at =, near = } counts of records; FROM and TO as the state names them
-- @return { nodes = list of names, edges = list of { from =, to =, text =, color = or nil, is_label = } }
function drawing.graph(state, marks)
  local nodes, edges, seen = {}, {}, {}
  for _, pair in ipairs(state.pairs) do
    add_edges(edges, pair.from, pair.to, pair.forward, marks[pair.from .. " " .. pair.to])
    if not pair.is_same then
      add_edges(edges, pair.to, pair.from, pair.inverse, marks[pair.to .. " " .. pair.from])
    end
    for _, name in ipairs { pair.from, pair.to } do
      if not seen[name] then
        seen[name] = true
        nodes[#nodes + 1] = name
      end
    end
  end
  return { nodes = nodes, edges = edges }
end

local function dot_quote(s)
  return '"' .. text.escape(s):gsub('[\\"]', "\\%0") .. '"'
end

--- A graph in Graphviz' language.
function drawing.dot(graph)
  local lines = { "digraph associations {", "  rankdir=LR;",
    '  node [shape=box, style=rounded, fontname="sans-serif"];', '  edge [fontname="sans-serif", fontsize=10];' }
  for _, name in ipairs(graph.nodes) do lines[#lines + 1] = ("  %s;"):format(dot_quote(name)) end
  for _, edge in ipairs(graph.edges) do
    local attributes = { "label=" .. dot_quote(edge.text) }
    if edge.is_label then attributes[#attributes + 1] = "style=dashed" end
    if edge.color then
      attributes[#attributes + 1] = ('color="%s", fontcolor="%s", penwidth=2'):format(edge.color, edge.color)
    end
    lines[#lines + 1] = ("  %s -> %s [%s];"):format(dot_quote(edge.from), dot_quote(edge.to),
      table.concat(attributes, ", "))
  end
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n")
end

local function mermaid_quote(s)
  return '"' .. text.escape(s):gsub("[#\"<>]", function(c) return ("#%d;"):format(c:byte()) end) .. '"'
end

--- A graph in Mermaid's language, which GitHub and others show in Markdown.
function drawing.mermaid(graph)
  local lines, ids = { "flowchart LR" }, {}
  for i, name in ipairs(graph.nodes) do
    ids[name] = "n" .. i
    lines[#lines + 1] = ("  %s[%s]"):format(ids[name], mermaid_quote(name))
  end
  local styles = {}
  for i, edge in ipairs(graph.edges) do
    lines[#lines + 1] = ("  %s %s|%s| %s"):format(ids[edge.from], edge.is_label and "-.->" or "-->",
      mermaid_quote(edge.text), ids[edge.to])
    if edge.color then
      styles[#styles + 1] = ("  linkStyle %d stroke:%s,color:%s,stroke-width:3px"):format(i - 1, edge.color, edge.color)
    end
  end
  for _, style in ipairs(styles) do lines[#lines + 1] = style end
  return table.concat(lines, "\n")
end

return drawing
