--- Limiter: the processes of one machine share one rate, kept in a small file.
--
--     local file = require "hubspot_assoc.limiter.file"
--     local client = assoc.new { limiter = file.new "/run/user/1000/hubspot-rate" }
--
-- The file holds the log of limiter/log.lua, as text, one line a record. Who reads or writes it holds a lock, which the
-- system takes from whoever dies. A process that is killed between two writes leaves a whole log: an entry counts as
-- soon as it is there, and its line is written at once. The times are those of the machine's monotonic clock, which all
-- its processes share, in containers too; it begins anew with the machine, and the log with it.

local ask = require "hubspot_assoc.pcall".ask
local core = require "hubspot_assoc.core"
local logs = require "hubspot_assoc.limiter.log"
local rates = require "hubspot_assoc.limiter.rate"
local shared = require "hubspot_assoc.limiter.shared"

local error, io, math, setmetatable = error, io, math, setmetatable
local table, tonumber, type = table, tonumber, type

local OPTIONS = { "requests", "interval", "prefix", "peers", "timeout", "on_change", "now" }

local TIMEOUT = 1 -- s: others hold the lock for some 20 us, but on a busy machine they may have to stand back meanwhile
local MAX_AHEAD = 1e6 -- s: no time in the log is later
local CLOCKS_AGREE = 1 -- s
local MOST_REPLACED = 8 -- times in a row

-- ---- the file as a store of the log ----

-- Lines of 64 bytes: the head, and a value each with the time until which it holds; then entries of 32 bytes. None
-- crosses a page, so a write is whole or not there.
local MAGIC = "hubspot_assoc limiter "
local VERSION = "1"
local LINE, BLANK = "%-42s %20.0f\n", (" "):rep(63) .. "\n"
local PLACES = { last = 64, hold = 128, late = 192, window = 256 }
local HEAD = 320 -- bytes
local ENTRY, CAPACITY = 32, 16384 -- bytes; entries, then the oldest are overwritten
local DAMAGED = {} -- raised
local UNKNOWN = "unknown" -- boot

local Store = {}
Store.__index = Store

local function to_us(seconds)
  return math.floor(seconds * 1e6 + 0.5)
end

--- What tells one start of the machine from another, where the system says it.
local function boot_id()
  local source = io.open "/proc/sys/kernel/random/boot_id"
  local id = source and source:read "*l"
  if source then
    source:close()
  end
  return id and id:gsub("%-", ""):match "^%x+$" and id:gsub("%-", ""):sub(1, 16) or UNKNOWN
end

local function new_store(path, rate)
  return setmetatable({ path = core.absolute_path(path), rate = rate, now = rate.now, boot = boot_id() }, Store)
end

local function fail(self, why)
  error(("%s: %s; nothing is sent until that is mended, or the limiter given another path"):format(self.path, why), 0)
end

local function read(self, place, length)
  local text, why = self.file:read(place, length)
  return text or fail(self, why)
end

local function write(self, place, text)
  local ok, why = self.file:write(text, place)
  return ok or fail(self, why)
end

--- A value's line: text, time; nil if it is blank.
local function parse(line)
  if line == BLANK then
    return nil
  end
  local text, at = line:match "^(%S+) +(%d+)\n$"
  if not text then
    error(DAMAGED, 0)
  end
  return text, tonumber(at) / 1e6
end

local function line_of(self, name)
  return self.head:sub(PLACES[name] + 1, PLACES[name] + 64)
end

--- `last`, which is written with every entry, keeps the time when that was; the other values end at theirs.
function Store:get(name)
  local text, ends = parse(line_of(self, name))
  if name == "last" then
    return tonumber(text) or 0
  elseif not text or ends <= self.now() then
    return nil
  elseif name == "window" then
    return text
  end
  return (tonumber(text) or error(DAMAGED, 0)) / 1e6
end

local function put_line(self, name, text, at)
  local place, line = PLACES[name], LINE:format(text, math.max(to_us(at), 0))
  write(self, place, line)
  self.head = self.head:sub(1, place) .. line .. self.head:sub(place + 65)
end

