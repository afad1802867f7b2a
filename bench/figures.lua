--- What the benches measure, one figure a line: bench/chart.lua draws them when all have run. FIGURES names the file;
-- without it nothing is kept.

local PATH = os.getenv "FIGURES"

local figures = {}

--- @param panel which part of the chart
-- @param name what was measured
-- @param value the figure, in the panel's unit
-- @param goal what it should be at most; nil where there is none
function figures.add(panel, name, value, goal)
  if not PATH then return end
  local file = assert(io.open(PATH, "a"))
  assert(file:write(("%s\t%s\t%.4f\t%s\n"):format(panel, name, value, goal or "")))
  assert(file:close())
end

--- @return panel -> list of { name, value, goal }, in the order they were added
function figures.read()
  local panels = {}
  for line in io.lines(PATH) do
    local panel, name, value, goal = line:match "^(.-)\t(.-)\t(.-)\t(.*)$"
    panels[panel] = panels[panel] or {}
    table.insert(panels[panel], { name = name, value = assert(tonumber(value), line), goal = tonumber(goal) })
  end
  return panels
end

return figures
