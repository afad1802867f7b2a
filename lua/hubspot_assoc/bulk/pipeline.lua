--- What a bulk job has under way: inputs become requests, answers become outcomes.
--
-- An error can be raised at any instruction here (Ctrl-C, a debug hook, on_outcome, memory that runs out), and must
-- lose nothing. So a job's stock (its requests, the inputs that wait for one, what was counted, and where the journal
-- ends) is never changed in parts: the next one is made beside it and takes its place by one assignment. What is done
-- before that, a line in the journal too, may be done again. The rest is made anew of the stock after an error
-- (is_unsure).
--
-- The states of a request, told by its fields:
--   fresh     it waits to be sent first               { items = }
--   put off   it met trouble, and waits               { items =, since =, tries =, not_before = }
--   begun     its call is under way                   and future =, sent_at =
--   answered  what came was understood                and verdict =
--   telling   its outcomes are counted and written; on_outcome is told of them   { outcomes = }
-- An item is an input, and becomes its outcome: { index =, tag =, input =, identity =, status =, result =, error = }.

local outcome = require "hubspot_assoc.bulk.outcome"
local trouble = require "hubspot_assoc.bulk.trouble"
local core = require "hubspot_assoc.core"
local room = require "hubspot_assoc.room"

local collectgarbage, concat, error, pairs, pcall = collectgarbage, table.concat, error, pairs, pcall
local select, tostring, type = select, tostring, type
local huge, max, min = math.huge, math.max, math.min

local SMALL_HEAP = 65536 -- KB: to collect all of it takes about as long as to decode an answer

local pipeline = { MAX_ERRORS = 100 } -- that finish returns

--- An error of ours about inputs of the job.
function pipeline.new_error(job, kind, message, fields)
  fields.kind, fields.message, fields.call, fields.from, fields.to = kind, message, job.name, job.from, job.to
  return core.errors({ room.new_error(fields) })[1]
end

local new_error = pipeline.new_error

function pipeline.new_stock(size)
  return { requests = {}, open = {}, held = {}, done = 0, failed = 0, unknown = 0, sent = 0, errors = {}, size = size,
    refused = { n = 0 } }
end

--- Changes some of the job's stock, all at once.
local function change(job, changes)
  local stock = {}
  for name, value in pairs(job.stock) do
    stock[name] = value
  end
  for name, value in pairs(changes) do
    stock[name] = value
  end
  job.stock = stock
end

--- A list of requests with others in the place of one, or at the end.
local function put_in_place(requests, gone, others)
  local list, n = {}, 0
  for i = 1, #requests + 1 do
    local request = requests[i]
    if request == gone then
      for j = 1, #others do
        n = n + 1
        list[n] = others[j]
      end
    else
      n = n + 1
      list[n] = request
    end
  end
  return list
end

-- ---- inputs that wait for a request ----
--
-- Inputs that are alike are never under way at a time: HubSpot may refuse or join such, and the later one counts. So an
-- input whose identity is busy is held back until that one has its outcome. What removes things has no identities here.

local function note_busy(busy, items)
  for i = 1, #items do
    if items[i].identity then
      busy[items[i].identity] = true
    end
  end
end

local function find_busy(job)
  local busy = {}
  for i = 1, #job.stock.requests do
    note_busy(busy, job.stock.requests[i].items or {})
  end
  note_busy(busy, job.stock.open)
  job.busy = busy
end

