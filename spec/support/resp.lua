-- As much of a Redis client as limiter.redis needs, over a connected socket of nginx's; its methods behave as those of
-- lua-resty-redis, which Debian has not in this shape: what fails returns nil, what the server refuses false, and an
-- error.
local resp = {}

local Client = {}
Client.__index = Client

function resp.new(socket)
  return setmetatable({ socket = socket }, Client)
end

local function read_reply(socket)
  local line, why = socket:receive()
  if not line then return nil, why end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "-" then return false, rest end
  if kind ~= "$" then return rest end
  local text
  text, why = socket:receive(tonumber(rest) + 2)
  if not text then return nil, why end
  return text:sub(1, -3)
end

local function send(self, ...)
  local words = { "*" .. select("#", ...) .. "\r\n" }
  for i = 1, select("#", ...) do
    local word = tostring((select(i, ...)))
    words[#words + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  local sent, why = self.socket:send(table.concat(words))
  if not sent then return nil, why end
  return read_reply(self.socket)
end

function Client:eval(...) return send(self, "EVAL", ...) end
function Client:evalsha(...) return send(self, "EVALSHA", ...) end
function Client:set_timeouts(...) return self.socket:settimeouts(...) end
function Client:set_keepalive(...) return self.socket:setkeepalive(...) end
function Client:close() return self.socket:close() end

return resp
