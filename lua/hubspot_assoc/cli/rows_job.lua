--- A records job: the rows of a file through client:bulk, with a journal, progress, and a report of what failed.

local core = require "hubspot_assoc.core"
local failures = require "hubspot_assoc.cli.failures"
local problem = require "hubspot_assoc.cli.problem"
local progress = require "hubspot_assoc.cli.progress"
local rows = require "hubspot_assoc.cli.rows"
local system = require "hubspot_assoc.cli.system"
local text = require "hubspot_assoc.cli.text"

local unpack = table.unpack or unpack -- luacheck: ignore
local UNLABELLED = "unlabelled"

-- ---- labels ----

-- A function that turns a list of labels into types, each list once.
local function new_types(client, from, to)
  local all = problem.check(client:label_types(from, to))
  local known = {}
  return function(labels)
    local key = table.concat(labels, "\0")
    if not known[key] then
      local types, errors = all:of(unpack(labels))
      known[key] = types and { types = types } or { wrong = problem.describe(errors) }
    end
    return known[key].types, known[key].wrong
  end
end

-- ---- a job ----

local Job = {}
Job.__index = Job

-- Which call it is, and how a row becomes its input.
local CALLS = {
  associate = { plain = "associate_default", labelled = "associate" },
  archive = { plain = "archive", labelled = "archive_labels" },
}

local function new_job(run, args, verb)
  local self = setmetatable({ run = run, args = args, verb = verb, failed_here = 0, unknown = 0,
    earlier = {} }, Job)
  self.reader = rows.open(args.file, args.format)
  self.journal = args.journal or (args.file ~= "-" and args.file .. ".journal") or nil
  self.failures = failures.new(args.failures or (args.file == "-" and "failed" or args.file .. ".failed"),
    self.reader.is_csv)
  -- A later row of NDJSON may have a label; nobody knows before all are read.
  self.is_labelled = #args.label > 0 or self.reader.has_labels
    or (verb == "associate" and not self.reader.is_csv) or false
  return self
end

function Job:check_journal()
  if not self.journal then return end
  local is_there = system.mode(self.journal) ~= nil
  if is_there and not self.args.resume then
    problem.raise(("%s is there: an earlier run has not been finished, or something failed in it"):format(self.journal),
      "Go on with it by --resume, or remove it, to begin anew.")
  elseif not is_there and self.args.resume then
    problem.raise(("there is no %s to go on with"):format(self.journal), "Run it without --resume.")
  end
end

