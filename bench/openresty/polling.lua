-- The other way to wake up in nginx, to be measured beside ours: a timer that looks every millisecond while calls are
-- under way. Everything else is loop/ngx.lua's.
local ngx_loop = require "hubspot_assoc.loop.ngx"

local loop = setmetatable({}, { __index = ngx_loop })

local POLL = 0.001 -- s

function loop.watch(_, on_readable)
  local is_watched = true
  assert(ngx.timer.at(0, function()
    while is_watched do
      on_readable()
      ngx.sleep(POLL)
    end
  end))
  return function() is_watched = false end
end

return loop
