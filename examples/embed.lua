--- What embed.c runs: hubspot_assoc.core alone, linked into the program.

local assoc = require "hubspot_assoc.core"

local results, errors = assoc.batch_update("contacts", "companies", {
  { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 250 },
})
if errors then
  error(tostring(errors))
end
print(("contacts -> companies: a contact may have %d companies"):format(results[1].userEnforcedMaxToObjectIds))
