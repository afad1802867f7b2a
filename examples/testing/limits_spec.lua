local testing = require "hubspot_assoc.testing"
local limits = require "limits"

local PAIR = { category = "HUBSPOT_DEFINED", typeId = 279 }

describe("limits.lower", function()
  it("lowers what is higher, also if HubSpot asks for patience", function()
    local fake = testing.new {
      get_limits = { results = { PAIR } },
      batch_update = {
        { status = 429, headers = { ["Retry-After"] = "7" } },
        { results = { { category = "HUBSPOT_DEFINED", typeId = 279, userEnforcedMaxToObjectIds = 5 } } },
      },
    }
    assert.equal(5, limits.lower(fake:client(), "contacts", "companies", 5))
    assert.same({ category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 5 }, fake.requests[3].inputs[1])
    fake:check()
  end)

  it("says why it could not", function()
    local fake = testing.new {
      get_limits = { results = { PAIR } },
      batch_update = { status = 403, body = { category = "MISSING_SCOPES", message = "The token may not do this" } },
    }
    local limit, problem = limits.lower(fake:client(), "contacts", "companies", 5)
    assert.is_nil(limit)
    assert.matches("MISSING_SCOPES: The token may not do this", problem)
  end)
end)
