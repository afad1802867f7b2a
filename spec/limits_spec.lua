-- The calls on association limits, in all versions of the API, against the simulator.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local simulator = require "spec.support.simulator"

local limit = binding.limit
local CREATED = { v4 = 201, ["2026-03"] = 201 }

-- Two ways to make a call: call(name, ...) → results, errors, response.
local styles = {
  { "assoc.", function(options)
    assoc.configure(options)
    return function(name, ...) return assoc[name](...) end
  end },
  { "client:", function(options)
    local client = assoc.new(options)
    return function(name, ...) return client[name](client, ...) end
  end },
}

local function find(results, typeId)
  for _, result in ipairs(results) do
    if result.typeId == typeId then return result end
  end
end

local function prefix(version)
  return "/crm/associations/" .. version .. "/definitions/configurations/"
end

for _, style in ipairs(styles) do
  local make = style[2]
  for _, version in ipairs(binding.versions) do
    describe(style[1] .. " with api_version " .. version, function()
      local call, token

      before_each(function()
        local options
        options, token = binding.simulator_options { api_version = version }
        call = make(options)
      end)

      local function limit_of(typeId)
        return find(assert(call("get_limits", "contacts", "companies")), typeId).userEnforcedMaxToObjectIds
      end

      local function last_call()
        local log = simulator.log(token)
        return log[#log]
      end

      it("updates a limit and returns what HubSpot has now", function()
        local inputs = { limit { maxToObjectIds = 77 } }
        local results, errors, response = call("batch_update", "contacts", "companies", inputs)
        assert.is_nil(errors)
        assert.same({ { category = "HUBSPOT_DEFINED", typeId = 279, userEnforcedMaxToObjectIds = 77, index = 1 } },
          results)
        assert.equal(200, response.http_status)
        local logged = last_call()
        assert.equal("POST", logged.method)
        assert.equal(prefix(version) .. "contacts/companies/batch/update", logged.path)
        assert.equal("application/json", logged.headers["content-type"])
        assert.equal(77, limit_of(279))
      end)

      it("creates a limit", function()
        local results, errors, response = call("batch_create", "contacts", "deals", { limit { typeId = 4 } })
        assert.is_nil(errors)
        assert.same({ { category = "HUBSPOT_DEFINED", typeId = 4, userEnforcedMaxToObjectIds = 5, index = 1 } },
          results)
        assert.equal(CREATED[version] or 200, response.http_status)
        assert.equal(prefix(version) .. "contacts/deals/batch/create", last_call().path)
      end)

      it("purges a limit and returns an empty list", function()
        local input = { category = "USER_DEFINED", typeId = 36 }
        local results, errors, response = call("batch_purge", "contacts", "companies", { input })
        assert.is_nil(errors)
        assert.same({}, results)
        assert.equal(version == "v4" and 204 or 200, response.http_status)
        assert.equal(prefix(version) .. "contacts/companies/batch/purge", last_call().path)
        assert.is_nil(limit_of(36))
      end)

      it("reads the limits of a pair, with no field where there is no limit", function()
        local results, errors, response = call("get_limits", "contacts", "companies")
        assert.is_nil(errors)
        assert.equal(200, response.http_status)
        assert.same({ category = "USER_DEFINED", typeId = 36, label = "Consultant", userEnforcedMaxToObjectIds = 20 },
          find(results, 36))
        assert.same({ category = "HUBSPOT_DEFINED", typeId = 1, label = "Primary" }, find(results, 1))
        local logged = last_call()
        assert.equal("GET " .. prefix(version) .. "contacts/companies", logged.method .. " " .. logged.path)
        assert.is_true(logged.body == nil or logged.body == "")
      end)

      it("reads all limits", function()
        local results, errors, response = call("get_all_limits")
        assert.is_nil(errors)
        assert.equal(200, response.http_status)
        assert.equal(7, #results)
        assert.equal(10, find(results, 3).userEnforcedMaxToObjectIds)
        assert.equal(prefix(version) .. "all", last_call().path)
      end)

      it("gives both what succeeded and what failed", function()
        local results, errors, response = call("batch_update", "contacts", "companies", {
          limit { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 30 },
          limit { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 5000 },
          limit { typeId = 99 },
        })
        assert.same({ { category = "USER_DEFINED", typeId = 36, userEnforcedMaxToObjectIds = 30, index = 1 } },
          results)
        assert.equal(2, #errors)
        assert.same({ 2, 3 }, { errors[1].index, errors[2].index })
        assert.same({ "api", "VALIDATION_ERROR", 207, "38" },
          { errors[1].kind, errors[1].category, errors[1].http_status, errors[1].context.typeId[1] })
        assert.same({ "api", "OBJECT_NOT_FOUND", 207, "99" },
          { errors[2].kind, errors[2].category, errors[2].http_status, errors[2].context.typeId[1] })
        assert.same({ 207, 2, "COMPLETE" }, { response.http_status, response.numErrors, response.status })
        assert.equal(30, limit_of(36))
        assert.equal(50, limit_of(38))
      end)

      it("sends nothing for empty inputs", function()
        for _, name in ipairs { "batch_update", "batch_create", "batch_purge" } do
          local results, errors, response = call(name, "contacts", "companies", {})
          assert.same({}, results)
          assert.is_nil(errors)
          assert.same({ attempts = 0, elapsed = 0 }, response)
        end
        assert.equal(0, simulator.log(token).count)
      end)
    end)
  end
end

describe("a call on limits #valgrind", function()
  local client, token

  before_each(function() client, token = binding.client() end)

  it("gives the rest of the envelope as its response", function()
    local _, _, response = client:batch_update("contacts", "companies", { limit { maxToObjectIds = 90 } })
    assert.equal("COMPLETE", response.status)
    for _, name in ipairs { "requestedAt", "startedAt", "completedAt" } do
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT", response[name])
    end
    assert.is_nil(response.results)
    assert.is_nil(response.errors)
    assert.is_nil(response.requests)
    assert.equal(1, response.attempts)
    assert.is_true(response.elapsed > 0 and response.elapsed < 10)
    assert.is_string(response.correlationId)
    assert.same({ 100, 10000 }, { response.rate_limit.max, response.rate_limit.interval_ms })
  end)

  it("has no envelope fields in a read's response", function()
    local _, _, response = client:get_limits("contacts", "companies")
    assert.is_nil(response.status)
    assert.is_nil(response.results)
    assert.equal(200, response.http_status)
  end)

  it("takes object types by id and by name", function()
    for _, pair in ipairs { { "contacts", "companies" }, { "0-1", "0-2" }, { "contact", "0-2" } } do
      local results, errors = client:batch_update(pair[1], pair[2], { limit { maxToObjectIds = 60 } })
      assert.is_nil(errors)
      assert.equal(60, results[1].userEnforcedMaxToObjectIds)
    end
    assert.matches("/0%-1/0%-2/batch/update$", simulator.log(token)[2].path)
  end)

  it("keeps an object type one segment of the path, whatever it holds", function()
    local odd = {
      ["../x"] = "..%2Fx", ["a/b"] = "a%2Fb", p_thing = "p_thing", ["\195\164"] = "%C3%A4",
      ["a b?c#d%2e"] = "a%20b%3Fc%23d%252e",
    }
    for given, sent in pairs(odd) do
      simulator.clear_log(token)
      local _, errors = client:get_limits(given, "companies")
      assert.equal("api", errors[1].kind)
      assert.equal(prefix "v4" .. sent .. "/companies", simulator.log(token)[1].path)
    end
  end)

  it("sends exactly what it was given", function()
    client:batch_update("contacts", "companies", { limit { maxToObjectIds = 2147483647 } })
    local body = simulator.log(token)[1].body
    assert.same({ inputs = { limit { maxToObjectIds = 2147483647 } } }, require "cjson".new().decode(body))
  end)

  it("sends numbers without a fraction as integers", function()
    client:batch_update("contacts", "companies", { limit { typeId = 2 ^ 8 + 23, maxToObjectIds = 1e6 } })
    local body = simulator.log(token)[1].body
    assert.truthy(body:find '"typeId":279[,}]')
    assert.truthy(body:find '"maxToObjectIds":1000000[,}]')
  end)

  it("fails as a whole when HubSpot refuses it as a whole", function()
    local results, errors, response = client:get_limits("contacts", "no_such_type")
    assert.is_nil(results)
    assert.equal(1, #errors)
    assert.same({ "api", 400, "VALIDATION_ERROR" }, { errors[1].kind, errors[1].http_status, errors[1].category })
    assert.equal(400, response.http_status)
  end)

  it("is refused for a token that is unknown, expired or lacks scopes", function()
    local expected = {
      [simulator.token "noscope"] = { 403, "MISSING_SCOPES" },
      [simulator.token "expired"] = { 401, "EXPIRED_AUTHENTICATION" },
      unknown = { 401, "INVALID_AUTHENTICATION" },
    }
    for given, answer in pairs(expected) do
      local results, errors = assoc.new(binding.simulator_options { access_token = given }):get_all_limits()
      assert.is_nil(results)
      assert.same({ "api", answer[1], answer[2], 1 },
        { errors[1].kind, errors[1].http_status, errors[1].category, errors[1].attempts })
    end
  end)

  it("treats a partial failure of a purge as one", function()
    local results, errors, response = client:batch_purge("contacts", "companies", {
      { category = "USER_DEFINED", typeId = 36 }, { category = "USER_DEFINED", typeId = 12345 } })
    assert.same({}, results)
    assert.equal(1, #errors)
    assert.equal("OBJECT_NOT_FOUND", errors[1].category)
    assert.equal(207, response.http_status)
  end)

  it("takes call options behind its arguments", function()
    local results, errors = client:get_all_limits { timeout = 5, deadline = 6, max_attempts = 2 }
    assert.is_nil(errors)
    assert.equal(7, #results)
    results, errors = client:batch_update("contacts", "companies", { limit { maxToObjectIds = 50 } }, { timeout = 5 })
    assert.is_nil(errors)
    assert.equal(1, #results)
  end)
end)
