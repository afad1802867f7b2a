-- The calls of limits tracking: what goes over the wire, what comes back, and the simulator's answers.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local simulator = require "spec.support.simulator"

local unpack = table.unpack or unpack -- luacheck: ignore

local LONG = "9007199254740993" -- a double cannot hold it

local function prefix(version)
  return version == "v4" and "/crm/v3/limits/associations" or "/crm/limits/" .. version .. "/associations"
end

-- A client whose requests are answered with this body; the list that they are noted in.
local function answered(body, options)
  local requests = {}
  options = options or {}
  options.access_token, options.base_url = "pat-x", "https://hubspot.example"
  options.transport = function(request)
    requests[#requests + 1] = request
    return { status = 200, body = body }
  end
  return assoc.new(options), requests
end

for _, version in ipairs(binding.versions) do
  describe("limits tracking with api_version " .. version, function()
    it("asks at HubSpot's paths", function()
      local cases = {
        { "get_types_at_limit", {}, "/records/from" },
        { "get_types_at_limit", { "0-1" }, "/records/0-1/to" },
        { "get_types_at_limit", { nil, { timeout = 5 }, n = 2 }, "/records/from" },
        { "get_types_at_limit", { "p_a b", { timeout = 5 } }, "/records/p_a%20b/to" },
        { "get_records_at_limit", { "0-1", "0-2" }, "/records/0-1/0-2" },
        { "get_label_usage", {}, "/labels" },
        { "get_label_usage", { { from = "0-1" } }, "/labels?fromObjectTypeId=0-1" },
        { "get_label_usage", { { to = "2-1&2", timeout = 5 } }, "/labels?toObjectTypeId=2-1%262" },
        { "get_label_usage", { { to = "0-2", from = "0-1" } }, "/labels?fromObjectTypeId=0-1&toObjectTypeId=0-2" },
      }
      local client, requests = answered('{"results":[]}', { api_version = version })
      for i, case in ipairs(cases) do
        local results, errors = client[case[1]](client, unpack(case[2], 1, case[2].n))
        assert.is_nil(errors)
        assert.equal("table", type(results))
        assert.same({ "GET", "https://hubspot.example" .. prefix(version) .. case[3] },
          { requests[i].method, requests[i].url })
        assert.is_nil(requests[i].body)
      end
    end)

    it("tells who is at or near a limit", function()
      local client = binding.client { api_version = version }
      assert.same({}, (assert(client:get_types_at_limit())))
      -- Deals may have 10 contacts. One has 10, another 8, a third 1.
      local inputs = {}
      for deal, count in pairs { [LONG] = 10, ["8"] = 8, ["9"] = 1 } do
        for contact = 1, count do inputs[#inputs + 1] = { from = { id = deal }, to = { id = contact } } end
      end
      assert.is_nil(select(2, client:associate_default("deals", "contacts", inputs)))

      local deals = { objectTypeId = "0-3", singularLabel = "deal", pluralLabel = "deals",
        hasRecordsAtLimit = true, hasRecordsNearLimit = true }
      assert.same({ deals }, (client:get_types_at_limit()))
      assert.same({ "0-1" }, { client:get_types_at_limit("deals")[1].objectTypeId })
      assert.same({}, (client:get_types_at_limit("contacts")))

      local records, errors, response = client:get_records_at_limit("deals", "contacts")
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.same({ 10, 1, 1 }, { records.limit, records.totalRecordsAtLimit, records.totalRecordsNearLimit })
      assert.equal(LONG, records.atLimitFromRecordSamples[1].objectId) -- exact, though it comes as a number
      assert.same({ objectId = "8", label = "deal 8", usage = 8, percentage = 80 },
        records.nearLimitFromRecordSamples[1])
      assert.is_nil(client:get_records_at_limit("deals", "tickets").limit)
    end)

    it("tells how many labels a pair has", function()
      local client = binding.client { api_version = version }
      local pairs_found = assert(client:get_label_usage { from = "0-1" })
      assert.equal(1, #pairs_found)
      assert.same({ "0-1", "0-2", 10, 2, 20 }, { pairs_found[1].fromObjectType.objectTypeId,
        pairs_found[1].toObjectType.objectTypeId, pairs_found[1].limit, pairs_found[1].usage,
        pairs_found[1].percentage })
      assert.same({ "Consultant", "Employee" }, pairs_found[1].allLabels)
      assert.equal(2, #client:get_label_usage())
      assert.same({}, (client:get_label_usage { to = "deals" }))
    end)
  end)
end

describe("limits tracking", function()
  it("hands on what HubSpot refuses, and retries as any reading call", function()
    local client, token = binding.client { max_attempts = 2 }
    local results, errors = client:get_records_at_limit("contacts", "nonsense")
    assert.is_nil(results)
    assert.same({ "api", 400, "contacts", "nonsense" },
      { errors[1].kind, errors[1].http_status, errors[1].from, errors[1].to })
    simulator.fault(token, { status = 503 })
    local types, problem, response = client:get_types_at_limit()
    assert.is_nil(problem)
    assert.same({ 0, 2 }, { #types, response.attempts })
  end)

  it("decides itself what its results look like, not the server", function()
    local bodies = { get_types_at_limit = '{"limit":5}', get_label_usage = "[]", get_records_at_limit = "[]" }
    for name, body in pairs(bodies) do
      local client = answered(body)
      local given = name == "get_records_at_limit" and { "a", "b" } or {}
      local results, errors = client[name](client, unpack(given))
      assert.is_nil(results)
      assert.equal("protocol", errors[1].kind)
    end
  end)

  it("names what is wrong with its arguments", function()
    local client = answered "{}"
    local function problem(name, ...)
      return (select(2, pcall(client[name], client, ...)):gsub("^.-bad", "bad"))
    end
    assert.equal("bad argument #1 to 'get_types_at_limit' (from: string expected, got number 5)",
      problem("get_types_at_limit", 5))
    assert.equal("bad argument #2 to 'get_records_at_limit' (to: string expected, got nil)",
      problem("get_records_at_limit", "contacts"))
    assert.equal("bad argument #1 to 'get_label_usage' (options.form: unknown field; did you mean 'from'?)",
      problem("get_label_usage", { form = "contacts" }))
  end)
end)
