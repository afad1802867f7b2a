--- The ways in which calls are made, each a function(client, next_call): makes calls until next_call gives nil, some of
-- them at a time, and returns when the last one has ended. options(name) are the client's options for that way.

local loop_hosts = require "spec.support.loop_hosts"

local unpack = table.unpack or unpack -- luacheck: ignore
local IN_FLIGHT = 8

local drivers = {}

function drivers.ordinary(client, next_call)
  for call in next_call do
    call.judge(client[call.name](client, unpack(call)))
  end
end

--- Futures; each one's end starts the next.
function drivers.async(client, next_call)
  local function start()
    local call = next_call()
    if not call then return end
    client.async[call.name](client.async, unpack(call)):on_done(function(results, errors)
      call.judge(results, errors)
      start()
    end)
  end
  for _ = 1, IN_FLIGHT do start() end
  while client:pending() > 0 do client:step(0.1, math.random(4)) end
end

drivers.stepped = drivers.async

--- Coroutines that make ordinary calls.
local function in_loop(host)
  return function(client, next_call)
    for _ = 1, IN_FLIGHT do
      host.start(function() drivers.ordinary(client, next_call) end)
    end
    host.run()
  end
end

local OPTIONS = {
  async = { is_tls = true }, stepped = { io_thread = false }, luv = { is_tls = true, is_loop = true },
  cqueues = { is_loop = true }, bulk = { is_tls = true }, ordinary = {},
}

--- @param name of the way; or a limiter's, whose calls are asynchronous
-- @return { run = function(client, next_call), options = of the client, is_tls = }; nil if its library is not here
function drivers.find(name)
  local own = OPTIONS[name]
  if own and own.is_loop then
    if not pcall(require, name) then return nil end
    local host = loop_hosts[name]()
    return { run = in_loop(host), options = { loop = host.loop }, is_tls = own.is_tls }
  end
  return { run = drivers[name] or drivers.async, options = { io_thread = own and own.io_thread },
    is_tls = own and own.is_tls }
end

return drivers
