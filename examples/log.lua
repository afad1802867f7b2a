--- A log of what a client does: a line of JSON for each event.
--
--     local log = require "log"
--     local client = assoc.new { on_event = log(function(line) io.stderr:write(line, "\n") end) }
--
-- A call can be followed by its number; `correlationId` is what HubSpot's support asks for. Tokens are in no event.
-- Or run this file:
--
--     make && eval "$(make -s env)"
--     simulator/simulator exec lua5.4 examples/log.lua

local json = require("cjson").new()

-- A log is read by people, too: what matters comes first.
local FIELDS = { "time", "level", "type", "call", "number", "from", "to", "first", "last", "attempt", "http_status",
  "kind", "delay", "elapsed", "correlationId", "rate_limit" }

local function level_of(event)
  if event.type == "retry" then
    return "warning"
  elseif event.type == "done" then
    return event.kind and "error" or "info"
  end
  return "debug"
end

--- Makes a function for on_event.
-- @param write function(line)
-- @param now function() -> seconds since 1970 (default: os.time)
local function log(write, now)
  return function(event)
    event.time = os.date("!%Y-%m-%dT%H:%M:%SZ", now and now() or nil)
    event.level = level_of(event)
    local parts = {}
    for _, name in ipairs(FIELDS) do
      if event[name] ~= nil then
        parts[#parts + 1] = ("%s:%s"):format(json.encode(name), json.encode(event[name]))
      end
    end
    write("{" .. table.concat(parts, ",") .. "}")
  end
end

if ... then -- required
  return log
end

local assoc = require "hubspot_assoc"
local client = assoc.new { on_event = log(print) }
client:get_limits("contacts", "companies")
client:get_limits("contacts", "nonsense")
