-- The calls on associations of records: what goes over the wire, what comes back, and records in the simulator.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local cjson = require("cjson").new()
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

local unpack = table.unpack or unpack -- luacheck: ignore

local LONG = "9007199254740993" -- 2^53 + 1: no double holds it
local TYPES = { { associationCategory = "USER_DEFINED", associationTypeId = 36 } }

local function labelled(from, to, types)
  return { from = { id = from }, to = { id = to }, types = types or TYPES }
end

local function unlabelled(from, to)
  return { from = { id = from }, to = { id = to } }
end

local function archival(from, ...)
  local input = { from = { id = from }, to = {} }
  for i, id in ipairs { ... } do input.to[i] = { id = id } end
  return input
end

-- An answer with a list of results, and the call's results for it.
local function batch_of(json, decoded)
  return { '{"status":"COMPLETE","startedAt":"2026-08-01T10:00:00.000Z","results":' .. json .. "}", decoded }
end

local PAIR = batch_of('[{"fromObjectTypeId":"0-1","fromObjectId":"1","toObjectTypeId":"0-2",'
  .. '"toObjectId":' .. LONG .. ',"labels":["Consultant"]}]',
  { { fromObjectTypeId = "0-1", fromObjectId = "1", toObjectTypeId = "0-2", toObjectId = LONG,
    labels = { "Consultant" }, index = 1 } })
local DEFAULT = batch_of('[{"from":{"id":2},"to":{"id":' .. LONG .. '},'
  .. '"associationSpec":{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279}},'
  .. '{"from":{"id":1},"to":{"id":7}}]',
  { { from = { id = "2" }, to = { id = LONG },
    associationSpec = { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 }, index = 2 },
    { from = { id = "1" }, to = { id = "7" }, index = 1 } })
local READ = batch_of('[{"from":{"id":"1"},"to":[{"toObjectId":' .. LONG .. ',"associationTypes":'
  .. '[{"category":"HUBSPOT_DEFINED","typeId":279,"label":null}]}],"paging":{"next":{"after":"7"}}},'
  .. '{"from":{"id":' .. LONG .. '},"to":[]}]',
  { { from = { id = "1" }, to = { { toObjectId = LONG,
    associationTypes = { { category = "HUBSPOT_DEFINED", typeId = 279 } } } }, paging = { next = { after = "7" } },
    index = 1 }, { from = { id = LONG }, to = {}, index = 2 } })
local LIST = { '{"results":[{"toObjectId":' .. LONG .. ',"associationTypes":[{"category":"USER_DEFINED","typeId":36,'
  .. '"label":"Consultant"}]}],"paging":{"next":{"after":"NTI1Cg%3D%3D"}}}',
  { { toObjectId = LONG, associationTypes = { { category = "USER_DEFINED", typeId = 36, label = "Consultant" } } } } }
local ONE = { '{"fromObjectTypeId":"0-1","fromObjectId":1,"toObjectTypeId":"0-2",'
  .. '"toObjectId":' .. LONG .. ',"labels":[]}',
  { fromObjectTypeId = "0-1", fromObjectId = "1", toObjectTypeId = "0-2", toObjectId = LONG, labels = {} } }
local REPORT = { '{"enqueueTime":"2026-08-01T10:00:00Z","userId":42,"userEmail":"a@example.com"}',
  { enqueueTime = "2026-08-01T10:00:00Z", userId = 42, userEmail = "a@example.com" } }
local NOTHING = { "", {} }

local BATCH_V4 = "/crm/v4/associations/contacts/companies/batch/"
local BATCH = "/crm/associations/%s/contacts/companies/batch/"
local ONE_V4, ONE_DATED = "/crm/v4/objects/contacts/1/associations/", "/crm/objects/%s/contacts/1/associations/"
local USAGE_V4 = "/crm/v4/associations/usage/high-usage-report/42"
local USAGE = "/crm/associations/%s/usage/high-usage-report/42"

