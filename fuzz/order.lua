--- Orders: in whatever order a program uses clients, each call has one outcome, each function is called once, nothing
-- is lost, and what comes after it works. The input is such a program: a byte chooses what is done next, here or in a
-- function that the library calls, the bytes behind it how. Behind its end all functions do what they should.
--
-- libFuzzer runs it in Lua 5.4 (order.c), with a clock of its own and a look at which lines are run; any Lua runs it
-- as fuzz/lua.lua tells. Nothing depends on what it takes for the time but how long that is.

package.path = "./?.lua;./lua/?.lua;" .. package.path
local core = require "hubspot_assoc.core"
local fuzz = require "fuzz.lua"

local native = ... -- of order.c: begin(), advance(seconds), interrupt(n), settle(core's client), calls(core's client)
if type(native) ~= "table" then native = nil end
if rawget(_G, "jit") then require "jit".off() end -- hooks interrupt no compiled code

-- An event loop needs the I/O thread, whose pace nobody could repeat. So the loop below drives the clients itself.
local new_core_client = core.new
function core.new(options, level, ...)
  local own = {}
  for name, value in pairs(options) do own[name] = value end
  own.io_thread = false
  return new_core_client(own, level, ...)
end

local assoc = require "hubspot_assoc"
require "hubspot_assoc.bulk" -- now, for the lines of an input are counted
require "hubspot_assoc.iterators"

local MOST_DEPTH, MOST_CLIENTS, MOST_CALLS = 5, 4, 60
local STRUCK = "struck here" -- what an interruption says
local RAISED = { "raised", { "raised" } } -- what functions raise; or nil
local DIE = {} -- what a coroutine is resumed with that is to raise an error

local IS_SHOWN = os.getenv "SHOW" -- SHOW=1: what a program does is printed

local now, running, status = core.now, coroutine.running, coroutine.status
local unpack = table.unpack or unpack -- luacheck: ignore

-- ---- the input ----

local input, place

local function byte()
  place = place + 1
  return input:byte(place) or 0
end

