--- Iterators over what records are associated with: of one record, page by page; of many, with several requests under
-- way.
--
-- They wait as calls do. In Lua 5.1 (not LuaJIT) no coroutine can yield inside the iterator of a `for`: with an event
-- loop they are called there, `local id, records, errors = it()`, until they return nil.

local core = require "hubspot_assoc.core"
local room = require "hubspot_assoc.room"
local new_source = require "hubspot_assoc.source"

local error, ipairs = error, ipairs
local ceil, floor, max, min, math_type = math.ceil, math.floor, math.max, math.min, math.type
local pairs, remove, setmetatable, tostring, type = pairs, table.remove, setmetatable, tostring, type

local PAGE = 500 -- records that HubSpot gives of one record at a time
local MAX_READ = 1000 -- ids of a request
local FIRST_READ = 50 -- ids of a request while nobody knows how many records they have
local AIM = 10000 -- records of an answer: some 5 MB of Lua tables
local MAX_IN_FLIGHT, DEFAULT_IN_FLIGHT = 100, 4 -- requests
local EXACT = 2 ^ 53 -- a float from here on may have been another number
local MAX_ID = "9223372036854775807"
local MAX_REFUSED = 20 -- ids, each alone, while none is read: it takes two requests an id to find that out

-- HubSpot's refusals of a whole request that one of its ids can be the reason of.
local REFUSALS = { [400] = true, [409] = true, [413] = true, [422] = true }

-- ---- what both have ----

--- Only one coroutine at a time can be inside: what is waited for there is next for it.
local function enter(iterator, name)
  if iterator.is_busy then
    error(("this iterator of %s is in use by another coroutine, or an error has left it"):format(name), 3)
  end
  iterator.is_busy = true
end

--- Where a page ends, if there are more: a string, or nil.
local function cursor_of(paging)
  local following = type(paging) == "table" and paging.next
  local after = type(following) == "table" and following.after
  if type(after) == "number" then
    return ("%.0f"):format(after)
  end
  return type(after) == "string" and after ~= "" and after or nil
end

local function new_cursor_error(call, from, to, cursor, response)
  local message = ("HubSpot gives the cursor %q a second time: the pages have no end"):format(cursor)
  return room.new_error { kind = "protocol", message = message, call = call, from = from, to = to,
    http_status = response and response.http_status, attempts = response and response.attempts }
end

local function copy(list)
  local new = {}
  for name, value in pairs(list or {}) do
    new[name] = value
  end
  return new
end

-- ---- list_all ----

local ListAll = { __name = "hubspot_assoc.list_all" }

function ListAll.__tostring()
  return ListAll.__name
end

--- Reads the next page, and sees to what comes behind it.
local function read_page(iterator)
  local records, errors, response = iterator.client:list(iterator.from, iterator.from_id, iterator.to, iterator.options)
  local after = not errors and cursor_of(response.paging) or nil
  iterator.response = response
  iterator.page, iterator.place = records or {}, 0
  iterator.is_last = after == nil
  if errors then
    iterator.errors = errors
  elseif after and iterator.seen[after] then
    iterator.errors = core.errors { new_cursor_error("list", iterator.from, iterator.to, after, response) }
    iterator.is_last = true
  elseif after then
    iterator.seen[after] = true
    iterator.options.after = after
  end
end

function ListAll.__call(iterator)
  enter(iterator, "list_all")
  while iterator.place >= #iterator.page and not iterator.is_last do
    room.check_wait(iterator.client, 1, "list_all")
    read_page(iterator)
  end
  local place = iterator.place + 1
  local record = iterator.page[place]
  iterator.place = place
  iterator.is_busy = false
  return record
end

local methods = {}

