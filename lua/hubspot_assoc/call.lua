--- One call: its start, its questions, its end; written once for ordinary and asynchronous calls.
--
-- A call that needs something from outside (a token, leave from a limiter, an answer in place of the network's, or to
-- tell of an event) stops and asks. It is answered here, in a Lua frame, so that what is called may yield: by who waits
-- for the call, or beside everything else where nobody does.
--
-- The states of a future are a table in docs/design.md: "running", "asks", "answering", "done", "delivered".

local core = require "hubspot_assoc.core"
local protected = require "hubspot_assoc.pcall"
local scheduler = require "hubspot_assoc.scheduler"

local create, resume, status = coroutine.create, coroutine.resume, coroutine.status
local error, pairs, pcall, select, setmetatable, type = error, pairs, pcall, select, setmetatable, type
local ask, try = protected.ask, protected.try
local this_thread = scheduler.this_thread
local next = pairs {} -- hosts that take globals away leave pairs
local huge = 1 / 0
local now = core.now

local call_of = {}

local PATIENCE = 1 -- s, after which who waits looks whether news can still come
local TAKE_OVER = 5 -- s, after which a question is put again if nobody can tell whether it is still being answered
local CHECK_EVERY = 0.1 -- s, in an event loop, where many may be answered at once
local FRESH = 60 -- s, in which a token that was renewed is not asked for again, whoever was given the old one
local MAX_RENEWED = 8 -- expired tokens that are remembered

-- ---- questions ----

--- A limiter's method: it may have lost it since.
local function method_of(limiter, name)
  local method = limiter[name]
  if type(method) ~= "function" then
    error(("attempt to call method '%s' (a %s value)"):format(name, type(method)), 0)
  end
  return method
end

-- What is called, by the kind of question (src/lua/call.h).
local callers = {
  token = function(fn, ...) return fn(...) end, -- reason, rejected, seconds that are left
  leave = function(limiter, cost, most) return method_of(limiter, "reserve")(limiter, cost, most) end,
  observe = function(limiter, rate_limit) method_of(limiter, "observe")(limiter, rate_limit) end,
  event = function(fn, event) core.call(fn, event) end, -- it may not yield
  answer = function(fn, request) return fn(request) end,
}

--- A question whose frame can be found on the stack while it is being answered.
local function new_question(number, kind, ...)
  local question = { number = number, kind = kind, ... }
  local caller, n = callers[kind], select("#", ...)
  question.frame = function()
    local value, second
    if n == 2 then
      value, second = caller(question[1], question[2])
    elseif n == 3 then
      value, second = caller(question[1], question[2], question[3])
    else
      value, second = caller(question[1], question[2], question[3], question[4])
    end
    return value, second -- no tail call: the frame stays on the stack
  end
  return question
end

--- Is the question being answered by the running function's caller, or a caller of that? Or in a coroutine that waits
-- for this one to return?
local function is_answered_here(future)
  local question = future.state == "answering" and future.question
  return question and scheduler.is_among_callers(question.frame, question.thread)
end
call_of.is_answered_here = is_answered_here

--- Can no answer come any more? Who was to give it is dead, or has left it by an error.
local function is_abandoned(future, question)
  local is_alive = future.client.loop and future.client.loop.is_alive
  local thread = question.thread
  if future.state == "asks" then -- it was to be answered in a thread that has not begun, or by a waiter that was woken
    return question.asked_at and now() - question.asked_at > TAKE_OVER
  elseif question.kind == "event" then -- which cannot yield
    return not is_answered_here(future)
  elseif thread == this_thread() then
    return not core.is_running(question.frame)
  elseif is_alive then -- an attempt's time ends it
    return is_alive(thread) == nil and question.kind ~= "answer" and now() - question.asked_at > TAKE_OVER
  end
  return thread ~= scheduler.MAIN and status(thread) == "dead"
end

-- ---- the state of a future ----
--
-- Where anything is called, or a table made, a finalizer may run, and close the client, cancel the call, or step. So
-- what was read before is looked at once more before it is acted upon, and nothing comes in between those two.

--- Does the call still ask this?
local function asks(future, question)
  return future.state == "asks" and future.question == question
end

