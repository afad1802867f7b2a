--- Reads the rows of a file for the records commands: CSV, or NDJSON.

local core = require "hubspot_assoc.core"
local csv = require "hubspot_assoc.cli.csv"
local nearest = require "hubspot_assoc.nearest"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"
local text = require "hubspot_assoc.cli.text"

local rows = {}

local MOST_SHOWN = 200 -- bytes of a bad line

local Reader = {}
Reader.__index = Reader

local function strip(line)
  return (line:gsub("\r$", ""))
end

-- The next line; lines are counted.
function Reader:read_line()
  local line = self.ahead or self.file:read "*l"
  self.ahead = nil
  if not line then return nil end
  self.line = self.line + 1
  self.bytes = self.bytes + #line + 1
  return strip(line)
end

local function add_label(labels, part)
  local label = part:match "^%s*(.-)%s*$"
  if label ~= "" then labels[#labels + 1] = label end
end

--- "A; B" -> { "A", "B" }. What separates no labels is written "\;", and "\\" is one backslash.
function rows.split_labels(value)
  local labels, part = {}, ""
  for piece in (value or ""):gmatch "\\?." do
    if piece == ";" then
      add_label(labels, part)
      part = ""
    else
      part = part .. (piece:match "^\\([\\;])$" or piece)
    end
  end
  add_label(labels, part)
  return labels
end

--- The other way round.
function rows.join_labels(labels)
  local parts = {}
  for i, label in ipairs(labels) do parts[i] = label:gsub("[\\;]", "\\%0") end
  return table.concat(parts, "; ")
end

local function bad_row(number, wrong, line)
  return { line = number, from = "", to = "", labels = {}, wrong = wrong .. ": " .. line:sub(1, MOST_SHOWN) }
end

-- ---- CSV ----

local NAMES = { from = "from", from_id = "from", fromid = "from", to = "to", to_id = "to", toid = "to",
  label = "labels", labels = "labels" }

local function is_id(value)
  return value ~= nil and value:find "^%s*%d+%s*$" ~= nil
end

-- Without its labels a row means something else: to archive, all between the two records. So no column or field that
-- seems to be them is passed over.
local function looks_like_label(name)
  name = name:lower()
  if NAMES[name] then return false end
  return name:find("label", 1, true) ~= nil or (name:find "l.*b" or name:find "b.*l") ~= nil
    and nearest(name, { "label", "labels" })[1] ~= nil
end

local function check_no_label(path, name)
  if looks_like_label(name) then
    problem.raise(("%s: the first line has a column '%s'"):format(path, text.escape(name)),
      "If it has the labels, call it 'label'; else call it otherwise, or leave it out.")
  end
end

-- Which column is what: of a header, or, where the first row is one of ids, the first three.
local function columns_of(path, first)
  if is_id(first[1]) and is_id(first[2]) then return { from = 1, to = 2, labels = first[3] and 3 }, true end
  local columns = {}
  for i, name in ipairs(first) do
    local column = NAMES[name:lower():gsub("[%s%-]", "_")]
    if column then columns[column] = i else check_no_label(path, name) end
  end
  if not columns.from or not columns.to then
    problem.raise(("%s: the first line must name the columns 'from' and 'to'"):format(path),
      "Write 'from,to' or 'from,to,label' there; from and to are record ids.")
  end
  return columns
end

function Reader:read_fields()
  local line = self:read_line()
  if not line then return nil end
  return line, csv.fields(line, self.delimiter, function() return self:read_line() end)
end

function Reader:begin_csv()
  local line = self:read_line()
  if not line then
    problem.raise(("%s is empty"):format(self.path), "It needs a line 'from,to', and rows of record ids.")
  end
  line = line:gsub("^\239\187\191", "") -- a byte order mark
  self.delimiter = csv.delimiter(line)
  local first, wrong = csv.fields(line, self.delimiter, function() return self:read_line() end)
  if not first then problem.raise(("%s, line 1: %s"):format(self.path, wrong), "Correct it.") end
  local is_row
  self.columns, is_row = columns_of(self.path, first)
  self.has_labels = self.columns.labels ~= nil
  if is_row then self.waiting = { line = 1, fields = first } end
end

local function trim(value)
  return value and value:match "^%s*(.-)%s*$"
end

function Reader:row_of(line, fields)
  local columns = self.columns
  return { line = line, from = trim(fields[columns.from]) or "", to = trim(fields[columns.to]) or "",
    labels = rows.split_labels(columns.labels and fields[columns.labels]) }
end

function Reader:next_csv()
  if self.waiting then
    local first = self.waiting
    self.waiting = nil
    return self:row_of(first.line, first.fields)
  end
  local number = self.line + 1
  local line, fields, wrong = self:read_fields()
  if not line then return nil end
  if line == "" then return self:next_csv() end
  if not fields then return bad_row(number, wrong, line) end
  return self:row_of(number, fields)
end

-- ---- NDJSON ----

-- A record's id: "1", or { id = "1" }.
local function id_of(value)
  if type(value) == "table" then value = value.id end
  if type(value) == "number" then return ("%d"):format(value) end
  return type(value) == "string" and value or ""
end

-- Returns labels; or nil where they are no strings.
local function labels_of(record)
  local value = record.labels or record.label or {}
  if type(value) ~= "table" then value = { value } end
  for _, label in ipairs(value) do
    if type(label) ~= "string" then return nil end
  end
  return value
end

function Reader:begin_ndjson()
  self.waiting = self:next_ndjson()
  self.has_labels = self.waiting ~= nil and #self.waiting.labels > 0
end

function Reader:next_ndjson()
  if self.waiting then
    local first = self.waiting
    self.waiting = nil
    return first
  end
  local line = self:read_line()
  if not line then return nil end
  if line:find "^%s*$" then return self:next_ndjson() end
  local record = core.decode(line) -- exact, whatever digits an id has
  if type(record) ~= "table" then return bad_row(self.line, "no JSON object", line) end
  for name in pairs(record) do
    if type(name) == "string" and looks_like_label(name) then
      return bad_row(self.line, ("the labels' field is 'label', not '%s'"):format(name), line)
    end
  end
  local labels = labels_of(record)
  if not labels then return bad_row(self.line, "labels are strings", line) end
  return { line = self.line, from = id_of(record.from), to = id_of(record.to), labels = labels }
end

-- ---- both ----

-- Told by the name, and where that says nothing (the standard input's) by the first line: JSON begins with a brace.
function Reader:guess_format()
  local name = self.path:lower():gsub("%.failed", "")
  if name:find "%.csv$" or name:find "%.tsv$" then return "csv" end
  if name:find "%.ndjson$" or name:find "%.jsonl?$" then return "ndjson" end
  self.ahead = self.file:read "*l"
  return (self.ahead or ""):find "^%s*[{%[]" and "ndjson" or "csv"
end

--- The next row: { line =, from =, to = (ids), labels = list, wrong = what is wrong with it or nil }; nil at the end.
function Reader:next()
  return self.is_csv and self:next_csv() or not self.is_csv and self:next_ndjson() or nil
end

--- How much of the file has been read, 0 to 1; nil where nobody knows.
function Reader:part()
  return self.size and self.size > 0 and math.min(1, self.bytes / self.size) or nil
end

function Reader:close()
  if self.path ~= "-" then self.file:close() end
end

--- Opens a file of rows.
-- @param path "-" for the standard input
-- @param format "csv", "ndjson" or nil: told by the name, or else by the first line
-- @return reader; raises a problem
function rows.open(path, format)
  local file, reason = io.stdin, nil
  if path ~= "-" then file, reason = system.open(path) end
  if not file then problem.raise("cannot read " .. tostring(reason), "Give a file with the record ids.") end
  local self = setmetatable({ path = path, file = file, line = 0, bytes = 0 }, Reader)
  if path ~= "-" then
    self.size = file:seek "end"
    file:seek "set"
  end
  self.is_csv = (format or self:guess_format()) == "csv"
  if self.is_csv then self:begin_csv() else self:begin_ndjson() end
  return self
end

return rows
