-- What transport_spec.lua and tls_spec.lua need.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local luasocket = require "socket"

local transport = {}

-- 404 for what reads, 503 for the rest.
function transport.refuse(conn)
  for request in conn.request, conn do
    if request.method == "GET" then conn:json(404, "{}") else conn:json(503, "down", { ["Retry-After"] = "0" }) end
  end
end

-- The first connection's answers are late, and of another type.
function transport.late(conn, n)
  for _ in conn.request, conn do
    if n == 1 then
      conn:sleep(0.4)
      conn:json(200, (conn.OK:gsub("279", "666")))
    else
      conn:ok()
    end
  end
end

-- Answers one call; then the connection must end soon.
function transport.ends_soon(conn)
  conn:serve(1)
  assert(conn:wait_readable(0.4), "the connection stayed open")
  assert(not conn:request(), "not the end")
end

-- A good envelope of so many bytes.
local function envelope_of(size)
  local head, tail = '{"results":[{}],"links":{"x":"', '"}}'
  return head .. ("x"):rep(size - #head - #tail) .. tail
end

function transport.envelope(conn, _, size)
  for _ in conn.request, conn do conn:json(200, envelope_of(size)) end
end

local function gzip_of(body)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(body)
  file:close()
  local pipe = assert(io.popen("gzip -9 <" .. name))
  local small = pipe:read "*a"
  pipe:close()
  os.remove(name)
  return small
end

-- The same in gzip.
transport.envelope_in_gzip = {
  prepare = function(size)
    local small = gzip_of(envelope_of(size))
    assert(#small < 1000)
    return function(conn)
      for _ in conn.request, conn do conn:json(200, small, { ["Content-Encoding"] = "gzip" }) end
    end
  end,
}

-- A good answer with so many KiB of headers.
function transport.long_head(conn, _, kib)
  for _ in conn.request, conn do
    conn:send("HTTP/1.1 200 OK\r\nContent-Length: ", #conn.OK, "\r\n",
      ("X-Filler: " .. ("x"):rep(1012) .. "\r\n"):rep(kib), "\r\n", conn.OK)
  end
end

-- A good answer in one chunk, with a trailer.
function transport.trailer(conn)
  for _ in conn.request, conn do
    conn:head(200, { ["Transfer-Encoding"] = "chunked" })
    conn:send(("%x\r\n"):format(#conn.OK), conn.OK, "\r\n0\r\nX-HubSpot-RateLimit-Max: 5\r\n\r\n")
  end
end

-- A good answer, a byte at a time.
function transport.bytes(conn)
  for _ in conn.request, conn do
    conn:head(200, { ["Content-Length"] = #conn.OK })
    conn:drip(conn.OK, 1000)
  end
end

-- Beside it is a listener whose queue is full: the kernel drops what comes then. The first call's result is its port.
transport.deaf = {
  prepare = function()
    local deaf = assert(luasocket.bind("127.0.0.1", 0, 0))
    local _, port = deaf:getsockname()
    local waiting = {}
    for i = 1, 4 do
      waiting[i] = luasocket.tcp4()
      waiting[i]:settimeout(0)
      waiting[i]:connect("127.0.0.1", port)
    end
    return function(conn)
      conn:request()
      conn:json(200, ('{"results":[{"category":"PORT","typeId":%d}]}'):format(port))
      conn:request()
      return waiting, deaf -- they live as long as the server
    end
  end,
}

-- Opens a tunnel to this port, whatever was asked for.
function transport.tunnel(conn, _, port)
  conn:request()
  conn:send "HTTP/1.1 200 Connected\r\n\r\n"
  local server = socket.connect("127.0.0.1", port)
  server:setmode("b", "bn")
  local done = false
  local function pump(from, to)
    for bytes in function() return from:xread(-65536, "b") end do to:xwrite(bytes, "bn") end
    done = true
  end
  local loop = cqueues.new()
  loop:wrap(pump, conn.socket, server)
  loop:wrap(pump, server, conn.socket)
  while not done do loop:step() end
  server:close()
end

-- Relays to this port. Resets as soon as both sides have been silent for 0.5 s.
function transport.relay(conn, _, port)
  local server = socket.connect("127.0.0.1", port)
  server:setmode("b", "bn")
  local last = cqueues.monotime()
  local function pump(from, to)
    for bytes in function() return from:xread(-65536, "b") end do
      last = cqueues.monotime()
      to:xwrite(bytes, "bn")
    end
  end
  local loop = cqueues.new()
  loop:wrap(pump, conn.socket, server)
  loop:wrap(pump, server, conn.socket)
  while cqueues.monotime() < last + 0.5 do loop:step(0.02) end
  conn:reset()
  server:close()
end

return transport
