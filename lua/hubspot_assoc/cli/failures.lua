--- What failed in a records job: into a file beside the rows', from which it can be run again, and grouped for people.

local csv = require "hubspot_assoc.cli.csv"
local output = require "hubspot_assoc.output"
local to_json = require "hubspot_assoc.json"
local problem = require "hubspot_assoc.cli.problem"
local rows = require "hubspot_assoc.cli.rows"

local MOST_GROUPS = 50 -- kinds of errors that are told apart

local Failures = {}
Failures.__index = Failures

local failures = {}

--- @param path of the file, made when something fails first
-- @param is_csv else NDJSON
function failures.new(path, is_csv)
  return setmetatable({ path = path, is_csv = is_csv, count = 0, groups = {}, order = {} }, Failures)
end

function Failures:open()
  if self.file then return end
  local file, reason = io.open(self.path, "wb")
  if not file then
    problem.raise("cannot write " .. tostring(reason), "What failed must be kept somewhere: see --failures.")
  end
  self.file = file
  if self.is_csv then file:write "from,to,label,error\n" end
end

-- Errors that differ in numbers and names only are of one kind.
local function kind_of(message)
  return (message:gsub("%x+%-%x+%-%x+%-%x+%-%x+", "…"):gsub("%d+", "N"))
end

function Failures:group(message, line)
  local kind = kind_of(message)
  if not self.groups[kind] and #self.order >= MOST_GROUPS then kind = "others" end
  local group = self.groups[kind]
  if not group then
    group = { count = 0, message = kind == "others" and kind or message, line = line }
    self.groups[kind] = group
    self.order[#self.order + 1] = group
  end
  group.count = group.count + 1
end

--- @param row { line =, from =, to =, labels = list }
-- @param message string
function Failures:add(row, message)
  self:open()
  self.count = self.count + 1
  self:group(message, row.line)
  local line
  if self.is_csv then
    line = csv.line { row.from, row.to, rows.join_labels(row.labels), message }
  else
    line = to_json { from = row.from, to = row.to, labels = #row.labels > 0 and row.labels or nil, error = message }
  end
  local ok, reason = output.write(self.file, line, "\n")
  if not ok then problem.raise(("cannot write %s: %s"):format(self.path, reason), "Is the disk full?") end
end

--- What is written has reached the file.
function Failures:close()
  if not self.file then return end
  local ok, reason = self.file:close()
  if not ok then problem.raise(("cannot write %s: %s"):format(self.path, reason), "Is the disk full?") end
end

--- The kinds of errors: list of { count =, message = of the first, line = of the first }, the most frequent first.
function Failures:kinds()
  table.sort(self.order, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return (a.line or 0) < (b.line or 0)
  end)
  return self.order
end

return failures
