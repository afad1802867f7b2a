--- Reads CSV (RFC 4180), a row at a time: quoted fields may hold delimiters, quotes and line ends. Pure.

local csv = {}

local MOST_LINES = 1000 -- of a quoted field: more is a quote that is not closed

-- The quoted field that begins at a place: its value, the place behind it, the line as far as it was read.
local function quoted(line, at, read)
  local pieces, from, more = {}, at + 1, 0
  while true do
    local quote = line:find('"', from, true)
    if not quote then
      local following = more < MOST_LINES and read()
      if not following then return nil, "a quote is not closed" end
      pieces[#pieces + 1] = line:sub(from) .. "\n"
      line, from, more = following, 1, more + 1
    elseif line:sub(quote + 1, quote + 1) == '"' then
      pieces[#pieces + 1], from = line:sub(from, quote), quote + 2
    else
      pieces[#pieces + 1] = line:sub(from, quote - 1)
      return table.concat(pieces), quote + 1, line
    end
  end
end

--- The fields of a row.
-- @param line string, without its end
-- @param delimiter one character
-- @param read function() -> the next line or nil: for a quoted field that goes on there
-- @return list of strings; or nil and what is wrong
function csv.fields(line, delimiter, read)
  local fields, at = {}, 1
  while true do
    if line:sub(at, at) == '"' then
      local value, behind, rest = quoted(line, at, read)
      if not value then return nil, behind end
      fields[#fields + 1], at, line = value, behind, rest
    else
      local stop = line:find(delimiter, at, true) or #line + 1
      fields[#fields + 1], at = line:sub(at, stop - 1), stop
    end
    if at > #line then return fields end
    if line:sub(at, at) ~= delimiter then return nil, "a quoted field goes on behind its quote" end
    at = at + 1
  end
end

--- The delimiter of a file, told by its first line: comma, semicolon or tab.
function csv.delimiter(line)
  local best, most = ",", 0
  for _, delimiter in ipairs { ",", ";", "\t" } do
    local _, count = line:gsub("%" .. delimiter, "")
    if count > most then best, most = delimiter, count end
  end
  return best
end

--- A row as text.
function csv.line(fields)
  local words = {}
  for i, field in ipairs(fields) do
    field = tostring(field)
    words[i] = field:find '[",;\t\r\n]' and '"' .. field:gsub('"', '""') .. '"' or field
  end
  return table.concat(words, ",")
end

return csv
