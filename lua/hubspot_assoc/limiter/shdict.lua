--- Limiter: nginx's workers share one rate, kept in a lua_shared_dict.
--
--     lua_shared_dict hubspot 1m;                                        -- in nginx.conf
--
--     local shdict = require "hubspot_assoc.limiter.shdict"
--     local client = assoc.new { limiter = shdict.new(ngx.shared.hubspot) }
--
-- A limiter is a table of two methods, which may yield (these here do not):
--   limiter:reserve(cost, most) -> seconds until so many requests may be sent; more than `most` if none were reserved
--   limiter:observe(rate_limit) learns from an answer: max, remaining, interval_ms, and in seconds retry_after (all
--     are to hold still), late (how much later than reserved the request left) and age (how long ago it left); any of
--     them may be absent
-- They are asked and told in a Lua frame of the call's own, so they may do whatever the host can wait for; the call's
-- deadline ends it. What is reserved is not given back.

local logs = require "hubspot_assoc.limiter.log"
local rates = require "hubspot_assoc.limiter.rate"

local error, math, setmetatable, type = error, math, setmetatable, type

local OPTIONS = { "requests", "interval", "prefix", "now" }

-- ---- the dictionary as a store of the log ----

local Store = {}
Store.__index = Store

--- Nothing is written in a way that could push other entries out when the dictionary is full.
local function write(dict, method, key, value, ttl)
  local ok, why = dict[method](dict, key, value, ttl)
  if why == "no memory" then
    dict:flush_expired()
    ok, why = dict[method](dict, key, value, ttl)
  end
  if not ok and why ~= "exists" then
    error(("the shared dictionary: %s (lua_shared_dict gives it its size)"):format(why), 0)
  end
  return ok
end

local function key_of(self, number)
  return ("%ssent:%d"):format(self.prefix, number)
end

function Store:get(name)
  return self.dict:get(self.prefix .. name)
end

function Store:put(name, value, ttl)
  write(self.dict, "safe_set", self.prefix .. name, value, ttl)
end

function Store:entry(number)
  return self.dict:get(key_of(self, number))
end

--- Counts an entry, and one more where the count is behind. (To add is harmless at any later time; to set is not.)
local function count_up(self, number)
  local behind = number - (self:get "last" or 0)
  if behind > 0 and not self.dict:incr(self.prefix .. "last", math.min(behind, 2)) then
    write(self.dict, "safe_add", self.prefix .. "last", 1)
  end
end

function Store:add(number, at, ttl)
  if not write(self.dict, "safe_add", key_of(self, number), at, ttl) then
    return false
  end
  count_up(self, number)
  return true
end

--- Makes a limiter; all workers make theirs with the same dictionary, prefix and options.
-- @param dict of lua_shared_dict: ngx.shared.NAME, for nothing but limiters
-- @param options table or nil: requests (100) in any interval (10 s), which HubSpot's headers correct; if they are
--   given the headers can only lower them. prefix ("hubspot_assoc:") of the keys: one for each account. now: the clock,
--   a function that returns seconds
-- @return a limiter, for the option `limiter` of a client; raises if the options are wrong
-- @see https://developers.hubspot.com/docs/api/usage-details
local function new(dict, options)
  if type(dict) ~= "table" or type(dict.safe_add) ~= "function" then
    error("bad argument #1 to 'new' (a shared dictionary expected: ngx.shared.NAME, which nginx.conf declares by "
      .. "lua_shared_dict NAME 1m)", 2)
  end
  local rate = rates.new(options, OPTIONS)
  local prefix = options and options.prefix or "hubspot_assoc:"
  return logs.new(setmetatable({ dict = dict, prefix = prefix }, Store), rate)
end

return { new = new } --[[@as hubspot_assoc.limiter.shdict]]
