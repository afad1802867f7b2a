--- Limiter: processes of many machines share one rate, kept in a Redis (or Valkey) server.
--
--     local redis = require "redis" -- redis-lua; lua-resty-redis in nginx: see `new`
--     local limiter = require "hubspot_assoc.limiter.redis"
--     local client = assoc.new { limiter = limiter.new(function() return redis.connect("10.0.0.5", 6379) end) }
--
-- The server holds the log of limiter/log.lua in one hash (so it may be one of a cluster), and one script does there
-- what log.lua does elsewhere, by the server's clock.

local rates = require "hubspot_assoc.limiter.rate"
local protected = require "hubspot_assoc.pcall"
local shared = require "hubspot_assoc.limiter.shared"

local ask, pcall = protected.ask, protected.pcall
local error, math, setmetatable = error, math, setmetatable
local table, tonumber, tostring, type = table, tonumber, tostring, type

local OPTIONS = { "requests", "interval", "prefix", "peers", "timeout", "on_change", "release", "now" }

local TIMEOUT = 0.05 -- s
local PAUSE = 1 -- s, until a server that was slow or gone is tried again

-- All times are integers, in us. (Redis before 5 repeats a script on its replicas unless it is told to send them what
-- was written: with a clock that would not be the same.)
local SCRIPT = [[
local key, echo, operation = KEYS[1], ARGV[1], ARGV[2]
local MEMORY = 10e6 -- as in limiter/log.lua
if redis.replicate_commands then redis.replicate_commands() end

local function text(number) return string.format("%.0f", number) end
local function get(field) return tonumber(redis.call("HGET", key, field) or nil) end
local function put(field, value) redis.call("HSET", key, field, type(value) == "number" and text(value) or value) end
local function argument(i) return tonumber(ARGV[i]) end

-- The server's clock may be set back, and another server's may be behind: the log's goes on.
local clock = redis.call("TIME")
local now = clock[1] * 1e6 + clock[2]
local shift = get "shift" or 0
if now + shift < (get "seen" or 0) then
  shift = get "seen" - now
  put("shift", shift)
end
now = now + shift
put("seen", now)

local function kept(field, otherwise) -- a value that holds until a time
  if (get(field .. "_ends") or 0) <= now then return otherwise end
  return redis.call("HGET", key, field)
end
local function keep(field, value, ttl)
  put(field, value)
  put(field .. "_ends", now + ttl)
end

local last, first = get "last" or 0, get "first" or 1
local late = tonumber(kept("late", 0))
local function time_of(number) return get(text(number)) or -math.huge end

local longest, windows = 0, {} -- each is { requests, wait }
local function read_windows(own_requests, own_wait, is_ceiling)
  local told = kept "window"
  if told then
    local requests, wait = string.match(told, "^(%d+):(%d+)$")
    windows[1] = { tonumber(requests), tonumber(wait) }
  end
  if not told or is_ceiling then table.insert(windows, { own_requests, own_wait }) end
  for _, window in ipairs(windows) do longest = math.max(longest, window[2] + late) end
end

-- The hash lives as long as anything in it matters; of the entries, so do the last ones.
local function append(n, at)
  at = math.max(at, time_of(last))
  for _ = 1, n do
    last = last + 1
    put(text(last), at)
  end
  put("last", last)
  for _ = 1, 2 * n do
    if first >= last or time_of(first) >= now - longest - MEMORY then break end
    redis.call("HDEL", key, text(first))
    first = first + 1
  end
  put("first", first)
end
local function live_until(at)
  local ms = math.ceil((at - now + longest + MEMORY) / 1000)
  if redis.call("PTTL", key) < ms then redis.call("PEXPIRE", key, text(ms)) end
end

local function count_since(since)
  local low, high = 0, 1
  while time_of(last + 1 - high) > since do low, high = high, high * 2 end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if time_of(last + 1 - middle) > since then low = middle else high = middle end
  end
  return low
end

-- cost, most (-1: any time), the caller's own window and whether it is a ceiling, the log that the caller knows (when
-- it began, or 0: none), and what it has sent that is not in it: n, age
local function reserve()
  local cost, most = argument(3), argument(4)
  read_windows(argument(5), argument(6), ARGV[7] == "1")
  live_until(now)
  for _, window in ipairs(windows) do
    if cost > window[1] then return echo .. " cost " .. text(window[1]) end
  end
  local begun, known = get "begun", argument(8)
  if not begun then
    begun = now
    put("begun", begun)
  end
  if known > 0 and known ~= begun and begun + longest > tonumber(kept("hold", 0)) then
    keep("hold", begun + longest, math.max(begun + longest - now, 0)) -- the log that it knew is lost
  end
  if argument(9) > 0 then append(math.min(argument(9), windows[1][1]), now - argument(10)) end
  local at = math.max(now, tonumber(kept("hold", 0)), time_of(last))
  for _, window in ipairs(windows) do
    at = math.max(at, time_of(last + cost - window[1]) + window[2] + late)
  end
  if most < 0 or at - now <= most then append(cost, at) end
  live_until(math.max(at, time_of(last)))
  return table.concat({ echo, text(at - now), text(begun) }, " ")
end

-- window (or ""), its ttl, used (-1: unknown), age, hold, late, late_ttl (0: none), own window, is it a ceiling
local function learn()
  if ARGV[3] ~= "" then keep("window", ARGV[3], argument(4)) end
  read_windows(argument(10), argument(11), ARGV[12] == "1")
  local used, age, hold = argument(5), argument(6), argument(7)
  if used >= 0 and age + late <= MEMORY then
    local window = windows[1]
    local ours = count_since(now - age - window[2] - late) - count_since(now)
    append(math.max(math.min(used - ours, window[1]), 0), now)
  end
  if hold > 0 and now + hold > tonumber(kept("hold", 0)) then keep("hold", now + hold, hold) end
  if argument(8) > late then keep("late", argument(8), argument(9)) end
  live_until(math.max(time_of(last), now + math.max(hold, argument(9), argument(4))))
  return echo
end

return operation == "reserve" and reserve() or operation == "learn" and learn()
]]
local SHA1 = "27a59a89913f735fb5101714fc495f6bd776fb89" -- of SCRIPT; spec/limiter_redis_spec.lua checks it

