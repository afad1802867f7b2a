--- records associate | archive | export

local core = require "hubspot_assoc.core"
local to_json = require "hubspot_assoc.json"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"
local progress = require "hubspot_assoc.cli.progress"
local rows_job = require "hubspot_assoc.cli.rows_job"
local system = require "hubspot_assoc.cli.system"
local text = require "hubspot_assoc.cli.text"

local function ids_of(path)
  local file, reason = io.stdin, nil
  if path ~= "-" then file, reason = system.open(path) end
  if not file then problem.raise("cannot read " .. tostring(reason), "Give a file with a record id on each line.") end
  local number = 0
  return function()
    for line in function() return file:read "*l" end do
      number = number + 1
      local id = line:match "^%s*(.-)%s*$"
      if id:find "^%d+$" then return id end
      if id ~= "" and not (number == 1 and not id:find "%d") then -- the first line may be a title
        problem.raise(("%s, line %d: '%s' is no record id"):format(path, number, text.escape(id)),
          "Write one id, of digits, on each line.")
      end
    end
  end
end

local function records_of(list)
  local records = {}
  for i, record in ipairs(list) do
    record.associationTypes = record.associationTypes or {}
    records[i] = record
  end
  return records
end

local function export(run, args)
  local count, failed, first, started = 0, 0, nil, core.now()
  local shown
  local iterator = run:client():read_all(args.from, args.to, ids_of(args.ids))
  for id, records, errors in iterator do
    count = count + 1
    if errors then
      failed, first = failed + 1, first or errors
      run.terminal:complain(("%s: %s"):format(id, problem.describe(errors)))
    else
      run.terminal:print(to_json { from = { id = tostring(id) }, to = records_of(records) })
    end
    local now = core.now()
    if progress.is_due(shown, now) then
      shown = now
      run.terminal:progress(progress.line { rows = count, failed = failed, seconds = now - started,
        rate = count / math.max(now - started, 0.001) })
    end
  end
  run.terminal:clear_progress()
  local errors = first or iterator.errors
  if errors then
    problem.raise(("%d of %d records could not be read"):format(failed, count), problem.advice(errors))
  end
end

-- ---- what they are called ----

local FILE = { name = "file", argname = "FILE", description = "CSV with a first line 'from,to' or 'from,to,label' "
  .. "(labels of one row are separated by ';', which is '\\;' within a label; other columns are passed over), or "
  .. "NDJSON with objects {\"from\":\"1\",\"to\":\"2\",\"label\":\"Employee\"}. '-' is the standard input." }
local LABEL = { name = "--label", argname = "LABEL", count = "*",
  description = "The label of rows that name none. May be given again, for more than one." }
local COMMON = {
  { name = "--format", argname = "FORMAT", choices = { "csv", "ndjson" },
    description = "csv or ndjson; by default the file's name tells, or else its first line." },
  { name = "--resume", flag = true,
    description = "Go on with an earlier run: what has gone through is not sent again." },
  { name = "--journal", argname = "PATH", description = "What became of each row; by default FILE.journal, "
    .. "which goes when all went well." },
  { name = "--failures", argname = "PATH", description = "Rows that fail are written there; by default FILE.failed." },
  options.json,
}

local function all_options()
  local list = { LABEL }
  for _, option in ipairs(COMMON) do list[#list + 1] = option end
  return list
end

local STATUSES = { { 0, "all rows went through" },
  { 1, "some failed, and are in FILE.failed; or the job ended early, and --resume goes on" } }

return {
  name = "records", summary = "Associate records from a file, remove associations, export them.",
  commands = {
    {
      name = "associate", summary = "Associate the records of a file.",
      description = "Associates records, a row for two of them, with several requests in flight, as fast as HubSpot's "
        .. "rate allows. What HubSpot refuses is found row by row. Ended at any moment, --resume goes on.",
      arguments = { options.from, options.to, FILE }, options = all_options(), statuses = STATUSES,
      examples = {
        "hubspot-assoc records associate contacts companies employees.csv --label Employee",
        { "hubspot-assoc records associate contacts companies employees.csv --resume", "after Ctrl-C, or kill -9" },
      },
      run = function(run, args) return rows_job(run, args, "associate") end,
    },
    {
      name = "archive", summary = "Remove the associations of a file.",
      description = "Removes all associations between the two records of each row; with labels, those labels only.",
      arguments = { options.from, options.to, FILE }, options = all_options(), statuses = STATUSES,
      examples = { "hubspot-assoc records archive contacts companies left.csv" },
      run = function(run, args) return rows_job(run, args, "archive") end,
    },
    {
      name = "export", summary = "Write what records are associated with, as NDJSON.",
      arguments = { options.from, options.to, { name = "ids", argname = "IDS",
        description = "A file with a record id on each line; '-' is the standard input." } },
      statuses = { { 0, "all were read" }, { 1, "some could not be read" } },
      examples = {
        "hubspot-assoc records export contacts companies ids.txt >companies.ndjson",
        { "seq 1 100 | hubspot-assoc records export contacts companies -", "from a pipe" },
      },
      run = export,
    },
  },
}
