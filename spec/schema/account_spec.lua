--- Reading an account, writing it as a file, comparing and copying accounts.

local cli = require "spec.support.cli"
local in_process = require "spec.support.in_process"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)

describe("an account's schema", function()
  local schema = require "hubspot_assoc.schema"
  local account

  before_each(function() account = in_process.account() end)

  local function set_limit(from, to, label, limit, of)
    (of or account).limits[in_process.kind(of or account, from, to, label)] = limit
  end

  local function fill()
    in_process.add_label(account, "contacts", "companies", "Buyer")
    in_process.add_label(account, "contacts", "companies", "Employee", "Employer")
    in_process.add_label(account, "contacts", "companies", "Owner", "Owned")
    in_process.add_label(account, "deals", "deals", "Twin")
    set_limit("contacts", "companies", nil, 50)
    set_limit("contacts", "companies", "Employee", 5)
    set_limit("companies", "contacts", "Employer", 7)
    set_limit("companies", "contacts", "Primary", 1)
    set_limit("deals", "tickets", nil, 3)
    set_limit("companies", "companies", "Parent Company", 1)
    set_limit("companies", "companies", "Child Company", 8)
  end

  local EXPORTED = [[
version: 1
unmanaged: keep
pairs:
  - from: contacts
    to: companies
    limit: 50
    labels:
      - label: Buyer
      - label: Employee
        inverse_label: Employer
        limit: 5
        inverse_limit: 7
      - label: Owner
        inverse_label: Owned
      - label: Primary
        category: HUBSPOT_DEFINED
        inverse_limit: 1

  - from: companies
    to: companies
    labels:
      - label: Child Company
        category: HUBSPOT_DEFINED
        limit: 8
      - label: Parent Company
        category: HUBSPOT_DEFINED
        limit: 1

  - from: deals
    to: deals
    labels:
      - label: Twin
        inverse_label: Twin

  - from: deals
    to: tickets
    limit: 3
]]

  local function export(options)
    local state = assert(schema.read(in_process.client(account)))
    local wanted, notes = schema.wanted_of(state, options)
    return schema.write(wanted, options), notes, state
  end

  local function plan(text, of)
    local wanted, problems = schema.parse(text)
    assert.is_table(wanted, problems[1] and problems[1].message)
    return assert(schema.plan_for(in_process.client(of or account), wanted, { usage = false }))
  end

  it("is exported, always the same, and there is nothing to plan then", function()
    fill()
    local text, notes = export()
    assert.equal(EXPORTED, text)
    assert.equal(1, #notes)
    assert.matches("HubSpot does not tell the other sides of these labels; their ids suggest: Employee and Employer; "
      .. "Owner and Owned$", notes[1].message)
    for _, options in ipairs { {}, { unmanaged = "remove" }, { format = "json" },
      { format = "json", unmanaged = "remove", schema_path = "x.json" }, { schema_path = "../x.json" } } do
      local found = plan((export(options)))
      assert.same({ 0, {} }, { found.count, found.problems })
    end
    assert.matches("^# yaml%-language%-server: %$schema=%.%./x%.json\nversion: 1\n",
      (export { schema_path = "../x.json" }))
  end)

  it("is exported to another account, which is the same then", function()
    fill()
    local other = in_process.account()
    in_process.add_label(other, "contacts", "companies", "Spare")
    set_limit("contacts", "companies", "Spare", 4, other)
    local text = export { unmanaged = "remove" }
    local client = in_process.client(other)
    local wanted = assert(schema.parse(text))
    local report = assert(schema.apply(client, assert(schema.plan_for(client, wanted))))
    assert.equal("done", report.status)
    for _, pair in ipairs(wanted.pairs) do
      assert.same(in_process.direction(account, pair.from, pair.to), in_process.direction(other, pair.from, pair.to))
      assert.same(in_process.direction(account, pair.to, pair.from), in_process.direction(other, pair.to, pair.from))
    end
    assert.equal(0, plan(text, other).count)
  end)

  it("is exported with texts that are read as they are", function()
    local texts = { "no", "5", "12:30", "a: b", "#1", "Größe", 'x "y" \\ z', "- a", "null", "*", "{}",
      "Chief (C-level)", "true", "don't", "a #b" }
    for i = 1, 9 do in_process.add_label(account, "contacts", "companies", texts[i]) end
    for i = 10, #texts do in_process.add_label(account, "contacts", "deals", texts[i]) end
    for _, format in ipairs { "yaml", "json" } do
      local text = export { format = format }
      local found = plan(text)
      assert.same({ 0, {} }, { found.count, found.problems })
      local wanted = assert(schema.parse(text))
      local read = {}
      for _, pair in ipairs(wanted.pairs) do
        for _, label in ipairs(pair.labels) do read[label.label] = true end
      end
      for _, label in ipairs(texts) do assert.is_true(read[label], label) end
    end
  end)

  it("has labels whose sides are told by the order of their ids, where nothing else tells them", function()
    local ids = { 1001, 1011, 1021, 1031 }
    local a, p = in_process.add_label(account, "contacts", "companies", "A", "P")
    local b, q = in_process.add_label(account, "contacts", "companies", "B", "Q")
    for i, kind in ipairs { a, b, p, q } do kind.type_id = ids[i] end
    local text, notes = export()
    assert.matches("label: A\n        inverse_label: P\n      %- label: B\n        inverse_label: Q\n", text)
    assert.matches("their ids suggest: A and P; B and Q$", notes[1].message)
    account:remove_type(q) -- which cannot be
    text, notes = export()
    assert.matches("label: A\n      %- label: B\n", text)
    assert.matches("their ids suggest: A; B$", notes[1].message)
  end)

  it("says what HubSpot does not tell", function()
    in_process.add_label(account, "contacts", "contacts", "Manager", "Report")
    local text, notes = export()
    assert.matches("label: Manager\n      %- label: Report\n", text)
    assert.matches("HubSpot does not tell which labels are two sides of one", notes[1].message)
    assert.equal(0, plan(text).count)
  end)

  it("has limits of pairs that nobody can find noted", function()
    local kind = in_process.kind(account, "contacts", "deals")
    local stray = {}
    for name, value in pairs(kind) do stray[name] = value end
    stray.from, stray.type_id = "0-99", 12345
    account:add_type(stray)
    account.limits[stray] = 5
    local state = assert(schema.read(in_process.client(account)))
    assert.same({ "Limits whose pairs HubSpot does not tell are left out; name their pairs: HUBSPOT_DEFINED 12345 "
      .. "(limit 5)" }, { state.notes[1].message })
  end)

  it("is exported without what a file cannot name, which is told", function()
    local companies = in_process.kind(account, "contacts", "companies")
    local of_app = { from = companies.from, to = companies.to, category = "INTEGRATOR_DEFINED", type_id = 77 }
    account.limits[account:add_type(of_app)] = 5
    in_process.add_label(account, "contacts", "companies", "Buyer")
    local double = in_process.add_label(account, "contacts", "companies", "Buyer", "Other")
    account.limits[double] = 3
    local text, notes = export()
    local told = {}
    for i, note in ipairs(notes) do told[i] = note.message end
    assert.same({ "contacts to companies: a second label 'Buyer' is left out",
      "contacts to companies: the limit 5 of type INTEGRATOR_DEFINED 77, which has no label, is left out" }, told)
    assert.equal(0, plan(text).count)
    assert.equal(0, plan((export { unmanaged = "remove" })).removes) -- what cannot be named is left alone
  end)

  it("is written in a format that is known, however little there is", function()
    local nothing = { version = 1, unmanaged = "keep", pairs = {} }
    assert.equal("version: 1\nunmanaged: keep\npairs: []\n", schema.write(nothing))
    assert.equal('{\n  "version": 1,\n  "unmanaged": "keep",\n  "pairs": []\n}\n', schema.write(nothing,
      { format = "json" }))
    assert.has_error(function() schema.write(nothing, { format = "toml" }) end,
      'bad argument #2 to \'write\' (options.format: "yaml" or "json" expected, got toml)')
  end)

  it("is read of named pairs, which have to be there", function()
    fill()
    local seen = {}
    local state = assert(schema.read(in_process.client(account), { { from = "company", to = "0-1" },
      { from = "deals", to = "contacts" } }, {
      on_progress = function(done, total) seen[#seen + 1] = { done, total } end,
    }))
    assert.same({ "company", "deals" }, { state.pairs[1].from, state.pairs[2].from })
    assert.same({ { 1, 2 }, { 2, 2 }, { 3, 4 }, { 4, 4 } }, seen)
    local _, errors = schema.read(in_process.client(account), { { from = "contacts", to = "nonsense" } })
    assert.same({ "api", 400, "nonsense" }, { errors[1].kind, errors[1].http_status, errors[1].to })
  end)

  it("is exported without what the token may not read, which is told", function()
    fill()
    local function read(pattern)
      return schema.read(in_process.client(account, function(request)
        if request.url:find(pattern) then return { { status = 403, body = '{"category":"MISSING_SCOPES"}' } } end
      end))
    end
    local state = assert(read "tickets")
    assert.equal("Pairs that the token may not read are left out: contacts to tickets, companies to tickets, "
      .. "deals to tickets, tickets to tickets", state.notes[1].message)
    assert.matches("name their pairs: HUBSPOT_DEFINED 27 %(limit 3%)$", state.notes[2].message)
    assert.equal(3, #state.pairs)
    local _, errors = read "/labels"
    assert.same({ 403, "MISSING_SCOPES" }, { errors[1].http_status, errors[1].category })
  end)

  it("gives the errors of whichever reading failed, and asks no more", function()
    for number = 1, 6 do
      local count = 0
      local state, errors = schema.read(in_process.client(account, function(_, n)
        count = n
        if n == number then return { nil, "timeout" } end
      end), { { from = "contacts", to = "companies" }, { from = "contacts", to = "deals" } })
      local is_usage = number == 2
      assert.equal(is_usage, state ~= nil)
      if not is_usage then assert.equal("timeout", errors[1].kind) end
      assert.is_true(count <= 6)
    end
  end)

  it("goes by one name for each object type", function()
    local token = simulator.token()
    simulator.request("POST", "/simulator/reset", ('{"token":"%s","custom_objects":["car"]}'):format(token))
    local client = require "hubspot_assoc".new { base_url = simulator.url, access_token = token }
    local state = assert(schema.read(client, { { from = "p_car", to = "contacts" },
      { from = "2-1000001", to = "0-1" } }))
    assert.same({ "2-1000001 to 0-1 is the same as p_car to contacts: each object type goes by one name" },
      { state.problems[1].message })
    local found = schema.plan(state, { version = 1, unmanaged = "keep", pairs = {} })
    assert.equal(1, #found.problems)
    state = assert(schema.read(client, { { from = "p_car", to = "2-1000001" } }))
    assert.equal("p_car and 2-1000001 are one object type, which goes by one name", state.problems[1].message)
    assert.same({}, assert(schema.read(client)).problems)
  end)

  it("has custom objects, whose numbers mean nothing elsewhere", function()
    local token = simulator.token()
    simulator.request("POST", "/simulator/reset",
      ('{"token":"%s","limits":false,"custom_objects":["car"]}'):format(token))
    local client = require "hubspot_assoc".new { base_url = simulator.url, access_token = token }
    local wanted = assert(schema.parse [[
version: 1
pairs:
  - {from: contacts, to: p_car, limit: 5, labels: [{label: Driver, inverse_label: Driven, limit: 2}]}
]])
    assert.equal("done", assert(schema.apply(client, assert(schema.plan_for(client, wanted)))).status)
    local names = { ["2-1000001"] = "p_car" }
    for _, options in ipairs { {}, { names = names } } do
      local found, notes = schema.wanted_of(assert(schema.read(client, nil, options)), options)
      local has_name = options.names ~= nil
      local pair = found.pairs[2]
      assert.same({ "contacts", has_name and "p_car" or "2-1000001", 5 }, { pair.from, pair.to, pair.limit })
      assert.equal(not has_name, #notes > 0 and notes[#notes].message:find(
        "2-1000001 (cars) is this account's own number of an object", 1, true) ~= nil)
    end
    assert.equal(0, assert(schema.plan_for(client, wanted)).count)
  end)

  describe("and another one's", function()
    local function both(other, list)
      return schema.read_both(in_process.client(account), in_process.client(other), list)
    end

    local function texts(found)
      local list = {}
      for i, step in ipairs(found.steps) do list[i] = schema.step_text(step) end
      return list
    end

    it("are compared, whatever only one of them has", function()
      fill()
      local other = in_process.account()
      in_process.add_label(other, "contacts", "companies", "Spare")
      set_limit("tickets", "tickets", nil, 4, other)
      local state_a, state_b = both(other)
      assert.same({
        "contacts -> companies: label 'Buyer'", "contacts -> companies: label 'Employee' / 'Employer'",
        "contacts -> companies: label 'Owner' / 'Owned'",
        "contacts -> companies: label 'Spare'", "deals -> deals: label 'Twin'",
        "contacts -> companies: limit of 'Employee': 5", "contacts -> companies: limit: 50",
        "companies -> contacts: limit of 'Primary': 1", "companies -> contacts: limit of 'Employer': 7",
        "companies -> companies: limit of 'Parent Company': 1", "companies -> companies: limit of 'Child Company': 8",
        "deals -> tickets: limit: 3", "tickets -> tickets: limit: 4",
      }, texts(schema.diff(state_a, state_b)))
      assert.equal(11, schema.diff(state_b, state_a).count) -- the limits of a label that goes go with it
      assert.equal(0, schema.diff(state_a, state_a).count)
    end)

    it("are not compared where one of them cannot be read", function()
      fill()
      local other = in_process.account()
      set_limit("tickets", "tickets", nil, 4, other)
      local counts = { 0, 0 }
      local function counting(of, which)
        return in_process.client(of, function() counts[which] = counts[which] + 1 end)
      end
      assert(schema.read_both(counting(account, 1), counting(other, 2)))
      for which = 1, 2 do
        for number = 1, counts[which] do
          local function failing(of, this)
            return in_process.client(of, function(_, n)
              if this == which and n == number then return { nil, "timeout" } end
            end)
          end
          local state, errors = schema.read_both(failing(account, 1), failing(other, 2))
          if not state then assert.equal("timeout", errors[1].kind) end
          assert.is_true(state == nil or number % 18 == 2, number) -- how many labels a pair may have
        end
      end
    end)

    it("are compared without the objects that only numbers tell", function()
      local tokens, clients = { simulator.token(), simulator.token() }, {}
      for i, token in ipairs(tokens) do
        simulator.request("POST", "/simulator/reset", ('{"token":"%s","custom_objects":[%s]}'):format(token,
          i == 1 and '"car"' or '"boat","car"'))
        simulator.request("POST", "/simulator/rate", ('{"token":"%s","max":10000}'):format(token))
        clients[i] = require "hubspot_assoc".new { base_url = simulator.url, access_token = token }
      end
      local wanted = assert(schema.parse "version: 1\npairs: [{from: p_car, to: p_car, limit: 5}, {from: deals,\
  to: p_car, labels: [{label: Sold}]}]\n")
      for _, client in ipairs(clients) do
        assert.equal("done", assert(schema.apply(client, assert(schema.plan_for(client, wanted)))).status)
      end
      local state_a, state_b = schema.read_both(clients[1], clients[2])
      assert.same({ 0, {} }, { schema.diff(state_a, state_b).count, schema.diff(state_a, state_b).problems })
      assert.matches("is left out: give the object's name, which holds in both accounts", state_a.notes[1].message)
      state_a, state_b = schema.read_both(clients[1], clients[2], nil, { names = { ["2-1000001"] = "p_car" } },
        { names = { ["2-1000002"] = "p_car" } })
      assert.equal(0, schema.diff(state_a, state_b).count)
      assert.same({}, state_a.notes)
    end)

    it("are made alike by copying, but for what HubSpot does not tell", function()
      fill()
      local other = in_process.account()
      in_process.add_label(other, "contacts", "companies", "Spare")
      local state_a, state_b = both(other)
      local found = schema.copy_plan(state_a, state_b)
      assert.same(2, #found.problems)
      assert.matches("'Employee' would have to be made, and HubSpot does not tell whether it has another side",
        found.problems[1].message)
      in_process.add_label(other, "contacts", "companies", "Employee", "Employer")
      in_process.add_label(other, "contacts", "companies", "Owner", "Owned")
      state_a, state_b = both(other)
      found = schema.copy_plan(state_a, state_b)
      assert.same({}, found.problems)
      assert.equal(0, found.deletes)
      assert.equal("done", assert(schema.apply(in_process.client(other), found)).status)
      assert.is_not_nil(in_process.kind(other, "contacts", "companies", "Spare"))
      state_a, state_b = both(other)
      assert.equal(0, schema.copy_plan(state_a, state_b).count)
      assert.equal(1, schema.copy_plan(state_a, state_b, { unmanaged = "remove" }).deletes)
    end)

    it("are compared with files", function()
      fill()
      local wanted = assert(schema.parse(EXPORTED))
      local state = assert(schema.read(in_process.client(account), schema.pairs_of(wanted)))
      assert.same({}, texts(schema.diff(schema.state_of(wanted, state), state)))
      assert.same({}, texts(schema.diff(state, schema.state_of(wanted, state))))
      wanted.pairs[1].limit = 60
      wanted.pairs[1].labels[1].label = "Purchaser"
      assert.same({ "contacts -> companies: label 'Purchaser'",
        "contacts -> companies: label 'Buyer'",
        "contacts -> companies: limit: 50 -> 60" }, texts(schema.diff(schema.state_of(wanted, state), state)))
      assert.equal(3, schema.diff(state, schema.state_of(wanted, state)).count)
      local none = { version = 1, unmanaged = "keep", pairs = {} }
      assert.equal(11, schema.diff(state, schema.state_of(none, state)).count)
      local before = assert(schema.parse(EXPORTED))
      assert.equal(3, schema.diff(schema.state_of(wanted), schema.state_of(before)).count)
    end)
  end)

  it("of 500 pairs is planned within seconds, many readings in flight", function()
    local token, words = simulator.token(), {}
    for i = 1, 30 do words[i] = ('"w%d"'):format(i) end
    simulator.request("POST", "/simulator/reset",
      ('{"token":"%s","custom_objects":[%s]}'):format(token, table.concat(words, ",")))
    simulator.request("POST", "/simulator/rate", ('{"token":"%s","max":100000}'):format(token))
    local names = { "contacts", "companies", "deals", "tickets" }
    local wanted = { version = 1, unmanaged = "keep", pairs = {} }
    for i = 1, 30 do names[4 + i] = "p_w" .. i end
    for i, from in ipairs(names) do
      for j = i, #names do
        if #wanted.pairs < 500 then
          wanted.pairs[#wanted.pairs + 1] = { from = from, to = names[j], limit = 5, labels = {}, is_same = i == j }
        end
      end
    end
    local client = require "hubspot_assoc".new { base_url = simulator.url, access_token = token }
    local core = require "hubspot_assoc.core"
    local started = core.now()
    local found = assert(schema.plan_for(client, wanted, { usage = false }))
    assert.is_true(core.now() - started < 60) -- 0.2 s, where nothing else runs
    assert.same({ 500, 500 }, { found.count, found.pairs })
  end)
end)
