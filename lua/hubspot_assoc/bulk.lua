--- Whole jobs: any number of inputs for one of the batch calls, each of which gets exactly one outcome.
--
--     local job = client:bulk("associate", "contacts", "companies", { journal = "migration.ndjson" })
--     for row in rows() do
--       job:add({ from = { id = row.contact }, to = { id = row.company }, types = types }, row.number)
--     end
--     local summary, errors = job:finish()
--
-- HubSpot: Associations v4 > Associate records; and the pages of the other batch calls.

local pipeline = require "hubspot_assoc.bulk.pipeline"
local core = require "hubspot_assoc.core"
local journal_module = require "hubspot_assoc.journal"
local names_of = require "hubspot_assoc.names"
local nearest = require "hubspot_assoc.nearest"
local room = require "hubspot_assoc.room"
local new_source = require "hubspot_assoc.source"

local concat, error, floor, format, getmetatable = table.concat, error, math.floor, string.format, getmetatable
local huge, match, max, min, pairs, pcall = math.huge, string.match, math.max, math.min, pairs, pcall
local rawget, setmetatable, tostring, type = rawget, setmetatable, tostring, type

-- As many requests as a client has connections, 10 a second where an answer takes 0.8 s; but no more inputs than this,
-- for the sake of memory.
local IN_FLIGHT, INPUTS_IN_FLIGHT = 8, 10000
local GIVE_UP_AFTER = 600 -- s
local LOOK_EVERY = 0.05 -- s: how late what has come is looked at, at most, while inputs are added

local Job = { __name = "hubspot_assoc.job" }
Job.__index = Job

function Job.__tostring()
  return "hubspot_assoc.job"
end

-- ---- what tells inputs apart ----

--- "007" and 7 are the record "7".
local function text_of(value)
  if type(value) == "table" then -- a record
    value = rawget(value, "id")
  end
  if type(value) == "number" then
    return format("%.0f", value)
  end
  return type(value) == "string" and match(value, "^0*(.*)$") or nil
end

--- A text that alike inputs have in common; nil for bad ones, and where it does not matter.
-- @param names of the fields by which they are told apart, two at most; none where it does not matter
local function identify(names, input)
  if type(input) ~= "table" then
    return nil
  end
  local first = names[1] and text_of(rawget(input, names[1]))
  local second = names[2] and text_of(rawget(input, names[2])) or ""
  return first and second and first .. " " .. second
end

-- ---- options ----

local function is_integer(value)
  return type(value) == "number" and value == floor(value)
end

local function is_seconds(value)
  return type(value) == "number" and value >= 0 and value <= 1e9
end

local function is_path(value)
  return type(value) == "string" and value ~= "" and not value:find("%z")
end

local count, type_option = room.count_option(1000000), room.type_option

room.own_options.bulk = {
  in_flight = count, batch_size = count, give_up_after = { is_seconds, "seconds from 0" },
  isolate = type_option "boolean", journal = { is_path, "string (a path)" },
  on_outcome = type_option "function", on_progress = type_option "function",
}

--- The message of the call's own check, about the arguments of bulk.
local function retell(message)
  local place, rest = message:match "bad argument #(%d) to '[%w_]+' (.*)$"
  if not place then
    return message
  end
  return room.hint_at_own("bulk", ("bad argument #%d to 'bulk' %s"):format(place == "4" and 4 or place + 1,
    rest))
end

--- Raises unless these are a call of inputs, object types and call options.
local function check_arguments(client, level, name, from, to, options)
  if type(name) ~= "string" or not core.batches[name] then
    local names = names_of(core.batches)
    local known = type(name) == "string" and nearest(name, names)[1]
    error(("bad argument #1 to 'bulk' (%s, got %s%s)"):format("one of " .. concat(names, ", ") .. " expected",
      room.show(name), known and ("; did you mean '%s'?"):format(known) or ""), level + 1)
  elseif options ~= nil and type(options) ~= "table" then
    error(("bad argument #4 to 'bulk' (options: table expected, got %s)"):format(type(options)), level + 1)
  end
  local own, of_calls = room.split_options(level, "bulk", options or {})
  local ok, message = pcall(core.calls[name], client.core, from, to, {}, of_calls)
  if not ok then
    error(retell(tostring(message)), level + 1)
  end
  return own, of_calls
end

local function list_of(problem)
  return core.errors { problem }
end

--- Opens the journal. Returns errors if it cannot be used: then nothing is sent.
local function open_journal(job, path)
  if not path then
    return nil
  end
  local journal, problem = journal_module.open(path, { call = job.name, from = job.from, to = job.to })
  if journal then
    job.journal = journal
    job.stock = pipeline.new_stock(journal.size)
    return nil
  end
  local errors = list_of(problem)
  job.ended = errors[1]
  return errors
