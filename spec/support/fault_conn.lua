-- One connection of the fault server, as scripts see it (Lua 5.4, in the server's process).
-- What the peer does is never a script error: reads give nil, writes false once the connection is gone.
local cqueues = require "cqueues"
local luasocket = require "socket"

local Conn = {}
Conn.__index = Conn

Conn.OK = '{"status":"COMPLETE","startedAt":"2026-08-01T10:00:00.000Z","completedAt":"2026-08-01T10:00:00.010Z",'
  .. '"results":[{"category":"HUBSPOT_DEFINED","typeId":279,"userEnforcedMaxToObjectIds":5}]}'

function Conn.new(socket, n, log)
  socket:setmode("b", "bn")
  socket:setmaxline(1024 * 1024)
  socket:onerror(function(_, _, why) return why end)
  return setmetatable({ socket = socket, n = n, log = log }, Conn)
end

-- Reading ----------------------------------------------------------------------------------------------------------

local function read_line(socket)
  local line = socket:xread("*L", "b")
  return line and line:match "^(.-)\r?\n$"
end

local function read_exactly(socket, count)
  if count == 0 then return "" end
  local bytes = socket:xread(count, "b")
  return bytes and #bytes == count and bytes or nil
end

local function read_headers(socket)
  local headers = {}
  for line in function() return read_line(socket) end do
    if line == "" then return headers end
    local name, value = line:match "^([^:]+):%s*(.-)%s*$"
    if not name then return nil end
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
end

local function read_chunks(socket)
  local chunks = {}
  while true do
    local size = tonumber((read_line(socket) or ""):match "^%x+" or "", 16)
    if not size then return nil end
    if size == 0 then return read_headers(socket) and table.concat(chunks) end
    chunks[#chunks + 1] = read_exactly(socket, size)
    if read_line(socket) ~= "" then return nil end
  end
end

-- How many bytes wait behind the request just read: a client that does not pipeline has sent none.
local function count_extra(socket)
  socket:fill(socket:pending() + 1, 0)
  socket:clearerr "r"
  return (socket:pending())
end

-- Reads one whole request and logs it; nil if the stream ends before it is whole. Bytes that came behind it are
-- counted in its field `extra` and stay for the next read.
function Conn:request()
  if self.closed then return nil end
  local socket = self.socket
  local method, path = (read_line(socket) or ""):match "^(%S+) (%S+) HTTP/1%.%d$"
  local headers = method and read_headers(socket)
  if not headers then return nil end
  if (headers.expect or ""):lower() == "100-continue" then self:send "HTTP/1.1 100 Continue\r\n\r\n" end
  local chunked = (headers["transfer-encoding"] or ""):lower():find "chunked"
  local body
  if chunked then body = read_chunks(socket)
  else body = read_exactly(socket, tonumber(headers["content-length"] or 0)) end
  if not body then return nil end
  local request = { connection = self.n, method = method, path = path, headers = headers, body = body,
    at = cqueues.monotime(), extra = count_extra(socket) }
  table.insert(self.log, request)
  return request
end

-- Waits until bytes have arrived, or the peer has closed, and leaves them unread; false if `seconds` passed.
function Conn:wait_readable(seconds)
  if self.closed or self.socket:pending() > 0 then return not self.closed end
  local ready = { pollfd = self.socket:pollfd(), events = "r" }
  return cqueues.poll(ready, seconds) == ready
end

-- Writing ----------------------------------------------------------------------------------------------------------

-- Sends the bytes; false once the peer is gone.
function Conn:send(...)
  local sent = not self.closed and self.socket:xwrite(table.concat { ... }, "bn")
  cqueues.poll(0) -- a fast reader never makes us wait: give the other connections, and stop(), their turn
  return sent and true or false
end

-- Sends byte by byte, `per_second` of them.
function Conn:drip(bytes, per_second)
  for i = 1, #bytes do
    if not self:send(bytes:sub(i, i)) then return false end
    cqueues.sleep(1 / per_second)
  end
  return true
end

-- The start of an answer: status line and headers, with the empty line. Give Content-Length yourself. What is given as
-- body goes along in the same write: in two, the second would wait for the client's acknowledgement of the first.
function Conn:head(status, headers, body)
  local lines = { ("HTTP/1.1 %d Scripted"):format(status) }
  for name, value in pairs(headers or {}) do
    lines[#lines + 1] = name .. ": " .. value
  end
  return self:send(table.concat(lines, "\r\n"), "\r\n\r\n", body or "")
end

-- A whole, well-formed answer; the connection stays open.
function Conn:answer(status, body, headers)
  local all = { ["Content-Length"] = #body }
  for name, value in pairs(headers or {}) do all[name] = value end
  return self:head(status, all, body)
end

function Conn:json(status, body, headers)
  local all = { ["Content-Type"] = "application/json;charset=utf-8" }
  for name, value in pairs(headers or {}) do all[name] = value end
  return self:answer(status, body, all)
end

function Conn:ok(headers)
  return self:json(200, Conn.OK, headers)
end

-- Reads requests and answers them well: `count` of them, or until the peer closes. Returns the last one.
function Conn:serve(count)
  local last
  for _ = 1, count or math.huge do
    local request = self:request()
    if not request then break end
    last = request
    self:ok()
  end
  return last
end

-- Ending -----------------------------------------------------------------------------------------------------------

function Conn.sleep(_, seconds)
  cqueues.sleep(seconds)
end

-- Waits until there is a file of this name: how a spec says that it has come so far.
function Conn.wait_for_file(_, path)
  local file = io.open(path)
  while not file do
    cqueues.sleep(0.005)
    file = io.open(path)
  end
  file:close()
end

-- Makes an empty file: how a server says that it has come so far.
function Conn.make_file(_, path)
  assert(io.open(path, "w")):close()
end

-- Closes: the peer sees the end of the stream, or a reset if it had sent bytes that we have not read.
function Conn:close()
  if self.closed then return end
  self.closed = true
  self.socket:close()
end

-- Closes with RST. cqueues cannot set SO_LINGER; luasocket can, on a descriptor that we lend it.
function Conn:reset()
  if self.closed then return end
  local lent = luasocket.tcp4()
  lent:close()
  lent:setfd(self.socket:pollfd())
  assert(lent:setoption("linger", { on = true, timeout = 0 }))
  lent:setfd(-1)
  self:close()
end

return Conn
