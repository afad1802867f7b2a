--- Associates what a CSV file lists, and reports the rows that could not be:
--
--     lua examples/migrate.lua contacts companies rows.csv report.csv
--
-- rows.csv has a line of column names with `from`, `to` and, for labels by name, `label`; fields are separated by
-- commas and may be quoted, without line breaks in them. report.csv gets line,from,to,label,message of all rows that
-- failed, those of earlier runs too. Ended in the middle, by whatever, the same command goes on where it was, and
-- writes the report when it comes to the end: rows.csv.journal knows what became of each row. On a terminal a line
-- tells of the progress. The exit status is 0 if each row is done. HUBSPOT_ACCESS_TOKEN has to be set.

local assoc = require "hubspot_assoc"
local cjson = require "cjson" -- the library needs it, so it is there

local from, to, rows_path, report_path = arg[1], arg[2], arg[3], arg[4]
if not report_path then
  io.stderr:write("usage: lua migrate.lua FROM TO ROWS.csv REPORT.csv, as in: lua migrate.lua contacts companies ...\n")
  os.exit(2)
end

-- ---- CSV ----

--- The fields of a line; nil and what is wrong if it is not CSV. (A pcall here would catch Ctrl-C, too.)
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
      return nil, "the quotes do not match"
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
  local names = split(((line or ""):gsub("^\239\187\191", ""))) -- what Excel puts before UTF-8
  for i, name in ipairs(names or {}) do
    columns[name] = i
  end
  if not (columns.from and columns.to) then
    error("the first line must name the columns: from, to and perhaps label", 0)
  end
  return columns
end

--- Ends the program with a message.
local function give_up(message)
  io.stderr:write("migrate.lua: ", tostring(message), "\n")
  os.exit(1)
end

--- Gives up where that failed: a missing file or a full disk.
local function check(value, problem)
  return value or give_up(problem)
end

--- Iterates over the rows: number of the line, from, to, label; or number, nil and what is wrong with it.
local function each_row(path)
  local file = check(io.open(path))
  local number, first = 1, file:read "*l"
  local is_sound, columns = pcall(read_columns, first)
  if not is_sound then
    give_up(path .. ": " .. tostring(columns))
  end
  return function()
    local line
    repeat
      line, number = file:read "*l", number + 1
    until not (line and line:match "^%s*$") -- empty lines are no rows
    if not line then
      file:close()
      return nil
    end
    local fields, problem = split(line)
    if not fields then
      return number, nil, problem
    end
    return number, fields[columns.from] or "", fields[columns.to] or "", fields[columns.label] or ""
  end
end

-- ---- the migration ----

local next_row = each_row(rows_path)
check(io.open(report_path, "a")):close() -- better now than after all is done
local types, label_errors = assoc.label_types(from, to)
if not types then
  give_up(label_errors)
end
local problems, n_problems = {}, 0 -- number of a row's line -> why it failed

local function note(number, problem)
  n_problems = n_problems + (problems[number] and 0 or 1)
  problems[number] = problem
end

local function note_error(number, problem)
  note(number, (problem.category and problem.category .. ": " or "") .. problem.message
    .. (problem.correlationId and " (correlationId " .. problem.correlationId .. ")" or ""))
end

local types_of = {} -- label -> types

--- The types of a label, "" for none; or nil and errors.
local function find_types(label)
  local errors
  if not types_of[label] then
    types_of[label], errors = types:of(label ~= "" and label or "unlabelled")
  end
  return types_of[label], errors
end

local is_terminal = os.execute "test -t 2"
is_terminal = is_terminal == true or is_terminal == 0 -- as Lua 5.1 says it

local function show(progress)
  local trouble = progress.trouble
    and (" - waiting %.0f s: %s"):format(progress.retry_in, tostring(progress.trouble)) or ""
  io.stderr:write(("\r%d done, %d failed, %.0f a second%s\27[K"):format(progress.done + progress.skipped,
    progress.failed, progress.rate, trouble:sub(1, 60)))
end

local journal = rows_path .. ".journal"
local job, job_errors = assoc.bulk("associate", from, to, {
  journal = journal,
  on_progress = is_terminal and show or nil,
  on_outcome = function(outcome)
    if outcome.error then
      note_error(outcome.tag, outcome.error)
    end
  end,
})
if job_errors then
  give_up(job_errors)
end
for line in io.lines(journal) do -- what failed in earlier runs
  local outcome = not line:find('"status":"done"', 1, true) and cjson.decode(line)
  if outcome then
    note_error(outcome.tag, outcome.error)
  end
end

for number, from_id, to_id, label in next_row do
  local label_types, errors = find_types(from_id and label or "")
  if not from_id then
    note(number, to_id)
  elseif errors then
    note_error(number, errors[1])
  elseif not job:add({ from = { id = from_id }, to = { id = to_id }, types = label_types }, number) then
    break
  end
end

local summary, errors = job:finish()

local report = check(io.open(report_path, "w"))
for number, from_id, to_id, label in each_row(rows_path) do
  if problems[number] then
    local is_row = from_id ~= nil
    local fields = { number, quote(from_id or ""), quote(is_row and to_id or ""), quote(is_row and label or ""),
      quote(problems[number]) }
    check(report:write(table.concat(fields, ","), "\n"))
  end
end
check(report:close())
if is_terminal then
  io.stderr:write "\n"
end
io.stderr:write(("%d rows associated, %d before, %d failed: see %s; %d left; %d requests in %.0f s\n"):format(
  summary.done, summary.skipped - summary.failed_before, n_problems, report_path, summary.left, summary.requests,
  summary.seconds))
if summary.ended or errors and n_problems == 0 then
  io.stderr:write(tostring(errors[1]), "\n")
end
os.exit(n_problems == 0 and not errors and 0 or 1)
