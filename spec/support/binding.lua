-- What the specs of the binding share: clients on the simulator, servers that give one answer, child Luas.
local fault_server = require "spec.support.fault_server"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local binding = {}

binding.versions = { "v4", "2025-09", "2026-03", "2026-09", "2027-03" }

-- Sends the inputs of each request back as its results.
binding.echo = "answers.echo"

-- An input of batch_update; `changes` go over it.
function binding.limit(changes)
  local input = { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 5 }
  for name, value in pairs(changes or {}) do input[name] = value end
  return input
end

-- Inputs with typeId 1 to n.
function binding.limits(n)
  local inputs = {}
  for i = 1, n do inputs[i] = binding.limit { typeId = i } end
  return inputs
end

-- Options without pacing and retries; `changes` go over them.
function binding.options(changes)
  local options = { rate = false, max_attempts = 1 }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

-- Options for the simulator, with a token of their own: options, token.
function binding.simulator_options(changes)
  local token = simulator.token()
  local options = binding.options { base_url = simulator.url, access_token = token }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options, token
end

-- A client on the simulator with an account of its own: client, token.
function binding.client(changes)
  local options, token = binding.simulator_options(changes)
  return require "hubspot_assoc".new(options), token
end

-- A client of a fault server that runs this script: client, server.
function binding.scripted(script, changes)
  local server = fault_server.start(script)
  local options = binding.options { base_url = server.url, access_token = "pat-scripted" }
  for name, value in pairs(changes or {}) do options[name] = value end
  return require "hubspot_assoc".new(options), server
end

-- A server that gives the same answer to every request. `body` may be bytes of any kind; `headers`: name → value.
function binding.answer(status, body, headers)
  return { "answers.always", status, body, headers or {} }
end

-- Bytes as a Lua literal without any byte that a shell or a Lua could take amiss.
function binding.literal(bytes)
  return '"' .. bytes:gsub("[^%w %.,:_{}%[%]-]", function(byte) return ("\\%03d"):format(byte:byte()) end) .. '"'
end

local asked_server

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- One call, batch_update unless told, to a server that gives this answer: results, errors, response. The server stays,
-- until fault_server.stop_all, for the next such call. `body` may be any bytes; `headers`: name → value.
function binding.receive(body, status, headers, call, changes)
  if not asked_server or asked_server.stopped then asked_server = fault_server.start "answers.asked" end
  local options = binding.options { base_url = asked_server.url, access_token = "pat-scripted" }
  for name, value in pairs(changes or {}) do options[name] = value end
  local client = require "hubspot_assoc".new(options)
  local lines = {}
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value .. "\n" end
  local input = binding.limit { category = ("%d-%s-%s"):format(status or 200, hex(table.concat(lines)), hex(body)) }
  call = call or "batch_update"
  if call == "batch_purge" then input.maxToObjectIds = nil end
  return client[call](client, "contacts", "companies", { input })
end

-- The URL of a port where nobody listens.
function binding.closed_url()
  local server = fault_server.start "return function() end"
  server:stop()
  return server.url
end

-- Is `text` in the value or in anything that it holds? Answers where.
function binding.find_text(value, text, place, seen)
  place, seen = place or "it", seen or {}
  if type(value) == "string" then return value:find(text, 1, true) and place end
  if type(value) ~= "table" or seen[value] then return nil end
  seen[value] = true
  if tostring(value):find(text, 1, true) then return "tostring(" .. place .. ")" end
  for key, field in pairs(value) do
    local found = binding.find_text(key, text, place .. "'s keys", seen)
      or binding.find_text(field, text, place .. "." .. tostring(key), seen)
    if found then return found end
  end
end

-- The Lua that runs the specs.
local function interpreter()
  local first = 0
  while arg and arg[first - 1] do first = first - 1 end
  return first < 0 and arg[first] or os.getenv "LUA"
end

-- Runs code in a child of the same Lua, with none of HubSpot's variables in its environment but those given (name →
-- value): what it printed, errors too.
function binding.run(code, environment)
  local words = { "exec env" }
  for _, name in ipairs { "HUBSPOT_ACCESS_TOKEN", "HUBSPOT_BASE_URL", "HUBSPOT_API_VERSION" } do
    words[#words + 1] = "-u " .. name
  end
  for name, value in pairs(environment or {}) do words[#words + 1] = shell.quote(name .. "=" .. value) end
  words[#words + 1] = shell.quote(interpreter()) .. " -e " .. shell.quote(code) .. " 2>&1 </dev/null"
  local pipe = assert(io.popen(table.concat(words, " ")))
  local output = pipe:read "*a"
  pipe:close()
  return (output:gsub("\n$", ""))
end

return binding