--- Iterates over all that one record is associated with, a page at a time (HubSpot: Associations v4 > List).
--
--     local it = client:list_all("contacts", 101, "companies")
--     for record in it do store(record.toObjectId) end
--     if it.errors then ... end
--
-- @param from, fromId, to as in list
-- @param options as in list: after, limit (500), and call options, for each of the requests
-- @return iterator: a table that is called for the next record. Its `errors` tell why it ended early, if it did; its
--   `response` is the last one.
function methods.list_all(client, level, from, from_id, to, options)
  room.check_call(client, level, "list_all", "list", from, from_id, to, options)
  local own_options = copy(options)
  own_options.limit = own_options.limit or PAGE
  return setmetatable({ client = client, from = from, from_id = from_id, to = to, options = own_options, page = {},
    place = 0, is_last = false, seen = { [own_options.after or ""] = true } }, ListAll)
end

-- ---- read_all: batches of ids ----
--
-- A batch is what one request asks for, and what has come of it. Its fields: ids (as they were given), keys (their
-- record ids, in the same places; false where one is none), place (of the id that was handed out last); records and
-- failures (key -> list); inputs (of the request under way: at first all ids, then those that have more pages, or are
-- asked for again in halves), future (of that request; nil: all is known), todo (lists of inputs, for requests that
-- follow it: last in, first out); read_ids and read_records (how many, for next_size).

--- The record id that a value stands for, as HubSpot writes it, or nil.
local function key_of(id)
  if type(id) == "string" then
    local is_short = #id < #MAX_ID or #id == #MAX_ID and id <= MAX_ID
    return is_short and id:match("^0*(%d+)$") or nil
  elseif type(id) ~= "number" or id < 0 or id % 1 ~= 0 then
    return nil
  elseif id < EXACT then
    return ("%.0f"):format(id + 0) -- no sign of a zero
  end
  return math_type and math_type(id) == "integer" and ("%d"):format(id) or nil
end

--- What is wrong with a value that is no record id.
local function say_no_id(id)
  local is_large = type(id) == "string" and id:find("^%d+$")
  return ("record id (%s) expected, got %s %s"):format(is_large and MAX_ID .. " at most" or "a string of digits",
    type(id), tostring(id))
end

local function new_error(iterator, kind, message, fields)
  local failure = copy(fields)
  failure.kind, failure.message, failure.call = kind, message, "read"
  failure.from, failure.to = iterator.from, iterator.to
  return room.new_error(failure)
end