--- The future of a call has come to its end; step hands it out, unless it is of an ordinary call.
local function complete(future, ...)
  local client = future.client
  future.results = future.results or { ... }
  client.asking[future], client.answering[future] = nil, nil
  local state = future.state
  if future.is_ordinary then
    future.state = "delivered"
  elseif state ~= "done" and state ~= "delivered" then
    scheduler.add_finished(client, future, state)
  end
  future.question = nil -- behind the state: one that asks has its question, whatever comes in between
  if future.waiting then
    scheduler.wake(client, future.waiting)
  end
  scheduler.wake(client, client.waiting)
  if client.under_way[future.key] then
    client.under_way[future.key] = nil
    client.count = client.count - 1
  end
end

local look

--- Accepts what call:run has given, unless that has been looked at again meanwhile.
local function accept(future, turn, done, ...)
  local client, question = future.client, future.question
  if future.turn ~= turn then
    return look(future)
  elseif done then
    complete(future, ...)
  elseif done == nil then
    future.state = "running"
    future.question = nil
    client.asking[future], client.answering[future] = nil, nil
  elseif not question or question.number ~= ... or future.state == "running" then
    question = new_question(...)
    if future.turn ~= turn then
      return look(future)
    end
    client.asking[future], client.answering[future] = true, nil
    future.state = "running" -- until it has its question: an interruption in between is made good by the next look
    future.question = question
    future.state = "asks"
  end
end

--- Runs the call as far as it goes without waiting.
function look(future)
  local turn = future.turn + 1
  future.turn = turn
  return accept(future, turn, future.call:run(0))
end

--- The same; where that is interrupted, is_unsure is left behind.
local function advance(future)
  local client = future.client
  local was_unsure = client.is_unsure
  client.is_unsure = true
  look(future)
  client.is_unsure = was_unsure
end

--- After an error that was raised anywhere here, or where a question is put again: what is under way is looked at anew.
local function look_at_all(client)
  local futures, n, put_again = {}, 0, client.put_again
  for _, future in pairs(client.under_way) do
    n = n + 1
    futures[n] = future
  end
  client.count = n
  for i = 1, n do
    look(futures[i])
  end
  client.is_unsure = false
  client.looked_after = put_again
end

-- ---- the token: one question for all calls that were sent with it ----

local NONE = {} -- stands for: no token was rejected

--- The key of a question for a token: the token that was rejected.
local function key_of(question)
  return question[3] or NONE
end

--- The answer to the question, if a call has put it since this one got its token; or lately, with success.
local function known_answer(future, question)
  local renewed = future.client.renewed[key_of(question)]
  if renewed and (renewed.clock > future.token_clock or renewed.is_token and now() - renewed.at < FRESH) then
    return renewed
  end
end

--- Who is asking the same at present, and its question; nil if nobody is, or its answer cannot come while the running
-- function waits.
local function leader_of(future, question)
  local key = key_of(question)
  local leader = future.client.token_leaders[key]
  local asked = leader and leader ~= future and leader.state == "answering" and leader.question
  if asked and asked.kind == "token" and key_of(asked) == key and not is_answered_here(leader) then
    return leader, asked
  end
end

--- The call to follow: it asks for the token that this one asks for, and that is not known yet. And its question.
local function token_leader_of(future, question)
  if question.kind == "token" and not known_answer(future, question) then
    return leader_of(future, question)
  end
end

--- Remembers what came of an expired token.
local function remember(client, key, ok, value, second)
  if key == NONE then
    return
  end
  if client.renewed_count >= MAX_RENEWED then
    client.renewed, client.renewed_count = {}, 0
  end
  client.renewed_count = client.renewed_count + 1
  client.token_clock = client.token_clock + 1
  client.renewed[key] = { clock = client.token_clock, at = now(), ok = ok, value = value, second = second,
    is_token = ok and type(value) == "string" }
end

-- ---- answers ----

--- Gives a call the answer to its question, and lets it go on.
local function give(future, question, ok, value, second)
  local client = future.client
  if question.kind == "token" then
    future.token_clock = client.token_clock
  end
  future.call:answer(question.number, ok, value, second)
  if future.question == question and not future.results then
    advance(future)
  end
end

--- Gives the answer to those who have waited for the same token.
local function give_followers(question, ok, value, second)
  local followers = question.followers
  for i = 1, followers and #followers or 0 do
    local future = followers[i]
    if future.state == "asks" and future.question.leader == question then
      give(future, future.question, ok, value, second)
    end
  end
end

--- Has the time of the call run out that asked, where what it asked knew that time? Others may have more of it.
local function is_out_of_time(question, ok, value)
  return question[4] and not (ok and type(value) == "string") and now() >= question.asked_at + question[4]
end

