-- What the specs of the wire share: clients with short times, and calls that tell all about themselves.
local assoc = require "hubspot_assoc"
local system = require "system" -- busted needs it too

local wire = {
  TOKEN = "pat-wire-secret",
  monotime = system.monotime, -- seconds
  sleep = system.sleep,
}

-- What each call sends; in a fresh account of the simulator all of them go well, the creation once only.
wire.INPUTS = {
  batch_update = { { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 5 } },
  batch_create = { { category = "HUBSPOT_DEFINED", typeId = 1, maxToObjectIds = 5 } },
  batch_purge = { { category = "USER_DEFINED", typeId = 36 } },
}

-- A client of a server: a URL, or a table with one. No pacing, and short times, unless options say otherwise.
function wire.client(server, options)
  local all = { base_url = type(server) == "table" and server.url or server, access_token = wire.TOKEN,
    timeout = 5, deadline = 10, max_attempts = 2, rate = false }
  for name, value in pairs(options or {}) do all[name] = value end
  return assoc.new(all)
end

-- Calls the method, with whatever arguments. Gives results, errors, response; `error`, the first one or {};
-- `seconds`, how long it took.
function wire.timed(client, method, ...)
  local started = system.monotime()
  local results, errors, response = client[method](client, ...)
  return { results = results, errors = errors, error = errors and errors[1] or {}, response = response,
    seconds = system.monotime() - started }
end

-- One timed call about contacts → companies, with inputs that suit it. `options` are the call's own.
function wire.call(client, method, options)
  local inputs = wire.INPUTS[method]
  if inputs then return wire.timed(client, method, "contacts", "companies", inputs, options) end
  return wire.timed(client, method, "contacts", "companies", options)
end

-- The same, but it must go well.
function wire.good_call(client, method, options)
  local outcome = wire.call(client, method, options)
  if outcome.errors then error("a call failed: " .. tostring(outcome.errors), 2) end
  return outcome
end

-- How many of a server's log entries are calls of this method: "batch_create" is a path that ends in batch/create.
function wire.count(log, method)
  local suffix, count = method:gsub("_", "/"), 0
  for _, request in ipairs(log) do
    if request.path:sub(-#suffix) == suffix then count = count + 1 end
  end
  return count
end

return wire
