--- Event loop: cqueues.
--
--     local client = assoc.new { loop = "cqueues" }
--     local controller = cqueues.new()
--     controller:wrap(function() limits = client:get_limits("contacts", "companies") end)
--     assert(controller:loop())

local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local assert, pairs, setmetatable = assert, pairs, setmetatable

local loop = {}

local watched = {} -- descriptor -> on_readable

--- Controller -> { count = of coroutines that wait in it, watchers = descriptor -> true }. Each has watchers of its
-- own: a controller may be dropped, with all that is in it, while others go on.
local states = setmetatable({}, { __mode = "k" })

local function state_of(controller)
  states[controller] = states[controller] or { count = 0, watchers = {} }
  return states[controller]
end

--- A coroutine beside those that wait.
local function watch(state, fd)
  local readable = { pollfd = fd, events = "r" }
  while state.count > 0 and watched[fd] do
    cqueues.poll(readable)
    if watched[fd] then
      watched[fd]()
    end
  end
  state.watchers[fd] = nil
end

local function add_watchers(controller, state)
  for fd in pairs(watched) do
    if not state.watchers[fd] then
      state.watchers[fd] = true
      controller:wrap(watch, state, fd)
    end
  end
end

local function wait(controller, start, seconds)
  local state = state_of(controller)
  local is_resumed, resumed = false, condition.new()
  start(function()
    is_resumed = true
    resumed:signal()
  end)
  state.count = state.count + 1
  add_watchers(controller, state)
  if not is_resumed then
    resumed:wait(seconds)
  end
  state.count = state.count - 1
  if state.count == 0 then
    for fd in pairs(state.watchers) do
      cqueues.cancel(fd) -- its watcher ends
    end
  end
end

--- Has on_readable called whenever the descriptor is readable and a coroutine waits.
-- @return a function that ends this; to be called before the descriptor is closed
function loop.watch(fd, on_readable)
  watched[fd] = on_readable
  return function()
    watched[fd] = nil
    cqueues.cancel(fd)
  end
end

--- Suspends the running coroutine, after it has called start with a function that resumes it; nil or so many seconds
-- at most. A coroutine outside of any controller blocks, as all of cqueues does there.
function loop.suspend(start, seconds)
  local controller = cqueues.running()
  if controller then
    return wait(controller, start, seconds)
  end
  controller = cqueues.new()
  controller:wrap(wait, controller, start, seconds)
  assert(controller:loop())
end

--- Runs a function that may yield beside everything else.
-- @return true; or nil outside of any controller, where it can as well be called at once
function loop.spawn(fn, ...)
  local controller = cqueues.running()
  if not controller then
    return nil
  end
  controller:wrap(fn, ...)
  return true
end

return loop
