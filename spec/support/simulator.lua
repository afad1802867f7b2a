-- The HubSpot simulator as specs use it (see simulator/README.md). Specs run inside `simulator/simulator exec …`, which
-- sets the variables below; `make test` does that.
local cjson = require("cjson").new()
local shell = require "spec.support.shell"

local simulator = {
  url = os.getenv "SIMULATOR_URL",
  https_url = os.getenv "SIMULATOR_HTTPS_URL",
  ca_file = os.getenv "SIMULATOR_CA_FILE",
}

local tokens = 0

local function random_hex()
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = file:read(6)
  file:close()
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- A token nobody else uses, and so an account of its own. `kind` is a word by which the simulator knows how to receive
-- it: "expired" or "noscope".
function simulator.token(kind)
  tokens = tokens + 1
  return ("pat-simulator-%s%d-%s"):format(kind and kind .. "-" or "", tokens, random_hex())
end

-- Any HTTP request to the simulator: status and body text.
function simulator.request(method, path, body)
  assert(simulator.url, "SIMULATOR_URL is not set: run specs by `make test`, or inside `simulator/simulator exec`")
  local pipe = assert(io.popen(shell.helper("http.lua", method, simulator.url .. path, body)))
  local status = tonumber(pipe:read "*l" or nil)
  local text = pipe:read "*a"
  pipe:close()
  return assert(status, "the simulator did not answer"), text
end

local function control(method, path, fields)
  local status, text = simulator.request(method, "/simulator/" .. path, fields and cjson.encode(fields))
  if status ~= 200 then error(("%s /simulator/%s: %d %s"):format(method, path, status, text), 3) end
  return cjson.decode(text)
end

-- POSTs to a control endpoint: simulator.control("rate", { token = token, max = 5 }). Gives the decoded answer; raises
-- if the simulator refuses.
function simulator.control(path, fields)
  return (control("POST", path, fields))
end

-- Queues a fault for the calls of a token: simulator.fault(token, { status = 503, times = 2 }).
function simulator.fault(token, fault)
  local fields = { token = token }
  for name, value in pairs(fault) do fields[name] = value end
  return (control("POST", "faults", fields))
end

-- The calls that a token has made, oldest first: an array of { method, path, query, body, headers, status or closed,
-- time, connection, … }. Its field `count` counts all, also those that the simulator no longer keeps. `after`: only
-- those with a higher number.
function simulator.log(token, after)
  local answer = control("GET", ("log?token=%s&after=%d"):format(token, after or 0))
  answer.calls.count = answer.count
  return answer.calls
end

-- The largest number of a log's calls within any `interval` seconds.
function simulator.busiest(log, interval)
  local most, first = 0, 1
  for last, call in ipairs(log) do
    while call.time - log[first].time >= interval do first = first + 1 end
    most = math.max(most, last - first + 1)
  end
  return most
end

-- How many of a log's calls were beyond the rate.
function simulator.refused(log)
  local n = 0
  for _, call in ipairs(log) do
    if call.status == 429 then n = n + 1 end
  end
  return n
end

function simulator.clear_log(token)
  return (control("DELETE", "log?token=" .. token))
end

return simulator