function Store:put(name, value, ttl)
  put_line(self, name, name == "window" and value or ("%.0f"):format(to_us(value)), self.now() + ttl)
end

local function place_of(number)
  return HEAD + number % CAPACITY * ENTRY
end

--- The time of an entry, which must be there if it was counted. Of one that was overwritten, the oldest that is left:
-- it was no later.
function Store:entry(number)
  local last = self:get "last"
  number = math.max(number, number >= 1 and last - CAPACITY + 1 or number)
  if number < 1 then
    return nil
  end
  local line = read(self, place_of(number), ENTRY)
  local found, at = line:match "^(%d+) (%d+)\n$"
  if tonumber(found) == number and #line == ENTRY and at / 1e6 < self.now() + MAX_AHEAD then
    return at / 1e6
  elseif number <= last then
    error(DAMAGED, 0)
  end
  return nil
end

function Store:add(number, at)
  write(self, place_of(number), ("%014.0f %016.0f\n"):format(number, math.max(to_us(at), 0)))
  put_line(self, "last", ("%.0f"):format(number), self.now())
  return true
end

-- ---- beginning ----

--- The head's text: it ends with when the log began, which tells it from others, and a sum, for nothing else would tell
-- that a digit of these is damaged.
local function title_of(boot, begun)
  local text, sum = ("%s%s %s %.0f"):format(MAGIC, VERSION, boot, begun), 0
  for i = 1, #text do
    sum = (sum * 31 + text:byte(i)) % 65521
  end
  return ("%s %d"):format(text, sum)
end

--- Begins a new log, in which nobody sends before `hold` (nil: at once). The old entries go first: killed in between,
-- the file is found damaged again.
local function reset(self, hold)
  local now = self.now()
  self.head = table.concat {
    ("%-63s\n"):format(title_of(self.boot, to_us(now))),
    LINE:format("0", to_us(now)), -- last
    hold and LINE:format(("%.0f"):format(to_us(hold)), to_us(hold)) or BLANK,
    BLANK, BLANK, -- late, window
  }
  local size, why = self.file:size()
  local ok = size
  if size and size > HEAD then
    ok, why = self.file:truncate(HEAD)
  end
  if not ok then
    fail(self, why)
  end
  write(self, 0, self.head)
  if read(self, 0, HEAD) ~= self.head then
    fail(self, "this file does not keep what is written to it")
  end
end

--- s for which no log has to be remembered.
local function forgotten_after(self)
  return rates.longest_of(self.rate:windows(self.told))
end

--- Nothing is known of what others have sent: a whole window has to pass.
local function repair(self)
  reset(self, self.now() + forgotten_after(self))
  self.repaired = ("%s was damaged; a new log begins after %.0f s"):format(self.path, forgotten_after(self))
end

