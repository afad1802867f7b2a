-- The three ways in which a call can be made; none changes what comes of it. Each is { name =, client = }, where client
-- makes a client as wire.client does, or a stand-in whose calls look like ordinary ones.
local wire = require "spec.support.wire"

local ways = {}

-- Its methods make asynchronous calls of the client, and finish them.
local function stand_in(client, finish)
  return setmetatable({}, { __index = function(_, name)
    return function(_, ...) return finish(client, client.async[name](client.async, ...)) end
  end })
end

local function by_wait(_, future)
  return future:wait()
end

local function by_step(client, future)
  local outcome
  future:on_done(function(...) outcome = { ... } end)
  while not outcome do client:step(10) end
  return outcome[1], outcome[2], outcome[3]
end

local function async(io_thread, finish)
  return function(server, options)
    local all = { io_thread = io_thread }
    for name, value in pairs(options or {}) do all[name] = value end
    return stand_in(wire.client(server, all), finish)
  end
end

ways[1] = { name = "ordinary", client = wire.client }
ways[2] = { name = "asynchronous, by the I/O thread", client = async(true, by_wait) }
ways[3] = { name = "asynchronous, by step", client = async(false, by_step) }

return ways
