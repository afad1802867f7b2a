-- Event loops, each in the same shape: loop (the option), start(fn) makes a coroutine, sleep(s) in one, run() until
-- nothing is left.
--
--     for _, entry in ipairs(hosts) do local name, new_host, library = entry[1], entry[2], entry[3] ... end
local hosts = {}

function hosts.luv()
  local uv = require "luv"
  local host = { loop = "luv" }
  function host.start(fn)
    local thread = coroutine.create(fn)
    assert(coroutine.resume(thread))
    return thread
  end
  function host.sleep(seconds)
    local thread, timer = coroutine.running(), uv.new_timer()
    timer:start(seconds * 1000, 0, function()
      timer:close()
      assert(coroutine.resume(thread))
    end)
    coroutine.yield()
  end
  function host.run()
    uv.run()
  end
  return host
end

function hosts.cqueues()
  local cqueues = require "cqueues"
  local controller = cqueues.new()
  local host = { loop = "cqueues", sleep = cqueues.sleep, looks_by_itself = false }
  function host.start(fn)
    controller:wrap(fn)
  end
  function host.run()
    assert(controller:loop())
  end
  return host
end

-- A scheduler of somebody's own, on luasocket's select: two functions make it known to us.
function hosts.own()
  local socket = require "socket"
  local watched, timers, host = {}, {}, {}

  local function resume(thread)
    local ok, message = coroutine.resume(thread)
    if not ok then error(message, 0) end
  end
  host.loop = {
    watch = function(fd, on_readable)
      local object = { getfd = function() return fd end, dirty = function() return false end }
      watched[#watched + 1] = object
      watched[object] = on_readable
      return function()
        for i = #watched, 1, -1 do
          if watched[i] == object then table.remove(watched, i) end
        end
        watched[object] = nil
      end
    end,
    suspend = function(start, seconds)
      local thread, timer = coroutine.running(), nil
      if seconds then
        timer = { at = socket.gettime() + seconds, thread = thread }
        timers[#timers + 1] = timer
      end
      start(function()
        for i = #timers, 1, -1 do
          if timers[i] == timer then table.remove(timers, i) end
        end
        resume(thread)
      end)
      coroutine.yield()
    end,
  }
  function host.start(fn)
    local thread = coroutine.create(fn)
    resume(thread)
    return thread
  end
  function host.sleep(seconds)
    timers[#timers + 1] = { at = socket.gettime() + seconds, thread = coroutine.running() }
    coroutine.yield()
  end
  local function next_timer()
    table.sort(timers, function(a, b) return a.at < b.at end)
    return timers[1]
  end
  function host.step()
    local timer = next_timer()
    local ready = socket.select(watched, nil, timer and math.max(0, timer.at - socket.gettime()))
    for _, object in ipairs(ready) do
      if watched[object] then watched[object]() end
    end
    timer = next_timer() -- another one perhaps
    if timer and timer.at <= socket.gettime() then
      table.remove(timers, 1)
      resume(timer.thread)
    end
  end
  function host.run()
    while watched[1] or timers[1] do host.step() end
  end
  return host
end

hosts[1] = { "luv", hosts.luv, "luv" }
hosts[2] = { "cqueues", hosts.cqueues, "cqueues" }
hosts[3] = { "a loop of one's own", hosts.own, "socket" }

-- A library that this Lua's distribution does not have skips its specs; in CI all are there.
function hosts.has(library)
  return os.getenv "CI" ~= nil or (pcall(require, library))
end

return hosts
