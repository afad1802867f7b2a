-- The calls on labels: what goes over the wire, what comes back, and labels in the simulator.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local cjson = require("cjson").new()
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

local unpack = table.unpack or unpack -- luacheck: ignore

local NEW = { name = "manager_employee", label = "Manager", inverseLabel = "Employee" }
local CHANGED = { associationTypeId = 36, label = "Adviser", inverseLabel = "Advised" }
local TWO = '{"results":[{"category":"USER_DEFINED","typeId":145,"label":"Manager"},'
  .. '{"category":"USER_DEFINED","typeId":144,"label":null}]}'
local TWO_DECODED = { { category = "USER_DEFINED", typeId = 145, label = "Manager" },
  { category = "USER_DEFINED", typeId = 144 } }

-- name, what follows the object types, method, what follows `labels`, body as it is sent, answer → results
local CALLS = {
  { "get_labels", nil, "GET", "", nil, { 200, TWO }, TWO_DECODED },
  { "create_label", NEW, "POST", "", NEW, { 200, TWO }, TWO_DECODED },
  { "update_label", CHANGED, "PUT", "", CHANGED, { 204, "" }, true },
  { "delete_label", 36, "DELETE", "/36", nil, { 204, "" }, true },
}

local function invoke(client, name, argument, ...)
  if argument == nil then return client[name](client, "contacts", "2-1234567", ...) end
  return client[name](client, "contacts", "2-1234567", argument, ...)
end

