--- What an asynchronous call returns at once: its end can be waited for, or have functions called.

local core = require "hubspot_assoc.core"
local call_of = require "hubspot_assoc.call"
local scheduler = require "hubspot_assoc.scheduler"

local error, getmetatable, type = error, getmetatable, type
local huge = 1 / 0

local Future = { __name = "hubspot_assoc.future" }
Future.__index = Future

function Future.__tostring()
  return "hubspot_assoc.future"
end

local function expect_future(self, name)
  if getmetatable(self) ~= Future then
    error(("'%s' is a method of a future: call it with a colon, future:%s(...)"):format(name, name), 3)
  end
end

--- Has the call come to its end?
function Future:done()
  expect_future(self, "done")
  call_of.look_around(self.client)
  return self.results ~= nil
end

--- Waits for the call's end. Not in a function that the call waits for itself (on_event, a limiter, a token function).
-- @param seconds how long at most; nil: as long as it takes, which its deadline bounds
-- @return results, errors, response; or nil and an error of kind "pending" if the time ran out, and the call goes on
function Future:wait(seconds)
  expect_future(self, "wait")
  if seconds ~= nil and type(seconds) ~= "number" then
    error(("bad argument #1 to 'wait' (number expected, got %s)"):format(type(seconds)), 2)
  end
  if call_of.is_answered_here(self) then
    error("a call cannot be waited for in its own on_event, limiter, token function or transport", 2)
  end
  local client = self.client
  local give_up_at = seconds and core.now() + seconds or huge
  call_of.look_around(client)
  while not self.results do
    local left = give_up_at - core.now()
    if left <= 0 then
      return nil, self.call:pending()
    end
    call_of.wait_for(self, scheduler.loop_to_wait_in(client, "wait", 2), left)
    call_of.look_around(client)
  end
  return call_of.unpack_results(self)
end

--- Ends the call at once, whatever it is doing; it then has an error of kind "canceled".
-- @return false if it was done already
function Future:cancel()
  expect_future(self, "cancel")
  if self.results then
    return false
  end
  call_of.cancel(self)
  call_of.look_around(self.client)
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
  self.functions = self.functions or scheduler.new_queue()
  scheduler.push(self.functions, fn)
  if self.state == "delivered" then
    scheduler.add_finished(self.client, self, "delivered")
  end
  return self
end

return Future