-- Every call: its arguments; method, path in v4 and in dated versions; body as it is sent; success codes; answer and
-- results. `once`: it must not be applied twice; `safe`: it only reads.
local CALLS = {
  { name = "associate", args = { "contacts", "companies", { labelled(1, LONG) } }, method = "POST",
    v4 = BATCH_V4 .. "create", dated = BATCH .. "create", body = { inputs = { labelled("1", LONG) } },
    codes = { 201, 200, 207 }, answer = PAIR },
  { name = "associate_default", args = { "contacts", "companies", { unlabelled("1", 7), unlabelled(2, LONG) } },
    method = "POST", v4 = BATCH_V4 .. "associate/default", dated = BATCH .. "associate/default",
    body = { inputs = { unlabelled("1", "7"), unlabelled("2", LONG) } }, codes = { 200, 201 }, answer = DEFAULT },
  { name = "read", args = { "contacts", "companies", { { id = 1 }, { id = LONG, after = "NTI1Cg%3D%3D" } } },
    method = "POST", v4 = BATCH_V4 .. "read", dated = BATCH .. "read",
    body = { inputs = { { id = "1" }, { id = LONG, after = "NTI1Cg%3D%3D" } } }, codes = { 200, 207 }, answer = READ,
    safe = true },
  { name = "archive", args = { "contacts", "companies", { archival(1, LONG, 2) } }, method = "POST",
    v4 = BATCH_V4 .. "archive", dated = BATCH .. "archive", body = { inputs = { archival("1", LONG, "2") } },
    codes = { 204, 200 }, answer = NOTHING },
  { name = "archive_labels", args = { "contacts", "companies", { labelled(1, LONG) } }, method = "POST",
    v4 = BATCH_V4 .. "labels/archive", dated = BATCH .. "labels/archive", body = { inputs = { labelled("1", LONG) } },
    codes = { 204, 200 }, answer = NOTHING },
  { name = "list", args = { "contacts", 1, "companies", { after = "NTI1Cg%3D%3D", limit = 500 } }, method = "GET",
    v4 = ONE_V4 .. "companies?after=NTI1Cg%253D%253D&limit=500",
    dated = ONE_DATED .. "companies?after=NTI1Cg%%253D%%253D&limit=500", codes = { 200 }, answer = LIST, safe = true },
  { name = "associate_one", args = { "contacts", 1, "companies", LONG, TYPES }, method = "PUT",
    v4 = ONE_V4 .. "companies/" .. LONG, dated = ONE_DATED .. "companies/" .. LONG, body = TYPES, codes = { 201, 200 },
    answer = ONE },
  { name = "associate_one_default", args = { "contacts", "1", "companies", LONG }, method = "PUT",
    v4 = ONE_V4 .. "default/companies/" .. LONG, dated = ONE_DATED .. "default/companies/" .. LONG, codes = { 200 },
    answer = ONE },
  { name = "archive_one", args = { "contacts", "1", "companies", LONG }, method = "DELETE",
    v4 = ONE_V4 .. "companies/" .. LONG, dated = ONE_DATED .. "companies/" .. LONG, codes = { 204, 200 },
    answer = { "", true } },
  { name = "request_usage_report", args = { 42 }, method = "POST", v4 = USAGE_V4, dated = USAGE, codes = { 200 },
    answer = REPORT, once = true },
}

local function invoke(client, case)
  return client[case.name](client, unpack(case.args))
end

-- A client whose requests meet this answer: see binding.answer.
local function answered(status, body, options)
  return binding.scripted(binding.answer(status, body), options)
end