describe("a call on labels", function()
  after_each(fault_server.stop_all)

  for _, version in ipairs { "v4", "2025-09", "2026-03", "2026-09" } do
    for _, case in ipairs(CALLS) do
      local name, argument, method, suffix, body, answer, expected = unpack(case, 1, 7)
      it(("sends what HubSpot takes: %s, %s"):format(name, version), function()
        local client, server = binding.scripted(binding.answer(answer[1], answer[2]), { api_version = version })
        local results, errors, response = invoke(client, name, argument, { timeout = 5 })
        assert.is_nil(errors)
        assert.same(expected, results)
        assert.equal(answer[1], response.http_status)
        local seen = server:stop()
        assert.equal(1, #seen)
        assert.equal(method, seen[1].method)
        assert.equal("/crm/associations/" .. version .. "/contacts/2-1234567/labels" .. suffix, seen[1].path)
        if body then
          assert.same(body, cjson.decode(seen[1].body))
          assert.equal("application/json", seen[1].headers["content-type"])
        else
          assert.equal("", seen[1].body)
          assert.is_nil(seen[1].headers["content-type"])
        end
      end)
    end
  end

  it("decides itself what its results look like, not the server", function()
    local update = { "update_label", CHANGED }
    local delete = { "delete_label", 36 }
    local cases = {
      { update, 200, "{}", true }, { update, 200, "", true }, { update, 201, TWO, true }, { delete, 200, "", true },
      { delete, 202, '{"results":[]}', true },
      { { "create_label", NEW }, 201, '{"results":[]}', {} }, { { "create_label", NEW }, 204, "", {} },
      { { "get_labels" }, 204, "", {} },
    }
    for _, case in ipairs(cases) do
      local client, server = binding.scripted(binding.answer(case[2], case[3]))
      local results, errors, response = invoke(client, case[1][1], case[1][2])
      assert.is_nil(errors)
      assert.same(case[4], results)
      assert.equal(case[2], response.http_status)
      server:stop()
    end
  end)

  it("gives the errors inside a 2xx beside what went well", function()
    local body = '{"numErrors":1,"errors":[{"category":"VALIDATION_ERROR","message":"No inverse"}],"results":'
      .. '[{"category":"USER_DEFINED","typeId":145,"label":"Manager"}]}'
    local client = binding.scripted(binding.answer(207, body))
    local results, errors, response = client:create_label("contacts", "companies", NEW)
    assert.equal(145, results[1].typeId)
    assert.same({ 1, "api", "No inverse", 207 }, { #errors, errors[1].kind, errors[1].message, errors[1].http_status })
    assert.equal(207, response.http_status)
  end)

  it("cannot use a 2xx that is not what HubSpot promises", function()
    for _, body in ipairs { "", "{}", "<html>", '{"results":{"a":1}}' } do
      local client, server = binding.scripted(binding.answer(200, body))
      local results, errors = client:create_label("contacts", "companies", NEW)
      assert.is_nil(results)
      assert.same({ "protocol", true }, { errors[1].kind, errors[1].ambiguous })
      server:stop()
    end
  end)

  it("says which call failed, between which types", function()
    local client = binding.scripted(binding.answer(409, '{"status":"error","category":"CONFLICT","message":"Taken"}'))
    local results, errors, response = client:create_label("contacts", "companies", NEW)
    assert.is_nil(results)
    assert.equal(409, response.http_status)
    assert.matches("^create_label contacts %-> companies: CONFLICT: Taken", tostring(errors))
  end)

  -- A 502 may come after the call was carried out; a 429 never does.
  it("is sent again where that does no harm", function()
    for _, case in ipairs(CALLS) do
      for _, status in ipairs { 502, 429 } do
        local client, server = binding.scripted(
          { "answers.first", status, { ["Retry-After"] = "0" }, '{"results":[]}' }, { max_attempts = 3 })
        local results, errors = invoke(client, case[1], case[2])
        if case[1] == "create_label" and status == 502 then
          assert.is_nil(results)
          assert.same({ 1, true, false, 502 },
            { errors[1].attempts, errors[1].ambiguous, errors[1].retryable, errors[1].http_status })
          assert.equal(1, #server:stop())
        else
          assert.is_nil(errors)
          assert.equal(2, #server:stop())
        end
      end
    end
  end)

  it("is ambiguous where it may have been applied", function()
    for _, case in ipairs(CALLS) do
      local client, server = binding.scripted(binding.answer(500, ""))
      local _, errors = invoke(client, case[1], case[2])
      assert.equal(case[1] ~= "get_labels", errors[1].ambiguous)
      server:stop()
    end
  end)
end)

describe("misuse of a call on labels", function()
  local client, token = binding.client()

  local function label(changes)
    local fields = {}
    for name, value in pairs(NEW) do fields[name] = value end
    for name, value in pairs(changes) do fields[name] = value end
    return fields
  end

  local cases = {
    { "get_labels", { "contacts" }, "#2 to 'get_labels' (to: string expected, got nil)" },
    { "get_labels", { "contacts", "companies", {}, 5 }, "one too many: 'get_labels' takes no more than 3 arguments" },
    { "create_label", { "contacts", "companies" }, "#3 to 'create_label' (label: table expected, got nil)" },
    { "create_label", { "contacts", "companies", "x" }, '(label: table expected, got string "x")' },
    { "create_label", { "contacts", "companies", { NEW } }, "(label: table with named fields expected" },
    { "create_label", { "contacts", "companies", { name = "x" } }, "(label.label: string expected, got nil)" },
    { "create_label", { "contacts", "companies", label { name = "" } }, "(label.name: must not be empty)" },
    { "create_label", { "contacts", "companies", label { label = 5 } }, "(label.label: string expected, got number" },
    { "create_label", { "contacts", "companies", label { label = "\255" } }, "(label.label: must be valid UTF-8)" },
    { "create_label", { "contacts", "companies", label { inverselabel = "x" } }, "did you mean 'inverseLabel'?" },
    { "create_label", { "contacts", "companies", NEW, { batch_size = 5 } }, "(options.batch_size: unknown field" },
    { "update_label", { "contacts", "companies", NEW }, "(label.name: unknown field" },
    { "update_label", { "contacts", "companies", { label = "x" } },
      "#3 to 'update_label' (label.associationTypeId: integer expected, got nil)" },
    { "update_label", { "contacts", "companies", { label = "x", associationTypeId = 2147483648 } },
      "(label.associationTypeId: integer from 0 to 2147483647 expected, got number 2147483648)" },
    { "delete_label", { "contacts", "companies" }, "#3 to 'delete_label' (typeId: integer expected, got nil)" },
    { "delete_label", { "contacts", "companies", "36" }, '(typeId: integer expected, got string "36")' },
    { "delete_label", { "contacts", "companies", 1.5 }, "(typeId: integer expected, got number 1.5)" },
    { "delete_label", { "contacts", "..", 36 }, "#2 to 'delete_label' (to: must not be '.' or '..')" },
  }
  for _, case in ipairs(cases) do
    it("raises: " .. case[3], function()
      local ok, message = pcall(function()
        local results = client[case[1]](client, unpack(case[2]))
        return results
      end)
      assert.is_false(ok)
      assert.matches("^%S*labels_spec%.lua:%d+: bad argument ", message)
      assert.truthy(message:find(case[3], 1, true), message)
      assert.equal(0, simulator.log(token).count)
    end)
  end
end)

for _, version in ipairs(binding.versions) do
  describe("labels in the simulator, " .. version, function()
    local client, token

    before_each(function() client, token = binding.client { api_version = version } end)

    local function labels(from, to)
      local found = {}
      for _, kind in ipairs(assoc.check(client:get_labels(from, to))) do found[kind.typeId] = kind.label or false end
      return found
    end

    it("are read, the unlabelled type among them", function()
      assert.same({ [279] = false, [1] = "Primary", [36] = "Consultant", [38] = "Employee" },
        labels("contacts", "companies"))
    end)

    it("are created, changed and deleted", function()
      local created, errors, response = client:create_label("deals", "tickets", { name = "cause", label = "Cause" })
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.equal(1, #created)
      assert.same({ "USER_DEFINED", "Cause" }, { created[1].category, created[1].label })
      local typeId = created[1].typeId
      assert.equal("Cause", labels("deals", "tickets")[typeId])

      local updated
      local changed = { associationTypeId = typeId, label = "Reason" }
      updated, errors, response = client:update_label("deals", "tickets", changed)
      assert.is_true(updated)
      assert.is_nil(errors)
      assert.equal(204, response.http_status)
      assert.equal("Reason", labels("deals", "tickets")[typeId])

      local deleted
      deleted, errors, response = client:delete_label("deals", "tickets", typeId)
      assert.is_true(deleted)
      assert.is_nil(errors)
      assert.equal(204, response.http_status)
      assert.is_nil(labels("deals", "tickets")[typeId])
    end)

    it("have two ids where they are paired", function()
      local created = assoc.check(client:create_label("contacts", "deals", NEW))
      assert.same({ 2, "Manager", "Employee" }, { #created, created[1].label, created[2].label })
      assert.equal("Manager", labels("contacts", "deals")[created[1].typeId])
      assert.equal("Employee", labels("deals", "contacts")[created[2].typeId])
      assoc.check(client:update_label("deals", "contacts",
        { associationTypeId = created[2].typeId, label = "Report", inverseLabel = "Boss" }))
      assert.equal("Boss", labels("contacts", "deals")[created[1].typeId])
      assoc.check(client:delete_label("contacts", "deals", created[1].typeId))
      assert.is_nil(labels("deals", "contacts")[created[2].typeId])
    end)

    it("may have limits", function()
      local typeId = assoc.check(client:create_label("deals", "tickets", { name = "cause", label = "Cause" }))[1].typeId
      local input = { category = "USER_DEFINED", typeId = typeId, maxToObjectIds = 3 }
      assoc.check(client:batch_create("deals", "tickets", { input }))
      for _, found in ipairs(assoc.check(client:get_limits("deals", "tickets"))) do
        if found.typeId == typeId then assert.equal(3, found.userEnforcedMaxToObjectIds) end
      end
    end)

    it("are refused as HubSpot does", function()
      local cases = {
        { 409, "CONFLICT", "create_label", { name = "consultant", label = "Other" } },
        { 400, "VALIDATION_ERROR", "create_label", { name = "x", label = "" } },
        { 400, "VALIDATION_ERROR", "update_label", { associationTypeId = 279, label = "x" } },
        { 404, "OBJECT_NOT_FOUND", "update_label", { associationTypeId = 999, label = "x" } },
        { 400, "VALIDATION_ERROR", "delete_label", 1 },
        { 404, "OBJECT_NOT_FOUND", "delete_label", 999 },
      }
      for _, case in ipairs(cases) do
        local results, errors = client[case[3]](client, "contacts", "companies", case[4])
        assert.is_nil(results)
        assert.same({ "api", case[1], case[2] }, { errors[1].kind, errors[1].http_status, errors[1].category })
      end
      assert.equal(#cases, simulator.log(token).count)
    end)
  end)
end

describe("the simulator's labels", function()
  it("are ten a pair of one's own, whether single or paired", function()
    local client = binding.client()
    for _, pair in ipairs { { "contacts", "contacts", 0 }, { "companies", "contacts", 2 } } do
      for i = pair[3] + 1, 10 do
        local inverse = i % 2 == 0 and "Inverse " .. i or nil
        local label = { name = "label" .. i, label = "Label " .. i, inverseLabel = inverse }
        assoc.check(client:create_label(pair[1], pair[2], label))
      end
      local results, errors = client:create_label(pair[1], pair[2], { name = "label11", label = "Label 11" })
      assert.is_nil(results)
      assert.same({ 400, "VALIDATION_ERROR" }, { errors[1].http_status, errors[1].category })
    end
  end)
end)
