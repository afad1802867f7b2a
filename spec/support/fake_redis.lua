-- A stand-in for a Redis server, for specs of what clients share in one: it runs scripts, one after the other, by the
-- clock: clock.now (s). What is there expires as in Redis. Its clients are as lua-resty-redis's, or, where raises is
-- true, as redis-lua's.
--
--   local server = fake_redis.new(clock)
--   local client = server:client { raises = true }
--   server.trouble = "timeout"        every command fails with it, until it is nil; "late": it is done all the same
--   server.before = function(client) end    called before each command
local fake_redis = {}

local Server = {}
Server.__index = Server

function fake_redis.new(clock)
  return setmetatable({ clock = clock, hashes = {}, ends = {}, known = {}, commands = {}, skew = 0 }, Server)
end

local function time(self)
  return self.clock.now + self.skew
end

-- A hash that is there, or nil.
local function find(self, key)
  if (self.ends[key] or math.huge) <= self.clock.now then self.hashes[key], self.ends[key] = nil, nil end
  return self.hashes[key]
end

local COMMANDS = {}

function COMMANDS.TIME(self)
  local seconds = math.floor(time(self))
  return { ("%.0f"):format(seconds), ("%.0f"):format(math.floor((time(self) - seconds) * 1e6)) }
end

function COMMANDS.HGET(self, key, field)
  local hash = find(self, key)
  return hash and hash[field] or false
end

function COMMANDS.HSET(self, key, field, value)
  assert(type(field) == "string" and type(value) == "string", "whole numbers, as text: no version rounds it")
  local hash = find(self, key) or {}
  self.hashes[key] = hash
  hash[field] = value
  return 1
end

function COMMANDS.HDEL(self, key, field)
  local hash = find(self, key)
  if hash then hash[field] = nil end
  return 1
end

function COMMANDS.PTTL(self, key)
  if not find(self, key) then return -2 end
  return self.ends[key] and math.floor((self.ends[key] - self.clock.now) * 1000) or -1
end

function COMMANDS.PEXPIRE(self, key, ms)
  if find(self, key) then self.ends[key] = self.clock.now + tonumber(ms) / 1000 end
  return 1
end

local function compile(script, env)
  local chunk
  if rawget(_G, "setfenv") then
    chunk = setfenv(assert(loadstring(script, "=script")), env) -- luacheck: ignore
  else
    chunk = assert(load(script, "=script", "t", env))
  end
  return chunk
end

local function run(self, script, n, ...)
  local arguments, keys = { ... }, {}
  for i = 1, n do keys[i] = table.remove(arguments, 1) end
  for i, argument in ipairs(arguments) do arguments[i] = tostring(argument) end
  return compile(script, { KEYS = keys, ARGV = arguments, string = string, math = math, table = table, ipairs = ipairs,
    tonumber = tonumber, tostring = tostring, type = type, redis = {
      call = function(name, key, ...)
        assert(name == "TIME" or key == keys[1], "a key that was not declared")
        self.calls = (self.calls or 0) + 1
        return COMMANDS[name](self, key, ...)
      end,
    } })()
end

-- What a command brings: its answer, or nil or false and an error.
local function command(self, client, name, script, ...)
  if self.before then self.before(client) end
  self.commands[#self.commands + 1] = name
  if client.is_broken then return nil, "closed" end
  if self.trouble then
    client.is_broken = client.breaks
    if self.trouble == "late" then run(self, self.text, ...) end
    return nil, self.trouble
  end
  if name == "evalsha" then
    if not self.known[script] then return false, "NOSCRIPT No matching script. Please use EVAL." end
    return run(self, self.known[script], ...)
  end
  self.known[self.sha1 or "?"], self.text = script, script
  return run(self, script, ...)
end

-- A client; breaks: it is of no use any more after trouble.
function Server:client(options)
  local client = { breaks = options and options.breaks }
  for _, name in ipairs { "eval", "evalsha" } do
    client[name] = function(red, script, ...)
      assert(red == client)
      if name == "evalsha" then self.sha1 = script end
      local answer, why = command(self, client, name, script, ...)
      if not answer and options and options.raises then error("redis error: " .. why, 0) end
      return answer, why
    end
  end
  return client
end

-- As FLUSHALL, or a restart without persistence: scripts are forgotten at a restart only.
function Server:flush(forgets_scripts)
  self.hashes, self.ends = {}, {}
  if forgets_scripts then self.known = {} end
end

return fake_redis