local function below(n) return byte() % n end
local function is_over() return place >= #input end
local function pick(list) return list[below(math.max(#list, 1)) + 1] end

-- ---- claims ----

local world -- what the program has made so far
local failure -- the first claim that does not hold

local function must(claim, text, ...)
  if not claim then
    failure = failure or debug.traceback(text:format(...), 2)
    error(failure, 0)
  end
end

local EXPECTED = { STRUCK, "^raised", "cannot be waited for in its own", "'drain' cannot be called from",
  "cannot wait here: no coroutine can yield", "attempt to yield", "yield across", "from outside a coroutine",
  "the call is being worked on", "cannot be called after finish", "it is at work", "cannot be called again while" }

--- Is it no error of the library's own?
local function judge_text(text)
  must(not text:find "hubspot_assoc[%w_/]*%.lua:%d", "a mistake of the library's: %s", text)
  must(not text:find "attempt to" or text:find "attempt to yield", "a mistake of the library's: %s", text)
  must(not text:lower():find "internal", "an internal error: %s", text)
end

local function judge_raised(message)
  if failure then error(failure, 0) end
  if message == nil or message == RAISED[2] then return end
  must(type(message) == "string", "an odd error was raised: %s", tostring(message))
  judge_text(message)
  for _, pattern in ipairs(EXPECTED) do
    if message:find(pattern) then return end
  end
  must(false, "an error that nobody expects: %s", message)
end

local KINDS = { api = true, throttled = true, timeout = true, transport = true, protocol = true, canceled = true,
  config = true }

local function judge_errors(errors)
  must(type(errors) == "table" and #errors > 0, "an empty list of errors")
  for _, problem in ipairs(errors) do
    must(KINDS[problem.kind], "an error of the kind %s", tostring(problem.kind))
    must(type(problem.message) == "string" and problem.message ~= "", "an error without a message")
    judge_text(problem.message)
  end
  judge_text(tostring(errors))
end

local depth -- how deep functions do things inside of each other

--- Calls what may raise.
local function guard(fn, ...)
  local saved = depth
  local ok, message = pcall(fn, ...)
  depth = saved
  if failure then error(failure, 0) end
  if not ok then judge_raised(message) end
  return ok
end

-- ---- coroutines: those that sleep, in functions of the program's; and those that wait, in its event loop ----

local function resume(thread, ...)
  local saved = depth
  local ok, message = coroutine.resume(thread, ...)
  depth = saved
  if not ok then error(message, 0) end
end

local function is_in_coroutine()
  local thread, is_main = running()
  return thread and not is_main
end

local function sleep()
  if not is_in_coroutine() then return end
  table.insert(world.sleepers, (running()))
  if coroutine.yield() == DIE then error("raised", 0) end
end

local function wake(thread, ...)
  if thread and status(thread) == "suspended" then guard(resume, thread, ...) end
end

local function take(list)
  return #list > 0 and table.remove(list, below(#list) + 1) or nil
end

local loop = { connects = true }

--- A client that is watched already is watched no more than that: where it has patience, it is called again.
function loop.watch(_, on_readable, core_client)
  local watch
  for _, other in ipairs(world.watches) do
    if other.core == core_client and not other.is_over then watch = other end
  end
  if not watch then
    watch = { look = on_readable, core = core_client }
    table.insert(world.watches, watch)
  end
  return function() watch.is_over = true end
end

function loop.suspend(start, seconds)
  local waiter = { thread = running(), ends = seconds and now() + seconds }
  function waiter.resume()
    if waiter.is_resumed or world.left[waiter.thread] or status(waiter.thread) ~= "suspended" then return false end
    waiter.is_resumed = true
    resume(waiter.thread)
  end
  start(waiter.resume)
  table.insert(world.waiters, waiter)
  repeat
    if coroutine.yield() == DIE then error("raised", 0) end
  until waiter.is_resumed
end

local function keep_if(list, is_kept)
  local kept = {}
  for _, item in ipairs(list) do kept[#kept + 1] = is_kept(item) and item or nil end
  return kept
end

--- The event loop has its turn, and waits for so long where nothing is to be done.
local function turn(seconds)
  world.handing = world.handing + 1
  world.watches = keep_if(world.watches, function(watch) return not watch.is_over end)
  world.waiters = keep_if(world.waiters, function(waiter)
    return not waiter.is_resumed and not world.left[waiter.thread] and status(waiter.thread) ~= "dead"
  end)
  local watches, waiters = world.watches, world.waiters
  for _, waiter in ipairs(waiters) do
    seconds = math.max(0, math.min(seconds, (waiter.ends or math.huge) - now()))
  end
  if native and #watches == 0 then native.advance(seconds) end
  for i, watch in ipairs(watches) do
    watch.core:wait(i == 1 and seconds or 0)
    if not watch.is_over then guard(watch.look) end
  end
  for _, waiter in ipairs(waiters) do
    if waiter.ends and waiter.ends <= now() then guard(waiter.resume) end
  end
  world.handing = world.handing - 1
end

-- What schedulers may have beside that, or not.
local LOOPS = {
  {},
  { spawn = function(fn, ...)
    wake(coroutine.create(fn), ...)
    return true
  end },
  { spawn = function() return nil end, patience = 2 },
  { is_alive = function() return nil end }, -- it cannot tell
}

local function new_loop()
  local own = {}
  for name, value in pairs(loop) do own[name] = value end
  for name, value in pairs(pick(LOOPS)) do own[name] = value end
  return own
end

-- ---- what the program's functions do ----

local do_one

--- What a function does before it does what it is for.
local function act()
  local what = below(8)
  if what == 1 then
    do_one()
  elseif what == 2 then
    do_one()
    do_one()
  elseif what == 3 then
    error(RAISED[below(3) + 1], 0)
  elseif what >= 4 and what < 6 then
    sleep()
  elseif what == 6 then
    do_one()
    sleep()
  end
end

--- The answer that HubSpot gives if all is well: of batches the inputs are the results.
local function good_answer(request)
  if request.call:find "purge" or request.call:find "archive" then return { status = 204 } end
  local inputs = (request.body or ""):match '"inputs":(%[.*%])' or "[]"
  if request.call == "read" then inputs = inputs:gsub('{"id":("%d+")}', '{"from":{"id":%1},"to":[]}') end
  if request.call:find "_one" then return { status = 201, body = '{"a":1}' } end
  return { status = request.call == "batch_create" and 201 or 200, body = ('{"results":%s}'):format(inputs) }
end

local RATE = { ["X-HubSpot-RateLimit-Max"] = 2, ["X-HubSpot-RateLimit-Remaining"] = 1,
  ["X-HubSpot-RateLimit-Interval-Milliseconds"] = 1000 }

local ANSWERS = {
  good_answer,
  good_answer,
  function() return { status = 500 } end,
  function() return { status = 429, headers = { ["Retry-After"] = below(4) } } end,
  function() return { status = 429 } end,
  function() return { status = 401, body = '{"category":"EXPIRED_AUTHENTICATION","message":"old"}' } end,
  function() return { status = 400 + below(30), body = '{"category":"VALIDATION_ERROR","message":"no"}' } end,
  function() return { status = 200, body = "{" } end,
  function() return { status = 207, body = '{"results":[],"errors":[{"message":"no","category":"X"}]}' } end,
  function() return nil, "timeout" end,
  function() return nil, "connect" end,
  function() return nil, "receive" end,
  function() return { status = below(256) * 3 } end,
  function() return nil end,
  function(request)
    local answer = good_answer(request)
    answer.headers = RATE
    return answer
  end,
}

--- No interval ever has more sends than the client's rate. (What answers tell of another rate may make two of it, for
-- HubSpot counts some calls apart.)
local function check_pace(client)
  local sends, rate = client.sends, not client.has_learned and client.rate
  sends[#sends + 1] = now()
  local before = rate and sends[#sends - rate.requests]
  must(not before or now() - before >= rate.interval * 0.999, "client %d sends faster than it may: %g s after %g",
    client.number, before and now() - before or 0, before or 0)
end

--- What surely has not left takes no place of the rate.
local function forget_send(client, at)
  for i = #client.sends, 1, -1 do
    if client.sends[i] == at then return table.remove(client.sends, i) end
  end
end

local function transport_of(client)
  return function(request)
    if IS_SHOWN then
      print(("%s%s of client %d, attempt %d, at %g"):format(("  "):rep(depth), request.call, client.number,
        request.attempt, now()))
    end
    client.attempts = client.attempts + 1
    check_pace(client)
    if client.limiter then
      client.limiter.sent = client.limiter.sent + 1
      must(client.limiter.sent <= client.limiter.granted, "it is sent without leave")
    end
    local at = client.sends[#client.sends]
    act()
    local answer, fault = pick(ANSWERS)(request)
    if fault == "connect" then forget_send(client, at) end
    client.has_learned = client.has_learned or answer and answer.headers == RATE
    return answer, fault
  end
end

local function token()
  act()
  local what = below(8)
  if what == 1 then return nil, "none" end
  if what == 2 then return nil, { kind = "transport", retryable = true, message = "none" } end
  if what == 3 then return "two words" end
  return "pat-" .. what
end

--- A limiter of the program's own, which clients may share.
local function new_limiter()
  local limiter = { granted = 0, sent = 0 }
  function limiter.reserve(_, _, most)
    act()
    local what = below(16)
    if what == 1 then return "soon" end
    if what == 2 then return nil, "none" end
    local delay = what > 8 and what / 8 or 0
    if delay <= most then limiter.granted = limiter.granted + 1 end
    return delay
  end
  limiter.observe = act
  return limiter
end

--- Each request is told of from its first attempt to its end, which comes once; what was interrupted is told anew.
local function on_event_of(client)
  return function(event)
    local name = ("%d %s"):format(event.number, tostring(event.first))
    must(world.is_struck or not client.ended[name], "client %d: %s is told of behind the end of its request",
      client.number, event.type)
    if event.type == "done" then client.ended[name] = true end
    if not world.is_closing then act() end
  end
end

-- ---- clients ----

local function options_of(client, how, more)
  local options = { base_url = "https://hubspot.example", access_token = "pat-of-a-program", rate = false,
    transport = transport_of(client), skip_waits = how % 2 == 1 or not native,
    deadline = ({ 2, 5, 20, 60 })[more % 4 + 1],
    max_attempts = math.floor(more / 4) % 3 + 1, max_connections = math.floor(more / 16) % 3 + 1,
    retry_budget = math.floor(more / 64) % 2 == 1 and 1 or nil, io_thread = false }
  how = math.floor(how / 2)
  if how % 2 == 1 then
    client.loop, options.loop, options.io_thread = true, new_loop(), nil
  end
  how = math.floor(how / 2)
  if how % 2 == 1 then options.access_token = token end
  how = math.floor(how / 2)
  if how % 2 == 1 then options.on_event = on_event_of(client) end
  how = math.floor(how / 2)
  if how % 4 == 1 then
    client.rate = { requests = below(3) + 1, interval = below(4) + 0.5 }
    options.rate = client.rate
  elseif how % 4 >= 2 then
    client.limiter = how % 4 == 3 and world.limiter or new_limiter()
    world.limiter = client.limiter
    options.limiter, options.rate = client.limiter, nil
  end
  return options
end

local function new_client()
  if #world.clients >= MOST_CLIENTS then return end
  local client = { number = #world.clients + 1, calls = {}, sends = {}, attempts = 0, ended = {}, started = 0 }
  local how = byte()
  client.object = assoc.new(options_of(client, how, byte()))
  if native then native.settle(client.object.core) end
  world.clients[#world.clients + 1] = client
  table.insert(world.things, client.object)
end

-- ---- calls ----

local function inputs()
  local list = {}
  for i = 1, below(4) do list[i] = { category = "USER_DEFINED", typeId = below(4) + 1, maxToObjectIds = i } end
  return list
end

--- More arguments, for calls that take inputs or not.
local function options()
  local what = below(8)
  if what == 1 then return { deadline = 0.5 } end
  if what == 2 then return { timeout = 1 } end
  if what == 3 then return { max_attempts = 1 } end
  if what == 4 then return { headers = act } end
  return what == 5 and { deadline = 30 } or nil
end

local function parted()
  local own = options() or {}
  own.batch_size = below(2) + 1
  return own
end

local CALLS = {
  function() return "get_limits", "a", "b", options() end,
  function() return "get_limits", "a", "b", options() end,
  function() return "batch_update", "a", "b", inputs(), parted() end,
  function() return "batch_create", "a", "b", inputs(), parted() end,
  function() return "batch_purge", "a", "b", { { category = "USER_DEFINED", typeId = 1 } }, options() end,
  function() return "read", "a", "b", { { id = "1" }, { id = "2" }, { id = "3" } }, parted() end,
  function() return "associate_one_default", "a", "1", "b", "2", options() end,
}

local function new_call(client)
  local call = { client = client, registered = 0, called = 0, maybe = 0, thread = running() }
  client.calls[#client.calls + 1] = call
  return call
end

--- A call has come to its end; it has only one.
local function note_end(call, results, errors, response)
  must(results ~= nil or errors ~= nil, "neither results nor errors")
  if errors ~= nil then judge_errors(errors) end
  if call.ended then
    must(call.ended[1] == results and call.ended[2] == errors and call.ended[3] == response, "two ends of one call")
  end
  call.ended = { results, errors, response }
end

local function add_function(call)
  local calls = 0
  call.maybe = call.maybe + 1
  call.future:on_done(function(...)
    calls = calls + 1
    call.called = call.called + 1
    must(calls == 1, "a function is called twice")
    must(world.handing > 0, "a function is called outside of step, drain and the event loop")
    note_end(call, ...)
    act()
  end)
  call.registered, call.maybe = call.registered + 1, call.maybe - 1
end

local function perform(method, self, name, ...)
  return method[name](self, ...)
end

local function start(client)
  if #client.calls >= MOST_CALLS then return end
  local call = new_call(client)
  call.is_async = true
  call.future = perform(client.object.async, client.object.async, pick(CALLS)())
  client.started = client.started + 1
  table.insert(world.things, call.future)
  table.insert(world.futures, call)
  if below(8) > 0 then add_function(call) end
end

local function make_call(client)
  if #client.calls >= MOST_CALLS then return end
  local call = new_call(client)
  note_end(call, perform(client.object, client.object, pick(CALLS)()))
  client.started = client.started + 1
end

--- How many of the client's calls are not handed out yet: so many at least, so many at most.
local function expected_pending(client)
  local least, most = 0, 0
  for _, call in ipairs(client.calls) do
    if call.is_async and call.called < call.registered then
      least, most = least + 1, most + 1
    elseif call.is_async and call.registered == 0 or not call.is_async and client.loop and not call.ended then
      most = most + 1
    end
  end
  return least, client.uses_rooms and math.huge or most
end

local function check_pending(client)
  world.is_checking = true
  local least, most = expected_pending(client)
  local n = client.object:pending()
  world.is_checking = false
  must(world.is_struck or n >= least and n <= most, "client %d: %d are pending, not %d to %d", client.number, n, least,
    most)
end

--- Calls what hands out, and may wait so long; in the event loop longer, for somebody else may hold that up.
local function hand_out(method, client, seconds, ...)
  world.handing = world.handing + 1
  local before, acts = now(), world.acts
  local n = client.object[method](client.object, seconds, ...)
  world.handing = world.handing - 1
  if native and seconds and acts == world.acts and not (client.loop and is_in_coroutine()) then
    must(now() - before <= seconds + 0.01, "%s(%g) has taken %g", method, seconds, now() - before)
  end
  return n
end

local function wait_for(call, seconds)
  local results, errors, response = call.future:wait(seconds)
  if results == nil and errors[1].kind == "pending" then
    must(seconds, "wait without a time has come back")
  else
    note_end(call, results, errors, response)
  end
end

-- ---- jobs and iterators ----

local JOBS = {
  { "batch_update", function() return { category = "USER_DEFINED", typeId = below(4) + 1, maxToObjectIds = 1 } end },
  { "associate_default", function() return { from = { id = below(4) + 1 }, to = { id = 1 } } end },
  { "batch_create", function() return { category = "USER_DEFINED", typeId = below(4), maxToObjectIds = 1 } end },
  { "archive", function() return { from = { id = below(4) + 1 }, to = { { id = 1 } } } end },
}

local function new_job(client)
  local kind = pick(JOBS)
  local job = { client = client, seen = {}, told = 0, added = 0, make_input = kind[2] }
  client.uses_rooms = true
  job.object = client.object:bulk(kind[1], "a", "b", { batch_size = below(3) + 1, in_flight = below(3) + 1,
    give_up_after = below(3) * 5, on_outcome = function(outcome)
      must(not job.seen[outcome.index], "an input has two outcomes")
      if outcome.error then judge_text(outcome.error.message) end
      job.seen[outcome.index], job.told = true, job.told + 1
      act()
    end })
  table.insert(world.jobs, job)
end

--- Not by what it calls itself, and not by two at a time: it says so, or waits for itself.
local function use_job(job, fn)
  if job.is_used then return end
  job.is_used = true
  job.is_used = not guard(fn, job) and false
end

local function add_inputs(job)
  for _ = 1, below(6) do
    job.object:add(below(8) == 7 and {} or job.make_input())
  end
end

local function finish_job(job)
  local summary, errors = job.object:finish()
  must(summary.added == summary.done + summary.failed + summary.unknown + summary.skipped + summary.left,
    "a job's sums do not add up")
  must(summary.done == summary.added or errors, "a job whose inputs are not done has no errors")
  if errors then judge_errors(errors) end
  must(job.told == summary.done + summary.failed + summary.unknown, "%d outcomes were told, not %d", job.told,
    summary.done + summary.failed + summary.unknown)
end

local function read_all(client)
  local ids, most = {}, below(6)
  for i = 1, below(6) do ids[i] = i end
  client.uses_rooms = true
  local following = client.object:read_all("a", "b", ids, { in_flight = below(3) + 1, batch_size = below(2) + 1 })
  for i = 1, most do
    local id, records, errors = following()
    must(id == ids[i], "ids are out of order")
    if id == nil then break end
    must(records or errors, "an id has neither records nor errors")
    if errors then judge_errors(errors) end
  end
end

-- ---- everything that can be done ----

local function in_finalizer()
  if world.is_checking or world.is_closing then return end
  pcall(do_one)
end

local function add_finalizer()
  if newproxy then -- luacheck: ignore
    getmetatable(newproxy(true)).__gc = in_finalizer -- luacheck: ignore
  else
    setmetatable({}, { __gc = in_finalizer })
  end
end

--- The library is interrupted so many of its lines from now, and of instructions then; 0: it is not.
local function strike(lines, instructions)
  if native then return native.interrupt(lines, instructions) end
  debug.sethook()
  if lines == 0 then return end
  local function hook(event)
    if not debug.getinfo(2, "S").source:find("lua/hubspot_assoc", 1, true) then return end
    if event == "count" then
      debug.sethook()
      error(STRUCK, 0)
    end
    lines = lines - 1
    if lines == 0 then debug.sethook(hook, "", instructions) end
  end
  debug.sethook(hook, "l")
end

local SECONDS = { 0, 0.3, 2, 10 }

--- What does this with one of the world's, if there is any.
local function with(list, fn)
  return function()
    local item = pick(world[list])
    if item then fn(item) end
  end
end

local function with_client(fn) return with("clients", fn) end
local function with_future(fn) return with("futures", fn) end
local function with_job(fn) return with("jobs", function(job) use_job(job, fn) end) end

local ACTS = {
  { "new client", new_client },
  { "start", with_client(start) }, { "start", with_client(start) }, { "start", with_client(start) },
  { "call", with_client(make_call) },
  { "in a coroutine", function()
    wake(coroutine.create(function()
      for _ = 0, below(3) do do_one() end
    end))
  end },
  { "call in a coroutine", with_client(function(client) wake(coroutine.create(make_call), client) end) },
  { "wake", function() wake(take(world.sleepers)) end },
  { "kill", function() wake(take(world.sleepers), DIE) end },
  { "leave a sleeper", function() -- for ever
    local thread = take(world.sleepers)
    if thread then world.left[thread] = true end
  end },
  { "kill, wake or leave a waiter", function()
    local waiter, what = pick(world.waiters), below(3)
    if not waiter then return end
    if what == 2 then
      world.left[waiter.thread] = true
    else
      wake(waiter.thread, what == 1 and DIE or nil)
    end
  end },
  { "turn", function() turn(0) end }, { "turn", function() turn(pick(SECONDS)) end },
  { "step", with_client(function(client) hand_out("step", client) end) },
  { "step some", with_client(function(client) hand_out("step", client, pick(SECONDS), below(3)) end) },
  { "step for a time", with_client(function(client) hand_out("step", client, pick(SECONDS)) end) },
  { "drain", with_client(function(client) hand_out("drain", client) end) },
  { "drain for a time", with_client(function(client) hand_out("drain", client, pick(SECONDS)) end) },
  { "wait", with_future(wait_for) },
  { "wait for a time", with_future(function(call) wait_for(call, pick(SECONDS)) end) },
  { "cancel", with_future(function(call) call.future:cancel() end) },
  { "done", with_future(function(call) call.future:done() end) },
  { "on_done", with_future(add_function) },
  { "pending", with_client(check_pending) }, { "pending", with_client(check_pending) },
  { "close", with_client(function(client) client.object:close() end) },
  { "stats", with_client(function(client)
    client.object:stats()
    client.object:rate_limit()
  end) },
  { "collect", function() collectgarbage() end },
  { "finalizer", add_finalizer },
  { "raise", function() error(RAISED[below(3) + 1], 0) end },
  { "sleep", sleep },
  { "later", function() if native then native.advance(pick(SECONDS)) end end },
  { "interrupt", function() -- what comes next
    local n = byte()
    world.is_struck = true
    strike(n + 1, below(8) + 1)
    do_one()
    strike(0)
  end },
  { "job", with_client(new_job) }, { "add", with_job(add_inputs) },
  { "step a job", with_job(function(job) job.object:step() end) }, { "finish", with_job(finish_job) },
  { "read_all", with_client(read_all) },
}

function do_one()
  world.acts = world.acts + 1
  if depth >= MOST_DEPTH or is_over() then return end
  depth = depth + 1
  local what = ACTS[below(#ACTS) + 1]
  if IS_SHOWN then print(("%s%s"):format(("  "):rep(depth - 1), what[1])) end
  what[2]()
  depth = depth - 1
end

-- ---- the end: everything goes well from now on, and whoever was not left alone comes to his end ----

--- Ordinary calls that are still to end.
local function find_open()
  for _, client in ipairs(world.clients) do
    for _, call in ipairs(client.calls) do
      local thread = not call.is_async and not call.ended and call.thread
      if thread and not world.left[thread] and status(thread) == "suspended" then return call end
    end
  end
end

local function end_coroutines()
  local rounds = 0
  while #world.sleepers > 0 or find_open() do
    rounds = rounds + 1
    must(rounds < 400, "a call in a coroutine does not end")
    wake(table.remove(world.sleepers))
    turn(#world.sleepers > 0 and 0 or 1)
  end
end

--- With coroutines go the calls that they waited for, where there is no event loop.
local function drop_coroutines()
  for _, client in ipairs(world.clients) do
    for _, call in ipairs(client.calls) do call.thread = nil end
  end
  world.waiters = {}
end

local function end_jobs()
  for _, job in ipairs(world.jobs) do
    job.is_used = false
    must(guard(finish_job, job), "a job cannot be finished")
  end
end

local function check_ends(client)
  for _, call in ipairs(client.calls) do
    if call.future then
      must(call.called >= call.registered and call.called <= call.registered + call.maybe,
        "client %d: %d functions of a call are called, of %d", client.number, call.called, call.registered)
      must(call.future:done(), "a call does not end")
      wait_for(call, 0)
      must(call.ended, "a call has no end")
      must(call.future:cancel() == false, "a call that is done is canceled")
    end
  end
end

local function count_errors(client)
  local n, is_known = 0, not world.is_struck and not client.uses_rooms
  for _, call in ipairs(client.calls) do
    is_known = is_known and call.ended
    n = n + (call.ended and call.ended[2] and #call.ended[2] or 0)
  end
  return is_known and n or nil
end

local function check_stats(client)
  local stats, n = client.object:stats(), 0
  for _, errors in pairs(stats.errors) do n = n + errors end
  local expected = count_errors(client)
  if expected then
    must(stats.calls == client.started, "%d calls were counted, not %d", stats.calls, client.started)
    must(n == expected, "%d errors were counted, not %d", n, expected)
  end
  if stats.in_flight + stats.queued > 0 or native and native.calls(client.object.core) > 0 then
    collectgarbage() -- those of coroutines that are dead, and what was interrupted
    collectgarbage()
    stats = client.object:stats()
  end
  must(stats.in_flight == 0 and stats.queued == 0, "something is under way")
  must(not native or native.calls(client.object.core) == 0, "the engine has calls")
  must(stats.attempts >= client.attempts, "%d attempts were counted, of %d", stats.attempts, client.attempts)
end

--- Calls work as if nothing had been before.
local function check_good(client)
  if native then native.advance(200) end
  local remaining = client.object:rate_limit().remaining
  if native and client.rate then
    must(remaining == client.rate.requests, "%s of %d places are free", tostring(remaining), client.rate.requests)
  end
  local results, errors = client.object:get_limits("a", "b", { deadline = 1000 })
  must(results and not errors, "client %d: a good call fails: %s", client.number, tostring(errors))
  local done = 0
  for _ = 1, 2 do
    client.object.async:get_limits("a", "b", { deadline = 1000 }):on_done(function(good, bad)
      must(good and not bad, "client %d: a good call fails: %s", client.number, tostring(bad))
      done = done + 1
    end)
  end
  client.object:drain()
  must(done == 2 and client.object:pending() == 0, "client %d: %d of 2 calls end", client.number, done)
end

local function end_client(client)
  hand_out("drain", client)
  must(client.object:pending() == 0, "client %d: %d are pending in the end", client.number, client.object:pending())
  must(client.object:step() == 0, "there is more")
  check_ends(client)
  check_stats(client)
  local _, errors = client.object:get_limits("a", "b", { deadline = 1000 })
  local is_closed = errors and errors[1].kind == "config" and errors[1].message == "the client is closed"
  if not is_closed then check_good(client) end
  world.is_closing = true
  client.object:close()
  world.is_closing = false
  _, errors = client.object:get_limits("a", "b")
  must(errors and errors[1].kind == "config", "a closed client makes calls")
  must(client.object:pending() == 0 and client.object:step() == 0, "a closed client has something")
  if client.loop then turn(0) end
end

local function end_all()
  depth = 0
  strike(0)
  end_coroutines()
  end_jobs()
  drop_coroutines()
  -- One's call may be in a coroutine that a question of another's keeps.
  for _, client in ipairs(world.clients) do hand_out("drain", client) end
  for _, client in ipairs(world.clients) do end_client(client) end
  for _, watch in ipairs(world.watches) do must(watch.is_over, "the event loop watches for nothing") end
end

--- Nothing is kept of what nobody refers to.
local function check_garbage(things)
  collectgarbage()
  if not native then collectgarbage() end -- older Luas keep what finalizers could reach
  local _, kept = next(things)
  must(rawget(_G, "jit") or kept == nil, "%s is kept", tostring(kept)) -- LuaJIT's stack keeps some
end

local function run()
  new_client()
  while not is_over() do
    depth = 0
    guard(do_one)
    strike(0)
  end
  end_all()
end

local function check(text)
  local things = setmetatable({}, { __mode = "v" })
  input, place, failure, depth = text, 0, nil, 0
  world = { clients = {}, futures = {}, jobs = {}, sleepers = {}, waiters = {}, watches = {},
    left = setmetatable({}, { __mode = "k" }), things = things, handing = 0, acts = 0 }
  if native then native.begin() end
  collectgarbage "stop"
  local ok, message = pcall(run)
  collectgarbage "restart"
  if not ok then error(failure or message, 0) end
  world = { is_closing = true }
  check_garbage(things)
end

if native then return check end

local function generate()
  local bytes = {}
  for i = 1, fuzz.random(80) do bytes[i] = string.char(fuzz.random(fuzz.random(2) == 1 and 40 or 256) - 1) end
  return table.concat(bytes)
end

fuzz.main { check = check, generate = generate, words = { "\0", "\1", "\5" } }