describe("a call on records", function()
  after_each(fault_server.stop_all)

  for _, case in ipairs(CALLS) do
    for _, version in ipairs { "v4", "2025-09", "2026-03", "2026-09" } do
      it(("sends what HubSpot takes: %s, %s"):format(case.name, version), function()
        local client, server = answered(case.codes[1], case.answer[1], { api_version = version })
        local results, errors = invoke(client, case)
        assert.is_nil(errors)
        assert.same(case.answer[2], results)
        local seen = server:stop()
        assert.equal(1, #seen)
        assert.equal(case.method, seen[1].method)
        assert.equal(version == "v4" and case.v4 or case.dated:format(version), seen[1].path)
        if case.body then
          assert.same(case.body, cjson.decode(seen[1].body))
          assert.equal("application/json", seen[1].headers["content-type"])
        else
          assert.equal("", seen[1].body)
          assert.is_nil(seen[1].headers["content-type"])
        end
      end)
    end

    it(("takes every success code: %s"):format(case.name), function()
      for _, status in ipairs(case.codes) do
        local client, server = answered(status, case.answer[1])
        local results, errors, response = invoke(client, case)
        assert.is_nil(errors)
        assert.same(case.answer[2], results)
        assert.equal(status, response.http_status)
        server:stop()
      end
    end)

    -- A 502 may come after the call was carried out; a 429 never does.
    it(("is sent again where that does no harm: %s"):format(case.name), function()
      for _, status in ipairs { 502, 429 } do
        local client, server = binding.scripted(
          { "answers.first", status, { ["Retry-After"] = "0" }, case.answer[1] }, { max_attempts = 3 })
        local results, errors = invoke(client, case)
        if case.once and status == 502 then
          assert.is_nil(results)
          assert.same({ 1, true, false }, { errors[1].attempts, errors[1].ambiguous, errors[1].retryable })
          assert.equal(1, #server:stop())
        else
          assert.is_nil(errors)
          local seen = server:stop()
          assert.equal(2, #seen, fault_server.describe(seen))
        end
      end
    end)

    it(("is ambiguous where it may have been applied: %s"):format(case.name), function()
      local client = answered(500, "")
      local results, errors, response = invoke(client, case)
      assert.is_nil(results)
      assert.equal(not case.safe, errors[1].ambiguous)
      assert.equal(500, response.http_status)
    end)

    it(("leaves its arguments alone: %s"):format(case.name), function()
      local before = cjson.encode { case.args }
      local client = answered(case.codes[1], case.answer[1])
      invoke(client, case)
      assert.same(cjson.decode(before), { case.args })
    end)
  end

  it("gives what succeeded and what failed", function()
    local failed = ',"numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND",'
      .. '"message":"No such record","context":{"fromObjectId":["5"]},"subCategory":{}}]}'
    for _, case in ipairs(CALLS) do
      if case.name:find "^associate" and case.body ~= TYPES or case.name == "read" then
        local client, server = answered(207, case.answer[1]:sub(1, -2) .. failed)
        local results, errors, response = invoke(client, case)
        assert.same(case.answer[2][1] or case.answer[2].toObjectId, results[1] or results.toObjectId)
        assert.same({ 1, "api", "OBJECT_NOT_FOUND", 207, "5" }, { #errors, errors[1].kind, errors[1].category,
          errors[1].http_status, errors[1].context.fromObjectId[1] })
        assert.same({ 207, 1 }, { response.http_status, response.numErrors })
        server:stop()
      end
    end
    for _, name in ipairs { "archive", "archive_labels" } do
      local client, server = answered(207, '{"status":"COMPLETE","results":[]' .. failed)
      local input = name == "archive" and archival(1, 2) or labelled(1, 2)
      local results, errors = client[name](client, "contacts", "companies", { input })
      assert.same({}, results)
      assert.equal(1, #errors)
      server:stop()
    end
  end)

  it("gives {} for an archival, whatever the 2xx holds around it", function()
    for _, body in ipairs { "", "{}", '{"status":"COMPLETE"}', '{"status":"COMPLETE","results":[]}' } do
      local client, server = answered(200, body)
      local results, errors = client:archive("contacts", "companies", { archival(1, 2) })
      assert.same({}, results)
      assert.is_nil(errors)
      server:stop()
    end
  end)

  it("hands on where a list goes on", function()
    local client, server = answered(200, LIST[1])
    local _, _, response = client:list("contacts", 1, "companies")
    assert.equal("NTI1Cg%3D%3D", response.paging.next.after)
    client:list("contacts", 1, "companies", { after = response.paging.next.after, timeout = 5 })
    client:list("contacts", 1, "companies", { limit = 1 })
    local seen = server:stop()
    assert.equal(ONE_V4 .. "companies", seen[1].path)
    assert.equal(ONE_V4 .. "companies?after=NTI1Cg%253D%253D", seen[2].path)
    assert.equal(ONE_V4 .. "companies?limit=1", seen[3].path)
  end)

  it("sends ids as strings, however they are given", function()
    local client, server = answered(200, '{"results":[{},{},{},{},{}]}') -- of five different ones
    local ids = { 7, "7", 2 ^ 40, LONG, "9223372036854775807", "007", -0.0, 0 / -1 }
    if math.type then ids[#ids + 1] = math.tointeger(LONG) end
    local inputs = {}
    for i, id in ipairs(ids) do inputs[i] = { id = id } end
    assoc.check(client:read("contacts", "companies", inputs))
    local sent = {}
    for id in server:stop()[1].body:gmatch '"id":("[^"]*")' do sent[#sent + 1] = id end
    local expected = { '"7"', '"7"', '"1099511627776"', '"' .. LONG .. '"', '"9223372036854775807"', '"007"',
      '"0"', '"0"',
      math.type and '"' .. LONG .. '"' }
    assert.same(expected, sent)
  end)

  it("gives ids as exact strings, however they come", function()
    local ids = { "1", "999999999999999", "1000000000000000", LONG, "9223372036854775807" }
    for _, quote in ipairs { "", '"' } do
      local parts = {}
      for i, id in ipairs(ids) do parts[i] = '{"toObjectId":' .. quote .. id .. quote .. "}" end
      local client, server = answered(200, '{"results":[' .. table.concat(parts, ",") .. "]}")
      local got = {}
      for i, result in ipairs(assoc.check(client:list("contacts", 1, "companies"))) do got[i] = result.toObjectId end
      assert.same(ids, got)
      server:stop()
    end
  end)

  it("keeps every argument one segment of the path", function()
    local client, server = answered(204, "")
    client:archive_one("a/b", 1, "p_thing?", 2)
    assert.equal("/crm/v4/objects/a%2Fb/1/associations/p_thing%3F/2", server:stop()[1].path)
  end)
end)

describe("a batch of records", function()
  after_each(fault_server.stop_all)

  local function many(n, make)
    local inputs = {}
    for i = 1, n do inputs[i] = make(i) end
    return inputs
  end

  local makers = {
    associate = { 2000, function(i) return labelled(i, i + 1) end },
    associate_default = { 2000, function(i) return unlabelled(i, i + 1) end },
    read = { 1000, function(i) return { id = i } end },
    archive = { 100, function(i) return archival(i, i + 1) end },
    archive_labels = { 100, function(i) return labelled(i, i + 1) end },
  }
  for name, maker in pairs(makers) do
    local most, make = unpack(maker)

    it(("is split at %d inputs: %s"):format(most, name), function()
      local client, server = binding.scripted(binding.echo)
      local _, errors, response = client[name](client, "contacts", "companies", many(2 * most + 1, make))
      assert.is_nil(errors)
      local sizes, first = {}, {}
      for i, request in ipairs(server:stop()) do
        local inputs = cjson.decode(request.body).inputs
        sizes[i], first[i] = #inputs, inputs[1].id or inputs[1].from.id
      end
      assert.same({ most, most, 1 }, sizes)
      assert.same({ "1", tostring(most + 1), tostring(2 * most + 1) }, first)
      assert.equal(3, #response.requests)
    end)

    it(("is not split where it fits, and smaller if asked: %s"):format(name), function()
      local client, server = binding.scripted(binding.echo)
      assoc.check(client[name](client, "contacts", "companies", many(most, make)))
      assert.equal(1, #server:seen())
      assoc.check(client[name](client, "contacts", "companies", many(3, make), { batch_size = 2 }))
      assert.equal(3, #server:stop())
    end)

    it(("cannot be larger than HubSpot takes: %s"):format(name), function()
      local ok, message = pcall(assoc[name], "contacts", "companies", {}, { batch_size = most + 1 })
      assert.is_false(ok)
      local expected = ("(options.batch_size: HubSpot takes %d inputs a request at most)"):format(most)
      assert.truthy(message:find(expected, 1, true), message)
    end)

    it(("sends nothing for empty inputs: %s"):format(name), function()
      local client, token = binding.client()
      local results, errors, response = client[name](client, "contacts", "companies", {})
      assert.same({}, results)
      assert.is_nil(errors)
      assert.same({ attempts = 0, elapsed = 0 }, response)
      assert.equal(0, simulator.log(token).count)
    end)

    it(("has an error with its range where a request fails: %s"):format(name), function()
      local client = binding.scripted {
        "acts.by_number", { [2] = { { "json", 400, '{"category":"VALIDATION_ERROR"}' } } },
        { "json", 200, '{"results":[{},{}]}' } }
      local _, errors = client[name](client, "contacts", "companies", many(5, make), { batch_size = 2 })
      assert.equal(1, #errors)
      assert.same({ 3, 4, "VALIDATION_ERROR", name },
        { errors[1].first, errors[1].last, errors[1].category, errors[1].call })
    end)
  end
end)

describe("a read whose answer is larger than max_response_bytes", function()
  after_each(fault_server.stop_all)

  -- Answers with 300 bytes and more for each id, 5000 for those that end in 7. The second request for id 24 is refused.
  local LARGE = "bodies.large"

  local function inputs(first, last)
    local list = {}
    for id = first, last do list[#list + 1] = { id = id, after = id % 2 == 0 and 'a,"\\]}{[' or nil } end
    return list
  end

  local function ids_of(results)
    local ids = {}
    for i, result in ipairs(results) do ids[i] = tonumber(result.from.id) end
    return ids
  end

  -- What the server was asked: the ids of each request, with a comma in between.
  local function asked(server)
    local lists = {}
    for i, request in ipairs(server:stop()) do
      local ids = {}
      for k, input in ipairs(cjson.decode(request.body).inputs) do
        ids[k] = input.id
        assert.equal(input.id % 2 == 0 and 'a,"\\]}{[' or nil, input.after)
      end
      lists[i] = table.concat(ids, ",")
    end
    return lists
  end

  it("is asked for again in halves", function()
    local client, server = binding.scripted(LARGE, { max_response_bytes = 1500 })
    local results, errors, response = client:read("contacts", "companies", inputs(11, 16))
    assert.is_nil(errors)
    assert.same({ 11, 12, 13, 14, 15, 16 }, ids_of(results))
    assert.equal(200, response.http_status)
    assert.equal(2, #response.requests)
    assert.same({ "11,12,13,14,15,16", "11,12,13", "14,15,16" }, asked(server))
  end)

  it("down to a single one, which alone fails, and says what to do", function()
    local client, server = binding.scripted(LARGE, { max_response_bytes = 1500 })
    local results, errors, response = client:read("contacts", "companies", inputs(14, 18))
    assert.same({ 14, 15, 16, 18 }, ids_of(results))
    assert.same({ 1, "protocol", 4, 4 }, { #errors, errors[1].kind, errors[1].first, errors[1].last })
    assert.matches("max_response_bytes", errors[1].message)
    assert.matches("batch_size", errors[1].message)
    assert.equal(3, #response.requests)
    assert.same({ "14,15,16,17,18", "14,15,16", "17,18", "17", "18" }, asked(server))
  end)

  it("keeps its place among other requests, which are not halved", function()
    local client, server = binding.scripted(LARGE, { max_response_bytes = 1500 })
    local results, errors = client:read("contacts", "companies", inputs(13, 20), { batch_size = 3 })
    assert.same({ 13, 14, 15, 16, 18, 19, 20 }, ids_of(results))
    assert.same({ 5, 5 }, { errors[1].first, errors[1].last })
    assert.same({ "13,14,15", "16,17,18", "16,17", "16", "17", "18", "19,20" }, asked(server))
  end)

  it("leaves what was not asked for any more to one error", function()
    local client = binding.scripted(LARGE, { max_response_bytes = 1500 })
    local results, errors = client:read("contacts", "companies", inputs(19, 28), { batch_size = 8 })
    assert.same({ 19, 20, 21, 22 }, ids_of(results))
    assert.same({ 2, 403, 5, 8, 9, 10 }, { #errors, errors[1].http_status, errors[1].first, errors[1].last,
      errors[2].first, errors[2].last })
  end)

  it("is halved in asynchronous calls too", function()
    local client = binding.scripted(LARGE, { max_response_bytes = 1500 })
    local results, errors = client.async:read("contacts", "companies", inputs(11, 16)):wait()
    assert.is_nil(errors)
    assert.same({ 11, 12, 13, 14, 15, 16 }, ids_of(results))
  end)

  it("is an error at once where the call changes something", function()
    local client, server = binding.scripted({ "answers.always", 200, ("x"):rep(3000) },
      { max_response_bytes = 1500 })
    local _, errors = client:associate_default("contacts", "companies", { unlabelled(1, 2), unlabelled(3, 4) })
    assert.same({ "protocol", true }, { errors[1].kind, errors[1].ambiguous })
    assert.matches("max_response_bytes.*batch_size", errors[1].message)
    assert.equal(1, #server:stop())
  end)
end)

describe("misuse of a call on records", function()
  local client, token = binding.client()

  local function pair(name, ...)
    return { name, { "contacts", "companies", ... } }
  end

  local ID = "record id (a string of digits) expected, got "
  local LARGE = "record id (9223372036854775807 at most) expected, got string"
  local cases = {
    { pair("associate"), "#3 to 'associate' (inputs: list expected, got nil)" },
    { pair("associate", labelled(1, 2)), "(inputs: list expected, got a single element; put it into a list" },
    { pair("associate", { labelled("x", 2) }), "(inputs[1].from.id: " .. ID .. 'string "x")' },
    { pair("associate", { labelled(1, 2), labelled(1, -2) }), "(inputs[2].to.id: " .. ID .. "number -2)" },
    { pair("associate", { labelled(1.5, 2) }), "(inputs[1].from.id: " .. ID .. "number 1.5)" },
    { pair("associate", { labelled(1, "") }), "(inputs[1].to.id: " .. ID .. 'string "")' },
    { pair("associate", { labelled(1, "99999999999999999999") }), "(inputs[1].to.id: " .. LARGE },
    { pair("associate", { labelled(1, "9223372036854775808") }), "(inputs[1].to.id: " .. LARGE },
    { pair("associate", { unlabelled(1, 2) }), "(inputs[1].types: list expected, got nil)" },
    { pair("associate", { labelled(1, 2, {}) }), "(inputs[1].types: at least one element expected)" },
    { pair("associate", { labelled(1, 2, TYPES[1]) }), "(inputs[1].types: list expected, got a single element" },
    { pair("associate", { labelled(1, 2, { { associationCategory = "WORK" } }) }),
      "(inputs[1].types[1].associationTypeId: integer expected, got nil)" },
    { pair("associate", { labelled(1, 2, { { category = "WORK", associationTypeId = 1 } }) }),
      "(inputs[1].types[1].category: unknown field" },
    { pair("associate", { labelled(1, 2, { { associationCategory = "WORK", associationTypeId = 2 ^ 31 } }) }),
      "(inputs[1].types[1].associationTypeId: integer from 0 to 2147483647 expected, got number 2147483648)" },
    { pair("associate", { { from = 1, to = { id = 2 }, types = TYPES } }),
      "(inputs[1].from: table expected, got number 1)" },
    { pair("associate", { labelled(1, 2, "Employee") }), "(inputs[1].types: list expected, got string \"Employee\"; "
      .. "types:of(\"Employee\") gives it, where types = client:label_types(from, to))" },
    { pair("archive_labels", { labelled(1, 2, { index = {} }) }), "got the key 'index'; types:of(\"Employee\") gives" },
    { { "associate_one", { "contacts", 1, "companies", 2, "Employee" } }, "got string \"Employee\"; types:of(" },
    { pair("associate_default", { labelled(1, 2) }), "#3 to 'associate_default' (inputs[1].types: unknown field" },
    { pair("associate_default", { { from = { id = 1 } } }), "(inputs[1].to: table expected, got nil)" },
    { pair("read", { "1" }), "#3 to 'read' (inputs[1]: table expected, got string \"1\")" },
    { pair("read", { id = 1 }), "(inputs: list expected, got a single element; put it into a list" },
    { pair("read", { { id = 1, after = 5 } }), "(inputs[1].after: string expected, got number 5)" },
    { pair("read", { { id = 1 } }, { limit = 5 }), "#4 to 'read' (options.limit: unknown field" },
    { pair("archive", { unlabelled(1, 2) }), "#3 to 'archive' (inputs[1].to: list expected, got a single element" },
    { pair("archive", { archival(1) }), "(inputs[1].to: at least one element expected)" },
    { pair("archive", { archival(1, 2, "x") }), "(inputs[1].to[2].id: " .. ID .. 'string "x")' },
    { pair("archive_labels", { unlabelled(1, 2) }),
      "#3 to 'archive_labels' (inputs[1].types: list expected, got nil)" },
    { { "list", { "contacts", "x", "companies" } }, "#2 to 'list' (fromId: " .. ID .. 'string "x")' },
    { { "list", { "contacts", 1, "" } }, "#3 to 'list' (to: must not be empty)" },
    { { "list", { "contacts", 1, "companies", { limit = 0 } } },
      "#4 to 'list' (options.limit: integer from 1 to 500 expected, got number 0)" },
    { { "list", { "contacts", 1, "companies", { limit = 501 } } }, "(options.limit: integer from 1 to 500 expected" },
    { { "list", { "contacts", 1, "companies", { after = 5 } } }, "(options.after: string expected, got number 5)" },
    { { "list", { "contacts", 1, "companies", { afer = "5" } } },
      "(options.afer: unknown field; did you mean 'after'?)" },
    { { "associate_one", { "contacts", 1, "companies", 2 } }, "#5 to 'associate_one' (types: list expected, got nil)" },
    { { "associate_one", { "contacts", 1, "companies", 2, {} } }, "(types: at least one element expected)" },
    { { "associate_one", { "contacts", 1, "companies", 2, TYPES[1] } }, "(types: list expected, got a single element" },
    { { "associate_one", { "contacts", 1, "companies", 2, { {} } } },
      "(types[1].associationCategory: string expected, got nil)" },
    { { "associate_one", { "contacts", 1, "companies", 2, TYPES, {}, 7 } },
      "'associate_one' takes no more than 6 arguments" },
    { { "associate_one_default", { "contacts", 1, "companies", "../2" } },
      "#4 to 'associate_one_default' (toId: " .. ID .. 'string "../2")' },
    { { "archive_one", { "contacts", 1, "companies" } }, "#4 to 'archive_one' (toId: " .. ID .. "nil)" },
    { { "request_usage_report", {} }, "#1 to 'request_usage_report' (userId: " .. ID .. "nil)" },
  }
  for _, case in ipairs(cases) do
    local name, args = unpack(case[1])
    it(("raises: %s: %s"):format(name, case[2]), function()
      local ok, message = pcall(function()
        local results = client[name](client, unpack(args))
        return results
      end)
      assert.is_false(ok)
      assert.matches("^%S*records_spec%.lua:%d+: bad argument ", message)
      assert.truthy(message:find(case[2], 1, true), message)
      assert.equal(0, simulator.log(token).count)
    end)
  end
end)

for _, version in ipairs(binding.versions) do
  describe("records in the simulator, " .. version, function()
    local client, token
    local v4 = version == "v4"

    before_each(function() client, token = binding.client { api_version = version } end)

    -- What a contact is associated with: company → its labels, "" for the unlabelled type.
    local function companies_of(contact)
      local results, errors = client:read("contacts", "companies", { { id = contact } })
      if errors then
        assert.equal("crm.associations.NO_ASSOCIATIONS_FOUND", errors[1].subCategory)
        return {}
      end
      local found = {}
      for _, record in ipairs(results[1].to) do
        local labels = {}
        for i, kind in ipairs(record.associationTypes) do labels[i] = kind.label or "" end
        table.sort(labels)
        found[record.toObjectId] = table.concat(labels, ",")
      end
      return found
    end

    it("are associated by label, read and archived", function()
      local inputs = { labelled(LONG, 7), labelled(1, LONG) }
      local results, errors, response = client:associate("contacts", "companies", inputs)
      assert.is_nil(errors)
      assert.equal((v4 or version < "2026-09") and 201 or 200, response.http_status)
      assert.same({
        { fromObjectTypeId = "0-1", fromObjectId = "1", toObjectTypeId = "0-2", toObjectId = LONG,
          labels = { "Consultant" }, index = 2 },
        { fromObjectTypeId = "0-1", fromObjectId = LONG, toObjectTypeId = "0-2", toObjectId = "7",
          labels = { "Consultant" }, index = 1 },
      }, results)
      assert.same({ [LONG] = ",Consultant" }, companies_of(1))
      assert.same({ ["7"] = ",Consultant" }, companies_of(LONG))

      results, errors, response = client:archive_labels("contacts", "companies", { labelled(1, LONG) })
      assert.same({}, results)
      assert.is_nil(errors)
      assert.equal(v4 and 204 or 200, response.http_status)
      assert.same({ [LONG] = "" }, companies_of(1))

      results, errors, response = client:archive("contacts", "companies", { archival(1, LONG), archival(LONG, 5, 7) })
      assert.same({}, results)
      assert.is_nil(errors)
      assert.equal(v4 and 204 or 200, response.http_status)
      assert.same({}, companies_of(1))
      assert.same({}, companies_of(LONG))
    end)

    it("are associated by default, and found from the other side", function()
      local results, errors, response = client:associate_default("companies", "contacts", { unlabelled(7, LONG) })
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.same({ { from = { id = "7" }, to = { id = LONG },
        associationSpec = { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 280 }, index = 1 } },
        results)
      assert.same({ ["7"] = "" }, companies_of(LONG))
    end)

    it("are associated and archived one by one", function()
      local results, errors, response = client:associate_one("contacts", 1, "companies", LONG, TYPES)
      assert.is_nil(errors)
      assert.equal(201, response.http_status)
      assert.same({ fromObjectTypeId = "0-1", fromObjectId = "1", toObjectTypeId = "0-2", toObjectId = LONG,
        labels = { "Consultant" } }, results)
      results, errors, response = client:associate_one_default("contacts", 1, "companies", 8)
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.same({ from = { id = "1" }, to = { id = "8" },
        associationSpec = { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } }, results.results[1])
      assert.same({ [LONG] = ",Consultant", ["8"] = "" }, companies_of(1))
      results, errors, response = client:archive_one("contacts", "1", "companies", LONG)
      assert.is_true(results)
      assert.is_nil(errors)
      assert.equal(204, response.http_status)
      assert.same({ ["8"] = "" }, companies_of(1))
    end)

    it("are listed page by page", function()
      local inputs = {}
      for i = 1, 7 do inputs[i] = unlabelled(1, i) end
      assoc.check(client:associate_default("contacts", "companies", inputs))
      local ids, after, pages = {}, nil, 0
      repeat
        local results, errors, response = client:list("contacts", 1, "companies", { limit = 3, after = after })
        assert.is_nil(errors)
        for _, record in ipairs(results) do ids[#ids + 1] = record.toObjectId end
        assert.same({ { category = "HUBSPOT_DEFINED", typeId = 279 } }, results[1].associationTypes)
        after, pages = response.paging and response.paging.next.after, pages + 1
      until not after
      assert.same({ "1", "2", "3", "4", "5", "6", "7" }, ids)
      assert.equal(3, pages)
      local results, errors, response = client:list("contacts", 99, "companies")
      assert.same({}, results)
      assert.is_nil(errors)
      assert.is_nil(response.paging)
    end)

    it("fail one by one in a batch", function()
      local results, errors, response = client:associate("contacts", "companies", {
        labelled(1, 2), labelled(1, 3, { { associationCategory = "USER_DEFINED", associationTypeId = 999 } }) })
      assert.equal(1, #results)
      assert.same({ 1, "OBJECT_NOT_FOUND", "3" }, { #errors, errors[1].category, errors[1].context.toObjectId[1] })
      assert.equal(207, response.http_status)
      results, errors, response = client:read("contacts", "companies", { { id = 5 }, { id = 1 } })
      assert.same({ "1", 1 }, { results[1].from.id, #results })
      assert.same({ 1, "OBJECT_NOT_FOUND", "5" }, { #errors, errors[1].category, errors[1].context.fromObjectId[1] })
      assert.equal(207, response.http_status)
    end)

    it("have their usage reported", function()
      local results, errors, response = client:request_usage_report(42)
      assert.is_nil(errors)
      assert.equal(200, response.http_status)
      assert.same({ 42, "user-42@example.com" }, { results.userId, results.userEmail })
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT", results.enqueueTime)
      assert.equal("", simulator.log(token)[1].body or "")
    end)
  end)
end

describe("the simulator's records", function()
  local client, token

  before_each(function() client, token = binding.client() end)

  it("heed limits", function()
    assoc.check(client:batch_update("contacts", "companies", { binding.limit { category = "USER_DEFINED", typeId = 36,
      maxToObjectIds = 1 } }))
    local inputs = { labelled(1, 1), labelled(1, 2), labelled(2, 2) }
    local results, errors = client:associate("contacts", "companies", inputs)
    assert.equal(2, #results)
    assert.same({ 1, "VALIDATION_ERROR", "2" }, { #errors, errors[1].category, errors[1].context.toObjectId[1] })
    local one
    one, errors = client:associate_one("contacts", 1, "companies", 3, TYPES)
    assert.is_nil(one)
    assert.same({ 400, "VALIDATION_ERROR" }, { errors[1].http_status, errors[1].category })
    assoc.check(client:associate_one("contacts", 1, "companies", 1, TYPES)) -- it is there already
  end)

  it("lose a label that is deleted and stay associated", function()
    assoc.check(client:associate_one("contacts", 1, "companies", 2, TYPES))
    assoc.check(client:delete_label("contacts", "companies", 36))
    local types = assoc.check(client:list("contacts", 1, "companies"))[1].associationTypes
    assert.same({ { category = "HUBSPOT_DEFINED", typeId = 279 } }, types)
  end)

  it("lose everything with the unlabelled type", function()
    assoc.check(client:associate_one("contacts", 1, "companies", 2, TYPES))
    assoc.check(client:archive_labels("contacts", "companies",
      { labelled(1, 2, { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } }) }))
    assert.same({}, assoc.check(client:list("contacts", 1, "companies")))
    assert.same({}, assoc.check(client:list("companies", 2, "contacts")))
  end)

  it("have their own types in each direction", function()
    local function types(from, id, to)
      local ids = {}
      for i, kind in ipairs(assoc.check(client:list(from, id, to))[1].associationTypes) do ids[i] = kind.typeId end
      return ids
    end
    assoc.check(client:associate_one("contacts", 1, "companies", 2,
      { { associationCategory = "USER_DEFINED", associationTypeId = 38 } }))
    assert.same({ 38, 279 }, types("contacts", 1, "companies"))
    assert.same({ 39, 280 }, types("companies", 2, "contacts"))
    assoc.check(client:associate_one("companies", 1, "companies", 2,
      { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 13 } }))
    assert.same({ 13, 450 }, types("companies", 1, "companies"))
    assert.same({ 14, 450 }, types("companies", 2, "companies"))
  end)

  it("go on where a page of a read ends", function()
    local inputs = {}
    for i = 1, 501 do inputs[i] = unlabelled(1, i) end
    assoc.check(client:associate_default("contacts", "deals", inputs))
    local first = assoc.check(client:read("contacts", "deals", { { id = 1 } }))[1]
    assert.equal(500, #first.to)
    local rest = assoc.check(client:read("contacts", "deals", { { id = 1, after = first.paging.next.after } }))[1]
    assert.same({ 1, "501" }, { #rest.to, rest.to[1].toObjectId })
    assert.is_nil(rest.paging)
  end)

  it("are refused as HubSpot does", function()
    local results, errors = client:archive("contacts", "no_such_type", { archival(1, 2) })
    assert.is_nil(results)
    assert.same({ 400, "VALIDATION_ERROR" }, { errors[1].http_status, errors[1].category })
    results, errors = client:archive_one("contacts", 0, "companies", 1)
    assert.is_nil(results)
    assert.same({ 400, "VALIDATION_ERROR" }, { errors[1].http_status, errors[1].category })
    results, errors = client:list("contacts", 1, "companies", { after = "nonsense" })
    assert.is_nil(results)
    assert.equal(400, errors[1].http_status)
  end)

  it("meet rate limits and faults as limits do", function()
    simulator.control("rate", { token = token, max = 1 })
    assoc.check(client:associate_default("contacts", "companies", { unlabelled(1, 2) }))
    local _, errors = client:list("contacts", 1, "companies", { deadline = 1 })
    assert.same({ "throttled", 429 }, { errors[1].kind, errors[1].http_status })
    simulator.control("reset", { token = token })
    simulator.fault(token, { status = 503, times = 1, retry_after = 0 })
    local patient = assoc.new(binding.options { base_url = simulator.url, access_token = token, max_attempts = 2 })
    local _, none, response = patient:request_usage_report(1)
    assert.is_nil(none)
    assert.equal(2, response.attempts)
  end)
end)
