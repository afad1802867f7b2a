--- The loops that bench/run measures:  lua calls.lua WHAT N

local inputs = { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 } }

local answer = [[{"startedAt":"2026-08-01T10:00:00.000Z","results":[{"category":"HUBSPOT_DEFINED","typeId":279,]]
  .. [["userEnforcedMaxToObjectIds":200}],"status":"COMPLETE","completedAt":"2026-08-01T10:00:00.010Z",]]
  .. [["requestedAt":"2026-08-01T10:00:00.000Z"}]]

local loops = {}

function loops.hubspot_assoc(n)
  local assoc = require "hubspot_assoc"
  for _ = 1, n do
    assoc.check(assoc.batch_update("contacts", "companies", inputs))
  end
end

--- What cjson alone takes for the same data.
local function encode_and_decode(n, list, text)
  local cjson = require "cjson"
  for _ = 1, n do
    cjson.encode({ inputs = list })
    cjson.decode(text)
  end
end

function loops.cjson(n)
  encode_and_decode(n, inputs, answer)
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

local function call_many(n, name, list)
  local assoc = require "hubspot_assoc"
  for _ = 1, n do
    assert(#assoc.check(assoc[name]("contacts", "companies", list)) == MANY)
  end
end

function loops.batch_update_many(n)
  call_many(n, "batch_update", (many_limits()))
end

function loops.cjson_batch_update_many(n)
  encode_and_decode(n, many_limits())
end

function loops.associate_many(n)
  call_many(n, "associate", (many_associations()))
end

function loops.cjson_associate_many(n)
  encode_and_decode(n, many_associations())
end

--- luasocket opens a connection for every call unless one writes HTTP oneself; so this does.
function loops.luasocket(n)
  local cjson = require "cjson"
  local host, port = os.getenv("HUBSPOT_BASE_URL"):match("^http://([^:/]+):(%d+)")
  local connection = assert(require("socket").connect(host, tonumber(port)))
  connection:setoption("tcp-nodelay", true)
  for _ = 1, n do
    local body = cjson.encode({ inputs = inputs })
    assert(connection:send(table.concat({
      "POST /crm/associations/v4/definitions/configurations/contacts/companies/batch/update HTTP/1.1",
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
end

loops[arg[1]](tonumber(arg[2]))
