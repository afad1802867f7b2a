-- client:label_types: labels by their names; and the hint for who passes a row of get_labels in place of a type.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local hosts = require "spec.support.loop_hosts"
local simulator = require "spec.support.simulator"

local unpack = table.unpack or unpack -- luacheck: ignore

local function ids(types)
  local list = {}
  for i, kind in ipairs(types) do list[i] = kind.associationCategory .. ":" .. kind.associationTypeId end
  return list
end

-- A client of a server that gives these labels in every direction: a list of { category, id, label or nil }.
local function client_with(labels)
  local rows = {}
  for i, label in ipairs(labels) do
    rows[i] = ('{"category":"%s","typeId":%d,"label":%s}')
      :format(label[1], label[2], label[3] and '"' .. label[3] .. '"' or "null")
  end
  return binding.scripted(binding.answer(200, '{"results":[' .. table.concat(rows, ",") .. "]}"))
end

for _, version in ipairs { "v4", "2026-09" } do
  describe("label_types with " .. version, function()
    it("makes types for associate of labels' names", function()
      local client = binding.client { api_version = version }
      local types, errors, response = client:label_types("contacts", "companies")
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.same({ "USER_DEFINED:38" }, ids(types:of "Employee"))
      assert.same({ "HUBSPOT_DEFINED:279" }, ids(types:of "unlabelled"))
      assert.same({ "USER_DEFINED:36", "HUBSPOT_DEFINED:1" }, ids(types:of("Consultant", "Primary", "Consultant")))
      assert.same({ "USER_DEFINED:38" }, ids(types:of "USER_DEFINED:38"))
      assert.same({ "unlabelled", "Primary", "Consultant", "Employee" }, types:names())
      assert.equal("hubspot_assoc.label_types: contacts -> companies", tostring(types))

      local results
      results, errors = client:associate("contacts", "companies", {
        { from = { id = 1 }, to = { id = 2 }, types = types:of("Employee", "Consultant") },
      })
      assert.is_nil(errors)
      table.sort(results[1].labels)
      assert.same({ "Consultant", "Employee" }, results[1].labels)
      results, errors = client:associate_one("companies", 2, "contacts", 1, types:inverse():of "Employer")
      assert.is_nil(errors)
      assert.same({ "Employer" }, results.labels)
    end)
  end)
end

