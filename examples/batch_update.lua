--- Updates limits from contacts to companies in one call, and shows what HubSpot made of each.
--
--     make demo                                        against the simulator
--     HUBSPOT_ACCESS_TOKEN=pat-... lua examples/batch_update.lua     against HubSpot: it CHANGES LIMITS there

local assoc = require "hubspot_assoc"

local inputs = {
  { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 }, -- the pair itself (unlabelled)
  { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 30 }, -- a label
  { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 60 }, -- another
  { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 5000 }, -- more than the pair allows
  { category = "HUBSPOT_DEFINED", typeId = 9999, maxToObjectIds = 1 }, -- no such type
}

local function print_row(...)
  print((("  %-16s %7s %7s   %s"):format(...):gsub("%s+$", "")))
end

--- What identifies the input of an error inside a partial success is in its context.
local function first(context, name)
  local values = context and context[name]
  return values and values[1] or "-"
end

local results, errors, response = assoc.batch_update("contacts", "companies", inputs)

print()
print("  Limits, contacts -> companies")
print()
print_row("category", "typeId", "limit", "")
print_row("----------------", "-------", "-------", "-------")
for _, limit in ipairs(results or {}) do
  print_row(limit.category, limit.typeId, limit.userEnforcedMaxToObjectIds, "updated")
end
for _, err in ipairs(errors or {}) do
  local input = err.context
  print_row(first(input, "category"), first(input, "typeId"), first(input, "maxToObjectIds"), err.category or err.kind)
end
print()

if errors then
  print("  " .. tostring(errors):gsub("\n", "\n  "))
  print()
end
if response then
  print(("  HTTP %d, %s, %.0f ms, %d updated, %d refused"):format(
    response.http_status, response.status or "-",
    response.elapsed * 1000, #(results or {}), #(errors or {})))
  print()
end
os.exit(results and 0 or 1)
