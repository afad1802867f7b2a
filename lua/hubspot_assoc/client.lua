--- Clients: their options, their methods, the calls under way.

local core = require "hubspot_assoc.core"
local Future = require "hubspot_assoc.future"
local call_of = require "hubspot_assoc.call"
local scheduler = require "hubspot_assoc.scheduler"

local error, getmetatable, loaded, pcall = error, getmetatable, package.loaded, pcall
local rawget = rawget
local pairs, require, setmetatable, tostring, type = pairs, require, setmetatable, tostring, type
local next = pairs {} -- hosts that take globals away leave pairs
local huge = 1 / 0

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

local client_module = {}

local function expect_client(self, name)
  if getmetatable(self) ~= Client then
    error(("'%s' is a method of a client: call it with a colon, client:%s(...)"):format(name, name), 3)
  end
end

local function check_number(value, name, position)
  if value ~= nil and type(value) ~= "number" then
    error(("bad argument #%d to '%s' (number expected, got %s)"):format(position, name, type(value)), 4)
  end
end

-- ---- methods; each has the level of the call stack that is to blame, for the module's functions have them, too ----

local methods = {}

function methods.step(client, level, seconds, most)
  check_number(seconds, "step", 1)
  check_number(most, "step", 2)
  seconds = seconds or 0
  local loop = seconds > 0 and scheduler.loop_to_wait_in(client, "step", level + 1) or nil
  return call_of.step(client, loop, seconds, most)
end

function methods.pending(client)
  return client.count + scheduler.length(client.finished)
end

function methods.drain(client, level, seconds)
  check_number(seconds, "drain", 1)
  for future in pairs(client.answering) do
    if call_of.is_answered_here(future) then
      error("'drain' cannot be called from on_event, a limiter, a token function or a transport: their call would "
        .. "never be done", level + 1)
    end
  end
  local loop = (seconds or 1) > 0 and scheduler.loop_to_wait_in(client, "drain", level + 1) or nil
  local give_up_at = seconds and core.now() + seconds or huge
  local n = 0
  while methods.pending(client) > 0 do
    local left = give_up_at - core.now()
    n = n + call_of.step(client, loop, left > 0 and left or 0)
    if left <= 0 then
      break
    end
  end
  return n
end

function methods.stats(client)
  return client.core:stats()
end

function methods.rate_limit(client)
  return client.core:rate_limit()
end

--- Hands out the asynchronous calls that have finished: their on_done functions are called.
-- @param seconds how long to wait if there is none (default 0), and not at all where nothing is under way; without an
--   I/O thread the calls move on meanwhile
-- @param most how many to hand out at most (default: all)
-- @return how many were handed out
function Client:step(seconds, most)
  expect_client(self, "step")
  local n = methods.step(self, 2, seconds, most)
  return n
end

--- How many asynchronous calls have not been handed out yet, under way or finished.
function Client:pending()
  expect_client(self, "pending")
  return methods.pending(self)
end

--- Steps until no call is pending, or the time is up.
-- @param seconds how long at most; nil: as long as it takes
-- @return how many were handed out
function Client:drain(seconds)
  expect_client(self, "drain")
  local n = methods.drain(self, 2, seconds)
  return n
end

--- What the client has done since it was made: counters, which only grow, and two numbers of this moment. They stay
-- when the client is closed. Times are in seconds.
-- @return table:
--   calls: API calls that were made
--   requests, attempts: HTTP requests that were begun (a batch may be several), and tries of them
--   retries: of attempts, by what the one before ended with: api (a 5xx, 408), throttled (429, 423, 477), timeout,
--     transport, protocol (an answer cut short), token (EXPIRED_AUTHENTICATION: again with a fresh one)
--   waits: { count, seconds } of the requests' waits that are over, by what for: rate (the client's, or HubSpot's),
--     hold (the pause after a 429, 423, 477), connection (a free one), retry (the pause before another attempt), leave
--     (a limiter's), token (the token function's). Those under a millisecond are not counted
--   errors: how many errors the calls gave, by kind; those inside a 207, too
--   bytes_sent, bytes_received: heads and bodies, as compressed as they were, without TLS; of attempts that have ended.
--     With the option transport the bodies alone
--   connections_opened, connections_reused: how many were; the latter are attempts on one that had been used before
--   in_flight, queued: attempts under way, and requests that wait, at this moment
function Client:stats()
  expect_client(self, "stats")
  return methods.stats(self)