--- Those who have waited for the same token put their questions themselves.
local function ask_anew(question)
  local followers = question.followers
  for i = 1, followers and #followers or 0 do
    local future = followers[i]
    if future.state == "asks" and future.question.leader == question then
      future.question, future.state = nil, "running"
      advance(future)
    end
  end
end

local function pass_answer(future, question, ok, value, second)
  local client = future.client
  local is_own = question.kind == "token" and is_out_of_time(question, ok, value)
  if question.kind == "token" then
    local key = key_of(question)
    if not is_own then
      remember(client, key, ok, value, second)
    end
    if client.token_leaders[key] == future then
      client.token_leaders[key] = nil
    end
  end
  give(future, question, ok, value, second)
  if is_own then
    ask_anew(question)
  else
    give_followers(question, ok, value, second)
  end
end

--- The call puts its question again, for nobody answers it any more; those who follow put theirs.
local function put_again(future, question)
  if future.state == "answering" and question.kind == "answer" then -- nobody knows whether the request has left
    future.call:answer(question.number, true, nil, "other")
  end
  if future.question == question and not future.results then
    future.state = "running"
    future.question = nil
  end
  future.client.put_again = future.client.put_again + 1
  for i = 1, question.followers and #question.followers or 0 do
    local follower = question.followers[i]
    if follower.state == "asks" and follower.question.leader == question then
      follower.state = "running"
      follower.question = nil
    end
  end
end

--- Passes on what pcall gave; an interruption is raised, and has the event loop look once more.
local function take_answer(future, question, ok, value, second)
  if ok ~= nil then
    return pass_answer(future, question, ok, value, second)
  elseif future.question == question then
    future.is_left = true
    put_again(future, question)
    future.client.core:announce(true)
  end
  error(value, 0)
end

--- Answers the question that a call asks, here and now. Others may have answered it meanwhile.
local function answer(future)
  local client, question = future.client, future.question
  if future.state ~= "asks" then
    return
  end
  local key = question.kind == "token" and key_of(question)
  local known = key and known_answer(future, question)
  local thread, time = this_thread(), now()
  if not asks(future, question) then
    return
  elseif known then
    return give(future, question, known.ok, known.value, known.second)
  end
  question.thread, question.asked_at, question.leader = thread, time, nil
  if key then
    client.token_leaders[key] = future
  end
  client.answering[future] = true
  future.state = "answering"
  client.asking[future] = nil
  take_answer(future, question, try(question.frame))
end

