--- Updates limits from contacts to companies in one request, and shows what HubSpot made of each.
--
--     make demo                                                      against the simulator
--     HUBSPOT_ACCESS_TOKEN=pat-... lua examples/batch_update.lua     against HubSpot: it CHANGES LIMITS there

local assoc = require "hubspot_assoc"

local inputs = {
  { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 }, -- the pair itself (unlabelled)
  { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 30 }, -- a label
  { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 5000 }, -- another: more than the pair allows
  { category = "HUBSPOT_DEFINED", typeId = 9999, maxToObjectIds = 1 }, -- no such type
}

local function print_row(...)
  print((("  %-16s %7s %7s   %s"):format(...):gsub("%s+$", "")))
end

print(("\n  How many companies a contact may have%s: %d limits to update in one request.\n"):format(
  os.getenv "SIMULATOR_URL" and ", in a simulated HubSpot" or "", #inputs))

local results, errors, response = assoc.batch_update("contacts", "companies", inputs)

if results then
  print_row("category", "typeId", "limit", "")
  print_row("----------------", "-------", "-------", "-------")
  for _, limit in ipairs(results) do
    print_row(limit.category, limit.typeId, limit.userEnforcedMaxToObjectIds, "updated")
  end
  for _, err in ipairs(errors or {}) do
    local input = inputs[err.index] or {} -- index: which input it is about, where that is certain
    print_row(input.category or "?", input.typeId or "?", input.maxToObjectIds or "?", err.category or err.kind)
  end
  print()
end
if errors then
  print("  " .. tostring(errors):gsub("\n", "\n  ") .. "\n")
end
if response then
  print(("  HTTP %d, %s, %.0f ms: %d updated, %d refused\n"):format(response.http_status, response.status or "-",
    response.elapsed * 1000, #(results or {}), #(errors or {})))
end
if (os.getenv "HUBSPOT_API_VERSION" or "v4") == "v4" then
  print("  This was API version v4, which HubSpot supports until 30 March 2027.\n"
    .. "  HUBSPOT_API_VERSION=2026-09 moves a program on, and nothing else in it changes.\n")
end
print("  The same without Lua, and an account's limits and labels as a file: hubspot-assoc,\n"
  .. "  which `make install` installs, and docs/as-code.md.\n")
os.exit(results and 0 or 1)