end

--- What is known of the account's rate at this moment. What is unknown is absent.
-- @return table:
--   requests, interval: so many requests in so many seconds: as HubSpot told last, else as this client is configured
--   remaining: so many of them may be sent at once, as far as this client knows. Where several nginx workers share the
--     rate without a limiter, of this worker's part
--   daily, daily_remaining: requests a day, as HubSpot told last
--   hold: seconds for which nothing is sent (after a 429, 423 or 477); absent: it may be sent
--   age: seconds since HubSpot told any of this last; absent: it has told nothing yet
function Client:rate_limit()
  expect_client(self, "rate_limit")
  return methods.rate_limit(self)
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
  self.is_closed, self.is_unsure = true, true
  self.core:close(self.stop_watching ~= nil) -- an event loop that watches hands out the rest
  call_of.close_all(self)
  call_of.look_around(self)
  scheduler.settle(self)
end

-- ---- making a client ----

--- Under nginx a call must never hold up its worker.
local default_loop = loaded.ngx and "ngx" or nil

local EXPECTED = "\"luv\", \"cqueues\", \"ngx\" or a table with functions watch and suspend expected"
local own_loops = { luv = true, cqueues = true, ngx = true }

local function is_adapter(loop)
  return type(loop) == "table" and type(loop.watch) == "function" and type(loop.suspend) == "function"
end

--- Returns the adapter of an event loop, or nil and why there is none.
local function find_loop(loop)
  if loop == nil or is_adapter(loop) then
    return loop
  elseif type(loop) ~= "string" then
    return nil, type(loop) == "table" and "a table with functions watch and suspend expected"
      or EXPECTED .. ", got " .. type(loop)
  end
  local ok, module = pcall(require, "hubspot_assoc.loop." .. loop)
  if ok and is_adapter(module) then
    return module
  elseif own_loops[loop] then
    return nil, tostring(module)
  end
  return nil, ("%s, got \"%s\""):format(EXPECTED, loop)
end

--- A token function that makes calls itself must wait for them as the client does. So a table that can be called, as
-- hubspot_assoc.oauth makes it, may have a field for_loop: function(loop) -> the function to be called in its place.
-- @return the options, or a copy with that function
local function bind_token(options, own_options, loop)
  local token = rawget(own_options, "access_token")
  local for_loop = loop and type(token) == "table" and rawget(token, "for_loop")
  if not for_loop then
    return options
  end
  local bound = {}
  for key, value in next, own_options do
    bound[key] = value
  end
  bound.access_token = for_loop(loop)
  return bound
end

--- Wraps a client of hubspot_assoc.core.
local function wrap(core_client, loop)
  local client = {
    core = core_client, loop = loop,
    under_way = {}, -- what core:next gives -> future
    count = 0, -- of those
    is_unsure = false, -- an error has left the bookkeeping in the midst of it: all is looked at anew
    put_again = 0, looked_after = 0, -- so many questions; so many of them when all was looked at anew
    asking = {}, -- future -> true: nobody has been found yet who answers it
    answering = {}, -- future -> true: somebody is to answer it
    checked_at = 0, -- when it was last looked after those
    token_leaders = {}, -- rejected token -> the future that asks for another
    renewed = {}, renewed_count = 0, -- rejected token -> what the token function said to it, and when
    token_clock = 0, -- counts what was renewed
    finished = scheduler.new_queue(), -- futures for step to hand out
    ready = scheduler.new_queue(), -- waiters that are to go on
    waiting = {}, -- waiters for any news
  }
  client.dispatch, client.route = scheduler.new_dispatch(client), call_of.new_route(client)
  client.threads = setmetatable({}, { __mode = "v" }) -- that are in these; one that is left there for good is not kept
  client.async = setmetatable({ client = client }, Async)
  client.on_readable = function() return call_of.on_readable(client) end
  return setmetatable(client, Client)
end