--- What the head says: when this log began (us), and whether that was since the machine was started. Raises if the
-- file is not a limiter's.
local function check_head(self)
  if self.head:sub(1, #MAGIC) ~= MAGIC:sub(1, #self.head) then
    fail(self, "this is not a limiter's file; give it a path of its own")
  end
  local version = self.head:match("^(%d+) ", #MAGIC + 1)
  local boot, begun = self.head:match("^%d+ (%S+) (%d+) %d+ *\n", #MAGIC + 1)
  if version and version ~= VERSION then
    fail(self, ("another version of hubspot_assoc uses this file (%s, not %s)"):format(version, VERSION))
  elseif not boot or #self.head < HEAD or title_of(boot, begun) ~= self.head:match "^(.-) *\n" then
    error(DAMAGED, 0)
  end
  return tonumber(begun), boot == self.boot
end

--- Looks at what is there, and begins a log where there is none, or where the clock has begun anew: what was sent
-- before that was sent before its beginning.
-- @return when this log began (us)
local function begin(self)
  self.head = read(self, 0, HEAD)
  if self.head == "" then
    reset(self)
  end
  local begun, is_of_this_boot = check_head(self)
  local _, written = parse(line_of(self, "last"))
  local is_ahead = (written or 0) > self.now() + CLOCKS_AGREE
  if is_of_this_boot and is_ahead and self.boot ~= UNKNOWN then
    fail(self, "its times lie ahead of this process's clock: do not share it between time namespaces")
  elseif not is_of_this_boot or is_ahead then
    reset(self, forgotten_after(self))
    begun = check_head(self)
  end
  self.told = self:get "window" or self.told
  return begun
end

-- ---- the limiter ----

local Far = { pause = 0 } -- a try costs nothing
Far.__index = Far

--- Does what is to be done under the lock, once more where the file was found damaged.
-- @return what fn returns; nil if the file has been replaced since it was opened
local function work(self, fn, ...)
  if not self.store.file:is_at(self.store.path) then
    return nil
  end
  for _ = 1, 2 do
    local ok, result = ask(fn, self, ...)
    if ok then
      return result
    elseif result ~= DAMAGED then
      error(result, 0)
    end
    repair(self.store)
  end
  fail(self.store, "it is damaged again and again")
end

--- Opens the file, if it is not open. (A parent's is another one: its lock would be the parent's, too.)
local function open(store)
  local why
  if store.file and not store.file:is_at(store.path) then
    store.file:close()
    store.file = nil
  end
  if not store.file then
    store.file, why = core.open_file(store.path)
  end
  return store.file or fail(store, why)
end

--- Runs fn under the lock: what it returns; or nil and why there is no lock. Raises where the file cannot be used.
local function locked(self, timeout, fn, ...)
  for _ = 1, MOST_REPLACED do
    local is_locked, result = open(self.store):locked(timeout, work, self, fn, ...)
    if is_locked == nil then
      fail(self.store, result)
    elseif not is_locked then
      return nil, ("%s: its lock is held for more than %.0f ms"):format(self.store.path, timeout * 1000)
    elseif result then
      return result
    end
  end
  return nil, self.store.path .. ": it is replaced again and again"
end

local function reserve(self, cost, most, own)
  local begun = begin(self.store)
  if self.begun and self.begun ~= begun then -- the log that this process knew is lost
    local hold = begun / 1e6 + forgotten_after(self.store)
    self.log:raise("hold", hold, hold - self.now())
  end
  self.begun = begun
  if own.n > 0 then
    self.log:note(math.min(own.n, self.log:windows()[1].requests), self.now() - own.age)
  end
  return self.log:reserve(cost, most)
end

function Far:reserve(cost, most, own, is_away)
  local wait, why = locked(self, is_away and 0 or self.timeout, reserve, cost, most, own)
  if self.store.repaired then
    self.limiter:tell(true, self.store.repaired)
    self.store.repaired = nil
  end
  return wait, why
end

local function learn(self, lesson)
  begin(self.store)
  self.log:learn(lesson)
  return true
end

function Far:learn(lesson)
  return locked(self, self.timeout, learn, lesson)
end

local function encode(prefix)
  return (prefix:gsub("[^%w_.-]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

--- Makes a limiter; all processes make theirs with the same path and options. Nothing is opened before it is used; what
-- is wrong with the path then is the call's error, of kind `config`.
-- @param path of the file, on a local disk, for nothing but one limiter (one account); it is made with mode 0600
-- @param options table or nil: requests (100) in any interval (10 s), which HubSpot's headers correct; if they are
--   given the headers can only lower them. peers (4): how many processes there are; each takes such a part of the rate
--   while the lock cannot be had within timeout (1 s), which happens when its holder is stopped. on_change(change):
--   told when that begins and ends (change.shared, change.reason), and when a damaged file was replaced. prefix: added
--   to the path. now: the clock, a function that returns seconds
-- @return a limiter, for the option `limiter` of a client; raises if the options are wrong
-- @see https://developers.hubspot.com/docs/api/usage-details
local function new(path, options)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    error("bad argument #1 to 'new' (a path expected)", 2)
  end
  local rate = rates.new(options, OPTIONS, core.common_now)
  options = options or {}
  local store = new_store(options.prefix and path .. "." .. encode(options.prefix) or path, rate)
  local far = setmetatable({ store = store, log = logs.new(store, rate), now = rate.now,
    timeout = options.timeout or TIMEOUT }, Far)
  far.limiter = shared.new(rate, options, far)
  return far.limiter
end

return { new = new } --[[@as hubspot_assoc.limiter.file]]
