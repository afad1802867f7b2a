--- A bulk job's journal: what became of each input, so that a job that was killed goes on where it was.
--
-- NDJSON, a line an input: {"index":7,"tag":"row 7","status":"done"}, with "error" where it failed. The first line also
-- says what job it is of: "job":{"call":"associate","from":"contacts","to":"companies"}. For calls that must not be
-- applied twice there are lines of their own before a request leaves ("sent") and where it surely was not applied
-- ("unsent"); an input whose last line is "sent" may have been applied, or not. The last line may be cut.
--
-- Lines are written at a place that the job knows: what was interrupted is written once more there. Nothing here
-- changes what the journal knows of earlier runs.

local core = require "hubspot_assoc.core"
local to_json = require "hubspot_assoc.json"

local concat, error, find, floor, match = table.concat, error, string.find, math.floor, string.match
local pairs, pcall, setmetatable, sub = pairs, pcall, setmetatable, string.sub
local tonumber, tostring, type = tonumber, tostring, type
local huge, insert, remove = math.huge, table.insert, table.remove

local CHUNK = 65536 -- bytes
local MAX_TEXT, MAX_DEPTH = 1024, 4 -- of what is kept of an error
local MAX_ERRORS = 100 -- of earlier runs, for finish: more it does not return
local UNKNOWN_WHY = "it failed in an earlier run, and the journal does not say why"
local BEGINNING = '{"index":' -- of each line
local NO_JOURNAL = "it is no journal of a bulk job; give the path of one, or of no file yet"
local OUTCOMES = { done = true, failed = true, unknown = true }

local Journal = {}
Journal.__index = Journal

-- ---- indexes, as ranges in order, with gaps between: a run leaves few, for requests end nearly in order ----

local function new_ranges()
  return { first = {}, last = {} }
end

--- Which range is the last that begins at an index or before? 0: none.
local function find_range(firsts, index)
  local low, high = 0, #firsts
  while low < high do
    local middle = floor((low + high + 1) / 2)
    if firsts[middle] <= index then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

local function contains(ranges, index)
  local n = find_range(ranges.first, index)
  return n > 0 and index <= ranges.last[n]
end

--- Returns true if it was not there.
local function add_index(ranges, index)
  local firsts, lasts = ranges.first, ranges.last
  local n = find_range(firsts, index)
  local before, after = lasts[n], firsts[n + 1]
  if before and index <= before then
    return false
  elseif before == index - 1 and after == index + 1 then
    lasts[n] = lasts[n + 1]
    remove(firsts, n + 1)
    remove(lasts, n + 1)
  elseif before == index - 1 then
    lasts[n] = index
  elseif after == index + 1 then
    firsts[n + 1] = index
  else
    insert(firsts, n + 1, index)
    insert(lasts, n + 1, index)
  end
  return true
end

-- ---- what is read ----

local function is_utf8(text)
  return not find(text, "[\128-\255]") or core.decode("[" .. to_json(text) .. "]") ~= nil
end

local function is_index(value)
  return type(value) == "number" and value >= 1 and value == floor(value) and value < huge
end

--- Remembers what a line says of an input. Its first outcome counts.
-- @return true if it is that
local function remember(journal, index, tag, status)
  local is_first
  journal.has_done = journal.has_done or status == "done"
  if tag ~= nil then
    journal.has_tags = true
    is_first = not OUTCOMES[journal.tags[tag]]
    if is_first then
      journal.tags[tag] = status ~= "unsent" and status or nil
    end
  else
    journal.has_indexes = true
    journal.sent[index] = status == "sent" or nil
    is_first = OUTCOMES[status] and add_index(journal.ranges, index)
    if is_first and status ~= "done" then
      add_index(journal.bad[status], index)
    end
  end
  return is_first and OUTCOMES[status]
end

--- What a line has of an error, as an error.
local function revive(value)
  local ok, errors = pcall(core.errors, { value })
  if not ok and not find(tostring(errors), "bad argument", 1, true) then
    error(errors, 0) -- Ctrl-C, say
  end
  return ok and errors[1] or core.errors({ UNKNOWN_WHY })[1]
end

--- Keeps the error of an input, of as many as finish returns. One that inputs share, in lines one after the other, is
-- kept once.
local function keep_error(journal, record, line)
  local text = match(line, '"error":.*') or UNKNOWN_WHY
  if text ~= journal.error_text and journal.n_errors < MAX_ERRORS then
    journal.error_text, journal.n_errors = text, journal.n_errors + 1
    local errors = record.tag == nil and journal.errors_by_index or journal.errors_by_tag
    local key = record.tag == nil and record.index or record.tag
    errors[key] = revive(record.error)
  end