describe("label_types", function()
  after_each(fault_server.stop_all)

  it("reads once for each client, in both directions where labels may be paired", function()
    local client, token = binding.client()
    local types = client:label_types("contacts", "companies")
    assert.equal(types, client:label_types("contacts", "companies"))
    assert.equal(client:label_types("companies", "contacts"), types:inverse())
    assert.equal(types, types:inverse():inverse())
    assert.equal(2, simulator.log(token).count)
    client:label_types("contacts", "deals")
    client:label_types("contacts", "contacts")
    assert.equal(4, simulator.log(token).count)
    assert.is_nil(client:label_types("contacts", "contacts"):inverse():of "Manager")
    assert.equal(4, simulator.log(token).count)
    local other, other_token = binding.client()
    assert.not_equal(types, other:label_types("contacts", "companies"))
    assert.equal(2, simulator.log(other_token).count)
  end)

  it("knows both sides of a paired label of one object type", function()
    local client = binding.client()
    assert.is_nil(select(2, client:create_label("contacts", "contacts", { name = "m", label = "Manager",
      inverseLabel = "Report" })))
    local types = client:label_types("contacts", "contacts")
    assert.equal(1, #types:of "Manager")
    assert.not_same(types:of "Manager", types:of "Report")
    assert.equal(types, types:inverse())
  end)

  it("reads anew when told to, into the same object", function()
    local client = binding.client()
    local types = client:label_types("contacts", "companies")
    local inverse = types:inverse()
    assert.is_nil(types:of "Adviser")
    client:create_label("contacts", "companies", { name = "a", label = "Adviser", inverseLabel = "Advised" })
    assert.is_nil(types:of "Adviser")
    assert.equal(types, types:refresh())
    assert.equal(1, #types:of "Adviser")
    assert.equal(1, #inverse:of "Advised")
  end)

  it("keeps what it has where that fails", function()
    local client, token = binding.client()
    simulator.fault(token, { status = 500, times = 1 })
    local types, errors, response = client:label_types("contacts", "companies")
    assert.is_nil(types)
    assert.same({ "api", 500, "get_labels" }, { errors[1].kind, errors[1].http_status, errors[1].call })
    assert.equal(500, response.http_status)
    simulator.fault(token, { skip = 1, status = 500, times = 1 })
    types, errors = client:label_types("contacts", "companies")
    assert.is_nil(types)
    assert.same({ 500, "companies" }, { errors[1].http_status, errors[1].from })
    types = client:label_types("contacts", "companies") -- no failure is kept
    simulator.fault(token, { status = 500, times = 1 })
    local same
    same, errors = types:refresh()
    assert.same({ nil, 500 }, { same, errors[1].http_status })
    assert.equal(1, #types:of "Employee")
    assert.equal(types, types:refresh())
  end)

  it("returns errors for names that it does not know, and says what is near", function()
    local client = binding.client()
    local types = client:label_types("contacts", "companies")
    local function error_of(name)
      local list, errors = types:of(name)
      assert.is_nil(list)
      assert.same({ 1, "config", name, 0, false }, { #errors, errors[1].kind, errors[1].label, errors[1].attempts,
        errors[1].retryable })
      return errors[1].message
    end
    assert.equal('no label is named "employee"; did you mean "Employee"?', error_of "employee")
    assert.equal('no label is named "Emplyee"; did you mean "Employee"?', error_of "Emplyee")
    assert.equal('no label is named "unlabeled"; did you mean "unlabelled"?', error_of "unlabeled")
    assert.equal('no label is named "x"; there are "unlabelled", "Primary", "Consultant", "Employee"'
      .. "; of labels made since these were read types:refresh() tells", error_of "x")
    assert.equal('no label is named ""; there are "unlabelled", "Primary", "Consultant", "Employee"'
      .. "; of labels made since these were read types:refresh() tells", error_of "")
    assert.equal('"Employer" is its name in the other direction, companies -> contacts: associate from there, with '
      .. 'types:inverse():of("Employer")', error_of "Employer")
    assert.matches("no label is named", error_of "USER_DEFINED:39")
    local list, errors = types:of("Employee", "A", "B")
    assert.is_nil(list)
    assert.same({ "A", "B" }, { errors[1].label, errors[2].label })
    assert.matches('^2 errors:\n%- label_types contacts %-> companies: config: no label is named "A"', tostring(errors))
    assert.is_false((pcall(assoc.check, types:of "A")))
  end)

  it("refuses a name that several have, and says how they are told apart", function()
    local client = client_with { { "HUBSPOT_DEFINED", 279 }, { "HUBSPOT_DEFINED", 5, "Billing" },
      { "USER_DEFINED", 5, "Billing" }, { "USER_DEFINED", 7, "billing" }, { "USER_DEFINED", 8, "unlabelled" } }
    local types = client:label_types("contacts", "companies")
    local list, errors = types:of("Billing")
    assert.is_nil(list)
    assert.equal('2 association types are named "Billing"; say which one: "HUBSPOT_DEFINED:5", "USER_DEFINED:5"',
      errors[1].message)
    assert.same({ "USER_DEFINED:5" }, ids(types:of "USER_DEFINED:5"))
    assert.same({ "USER_DEFINED:7" }, ids(types:of "billing"))
    assert.matches('2 association types are named "unlabelled"', select(2, types:of "unlabelled")[1].message)
    assert.same({ "HUBSPOT_DEFINED:279", "USER_DEFINED:8" }, ids(types:of("HUBSPOT_DEFINED:279", "USER_DEFINED:8")))
  end)

  it("gives a new list each time", function()
    local types = client_with { { "HUBSPOT_DEFINED", 279 } }:label_types("contacts", "companies")
    local list = types:of "unlabelled"
    list[1].associationTypeId = 5
    assert.same({ "HUBSPOT_DEFINED:279" }, ids(types:of "unlabelled"))
  end)

  it("copes with an object type that has no labels", function()
    local client, server = client_with {}
    local types = client:label_types("contacts", "companies")
    assert.same({}, types:names())
    assert.equal('no label is named "Employee"; there are none'
      .. "; of labels made since these were read types:refresh() tells", select(2, types:of "Employee")[1].message)
    assert.equal(1, #server:stop())
  end)

  it("takes nothing for a label that is none", function()
    local client = binding.scripted(binding.answer(200, '{"results":[null,5,"x",{},{"category":5,"typeId":1},'
      .. '{"category":"USER_DEFINED","typeId":"7","label":"A"},{"category":"USER_DEFINED","typeId":8,"label":{}},'
      .. '{"category":"USER_DEFINED","typeId":9,"label":"B"}]}'))
    local types = client:label_types("contacts", "companies")
    assert.same({ "B" }, types:names())
    local done, errors = client:set_limits("contacts", "companies", { B = false })
    assert.same({}, done)
    assert.is_nil(errors)
  end)

  it("raises for misuse, before anything is sent", function()
    local client, token = binding.client()
    local function message(fn, ...)
      local ok, text = pcall(function(...) fn(...) end, ...)
      assert.is_false(ok)
      assert.matches("label_types_spec.lua:%d+: ", text)
      return text:match ": (.*)"
    end
    assert.equal("bad argument #1 to 'label_types' (from: string expected, got nil)",
      message(client.label_types, client))
    assert.matches("^bad argument #2 to 'label_types' %(to: ", message(client.label_types, client, "contacts", ".."))
    assert.equal("bad argument #3 to 'label_types' (options.timeot: unknown field; did you mean 'timeout'?)",
      message(client.label_types, client, "contacts", "companies", { timeot = 1 }))
    assert.equal(0, simulator.log(token).count)
    local types = client:label_types("contacts", "companies")
    assert.equal('bad argument #1 to \'of\' (the name of a label expected, or "unlabelled", got no value)',
      message(types.of, types))
    assert.equal('bad argument #2 to \'of\' (the name of a label expected, or "unlabelled", got nil)',
      message(types.of, types, "Employee", nil))
    for _, name in ipairs { "of", "names", "inverse", "refresh" } do
      assert.equal(("'%s' is a method of label types: call it with a colon, types:%s(...)"):format(name, name),
        message(types[name], "Employee"))
    end
  end)

  it("is a function of the module, too", function()
    local token = simulator.token()
    local output = binding.run([[
      local assoc = require "hubspot_assoc"
      print(assoc.label_types("contacts", "deals"):of("unlabelled")[1].associationTypeId)]],
      { HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = simulator.url })
    assert.equal("4", output)
  end)

  it("lets nothing of a client keep the client", function()
    local seen = setmetatable({}, { __mode = "k" })
    do
      local client = binding.client()
      client:label_types("contacts", "companies")
      seen[client] = true
    end
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(next(seen))
  end)

  it("shares a request among those who ask at the same time", function()
    if not hosts.has "luv" then return pending "(no luv for this Lua)" end
    local client, token = binding.client { loop = "luv" }
    local uv = require "luv"
    local found = {}
    for i = 1, 3 do
      coroutine.wrap(function() found[i] = client:label_types("contacts", "companies") end)()
    end
    uv.run()
    assert.equal("hubspot_assoc.label_types: contacts -> companies", tostring(found[1]))
    assert.same({ found[1], found[1] }, { found[2], found[3] })
    assert.equal(2, simulator.log(token).count)
  end)
end)

-- ---- a row of get_labels in place of a type ----

local ROW = { category = "USER_DEFINED", typeId = 38, label = "Employee" }
local TYPE = { associationCategory = "USER_DEFINED", associationTypeId = 38 }

describe("the message for", function()
  local client = binding.client()

  local function message(name, ...)
    local arguments = { ... }
    local ok, text = pcall(function() client[name](client, unpack(arguments)) end)
    assert.is_false(ok)
    return text:match "bad argument.*"
  end

  it("a row of get_labels where a type is expected says what to write instead", function()
    local hint = "write { associationCategory = \"USER_DEFINED\", associationTypeId = 38 }"
    for _, name in ipairs { "associate", "archive_labels" } do
      for _, types in ipairs { { ROW }, { TYPE, { category = "USER_DEFINED", typeId = 38 } } } do
        local text = message(name, "contacts", "companies", { { from = { id = 1 }, to = { id = 2 }, types = types } })
        assert.equal(1, (select(2, text:gsub(hint, "", 1))), text)
        assert.matches(("^bad argument #3 to '%s' %%(inputs%%[1%%].types%%[%d%%]"):format(name, #types), text)
      end
    end
    local text = message("associate_one", "contacts", 1, "companies", 2, { ROW })
    assert.equal(1, (select(2, text:gsub(hint, "", 1))), text)
    assert.matches("^bad argument #5 to 'associate_one' %(types%[1%]", text)
  end)

  it("a type, or a row of get_limits, where a limit is expected says so, too", function()
    local limit = { category = "USER_DEFINED", typeId = 38, label = "Employee", userEnforcedMaxToObjectIds = 7 }
    for name, rest in pairs { batch_update = ", maxToObjectIds = ", batch_create = ", maxToObjectIds = ",
      batch_purge = " }" } do
      local text = message(name, "contacts", "companies", { TYPE })
      assert.equal(1, (select(2, text:gsub('write { category = "USER_DEFINED", typeId = 38' .. rest, "", 1))), text)
      text = message(name, "contacts", "companies", { limit })
      if rest ~= " }" then
        assert.matches('; write { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 7 }%)$', text)
      end
    end
    assert.matches('; write { associationTypeId = 38, label = "Employee" }%)$',
      message("update_label", "contacts", "companies", ROW))
  end)

  it("what cannot be shown has dots in its place", function()
    assert.matches("; write { associationCategory = %.%.%., associationTypeId = %.%.%. }%)$",
      message("associate_one", "contacts", 1, "companies", 2, { { category = ("x"):rep(100) } }))
    assert.matches('; write { associationCategory = %.%.%., associationTypeId = "38" }%)$',
      message("associate_one", "contacts", 1, "companies", 2, { { category = {}, typeId = "38" } }))
  end)
end)
