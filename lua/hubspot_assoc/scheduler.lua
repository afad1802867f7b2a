--- A client's queues, and whom they wake: those who wait in an event loop, and the functions of finished futures. Knows
-- nothing of calls.
--
-- An error can be raised at any instruction here (Ctrl-C, a debug hook, memory that runs out), and must lose nothing.
-- So whatever is handed on leaves its queue in the step in which it is called (core.call_once), and what has been
-- handed on already is passed over.
--
-- Of a client it uses: core, loop, count (calls under way), finished (queue of futures for step), ready (queue of
-- waiters that are to go on), waiting (list of those who wait for any news), stop_watching, on_readable, is_closed,
-- is_unsure, put_again, looked_after (it is to be looked after once more), dispatch (lets waiters go on), threads
-- (threads.dispatch: the one that does).
-- A waiter is { resume = what lets it go on, nil once it was called; future = what it waits for, if it is one }.

local ask = require "hubspot_assoc.pcall".ask
local core = require "hubspot_assoc.core"

local error, pcall, running, status, tostring = error, pcall, coroutine.running, coroutine.status, tostring
local is_yieldable = coroutine.isyieldable -- not in Lua 5.1 and 5.2
local huge = 1 / 0

local MAIN = {} -- stands for the main thread, where Lua 5.1 has no value for it

local scheduler = { MAIN = MAIN }

-- ---- queues: linear, whatever their length ----

--- A queue of items in the fields first to last; an item that is gone leaves nil.
function scheduler.new_queue()
  return { first = 1, last = 0 }
end

--- Appends an item; returns its place.
local function push(queue, item)
  local place = queue.last + 1
  queue.last = place
  queue[place] = item
  return place
end
scheduler.push = push

--- The first item, or nil.
local function front(queue)
  while queue[queue.first] == nil and queue.first <= queue.last do
    queue.first = queue.first + 1
  end
  return queue[queue.first]
end
scheduler.front = front

--- How many items there are, at most: those behind one that is gone and not the first count it.
local function length(queue)
  return front(queue) ~= nil and queue.last - queue.first + 1 or 0
end
scheduler.length = length

-- ---- who waits ----

--- Those in the list are to go on; dispatch sees to that.
function scheduler.wake(client, waiting)
  for i = #waiting, 1, -1 do
    push(client.ready, waiting[i])
    waiting[i] = nil
  end
end

--- The running thread, or MAIN.
local function this_thread()
  return running() or MAIN
end
scheduler.this_thread = this_thread

--- Is the function, which was called in the thread (nil: in none), among the callers of who asks? Or has it resumed who
-- asks? An error may have left it.
function scheduler.is_among_callers(fn, thread)
  if not thread or thread == this_thread() then
    return thread and core.is_running(fn)
  end
  return thread == MAIN or status(thread) == "normal" and core.is_running(fn, thread)
end

local function dispatch(client, on_gone)
  local ready, all_ok, message = client.ready, true, nil
  local waiter = front(ready)
  while waiter do
    if waiter.resume then
      local ok, result = pcall(core.call_once, waiter, "resume")
      if all_ok and not ok then
        all_ok, message = false, result
      elseif result == false and waiter.future then
        on_gone(waiter.future)
      end
    end
    if front(ready) == waiter then
      ready[ready.first] = nil
    end
    waiter = front(ready)
  end
  client.threads.dispatch = nil
  return all_ok, message
end

--- The dispatch of a client, as a function of its own: by that it is found on the stack.
function scheduler.new_dispatch(client)
  return function(on_gone)
    local all_ok, message = dispatch(client, on_gone)
    return all_ok, message -- no tail call: the frame stays on the stack
  end
end

--- Lets those go on who are ready, in order. The error of one must not keep the others waiting. Who goes on may come
-- here, too, but lets nobody go on: coroutines that resume each other can be no more than some fifty.
-- @param on_gone function(future), called for each waiter that is there no more (resume returns false)
-- @return true; or false and the first error
function scheduler.dispatch(client, on_gone)
  if scheduler.is_among_callers(client.dispatch, client.threads.dispatch) then
    return true
  end
  client.threads.dispatch = this_thread()
  return client.dispatch(on_gone)
end