function Job:input_of(row)
  local from, to = { id = row.from }, { id = row.to }
  if not self.is_labelled then
    -- Without its label all between the two records would go.
    if #row.labels > 0 then
      return nil, "this row names a label, and the first one does not: rows of both kinds go apart"
    end
    return { from = from, to = self.verb == "archive" and { to } or to }
  end
  local labels = #row.labels > 0 and row.labels or self.args.label
  local types, wrong = self.types_of(#labels > 0 and labels or { UNLABELLED })
  if not types then return nil, wrong end
  return { from = from, to = to, types = types }
end

-- What the journal knows a row by. Its ids are in it, so that a row which was changed meanwhile is another row.
local function tag_of(row)
  return ("%d\t%s\t%s\t%s"):format(row.line, row.from, row.to, rows.join_labels(row.labels))
end

local function row_of(tag)
  local line, from, to, labels = tostring(tag):match "^(%d+)\t([^\t]*)\t([^\t]*)\t(.*)$"
  return { line = tonumber(line), from = from or "", to = to or "", labels = rows.split_labels(labels) }
end

-- failure: an error, or what the journal keeps of one; nil where nothing is known
local function message_of(status, failure)
  local message = type(failure) == "table" and (failure.message or tostring(failure)) or "HubSpot's answer is not known"
  return text.escape(status == "unknown" and "perhaps done: " .. message or message)
end

function Job:add_failure(tag, status, failure)
  if status == "unknown" then self.unknown = self.unknown + 1 end
  self.failures:add(row_of(tag), message_of(status, failure))
end

-- Where there is a journal, that is looked through in the end: it also has what failed in earlier runs.
function Job:on_outcome(outcome)
  if outcome.status ~= "done" and not self.journal then
    self:add_failure(outcome.tag, outcome.status, outcome.error)
  end
end

-- Calls act(tag, status, error) for each row that the journal says has not gone through.
function Job:each_failure(act)
  local file = self.journal and io.open(self.journal, "rb")
  if not file then return end
  for line in function() return file:read "*l" end do
    if not line:find('"status":"done"', 1, true) then
      local record = core.decode(line)
      if type(record) == "table" and (record.status == "failed" or record.status == "unknown") then
        act(record.tag, record.status, record.error)
      end
    end
  end
  file:close()
end

-- Which rows failed in earlier runs. Those that are not in the file any more, or are there otherwise, are no failures.
function Job:remember_failures()
  if self.args.resume then
    self:each_failure(function(tag) self.earlier[tag] = "failed" end)
  end
end

function Job:collect_failures(ended)
  self:each_failure(function(tag, status, failure)
    if ended or self.earlier[tag] ~= "failed" then self:add_failure(tag, status, failure) end
  end)
end

function Job:on_progress(state)
  local now = core.now()
  if not self.run.terminal:shows_progress() or not progress.is_due(self.shown, now) then return end
  self.shown = now
  local done_with = state.done + state.failed + state.unknown + state.skipped + self.failed_here
  -- What has been read and is not done yet is no progress.
  local part = self.reader:part()
  local read = state.added + self.failed_here
  part = part and read > 0 and part * done_with / read or part
  self.run.terminal:progress(progress.line({ rows = done_with, failed = state.failed + state.unknown + self.failed_here,
    rate = state.rate, seconds = state.seconds, retry_in = state.retry_in }, part))
end

function Job:fail_here(row, wrong)
  self.failed_here = self.failed_here + 1
  self.failures:add(row, text.escape(wrong))
end

-- A wrong --label would fail every row that names none.
function Job:check_labels()
  if #self.args.label == 0 then return end
  local types, wrong = self.types_of(self.args.label)
  if not types then
    problem.raise(wrong, "Nothing was sent. 'hubspot-assoc labels get FROM TO' lists what a pair has.")
  end
end

function Job:begin()
  self:remember_failures()
  local client, args = self.run:client(), self.args
  if self.is_labelled then
    self.types_of = new_types(client, args.from, args.to)
    self:check_labels()
  end
  local names = CALLS[self.verb]
  local job, errors = client:bulk(self.is_labelled and names.labelled or names.plain, args.from, args.to, {
    journal = self.journal,
    on_outcome = function(outcome) self:on_outcome(outcome) end,
    on_progress = function(state) self:on_progress(state) end,
  })
  if errors then
    problem.raise(problem.describe(errors), "Nothing was sent. --journal PATH puts the journal elsewhere.")
  end
  return job
end

-- Returns the job's summary, and the errors that ended it early, or nil.
function Job:send_all(job)
  local ended
  for row in function() return self.reader:next() end do
    local input, wrong
    if row.wrong then wrong = row.wrong else input, wrong = self:input_of(row) end
    if not input then
      self:fail_here(row, wrong)
    else
      local tag = tag_of(row)
      self.earlier[tag] = self.earlier[tag] and "there" -- still in the file
      local ok, errors = job:add(input, tag)
      if not ok then
        ended = errors
        break
      end
    end
  end
  local summary, errors = job:finish()
  return summary, ended or (summary.ended and errors) or nil
end

-- ---- its report ----

function Job:tell_failures()
  local kinds = self.failures:kinds()
  if #kinds == 0 then return end
  local lines = {}
  for i, kind in ipairs(kinds) do lines[i] = { kind.count, kind.line, kind.message } end
  self.run.terminal:table({ { title = "FAILED", right = true }, { title = "FIRST ROW", right = true },
    { title = "WHY" } }, lines)
end

local function kinds_for_json(kinds)
  local list = {}
  for i, kind in ipairs(kinds) do list[i] = { count = kind.count, line = kind.line, message = kind.message } end
  return list
end

function Job:report_for_json(summary, ended)
  return { done = summary.done, failed = self.failures.count - self.unknown, unknown = self.unknown,
    skipped = summary.skipped, finished = not ended, requests = summary.requests, seconds = summary.seconds,
    failures = kinds_for_json(self.failures:kinds()),
    failures_file = self.failures.count > 0 and self.failures.path or nil,
    journal = self.journal and system.mode(self.journal) and self.journal or nil }
end

function Job:sum_up(summary)
  local words = { progress.number(summary.done) .. " done" }
  if summary.skipped > 0 then words[#words + 1] = progress.number(summary.skipped) .. " settled before" end
  words[#words + 1] = progress.number(self.failures.count - self.unknown) .. " failed"
  if self.unknown > 0 then words[#words + 1] = progress.number(self.unknown) .. " perhaps done" end
  return table.concat(words, ", ") .. (", in %s"):format(progress.duration(summary.seconds))
end

function Job:report(summary, ended)
  if self.args.json then
    self.run.terminal:json(self:report_for_json(summary, ended))
  else
    self:tell_failures()
    self.run.terminal:note(self:sum_up(summary))
  end
  if ended then
    problem.raise(problem.describe(ended), (problem.advice(ended) or "")
      .. (self.journal and " --resume goes on where it ended." or ""))
  elseif self.failures.count > 0 then
    problem.raise(("not all rows went through; those that did not are in %s"):format(self.failures.path),
      "Correct them there, and run that file.")
  elseif self.journal and not self.args.journal then
    os.remove(self.journal)
  end
end

--- Runs a job and tells what became of it.
-- @param run, args of the command
-- @param verb "associate" or "archive"
-- @return exit status; raises a problem
return function(run, args, verb)
  args.label = args.label or {}
  local self = new_job(run, args, verb)
  self:check_journal()
  local job = self:begin()
  run:begin_changes(self.journal and "Run the same command with --resume: it goes on where it was."
    or "There is no journal: what was done is not known.")
  local summary, ended = self:send_all(job)
  run.terminal:clear_progress()
  self:collect_failures(ended)
  self.reader:close()
  self.failures:close()
  return self:report(summary, ended)
end