end

--- An object type or a call's name; of anything else only that it is none.
local function show(word)
  return type(word) == "string" and match(word, "^[%w_-]+$") or "?"
end

--- The job that the first line is of has to be this one. Returns what is wrong.
local function check_job(journal, record)
  local job, own = type(record.job) == "table" and record.job or nil, journal.job
  if not job then
    return NO_JOURNAL
  elseif job.call ~= own.call or job.from ~= own.from or job.to ~= own.to then
    return ("it is of another job: %s %s -> %s; give each job its own"):format(show(job.call), show(job.from),
      show(job.to))
  end
end

local function is_line(record)
  if type(record) ~= "table" or not is_index(record.index) then
    return false
  end
  local tag, status = record.tag, record.status
  return (OUTCOMES[status] or status == "sent" or status == "unsent")
    and (tag == nil or type(tag) == "string" or type(tag) == "number")
end

--- The index and tag of a line as most are: done, and nothing in it that JSON escapes, or that may be no UTF-8.
local function take_fast(line)
  local index = match(line, '^{"index":([1-9]%d*),"status":"done"}$')
  if index then
    return tonumber(index)
  end
  local tag
  index, tag = match(line, '^{"index":([1-9]%d*),"tag":"([^%c"\\\128-\255]*)","status":"done"}$')
  return index and tonumber(index), tag
end

local function damaged(number)
  return ("line %d is damaged; mend it, or give another path: a new journal does all inputs again"):format(number)
end

--- Takes in a whole line. Returns what is wrong.
local function take_line(journal, line, number)
  local index, tag = take_fast(line)
  if number > 1 and index then
    remember(journal, index, tag, "done")
    return nil
  end
  local record = core.decode(line)
  tag = match(line, '^{"index":%d+,"tag":(%-?%d+),')
  if tag and is_line(record) then -- a number as it was, also where decode gives large ones as strings
    record.tag = tonumber(tag)
  end
  local is_good = is_line(record)
  local problem = number == 1 and check_job(journal, is_good and record or {})
    or not is_good and damaged(number)
  if problem then
    return problem
  end
  if remember(journal, record.index, record.tag, record.status) and record.status ~= "done" then
    keep_error(journal, record, line)
  end
end

