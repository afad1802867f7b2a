--- usage [FROM [TO]]

local near = require "hubspot_assoc.cli.near"
local options = require "hubspot_assoc.cli.options"
local problem = require "hubspot_assoc.cli.problem"

local function read_labels(client, args)
  local rows = {}
  for i, pair in ipairs((problem.check(client:get_label_usage { from = args.from, to = args.to }))) do
    pair.allLabels = pair.allLabels or {}
    rows[i] = pair
  end
  return rows
end

local function name_of(object_type)
  return object_type and (object_type.pluralLabel or object_type.objectTypeId)
end

local function show_records(run, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = { row.from, row.to, row.limit or "none", row.totalRecordsAtLimit, row.totalRecordsNearLimit }
  end
  run.terminal:table({ { title = "FROM" }, { title = "TO" }, { title = "LIMIT", right = true },
    { title = "AT LIMIT", right = true }, { title = "NEAR LIMIT", right = true } }, lines)
end

local function show_samples(run, row)
  local lines = {}
  for _, record in ipairs(row.atLimitFromRecordSamples) do
    lines[#lines + 1] = { record.objectId, record.label, row.limit, "100 %" }
  end
  for _, record in ipairs(row.nearLimitFromRecordSamples) do
    lines[#lines + 1] = { record.objectId, record.label, record.usage,
      record.percentage and ("%.0f %%"):format(record.percentage) }
  end
  if #lines == 0 then return end
  run.terminal:print("")
  run.terminal:table({ { title = "RECORD", right = true }, { title = "NAME" }, { title = "ASSOCIATIONS", right = true },
    { title = "OF LIMIT", right = true } }, lines)
end

local function show_labels(run, rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = { name_of(row.fromObjectType), name_of(row.toObjectType), row.usage, row.limit,
      table.concat(row.allLabels, ", ") }
  end
  if #lines == 0 then return end
  run.terminal:print("")
  run.terminal:table({ { title = "FROM" }, { title = "TO" }, { title = "LABELS", right = true },
    { title = "OF", right = true }, { title = "NAMES" } }, lines)
end

local function usage(run, args)
  local client = run:client()
  local records = near.read(client, args.from, args.to)
  local labels = read_labels(client, args)
  if args.json then
    return run.terminal:json { records = records, labels = labels }
  elseif #records == 0 then
    run.terminal:note("no record is at or near (80 %) a limit")
  else
    show_records(run, records)
  end
  if args.to then show_samples(run, records[1]) end
  show_labels(run, labels)
end

return {
  name = "usage", summary = "Who is at a limit, or near it (80 % and more).",
  description = "Shows the pairs that have records at their limit or near it (80 % and more), as HubSpot tracks them, "
    .. "and how many labels the pairs have of those that they may have. With both object types it names records.",
  arguments = { options.with(options.from, { args = "?" }), options.with(options.to, { args = "?" }) },
  options = { options.json },
  examples = {
    "hubspot-assoc usage",
    { "hubspot-assoc usage contacts companies", "with samples of the records" },
    "hubspot-assoc usage --json | jq '.records[] | select(.totalRecordsAtLimit > 0)'",
  },
  run = usage,
}