local function add(lists, key, item)
  local list = lists[key] or {}
  lists[key] = list
  list[#list + 1] = item
end

--- Has a request for these inputs begin.
local function ask(iterator, batch, inputs)
  local client = iterator.client
  local call = room.make_call(client, 1, "read_all", "read", iterator.from, iterator.to, inputs,
    iterator.options)
  batch.inputs = inputs
  batch.future = room.begin(client, 1, "read_all", call)
end

--- What rules out that any other request is carried out: the error, or nil.
local function find_end(errors)
  for _, failure in ipairs(errors or {}) do
    local status, kind = failure.http_status, failure.kind
    if not failure.retryable and (status == 401 or status == 403 or failure.policyName == "DAILY" or kind == "config"
      or kind == "canceled") then
      return failure
    end
  end
  return nil
end

--- The error of an id that is not asked for any more.
local function new_unsent(iterator)
  local why = iterator.ended_by
  local reason = why.policyName == "DAILY" and "the daily limit is used up" or why.http_status
    and "an earlier request was refused with HTTP " .. why.http_status or "an earlier request could not be sent"
  return new_error(iterator, why.kind, "not sent: " .. reason, { policyName = why.policyName })
end

--- Are the ids of a refused request to be asked for in halves? Where twenty were refused alone and none was read,
-- the ids are not the reason (an object type that is not there, say).
local function isolates(iterator)
  return iterator.has_read or iterator.refused < MAX_REFUSED
end

--- How many ids the next request is to ask for.
local function next_size(iterator)
  if iterator.batch_size then
    return iterator.batch_size
  elseif not iterator.last_ids then
    return isolates(iterator) and FIRST_READ or MAX_READ
  end
  return max(1, min(MAX_READ, floor(AIM * iterator.last_ids / max(1, iterator.last_records))))
end

--- Reads ids, as many as a request may hold. An id that comes twice is asked for once.
-- @return batch; nil if there are no more ids
local function new_batch(iterator)
  local batch = { ids = {}, keys = {}, place = 0, records = {}, failures = {}, inputs = {}, todo = {},
    read_ids = 0, read_records = 0 }
  local is_asked, size = {}, next_size(iterator)
  while #batch.ids < size do
    local id = iterator.next_id()
    if id == nil then
      iterator.has_all = true
      break
    end
    local key, n = key_of(id) or false, #batch.ids + 1
    batch.ids[n], batch.keys[n] = id, key
    if key and not is_asked[key] then
      is_asked[key] = true
      batch.inputs[#batch.inputs + 1] = { id = key }
    end
  end
  return batch.ids[1] ~= nil and batch or nil
end

--- Keeps as many batches as may be under way. Nothing is read ahead of that.
local function fill(iterator)
  local batches = iterator.batches
  while #batches < iterator.in_flight and not iterator.has_all do
    local batch = new_batch(iterator)
    if batch then
      if iterator.ended_by then
        batch.unsent = new_unsent(iterator)
      elseif batch.inputs[1] then
        ask(iterator, batch, batch.inputs)
      end
      batches[#batches + 1] = batch
    end
  end
end

-- ---- what has come ----

local NOTHING_FOUND = "NO_ASSOCIATIONS_FOUND"

--- Is it the error that HubSpot gives for a record without associations?
local function is_nothing_found(failure)
  local category = failure.subCategory
  for _, text in pairs(type(category) == "table" and category or { category }) do
    if type(text) == "string" and text:find(NOTHING_FOUND, 1, true) then
      return true
    end
  end
  return false
end

--- Takes a result: records, and perhaps a cursor, which is asked for next.
local function take_result(iterator, batch, result, open, following, response)
  local from = type(result) == "table" and result.from
  local key = type(from) == "table" and key_of(from.id) or nil
  if not key or open[key] == nil then
    return
  end
  open[key], iterator.has_read = false, true
  local records = batch.records[key] or {}
  batch.records[key] = records
  for _, record in ipairs(type(result.to) == "table" and result.to or {}) do
    records[#records + 1] = record
  end
  local after = cursor_of(result.paging)
  if not after then
    return
  end
  batch.cursors = batch.cursors or {}
  local seen = batch.cursors[key] or {}
  batch.cursors[key] = seen
  if seen[after] then
    add(batch.failures, key, new_cursor_error("read", iterator.from, iterator.to, after, response))
  else
    seen[after] = true
    following[#following + 1] = { id = key, after = after }
  end
end

--- They are to be asked for again, in two requests.
local function halve(batch, inputs)
  local middle, first, second = ceil(#inputs / 2), {}, {}
  for i, input in ipairs(inputs) do
    local half = i <= middle and first or second
    half[#half + 1] = input
  end
  add(batch, "todo", second)
  add(batch, "todo", first)
end

--- Gives an error to the ids that it is about.
-- @return is it known which?
local function take_error(iterator, batch, failure, open)
  local first, last, is_known = failure.index or failure.first, failure.index or failure.last, false
  failure.index, failure.first, failure.last = nil, nil, nil -- places in a request that nobody sees
  for i = first or 1, first and last or 0 do
    local key = batch.inputs[i] and batch.inputs[i].id
    if key and is_nothing_found(failure) then
      batch.records[key] = batch.records[key] or {}
      iterator.has_read = true
    elseif key then
      add(batch.failures, key, failure)
    end
    if key then
      open[key], is_known = false, true
    end
  end
  return is_known
end

--- Are there errors, and do all of them say that a record has no associations?
local function say_nothing_found(failures)
  for _, failure in ipairs(failures) do
    if not is_nothing_found(failure) then
      return false
    end
  end
  return failures[1] ~= nil
end

--- Errors that name no id, and no answer to some of the ids.
-- @param rest their inputs
-- @param is_refused was the request refused as a whole, for a reason that can be one of its ids?
local function judge_rest(iterator, batch, rest, loose, is_refused)
  local is_nothing = say_nothing_found(loose)
  local failures = loose[1] and loose
    or { new_error(iterator, "protocol", "HubSpot's answer says nothing of this record", { attempts = 1 }) }
  if is_refused and #rest > 1 and not is_nothing and isolates(iterator) then
    return halve(batch, rest)
  end
  for _, input in ipairs(rest) do
    if is_nothing then
      batch.records[input.id] = batch.records[input.id] or {}
      iterator.has_read = true
    else
      batch.failures[input.id] = failures
    end
  end
end

--- Of some ids nothing came, and of some errors it is unknown which they are about.
-- @param is_whole did the request fail as a whole?
local function match_rest(iterator, batch, open, loose, is_whole)
  local rest = {}
  for _, input in ipairs(batch.inputs) do
    rest[#rest + 1] = open[input.id] and input or nil
  end
  if rest[1] then
    return judge_rest(iterator, batch, rest, loose, loose[1] and (not is_whole or REFUSALS[loose[1].http_status]))
  elseif loose[1] and not say_nothing_found(loose) then
    for _, failure in ipairs(loose) do
      iterator.loose[#iterator.loose + 1] = failure
    end
    iterator.errors = core.errors(iterator.loose)
  end
end

local function count_records(results)
  local n = 0
  for _, result in ipairs(results) do
    n = n + (type(result) == "table" and type(result.to) == "table" and #result.to or 0)
  end
  return n
end

--- Did its deadline pass before it was sent? A loop that takes its time may have kept it from what it asks for.
local function was_left_waiting(errors)
  return errors and errors[1].kind == "timeout" and errors[1].attempts == 0
end

--- How many ids the batch has read so far, and records of theirs. Further pages say nothing of other records.
local function count(iterator, batch, results)
  if batch.cursors then
    return
  end
  batch.read_ids, batch.read_records = batch.read_ids + #batch.inputs, batch.read_records + count_records(results)
  iterator.last_ids, iterator.last_records = batch.read_ids, batch.read_records
end

--- Asks for what the batch still has to ask for, if that can be.
local function go_on(iterator, batch)
  local inputs = remove(batch.todo)
  while inputs do
    if not iterator.ended_by then
      batch.is_asked_again = false
      return ask(iterator, batch, inputs)
    end
    for _, input in ipairs(inputs) do
      add(batch.failures, input.id, new_unsent(iterator))
    end
    inputs = remove(batch.todo)
  end
end

--- Takes the answer to a batch's request, and asks for the pages behind it.
local function take_answer(iterator, batch)
  local results, errors, response = batch.future:wait()
  local open, following, loose = {}, {}, {}
  batch.future = nil
  if was_left_waiting(errors) and not batch.is_asked_again then
    batch.is_asked_again = true
    return ask(iterator, batch, batch.inputs)
  end
  iterator.response = response or iterator.response
  iterator.ended_by = iterator.ended_by or find_end(errors)
  if results then
    count(iterator, batch, results)
  end
  for _, input in ipairs(batch.inputs) do
    open[input.id] = true
  end
  for _, result in ipairs(results or {}) do
    take_result(iterator, batch, result, open, following, response)
  end
  for _, failure in ipairs(errors or {}) do
    if not take_error(iterator, batch, failure, open) then
      loose[#loose + 1] = failure
    end
  end
  match_rest(iterator, batch, open, loose, not results)
  if errors and #batch.inputs == 1 and (results or REFUSALS[errors[1].http_status]) then
    iterator.refused = iterator.refused + 1
  end
  if following[1] then
    add(batch, "todo", following)
  end
  go_on(iterator, batch)
end

--- Waits until all is known of the first batch; takes the answers to others that have come meanwhile.
local function wait_for_first(iterator)
  local batches = iterator.batches
  while batches[1].future do
    batches[1].future:wait()
    for i = 1, #batches do
      if batches[i].future and batches[i].future:done() then
        take_answer(iterator, batches[i])
      end
    end
  end
end

-- ---- read_all ----

local ReadAll = { __name = "hubspot_assoc.read_all" }

function ReadAll.__tostring()
  return ReadAll.__name
end

--- The next id of a batch of which all is known: id, records, errors; or nil if there is none.
local function hand_out(iterator, batch)
  local place = batch.place + 1
  local id, key = batch.ids[place], batch.keys[place]
  batch.place = place
  if id == nil then
    return nil
  elseif not key then
    return id, nil, core.errors { new_error(iterator, "config", say_no_id(id)) }
  elseif batch.unsent then
    return id, nil, core.errors { batch.unsent }
  elseif batch.failures[key] then
    return id, nil, core.errors(batch.failures[key])
  end
  return id, batch.records[key]
end

--- Lets the requests under way go on with what they ask for, while a loop takes its time.
local function look_after(iterator)
  local last = iterator.batches[#iterator.batches]
  if last and last.future then
    last.future:done()
  end
end

function ReadAll.__call(iterator)
  enter(iterator, "read_all")
  local batches, id, records, errors = iterator.batches, nil, nil, nil
  fill(iterator)
  look_after(iterator)
  while batches[1] and id == nil do
    if batches[1].future then
      room.check_wait(iterator.client, 1, "read_all")
    end
    wait_for_first(iterator)
    id, records, errors = hand_out(iterator, batches[1])
    if id == nil then
      remove(batches, 1)
      fill(iterator)
    end
  end
  iterator.is_busy = false
  return id, records, errors
end

room.own_options.read_all = {
  in_flight = room.count_option(MAX_IN_FLIGHT), batch_size = room.count_option(MAX_READ),
}

--- Iterates over what many records are associated with, in the order of their ids (HubSpot: Associations v4 > Read).
-- Several requests are under way while the loop works on what came before; no more ids are read than these hold, and
-- what a loop that is left had begun comes to its end by itself.
--
--     for id, records, errors in client:read_all("contacts", "companies", ids) do
--       if errors then log(id .. ": " .. errors) else store(id, records) end
--     end
--
-- @param from, to object types
-- @param ids list of record ids, or a function that returns the next one, and nil when there are no more; it may yield
--   in an event loop. An error in it leaves the loop.
-- @param options in_flight (requests, 4), batch_size (ids of a request, 1000 at most; by default as many as have some
--   10,000 records), and call options, for each of the requests
-- @return iterator: a table that is called for the next id: id as it was given, its records, all pages of them ({}: it
--   has none), nil; or id, nil, errors. An id that comes twice is given twice, perhaps with the same table. The ids
--   of a refused request are asked for again in halves, so that a bad id fails alone. After 401,
--   403 and the daily limit nothing more is sent, and the ids that are left have errors with `attempts` 0. Its `errors`
--   are those for which HubSpot named no id, beside answers for all; its `response` is the last one.
function methods.read_all(client, level, from, to, ids, options)
  local own, call_options = room.split_options(level, "read_all", options)
  room.check_call(client, level, "read_all", "read", from, to, {}, call_options)
  local next_id, problem = new_source(ids)
  if not next_id then
    error(("bad argument #3 to 'read_all' (ids: %s)"):format(problem), level + 1)
  end
  return setmetatable({ client = client, from = from, to = to, next_id = next_id, has_all = false, batches = {},
    loose = {}, refused = 0, has_read = false, options = call_options,
    in_flight = own.in_flight or DEFAULT_IN_FLIGHT, batch_size = own.batch_size }, ReadAll)
end

return methods
