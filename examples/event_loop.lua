--- Several calls at once in an event loop, while a clock goes on ticking in it.
--
--     make && eval "$(make -s env)"
--     simulator/simulator exec lua5.4 examples/event_loop.lua luv
--     simulator/simulator exec lua5.4 examples/event_loop.lua cqueues

local assoc = require "hubspot_assoc"

local name = ...
local client = assoc.new { loop = name }
local under_way = 0

local function read_limits(from, to)
  under_way = under_way + 1
  local limits, errors = client:get_limits(from, to) -- in a coroutine of the loop: the others go on
  print(("%s -> %s: %s"):format(from, to, errors and tostring(errors) or #limits .. " limits"))
  under_way = under_way - 1
end

local function read_all(start)
  start(read_limits, "contacts", "companies")
  start(read_limits, "companies", "contacts")
  start(read_limits, "deals", "contacts")
end

local loops = {}

function loops.luv()
  local uv = require "luv"
  read_all(function(fn, ...) coroutine.wrap(fn)(...) end)
  local timer, ticks = uv.new_timer(), 0
  timer:start(0, 1, function()
    ticks = ticks + 1
    if under_way == 0 then
      timer:close()
    end
  end)
  uv.run() -- ends when nothing is left to wait for
  return ticks
end

function loops.cqueues()
  local cqueues = require "cqueues"
  local controller, ticks = cqueues.new(), 0
  read_all(function(...) controller:wrap(...) end)
  controller:wrap(function()
    repeat
      cqueues.sleep(0.001)
      ticks = ticks + 1
    until under_way == 0
  end)
  assert(controller:loop())
  return ticks
end

if not loops[name] then
  error("which loop? luv or cqueues", 0)
end
print(("%d ticks meanwhile"):format(loops[name]()))
