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

local core = require "hubspot_assoc.core"

local assoc = { _VERSION = core._VERSION }

local Client = { __name = "hubspot_assoc.client" }
Client.__index = Client

function Client.__tostring()
  return "hubspot_assoc.client"
end

--- pcall, where the function may yield. Only PUC Lua 5.1's pcall stops a yield; there the function
-- runs in a coroutine of its own, whose yields are passed on (but not through a pcall of the caller's).
local protected = pcall
if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
  local function pass_on(thread, ok, ...)
    if coroutine.status(thread) ~= "suspended" then
      return ok, ...
    elseif not coroutine.running() then
      return false, "attempt to yield from outside a coroutine"
    end
    return pass_on(thread, coroutine.resume(thread, coroutine.yield(...)))
  end
  protected = function(fn, ...)
    local thread = coroutine.create(fn)
    return pass_on(thread, coroutine.resume(thread, ...))
  end
end

local finish

local function pass_results(call, done, results, errors, response)
  if done then
    return results, errors, response
  end
  local token_function, reason = results, errors
  call:go(protected(token_function, reason))
  return finish(call)
end

--- Runs a call to its end. The token function is called here, in a Lua frame, so that it may yield.
function finish(call)
  return pass_results(call, call:run())
end

local function to_client(core_client)
  return setmetatable({ core = core_client }, Client)
end

local default_client

local function default()
  default_client = default_client or to_client(core.new())
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
--   max_response_bytes, rate ({ requests =, interval = (s) } or false), proxy, ca_file, allow_http,
--   max_connections, user_agent, on_event (function(event)). The README tells their defaults.
-- @return client; raises if an option is unknown or wrong
function assoc.new(options)
  expect_dot(options, "new")
  local core_client = core.new(options, 2, "new")
  return to_client(core_client)
end

--- Replaces the client that the module's functions use.
-- @param options as in assoc.new
-- @return the client; raises as assoc.new does
function assoc.configure(options)
  expect_dot(options, "configure")
  local core_client = core.new(options, 2, "configure")
  default_client = to_client(core_client)
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

for name, start in pairs(core.calls) do
  Client[name] = function(self, ...)
    if getmetatable(self) ~= Client then
      error(("'%s' is a method of a client: call it with a colon, client:%s(...)"):format(name, name), 2)
    end
    local call = start(self.core, ...)
    return finish(call)
  end

  assoc[name] = function(...)
    expect_dot(..., name)
    local call = start(default().core, ...)
    return finish(call)
  end
end

return assoc
