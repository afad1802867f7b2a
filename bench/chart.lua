--- Draws what the benches have measured:  lua chart.lua FILE.svg

package.path = "./?.lua;" .. package.path
local figures = require "bench.figures"

local WIDTH, ROW, LEFT, BAR = 800, 26, 330, 380 -- of the picture, of a row, of the names, of the longest bar
local OURS, OTHERS, GOAL = "#ff7a59", "#9aa5b1", "#333333"

local PANELS = { -- in this order; ratios are drawn against their goals, all else against the longest
  { name = "cpu", title = "One batch_update: processor time, µs", format = "%.0f" },
  { name = "nginx", title = "The same in an nginx worker, 200 in flight: processor time, µs", format = "%.0f" },
  { name = "first", title = "Loading and a first call over TLS, ms", format = "%.0f" },
  { name = "memory", title = "Peak memory, MiB", format = "%.1f" },
  { name = "goal", title = "hubspot_assoc against its goals (the line): as low as possible", format = "%.2f" },
}

local lines, y = {}, 0

local function write(...)
  lines[#lines + 1] = (...):format(select(2, ...))
end

local function text(x, anchor, words)
  words = words:gsub("[&<]", { ["&"] = "&amp;", ["<"] = "&lt;" })
  write('<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>', x, y + 15, anchor, words)
end

local function draw_bar(row, longest, format)
  local of_goal = row.goal and row.value / row.goal or row.value
  local width = math.max(2, of_goal / longest * BAR)
  local is_ours = row.goal or row.name:find "^hubspot_assoc"
  text(LEFT - 8, "end", row.name)
  write('<rect x="%.0f" y="%.0f" width="%.0f" height="19" fill="%s"/>', LEFT, y, width, is_ours and OURS or OTHERS)
  if row.goal then
    write('<rect x="%.0f" y="%.0f" width="2" height="23" fill="%s"/>', LEFT + BAR / longest, y - 2, GOAL)
  end
  text(LEFT + math.max(width, row.goal and BAR / longest + 2 or 0) + 8, "start",
    format:format(row.value) .. (row.goal and (" (goal " .. format:format(row.goal) .. ")") or ""))
  y = y + ROW
end

local function draw_panel(panel, rows)
  local longest = 0
  for _, row in ipairs(rows) do
    longest = math.max(longest, row.goal and math.max(1, row.value / row.goal) * 1.3 or row.value)
  end
  if not rows[1].goal then
    table.sort(rows, function(a, b) return a.value < b.value end)
  end
  y = y + ROW / 2
  write('<text x="12" y="%.0f" font-weight="bold">%s</text>', y + 15, panel.title)
  y = y + ROW
  for _, row in ipairs(rows) do draw_bar(row, longest, panel.format) end
end

local measured = figures.read()
for _, panel in ipairs(PANELS) do
  if measured[panel.name] then draw_panel(panel, measured[panel.name]) end
end

local head = '<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" '
  .. 'font-size="14">'
table.insert(lines, 1, head:format(WIDTH, y + ROW))
table.insert(lines, 2, '<rect width="100%" height="100%" fill="white"/>')
table.insert(lines, "</svg>\n")
local file = assert(io.open(arg[1], "w"))
assert(file:write(table.concat(lines, "\n")))
assert(file:close())
print("chart: " .. arg[1])