end

-- ---- the job ----

local function expect_job(self, name)
  if getmetatable(self) ~= Job then
    error(("'%s' is a method of a job: call it with a colon, job:%s(...)"):format(name, name), 3)
  end
end

--- What the job has come to so far.
-- @return { added =, done =, failed =, unknown =, skipped = left out because the journal had their outcomes,
--   failed_before =, unknown_before = of these, what failed in earlier runs, or is unknown since,
--   left = those added that have no outcome so far, ended = the error for which the job has ended early (what it is
--   not given any more is not in `left`), requests =, seconds =, rate = outcomes a second, trouble = the error that
--   is waited out, retry_in = s }
function Job:progress()
  expect_job(self, "progress")
  local stock, taken, time = self.stock, self.taken, core.now()
  local seconds = (self.ended_at or time) - self.begun_at
  local n = stock.done + stock.failed + stock.unknown
  local state = not self.ended and self.trouble or nil
  local added = self.incoming and self.incoming.index or taken.index -- an error may have come in between
  return { added = added, done = stock.done, failed = stock.failed, unknown = stock.unknown,
    skipped = taken.skipped, failed_before = taken.failed, unknown_before = taken.unknown,
    left = added - taken.skipped - n, ended = self.ended, requests = stock.sent, seconds = seconds,
    rate = seconds > 0 and n / seconds or 0, trouble = state and state.error,
    retry_in = state and max(0, state.resume_at - time) }
end

--- Moves the job on until it can take another input.
local function pump(job, level)
  pipeline.turn(job)
  while not job.ended and pipeline.is_full(job) do
    if not pipeline.is_busy(job) then
      pipeline.flush(job, 1)
    else
      pipeline.wait(job, level + 1, "add")
    end
    pipeline.turn(job)
  end
end

local function check_tag(self, tag)
  if tag ~= nil and type(tag) ~= "string" and not (is_integer(tag) and tag > -huge and tag < huge) then
    error(("bad argument #2 to 'add' (string or integer expected, got %s)"):format(room.show(tag)), 3)
  end
  local problem = self.journal and self.journal:check_tag(tag)
  if problem then
    error(("bad argument #2 to 'add' (%s)"):format(problem), 3)
  end
end

--- Gives the job an input. Waits while the pipeline is full: blocks, or yields in an event loop.
-- @param input as the call takes it; the job has it until its outcome. A bad one is a failed outcome.
-- @param tag string (with a journal: UTF-8) or integer, unlike those of all other inputs: what the journal knows it by.
--   Without tags the journal knows inputs by their order, which must then be the same in each run
-- @return true; or nil and errors when the job has ended and sends nothing more. Raises what on_outcome and on_progress
--   raise: the input is the job's then, and the job can go on
function Job:add(input, tag)
  expect_job(self, "add")
  check_tag(self, tag)
  if self.is_finishing then
    error("'add' cannot be called after finish", 2)
  end
  pipeline.recover(self)
  if self.ended then
    return nil, list_of(self.ended)
  end
  pipeline.add(self, { index = self.taken.index + 1, tag = tag, input = input,
    identity = identify(self.identity, input) })
  if pipeline.is_full(self) or core.now() - self.turned_at > LOOK_EVERY then
    pump(self, 2)
  end
  if self.ended then
    return nil, list_of(self.ended)
  end
  return true
end

--- Takes in what has been answered, and sends what waits, without waiting: for a program that is busy with something
-- else between its inputs, so that answers are in the journal soon. add does it, too.
-- Raises what on_outcome and on_progress raise, as add does
function Job:step()
  expect_job(self, "step")
  pipeline.recover(self)
  if not self.summary then
    pipeline.turn(self)
  end
end

