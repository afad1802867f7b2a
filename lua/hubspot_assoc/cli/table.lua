--- Rows as a table of text. Pure.

local text = require "hubspot_assoc.cli.text"

local GAP = "  "
local LEAST = 8 -- columns; a column is not made narrower

local function widths_of(rows, count)
  local widths = {}
  for column = 1, count do
    widths[column] = 0
    for _, row in ipairs(rows) do
      widths[column] = math.max(widths[column], text.width(row[column]))
    end
  end
  return widths
end

-- Takes from the widest columns until all fit.
local function fit(widths, most)
  local total = #GAP * (#widths - 1)
  for _, width in ipairs(widths) do total = total + width end
  while total > most do
    local widest = 1
    for column = 2, #widths do
      if widths[column] > widths[widest] then widest = column end
    end
    if widths[widest] <= LEAST then return end
    widths[widest], total = widths[widest] - 1, total - 1
  end
end

local function line_of(row, widths, columns)
  local cells = {}
  for i, cell in ipairs(row) do
    cells[i] = text.pad(text.cut(cell, widths[i]), widths[i], columns[i].right)
  end
  return (table.concat(cells, GAP):gsub(" +$", ""))
end

--- Draws a table.
-- @param columns list of { title =, right = true for numbers }
-- @param rows list of lists of values, escaped here; nil or false is an empty cell
-- @param width columns that there are, or nil: whatever it takes
-- @return list of lines, the first with the titles
return function(columns, rows, width)
  local cells = { {} }
  for i, column in ipairs(columns) do cells[1][i] = column.title end
  for _, row in ipairs(rows) do
    local line = {}
    for i = 1, #columns do
      local value = row[i]
      if type(value) == "number" and value % 1 == 0 then value = ("%d"):format(value) end
      line[i] = (value == nil or value == false) and "" or text.escape(value)
    end
    cells[#cells + 1] = line
  end
  local widths = widths_of(cells, #columns)
  if width then fit(widths, width) end
  local lines = {}
  for i, row in ipairs(cells) do lines[i] = line_of(row, widths, columns) end
  return lines
end
