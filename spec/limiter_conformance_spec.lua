-- What every limiter has to do, for all that come with the library, and the client's own pace. (Your own:
-- spec/support/limiter_conformance.lua.)
local conformance = require "spec.support.limiter_conformance"
local fake_redis = require "spec.support.fake_redis"
local file = require "hubspot_assoc.limiter.file"
local redis = require "hubspot_assoc.limiter.redis"
local redis_server = require "spec.support.redis_server"
local shared_dict = require "spec.support.shared_dict"
local shdict = require "hubspot_assoc.limiter.shdict"

local busted = { describe = describe, it = it, before_each = before_each, after_each = after_each, assert = assert }

-- A host whose time is its own; make(options) makes a limiter.
local function virtual(clock, make, stop)
  return {
    now = function() return clock.now end,
    sleep = function(seconds) clock.now = clock.now + seconds end,
    new = function(options)
      options = options or {}
      options.now = function() return clock.now end
      return make(options)
    end,
    stop = stop,
  }
end

-- A path at which there is nothing.
local function new_path()
  local path = os.tmpname()
  os.remove(path)
  return path
end

conformance(busted, "limiter.shdict", function()
  local dict, clock = shared_dict.new()
  return virtual(clock, function(options) return shdict.new(dict, options) end)
end)

conformance(busted, "limiter.file", function()
  local path = new_path()
  return virtual({ now = 1000 }, function(options) return file.new(path, options) end, function() os.remove(path) end)
end)

for _, raises in ipairs { true, false } do
  conformance(busted, "limiter.redis, whose client " .. (raises and "raises errors," or "returns errors,"), function()
    local clock = { now = 1000 }
    local server = fake_redis.new(clock)
    return virtual(clock, function(options)
      return redis.new(server:client { raises = raises }, options)
    end)
  end)
end

conformance(busted, "limiter.redis, whose client yields,", function()
  local clock = { now = 1000 }
  local server = fake_redis.new(clock)
  server.before = coroutine.yield
  local host = virtual(clock, function(options)
    return redis.new(function() return server:client() end, options)
  end)
  function host.run(fn)
    local thread = coroutine.create(fn)
    repeat assert(coroutine.resume(thread)) until coroutine.status(thread) == "dead"
  end
  return host
end)

describe("with a Redis server", function()
  local server
  setup(function() server = redis_server.start() end)
  teardown(function() server:stop() end)

  conformance(busted, "limiter.redis", function()
    server:flush()
    return { new = function(options)
      options = options or {}
      options.timeout = 5 -- a busy machine's
      return redis.new(server.connect, options)
    end }
  end)
end)

conformance(busted, "a client's own pace", function()
  return { options = function(requests, interval)
    return { rate = { requests = requests, interval = interval } }
  end }
end)

conformance(busted, "limiter.file in a client", function()
  local path = new_path()
  return { stop = function() os.remove(path) end, options = function(requests, interval)
    return { limiter = file.new(path, { requests = requests, interval = interval }) }
  end }
end)

conformance(busted, "limiter.redis in a client", function()
  local server
  return { stop = function() server:stop() end, options = function(requests, interval)
    server = redis_server.start()
    return { limiter = redis.new(server.connect, { requests = requests, interval = interval, timeout = 5 }) }
  end }
end)
