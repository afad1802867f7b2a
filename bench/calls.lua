--- What bench/run measures, in Lua:  lua calls.lua WHAT N
-- Makes one call, which is not counted, then N; prints what bench/run says.

local inputs = { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 } }

local PATH = "/crm/associations/v4/definitions/configurations/contacts/companies/batch/update"

local answer = [[{"startedAt":"2026-08-01T10:00:00.000Z","results":[{"category":"HUBSPOT_DEFINED","typeId":279,]]
  .. [["userEnforcedMaxToObjectIds":200}],"status":"COMPLETE","completedAt":"2026-08-01T10:00:00.010Z",]]
  .. [["requestedAt":"2026-08-01T10:00:00.000Z"}]]

local loops = {} -- WHAT -> function() -> function(n), which makes n calls

local function load_ours()
  local assoc = require "hubspot_assoc"
  assoc.configure { ca_file = os.getenv "SIMULATOR_CA_FILE" }
  return assoc
end

function loops.hubspot_assoc()
  local assoc = load_ours()
  return function(n)
    for _ = 1, n do
      assoc.check(assoc.batch_update("contacts", "companies", inputs))
    end
  end
end

local IN_FLIGHT = 200

--- With so many under way at a time.
function loops.hubspot_assoc_async()
  local assoc = load_ours()
  return function(n)
    local left = n
    local function start()
      left = left - 1
      assoc.async.batch_update(assoc.async, "contacts", "companies", inputs):on_done(function(results, errors)
        assoc.check(results, errors)
        if left > 0 then
          start()
        end
      end)
    end
    for _ = 1, math.min(n, IN_FLIGHT) do
      start()
    end
    assoc.drain()
  end
end

--- What cjson alone takes for the same data.
local function encode_and_decode(list, text)
  local cjson = require "cjson"
  return function(n)
    for _ = 1, n do
      cjson.encode({ inputs = list })
      cjson.decode(text)
    end
  end
end

function loops.cjson()
  return encode_and_decode(inputs, answer)
end

-- As many inputs as one request may hold.
local MANY = 2000

--- @param make function(i) -> an input, and the JSON text of its result as HubSpot sends it
local function many(make)
  local list, texts = {}, {}
  for i = 1, MANY do
    list[i], texts[i] = make(i)
  end
  return list, '{"startedAt":"2026-08-01T10:00:00.000Z","results":[' .. table.concat(texts, ",")
    .. '],"status":"COMPLETE","completedAt":"2026-08-01T10:00:00.010Z","requestedAt":"2026-08-01T10:00:00.000Z"}'
end

local function many_limits()
  return many(function()
    return { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 },
      '{"category":"HUBSPOT_DEFINED","typeId":279,"userEnforcedMaxToObjectIds":200}'
  end)
end

local function many_associations()
  return many(function(i)
    local from, to = tostring(100000 + i), tostring(900000 + i)
    return { from = { id = from }, to = { id = to },
        types = { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } } },
      ('{"fromObjectTypeId":"0-1","fromObjectId":%s,"toObjectTypeId":"0-2","toObjectId":%s,"labels":[]}')
        :format(from, to)
  end)
end

local function call_many(name, list)
  local assoc = load_ours()
  return function(n)
    for _ = 1, n do
      assert(#assoc.check(assoc[name]("contacts", "companies", list)) == MANY)
    end
  end
end

function loops.batch_update_many()
  return call_many("batch_update", (many_limits()))
end

function loops.cjson_batch_update_many()
  return encode_and_decode(many_limits())
end

function loops.associate_many()
  return call_many("associate", (many_associations()))
end

function loops.cjson_associate_many()
  return encode_and_decode(many_associations())
end

--- luasocket opens a connection for every call unless one writes HTTP oneself; so this does.
function loops.luasocket()
  local cjson, socket = require "cjson", require "socket"
  local host, port = os.getenv("HUBSPOT_BASE_URL"):match("^http://([^:/]+):(%d+)")
  local connection = assert(socket.connect(host, tonumber(port)))
  connection:setoption("tcp-nodelay", true)
  local function call()
    local body = cjson.encode({ inputs = inputs })
    assert(connection:send(table.concat({
      "POST " .. PATH .. " HTTP/1.1",
      "Host: " .. host .. ":" .. port,
      "Authorization: Bearer " .. os.getenv("HUBSPOT_ACCESS_TOKEN"),
      "Accept: application/json",
      "Content-Type: application/json",
      "Content-Length: " .. #body,
      "",
      body,
    }, "\r\n")))
    assert(connection:receive("*l"):match("^HTTP/1.1 200 "))
    local headers = {}
    for line in function() return connection:receive("*l") end do
      if line == "" then
        break
      end
      local name, value = line:match("^([^:]+):%s*(.*)$")
      headers[name:lower()] = value
    end
    cjson.decode((assert(connection:receive(tonumber(headers["content-length"])))))
  end
  return function(n)
    for _ = 1, n do
      call()
    end
  end
end

--- lua-http's request objects open a connection for every call; so this keeps one, too.
function loops.lua_http()
  local cjson, client, new_headers = require "cjson", require "http.client", require "http.headers".new
  local host, port = os.getenv("HUBSPOT_BASE_URL"):match("^http://([^:/]+):(%d+)")
  local connection = assert(client.connect { host = host, port = tonumber(port), tls = false, version = 1.1 })
  local function call()
    local stream, headers, body = assert(connection:new_stream()), new_headers(), cjson.encode({ inputs = inputs })
    headers:append(":method", "POST")
    headers:append(":authority", host .. ":" .. port)
    headers:append(":path", PATH)
    headers:append("authorization", "Bearer " .. os.getenv "HUBSPOT_ACCESS_TOKEN")
    headers:append("accept", "application/json")
    headers:append("content-type", "application/json")
    headers:append("content-length", tostring(#body))
    assert(stream:write_headers(headers, false))
    assert(stream:write_chunk(body, true))
    assert(assert(stream:get_headers()):get ":status" == "200")
    cjson.decode((assert(stream:get_body_as_string())))
  end
  return function(n)
    for _ = 1, n do
      call()
    end
  end
end

local gettime = require "socket".gettime

local function peak()
  local file = assert(io.open "/proc/self/status")
  local kilobytes = file:read("*a"):match "VmHWM:%s*(%d+)"
  file:close()
  return tonumber(kilobytes)
end

local n = tonumber(arg[2])
local begun = gettime()
local run = loops[arg[1]]()
local loaded = gettime()
run(1)
local first, used = gettime(), os.clock()
run(n)
used = os.clock() - used
print(("%.0f %.0f %.2f %.0f"):format((loaded - begun) * 1e6, (first - loaded) * 1e6, used / n * 1e6, peak()))
