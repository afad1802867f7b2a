--- Plans: what a file means for an account, in which order it is done, and what is refused.

local cli = require "spec.support.cli"
local in_process = require "spec.support.in_process"

local describe = cli.describe(describe, pending)

describe("a plan", function()
  local schema = require "hubspot_assoc.schema"
  local account

  before_each(function() account = in_process.account() end)

  local function set_limit(from, to, label, limit)
    account.limits[in_process.kind(account, from, to, label)] = limit
  end

  local function parse(text)
    local wanted, problems = schema.parse("version: 1\n" .. text)
    assert.is_table(wanted, problems[1] and problems[1].message)
    return wanted
  end

  local function plan(text)
    return assert(schema.plan_for(in_process.client(account), parse(text), { usage = false }))
  end

  local function texts(list)
    local found = {}
    for i, step in ipairs(list.steps) do found[i] = schema.step_text(step) end
    return found
  end

  -- "LINE: MESSAGE" of problems or warnings.
  local function messages(list)
    local found = {}
    for i, problem in ipairs(list) do found[i] = ("%s: %s"):format(tostring(problem.line), problem.message) end
    return found
  end

  local function apply(text)
    local report = assert(schema.apply(in_process.client(account), plan(text)))
    assert.equal("done", report.status, tostring(report.errors))
  end

  it("is empty where all is as the file says, and has the same digest as any other empty one", function()
    set_limit("contacts", "deals", nil, 5)
    local found = plan [[
pairs:
  - {from: contacts, to: deals, limit: 5, inverse_limit: none}]]
    assert.same({ 0, 0, 0, {}, {} }, { found.count, found.deletes, found.removes, found.problems, found.warnings })
    assert.equal(found.digest, plan("pairs: []").digest)
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x$", found.digest)
  end)

  it("leaves alone what the file does not say", function()
    in_process.add_label(account, "contacts", "companies", "Buyer")
    set_limit("contacts", "companies", "Buyer", 3)
    set_limit("contacts", "companies", nil, 30)
    set_limit("companies", "contacts", nil, 40)
    assert.equal(0, plan("pairs: [{from: contacts, to: companies}]").count)
    assert.equal(0, plan("pairs: [{from: companies, to: contacts, labels: [{label: Buyer}]}]").count)
  end)

  it("takes a label's text as the account has it, and gives none with spaces around it or several lines", function()
    in_process.add_label(account, "contacts", "companies", "two\nlines", " inverse")
    local there = "pairs:\n  - {from: contacts, to: companies, "
      .. [[labels: [{label: "two\nlines", inverse_label: " inverse"}]}]]
    assert.same({ 0, {} }, { plan(there).count, plan(there).problems })
    local found = plan [[
pairs:
  - from: contacts
    to: companies
    labels:
      - {label: One, was: "two\nlines", inverse_label: " inverse"}
      - {label: "new ", inverse_label: "a\tb"}]]
    assert.same({ "7: label: 'new ' is not in the account, and no label is given a text with spaces around it, or of "
      .. "several lines", "7: inverse_label: 'a\tb' is not in the account, and no label is given a text with spaces "
      .. "around it, or of several lines" }, messages(found.problems))
  end)

  it("removes what the file does not name where that is told, in the file or for a pair", function()
    for _, told in ipairs { "unmanaged: remove\npairs: [{from: contacts, to: companies, labels: [{label: Seller}]}]",
      "pairs: [{from: contacts, to: companies, unmanaged: remove, labels: [{label: Seller}]}]" } do
      account = in_process.account()
      in_process.add_label(account, "contacts", "companies", "Buyer")
      in_process.add_label(account, "contacts", "companies", "Seller")
      set_limit("contacts", "companies", "Buyer", 3)
      set_limit("companies", "contacts", "Seller", 4)
      set_limit("contacts", "companies", "Primary", 1)
      set_limit("contacts", "companies", nil, 30)
      set_limit("contacts", "deals", nil, 30) -- another pair
      local found = plan(told)
      assert.same({
        "contacts -> companies: label 'Buyer' (records lose it, and stay associated)",
        "contacts -> companies: limit: 30",
        "contacts -> companies: limit of 'Primary': 1",
        "companies -> contacts: limit of 'Seller': 4",
      }, texts(found))
      assert.same({ 4, 1, 3 }, { found.count, found.deletes, found.removes })
    end
  end)

  it("makes labels, renames them, and sets their limits each way", function()
    in_process.add_label(account, "contacts", "companies", "Worker", "Employer")
    in_process.add_label(account, "contacts", "companies", "Client")
    set_limit("contacts", "companies", "Worker", 7)
    local found = plan [[
pairs:
  - from: contacts
    to: companies
    limit: 20
    labels:
      - {label: Employee, inverse_label: Employer, was: Worker, limit: 9, inverse_limit: 5}
      - {label: Client, inverse_label: Supplier}
      - {label: 1st & Größte, limit: 2}
      - {label: Owner, inverse_label: Owned, name: owns}
      - {label: Primary, limit: 1}]]
    assert.same({
      "contacts -> companies: label 'Worker' / 'Employer' -> 'Employee' / 'Employer'",
      "contacts -> companies: label 'Client' -> 'Client' / 'Supplier'",
      "contacts -> companies: label '1st & Größte'",
      "contacts -> companies: label 'Owner' / 'Owned'",
      "contacts -> companies: limit of 'Employee': 7 -> 9",
      "contacts -> companies: limit of 'Primary': 1",
      "contacts -> companies: limit of '1st & Größte': 2",
      "contacts -> companies: limit: 20",
      "companies -> contacts: limit of 'Employer': 5",
    }, texts(found))
    assert.same({ 7, 17 }, { found.steps[1].line, found.steps[1].column })
    assert.matches("^label_1st_gr_%x+$", (found.steps[3].name:gsub("_e_", "_"):gsub("_te_", "_")))
    assert.equal("owns", found.steps[4].name)
    assert.equal("7 in the account, 9 in the file", found.steps[5].why)
  end)

  it("puts limits in an order in which HubSpot takes each", function()
    in_process.add_label(account, "contacts", "deals", "A")
    in_process.add_label(account, "contacts", "deals", "B")
    local function limits(pair, a, b)
      return ("pairs: [{from: contacts, to: deals, limit: %s, labels: [{label: A, limit: %s}, {label: B, limit: %s}]}]")
        :format(pair, a, b)
    end
    for _, values in ipairs { { 10, 10, 5 }, { 20, 20, 1 }, { 2, 2, 2 }, { "none", 50, "none" }, { 60, 50, 60 },
      { 1, "none", 1 } } do
      apply(limits(values[1], values[2], values[3]))
      assert.equal(0, plan(limits(values[1], values[2], values[3])).count)
    end
  end)

  it("says which rule of HubSpot's what is in the account would break", function()
    in_process.add_label(account, "contacts", "deals", "A")
    set_limit("contacts", "deals", "A", 10)
    set_limit("deals", "contacts", nil, 3)
    assert.same({
      "5: contacts to deals: the limit 10 of 'A', which is in the account, would be more than 5, the pair's: "
        .. "HubSpot refuses that",
      "6: deals to contacts: the limit 4 of 'A' would be more than 3, the pair's: HubSpot refuses that",
    }, messages(plan([[
pairs:
  - from: contacts
    to: deals
    limit: 5
    labels: [{label: A, inverse_limit: 4}] ]]).problems))
  end)

  it("asks what is meant where a label is called otherwise in the other direction", function()
    in_process.add_label(account, "contacts", "companies", "Employee", "Employer")
    assert.same({ "5: 'Employee' is called otherwise in the other direction (Employer): say so with inverse_label" },
      messages(plan [[
pairs:
  - from: contacts
    to: companies
    labels: [{label: Employee}] ]].problems))
    assert.equal(0, plan(
      "pairs: [{from: contacts, to: companies, labels: [{label: Employee, inverse_label: Employer}]}]").count)
    assert.same({ "contacts -> companies: label 'Employee' / 'Employer' -> 'Employee'" }, texts(plan(
      "pairs: [{from: contacts, to: companies, labels: [{label: Employee, inverse_label: Employee}]}]")))
    assert.equal(0, plan(
      "pairs: [{from: companies, to: contacts, labels: [{label: Employer, inverse_label: Employee}]}]").count)
    assert.matches("the other direction has a label 'Employer' already", plan(
      "pairs: [{from: contacts, to: companies, labels: [{label: Staff, inverse_label: Employer}]}]")
      .problems[1].message)
  end)

  it("knows whose label a text means", function()
    assert.equal(1, plan("pairs: [{from: contacts, to: companies, labels: [{label: Primary, limit: 1}]}]").count)
    assert.matches("no label 'Foremost' %(HUBSPOT_DEFINED%), and only USER_DEFINED ones can be made", plan(
      "pairs: [{from: contacts, to: companies, labels: [{label: Foremost, category: HUBSPOT_DEFINED}]}]")
      .problems[1].message)
    in_process.add_label(account, "contacts", "companies", "Primary")
    local both = plan [[
pairs:
  - from: contacts
    to: companies
    labels: [{label: Primary, limit: 1}, {label: Primary, category: HUBSPOT_DEFINED, limit: 2}] ]]
    assert.same({ "USER_DEFINED", "HUBSPOT_DEFINED", 1, 2 },
      { both.steps[2].category, both.steps[1].category, both.steps[2].new, both.steps[1].new })
  end)

  it("says which sides and types are not there", function()
    assert.matches("'Primary' %(HUBSPOT_DEFINED%) has no other side that is called 'Chief'", plan(
      "pairs: [{from: contacts, to: companies, labels: [{label: Primary, inverse_label: Chief, limit: 1}]}]")
      .problems[1].message)
    local state = { pairs = { { from = "contacts", to = "deals", forward = {}, inverse = {} } }, notes = {},
      problems = {} }
    local found = schema.plan(state, parse [[
pairs:
  - {from: contacts, to: deals, limit: 3}
  - {from: contacts, to: tickets}]])
    assert.same({ "3: HubSpot tells of no unlabelled type from contacts to deals whose limit could be set",
      "4: contacts to tickets is not in the account" }, messages(found.problems))
  end)

  it("renames in an order in which each text is free, where there is one", function()
    in_process.add_label(account, "contacts", "companies", "A", "P")
    in_process.add_label(account, "contacts", "companies", "B", "Q")
    assert.same({ "contacts -> companies: label 'B' / 'Q' -> 'C' / 'R'", "contacts -> companies: label 'A' / 'P' -> "
      .. "'A' / 'Q'" }, texts(plan [[
pairs:
  - from: contacts
    to: companies
    labels: [{label: A, inverse_label: Q}, {label: C, was: B, inverse_label: R}] ]]))
  end)

  it("warns where another spelling is meant, perhaps", function()
    in_process.add_label(account, "contacts", "companies", "Decision Maker")
    local found = plan("pairs: [{from: contacts, to: companies, labels: [{label: Decision maker}]}]")
    assert.same({ "2: 'Decision maker' is new beside 'Decision Maker'; is another spelling meant?" },
      messages(found.warnings))
    found = plan("pairs: [{from: contacts, to: companies, unmanaged: remove, labels: [{label: Decision  maker}]}]")
    assert.equal("'Decision  maker' would be made and 'Decision Maker' deleted: write it as it is, or was: Decision "
      .. "Maker to rename it", found.problems[1].message)
    found = plan("pairs: [{from: contacts, to: companies, unmanaged: remove, labels: [{label: Decider}]}]")
    assert.same({}, found.problems)
    assert.same({ "2: 'Decider' is made and 'Decision Maker' deleted; if that is one label under another name, "
      .. "was: Decision Maker renames it, and records keep it" }, messages(found.warnings))
  end)

  it("counts labels before HubSpot does", function()
    for i = 1, 9 do in_process.add_label(account, "contacts", "companies", "L" .. i) end
    local two = "pairs: [{from: contacts, to: companies, %s labels: [{label: A}, {label: B}]}]"
    assert.matches("11 labels of one's own, and HubSpot allows this account 10 for a pair",
      plan(two:format "").problems[1].message)
    local found = plan(two:format "unmanaged: remove,")
    assert.equal("delete_label", found.steps[1].kind) -- makes room
    apply(two:format "unmanaged: remove,")
  end)

  it("does not delete what may be the other side of a label, of one object type with itself", function()
    in_process.add_label(account, "contacts", "contacts", "Manager", "Report")
    local function labels(text)
      return plan(("pairs: [{from: contacts, to: contacts, unmanaged: remove, labels: [%s]}]"):format(text))
    end
    assert.matches("'Manager' may be one label with 'Report', which the file does not name",
      labels("{label: Manager}").problems[1].message)
    assert.same({}, labels("{label: Manager, inverse_label: Report}").steps)
    -- What is told is done; and the side that is renamed is not deleted.
    assert.same({ "contacts -> contacts: label 'Manager' / 'Report' -> 'Manager' / 'Worker'" },
      texts(labels "{label: Manager, inverse_label: Worker}"))
    in_process.add_label(account, "contacts", "contacts", "Friend", "Pal")
    assert.matches("may be the other side of", labels("{label: Manager, inverse_label: Friend}").problems[1].message)
  end)

  it("of one object type with itself has one limit for both directions, and one each for both sides", function()
    apply [[
pairs:
  - from: deals
    to: deals
    limit: 9
    labels:
      - {label: Twin, limit: 1}
      - {label: Parent, inverse_label: Child, limit: 2, inverse_limit: 8}]]
    assert.same({ "HUBSPOT_DEFINED nil 9", "USER_DEFINED Child 8", "USER_DEFINED Parent 2", "USER_DEFINED Twin 1" },
      in_process.direction(account, "deals", "deals"))
  end)

  it("takes a pair from whichever side the account was read", function()
    in_process.add_label(account, "contacts", "companies", "Employee", "Employer")
    local client = in_process.client(account)
    local state = assert(schema.read(client, { { from = "0-2", to = "contact" } }))
    local wanted = parse [[
pairs:
  - from: contacts
    to: companies
    limit: 3
    labels: [{label: Employee, limit: 2, inverse_label: Employer}] ]]
    local found = schema.plan(state, wanted)
    assert.same({ "contacts -> companies: limit of 'Employee': 2", "contacts -> companies: limit: 3" }, texts(found))
  end)

  it("has a digest that tells every change of it", function()
    local seen, count = {}, 0
    for _, text in ipairs { "limit: 1", "limit: 2", "inverse_limit: 1", "labels: [{label: A}]", "labels: [{label: B}]",
      "labels: [{label: A, inverse_label: B}]", "labels: [{label: A, limit: 1}]" } do
      local digest = plan(("pairs: [{from: contacts, to: companies, %s}]"):format(text)).digest
      assert.equal(digest, plan(("pairs: [{from: contacts, to: companies, %s}]"):format(text)).digest)
      assert.is_nil(seen[digest])
      seen[digest], count = true, count + 1
    end
    assert.equal(7, count)
  end)

  it("is shown by directions, with reasons", function()
    set_limit("contacts", "deals", nil, 5)
    local lines = schema.diff_lines(plan [[
pairs:
  - {from: contacts, to: deals, limit: 4, inverse_limit: 7, labels: [{label: A, limit: 2}]}]])
    local shown = {}
    for i, line in ipairs(lines) do
      shown[i] = ("%s %s%s"):format(line.sign, line.text, line.why and "|" .. line.why or "")
    end
    assert.same({
      "  contacts -> deals", "+ label 'A'|not in the account", "+ limit of 'A': 2|none in the account",
      "~ limit: 5 -> 4|5 in the account, 4 in the file", "  deals -> contacts", "+ limit: 7|none in the account",
    }, shown)
  end)

  it("warns where records have more than a new limit, which is not retroactive", function()
    local client = in_process.client(account)
    set_limit("deals", "contacts", nil, 10)
    local inputs = {}
    for deal, count in pairs { ["7"] = 10, ["8"] = 9, ["9"] = 1 } do
      for contact = 1, count do inputs[#inputs + 1] = { from = { id = deal }, to = { id = contact } } end
    end
    assert.is_nil(select(2, client:associate_default("deals", "contacts", inputs)))
    local function warnings(limit)
      local wanted = parse(("pairs:\n  - {from: contacts, to: deals, inverse_limit: %d}"):format(limit))
      return messages(assert(schema.plan_for(client, wanted)).warnings)
    end
    local text = "3: deals to contacts: at least %s already: %s. They stay so: a limit is not retroactive"
    assert.same({ text:format("2 records have more than 4", "deal 7 (7), deal 8 (8)") }, warnings(4))
    assert.same({ text:format("2 records have more than 8", "deal 7 (7), deal 8 (8)") }, warnings(8))
    assert.same({ text:format("1 record has more than 9", "deal 7 (7)") }, warnings(9))
    assert.same({}, warnings(11))
    inputs = {}
    for deal = 11, 14 do
      for contact = 1, 10 do inputs[#inputs + 1] = { from = { id = deal }, to = { id = contact } } end
    end
    assert.is_nil(select(2, client:associate_default("deals", "contacts", inputs)))
    assert.same({ text:format("5 records have more than 9", "deal 7 (7), deal 11 (11), deal 12 (12), …") }, warnings(9))
  end)

  it("notes that usage could not be read, and goes on", function()
    local client = in_process.client(account, function(request)
      if request.url:find("/limits/", 1, true) then return { { status = 403, body = '{"message":"No"}' } } end
    end)
    local found = assert(schema.plan_for(client, parse "pairs: [{from: contacts, to: deals, limit: 3}]"))
    assert.equal(1, found.count)
    assert.equal(1, #found.notes)
    assert.matches("^Which records of contacts have more than 3 deals could not be read: ", found.notes[1].message)
    found = assert(schema.plan_for(client, parse "pairs: [{from: contacts, to: deals, labels: [{label: A}]}]"))
    assert.equal(1, #found.notes)
    assert.matches("^How many labels the pairs may have could not be read: ", found.notes[1].message)
    local state = assert(schema.read(client))
    assert.matches("^Pairs with labels of their own may be left out, for HubSpot did not tell", state.notes[1].message)
  end)
end)