local function to_us(seconds)
  return ("%.0f"):format(seconds * 1e6)
end

-- ---- connections ----

local Far = {}
Far.__index = Far

--- What a client does not wait for longer: luasocket's, then lua-resty-redis's.
local function set_timeout(red, timeout)
  local socket = type(red.network) == "table" and red.network.socket -- redis-lua
  if socket then
    socket:settimeout(timeout)
  elseif red.set_timeouts then
    red:set_timeouts(timeout * 1000, timeout * 1000, timeout * 1000)
  elseif red.set_timeout then
    red:set_timeout(timeout * 1000)
  end
end

--- Which of the methods that are needed a Redis client does not have, or nil.
local function find_missing(red)
  return not red.eval and "eval" or not red.evalsha and "evalsha" or nil
end

local function is_client(value)
  return (type(value) == "table" or type(value) == "userdata") and not find_missing(value)
end

--- A connection that nobody uses at this moment; or nil and why there is none, if not because the only one is in use.
local function take(self)
  local red = table.remove(self.idle)
  if red or not self.connect then
    return red
  end
  local ok, made, why = ask(self.connect, self.timeout)
  if not ok or type(made) ~= "table" then
    return nil, tostring(ok and why or made)
  elseif find_missing(made) then
    return nil, ("what was returned as a connected Redis client has no method '%s'"):format(find_missing(made))
  end
  return made
end

local function close(red)
  local socket = type(red.network) == "table" and red.network.socket
  if red.close or socket then
    pcall((red.close and red or socket).close, red.close and red or socket)
  end
end

--- After trouble a connection may still bring an old answer: it is not used again, if there can be another.
local function give_back(self, red, is_sound)
  if is_sound and self.release then
    ask(self.release, red)
  elseif is_sound or not self.connect then
    table.insert(self.idle, red)
  else
    close(red)
  end
end

--- redis-lua raises errors, lua-resty-redis returns them.
-- @return the script's answer, or nil and why there is none
local function evaluate(red, method, script, ...)
  local ok, answer, why = pcall(red[method], red, script, 1, ...)
  if ok and type(answer) == "string" then
    return answer
  end
  return nil, tostring(ok and why or answer)
end

