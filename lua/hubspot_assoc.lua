--- HubSpot's Associations API: what waits and yields, over hubspot_assoc.core, which checks, splits,
-- sends and joins.
--
--     local assoc = require "hubspot_assoc"
--     local results, errors, response = assoc.batch_update("contacts", "companies", {
--       { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 5 },
--     })
--
-- Every API call is a function of the module, on a default client made from the environment
-- (HUBSPOT_ACCESS_TOKEN, HUBSPOT_BASE_URL, HUBSPOT_API_VERSION), and a method of a client.
-- All return results, errors, response; `if errors then` is the one test that is always right.
-- client.async has the same methods; they return a future at once.

local core = require "hubspot_assoc.core"

local assoc = { _VERSION = core._VERSION }

local function new_class(name)
  local class = { __name = name }
  class.__index = class
  function class.__tostring()
    return name
  end
  return class
end

local Client = new_class("hubspot_assoc.client")
local Async = new_class("hubspot_assoc.async")
local Future = new_class("hubspot_assoc.future")

-- ---- functions that may yield ----

local is_lua51 = _VERSION == "Lua 5.1" and not rawget(_G, "jit")

--- pcall, where the function may yield. Only PUC Lua 5.1's pcall stops a yield; there the function
-- runs in a coroutine of its own, whose yields are passed on (but not through a pcall of the caller's). Whoever is to
-- let it go on resumes either that coroutine or the outer one.
local protected = pcall
if is_lua51 then
  local unpack = rawget(_G, "unpack")

  local function pack(...)
    return { n = select("#", ...), ... }
  end

  protected = function(fn, ...)
    local outer, input = coroutine.running(), pack(...)
    local is_passing_on, results
    local inner = coroutine.create(function(...)
      results = pack(true, fn(...))
      if not is_passing_on then -- who resumed it knows nothing of the outer one
        coroutine.resume(outer)
      end
    end)
    while true do
      is_passing_on = true
      local output = pack(coroutine.resume(inner, unpack(input, 1, input.n)))
      is_passing_on = false
      if not results and output[1] and outer then
        input = pack(coroutine.yield(unpack(output, 2, output.n)))
      end
      if results then
        return unpack(results, 1, results.n)
      elseif not output[1] then
        return false, output[2]
      elseif not outer then
        return false, "attempt to yield from outside a coroutine"
      end
    end
  end
end

local function is_in_coroutine()
  local thread, is_main = coroutine.running()
  return thread ~= nil and not is_main
end

-- ---- calls under way ----

--- Those who wait in an event loop are to go on; look_around sees to that.
-- @param waiting list of the functions that resume them
-- @param future that they wait for, if it is one
local function wake(client, waiting, future)
  for i = 1, #waiting do
    client.to_resume[#client.to_resume + 1] = { resume = waiting[i], future = future }
    waiting[i] = nil
  end
end

local function stop_watching(client)
  if client.stop_watching then
    client.stop_watching()
    client.stop_watching = nil
  end
end

--- The event loop watches a client while anything of it is under way or finished, also if it was closed meanwhile.
local function stop_watching_if_idle(client)
  if client.count == 0 and not client.finished[1] then
    stop_watching(client)
    if client.is_closed then
      client.core:close()
    end
  end
end

--- A future is to be handed out by step. The descriptor stays readable until none is.
local function add_finished(client, future)
  client.finished[#client.finished + 1] = future
  if #client.finished == 1 then
    client.core:announce(true)
  end
end

local function forget_finished(client, future)
  for i, other in ipairs(client.finished) do
    if other == future then
      table.remove(client.finished, i)
      break
    end
  end
  if not client.finished[1] then
    client.core:announce(false)
    stop_watching_if_idle(client)
  end
end

--- The future of a call has come to its end; step hands it out, unless an ordinary call has been waiting for it.
local function complete(future, ...)
  local client = future.client
  future.results = { n = select("#", ...), ... }
  client.under_way[future.call] = nil
  client.count = client.count - 1
  if future.is_handed_out then
    stop_watching_if_idle(client)
  else
    add_finished(client, future)
  end
  wake(client, future.waiting, future)
  wake(client, client.waiting)
end

local look_after, look_around

--- Answers the question of a call for a token.
local function answer(future, token_function, reason)
  local has_ended = future.call:go(protected(token_function, reason))
  if has_ended and not future.results then -- by its limiter, and nobody else will tell
    look_after(future, future.call:run(0))
    look_around(future.client)
  end
end

--- Answers the question that has been put aside, if nobody has done so meanwhile.
local function answer_question(future)
  local question = future.question
  if question and not future.results then
    future.question = nil
    answer(future, question[1], question[2])
  end
end

--- The same where nobody waits: beside everything else, if the host can do that, for it may take long.
local function answer_aside(future)
  local spawn = future.client.loop and future.client.loop.spawn
  if not (spawn and spawn(answer_question, future)) then
    answer_question(future)
  end
end

--- Looks after a call that wants attention. A token function is called in a Lua frame, so that it may yield: in the
-- coroutine that waits for the call, if there is one.
function look_after(future, done, ...)
  if done then
    complete(future, ...)
  elseif done == false then
    future.question = { ... }
    if future.waiting[1] then
      wake(future.client, future.waiting, future)
    elseif future.is_left or not future.is_handed_out then -- else it has just been made, and who made it answers
      answer_aside(future)
    end
  end
end

--- Lets those go on who waited. The error of one must not keep the others waiting; one who is gone (resume returns
-- false) answers nothing.
local function resume_all(client)
  local all_ok, first_message = true, nil
  while client.to_resume[1] do
    local entry = table.remove(client.to_resume, 1)
    local ok, result = pcall(entry.resume)
    if all_ok and not ok then
      all_ok, first_message = false, result
    elseif result == false and entry.future then
      entry.future.is_left = true
      answer_aside(entry.future)
    end
  end
  if not all_ok then
    error(first_message, 0)
  end
end

--- Looks after the calls that want attention, then lets go on who waits for them.
-- @param most so many of them; nil: all
-- @return true if there may be more
function look_around(client, most)
  local n, call = 0, client.core:next()
  while call do
    local future = client.under_way[call]
    if future then
      look_after(future, call:run(0))
    end
    n = n + 1
    call = n ~= most and client.core:next()
  end
  if client.to_resume[1] then
    resume_all(client)
  end
  return n == most
end

--- Has the event loop, if there is one, look after the client. Returns nil, or why it cannot. (A loop with patience may
-- have failed to since.)
local function watch(client)
  local loop = client.loop
  if loop and not client.is_closed and (loop.patience or not client.stop_watching) then
    local fd = not loop.connects and client.core:fd() or nil
    local stop, problem = loop.watch(fd, client.on_readable, client.core)
    client.stop_watching = stop
    return problem
  end
end

--- @param is_handed_out true: nobody needs step for it
local function submit(client, call, is_handed_out)
  local problem = watch(client)
  local future = setmetatable({ client = client, call = call, callbacks = {}, waiting = {},
    is_handed_out = is_handed_out }, Future)
  client.under_way[call] = future
  client.count = client.count + 1
  call:submit(problem)
  look_after(future, call:run(0))
  return future
end

local function unpack_results(future)
  return future.results[1], future.results[2], future.results[3]
end

--- Calls the functions of a future that has finished. The last is called when nothing more is known of it here, so that
-- an error in one leaves the others for the next step.
local function hand_out(client, future)
  repeat
    local fn = table.remove(future.callbacks, 1)
    if not future.callbacks[1] and not future.is_handed_out then
      future.is_handed_out = true
      forget_finished(client, future)
    end
    if fn then
      core.call(fn, unpack_results(future))
    end
  until future.is_handed_out
end

--- Who has waited in vain looks for himself, if the loop wants that: it may have failed to.
local function look_again(client)
  if client.loop.patience then
    watch(client)
    look_around(client)
  end
end

--- Waits for news of the client, so many seconds at most; in the event loop if one is given.
-- @param waiting list of those who are woken by the news that is waited for
local function wait_for_news(client, loop, waiting, seconds)
  if loop and seconds > 0 then
    local own
    seconds = math.min(seconds, loop.patience or math.huge)
    loop.suspend(function(resume)
      own = resume
      waiting[#waiting + 1] = resume
    end, seconds < math.huge and seconds or nil)
    for i = #waiting, 1, -1 do
      if waiting[i] == own then -- the time was up
        table.remove(waiting, i)
        look_again(client)
      end
    end
  else
    client.core:wait(seconds)
  end
end

--- Hands out what has finished.
local function hand_out_finished(client)
  local n = 0
  -- What finishes while functions are called is for the next step: a function that starts calls must not keep it busy.
  for _ = 1, #client.finished do
    if client.finished[1] then
      hand_out(client, client.finished[1])
      n = n + 1
    end
  end
  return n
end

--- Hands out what has finished, after a wait of so many seconds at most while there is nothing.
local function step(client, loop, seconds)
  look_around(client)
  if not client.finished[1] and client.count > 0 then
    wait_for_news(client, loop, client.waiting, seconds)
    look_around(client)
  end
  return hand_out_finished(client)
end

local PART = 4 -- calls

--- What an event loop calls when there is news: a part of it is looked after, so that the host has its turn in between.
-- @return true if there is more; the descriptor then stays readable
local function on_readable(client)
  local is_more = look_around(client, PART)
  hand_out_finished(client)
  return is_more or client.finished[1] ~= nil
end

--- The event loop to wait in, nil where the caller waits; raises where the host allows neither.
-- @param level of the call stack that is to blame
local function loop_to_wait_in(client, name, level)
  local loop = client.loop
  if not loop then
    return nil
  end
  local can_suspend, why = is_in_coroutine(), nil
  if loop.can_suspend then
    can_suspend, why = loop.can_suspend()
  end
  if why then
    error(("'%s' cannot wait here: %s"):format(name, why), level + 1)
  end
  return can_suspend and loop or nil
end

--- Raises where the host allows no call to be started.
local function check_start(client, name, level)
  if client.loop and client.loop.can_start then
    local ok, why = client.loop.can_start()
    if not ok then
      error(("'%s' cannot be called here: %s"):format(name, why), level + 1)
    end
  end
end

-- ---- ordinary calls ----

local finish

local function pass_results(call, done, results, errors, response)
  if done then
    return results, errors, response
  end
  local token_function, reason = results, errors
  call:go(protected(token_function, reason))
  return finish(call)
end

--- Runs a call to its end in the caller's time.
function finish(call)
  return pass_results(call, call:run())
end

--- Waits for news of the future, and answers its call's questions for a token.
local function wait_for(future, loop, seconds)
  if not future.question then
    wait_for_news(future.client, loop, future.waiting, seconds)
  end
  answer_question(future)
end

--- As finish; but in a coroutine of an event loop others go on meanwhile.
local function finish_in_loop(client, loop, call)
  local future = submit(client, call, true)
  while not future.results do
    wait_for(future, loop, math.huge)
  end
  return unpack_results(future)
end

local function perform(client, loop, call)
  if loop then
    return finish_in_loop(client, loop, call)
  end
  return finish(call)
end

-- ---- futures ----

local function check_seconds(seconds, name)
  if seconds ~= nil and type(seconds) ~= "number" then
    error(("bad argument #1 to '%s' (number expected, got %s)"):format(name, type(seconds)), 3)
  end
end

local function expect_future(self, name)
  if getmetatable(self) ~= Future then
    error(("'%s' is a method of a future: call it with a colon, future:%s(...)"):format(name, name), 3)
  end
end

--- Has the call come to its end?
function Future:done()
  expect_future(self, "done")
  look_around(self.client)
  return self.results ~= nil
end

--- Waits for the call's end.
-- @param seconds how long at most; nil: as long as it takes, which its deadline bounds
-- @return results, errors, response; or nil and an error of kind "pending" if the time ran out, and the call goes on
function Future:wait(seconds)
  expect_future(self, "wait")
  check_seconds(seconds, "wait")
  if self.call:is_in_callback() then
    error("a call cannot be waited for in its own on_event or limiter", 2)
  end
  local client = self.client
  local give_up_at = seconds and core.now() + seconds or math.huge
  look_around(client)
  while not self.results do
    local left = give_up_at - core.now()
    if left <= 0 then
      return nil, self.call:pending()
    end
    wait_for(self, loop_to_wait_in(client, "wait", 2), left)
    look_around(client)
  end
  return unpack_results(self)
end

--- Ends the call at once, whatever it is doing; it then has an error of kind "canceled".
-- @return false if it was done already
function Future:cancel()
  expect_future(self, "cancel")
  if self.results then
    return false
  end
  self.call:cancel()
  look_after(self, self.call:run(0))
  look_around(self.client)
  return true
end

--- Has fn(results, errors, response) called once, from step or drain, when the call is done, also if it is so
-- already. It may start calls, cancel and close; it may not yield. An error in it leaves step.
-- @return the future
function Future:on_done(fn)
  expect_future(self, "on_done")
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'on_done' (function expected, got %s)"):format(type(fn)), 2)
  end
  self.callbacks[#self.callbacks + 1] = fn
  if self.is_handed_out then
    self.is_handed_out = false
    add_finished(self.client, self)
  end
  return self
end

-- ---- clients ----

local function expect_client(self, name)
  if getmetatable(self) ~= Client then
    error(("'%s' is a method of a client: call it with a colon, client:%s(...)"):format(name, name), 3)
  end
end

--- Hands out the asynchronous calls that have finished: their on_done functions are called.
-- @param seconds how long to wait if there is none (default 0); without an I/O thread the calls move on meanwhile
-- @return how many were handed out
function Client:step(seconds)
  expect_client(self, "step")
  check_seconds(seconds, "step")
  seconds = seconds or 0
  local loop = seconds > 0 and loop_to_wait_in(self, "step", 2) or nil
  return step(self, loop, seconds)
end

--- How many asynchronous calls have not been handed out yet, under way or finished.
function Client:pending()
  expect_client(self, "pending")
  return self.count + #self.finished
end

--- Steps until no call is pending, or the time is up.
-- @param seconds how long at most; nil: as long as it takes
-- @return how many were handed out
function Client:drain(seconds)
  expect_client(self, "drain")
  check_seconds(seconds, "drain")
  for call in pairs(self.under_way) do
    if call:is_in_callback() then
      error("'drain' cannot be called from on_event or a limiter: their call would never be done", 2)
    end
  end
  local loop = (seconds or 1) > 0 and loop_to_wait_in(self, "drain", 2) or nil
  local give_up_at = seconds and core.now() + seconds or math.huge
  local n = 0
  while self.count + #self.finished > 0 do
    local left = give_up_at - core.now()
    n = n + step(self, loop, left > 0 and left or 0)
    if left <= 0 then
      break
    end
  end
  return n
end

--- A descriptor that is readable while there is something for step; nil when the client is closed. Raises if the
-- client has io_thread = false.
function Client:fd()
  expect_client(self, "fd")
  local fd = self.core:fd()
  return not self.is_closed and fd or nil
end

--- Cancels all calls under way and closes all connections, at once. The canceled futures are still handed out; calls
-- made afterwards fail with an error of kind "config".
function Client:close()
  expect_client(self, "close")
  self.is_closed = true
  self.core:close(self.stop_watching ~= nil) -- an event loop that watches hands out the rest
  local futures = {}
  for _, future in pairs(self.under_way) do
    futures[#futures + 1] = future
  end
  for _, future in ipairs(futures) do
    look_after(future, future.call:run(0))
  end
  look_around(self)
  stop_watching_if_idle(self)
end

-- ---- the module ----

--- Under nginx a call must never hold up its worker.
local default_loop = package.loaded.ngx and "ngx" or nil

local function load_loop(options, level, name)
  local loop = rawget(options, "loop") or default_loop
  if type(loop) == "string" then
    local ok, module = pcall(require, "hubspot_assoc.loop." .. loop)
    if not ok then
      error(("bad argument #1 to '%s' (options.loop: %s)"):format(name, tostring(module)), level + 2)
    end
    return module
  elseif type(loop) == "table" and not (type(loop.watch) == "function" and type(loop.suspend) == "function") then
    error(("bad argument #1 to '%s' (options.loop: a table with functions watch and suspend expected)"):format(name),
      level + 2)
  end
  return loop
end

--- @param level of the call stack that is to blame for wrong options: 2 is the caller's caller
local function new_client(options, level, name)
  local own_options = type(options) == "table" and options or {}
  local loop = load_loop(own_options, level, name)
  local shares = type(loop) == "table" and loop.count_processes and loop.count_processes() or 1
  local client = { core = core.new(options, level + 1, name, shares), loop = loop }
  if client.loop and rawget(own_options, "io_thread") == false then
    error(("bad argument #1 to '%s' (options.loop: needs the I/O thread)"):format(name), level + 1)
  end
  client.async = setmetatable({ client = client }, Async)
  client.under_way = {} -- call -> future
  client.count = 0 -- of those
  client.finished = {} -- futures for step to hand out
  client.waiting = {} -- functions that resume who waits for any news, in an event loop
  client.to_resume = {} -- those who are to go on
  client.on_readable = function() return on_readable(client) end
  return setmetatable(client, Client)
end

local default_client

local function default()
  default_client = default_client or new_client(nil, 2, "new")
  return default_client
end

local function expect_dot(first, name)
  if rawequal(first, assoc) then
    error(("'%s' is a function of the module: call it with a dot, assoc.%s(...)"):format(name, name), 3)
  end
end

--- Makes a client.
-- @param options table or nil: access_token (string, or function(reason) -> token, or nil and a message),
--   base_url, api_version ("v4", "2025-09", ...), timeout, connect_timeout, deadline (s), max_attempts,
--   max_response_bytes, rate ({ requests =, interval = (s) } or false), limiter (a table of two methods, in place of
--   rate), proxy, ca_file, allow_http, max_connections, user_agent, on_event (function(event)), io_thread (boolean),
--   loop ("luv", "cqueues", "ngx", or a table of two functions). The README tells their defaults.
-- @return client; raises if an option is unknown or wrong
function assoc.new(options)
  expect_dot(options, "new")
  local client = new_client(options, 2, "new")
  return client
end

--- Replaces the client that the module's functions use.
-- @param options as in assoc.new
-- @return the client; raises as assoc.new does
function assoc.configure(options)
  expect_dot(options, "configure")
  default_client = new_client(options, 2, "configure")
  return default_client
end

--- Returns its arguments, or raises tostring(errors) if there are errors, partial failure included.
function assoc.check(results, errors, response)
  expect_dot(results, "check")
  if errors then
    error(tostring(errors), 0)
  end
  return results, errors, response
end

--- The default client's, which is made on first use.
assoc.async = setmetatable({}, Async)

for name, start in pairs(core.calls) do
  Client[name] = function(self, ...)
    expect_client(self, name)
    local call = start(self.core, ...)
    local loop = loop_to_wait_in(self, name, 2)
    return perform(self, loop, call)
  end

  Async[name] = function(self, ...)
    if getmetatable(self) ~= Async then
      error(("'%s' is a method of client.async: call it with a colon, client.async:%s(...)"):format(name, name), 2)
    end
    local client = self.client or default()
    local call = start(client.core, ...)
    check_start(client, name, 2)
    return submit(client, call)
  end

  assoc[name] = function(...)
    expect_dot(..., name)
    local client = default()
    local call = start(client.core, ...)
    local loop = loop_to_wait_in(client, name, 2)
    return perform(client, loop, call)
  end
end

return assoc