--- Makes a client.
-- @param options table or nil
-- @param level of the call stack that is to blame for wrong options: 2 is the caller's caller
-- @param name of the function that was called
-- @return client
function client_module.new(options, level, name)
  local own_options = type(options) == "table" and options or {}
  local wanted = rawget(own_options, "loop")
  if wanted == nil then
    wanted = default_loop
  end
  local loop, problem = find_loop(wanted)
  local shares = loop and loop.count_processes and loop.count_processes() or 1
  local core_client = core.new(bind_token(options, own_options, loop), level + 1, name, shares)
  if problem then
    error(("bad argument #1 to '%s' (options.loop: %s)"):format(name, problem), level + 1)
  elseif loop and rawget(own_options, "io_thread") == false then
    error(("bad argument #1 to '%s' (options.loop: needs the I/O thread)"):format(name), level + 1)
  end
  return wrap(core_client, loop)
end

-- ---- the default client ----

local default_client -- the one that wraps hubspot_assoc.core's

--- The default client of this Lua state, made on first use. hubspot_assoc.core may have another one since.
local function default()
  local core_client = core.default()
  if not core_client then
    default_client = client_module.new(nil, 2, "new")
    core.default(default_client.core)
  elseif not default_client or default_client.core ~= core_client then
    local loop, problem = find_loop(core_client:loop() or default_loop)
    if problem then
      error(("the default client was made with a wrong options.loop: %s"):format(problem), 3)
    end
    default_client = wrap(core_client, loop)
  end
  return default_client
end
client_module.default = default

--- Makes a client the default one.
function client_module.set_default(client)
  core.default(client.core)
  default_client = client
end

--- The default client's asynchronous calls, whichever client that is.
client_module.default_async = setmetatable({}, Async)

-- ---- the API calls ----

for name, start in pairs(core.calls) do
  Client[name] = function(self, ...)
    expect_client(self, name)
    local call = start(self.core, ...)
    local loop = self.loop and scheduler.loop_to_wait_in(self, name, 2)
    return call_of.perform(self, loop, call, Future)
  end

  Async[name] = function(self, ...)
    if getmetatable(self) ~= Async then
      error(("'%s' is a method of client.async: call it with a colon, client.async:%s(...)"):format(name, name), 2)
    end
    local client = self.client or default()
    local call = start(client.core, ...)
    scheduler.check_start(client, name, 2)
    return call_of.submit(client, call, Future)
  end
end

local is_module = {} -- module -> true; a look into it calls neither C, as rawequal does, nor a metamethod

--- Raises if a function of a module was called with a colon.
function client_module.expect_dot(first, name)
  if is_module[first] then
    error(("'%s' is a function of the module: call it with a dot, assoc.%s(...)"):format(name, name), 3)
  end
end

local expect_dot = client_module.expect_dot

--- Gives a module the functions that work on the default client: all API calls, step, pending and drain.
function client_module.add_functions(module)
  is_module[module] = true
  for name, start in pairs(core.calls) do
    module[name] = function(...)
      expect_dot(..., name)
      local client = default()
      local call = start(client.core, ...)
      local loop = client.loop and scheduler.loop_to_wait_in(client, name, 2)
      return call_of.perform(client, loop, call, Future)
    end
  end
  for name, method in pairs(methods) do
    module[name] = function(...)
      expect_dot(..., name)
      local n = method(default(), 2, ...)
      return n
    end
  end
end

--- Loads a room, unless it is there. What an error (Ctrl-C, say) has left half loaded, Lua 5.1 would never load again:
-- it leaves a mark in place of the module.
local function load_room(room)
  local path = "hubspot_assoc." .. room
  if type(loaded[path]) ~= "table" then
    for name, value in pairs(loaded) do
      if type(name) == "string" and name:find("^hubspot_assoc%.") and type(value) ~= "table"
        and type(value) ~= "function" then
        loaded[name] = nil
      end
    end
  end
  return require(path)
end

--- Gives all clients the methods of a room above, and a module the same as functions on the default client. Each call
-- may load the room: a program that uses none of it pays nothing for it, and a host without its parts of the standard
-- library can use the rest.
-- @param module as in add_functions
-- @param room name of its file, a table: name -> function(client, level, ...), which returns three values at most;
--   level as in client_module.new: error(message, level + 1) blames the caller of the method
-- @param names list of its methods
function client_module.add_methods(module, room, names)
  for i = 1, #names do
    local name = names[i]
    Client[name] = function(self, ...)
      expect_client(self, name)
      local first, second, third = load_room(room)[name](self, 2, ...) -- no tail call, which would take a level away
      return first, second, third
    end
    module[name] = function(...)
      expect_dot(..., name)
      local first, second, third = load_room(room)[name](default(), 2, ...)
      return first, second, third
    end
  end
end

return client_module