local function run(red, ...)
  local answer, why = evaluate(red, "evalsha", SHA1, ...)
  if not answer and why:find("NOSCRIPT", 1, true) then
    answer, why = evaluate(red, "eval", SCRIPT, ...)
  end
  return answer, why
end

--- Ctrl-C, as Lua's interpreter raises it, is no trouble of the server's.
local function pass_on_interrupt(reason)
  if reason and reason:find("interrupted!", 1, true) then
    error(reason, 0)
  end
end

--- Runs the script on a connection.
-- @return what it answered, behind the echo, or nil; why there is no answer, or should be no other question for a while
local function script(self, ...)
  local red, why = take(self)
  if not red then
    return nil, why
  end
  self.count = self.count + 1
  local echo, started = ("%.0f"):format(self.count), self.rate.now()
  pcall(set_timeout, red, self.timeout)
  local answer, reason = run(red, self.key, echo, ...)
  local rest = answer and answer:match("^" .. echo .. "( ?.*)$")
  if answer and not rest then
    reason = "the connection brought the answer of another request"
  elseif rest and self.rate.now() - started > self.timeout then
    reason = ("it took more than %g s to answer"):format(self.timeout)
  end
  give_back(self, red, rest ~= nil)
  pass_on_interrupt(reason)
  return rest, reason
end

-- ---- the limiter ----

local function own_window(self)
  local own = self.rate.own
  return ("%.0f"):format(own.requests), to_us(own.wait), self.rate.is_ceiling and "1" or "0"
end

function Far:reserve(cost, most, own)
  local requests, wait, is_ceiling = own_window(self)
  local answer, why = script(self, "reserve", cost, most and to_us(math.min(most, 1e9)) or -1, requests, wait,
    is_ceiling, self.begun or "0", own.n, to_us(own.age))
  if not answer then
    return nil, why
  end
  local us, begun = answer:match "^ (%d+) (%d+)$"
  if not us then
    rates.refuse_cost(cost, tonumber(answer:match "%d+"), 4)
  end
  self.begun = begun
  return us / 1e6, why
end

function Far:learn(lesson)
  local requests, wait, is_ceiling = own_window(self)
  return script(self, "learn", lesson.window and rates.with_wait(lesson.window) or "", to_us(lesson.window_ttl or 0),
    lesson.used or -1, to_us(lesson.age), to_us(lesson.hold or 0), to_us(lesson.late or 0), to_us(lesson.late_ttl or 0),
    requests, wait, is_ceiling)
end

--- Makes a limiter; all processes make theirs with the same server, prefix and options. Redis 3.2 or newer, or Valkey.
-- @param client function(timeout) that returns a connected client, or nil and why there is none; called when one is
--   needed, also after trouble. Or such a client, which is then tried again as it is. It has the methods eval and
--   evalsha, which raise (redis-lua) or return nil or false and an error (lua-resty-redis), and may yield.
-- @param options table or nil: requests (100) in any interval (10 s), which HubSpot's headers correct; if they are
--   given the headers can only lower them. prefix ("hubspot_assoc:") of the key: one for each account. timeout (0.05 s)
--   of an answer: where the server takes longer, or is gone, each process has one of `peers` (4) parts of the rate, and
--   tries the server again every second. on_change(change): told of both (change.shared, change.reason).
--   release(client): in nginx, where a connection is one request's, puts it into nginx's pool after each use
-- @return a limiter, for the option `limiter` of a client; raises if the options are wrong
-- @see https://developers.hubspot.com/docs/api/usage-details
local function new(client, options)
  if type(client) ~= "function" and not is_client(client) then
    error("bad argument #1 to 'new' (a Redis client with methods eval and evalsha expected, or a function that returns "
      .. "one)", 2)
  end
  local rate = rates.new(options, OPTIONS)
  options = options or {}
  local is_function = type(client) == "function"
  return shared.new(rate, options, setmetatable({
    rate = rate, key = (options.prefix or "hubspot_assoc:") .. "rate", count = 0, timeout = options.timeout or TIMEOUT,
    pause = PAUSE, connect = is_function and client or nil, idle = { not is_function and client or nil },
    release = options.release,
  }, Far))
end

return { new = new } --[[@as hubspot_assoc.limiter.redis]]
