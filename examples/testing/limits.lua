--- Code of your own, as you would write it anyhow: it is given a client, or the module, to ask.

local limits = {}

--- Lowers the limit of the pair itself. Returns the limit as it is now; or nil and why it was not lowered.
function limits.lower(hubspot, from, to, most)
  local known, errors = hubspot:get_limits(from, to)
  if errors then
    return nil, tostring(errors)
  end
  for _, limit in ipairs(known) do
    if not limit.label and (limit.userEnforcedMaxToObjectIds or math.huge) > most then
      local changed
      changed, errors = hubspot:batch_update(from, to, {
        { category = limit.category, typeId = limit.typeId, maxToObjectIds = most },
      })
      return not errors and changed[1].userEnforcedMaxToObjectIds or nil, errors and tostring(errors)
    end
  end
  return nil, "it is not higher"
end

return limits
