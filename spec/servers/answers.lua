-- Well-formed answers.
local answers = {}

local count = 0

-- The same to every request.
function answers.always(conn, _, status, body, headers)
  for _ in conn.request, conn do conn:json(status, body, headers) end
end

-- The same, in which @ is the request's body, as it came and percent-decoded; so is a header.
function answers.repeating(conn, _, status, body)
  for request in conn.request, conn do
    local form = request.body .. " " .. request.body:gsub("%%(%x%x)", function(hex) return string.char("0x" .. hex) end)
    conn:json(status, (body:gsub("@", (form:gsub("%%", "%%%%")))), { ["X-HubSpot-Correlation-Id"] = form })
  end
end

-- HubSpot's batch envelope, after so many seconds.
function answers.after(conn, _, seconds)
  for _ in conn.request, conn do
    conn:sleep(seconds)
    conn:ok()
  end
end

-- This to the first request of all, and 200 with this body to all others.
function answers.first(conn, _, status, headers, body)
  for _ in conn.request, conn do
    count = count + 1
    if count == 1 then conn:json(status, "", headers) else conn:json(200, body) end
  end
end

-- Sends the inputs of each request back as its results.
function answers.echo(conn)
  for request in conn.request, conn do
    conn:json(200, '{"status":"COMPLETE","results":' .. request.body:match '^{"inputs":(.*)}$' .. "}")
  end
end

-- Interim answers for as long as the client reads.
function answers.endless_hints(conn)
  for _ in conn.request, conn do
    repeat until not conn:send(("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"):rep(100))
  end
end

-- No length: the body ends with the connection.
function answers.until_the_end(conn)
  for _ in conn.request, conn do
    conn:head(200)
    conn:send(conn.OK)
    conn:close()
  end
end

-- Each byte is a chunk.
function answers.in_chunks(conn)
  for _ in conn.request, conn do
    conn:head(200, { ["Transfer-Encoding"] = "chunked" })
    for byte in conn.OK:gmatch "." do conn:send("1\r\n", byte, "\r\n") end
    conn:send "0\r\n\r\n"
  end
end

-- This status, and where it leads to everything is well.
function answers.moved(conn, _, status)
  for request in conn.request, conn do
    conn:answer(request.path == "/moved" and 200 or status, "", { Location = "/moved" })
  end
end

local function bytes(hex)
  return (hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

-- What the input's category asks for: status-headers-body, the last two in hexadecimal.
function answers.asked(conn)
  for request in conn.request, conn do
    local status, lines, body = request.body:match '"category":"(%d+)%-(%x*)%-(%x*)"'
    local headers = {}
    for name, value in bytes(lines):gmatch "([^:\n]+): ([^\n]*)" do headers[name] = value end
    conn:json(tonumber(status), bytes(body), headers)
  end
end

return answers