--- Adds errors of inputs to those that finish returns, of which so many there are.
local function add_errors(list, errors, n)
  for i = 1, min(#errors, pipeline.MAX_ERRORS - n) do
    list[#list + 1] = errors[i]
    n = n + 1
  end
  return n
end

--- Not each input that failed has an error in the list: says how many failed.
local function say_how_many(summary)
  local unknown, before = summary.unknown + summary.unknown_before, summary.failed_before + summary.unknown_before
  return ("%d inputs failed%s%s; an error that inputs share is listed once, and a hundred at most"):format(
    summary.failed + summary.failed_before, unknown > 0 and (", of %d it is not known"):format(unknown) or "",
    before > 0 and (" (%d of these in earlier runs)"):format(before) or "")
end

--- The errors of a finished job; nil if all went well.
local function errors_of(job, summary)
  local list = {}
  if job.ended then
    local first = {}
    for name, value in pairs(job.ended) do
      first[name] = value
    end
    first.message = ("the job ended, %d inputs are left, and all that it was not given: %s"):format(summary.left,
      tostring(job.ended.message))
    list[1] = first
  end
  local n = add_errors(list, job.stock.errors, 0)
  n = add_errors(list, job.taken.errors, n)
  list[#list + 1] = job.close_problem
  if summary.failed + summary.unknown + summary.failed_before + summary.unknown_before > n then
    list[#list + 1] = say_how_many(summary)
  end
  return list[1] and core.errors(list) or nil
end

--- Sends what is left, waits for all outcomes, and closes the journal. Called again, after an error or not, it goes on
-- where it was.
-- @return summary, as progress gives it; errors, nil if each input is done: why the job ended early, and those of
--   inputs that failed or are unknown, since this run or an earlier one, a hundred at most
function Job:finish()
  expect_job(self, "finish")
  pipeline.recover(self)
  self.is_finishing = true
  while not self.summary do
    if not self.ended then
      pipeline.flush(self, 1)
    end
    pipeline.turn(self)
    if pipeline.is_busy(self) then
      pipeline.wait(self, 2, "finish")
    elseif self.ended or not (self.stock.open[1] or self.stock.held[1]) then
      self.close_problem = self.journal and self.journal:close()
      self.ended_at = self.ended_at or core.now()
      local summary = self:progress()
      self.errors = errors_of(self, summary)
      self.summary = summary
    end
  end
  return self.summary, self.errors
end

--- Adds all that an iterator gives, and finishes.
-- @param iterator function, or a table that can be called: returns an input and its tag, or nil at the end; or a list
--   of inputs
-- @return as finish
function Job:run(iterator)
  expect_job(self, "run")
  local following, problem = new_source(iterator)
  if not following then
    error(("bad argument #1 to 'run' (%s)"):format(problem), 2)
  elseif self.is_finishing then
    error("'run' cannot be called after finish", 2)
  end
  local input, tag = following() -- no `for`: it lets no iterator yield in Lua 5.1
  while input ~= nil and self:add(input, tag) do
    input, tag = following()
  end
  local summary, errors = self:finish()
  return summary, errors
end

local bulk = {}

--- Begins a job: any number of inputs for one call, sent in requests side by side.
-- Inputs that are alike (the same records, the same association type) are sent one after the other, in order; of others
-- the order is not certain. HubSpot's rules for limits depend on it: what must come first goes into a job before.
-- @param name "associate", "associate_default", "archive", "archive_labels", "batch_update", "batch_create",
--   "batch_purge"
-- @param from, to object types
-- @param options table or nil: in_flight (requests at a time: 8, or 5 of 2,000 inputs), batch_size (inputs a request,
--   HubSpot's maximum), journal (path), isolate (default true: the bad inputs of a refused request are found by sending
--   it again in halves), give_up_after (s, 600: how long trouble that may pass is waited out), on_outcome(outcome),
--   on_progress(progress), neither of which may yield; and call options
-- @return job; and errors if its journal cannot be used: then it has ended already. Raises if an argument is wrong
function bulk.bulk(client, level, name, from, to, options)
  local own, of_calls = check_arguments(client, level + 1, name, from, to, options)
  local row = core.batches[name]
  local batch_size = min(own.batch_size or row.most, row.most)
  local in_flight = min(IN_FLIGHT, floor(INPUTS_IN_FLIGHT / batch_size))
  local job = setmetatable({ client = client, name = name, from = from, to = to, call_options = of_calls, level = 2,
    rules = { is_once = row.is_once, has_results = row.has_results, isolate = own.isolate ~= false },
    identity = row.has_results and row.identity or {}, -- what removes has no results, and does so once however often
    in_flight = own.in_flight or in_flight,
    batch_size = batch_size, give_up_after = own.give_up_after or GIVE_UP_AFTER,
    on_outcome = own.on_outcome, on_progress = own.on_progress, stock = pipeline.new_stock(), busy = {},
    taken = { index = 0, skipped = 0, failed = 0, unknown = 0, errors = {} }, is_unsure = false,
    begun_at = core.now(), turned_at = 0 }, Job)
  job.rules.untold = pipeline.new_error(job, "protocol", "HubSpot's answer does not say what became of this input",
    { ambiguous = true, retryable = not row.is_once })
  return job, open_journal(job, own.journal)
end

return bulk
