--- LÖVE reads this first.

local love = require "love"

function love.conf(t)
  t.window.title = "HubSpot: association limits"
  t.window.width, t.window.height = 640, 400
  for _, module in ipairs { "audio", "sound", "video", "physics", "joystick", "touch" } do
    t.modules[module] = false
  end
end
