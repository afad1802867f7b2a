--- Associates what a CSV file lists, and reports the rows that could not be:
--
--     lua examples/migrate.lua contacts companies rows.csv report.csv
--
-- rows.csv has a line of column names with `from`, `to` and, for labels by name, `label`; fields are separated by
-- commas and may be quoted, without line breaks in them. report.csv gets line,from,to,label,status,message of the rows
-- that failed. Ended in the middle, by whatever, the same command goes on where it was: rows.csv.journal knows that. On
-- a terminal a line tells of the progress. The exit status is 0 if each row is done. HUBSPOT_ACCESS_TOKEN has to be
-- set.

local assoc = require "hubspot_assoc"

local from, to, rows_path, report_path = arg[1], arg[2], arg[3], arg[4]
if not report_path then
  io.stderr:write("usage: lua migrate.lua FROM TO ROWS.csv REPORT.csv, as in: lua migrate.lua contacts companies ...\n")
  os.exit(2)
end

-- ---- CSV ----

--- The fields of a line; raises if it is not CSV.
local function split(line)
  local fields, rest = {}, line:gsub("\r$", "") .. ","
  while rest ~= "" do
    local field, after = rest:match '^"(.-)",(.*)$'
    while field and select(2, field:gsub('"', "")) % 2 == 1 do -- the quote was one of two, and the comma a part of it
      local more, behind = after:match '^(.-)",(.*)$'
      field, after = more and field .. '",' .. more, behind
    end
    if not field and rest:sub(1, 1) ~= '"' then
      field, after = rest:match '^([^",]*),(.*)$'
    end
    if not field then
      error("the quotes do not match", 0)
    end
    fields[#fields + 1] = field:gsub('""', '"')
    rest = after
  end
  return fields
end

local function quote(value)
  return '"' .. tostring(value):gsub('"', '""'):gsub("[\r\n]+", " ") .. '"'
end

--- Column name -> its place.
local function read_columns(line)
  local columns = {}
  for i, name in ipairs(split(line or "")) do
    columns[name] = i
  end
  assert(columns.from and columns.to, "the first line must name the columns: from, to and perhaps label")
  return columns
end

-- ---- the migration ----

local rows = assert(io.open(rows_path))
local columns = read_columns(rows:read "*l")
local report = assert(io.open(report_path, "a"))
local types = assoc.check(assoc.label_types(from, to))

local n_reported = 0

local function write_report(line, from_id, to_id, label, status, message)
  n_reported = n_reported + 1
  local fields = { line, quote(from_id), quote(to_id), quote(label), status, quote(message) }
  assert(report:write(table.concat(fields, ","), "\n"))
end

local types_of, label_of = {}, {} -- label -> types, types -> label

--- The types of a label, "" for none; or nil and errors.
local function find_types(label)
  local errors
  if not types_of[label] then
    types_of[label], errors = types:of(label ~= "" and label or "unlabelled")
    label_of[types_of[label] or errors] = label
  end
  return types_of[label], errors
end

local is_terminal = os.execute "test -t 2"
is_terminal = is_terminal == true or is_terminal == 0 -- as Lua 5.1 says it

local function show(progress)
  local trouble = progress.trouble
    and (" - waiting %d s: %s"):format(progress.retry_in, tostring(progress.trouble)) or ""
  io.stderr:write(("\r%d done, %d failed, %d a second%s\27[K"):format(progress.done + progress.skipped, progress.failed,
    progress.rate, trouble:sub(1, 60)))
end

local job = assoc.bulk("associate", from, to, {
  journal = rows_path .. ".journal",
  on_progress = is_terminal and show or nil,
  on_outcome = function(outcome)
    if outcome.status ~= "done" then
      local input = outcome.input
      write_report(outcome.tag, input.from.id, input.to.id, label_of[input.types], outcome.status, outcome.error)
    end
  end,
})

local number = 1
for line in rows:lines() do
  number = number + 1
  local ok, fields = pcall(split, line)
  local from_id, to_id = ok and fields[columns.from] or "", ok and fields[columns.to] or ""
  local label = ok and fields[columns.label] or ""
  local label_types, errors = find_types(label)
  if not ok or errors then
    write_report(number, from_id, to_id, label, "failed", ok and errors or fields)
  elseif not job:add({ from = { id = from_id }, to = { id = to_id }, types = label_types }, number) then
    break
  end
end

local summary, errors = job:finish()
assert(report:close()) -- a full disk must not go unnoticed
if is_terminal then
  io.stderr:write "\n"
end
io.stderr:write(("%d rows associated, %d before, %d reported, %d left; %d requests in %.0f s\n"):format(summary.done,
  summary.skipped, n_reported, summary.left, summary.requests, summary.seconds))
if summary.left > 0 or errors and summary.failed == 0 then
  io.stderr:write(tostring(errors[1]), "\n")
end
os.exit(n_reported == 0 and not errors and 0 or 1)
