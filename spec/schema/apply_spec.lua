--- Applying a plan: what is sent, what is told, and what becomes of it when things go wrong.

local cli = require "spec.support.cli"
local in_process = require "spec.support.in_process"

local describe = cli.describe(describe, pending)

local FILE = [[
version: 1
unmanaged: remove
pairs:
  - from: contacts
    to: companies
    limit: 20
    inverse_limit: 9
    labels:
      - {label: Buyer, limit: 3}
      - {label: Employee, inverse_label: Employer, limit: 2, inverse_limit: 9}
      - {label: Owner, inverse_label: Owned, was: Boss}
]]

describe("applying a plan", function()
  local schema = require "hubspot_assoc.schema"
  local account, sent

  -- An account that has a label to rename, one to delete, and limits to raise, lower and remove.
  before_each(function()
    account, sent = in_process.account(), {}
    in_process.add_label(account, "contacts", "companies", "Boss", "Owned")
    in_process.add_label(account, "contacts", "companies", "Old")
    account.limits[in_process.kind(account, "contacts", "companies", "Old")] = 30
    account.limits[in_process.kind(account, "contacts", "companies")] = 40
    account.limits[in_process.kind(account, "companies", "contacts")] = 5
    account.limits[in_process.kind(account, "contacts", "companies", "Primary")] = 1
  end)

  local function name_of(request)
    return request.method .. " " .. request.url:match "associations/v4/(.*)$"
  end

  -- A client whose changing requests are noted, and of which one may be answered otherwise.
  local function client(instead)
    return in_process.client(account, function(request, number)
      if request.method ~= "GET" then sent[#sent + 1] = name_of(request) end
      return instead and instead(request, number)
    end)
  end

  local function parse(text)
    return assert(schema.parse(text or FILE))
  end

  local function plan(text)
    return assert(schema.plan_for(in_process.client(account), parse(text), { usage = false }))
  end

  local function texts(steps)
    local found = {}
    for i, step in ipairs(steps) do found[i] = schema.step_text(step):gsub("^.-: ", "") end
    return found
  end

  local function lengths(report)
    return { report.status, #report.done, #report.failed, #report.left }
  end

  local ALL = {
    "label 'Boss' / 'Owned' -> 'Owner' / 'Owned'", "label 'Buyer'", "label 'Employee' / 'Employer'",
    "label 'Old' (records lose it, and stay associated)", "limit of 'Primary': 1", "limit of 'Buyer': 3",
    "limit of 'Employee': 2", "limit: 40 -> 20", "limit: 5 -> 9", "limit of 'Employer': 9",
  }

  it("does its steps in its order, tells each, and leaves nothing to plan", function()
    local told = {}
    local found = plan()
    local report = assert(schema.apply(client(), found, { on_step = function(step, status, errors)
      assert.is_nil(errors)
      assert.equal("done", status)
      told[#told + 1] = step
    end }))
    assert.same({ "done", 10, 0, 0 }, lengths(report))
    assert.same(ALL, texts(told))
    assert.same(found.steps, told)
    assert.same({
      "PUT contacts/companies/labels", "POST contacts/companies/labels", "POST contacts/companies/labels",
      "DELETE contacts/companies/labels/1003",
      "POST definitions/configurations/contacts/companies/batch/purge",
      "POST definitions/configurations/contacts/companies/batch/create",
      "POST definitions/configurations/contacts/companies/batch/update",
      "POST definitions/configurations/companies/contacts/batch/update",
      "POST definitions/configurations/companies/contacts/batch/create",
    }, sent)
    assert.equal(0, plan().count)
    assert.matches("^10 of 10 ", report.message)
  end)

  it("sends nothing if the account has changed, and hands out the new plan", function()
    local found = plan()
    account.limits[in_process.kind(account, "companies", "contacts")] = 6
    local report = assert(schema.apply(client(), found))
    assert.same({ "changed", 0, 0, 10 }, lengths(report))
    assert.same({}, sent)
    assert.equal(10, report.plan.count)
    assert.is_not.equal(found.digest, report.plan.digest)
    assert.same("done", assert(schema.apply(client(), report.plan)).status)
  end)

  it("sends nothing if the plan has problems", function()
    local report = assert(schema.apply(client(), plan [[
version: 1
pairs:
  - {from: contacts, to: companies, labels: [{label: X, category: HUBSPOT_DEFINED}]}
]]))
    assert.equal("refused", report.status)
    assert.matches("there is no label 'X'", report.message)
    assert.same({}, sent)
  end)

  it("gives the errors of the first reading, and then nothing was sent", function()
    local found = plan()
    local report, errors = schema.apply(client(function() return { nil, "connect" } end), found)
    assert.is_nil(report)
    assert.equal("transport", errors[1].kind)
    assert.same({}, sent)
  end)

  it("stops at the first failure, says what is done and what is not, and goes on when run again", function()
    local found = plan()
    local told = {}
    local report = assert(schema.apply(client(function(request)
      if #sent == 3 and request.method == "POST" then return { { status = 500, body = "" } } end
    end), found, { on_step = function(_, status, errors) told[#told + 1] = { status, errors and errors[1].kind } end }))
    assert.same({ "failed", 2, 1, 7 }, lengths(report))
    assert.same({ "label 'Employee' / 'Employer'" }, texts(report.failed))
    assert.same({ { "done" }, { "done" }, { "failed", "api" } }, told)
    assert.equal(500, report.errors[1].http_status)
    assert.matches("apply the file again", report.message)
    local rest = plan()
    assert.equal(8, rest.count)
    assert.equal("done", assert(schema.apply(client(), rest)).status)
    assert.equal(0, plan().count)
  end)

  it("looks whether a label is there where the answer got lost, and makes it once", function()
    local report = assert(schema.apply(client(function(request)
      if request.url:find "/labels" and request.method ~= "GET" then
        in_process.answer(account, request)
        return { nil, "timeout" }
      end
    end), plan()))
    assert.same({ "done", 10, 0, 0 }, lengths(report))
    assert.equal(0, plan().count)
  end)

  it("looks so, too, for a label that has one side", function()
    for _, is_readable in ipairs { true, false } do
      local is_lost = false
      local report = assert(schema.apply(client(function(request)
        if is_lost and not is_readable then return { nil, "timeout" } end
        if request.method ~= "POST" then return nil end
        in_process.answer(account, request)
        is_lost = true
        return { nil, "timeout" }
      end), plan(("version: 1\npairs: [{from: contacts, to: contacts, labels: [{label: Twin%s}]}]\n"):format(
        is_readable and "" or "2"))))
      assert.equal(is_readable and "done" or "failed", report.status)
    end
  end)

  it("does not know of a label whose other side cannot be read", function()
    local report = assert(schema.apply(client(function(request)
      if request.method == "POST" then
        in_process.answer(account, request)
        return { nil, "timeout" }
      elseif sent[2] and request.url:find "companies/contacts/labels" then
        return { nil, "timeout" }
      end
    end), plan()))
    assert.same({ "failed", 1, 1, 8 }, lengths(report))
  end)

  it("takes a limit for removed that went with its label", function()
    -- Two labels, each with two sides, whose ids suggest others: the limit of Old's other side seems to be another's.
    account = in_process.account()
    local buyer = in_process.add_label(account, "contacts", "companies", "Buyer", "Seller")
    local old, other = in_process.add_label(account, "contacts", "companies", "Old", "Elder")
    buyer.type_id, old.type_id = 1003, 1001
    account.limits[other] = 4
    local found = plan [[
version: 1
unmanaged: remove
pairs:
  - {from: contacts, to: companies, labels: [{label: Buyer, inverse_label: Seller}]}
]]
    local report = assert(schema.apply(client(), found))
    assert.equal("done", report.status)
    assert.equal(#found.steps, #report.done)
    assert.equal(0, plan [[
version: 1
unmanaged: remove
pairs: [{from: contacts, to: companies, labels: [{label: Buyer, inverse_label: Seller}]}]
]].count)
  end)

  it("stops where what is left after its labels breaks a rule", function()
    local report = assert(schema.apply(client(function(request)
      if request.method == "POST" and #sent == 3 then
        account.limits[in_process.kind(account, "contacts", "companies", "Owner")] = 30
      end
    end), plan [[
version: 1
pairs:
  - {from: contacts, to: companies, limit: 20, labels: [{label: A}, {label: B}, {label: Owner, inverse_label: Owned,
     was: Boss}, {label: Old, limit: 1}]}
]]))
    assert.equal("changed", report.status)
    assert.matches("the limit 30 of 'Owner'", report.plan.problems[1].message)
  end)

  it("looks whether limits are set where the answer got lost", function()
    local report = assert(schema.apply(client(function(request)
      if request.url:find "/batch/" then
        in_process.answer(account, request)
        return { { status = 502, body = "" } }
      end
    end), plan()))
    assert.same({ "done", 10, 0, 0 }, lengths(report))
    assert.equal(0, plan().count)
  end)

  it("says of each limit of a refused request whether it is set", function()
    local report = assert(schema.apply(client(function(request)
      if request.url:find "contacts/companies/batch/create" then -- somebody sets one in this moment
        account.limits[in_process.kind(account, "contacts", "companies", "Buyer")] = 2
      end
    end), plan()))
    assert.same({ "failed", 6, 1, 3 }, lengths(report))
    assert.same({ "limit of 'Buyer': 3" }, texts(report.failed))
    assert.equal("CONFLICT", report.errors[1].category)
  end)

  it("does not know what it cannot read", function()
    local is_lost = false
    local report = assert(schema.apply(client(function(request)
      is_lost = is_lost or request.url:find "/batch/" ~= nil
      if is_lost then return { nil, "timeout" } end
    end), plan()))
    assert.same({ "failed", 4, 1, 5 }, lengths(report))
  end)

  it("takes what is so already for done", function()
    -- Between its reading and its sending others do the same.
    local report = assert(schema.apply(client(function(request)
      if request.method == "DELETE" or request.method == "POST" and request.url:find "labels$" then
        in_process.answer(account, request)
      end
    end), plan()))
    assert.same({ "done", 10, 0, 0 }, lengths(report))
    assert.equal(0, plan().count)
  end)

  it("deletes a label only if it is still called as was shown", function()
    local report = assert(schema.apply(client(function(request)
      if request.method == "POST" and request.url:find "labels$" then
        in_process.kind(account, "contacts", "companies", "Old").label = "New"
        return nil
      end
    end), plan [[
version: 1
unmanaged: remove
pairs:
  - {from: contacts, to: companies, labels: [{label: Boss, inverse_label: Owned}, {label: A}]}
]]))
    assert.equal("changed", report.status)
    assert.matches("^After its labels were changed", report.message)
    assert.is_not_nil(in_process.kind(account, "contacts", "companies", "New"))
    assert.is_true(report.plan.deletes == 1)
  end)

  it("says so where a label has another one's name inside HubSpot", function()
    in_process.add_label(account, "contacts", "companies", "Shopper").name = "buyer"
    local report = assert(schema.apply(client(), plan [[
version: 1
pairs:
  - {from: contacts, to: companies, labels: [{label: Buyer}]}
]]))
    assert.equal("failed", report.status)
    assert.matches("another label of this pair under the name 'buyer', inside; give 'Buyer' another", report.message)
  end)

  it("reads again where what it reads is older than what it did", function()
    local stale, readings = nil, 0
    local report = assert(schema.apply(client(function(request)
      if request.method ~= "GET" or not request.url:find "contacts/companies/labels" then return nil end
      if #sent == 0 then stale = in_process.answer(account, request) end -- before the labels were changed
      readings = readings + (#sent == 4 and 1 or 0)
      return #sent == 4 and readings < 4 and { stale } or nil
    end), plan()))
    assert.same({ "done", 10, 0, 0 }, lengths(report))
    assert.equal(4, readings)
  end)

  it("says so where HubSpot does not make two sides of one", function()
    in_process.add_label(account, "contacts", "contacts", "Friend")
    local report = assert(schema.apply(client(), plan [[
version: 1
pairs:
  - {from: contacts, to: contacts, labels: [{label: Friend, inverse_label: Pal}]}
]]))
    assert.same({ "failed", 0, 1, 0 }, lengths(report))
    assert.matches("HubSpot took the new texts of 'Friend', and it is not called so all the same", report.message)
    assert.matches("A label with one side does not become one with two", report.message)
  end)

  it("is finished by running again, wherever it was killed", function()
    local requests = 0
    local before = account
    local function fresh_account()
      account = in_process.account()
      account.types, account.limits = {}, {}
      for i, kind in ipairs(before.types) do
        local copy = {}
        for name, value in pairs(kind) do copy[name] = value end
        account.types[i] = copy
        account.limits[copy] = before.limits[kind]
      end
      account.last_type_id = before.last_type_id
    end
    fresh_account()
    assert(schema.apply(in_process.client(account, function() requests = requests + 1 end), plan()))
    assert.is_true(requests > 15)
    for last = 1, requests do
      for _, is_carried_out in ipairs { true, false } do
        fresh_account()
        local killed = in_process.client(account, function(request, number)
          if number < last then return nil end
          if number == last and is_carried_out then in_process.answer(account, request) end
          return { nil, "connect" }
        end)
        schema.apply(killed, plan())
        local rest = plan()
        if rest.count > 0 then assert.equal("done", assert(schema.apply(in_process.client(account), rest)).status) end
        assert.equal(0, plan().count)
        assert.same({ "HUBSPOT_DEFINED Primary none", "HUBSPOT_DEFINED nil 20", "USER_DEFINED Buyer 3",
          "USER_DEFINED Employee 2", "USER_DEFINED Owner none" },
          in_process.direction(account, "contacts", "companies"))
      end
    end
  end)
end)
