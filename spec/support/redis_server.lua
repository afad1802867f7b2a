-- A Redis (or Valkey) server of the spec's own, and redis-lua to talk to it:
--
--   local server = redis_server.start()
--   server.connect()          a client, connected; as limiter.redis wants it. server.port
--   server:signal "STOP"      "CONT", "KILL"
--   server:start_again()      after KILL, at the same port, empty
--   server:flush(), server:stop()
local shell = require "spec.support.shell"
local socket = require "socket"
local system = require "system" -- busted needs it too

local redis_server = {}

local Server = {}
Server.__index = Server

local MOST = 300 -- s, that a server lives if nobody stops it or tells

-- Debian's lua-redis is pure Lua, and in the folders of 5.1 to 5.3 only.
local function load_redis_lua()
  local found, module = pcall(require, "redis")
  if found then return module end
  local path = package.path
  package.path = path .. ";/usr/share/lua/5.1/?.lua"
  found, module = pcall(require, "redis")
  package.path = path
  return assert(found and module, module)
end

redis_server.client = load_redis_lua()

local function capture(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "*a"
  pipe:close()
  return (output:gsub("%s+$", ""))
end

-- The server's program. redis-check-rdb is the same one, which looks at the name that it is called by.
local function program()
  for _, name in ipairs { "redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb" } do
    local path = capture("command -v " .. name)
    if path ~= "" then return path, name:match "^%w+" .. "-server" end
  end
  error "no Redis server: make test installs one"
end

local function free_port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return port
end

function Server:start_again()
  os.execute(([[cd %s && ln -sf %s %s && LD_PRELOAD= timeout -s KILL %d sh -c 'echo $$ >pid; exec ./%s \
    --bind 127.0.0.1 --port %d --save "" --appendonly no --loglevel warning' </dev/null >>log 2>&1 &]]):format(
    shell.quote(self.folder), self.program, self.name, self.lifetime, self.name, self.port))
  local deadline = system.monotime() + 20
  while not self:answers() do
    if system.monotime() > deadline then
      error("the Redis server does not start: " .. capture("cat " .. shell.quote(self.folder) .. "/log"))
    end
    system.sleep(0.02)
  end
  self.pid = tonumber(capture("cat " .. shell.quote(self.folder .. "/pid")))
end

function Server:answers()
  return (pcall(function() return assert(self.connect():ping()) end))
end

function Server:signal(name)
  os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid))
  if name == "KILL" then
    while self:answers() do system.sleep(0.01) end
  end
end

function Server:flush()
  self.connect():flushall()
end

function Server:stop()
  self:signal "KILL"
  os.execute("rm -rf " .. shell.quote(self.folder))
end

-- lifetime: seconds, after which it ends if nobody stops it.
function redis_server.start(lifetime)
  local self = setmetatable({ folder = capture "mktemp -d", port = free_port(), lifetime = lifetime or MOST }, Server)
  self.program, self.name = program()
  function self.connect(timeout)
    return redis_server.client.connect { host = "127.0.0.1", port = self.port, timeout = timeout or 5 }
  end
  self:start_again()
  return self
end

return redis_server
