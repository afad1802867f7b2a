-- The other way to wake up in nginx, to be measured beside ours: a timer that looks every millisecond while calls are
-- under way. Everything else is loop/ngx.lua's.
local ngx_loop = require "hubspot_assoc.loop.ngx"

local loop = setmetatable({}, { __index = ngx_loop })

local POLL = 0.001 -- s

local stops = {} -- core -> function that stops watching it

function loop.watch(_, on_readable, core)
  if stops[core] then
    return stops[core]
  end
  local is_watched = true
  stops[core] = function() is_watched, stops[core] = false, nil end
  assert(ngx.timer.at(0, function()
    while is_watched do
      on_readable()
      ngx.sleep(POLL)
    end
  end))
  return stops[core]
end

return loop
