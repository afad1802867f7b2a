-- client:set_limits, and the order of its steps (lua/hubspot_assoc/limit_steps.lua).
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local limit_steps = require "hubspot_assoc.limit_steps"
local simulator = require "spec.support.simulator"

-- ---- pure: the steps ----

local PAIRS, LABELS = { 279, 280 }, { 1, 36, 38, 40, 42 }

local function row(type_id, label, limit)
  return { category = label and "USER_DEFINED" or "HUBSPOT_DEFINED", typeId = type_id, label = label,
    userEnforcedMaxToObjectIds = limit }
end

-- Does no label exceed the pair? `is_strict`: nor equal it.
local function obeys(limits, is_strict)
  for _, pair in ipairs(PAIRS) do
    for _, label in ipairs(LABELS) do
      local most, limit = limits[pair], limits[label]
      if most and limit and (limit > most or is_strict and limit == most) then return false end
    end
  end
  return true
end

-- A random state that obeys: type id → limit. Few numbers, so that many are equal.
local function random_limits(is_strict)
  local limits
  repeat
    limits = {}
    for _, list in ipairs { PAIRS, LABELS } do
      for _, type_id in ipairs(list) do
        limits[type_id] = math.random(3) > 1 and math.random(is_strict and 12 or 5) or nil
      end
    end
  until obeys(limits, is_strict)
  return limits
end

local function each_type(fn)
  for _, type_id in ipairs(PAIRS) do fn(type_id, nil) end
  for _, type_id in ipairs(LABELS) do fn(type_id, "label " .. type_id) end
end

