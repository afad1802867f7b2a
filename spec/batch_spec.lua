-- Batches of several requests: how they are split, and how what comes back is joined.
local binding = require "spec.support.binding"
local cjson = require("cjson").new()
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

local limits = binding.limits

-- Sends each request's inputs back as its results; special[n] says what becomes of request number n: { status, body },
-- or "reset".
local function script(special)
  return { "batch.echo", special or {} }
end

local function update(client, n, call_options)
  return client:batch_update("contacts", "companies", limits(n), call_options)
end

-- The type ids of inputs or results.
local function ids(list)
  local numbers = {}
  for i, element in ipairs(list) do numbers[i] = element.typeId end
  return numbers
end

local function range(first, last)
  local numbers = {}
  for i = first, last do numbers[#numbers + 1] = i end
  return numbers
end

-- The requests' sizes, as the server saw them; all inputs in order.
local function sent(seen)
  local sizes, all = {}, {}
  for i, request in ipairs(seen) do
    local numbers = ids(cjson.decode(request.body).inputs)
    sizes[i] = #numbers
    for _, number in ipairs(numbers) do all[#all + 1] = number end
  end
  return sizes, all
end

local function places(errors)
  local list = {}
  for i, err in ipairs(errors) do list[i] = { err.kind, err.first, err.last, err.attempts } end
  return list
end

describe("a batch", function()
  after_each(fault_server.stop_all)

  it("is split by batch_size, in the order of its inputs", function()
    local client, server = binding.scripted(script())
    local results, errors, response = update(client, 7, { batch_size = 3 })
    assert.is_nil(errors)
    local sizes, all = sent(server:stop())
    assert.same({ 3, 3, 1 }, sizes)
    assert.same(range(1, 7), all)
    assert.same(range(1, 7), ids(results))
    assert.equal(3, #response.requests)
  end)

  it("is sent one request after the other, on one connection", function()
    local client, server = binding.scripted(script())
    update(client, 5, { batch_size = 1 })
    local seen = server:stop()
    assert.equal(5, #seen)
    assert.equal(1, seen.connections)
    for _, request in ipairs(seen) do assert.equal(0, request.extra) end
  end)

  it("is not split where it fits", function()
    local cases = { { 3, { batch_size = 3 } }, { 2, { batch_size = 3 } }, { 1, { batch_size = 1 } }, { 2000 } }
    for _, case in ipairs(cases) do
      local client, server = binding.scripted(script())
      local results, errors, response = update(client, case[1], case[2])
      assert.is_nil(errors)
      assert.equal(case[1], #results)
      assert.is_nil(response.requests)
      assert.equal(1, #server:stop())
    end
  end)

  it("is split at 2000 inputs by itself", function()
    local client, server = binding.scripted(script())
    local results, errors = update(client, 4001)
    assert.is_nil(errors)
    assert.same({ 2000, 2000, 1 }, (sent(server:stop())))
    assert.same(range(1, 4001), ids(results))
  end)

  it("is split for every call that takes inputs", function()
    for _, call in ipairs { "batch_create", "batch_purge" } do
      local client, server = binding.scripted(script())
      local inputs = limits(3)
      if call == "batch_purge" then
        for _, input in ipairs(inputs) do input.maxToObjectIds = nil end
      end
      local results, errors = client[call](client, "contacts", "companies", inputs, { batch_size = 2 })
      assert.is_nil(errors)
      assert.equal(call == "batch_purge" and 0 or 3, #results) -- a purge gives {}, whatever the server answers
      assert.same({ 2, 1 }, (sent(server:stop())))
    end
  end)

  it("has the last envelope as its response, and all of them in response.requests", function()
    local client = binding.scripted(script())
    local _, _, response = update(client, 3, { batch_size = 1 })
    assert.same({ "3", "c3" }, { response.startedAt, response.correlationId })
    for i, request in ipairs(response.requests) do
      assert.same({ tostring(i), "c" .. i, 200, 1 },
        { request.startedAt, request.correlationId, request.http_status, request.attempts })
      assert.is_number(request.elapsed)
    end
  end)

  it("gives nothing for the purged, however many requests it took", function()
    local client = binding.client()
    local inputs = {}
    for i, typeId in ipairs { 36, 38 } do inputs[i] = { category = "USER_DEFINED", typeId = typeId } end
    local results, errors, response = client:batch_purge("contacts", "companies", inputs, { batch_size = 1 })
    assert.is_nil(errors)
    assert.same({}, results)
    assert.equal(2, #response.requests)
  end)
end)

describe("a batch of which one request fails", function()
  after_each(fault_server.stop_all)

  local REFUSED = { 400, '{"status":"error","category":"VALIDATION_ERROR","message":"No"}' }

  it("gives the other requests' results and one error with its range", function()
    local client, server = binding.scripted(script { [2] = REFUSED })
    local results, errors, response = update(client, 8, { batch_size = 3 })
    assert.same({ 1, 2, 3, 7, 8 }, ids(results))
    assert.same({ { "api", 4, 6, 1 } }, places(errors))
    assert.same({ 400, "No" }, { errors[1].http_status, errors[1].message })
    assert.equal(3, #server:stop())
    assert.equal(3, #response.requests)
    assert.same({ 200, 400, 200 },
      { response.requests[1].http_status, response.requests[2].http_status, response.requests[3].http_status })
    assert.truthy(tostring(errors):find("inputs 4 to 6", 1, true))
  end)

  it("has integers for the range", function()
    local client = binding.scripted(script { [2] = REFUSED })
    local _, errors = update(client, 3, { batch_size = 1 })
    assert.equal("2 2", errors[1].first .. " " .. errors[1].last)
  end)

  it("fails at the right place for the first and the last request", function()
    for n, place in pairs { [1] = { 1, 3 }, [3] = { 7, 8 } } do
      local client = binding.scripted(script { [n] = REFUSED })
      local results, errors = update(client, 8, { batch_size = 3 })
      assert.same({ { "api", place[1], place[2], 1 } }, places(errors))
      assert.equal(8 - (place[2] - place[1] + 1), #results)
    end
  end)

  it("has no range where it is only one request", function()
    local client = binding.scripted(script { [1] = REFUSED })
    local _, errors = update(client, 3)
    assert.is_nil(errors[1].first)
    assert.is_nil(errors[1].last)
  end)

  it("goes on where the connection broke", function()
    -- A creation: libcurl would send an update once more by itself, on a new connection.
    local client, server = binding.scripted(script { [2] = "reset" })
    local results, errors, response = client:batch_create("contacts", "companies", limits(6), { batch_size = 2 })
    assert.same({ 1, 2, 5, 6 }, ids(results))
    assert.same({ { "transport", 3, 4, 1 } }, places(errors))
    assert.is_true(errors[1].ambiguous)
    assert.equal(2, #response.requests)
    assert.equal(200, response.http_status)
    assert.same({ 2, 2, 2 }, (sent(server:stop())))
  end)

  it("goes on where an answer cannot be used", function()
    local client = binding.scripted(script { [1] = { 200, "nonsense" } })
    local results, errors, response = update(client, 4, { batch_size = 2 })
    assert.same({ 3, 4 }, ids(results))
    assert.same({ { "protocol", 1, 2, 1 } }, places(errors))
    assert.equal(2, #response.requests)
  end)

  it("gives an empty list of results if those that went well had none", function()
    local client = binding.scripted(script {
      [1] = { 200, '{"status":"COMPLETE","results":[]}' }, [2] = REFUSED })
    local inputs = limits(2)
    for _, input in ipairs(inputs) do input.maxToObjectIds = nil end
    local results, errors = client:batch_purge("contacts", "companies", inputs, { batch_size = 1 })
    assert.same({}, results)
    assert.same({ { "api", 2, 2, 1 } }, places(errors))
  end)

  it("gives no results if all requests failed", function()
    local client, server = binding.scripted(script { [1] = REFUSED, [2] = REFUSED, [3] = REFUSED })
    local results, errors, response = update(client, 5, { batch_size = 2 })
    assert.is_nil(results)
    assert.same({ { "api", 1, 2, 1 }, { "api", 3, 4, 1 }, { "api", 5, 5, 1 } }, places(errors))
    assert.equal(400, response.http_status)
    assert.equal(3, #response.requests)
    assert.equal(3, #server:stop())
    assert.truthy(tostring(errors):find("3 errors", 1, true))
  end)

  it("joins errors of inputs and of requests in order", function()
    local partial = { 207, '{"status":"COMPLETE","numErrors":1,"results":[{"typeId":1}],'
      .. '"errors":[{"category":"CONFLICT","message":"one"}]}' }
    local client = binding.scripted(script { [1] = partial, [2] = REFUSED })
    local results, errors, response = update(client, 6, { batch_size = 2 })
    assert.same({ 1, 5, 6 }, ids(results))
    assert.equal(2, #errors)
    assert.same({ "one", "No" }, { errors[1].message, errors[2].message })
    assert.is_nil(errors[1].first)
    assert.same({ 3, 4 }, { errors[2].first, errors[2].last })
    assert.equal(1, response.requests[1].numErrors)
  end)

  it("drops nothing that HubSpot returned", function()
    local client, token = binding.client()
    local inputs = { binding.limit { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 30 },
      binding.limit { typeId = 99 }, binding.limit { category = "USER_DEFINED", typeId = 38, maxToObjectIds = 40 },
      binding.limit { typeId = 98 }, binding.limit { maxToObjectIds = 90 } }
    local results, errors, response = client:batch_update("contacts", "companies", inputs, { batch_size = 2 })
    table.sort(results, function(a, b) return a.typeId < b.typeId end)
    assert.same({ 36, 38, 279 }, ids(results))
    assert.same({ "99", "98" }, { errors[1].context.typeId[1], errors[2].context.typeId[1] })
    assert.same({ 207, 207, 200 },
      { response.requests[1].http_status, response.requests[2].http_status, response.requests[3].http_status })
    assert.equal(3, simulator.log(token).count)
  end)
end)

describe("a batch with fewer results than inputs", function()
  after_each(fault_server.stop_all)

  local function answered(status, results, changes)
    return binding.scripted(binding.answer(status, '{"status":"COMPLETE","results":[' .. results .. "]}"), changes)
  end

  it("is an error where none is told, and hands over what came", function()
    for _, status in ipairs { 200, 201, 207 } do
      for results, n in pairs { [""] = 0, ['{"typeId":1}'] = 1, ["null,null"] = 0, ['null,{"typeId":1}'] = 1 } do
        local client = answered(status, results)
        local got, errors, response = update(client, 2)
        assert.equal(results:find "null" and 2 or n, #got)
        assert.same({ { "protocol", nil, nil, 1 } }, places(errors))
        assert.same({ status, true, true }, { errors[1].http_status, errors[1].retryable, errors[1].ambiguous })
        assert.truthy(errors[1].message:find(("%d of 2 results"):format(n), 1, true))
        assert.same({ status, "COMPLETE" }, { response.http_status, response.status })
        fault_server.stop_all()
      end
    end
  end)

  it("may be sent again if that does no harm", function()
    local client = answered(200, "{}")
    local function flags(call, ...)
      local _, errors = client[call](client, "contacts", "companies", ...)
      return { errors[1].kind, errors[1].retryable, errors[1].ambiguous }
    end
    local two = { { from = { id = 1 }, to = { id = 2 } }, { from = { id = 3 }, to = { id = 2 } } }
    assert.same({ "protocol", true, true }, flags("batch_update", limits(2)))
    assert.same({ "protocol", false, true }, flags("batch_create", limits(2)))
    assert.same({ "protocol", true, true }, flags("associate_default", two))
    assert.same({ "protocol", true, false }, flags("read", { { id = 1 }, { id = 2 } }))
    for _, pair in ipairs(two) do
      pair.types = { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 1 } }
    end
    assert.same({ "protocol", true, true }, flags("associate", two))
  end)

  it("has its range where it is one of several requests", function()
    local client = answered(200, "{},{}")
    local results, errors = update(client, 5, { batch_size = 3 })
    assert.equal(4, #results)
    assert.same({ { "protocol", 1, 3, 1 } }, places(errors))
  end)

  it("is none where inputs are alike, or errors told, or the call promises no results", function()
    local client = answered(200, "{},{}")
    local twice = limits(2)
    twice[3], twice[4] = binding.limit { typeId = 1, maxToObjectIds = 7 }, binding.limit { typeId = 2 }
    assert.is_nil(select(2, client:batch_update("contacts", "companies", twice)))
    local function pair(from, to) return { from = { id = from }, to = { id = to } } end
    local pairs_of_two = { pair(1, 2), pair("1", "2"), pair("01", 2), pair(2, 1), pair("2", "001") }
    assert.is_nil(select(2, client:associate_default("contacts", "companies", pairs_of_two)))
    assert.is_nil(select(2, client:read("contacts", "companies", { { id = 1 }, { id = 2 }, { id = 1, after = "x" } })))
    client = binding.scripted(binding.answer(207, '{"results":[],"numErrors":1,"errors":[{"message":"m"}]}'))
    assert.equal(1, #select(2, update(client, 3)))
    client = answered(200, "")
    for _, limit in ipairs(twice) do limit.maxToObjectIds = nil end
    assert.is_nil(select(2, client:batch_purge("contacts", "companies", twice)))
  end)

  it("is one where inputs differ in any way that makes two of them", function()
    local client = answered(200, "{}")
    local inputs = { binding.limit { typeId = 1 }, binding.limit { typeId = 1, category = "USER_DEFINED" } }
    assert.equal("protocol", select(2, client:batch_update("contacts", "companies", inputs))[1].kind)
    local same = { { from = { id = 11 }, to = { id = 1 } }, { from = { id = 1 }, to = { id = 11 } } }
    assert.equal("protocol", select(2, client:associate_default("contacts", "companies", same))[1].kind)
  end)
end)

describe("the rest of a batch", function()
  after_each(fault_server.stop_all)

  -- What follows if HubSpot answers request `n` of 4 (2 inputs each) with this fault.
  local function after_fault(fault, n, call_options)
    local client, token = binding.client()
    fault.skip = n - 1
    simulator.fault(token, fault)
    local options = { batch_size = 2 }
    for name, value in pairs(call_options or {}) do options[name] = value end
    local inputs = {}
    for i = 1, 8 do inputs[i] = binding.limit { typeId = 279, maxToObjectIds = 100 + i } end
    local results, errors, response = client:batch_update("contacts", "companies", inputs, options)
    return results, errors, response, simulator.log(token).count
  end

  it("is not sent after a 401 or 403", function()
    for _, status in ipairs { 401, 403 } do
      local results, errors, response, count = after_fault({ status = status }, 2)
      assert.equal(2, #results)
      assert.same({ { "api", 3, 4, 1 }, { "api", 5, 8, 0 } }, places(errors))
      assert.equal(status, errors[1].http_status)
      assert.is_false(errors[2].ambiguous)
      assert.equal("not sent: an earlier request of this call was refused with HTTP " .. status, errors[2].message)
      assert.equal(2, #response.requests)
      assert.equal(2, count)
    end
  end)

  it("is not sent after the daily limit is used up", function()
    local results, errors, _, count = after_fault({ status = 429, policy = "DAILY" }, 1)
    assert.is_nil(results)
    assert.same({ { "throttled", 1, 2, 1 }, { "throttled", 3, 8, 0 } }, places(errors))
    assert.equal(1, count)
  end)

  it("is not sent after the deadline", function()
    local results, errors, _, count = after_fault({ delay = 5 }, 2, { deadline = 0.4 })
    assert.equal(2, #results)
    assert.same({ { "timeout", 3, 4, 1 }, { "timeout", 5, 8, 0 } }, places(errors))
    assert.is_true(errors[1].ambiguous)
    assert.is_false(errors[2].ambiguous)
    assert.equal(2, count)
  end)

  it("is sent after other failures", function()
    for _, status in ipairs { 400, 404, 409, 500 } do
      local results, errors, _, count = after_fault({ status = status }, 2)
      assert.equal(6, #results)
      assert.same({ { "api", 3, 4, 1 } }, places(errors))
      assert.equal(4, count)
    end
  end)

  it("makes no error where there is none left", function()
    local results, errors, _, count = after_fault({ status = 401 }, 4)
    assert.equal(6, #results)
    assert.same({ { "api", 7, 8, 1 } }, places(errors))
    assert.equal(4, count)
  end)

  it("is never sent without a token", function()
    local client = binding.client { access_token = function() return nil end }
    local results, errors, response = update(client, 4, { batch_size = 1 })
    assert.is_nil(results)
    assert.is_nil(response)
    assert.same({ { "config", 1, 1, 0 }, { "config", 2, 4, 0 } }, places(errors))
  end)

  it("shares one deadline with what came before", function()
    local client, token = binding.client()
    simulator.fault(token, { delay = 0.15, times = 10 })
    local _, errors = update(client, 10, { batch_size = 1, deadline = 0.5 })
    local last = errors[#errors]
    assert.same({ "timeout", 10, 0 }, { last.kind, last.last, last.attempts })
    assert.is_true(simulator.log(token).count <= 4)
  end)
end)
