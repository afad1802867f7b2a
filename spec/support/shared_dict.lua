-- A stand-in for nginx's shared dictionary, for specs of what workers share in one: dict, clock. Its operations are
-- atomic and do what the Lua module's do; entries expire by the clock: clock.read() gives the time clock.now (s).
--
--   local dict, clock = shared_dict.new { capacity = 100 }     entries; unlimited unless told
--   clock.now = clock.now + 1
--   dict.before = function(name) ... end                        called before each operation
local shared_dict = {}

local Dict = {}
Dict.__index = Dict

function shared_dict.new(options)
  local clock = { now = 1000 }
  function clock.read() return clock.now end
  local capacity = options and options.capacity or math.huge
  return setmetatable({ clock = clock, entries = {}, count = 0, capacity = capacity }, Dict), clock
end

local function begin(self, name)
  if self.before then self.before(name) end
end

local function remove(self, key)
  if self.entries[key] then self.count = self.count - 1 end
  self.entries[key] = nil
end

local function find(self, key)
  local entry = self.entries[key]
  return entry and entry.ends > self.clock.now and entry or nil
end

local function store(self, key, value, ttl)
  assert(type(key) == "string" and key ~= "")
  assert(type(value) == "number" or type(value) == "string" or type(value) == "boolean", "it holds plain values only")
  assert(ttl == nil or ttl >= 0)
  if not self.entries[key] then
    if self.count >= self.capacity then return nil, "no memory" end
    self.count = self.count + 1
  end
  self.entries[key] = { value = value, ends = ttl and ttl > 0 and self.clock.now + ttl or math.huge }
  return true
end

function Dict:get(key)
  begin(self, "get")
  local entry = find(self, key)
  if entry then return entry.value end
end

function Dict:safe_set(key, value, ttl)
  begin(self, "safe_set")
  return store(self, key, value, ttl)
end

function Dict:safe_add(key, value, ttl)
  begin(self, "safe_add")
  if find(self, key) then return false, "exists" end
  return store(self, key, value, ttl)
end

function Dict:incr(key, value)
  begin(self, "incr")
  local entry = find(self, key)
  if not entry then return nil, "not found" end
  if type(entry.value) ~= "number" then return nil, "not a number" end
  entry.value = entry.value + value
  return entry.value
end

function Dict:delete(key)
  begin(self, "delete")
  remove(self, key)
end

function Dict:flush_all()
  begin(self, "flush_all")
  self.entries, self.count = {}, 0
end

function Dict:flush_expired()
  begin(self, "flush_expired")
  for key in pairs(self.entries) do
    if not find(self, key) then remove(self, key) end
  end
end

return shared_dict