--- Waits for news of the client, so many seconds at most; in the event loop if one is given.
-- @param waiting list of those who are woken by the news that is waited for
-- @param future that is waited for, if it is one
-- @return true where the time was up
function scheduler.wait(client, loop, waiting, seconds, future)
  if not loop or seconds <= 0 then
    client.core:wait(seconds)
    return false
  end
  local waiter = { future = future }
  if loop.patience and loop.patience < seconds then
    seconds = loop.patience
  end
  loop.suspend(function(resume)
    waiter.resume = resume
    waiting[#waiting + 1] = waiter
  end, seconds < huge and seconds or nil)
  waiter.resume = nil -- it may be among those that are ready, though the time was up first
  local n = #waiting
  for i = n, 1, -1 do
    if waiting[i] == waiter then
      waiting[i] = waiting[n]
      waiting[n] = nil -- apart, for i may be n, and Lua does not say which is assigned last
      return true
    end
  end
  return false
end

-- ---- the event loop ----

local NO_WATCH = "the event loop cannot watch the client's descriptor: "

--- Has the event loop, if there is one, look after the client. (A loop with patience may have failed to since.)
-- @return nil, or why it cannot
function scheduler.watch(client)
  local loop = client.loop
  if not loop or client.is_closed or client.stop_watching and not loop.patience then
    return nil
  end
  local fd, problem
  if not loop.connects then
    fd, problem = client.core:fd()
    if not fd then
      return problem
    end
  end
  local ok, stop, why = ask(core.call_into, client, "stop_watching", loop.watch, fd, client.on_readable, client.core)
  if not ok then
    return NO_WATCH .. tostring(stop)
  end
  return not stop and (why and tostring(why) or NO_WATCH .. "it does not say why") or nil
end

local function call_stop(client)
  client.stop_watching()
end

--- A stop that an error has kept from its end is called again: a watch that nobody stops keeps the loop from ending.
local function stop_watching(client)
  if client.stop_watching then
    core.call_into(client, "stop_watching", call_stop, client) -- nil
  end
end

--- The event loop watches a client while anything of it is under way or finished, or somebody is to go on, also if it
-- was closed meanwhile.
-- @param leaving the future that is about to leave the queue, or nil
function scheduler.settle(client, leaving)
  local finished = client.finished
  local first = front(finished)
  local is_empty = front(client.ready) == nil
    and (first == nil or first == leaving and finished.first == finished.last)
  client.core:announce(not is_empty or client.is_unsure or client.looked_after ~= client.put_again)
  if is_empty and client.count == 0 then
    stop_watching(client)
    if client.is_closed then
      client.core:close()
    end
  end
end

local function is_in_coroutine()
  local thread, is_main = running()
  return thread ~= nil and not is_main
end

--- The event loop to wait in, nil where the caller waits; raises where the host allows neither.
-- @param level of the call stack that is to blame
function scheduler.loop_to_wait_in(client, name, level)
  local loop = client.loop
  if not loop then
    return nil
  end
  local can_suspend, why = is_in_coroutine(), nil
  if loop.can_suspend then
    can_suspend, why = loop.can_suspend()
  end
  if can_suspend and is_yieldable and not is_yieldable() then
    why = "no coroutine can yield inside on_event, on_done, or another function that C calls"
  end
  if why then
    error(("'%s' cannot wait here: %s"):format(name, why), level + 1)
  end
  return can_suspend and loop or nil
end

--- Raises where the host allows no call to be started.
function scheduler.check_start(client, name, level)
  if client.loop and client.loop.can_start then
    local ok, why = client.loop.can_start()
    if not ok then
      error(("'%s' cannot be called here: %s"):format(name, why), level + 1)
    end
  end
end

-- ---- finished futures ----

--- A future is to be handed out by step. The descriptor stays readable until none is.
-- @param state of the future: if it is another one by now, a finalizer has seen to that
function scheduler.add_finished(client, future, state)
  local finished = client.finished
  client.core:announce(true)
  if future.state ~= state then
    return
  elseif finished[future.place] ~= future then
    local place = finished.last + 1 -- as push does, with nothing in between
    future.place, finished.last = place, place
    finished[place] = future
  end
  future.state = "done"
end

--- Calls the functions of a future that has finished. The last is called when the queue knows no more of it, so that an
-- error in one leaves the others for the next step.
local function hand_out(client, future)
  local finished, results = client.finished, future.results
  while finished[future.place] == future do
    local functions = future.functions
    local first = functions and front(functions)
    local is_last = first == nil or functions.first == functions.last
    if is_last then
      future.state = "delivered"
      scheduler.settle(client, future)
    end
    local is_unchanged = finished[future.place] == future and future.functions == functions
      and (first == nil or functions[functions.first] == first) -- else a finalizer has stepped meanwhile
    if is_unchanged and first == nil then
      finished[future.place] = nil
    elseif is_unchanged then
      core.call_once(functions, functions.first, is_last and finished, future.place, results[1], results[2], results[3])
    end
  end
end

--- Hands out what has finished; returns how many.
function scheduler.hand_out_finished(client, most)
  local n, finished = 0, client.finished
  most = most or huge
  -- What finishes while functions are called is for the next step: a function that starts calls must not keep it busy.
  local last, future = finished.last, front(finished)
  while future and finished.first <= last and n + 1 <= most do
    hand_out(client, future)
    n = n + 1
    future = front(finished)
  end
  scheduler.settle(client)
  return n
end

return scheduler
