-- Answers whose bodies are made there: what client_spec, codec_spec, error_spec and records_spec need.
local bodies = {}

local count, closed = 0, 0

local function results(parts)
  return '{"status":"COMPLETE","results":[' .. table.concat(parts, ",") .. "]}"
end

-- How many connections have ended.
function bodies.closed(conn)
  for _ in conn.request, conn do conn:json(200, ('{"results":[{"closed":%d}]}'):format(closed)) end
  closed = closed + 1
end

-- So many labels.
function bodies.labels(conn, _, n)
  for _ in conn.request, conn do
    local parts = {}
    for i = 1, n do parts[i] = ('{"typeId":%d,"label":"label %d"}'):format(i, i) end
    conn:json(200, results(parts))
  end
end

-- One result with a text of so many bytes.
function bodies.long_text(conn, _, size)
  for _ in conn.request, conn do conn:json(200, ('{"results":[{"text":"%s"}]}'):format(("x"):rep(size))) end
end

-- One result for each id that was asked for, large where the id ends with 7. The second request for 24 is refused.
function bodies.large(conn)
  for request in conn.request, conn do
    local parts = {}
    count = count + (request.body:find('"24"', 1, true) and 1 or 0)
    for id in request.body:gmatch '"id":"(%d+)"' do
      parts[#parts + 1] = ('{"from":{"id":"%s"},"to":[],"filler":"%s"}')
        :format(id, ("x"):rep(id:match "7$" and 5000 or 300))
    end
    conn:json(count == 2 and 403 or 200, results(parts))
  end
end

-- ---- that repeat the token ----

-- In the fields of a 207.
function bodies.token_in_errors(conn)
  local body = '{"status":"COMPLETE","results":[],"numErrors":1,"links":{"a":"%s"},"errors":[{"message":"%s",'
    .. '"context":{"%s":["%s"]}}]}'
  for request in conn.request, conn do conn:json(207, (body:gsub("%%s", request.headers.authorization))) end
end

-- In a text and in headers.
function bodies.token_in_text(conn, _, status, kind)
  for request in conn.request, conn do
    local token = request.headers.authorization
    conn:answer(status, "<p>" .. token .. "</p>" .. ("x"):rep(990) .. token,
      { ["Content-Type"] = kind, ["X-HubSpot-Correlation-Id"] = token, Location = "/" .. token:gsub(" ", "") })
  end
end

-- In JSON, with escapes.
function bodies.token_escaped(conn)
  for request in conn.request, conn do
    local token = request.headers.authorization
    local escaped = token:gsub("/", "\\/")
    local coded = token:gsub(".", function(char) return ("\\u%04x"):format(char:byte()) end)
    conn:json(400, '{"message":"' .. escaped .. '","category":"' .. coded .. '","context":{"' .. escaped
      .. '":["x"],"a":{"' .. coded .. '":1}}}')
  end
end

return bodies
