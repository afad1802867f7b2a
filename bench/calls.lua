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
function loops.cjson(n)
  local cjson = require "cjson"
  for _ = 1, n do
    cjson.encode({ inputs = inputs })
    cjson.decode(answer)
  end
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