--- The question waits for the answer to another call's, unless one of them is asked no more.
-- @return does it?
local function follow(future, question, leader, asked)
  local followers = asked.followers or {}
  if not asks(future, question) or leader.question ~= asked then
    return false
  end
  asked.followers = followers
  followers[#followers + 1] = future
  question.leader, question.asked_at = asked, nil
  future.client.asking[future], future.client.answering[future] = nil, nil
  return true
end

-- ---- who answers ----

local route

--- Answers, and finds who answers what is asked then. The answer may have ended the last call.
--- Where no call is under way any more, the event loop has nothing to watch. Whoever ends a call sees to it.
local function settle_if_idle(client)
  if client.count == 0 then
    scheduler.settle(client)
  end
end

local function answer_and_route(future)
  local client = future.client
  answer(future)
  -- A route that has begun this goes on by itself. To go on inside of it would put coroutines into each other, of which
  -- there can be no more than some fifty.
  if not scheduler.is_among_callers(client.route, client.threads.route) then
    route(client)
  end
  settle_if_idle(client)
end

--- As a coroutine of its own, which begins when others may have begun to answer the same question.
local function answer_beside(future)
  local question = future.state == "asks" and future.question
  local leader, asked
  if question then
    leader, asked = token_leader_of(future, question)
  end
  if not leader or not follow(future, question, leader, asked) then
    answer_and_route(future)
  end
end

--- Calls a function as a coroutine of its own, beside everything else where the loop can do that.
local function start_beside(loop, fn, ...)
  if loop.spawn and loop.spawn(fn, ...) then
    return nil
  end
  local thread = create(fn)
  local ok, message = resume(thread, ...)
  if not ok then
    error(message, 0)
  end
end
call_of.start_beside = start_beside

--- Answers where nobody waits: beside everything else, if the host can do that, for it may take long.
local function answer_aside(future, question)
  local loop, time = future.client.loop, now()
  if not loop or question.kind == "event" then
    return answer(future)
  elseif asks(future, question) then
    question.asked_at = time
    future.client.answering[future] = true -- so that it is not forgotten if the host does not keep its word
    start_beside(loop, answer_beside, future)
  end
end

--- Finds somebody to answer the question of a call.
-- @return is that done?
local function find_answer(future, question)
  local client, time = future.client, now()
  local leader, asked = token_leader_of(future, question)
  local waiting = future.waiting
  if leader then
    return follow(future, question, leader, asked)
  elseif not asks(future, question) then
    return true
  elseif not client.is_closed and (waiting and waiting[1] or future.is_ordinary and not future.is_left) then
    question.asked_at = time -- by who waits, or has just made the call; it is put again if he does not come
    client.answering[future] = true
    if waiting then
      scheduler.wake(client, waiting)
    end
  else
    answer_aside(future, question)
  end
  return true
end

local function route_all(client)
  local future = next(client.asking)
  while future do
    local question = future.question
    local is_done = future.state ~= "asks" or find_answer(future, question)
    if future.state ~= "asks" or is_done and future.question == question then -- else it asks the next one already
      client.asking[future] = nil
    end
    future = next(client.asking)
  end
end

--- Routes for a client, as a function of its own: by that it is found on the stack.
function call_of.new_route(client)
  return function()
    route_all(client)
    return nil -- no tail call: the frame stays on the stack
  end
end

--- Finds somebody to answer each question that is open. A function that answers one may come here, too, for what it
-- waits for.
function route(client)
  local threads = client.threads
  local outer = threads.route
  threads.route = this_thread()
  client.route()
  threads.route = outer
end

--- Questions that cannot be answered any more are put again. That the deadline passes in observe tells call:run alone.
local function check_answering(client)
  local time = now()
  if next(client.answering) == nil or client.loop and time - client.checked_at < CHECK_EVERY then
    return
  end
  client.checked_at = time
  for future in pairs(client.answering) do
    local question = future.question
    if question and is_abandoned(future, question) and future.question == question then
      future.is_left = true
      put_again(future, question)
    elseif question and question.kind == "observe" then
      advance(future)
    end
  end
end

--- A waiter is there no more: it answers nothing.
local function leave(future)
  future.is_left = true
  if future.state == "asks" then
    future.client.asking[future] = true
  end
end

--- Looks after the calls that want attention, then lets go on who waits for them.
-- @param most so many of them; nil: all
-- @return true if there may be more
function call_of.look_around(client, most)
  check_answering(client)
  if client.is_unsure or client.looked_after ~= client.put_again then
    look_at_all(client)
  end
  client.is_unsure = true
  local n, key = 0, client.core:next()
  while key do
    local future = client.under_way[key]
    if future then
      look(future)
    end
    n = n + 1
    key = n ~= most and client.core:next()
  end
  client.is_unsure = false
  route(client)
  local ok, message = scheduler.dispatch(client, leave)
  route(client)
  settle_if_idle(client)
  if not ok then
    error(message, 0)
  end
  return n == most
end

local look_around = call_of.look_around

-- ---- ordinary calls where the caller waits ----

local finish

local function pass_results(call, done, results, errors, response, ...)
  if done then
    return results, errors, response
  end
  local number, kind = results, errors
  call:answer(number, ask(callers[kind], response, ...))
  return finish(call)
end

--- Runs a call to its end in the caller's time.
function finish(call)
  return pass_results(call, call:run())
end

-- ---- calls under way ----

local function submit(client, call, class, is_ordinary, is_left)
  local problem = scheduler.watch(client)
  local future = setmetatable({ client = client, call = call, state = "running", is_ordinary = is_ordinary,
    is_left = is_left, token_clock = client.token_clock, turn = 0 }, class)
  local was_unsure = client.is_unsure
  client.is_unsure = true
  future.key = call:submit(problem)
  client.under_way[future.key] = future
  client.count = client.count + 1 -- last: an error before this leaves nothing that would be waited for
  look(future)
  client.is_unsure = was_unsure
  route(client)
  return future
end

--- Makes a call one that is under way. An error in between must not leave an event loop to watch for nothing.
-- @param is_ordinary nobody needs step for it
-- @param is_left nobody waits for it yet: its questions are answered as those of asynchronous calls
-- @return its future
function call_of.submit(client, ...)
  if not client.loop then
    return submit(client, ...)
  end
  local ok, future = pcall(submit, client, ...)
  if not ok then
    client.is_unsure = true
    if next(client.under_way) == nil then
      client.count = 0
      scheduler.settle(client)
    else
      client.core:announce(true) -- it may not have been counted
    end
    error(future, 0)
  end
  return future
end

--- Ends the call at once. Its event is told here.
function call_of.cancel(future)
  local client = future.client
  local was_unsure = client.is_unsure
  client.is_unsure = true
  future.call:cancel()
  look(future)
  client.is_unsure = was_unsure
  while future.state == "asks" and future.question.kind == "event" do
    answer(future)
  end
end

local function take_end(future)
  advance(future)
  while future.state == "asks" and future.question.kind == "event" do
    answer(future)
  end
end

--- Those whose calls have ended with their client. The error of one must not keep the others under way.
function call_of.close_all(client)
  local futures, all_ok, message = {}, true, nil
  for _, future in pairs(client.under_way) do
    futures[#futures + 1] = future
  end
  for i = 1, #futures do
    local ok, problem = protected.pcall(take_end, futures[i])
    if all_ok and not ok then
      all_ok, message = false, problem
    end
  end
  if not all_ok then
    error(message, 0)
  end
end

--- Must who waits for the future answer its question himself? Else somebody who can go on meanwhile is asking the same.
local function must_answer(future, loop)
  local question = future.state == "asks" and future.question
  if not question then
    return false
  end
  local leader, asked
  if loop then
    leader, asked = token_leader_of(future, question)
  end
  return not leader or question.leader ~= asked and not follow(future, question, leader, asked)
end

--- Waits for news of the client, so many seconds at most.
local function wait_for_news(client, loop, waiting, seconds, future)
  -- A finalizer may have ended what is waited for since that was looked at; who is woken in a loop hears of it.
  if seconds > PATIENCE and (not loop or next(client.answering) ~= nil) then
    seconds = PATIENCE
  end
  if scheduler.wait(client, loop, waiting, seconds, future) then
    if loop.patience then
      scheduler.watch(client)
    end
    look_around(client)
  end
end

--- Waits for news of the future, or answers its call's question.
function call_of.wait_for(future, loop, seconds)
  if must_answer(future, loop) then
    answer_and_route(future)
  else
    future.waiting = future.waiting or {}
    wait_for_news(future.client, loop, future.waiting, seconds, future)
  end
end

--- Waits for news of any call, without looking after it.
function call_of.wait_for_any(client, loop, seconds)
  wait_for_news(client, loop, client.waiting, seconds)
end

local function unpack_results(future)
  local results = future.results
  return results[1], results[2], results[3]
end
call_of.unpack_results = unpack_results

--- Waits for the end of a call under way.
-- @param loop to wait in; nil: the caller waits
-- @return results, errors, response
function call_of.wait_to_end(future, loop)
  while not future.results do
    call_of.wait_for(future, loop, huge)
    if not loop then
      look_around(future.client)
    end
  end
  settle_if_idle(future.client) -- it may have ended before anybody waited
  return unpack_results(future)
end

--- Runs a call to its end; in a coroutine of an event loop others go on meanwhile.
-- @param class of futures
-- @return results, errors, response
function call_of.perform(client, loop, call, class)
  if not loop then
    return finish(call)
  end
  return call_of.wait_to_end(call_of.submit(client, call, class, true), loop)
end

-- ---- steps ----

--- Looks after calls until there are so many to hand out; answers that are for a later step are decoded there.
local function look_for(client, most)
  repeat
    local is_more = look_around(client, most and 1)
  until not is_more or scheduler.length(client.finished) >= most
end

--- Hands out what has finished, after a wait of so many seconds at most while there is nothing.
-- @param most so many; nil: all
-- @return how many were handed out
function call_of.step(client, loop, seconds, most)
  look_for(client, most)
  local give_up_at
  while scheduler.front(client.finished) == nil and client.count > 0 and not client.is_closed do
    give_up_at = give_up_at or now() + seconds
    wait_for_news(client, loop, client.waiting, seconds)
    look_for(client, most)
    seconds = give_up_at - now()
    if seconds <= 0 then
      break
    end
  end
  return scheduler.hand_out_finished(client, most)
end

local PART = 4 -- calls

local function look_in_parts(client)
  local is_more = look_around(client, PART)
  scheduler.hand_out_finished(client)
  return is_more or scheduler.front(client.finished) ~= nil
end

--- What an event loop calls when there is news: a part of it is looked after, so that the host has its turn in between.
-- @return true if there is more; the descriptor then stays readable
function call_of.on_readable(client)
  local ok, result = protected.pcall(look_in_parts, client)
  if not ok then
    client.core:announce(true) -- nobody knows how far it came: look once more
    error(result, 0)
  end
  return result
end

return call_of
