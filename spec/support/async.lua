-- What the specs of asynchronous calls share: one server for all, the two drivers, and calls that hang in every place.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local wire = require "spec.support.wire"

local async = {}

-- See probe.c.
async.probe = assert(package.loadlib(child.shared_object "probe", "luaopen_probe"))()

async.AT_ONCE = 10 -- s: generous; what hangs here does so for LONG
async.LONG = 30    -- s

-- Who drives a client: its own thread, or step.
async.drivers = {
  { name = "the I/O thread", io_thread = true },
  { name = "step", io_thread = false },
}

local server

-- The server of all specs in a file (spec/servers/async.lua), which has the line: teardown(async.stop).
function async.server()
  if not server or server.stopped then server = fault_server.start "async.serve" end
  return server
end

function async.stop()
  fault_server.stop_all()
  server = nil
end

-- A server of its own, so that its log and its connections are this spec's.
function async.own_server()
  return fault_server.start "async.serve"
end

-- A client of the shared server, driven as told. Nothing ends within LONG by itself.
function async.client(driver, options)
  local all = { io_thread = driver.io_thread, timeout = async.LONG, connect_timeout = async.LONG,
    deadline = async.LONG * 2 }
  for name, value in pairs(options or {}) do all[name] = value end
  return wire.client(all.base_url or async.server(), all)
end

-- Starts batch_update with one input of this type, which the server sends back.
function async.start(client, type_id, options)
  return client.async:batch_update("contacts", "companies",
    { { category = "USER_DEFINED", typeId = type_id or 36, maxToObjectIds = 5 } }, options)
end

-- Starts get_limits from this object type: "never", "slow", ...
function async.start_from(client, from, options)
  return client.async:get_limits(from, "companies", options)
end

-- How long fn(...) took, then what it returned.
function async.timed(fn, ...)
  local started = wire.monotime()
  local function pass(...) return wire.monotime() - started, ... end
  return pass(fn(...))
end

-- Steps until fn() is true; raises after 5 s.
function async.step_until(client, fn)
  local give_up_at = wire.monotime() + 5
  while not fn() do
    assert(wire.monotime() < give_up_at, "it never came about")
    client:step(0.01)
  end
end

local deaf_url, mute

-- A client that is driven as told, with a call that hangs:
-- { name =, start(driver, options, call_options) → client, future }. All are where they hang when start returns.
async.hanging = {}

local function add_hanging(name, start)
  async.hanging[#async.hanging + 1] = { name = name, start = start }
end

local function with(options, name, value)
  local all = { [name] = value }
  for key, given in pairs(options or {}) do all[key] = given end
  return all
end

-- Steps a few times, so that also what step drives gets where it is going. Only a deadline may end it so soon.
local function settle(client, future, call_options)
  for _ = 1, 3 do client:step(0.01) end
  assert(not future:done() or call_options and call_options.deadline, "it does not hang")
  return client, future
end

for what, from in pairs { ["an answer that never comes"] = "never", ["a body that drips"] = "drip" } do
  add_hanging(what, function(driver, options, call_options)
    local client = async.client(driver, options)
    return settle(client, async.start_from(client, from, call_options), call_options)
  end)
end

add_hanging("a connection that never opens", function(driver, options, call_options)
  deaf_url = deaf_url or ("http://127.0.0.1:%d"):format(async.probe.deaf_port())
  local client = async.client(driver, with(options, "base_url", deaf_url))
  return settle(client, async.start(client, 36, call_options), call_options)
end)

add_hanging("a TLS handshake that never ends", function(driver, options, call_options)
  mute = mute and not mute.stopped and mute
    or fault_server.start "async.mute"
  local client = async.client(driver, with(options, "base_url", (mute.url:gsub("^http:", "https:"))))
  return settle(client, async.start(client, 36, call_options), call_options)
end)

add_hanging("a wait for the rate", function(driver, options, call_options)
  local client = async.client(driver, with(options, "rate", { requests = 1, interval = 20 }))
  async.start(client):wait()
  client:step()
  return settle(client, async.start(client, 36, call_options), call_options)
end)

add_hanging("a wait for a free connection", function(driver, options, call_options)
  local client = async.client(driver, with(options, "max_connections", 1))
  settle(client, async.start_from(client, "never"))
  return settle(client, async.start(client, 36, call_options), call_options)
end)

return async
