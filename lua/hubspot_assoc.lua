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
-- client.async has the same methods; they return a future at once. step, pending and drain are functions of the module,
-- too: those of the default client.

local client_module = require "hubspot_assoc.client"
local core = require "hubspot_assoc.core"

local error, pairs, require, tostring = error, pairs, require, tostring
local expect_dot = client_module.expect_dot

---@type hubspot_assoc
local assoc = { _VERSION = core._VERSION }

--- Makes a client.
-- @param options table or nil: access_token (string, or function(reason, rejected) -> token, or nil and a message or an
--   error table), base_url, api_version ("v4", "2025-09", ...), timeout, connect_timeout, deadline (s), max_attempts,
--   max_response_bytes, rate ({ requests =, interval = (s) } or false), limiter (a table of two methods, in place of
--   rate), transport (function(request), in place of the network), skip_waits (boolean),
--   proxy, ca_file, allow_http, max_connections, user_agent, on_event (function(event)), io_thread (boolean), loop
--   ("luv", "cqueues", "ngx", or a table of two functions). docs/reference.md tells their defaults.
-- @return client; raises if an option is unknown or wrong
function assoc.new(options)
  expect_dot(options, "new")
  local client = client_module.new(options, 2, "new")
  return client
end

--- Replaces the client that the module's functions use, and those of hubspot_assoc.core.
-- @param options as in assoc.new
-- @return the client; raises as assoc.new does
function assoc.configure(options)
  expect_dot(options, "configure")
  local client = client_module.new(options, 2, "configure")
  client_module.set_default(client)
  return client
end

--- Returns its arguments, or raises tostring(errors) if there are errors, partial failure included.
function assoc.check(results, errors, response)
  expect_dot(results, "check")
  if errors then
    error(tostring(errors), 0)
  end
  return results, errors, response
end

--- Makes a list of errors as calls return it: it prints, concatenates, and works with check. For what is built on this
-- library, and for tests.
-- @param list of tables with at least kind ("api", "throttled", "timeout", "transport", "protocol", "canceled",
--   "config", "pending") and message, and any other fields of an error; or of strings, which become errors of kind
--   "config". Errors that a call returned are taken as they are, other tables are copied.
-- @return errors; raises if the list is empty, or an element is no error
function assoc.errors(list)
  expect_dot(list, "errors")
  local errors = core.errors(list, 2)
  return errors
end

--- Makes what takes the place of an access token: the tokens of an OAuth app, refreshed ahead of their end. Clients may
-- share it: assoc.new { access_token = oauth }. HubSpot: Authentication > OAuth > Manage OAuth tokens.
-- @param options table: client_id, client_secret (strings), refresh_token (string, or function() -> the latest one,
--   where several processes share it; or none, and oauth:exchange), on_refresh (function(tokens), called with the
--   tokens of every refresh before they are used; it may yield. If it raises, the calls fail with that and it is called
--   again with the same tokens; the old access token is used as long as it is good); and those of the client that asks
--   HubSpot, as in assoc.new: base_url, timeout, connect_timeout, deadline, max_attempts, transport, skip_waits, proxy,
--   ca_file, allow_http, user_agent, on_event, loop (default: that of the client whose call waits)
-- @return oauth, with oauth:exchange(code, redirect_uri [, code_verifier]) -> tokens, or nil and errors. Raises if an
--   option is unknown or wrong.
function assoc.oauth(options)
  expect_dot(options, "oauth")
  local oauth = require "hubspot_assoc.oauth".new(options, 2)
  return oauth
end

--- The default client's, which is made on first use.
assoc.async = client_module.default_async

client_module.add_functions(assoc)

-- The rooms over calls, what whole jobs need: file -> its methods, by which it is loaded when one is called first.
local ROOMS = {
  bulk = { "bulk" },
  iterators = { "list_all", "read_all" },
  labels = { "label_types" },
  limits = { "set_limits" },
}
for room, names in pairs(ROOMS) do
  client_module.add_methods(assoc, room, names)
end

return assoc
