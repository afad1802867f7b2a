--- LÖVE: reads the limits of some object pairs, and shows them as they arrive, while it keeps drawing.
--
--     make LUA=luajit && eval "$(make -s env LUA=luajit)"
--     HUBSPOT_ACCESS_TOKEN=pat-... love examples/love
--     simulator/simulator exec love examples/love 120       ends by itself after 120 frames, and says what it has seen

local love = require "love"
local assoc = require "hubspot_assoc"

local client = assoc.new()
local types = { "contacts", "companies", "deals", "tickets" }
local rows = {} -- { pair =, text = }
local frames, frames_wanted, longest = 0, nil, 0

local function describe(limits, errors)
  if errors then
    return errors[1].message
  end
  local texts = {}
  for i, limit in ipairs(limits) do
    texts[i] = ("%s %s"):format(limit.label or "unlabelled", limit.userEnforcedMaxToObjectIds or "any")
  end
  return #texts > 0 and table.concat(texts, ", ") or "no limits"
end

local function read_limits(from, to)
  local row = { pair = from .. " -> " .. to, text = "..." }
  rows[#rows + 1] = row
  client.async:get_limits(from, to):on_done(function(limits, errors)
    row.text = describe(limits, errors)
    row.frame = frames
  end)
end

function love.load(arguments)
  frames_wanted = tonumber(arguments[1])
  for _, from in ipairs(types) do
    for _, to in ipairs(types) do
      if from ~= to then
        read_limits(from, to)
      end
    end
  end
end

local function report()
  for _, row in ipairs(rows) do
    print(("%s: %s (frame %d)"):format(row.pair, row.text, row.frame))
  end
  print(("%d frames; client:step took %.3f ms at most"):format(frames, longest * 1000))
end

function love.update()
  local started = love.timer.getTime()
  client:step(0) -- does not wait; calls the on_done functions of what has arrived
  longest = math.max(longest, love.timer.getTime() - started)
  if frames_wanted and frames >= frames_wanted and client:pending() == 0 then
    report()
    love.event.quit()
  end
end

function love.draw()
  frames = frames + 1
  love.graphics.clear(0.1, 0.12, 0.16)
  for i, row in ipairs(rows) do
    love.graphics.setColor(0.6, 0.7, 0.8)
    love.graphics.print(row.pair, 20, 24 * i)
    love.graphics.setColor(1, 1, 1)
    love.graphics.print(row.text, 220, 24 * i)
  end
  -- Turns for as long as frames are drawn.
  love.graphics.setColor(1, 0.48, 0.35)
  love.graphics.arc("fill", 590, 350, 30, frames / 20, frames / 20 + 5)
end
