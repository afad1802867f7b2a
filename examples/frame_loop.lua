--- What frame_loop.c runs. A call begins every few frames; those that have finished are taken in client:step(0), which
-- does not wait.

local assoc = require "hubspot_assoc"

local client = assoc.new()
local pairs_to_read = {
  { "contacts", "companies" }, { "contacts", "deals" }, { "companies", "contacts" },
  { "companies", "deals" }, { "deals", "contacts" }, { "deals", "companies" },
}
local frame, calls = 0, 0

local function begin_call(from, to)
  local begun = frame
  client.async:get_limits(from, to):on_done(function(limits, errors)
    local outcome = errors and tostring(errors) or #limits .. " limits"
    print(("frame %3d: %s -> %s: %s (asked for in frame %d)"):format(frame, from, to, outcome, begun))
  end)
  calls = calls + 1
end

return function()
  frame = frame + 1
  if frame % 5 == 1 and calls < 24 then
    local pair = pairs_to_read[calls % #pairs_to_read + 1]
    begin_call(pair[1], pair[2])
  end
  client:step(0)
  return frame < 180 or client:pending() > 0
end