-- The rows of a state, in any order. Some reads list what has no limit, some do not.
local function rows_of(limits)
  local rows = {}
  each_type(function(type_id, label)
    if limits[type_id] or math.random(2) == 1 then
      table.insert(rows, math.random(#rows + 1), row(type_id, label, limits[type_id]))
    end
  end)
  return rows
end

local function wanted_of(limits)
  local wanted = {}
  each_type(function(type_id, label)
    local want = row(type_id, label)
    want.limit = limits[type_id] or false
    table.insert(wanted, math.random(#wanted + 1), want)
  end)
  return wanted
end

-- Does what HubSpot would, or raises where it would refuse.
local function apply(limits, step, change, is_strict)
  local had = limits[change.typeId]
  assert((step.action == "create") == not had, step.action .. " where there is " .. tostring(had))
  assert((had or false) == change.before)
  limits[change.typeId] = change.after or nil
  assert(obeys(limits, is_strict), "a label exceeds the pair")
end

describe("limit_steps.steps", function()
  it("obeys HubSpot's rules at every moment, whether equal limits are allowed or not, and reaches what is wanted",
    function()
      for round = 1, 1000 do
        local is_strict = round % 2 == 0
        local limits, wanted = random_limits(is_strict), random_limits(is_strict)
        local differs = false
        each_type(function(type_id) differs = differs or limits[type_id] ~= wanted[type_id] end)
        local steps = limit_steps.steps(rows_of(limits), wanted_of(wanted))
        assert.equal(differs, #steps > 0)
        local seen = {}
        for _, step in ipairs(steps) do
          assert.equal(#step.inputs, #step.changes)
          assert.is_true(#step.inputs > 0)
          for i, change in ipairs(step.changes) do
            assert.is_nil(seen[change.typeId])
            seen[change.typeId] = true
            assert.equal(step.action, change.action)
            assert.same({ category = change.category, typeId = change.typeId, maxToObjectIds = change.after or nil },
              step.inputs[i])
          end
          -- HubSpot may work through a request in any order.
          local left = { (table.unpack or unpack)(step.changes) } -- luacheck: ignore
          while left[1] do apply(limits, step, table.remove(left, math.random(#left)), is_strict) end
        end
        each_type(function(type_id) assert.equal(wanted[type_id], limits[type_id]) end)
      end
    end)

  it("leaves alone what is not wanted, and what is as it should be", function()
    local current = { row(279, nil, 100), row(36, "A", 20), row(38, "B", 50), row(40, "C") }
    assert.same({}, limit_steps.steps(current, {}))
    assert.same({}, limit_steps.steps(current, { { category = "USER_DEFINED", typeId = 36, limit = 20 },
      { category = "USER_DEFINED", typeId = 40, limit = false }, { category = "WORK", typeId = 7, limit = false } }))
    local steps = limit_steps.steps(current, { { category = "USER_DEFINED", typeId = 36, limit = 30 } })
    assert.same({ { phase = 2, action = "update",
      inputs = { { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 30 } },
      changes = { { action = "update", category = "USER_DEFINED", typeId = 36, label = "A", before = 20, after = 30 } },
    } }, steps)
  end)

  it("has no request for what another can hold", function()
    local current = { row(279, nil, 100), row(36, "A", 20), row(38, "B", 50), row(40, "C"), row(42, "D", 7) }
    local wanted = {}
    for type_id, limit in pairs { [36] = 200, [38] = 150, [40] = 5, [42] = false } do
      wanted[#wanted + 1] = { category = "USER_DEFINED", typeId = type_id, limit = limit }
    end
    wanted[#wanted + 1] = { category = "HUBSPOT_DEFINED", typeId = 279, limit = 200 }
    local done = {}
    for _, step in ipairs(limit_steps.steps(current, wanted)) do
      done[#done + 1] = step.phase .. step.action .. #step.inputs
    end
    assert.same({ "1update1", "2purge1", "2update2", "2create1" }, done)
  end)
end)

describe("limit_steps.conflicts", function()
  it("names the labels whose limits will exceed the pair's", function()
    local current = { row(279, nil, 100), row(36, "A", 20), row(38, "B", 50) }
    local function conflicts(...) return limit_steps.conflicts(current, { ... }) end
    assert.same({}, conflicts())
    assert.same({}, conflicts({ category = "HUBSPOT_DEFINED", typeId = 279, limit = 50 }))
    assert.same({}, conflicts({ category = "HUBSPOT_DEFINED", typeId = 279, limit = false },
      { category = "USER_DEFINED", typeId = 38, limit = 5000 }))
    assert.same({ { category = "USER_DEFINED", typeId = 38, label = "B", limit = 50, most = 49 } },
      conflicts({ category = "HUBSPOT_DEFINED", typeId = 279, limit = 49 }))
    assert.same({ { category = "USER_DEFINED", typeId = 40, label = "C", limit = 101, most = 100 } },
      conflicts({ category = "USER_DEFINED", typeId = 40, label = "C", limit = 101 }))
  end)
end)

-- ---- client:set_limits ----

-- What was done as a list of "action label before after".
local function texts(done)
  local list = {}
  for i, change in ipairs(done) do
    list[i] = ("%s %s %s %s"):format(change.action, change.label or "unlabelled", tostring(change.before),
      tostring(change.after))
  end
  return list
end

-- The limits of contacts to companies: name → limit.
local function limits_of(client)
  local limits = {}
  for _, limit in ipairs(assoc.check(client:get_limits("contacts", "companies"))) do
    limits[limit.label or "unlabelled"] = limit.userEnforcedMaxToObjectIds
  end
  return limits
end

-- The last part of the paths of a token's calls.
local function calls_of(token)
  local names = {}
  for i, call in ipairs(simulator.log(token)) do names[i] = call.path:match "[^/]+$" end
  return names
end

for _, version in ipairs(binding.versions) do
  describe("set_limits with " .. version, function()
    local client, token

    before_each(function() client, token = binding.client { api_version = version } end)

    it("creates, updates and removes limits in the order that HubSpot needs", function()
      local done, errors, response = client:set_limits("contacts", "companies",
        { unlabelled = 30, Consultant = 30, Employee = false, Primary = 5 })
      assert.is_nil(errors)
      assert.same({ "purge Employee 50 false", "update Consultant 20 30", "create Primary false 5",
        "update unlabelled 100 30" }, texts(done))
      assert.same({ "HUBSPOT_DEFINED", 279 }, { done[4].category, done[4].typeId })
      assert.same({ unlabelled = 30, Consultant = 30, Primary = 5 }, limits_of(client))
      assert.equal(6, #response.requests)
      assert.equal(200, response.http_status)

      done, errors = client:set_limits("contacts", "companies", { unlabelled = 300, Consultant = 200, Primary = 300 })
      assert.is_nil(errors)
      assert.same({ "update unlabelled 30 300", "update Primary 5 300", "update Consultant 30 200" }, texts(done))

      done, errors = client:set_limits("contacts", "companies", { unlabelled = false, Consultant = 2000 })
      assert.is_nil(errors)
      assert.same({ "purge unlabelled 300 false", "update Consultant 200 2000" }, texts(done))

      done, errors = client:set_limits("contacts", "companies", { unlabelled = 20, Consultant = 10, Primary = false })
      assert.is_nil(errors)
      assert.same({ "purge Primary 300 false", "update Consultant 2000 10", "create unlabelled false 20" }, texts(done))
      assert.same({ unlabelled = 20, Consultant = 10 }, limits_of(client))
    end)

    it("sends nothing where nothing differs, or in a dry run", function()
      local limits = { unlabelled = 100, Consultant = 20 }
      local done, errors, response = client:set_limits("contacts", "companies", limits)
      assert.same({}, done)
      assert.is_nil(errors)
      assert.equal(2, #response.requests)
      done, errors = client:set_limits("contacts", "companies", { unlabelled = 40, Employee = 30 }, { dry_run = true })
      assert.is_nil(errors)
      assert.same({ "update Employee 50 30", "update unlabelled 100 40" }, texts(done))
      done = client:set_limits("contacts", "companies", {}, { dry_run = false })
      assert.same({}, done)
      for _, name in ipairs(calls_of(token)) do assert.not_equal("update", name) end
      assert.same({ unlabelled = 100, Consultant = 20, Employee = 50 }, limits_of(client))
    end)
  end)
end

describe("set_limits", function()
  local client, token

  before_each(function() client, token = binding.client() end)
  after_each(fault_server.stop_all)

  it("takes a type by its category and id", function()
    local done, errors = client:set_limits("contacts", "companies", { ["USER_DEFINED:38"] = 7 })
    assert.is_nil(errors)
    assert.same({ "update Employee 50 7" }, texts(done))
  end)

  it("says what it does not know, and sends nothing", function()
    local done, errors, response = client:set_limits("contacts", "companies",
      { Emplyee = 7, Consultant = 8, ["USER_DEFINED:36"] = 8, unlabelled = 90 })
    assert.is_nil(done)
    assert.equal(2, #errors)
    assert.same({ "config", "Emplyee", 0 }, { errors[1].kind, errors[1].label, errors[1].attempts })
    assert.matches('^no label is named "Emplyee"; did you mean "Employee"%?$', errors[1].message)
    assert.matches('^"Consultant" and "USER_DEFINED:36" are the same$', errors[2].message)
    assert.matches("^set_limits contacts %-> companies: config: ", tostring(errors[2]))
    assert.equal(200, response.http_status)
    assert.equal(2, simulator.log(token).count)
  end)

  it("leaves to HubSpot what HubSpot refuses, and says what was done", function()
    local done, errors, response = client:set_limits("contacts", "companies", { unlabelled = 40, Consultant = 5 })
    assert.same({ "update Consultant 20 5" }, texts(done))
    assert.equal(1, #errors)
    assert.same({ "api", "VALIDATION_ERROR" }, { errors[1].kind, errors[1].category })
    assert.equal(207, response.http_status)
    assert.same({ unlabelled = 100, Consultant = 5, Employee = 50 }, limits_of(client))
  end)

  it("does not send what depends on what failed, but does what does not", function()
    local done, errors = client:set_limits("contacts", "companies", { unlabelled = 10000, Primary = 200, Employee = 1 })
    assert.same({}, done)
    assert.equal(2, #errors)
    assert.equal("VALIDATION_ERROR", errors[1].category)
    assert.same({ "canceled", 0, true }, { errors[2].kind, errors[2].attempts, errors[2].retryable })
    assert.matches("^2 of the limits not sent", errors[2].message)

    done, errors = client:set_limits("contacts", "companies",
      { Primary = 200, Employee = 10, Consultant = 101, unlabelled = 90 })
    assert.same({ "update Employee 50 10" }, texts(done))
    assert.equal(3, #errors) -- Consultant's, Primary's, and the pair's that was not sent
    assert.matches("^1 of the limits not sent", errors[3].message)
  end)

  it("leads from any state to any other", function()
    local NAMES = { "unlabelled", "Primary", "Consultant", "Employee" }
    simulator.control("rate", { token = token, max = 10000 })
    for _ = 1, 25 do
      local most, wanted, expected = math.random(4) > 1 and math.random(6) or nil, {}, {}
      for i, name in ipairs(NAMES) do
        local limit = i == 1 and most or i > 1 and math.random(3) > 1 and math.random(most or 9) or false
        wanted[name] = limit
        expected[name] = limit or nil
      end
      local _, errors = client:set_limits("contacts", "companies", wanted)
      assert.is_nil(errors)
      assert.same(expected, limits_of(client))
    end
  end)

  it("says which labels of a purge are still there", function()
    simulator.fault(token, { skip = 2, status = 207, body = '{"status":"COMPLETE","results":[],"numErrors":1,"errors":'
      .. '[{"category":"VALIDATION_ERROR","message":"No","context":{"category":["USER_DEFINED"],"typeId":["38"]}}]}' })
    local done, errors = client:set_limits("contacts", "companies", { Consultant = false, Employee = false })
    assert.equal(1, #errors)
    assert.same({ "purge Consultant 20 false" }, texts(done))
    assert.same({ "Employee" }, { errors[1].label, errors[1].index })
  end)

  it("finishes what was interrupted anywhere", function()
    local wanted = { unlabelled = 30, Consultant = 30, Employee = false, Primary = 5 }
    for skip = 0, 5 do
      for _, is_after in ipairs { false, true } do
        simulator.control("reset", { token = token })
        simulator.control("rate", { token = token, max = 10000 })
        simulator.fault(token, { skip = skip, status = 503, after = is_after or nil, times = 1 })
        local _, errors = client:set_limits("contacts", "companies", wanted)
        assert.is_true(#errors > 0)
        _, errors = client:set_limits("contacts", "companies", wanted)
        assert.is_nil(errors)
        assert.same({ unlabelled = 30, Consultant = 30, Primary = 5 }, limits_of(client))
      end
    end
  end)

  it("fails as a whole where it could not read, or HubSpot took nothing", function()
    simulator.fault(token, { status = 403, times = 1 })
    local done, errors = client:set_limits("contacts", "companies", { Employee = 1 })
    assert.is_nil(done)
    assert.same({ 1, 403 }, { #errors, errors[1].http_status })
    simulator.fault(token, { skip = 2, status = 403, times = 9 })
    done, errors = client:set_limits("contacts", "companies", { Employee = 1, Consultant = false, unlabelled = 5 })
    assert.is_nil(done)
    assert.same({ 2, 403, "canceled" }, { #errors, errors[1].http_status, errors[2].kind })
    assert.matches("^2 of the limits not sent", errors[2].message)
    assert.equal(5, simulator.log(token).count)
  end)

  it("has one deadline for all of its requests", function()
    simulator.fault(token, { delay = 0.3, times = 9 })
    local done, errors = client:set_limits("contacts", "companies",
      { unlabelled = 30, Consultant = 30, Employee = false, Primary = 5 }, { deadline = 0.7, max_attempts = 1 })
    assert.is_true(not done or #done < 4)
    assert.equal("timeout", errors[1].kind)
  end)

  it("works on the same object type in both directions", function()
    assert.is_nil(select(2, client:create_label("contacts", "contacts", { name = "m", label = "Manager",
      inverseLabel = "Report" })))
    local done, errors = client:set_limits("contacts", "contacts", { unlabelled = 50, Manager = 10, Report = 50 })
    assert.is_nil(errors)
    assert.same({ "create Manager false 10", "create Report false 50", "create unlabelled false 50" }, texts(done))
    done, errors = client:set_limits("contacts", "contacts", { unlabelled = false, Report = 500 })
    assert.is_nil(errors)
    assert.same({ "purge unlabelled 50 false", "update Report 50 500" }, texts(done))
  end)

  it("raises for misuse, before anything is sent", function()
    local function message(...)
      local arguments, n = { ... }, select("#", ...)
      local ok, text = pcall(function()
        client:set_limits((table.unpack or unpack)(arguments, 1, n)) -- luacheck: ignore
      end)
      assert.is_false(ok)
      assert.matches("set_limits_spec.lua:%d+: bad argument", text)
      return text:match "bad argument.*"
    end
    assert.equal("bad argument #1 to 'set_limits' (from: string expected, got nil)", message())
    assert.equal("bad argument #2 to 'set_limits' (to: string expected, got number 5)", message("contacts", 5, {}))
    assert.equal("bad argument #3 to 'set_limits' (limits: table expected, got nil)", message("contacts", "companies"))
    assert.matches('^bad argument #3 to \'set_limits\' %(limits: its keys are names of labels, or "unlabelled", '
      .. "got number 1", message("contacts", "companies", { 5 }))
    for _, value in ipairs { "5", 1.5, -1, 2147483648, true, 0 / 0, 1 / 0 } do
      assert.matches('^bad argument #3 to \'set_limits\' %(limits%["Employee"%]: integer from 0 to 2147483647, or ',
        message("contacts", "companies", { Employee = value }))
    end
    assert.matches("^bad argument #4 to 'set_limits' %(options.dry_run: boolean expected",
      message("contacts", "companies", {}, { dry_run = 1 }))
    assert.matches("'set_limits' %(options.dryrun: unknown field; did you mean 'dry_run'%?%)$",
      select(2, pcall(client.set_limits, client, "contacts", "companies", {}, { dryrun = true })))
    assert.matches("^bad argument #4 to 'set_limits' %(options.dedline: unknown field; did you mean 'deadline'%?",
      message("contacts", "companies", {}, { dedline = 1 }))
    assert.equal(0, simulator.log(token).count)
  end)

  it("is a function of the module, too", function()
    local ok, text = pcall(assoc.set_limits, assoc, "contacts")
    assert.is_false(ok)
    assert.matches("call it with a dot", text)
    assert.matches("call it with a colon", select(2, pcall(client.set_limits, "contacts", "companies", {})))
  end)
end)