--- Cuts open inputs into requests; those left are fewer than a request has.
-- @param least of the last request: 1 leaves none
local function cut(job, open, least)
  local requests, first, size = {}, 1, job.batch_size
  while #open - first + 1 >= least do
    local items = {}
    for i = first, min(first + size - 1, #open) do
      items[#items + 1] = open[i]
    end
    requests[#requests + 1] = { items = items }
    first = first + #items
  end
  local rest = {}
  for i = first, #open do
    rest[#rest + 1] = open[i]
  end
  return put_in_place(job.stock.requests, nil, requests), rest
end

--- Makes requests of the open inputs.
function pipeline.flush(job, least)
  if #job.stock.open >= least then
    local requests, rest = cut(job, job.stock.open, least)
    change(job, { requests = requests, open = rest })
  end
end

--- Those that were held back and need not be any more.
local function let_in(job)
  local stock, busy = job.stock, job.busy
  if not stock.held[1] then
    return
  end
  local open, held = {}, {}
  for i = 1, #stock.open do
    open[i] = stock.open[i]
  end
  for i = 1, #stock.held do
    local item = stock.held[i]
    local list = busy[item.identity] and held or open
    list[#list + 1] = item
    busy[item.identity] = true
  end
  change(job, { open = open, held = held })
  pipeline.flush(job, job.batch_size)
end

--- What was taken, and an input that the journal has the outcome of.
local function leave_out(taken, item, status, problem)
  local errors = taken.errors
  if problem and #errors < pipeline.MAX_ERRORS then
    problem.index = problem.index and item.index
    errors = put_in_place(errors, nil, { problem })
  end
  return { index = item.index, skipped = taken.skipped + 1, failed = taken.failed + (status == "failed" and 1 or 0),
    unknown = taken.unknown + (status == "unknown" and 1 or 0), errors = errors }
end

--- Takes in the input that add was given, or leaves it out if the journal has its outcome.
local function take_in(job)
  local item, taken, stock = job.incoming, job.taken, job.stock
  if item and item.index > taken.index then
    local known, problem
    if job.journal then
      known, problem = job.journal:look_up(item.index, item.tag)
    end
    if known and known ~= "sent" then
      job.taken = leave_out(taken, item, known, problem)
    elseif stock.open[#stock.open] == item or stock.held[#stock.held] == item then
      taken.index = item.index -- it was interrupted between these two
    else
      item.was_sent = known == "sent" or nil
      local list = item.identity and job.busy[item.identity] and stock.held or stock.open
      if item.identity then
        job.busy[item.identity] = true
      end
      list[#list + 1] = item
      taken.index = item.index
    end
  end
  job.incoming = nil
end

--- What follows may be interrupted; leave says that it was not.
local function enter(job)
  if job.is_unsure then
    find_busy(job)
    take_in(job)
    let_in(job)
  end
  job.is_unsure = true
end

local function leave(job)
  job.is_unsure = false
end

--- Accepts an input: from the first assignment on it is the job's.
function pipeline.add(job, item)
  enter(job)
  job.incoming = item
  take_in(job)
  pipeline.flush(job, job.batch_size)
  leave(job)
end

--- Takes in what an error has left.
function pipeline.recover(job)
  enter(job)
  take_in(job)
  leave(job)
end

-- ---- outcomes ----

--- The counts with these outcomes, and the errors, of which not all are kept.
local function count(stock, decided)
  local n, errors = { done = stock.done, failed = stock.failed, unknown = stock.unknown }, stock.errors
  for i = 1, #decided do
    local item = decided[i]
    n[item.status] = n[item.status] + 1
    if item.error and item.error ~= errors[#errors] and #errors < pipeline.MAX_ERRORS then
      if errors == stock.errors then
        errors = put_in_place(errors, nil, {})
      end
      errors[#errors + 1] = item.error
    end
  end
  return n, errors
end

--- The lines of a request: its outcomes; and what was to be sent and surely was not applied.
local function lines_of(job, request, decided, is_claimed)
  local lines, line = {}, job.journal.line
  for i = 1, is_claimed and #decided or 0 do
    lines[i] = line(decided[i], decided[i].status)
  end
  if request.is_declared then
    for i = 1, #request.items do
      local item = request.items[i]
      if not (item.status and is_claimed) then
        lines[#lines + 1] = line(item, "unsent")
      end
    end
  end
  return concat(lines)
end

--- Writes to the journal. Returns where it ends now; or nil, and the job has ended.
local function write(job, text, is_synced)
  local size, problem = job.stock.size, job.journal_problem
  if text == "" then
    return size
  elseif not problem then
    size, problem = job.journal:write(text, size, is_synced)
  end
  if problem then
    job.journal_problem = problem
    job.ended = job.ended or core.errors({ problem })[1]
    return nil
  end
  return size
end

--- Has nothing of the job gone well yet, in earlier runs neither?
local function is_bleak(job)
  return job.stock.done == 0 and not (job.journal and job.journal.has_done)
end

local function release(job, items)
  for i = 1, #items do
    if items[i].identity then
      job.busy[items[i].identity] = nil
    end
  end
  let_in(job)
end

--- A request's tables are many and die with it, in bursts that an incremental collector is late for: the heap would be
-- four times what is in use. A host's large heap is left alone.
local function collect(job)
  local kb = collectgarbage "count"
  if not kb then -- in a finalizer
    return
  elseif kb > (job.kb_in_use or kb) * 1.25 + 2048 and kb < SMALL_HEAP then
    collectgarbage()
    job.kb_in_use = collectgarbage "count"
  end
  job.kb_in_use = min(job.kb_in_use or kb, kb)
end

--- A request has come to its end.
-- @param decided items that have their outcomes
-- @param others requests that take its place
-- @param is_claimed false: the next run is to try them again
-- @param refused count of refusals; nil: as it was
local function commit(job, request, decided, others, is_claimed, refused)
  local stock = job.stock
  local size = stock.size
  if job.journal then
    request.text = request.text or lines_of(job, request, decided, is_claimed)
    size = write(job, request.text)
    if not size then -- what nobody will find in the journal is not claimed
      decided, others = {}, {}
    end
  end
  local counts, errors = count(stock, decided)
  if job.on_outcome and decided[1] then
    others = put_in_place(others, nil, { { outcomes = decided, last = #decided } })
  end
  local requests
  if is_bleak(job) then -- the inputs that go alone are to be from all that is under way
    requests = put_in_place(put_in_place(stock.requests, request, {}), nil, others)
  else
    requests = put_in_place(stock.requests, request, others)
  end
  change(job, { requests = requests, errors = errors,
    size = size or stock.size, done = counts.done, failed = counts.failed, unknown = counts.unknown,
    sent = stock.sent + (request.future and 1 or 0), refused = refused })
  release(job, decided)
  job.has_news = true
  collect(job)
end

local function requests_of(lists)
  local requests = {}
  for i = 1, #lists do
    requests[i] = { items = lists[i] }
  end
  return requests
end

--- It is not tried again, though it might go well some day.
local function give_up(job, request, problem)
  local items = request.items
  for i = 1, #items do
    items[i].status, items[i].error = "failed", problem
  end
  return commit(job, request, items, {}, false)
end

--- The job holds still for a while, or gives up.
-- @return what it goes by from then on; what the request does, or nil if it gives up
local function hold_still(job, request, problem)
  local time = core.now()
  local state, own = trouble.meet(job.trouble, request, problem, time, job.give_up_after, time * 1e4 % 1)
  if not state then
    job.has_given_up = true
    job.ended = job.ended or problem
  end
  return state, own
end

--- The request met trouble that may pass: is it to wait?
local function meet_trouble(job, request, problem)
  if job.ended and not job.has_given_up then
    return commit(job, request, {}, {}, true) -- it is left
  end
  local state, own = hold_still(job, request, problem)
  if not own or job.has_given_up then
    give_up(job, request, problem)
  else
    own.items, own.problem = request.items, problem
    commit(job, request, {}, { own }, true)
  end
  job.trouble = state
end

--- The error that ends a job of which nothing has gone well.
local function lose_hope(refusal, n, is_alone)
  local problem = {}
  for name, value in pairs(refusal) do
    problem[name] = value
  end
  problem.index = nil
  local what = is_alone and "inputs that were sent alone" or "requests"
  problem.message = ("all %d %s were refused alike, and nothing has gone well: look at from, to and the inputs. "
    .. "HubSpot said: %s"):format(n, what, tostring(refusal.message))
  return core.errors({ problem })[1]
end

--- An answer was understood: writes, counts, and goes on.
local function settle(job, request)
  local verdict = request.verdict
  if verdict.ends then
    job.ended = job.ended or verdict.ends
  end
  if verdict.is_answered then
    job.trouble = nil
  end
  if verdict.trouble then
    return meet_trouble(job, request, verdict.trouble)
  end
  local refused = outcome.count_refusals(job.stock.refused, verdict)
  if verdict.refusal and outcome.is_hopeless(refused) and is_bleak(job) then
    job.ended = job.ended or lose_hope(verdict.refusal, refused.n, #request.items == 1)
  end
  local state = verdict.halts and hold_still(job, request, verdict.halts) or job.trouble
  commit(job, request, verdict.decided, requests_of(verdict.again), true, refused)
  job.trouble = state
end

--- Tells on_outcome of each, once. What it raises leaves the rest for the next time.
local function tell(job, request)
  local outcomes, slot = request.outcomes, {}
  for i = 1, request.last do
    local item = outcomes[i]
    if item then
      item.identity, item.was_sent = nil, nil
      slot[1] = job.on_outcome
      leave(job)
      core.call_once(slot, 1, outcomes, i, item)
      enter(job)
    end
  end
  change(job, { requests = put_in_place(job.stock.requests, request, {}) })
end

-- ---- sending ----

local UNANSWERED = "an earlier run of this job sent it, and ended before it knew what became of it"

--- Makes the call of some items.
-- @return call; or nil and what is wrong with an item
local function make_call(job, items)
  local inputs = {}
  for i = 1, #items do
    inputs[i] = items[i].input
    if type(inputs[i]) ~= "table" then
      return nil, "table expected, got " .. type(inputs[i])
    end
  end
  local ok, result = pcall(core.calls[job.name], job.client.core, job.from, job.to, inputs, job.call_options)
  if ok then
    return result
  end
  local problem = tostring(result):match "%(inputs%[%d+%](.*)%)$"
  if not problem then
    error(result, 0)
  end
  return nil, (problem:gsub("^[.:] ?", "", 1))
end

--- Takes out of a request what is not to be sent: bad inputs, and those that an earlier run has sent.
local function set_apart(job, request)
  local good, apart = {}, { items = {}, verdict = { decided = {} , again = {} } }
  for i = 1, #request.items do
    local item = request.items[i]
    local call, problem = make_call(job, { item })
    if item.was_sent then
      item.status = "unknown"
      item.error = new_error(job, "canceled", UNANSWERED, { ambiguous = true, index = item.index })
    elseif not call then
      item.status = "failed"
      item.error = new_error(job, "config", "bad input (" .. problem .. "): nothing was sent for it",
        { index = item.index })
    end
    local list = item.status and apart.items or good
    list[#list + 1] = item
  end
  apart.verdict.decided = apart.items
  change(job, { requests = put_in_place(job.stock.requests, request, { apart, good[1] and { items = good } or nil }) })
end

--- Before a request leaves that must not be applied twice, the journal says so. Returns whether it may leave.
local function declare(job, request)
  local lines = {}
  for i = 1, #request.items do
    lines[i] = job.journal.line(request.items[i], "sent")
  end
  local size = write(job, concat(lines), true)
  if size then
    change(job, { size = size })
    request.is_declared = true
  end
  return size ~= nil
end

--- It was interrupted as it was sent: nobody knows whether it has left.
local function is_lost(job, request)
  if not (job.rules.is_once and request.is_leaving) then
    return false
  end
  local problem = new_error(job, "canceled", "an error was raised as it was sent", { ambiguous = true })
  for i = 1, #request.items do
    request.items[i].status, request.items[i].error = "unknown", problem
  end
  request.verdict = { decided = request.items, again = {} }
  return true
end

local function has_sent_before(items)
  for i = 1, #items do
    if items[i].was_sent then
      return true
    end
  end
  return false
end

--- Sends a request, or what of it can be sent.
local function begin(job, request)
  if is_lost(job, request) then
    return
  end
  local call = not has_sent_before(request.items) and make_call(job, request.items)
  if not call then
    return set_apart(job, request)
  end
  if job.rules.is_once and job.journal and not request.is_declared and not declare(job, request) then
    return
  end
  request.sent_at = core.now()
  request.is_leaving = true
  request.future = room.begin(job.client, job.level, "bulk", call)
end

--- The request that may be sent now, or nil and when there is one; huge: not before one has come back.
local function find_next(job, time)
  local requests, under_way, put_off, fresh, ready = job.stock.requests, 0, 0, nil, nil
  for i = 1, #requests do
    local request = requests[i]
    if request.future or request.verdict then
      under_way = under_way + 1
    elseif request.not_before then
      put_off = put_off + 1
      ready = (not ready or request.not_before < ready.not_before) and request or ready
    elseif request.items then
      fresh = fresh or request
    end
  end
  local at = ready and ready.not_before or huge
  fresh = under_way + put_off < job.in_flight and fresh or nil
  if job.trouble then -- one goes first, alone; those that have not been tried yet before those that were
    at = under_way > 0 and huge or max(job.trouble.resume_at, fresh and 0 or at)
    return at <= time and (fresh or ready) or nil, at
  elseif at <= time then
    return ready, at
  end
  return fresh, fresh and 0 or at
end

local function begin_all(job)
  local request = not job.ended and find_next(job, core.now())
  while request do
    request.is_probe = job.trouble ~= nil
    begin(job, request)
    request = not job.ended and find_next(job, core.now())
  end
end

-- ---- moving ----

--- Takes what has come, of one call: what its answer takes is given back before the next is decoded. Other coroutines
-- may go on meanwhile.
-- @return true if there may be more
local function look(job)
  local is_more = room.look(job.client)
  local requests = job.stock.requests
  for i = 1, #requests do
    local request = requests[i]
    local came = request.future and room.end_of(request.future)
    if came and not request.came then
      request.came = { results = came[1], errors = came[2] }
    end
  end
  return is_more
end

local function understand(job, request)
  local came = request.came
  came.sorted = came.sorted or outcome.sort(came.results, came.errors, #request.items)
  request.verdict = outcome.judge(job.rules, request.items, came.sorted,
    { is_bleak = is_bleak(job), refused = job.stock.refused.n })
end

--- Does what is to be done with a request; returns false if that is nothing.
local function handle(job, request)
  if request.outcomes then
    tell(job, request)
  elseif request.verdict then
    settle(job, request)
  elseif request.came then
    understand(job, request)
  elseif request.not_before and job.has_given_up then
    give_up(job, request, request.problem)
  else
    return false
  end
  return true
end

local function handle_all(job)
  local i = 1
  while i <= #job.stock.requests do
    i = handle(job, job.stock.requests[i]) and 1 or i + 1
  end
end

local function report(job)
  if job.on_progress and job.has_news then
    job.has_news = false
    leave(job)
    core.call(job.on_progress, job:progress())
    enter(job)
  end
end

--- Moves the job on as far as it goes without waiting.
function pipeline.turn(job)
  local is_more
  repeat
    is_more = look(job)
    enter(job)
    handle_all(job)
    begin_all(job)
    handle_all(job) -- bad inputs
    report(job)
    leave(job)
  until not is_more
  job.turned_at = core.now()
end

--- Is anything to come back, or to be told?
function pipeline.is_busy(job)
  for i = 1, #job.stock.requests do
    local request = job.stock.requests[i]
    if request.future or request.verdict or request.outcomes or not job.ended then
      return true
    end
  end
  return false
end

--- Must who adds wait?
function pipeline.is_full(job)
  local stock = job.stock
  if #stock.held >= job.batch_size * job.in_flight then
    return true
  end
  for i = 1, #stock.requests do
    local request = stock.requests[i]
    if request.items and not request.future and not request.not_before and not request.verdict then
      return true
    end
  end
  return false
end

--- Has any answer come that was not looked at yet? What came before one waits wakes nobody.
local function has_come(job)
  for i = 1, #job.stock.requests do
    local request = job.stock.requests[i]
    if request.future and (request.came or room.end_of(request.future)) then
      return true
    end
  end
  return false
end

--- Is the answer to any request to come back?
function pipeline.is_awaiting(job)
  for i = 1, #job.stock.requests do
    if job.stock.requests[i].future then
      return true
    end
  end
  return false
end

--- Waits until something of it may have changed; in an event loop others go on meanwhile.
-- @param level, method to blame where the host does not allow to wait
function pipeline.wait(job, level, method)
  local is_awaiting = pipeline.is_awaiting(job)
  if has_come(job) or job.ended and not is_awaiting then
    return
  end
  local time, at = core.now(), huge -- what has ended sends nothing more
  if not job.ended then
    at = select(2, find_next(job, time))
  end
  if at > time and job.client.is_closed and not is_awaiting then
    job.ended = new_error(job, "config", "the client is closed", {})
  elseif at > time then
    room.wait(job.client, level, method, at - time)
  end
end

return pipeline
