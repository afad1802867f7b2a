--- What the rooms over calls have in common: options of their own beside those of calls, whom wrong arguments are
-- blamed on, and calls that they begin themselves.
--
-- level: as client_module.add_methods gives it, when the room's method itself calls these.

local call_of = require "hubspot_assoc.call"
local core = require "hubspot_assoc.core"
local Future = require "hubspot_assoc.future"
local names_of = require "hubspot_assoc.names"
local nearest = require "hubspot_assoc.nearest"
local scheduler = require "hubspot_assoc.scheduler"

local error, pairs, pcall, tostring, type = error, pairs, pcall, tostring, type

local room = {}

--- A room's method -> its own options, beside call options: name -> { is a value one?, what is expected }.
room.own_options = {}

--- An option of this type.
function room.type_option(name)
  return { function(value) return type(value) == name end, name }
end

--- An option that is an integer from 1.
function room.count_option(most)
  return { function(value)
    return type(value) == "number" and value >= 1 and value <= most and value % 1 == 0
  end, ("integer from 1 to %d"):format(most) }
end

--- A value as messages show it.
function room.show(value)
  return type(value) == "string" and ('string "%s"'):format(value)
    or type(value) == "number" and "number " .. tostring(value) or type(value)
end

--- Takes the own options of a room's method out of all; raises if one of them is wrong.
-- @param options table, or what is none: that is for the call to refuse
-- @return own, call options
function room.split_options(level, method, options)
  if type(options) ~= "table" then
    return {}, options
  end
  local own, of_calls = {}, {}
  for name, value in pairs(options) do
    local option = room.own_options[method][name]
    if option and not option[1](value) then
      error(("bad argument #4 to '%s' (options.%s: %s expected, got %s)"):format(method, name, option[2],
        room.show(value)), level + 2)
    end
    local list = option and own or of_calls
    list[name] = value
  end
  return own, of_calls
end

--- Adds to the message of an unknown option which of the method's own ones is most like it: it may have been meant.
function room.hint_at_own(method, problem)
  local unknown = problem:match "%(options%.([%w_]+): unknown field%)$"
  local near = unknown and nearest(unknown, names_of(room.own_options[method] or {}))[1]
  return near and ("%s; did you mean '%s'?)"):format(problem:sub(1, -2), near) or problem
end

--- Gives an error of a room's own what every error has.
-- @param fields kind, message, call, from, to, and others
-- @return them
function room.new_error(fields)
  fields.attempts = fields.attempts or 0
  fields.retryable, fields.ambiguous = fields.retryable or false, fields.ambiguous or false
  return fields
end

--- Calls a function of core, whose wrong arguments are the room's method's.
local function blame(level, method, fn, ...)
  local ok, call = pcall(fn, ...)
  if not ok then
    local problem = tostring(call):match("bad argument .*") or tostring(call)
    problem = problem:gsub("^(bad argument #%d+ to ')[%w_]+", "%1" .. method, 1)
    error(room.hint_at_own(method, problem), level + 3)
  end
  return call
end

--- Checks the arguments of an API call for a method of a room, which is to blame for wrong ones.
-- @param method the name of the room's method, which messages have in place of the call's
-- @param name of the API call; its arguments follow, each in the place that it has among the method's
function room.check_call(client, level, method, name, ...)
  blame(level, method, core.checks[name], client.core, ...)
end

--- Makes an API call for a method of a room; wrong arguments are its fault, as in check_call.
-- @return the call, for room.begin
function room.make_call(client, level, method, name, ...)
  local call = blame(level, method, core.calls[name], client.core, ...)
  return call -- no tail call, which would take a level away
end

--- Begins a call that make_call has made.
-- @return its future, for which nobody needs step, whether it is waited for or dropped
function room.begin(client, level, method, call)
  scheduler.check_start(client, method, level + 2)
  return call_of.submit(client, call, Future, true, true)
end

--- Raises where the host does not allow a method of a room to wait.
-- @param level as the room's method got it; 1: what calls this is called by who is to blame
function room.check_wait(client, level, method)
  scheduler.loop_to_wait_in(client, method, level + 2)
end

--- What a future has ended with, as far as is known: { results, errors, response }, or nil. Lets nobody go on.
function room.end_of(future)
  return future.results
end

--- Looks after one call that has news, so that what it has brought can be used up before the next one's is made.
-- @return true if there may be more
function room.look(client)
  return call_of.look_around(client, 1)
end

--- Waits for news of any of the client's calls, so many seconds at most; where there is a loop, others go on meanwhile.
function room.wait(client, level, method, seconds)
  call_of.wait_for_any(client, scheduler.loop_to_wait_in(client, method, level + 2), seconds)
end

return room
