--- Event loop: nginx's, by its Lua module (OpenResty and others). It is the default there: no call holds up a worker.
--
--     content_by_lua_block {
--       local limits, errors = require "hubspot_assoc".get_limits("contacts", "companies")
--       ngx.say(errors and tostring(errors) or #limits)
--     }
--
-- nginx can watch no descriptor of ours. So a timer reads from a connection to the client's I/O thread, which is made
-- in this process, and on which a byte arrives when there is news. It is there while calls are under way, and a little
-- longer.

local ngx = ngx
local semaphore = require "ngx.semaphore"

local error, pcall, tostring = error, pcall, tostring

local loop = {
  connects = true, -- it needs no descriptor
  patience = 1, -- s, after which who waits looks for himself; watch may be called again while it watches
}

local NEVER = 2000000 -- s; nginx counts milliseconds in 32 bits
local LINGER = 0.1 -- s that the connection outlasts the last call, for the next one; a graceful stop waits for that
local RETRY = 0.1 -- s until it is tried again where there can be none
-- s between parts. Others have their turn meanwhile, and the next part has more to do at once; docs/design.md has the
-- figures that speak for it.
local PAUSE = 0.001

-- ---- phases ----

local START_LATER = "in init_by_lua there are no workers yet; init_worker_by_lua can start calls by "
  .. "ngx.timer.at(0, ...) or client.async"
local can_yield = {} -- phase -> boolean

--- Tries whether this phase may yield.
local function try_to_yield()
  local ok, _, why = pcall(semaphore.wait, semaphore.new(), 0)
  return ok and why == "timeout"
end

--- May the running code be suspended?
-- @return true; or nil and why not, and what to do
function loop.can_suspend()
  local phase = ngx.get_phase()
  if phase == "init" then
    return nil, START_LATER
  end
  if can_yield[phase] == nil then
    can_yield[phase] = try_to_yield()
  end
  if can_yield[phase] then
    return true
  end
  return nil, ("nginx's phase %s cannot wait; call it in ngx.timer.at(0, function() ... end), or use client.async")
    :format(phase)
end

--- May a call be started here?
-- @return true; or nil and why not, and what to do
function loop.can_start()
  if ngx.get_phase() == "init" then
    return nil, START_LATER
  end
  return true
end

--- How many processes share HubSpot's rate: nginx's workers.
function loop.count_processes()
  return ngx.worker.count()
end

-- ---- timers ----

--- ngx.timer.at, which raises where nginx has no connection left.
-- @return true; or nil and why not
local function start_timer(delay, fn, ...)
  local ok, is_started, why = pcall(ngx.timer.at, delay, fn, ...)
  if ok and is_started then
    return true
  end
  return nil, "nginx starts no timer: " .. tostring(ok and why or is_started)
end

--- Can a light thread still answer? Nobody tells when one is killed, so nil: who knows.
function loop.is_alive()
  return nil
end

--- Calls a function that may yield, beside everything else.
-- @return true; or nil where that cannot be
function loop.spawn(fn, ...)
  return start_timer(0, function(_, ...) fn(...) end, ...)
end

-- ---- the connection ----

-- core -> { core =, path =, on_readable = nil while no call is under way, is_wanted = semaphore that is posted when it
-- is set again, started_at =, has_begun, must_end }
local readers = {}

local function connect(reader)
  local path = reader.path or reader.core:listen()
  reader.path = nil -- it is gone once it is connected to
  if not path then
    return nil
  end
  local socket = ngx.socket.tcp()
  socket:settimeouts(NEVER * 1000, NEVER * 1000, NEVER * 1000) -- nginx writes a line into its log for each timeout
  local ok = socket:connect("unix:" .. path)
  return reader.core:accept() and ok and socket or nil
end

--- Lets the client be looked after, in parts. What an on_done function raises is nginx's to log, as all that is raised
-- in a timer.
local function look(reader)
  while reader.on_readable do
    local ok, result = pcall(reader.on_readable)
    if not ok then
      start_timer(0, function() error(result, 0) end)
    elseif not result then
      break
    end
    ngx.sleep(PAUSE)
  end
end

--- Waits for news. Returns the connection, or nil if there is none any more.
local function wait_for_byte(socket)
  if not socket then
    ngx.sleep(RETRY)
  elseif socket:receiveany(64) then
    return socket
  end
end

local function read(_, reader)
  local socket
  reader.has_begun = true
  while not reader.must_end do
    if reader.on_readable then
      socket = socket or connect(reader)
      look(reader)
    end
    if reader.on_readable then
      local before = socket
      socket = wait_for_byte(socket)
      if before and not socket and ngx.worker.exiting() then -- worker_shutdown_timeout is over
        reader.must_end = true
      end
    elseif not reader.is_wanted:wait(LINGER) and not reader.on_readable then -- it may be set since the time was up
      reader.must_end = true
    end
  end
  if readers[reader.core] == reader then
    readers[reader.core] = nil
  end
end

--- No call is under way any more. The reader is told by a byte.
local function stop(reader)
  reader.on_readable = nil
  if reader.has_begun then
    reader.core:announce(true)
    reader.core:announce(false)
  else
    reader.must_end = true
    reader.core:accept() -- removes the path
  end
end

local function new_reader(core)
  local path, why = core:listen()
  if not path then
    return nil, why
  end
  local reader = { core = core, path = path, is_wanted = semaphore.new(), started_at = ngx.now() }
  reader.stop = function() stop(reader) end
  local ok, problem = start_timer(0, read, reader)
  if not ok then
    core:accept() -- removes the path
    return nil, problem
  end
  return reader
end

--- nginx drops a timer when too many are running.
local function is_lost(reader)
  return reader.must_end or not reader.has_begun and ngx.now() - reader.started_at >= loop.patience
end

--- Has on_readable called whenever there is news of the calls of a client.
-- @param core the client, as hubspot_assoc.core makes it
-- @return a function that ends this; or nil and why it cannot be had
function loop.watch(_, on_readable, core)
  local reader, why = readers[core], nil
  if reader and is_lost(reader) then
    reader.must_end = true
    reader = nil
  end
  if not reader then
    reader, why = new_reader(core)
    readers[core] = reader
  end
  if not reader then
    return nil, why
  end
  if not reader.on_readable and reader.is_wanted:count() < 0 then
    reader.is_wanted:post()
  end
  reader.on_readable = on_readable
  return reader.stop
end

local beds = {} -- in which nobody sleeps: a new one costs more than all else here
local nbeds = 0

--- A semaphore in which a light thread sleeps, and what lets that go on, if it is still there. (Made apart from
-- suspend: nginx uses the stacks of aborted light threads again, and with them what a closure shares with one.)
local function new_bed()
  local resumed = semaphore.new()
  return { semaphore = resumed, resume = function()
    local is_there = resumed:count() < 0
    resumed:post()
    return is_there
  end }
end

local function take_bed()
  local bed = beds[nbeds]
  if not bed then
    return new_bed()
  end
  beds[nbeds], nbeds = nil, nbeds - 1
  return bed
end

--- Suspends the running light thread, after it has called start with a function that resumes it; so many seconds at
-- most, which are never more than its patience.
function loop.suspend(start, seconds)
  local bed = take_bed()
  start(bed.resume)
  local is_resumed, why = bed.semaphore:wait(seconds)
  if is_resumed then -- by the one call of resume that there is; where the time was up, it may still come
    nbeds = nbeds + 1
    beds[nbeds] = bed
  elseif why ~= "timeout" then
    error(why, 0)
  end
end

return loop
