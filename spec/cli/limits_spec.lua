--- hubspot-assoc limits, labels, usage.

local cjson = require("cjson").new()
local cli = require "spec.support.cli"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)

local CONTACTS_COMPANIES = { "contacts", "companies" }

describe("hubspot-assoc", function()
  local token
  before_each(function() token = simulator.token() end)

  local function run(...)
    return cli.run({ HUBSPOT_ACCESS_TOKEN = token }, ...)
  end

  local function is_done(result)
    assert.equal("", result.err)
    assert.equal(0, result.status)
    return result.out
  end

  local function decode(result)
    return cjson.decode(is_done(result))
  end

  -- Label -> limit, of contacts to companies.
  local function limits()
    local found = {}
    for _, limit in ipairs(decode(run("limits", "get", "contacts", "companies", "--json")).results) do
      local value = limit.userEnforcedMaxToObjectIds
      found[limit.label ~= cjson.null and limit.label or "unlabelled"] = value ~= cjson.null and value or nil
    end
    return found
  end

  it("shows limits as a table, or as JSON", function()
    assert.equal(table.concat({
      "FROM      TO         LABEL         LIMIT  CATEGORY         TYPE ID",
      "contacts  companies  (unlabelled)    100  HUBSPOT_DEFINED      279",
      "contacts  companies  Primary        none  HUBSPOT_DEFINED        1",
      "contacts  companies  Consultant       20  USER_DEFINED          36",
      "contacts  companies  Employee         50  USER_DEFINED          38\n",
    }, "\n"), is_done(run("limits", "get", CONTACTS_COMPANIES[1], CONTACTS_COMPANIES[2])))
    assert.same({ unlabelled = 100, Consultant = 20, Employee = 50 }, limits())
    assert.equal(7, #decode(run("limits", "get", "--json")).results)
    assert.matches("deals +contacts +%(unlabelled%) +10 ", is_done(run("limits", "get")))
  end)

  it("sets and removes limits in the order that HubSpot's rules need", function()
    assert.matches("Employee +50 +200", is_done(run("limits", "set", "contacts", "companies", "Employee=200", "300")))
    assert.same({ unlabelled = 300, Consultant = 20, Employee = 200 }, limits())
    assert.matches("%(unlabelled%) +300 +none", is_done(run("limits", "unset", "contacts", "companies")))
    local done = decode(run("limits", "unset", "contacts", "companies", "Employee", "Consultant", "--json")).results
    assert.equal(2, #done)
    assert.same({}, limits())
  end)

  it("only tells what it would do with --dry-run, and says so where there is nothing to do", function()
    assert.matches("WOULD BE", is_done(run("limits", "set", "contacts", "companies", "7", "Employee=7", "Consultant=7",
      "--dry-run")))
    assert.equal(100, limits().unlabelled)
    local result = run("limits", "set", "contacts", "companies", "100")
    assert.equal(0, result.status)
    assert.equal("nothing to do: it is so already\n", result.err)
  end)

  it("tells what HubSpot refused, beside what it did", function()
    local result = run("limits", "set", "contacts", "companies", "Consultant=5", "Employee=5000")
    assert.equal(1, result.status)
    assert.matches("VALIDATION_ERROR", result.err)
    assert.matches("Consultant +20 +5", result.out)
    assert.matches("'hubspot-assoc limits get FROM TO' shows the limits", result.err, 1, true)
    result = run("limits", "set", "contacts", "companies", "Employee=5000", "--json")
    assert.equal(1, result.status)
    local told = cjson.decode(result.out)
    assert.same({ {}, "VALIDATION_ERROR" }, { told.results, told.errors[1].category })
  end)

  it("refuses wrong settings before anything is sent", function()
    for _, setting in ipairs { "x", "Employee=", "Employee=5.5", "=5", "99999999999" } do
      local result = run("limits", "set", "contacts", "companies", setting)
      assert.equal(64, result.status, setting)
      assert.matches("is no limit", result.err)
    end
    assert.equal(64, run("limits", "set", "contacts", "companies", "5", "unlabelled=6").status)
    assert.equal(64, run("limits", "get", "contacts").status)
    local result = run("limits", "set", "contacts", "companies", "Employe=5")
    assert.equal(1, result.status)
    assert.matches('did you mean "Employee"?', result.err, 1, true)
    assert.equal(2, simulator.log(token).count) -- labels and limits were read
  end)

  it("makes, renames and deletes labels", function()
    local made = decode(run("labels", "create", "contacts", "companies", "Böse Chefin", "--inverse", "日本", "--json"))
    assert.same({ "Böse Chefin", "日本" }, { made.results[1].label, made.results[2].label })
    assert.equal('{"inverseLabel":"日本","label":"Böse Chefin","name":"b_se_chefin"}',
      (require "hubspot_assoc.json")(cjson.decode(simulator.log(token)[1].body)))
    local result = run("labels", "update", "contacts", "companies", "Böse Chefin", "Chefin")
    assert.same({ 0, "'Böse Chefin' is called 'Chefin' now\n" }, { result.status, result.err })
    result = run("labels", "delete", "contacts", "companies", "Chefin")
    assert.equal(1, result.status)
    assert.matches("--yes", result.err, 1, true)
    assert.equal(0, run("labels", "delete", "contacts", "companies", "Chefin", "--yes").status)
    assert.is_nil(is_done(run("labels", "get", "contacts", "companies")):find("Chefin", 1, true))
  end)

  it("asks before it deletes a label, on a terminal", function()
    local environment = { HUBSPOT_ACCESS_TOKEN = token }
    local result = cli.on_terminal("n\n", environment, "labels", "delete", "contacts", "companies", "Employee")
    assert.equal(1, result.status)
    assert.matches("nothing was deleted", result.out)
    result = cli.on_terminal("y\n", environment, "labels", "delete", "contacts", "companies", "Employee")
    assert.equal(0, result.status)
    assert.matches("deleted 'Employee'", result.out)
  end)

  it("shows who is at a limit, or near it", function()
    local client = require "hubspot_assoc".new { base_url = simulator.url, access_token = token, rate = false }
    local inputs = {}
    for i = 1, 10 do inputs[i] = { from = { id = "7" }, to = { id = tostring(i) } } end
    for i = 11, 18 do inputs[i] = { from = { id = "8" }, to = { id = tostring(i) } } end
    assert(client:associate_default("deals", "contacts", inputs))
    local out = is_done(run "usage")
    assert.matches("deals +contacts +10 +1 +1", out)
    assert.matches("contacts +companies +2 +10 +Consultant, Employee", out)
    out = is_done(run("usage", "deals", "contacts"))
    assert.matches("7 +deal 7 +10 +100 %%", out)
    assert.matches("8 +deal 8 +8 +80 %%", out)
    local told = decode(run("usage", "--json"))
    assert.same({ "0-3", "0-1", 1 },
      { told.records[1].fromObjectTypeId, told.records[1].toObjectTypeId, told.records[1].totalRecordsNearLimit })
  end)

  it("says that nobody is near a limit", function()
    local result = run("usage", "deals")
    assert.same({ 0, "no record is at or near (80 %) a limit\n" }, { result.status, result.err })
  end)
end)