--- May the text be the beginning of a line, cut when the process was killed? Or nothing, as a power cut may leave it.
local function is_cut_line(text)
  return sub(BEGINNING, 1, #text) == sub(text, 1, #BEGINNING) or text == ("\0"):rep(#text)
end

--- Takes in all whole lines. Returns how many bytes they are; or nil and what is wrong.
local function take_lines(journal, size)
  local offset, rest, number = 0, "", 0
  while offset < size do
    local chunk, problem = journal.file:read(offset, CHUNK)
    if not chunk or chunk == "" then
      return nil, problem or "it is shorter than it was"
    end
    offset = offset + #chunk
    local text, first = rest .. chunk, 1
    local last = find(text, "\n", first, true)
    while last do
      number = number + 1
      problem = take_line(journal, sub(text, first, last - 1), number)
      if problem then
        return nil, problem
      end
      first = last + 1
      last = find(text, "\n", first, true)
    end
    rest = sub(text, first)
  end
  if not is_cut_line(rest) then
    return nil, number == 0 and NO_JOURNAL or damaged(number + 1)
  end
  return offset - #rest
end

--- Locks the file, reads it, and cuts off what a killed run left of its last line. Returns nil, or what is wrong.
local function take_over(journal)
  local file = journal.file
  local is_locked, problem = file:lock()
  if not is_locked then
    return problem or "another job is using it; wait for that one, or give each job its own"
  end
  local size, whole
  size, problem = file:size()
  if not size then
    return problem
  end
  whole, problem = take_lines(journal, size)
  if not whole then
    return problem
  end
  if whole < size then
    local ok
    ok, problem = file:truncate(whole)
    if not ok then
      return problem
    end
  end
  journal.size = whole
end

--- Opens a journal, which is made if it is not there, for its owner alone. While it is open nobody else can open it.
-- @param path of the file
-- @param job { call =, from =, to = }
-- @return journal, whose size is where the next line goes; or nil and what is wrong
local function open(path, job)
  local file, problem = core.open_file(path)
  if file then
    local journal = setmetatable({ file = file, path = path, job = job, ranges = new_ranges(),
      bad = { failed = new_ranges(), unknown = new_ranges() }, tags = {}, sent = {}, errors_by_index = {},
      errors_by_tag = {}, n_errors = 0, size = 0 }, Journal)
    problem = take_over(journal)
    if not problem then
      return journal
    end
    file:close()
  else
    problem = problem .. "; give a path in a folder that is there, of a file that this program may write"
  end
  return nil, ("journal %s: %s"):format(path, problem)
end

--- What earlier runs say of an input.
-- @return "done", "failed", "unknown", "sent" (nobody knows what became of it), or nil; and its error, if that was kept
function Journal:look_up(index, tag)
  if tag ~= nil then
    return self.tags[tag], self.errors_by_tag[tag]
  elseif not contains(self.ranges, index) then
    return self.sent[index] and "sent" or nil
  end
  local status = contains(self.bad.failed, index) and "failed" or contains(self.bad.unknown, index) and "unknown"
  return status or "done", self.errors_by_index[index]
end

--- Can an input without a tag, or with one, be found in what earlier runs have written, and the next one read its line?
-- Returns nil, or what is wrong.
function Journal:check_tag(tag)
  if type(tag) == "string" and not is_utf8(tag) then
    return "with a journal a tag is valid UTF-8, as JSON is"
  elseif tag == nil and self.has_tags and not self.has_indexes then
    return "the inputs in the journal have tags: give each input its own again"
  elseif tag ~= nil and self.has_indexes and not self.has_tags then
    return "the inputs in the journal have no tags: give them none, in the same order"
  end
end

-- ---- what is written ----

--- A copy of what serializes of an error, without long texts and without an answer's body.
local function reduce(value, depth)
  if type(value) == "table" then
    local copy = {}
    local kind = value[1] ~= nil and "number" or "string" -- of its keys: JSON has lists and objects
    for key, field in pairs(value) do
      if depth < MAX_DEPTH and key ~= "body" and type(key) == kind then
        copy[key] = reduce(field, depth + 1)
      end
    end
    return copy
  elseif type(value) == "string" then
    local text = #value <= MAX_TEXT and value or sub(value, 1, MAX_TEXT):gsub("[\192-\255]?[\128-\191]*$", "") .. "..."
    return is_utf8(text) and text or (text:gsub("[\128-\255]", "?")) -- a limiter's or a transport's own words
  elseif type(value) == "boolean" or type(value) == "number" and value > -huge and value < huge then
    return value
  end
end

--- The line of an input.
-- @param item { index =, tag =, error = }
-- @param status "done", "failed", "unknown", "sent", "unsent"
function Journal.line(item, status)
  local tag = item.tag ~= nil and ',"tag":' .. to_json(item.tag) or ""
  local problem = OUTCOMES[status] and item.error and ',"error":' .. to_json(reduce(item.error, 0)) or ""
  return ('{"index":%d%s,"status":"%s"%s}\n'):format(item.index, tag, status, problem)
end

local function cannot_write(journal, problem)
  return ("journal %s: %s; mend that, and begin the job again with this journal: it does what is not written there")
    :format(journal.path, problem)
end

--- Writes lines.
-- @param text whole lines
-- @param offset where they go: what was there is written again
-- @param is_synced must they outlast a power cut, too?
-- @return where the next line goes; or nil and what went wrong, and then none of it is there
function Journal:write(text, offset, is_synced)
  if offset == 0 then -- the first line says what job it is of
    local last = find(text, "}\n", 1, true)
    text = concat { sub(text, 1, last - 1), ',"job":', to_json(self.job), sub(text, last) }
  end
  local ok, problem = self.file:write(text, offset)
  if ok and is_synced then
    ok, problem = self.file:sync()
  end
  if not ok then
    self.file:truncate(offset)
    return nil, cannot_write(self, problem)
  end
  return offset + #text
end

--- Closes the file; others may open it. Returns nil, or what went wrong when it was to reach the disk; again, if it is
-- called again.
function Journal:close()
  if not self.is_closed then
    local ok, problem = self.file:sync()
    self.problem = not ok and cannot_write(self, problem) or nil
    self.is_closed = true
  end
  self.file:close()
  return self.problem
end

return { open = open }
