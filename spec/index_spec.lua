-- err.index and result.index: which input is meant, and that nothing is guessed.
local cjson = require("cjson").new()
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

local limit = binding.limit

local function labelled(from, to)
  return { from = { id = from }, to = { id = to },
    types = { { associationCategory = "USER_DEFINED", associationTypeId = 36 } } }
end

local function unlabelled(from, to)
  return { from = { id = from }, to = { id = to } }
end

-- What HubSpot sends for these.
local function limit_result(typeId, category)
  return { category = category or "HUBSPOT_DEFINED", typeId = typeId, userEnforcedMaxToObjectIds = 5 }
end

local function pair_result(from, to)
  return { fromObjectTypeId = "0-1", fromObjectId = from, toObjectTypeId = "0-2", toObjectId = to, labels = { "A" } }
end

local function default_result(from, to)
  return { from = { id = from }, to = { id = to }, associationSpec = {} }
end

local function read_result(id)
  return { from = { id = id }, to = { { toObjectId = 7 } } }
end

local function problem(context, changes)
  local err = { status = "error", message = "No", context = context }
  for name, value in pairs(changes or {}) do err[name] = value end
  return err
end

-- The indexes of a list's elements; false where there is none.
local function indexes(list)
  local found = {}
  for i, element in ipairs(list or {}) do found[i] = element.index or false end
  return found
end

-- The call meets an answer of these results and errors: what indexes they get.
local function match(call, inputs, results, errors, changes)
  local body = { status = "COMPLETE", results = #results > 0 and results or nil, errors = errors,
    numErrors = errors and #errors }
  for name, value in pairs(changes or {}) do body[name] = value end
  local text = cjson.encode(body)
  if #results == 0 then text = text:gsub("^{", '{"results":[],') end
  local client = require "hubspot_assoc".new { access_token = "pat-index", rate = false, transport = function()
    return { status = errors and 207 or 200, headers = {}, body = text }
  end }
  local got, failed = client[call](client, "contacts", "companies", inputs)
  return indexes(got), indexes(failed), failed
end

describe("the index of a result", function()
  teardown(fault_server.stop_all)

  it("is found by what identifies the input, whatever the order", function()
    assert.same({ 1, 2, 3 }, (match("batch_update", binding.limits(3),
      { limit_result(1), limit_result(2), limit_result(3) })))
    assert.same({ 3, 1, 2 }, (match("batch_create", binding.limits(3),
      { limit_result(3), limit_result(1), limit_result(2) })))
    local inputs = { limit { typeId = 1 }, limit { typeId = 1, category = "USER_DEFINED" } }
    assert.same({ 2, 1 }, (match("batch_update", inputs, { limit_result(1, "USER_DEFINED"), limit_result(1) })))
    assert.same({ 3, 1, 2 }, (match("associate", { labelled(1, 2), labelled(1, 3), labelled(2, 3) },
      { pair_result("2", 3), pair_result(1, "2"), pair_result(1, 3) })))
    assert.same({ 2, 1 }, (match("associate_default", { unlabelled("007", 2), unlabelled(1, 3) },
      { default_result("1", "3"), default_result("7", "2") })))
    assert.same({ 2, 1 }, (match("read", { { id = 5 }, { id = "6" } }, { read_result(6), read_result("5") })))
  end)

  it("is found by texts of any length", function()
    for _, first in ipairs { "A", ("x"):rep(32), ("x"):rep(33), ("LONG"):rep(20) } do
      local inputs = { limit { category = first }, limit { category = "B" }, limit { category = "C" } }
      local results = {}
      for i, category in ipairs { "C", "", "D", first, "B" } do results[i] = limit_result(279, category) end
      assert.same({ 3, false, false, 1, 2 }, (match("batch_update", inputs, results)))
      assert.same({ false }, (match("batch_update", { inputs[1] }, { results[2] })))
      assert.same({ 1 }, (match("batch_update", { inputs[1] }, { results[4] })))
    end
  end)

  it("is right for thousands, in any order, some of which failed", function()
    math.randomseed(7)
    local inputs, order = {}, {}
    for i = 1, 1500 do
      local category = ({ "HUBSPOT_DEFINED", "USER_DEFINED", ("LONG"):rep(20) })[i % 3 + 1]
      inputs[i] = { pair = labelled(("%d%017d"):format(i % 40, i), i % 7 + 1), limit = limit { typeId = i,
        category = category } }
      table.insert(order, math.random(#order + 1), i)
    end
    for _, call in ipairs { "associate", "batch_update" } do
      local given, results, errors, expected, expected_errors = {}, {}, {}, {}, {}
      for i, input in ipairs(inputs) do given[i] = call == "associate" and input.pair or input.limit end
      for _, i in ipairs(order) do
        local input = given[i]
        if i % 11 == 0 then
          errors[#errors + 1] = problem(call == "associate"
            and { fromObjectId = { input.from.id }, toObjectId = { tostring(input.to.id) } }
            or { category = { input.category }, typeId = { tostring(input.typeId) } })
          expected_errors[#errors] = i
        else
          results[#results + 1] = call == "associate" and pair_result(input.from.id, input.to.id)
            or limit_result(input.typeId, input.category)
          expected[#results] = i
        end
      end
      local got, failed = match(call, given, results, errors)
      assert.same(expected, got)
      assert.same(expected_errors, failed)
    end
  end)

  it("is a whole number that a float of the same value may identify", function()
    assert.same({ 1 }, (match("batch_update", { limit { typeId = 279.0 } }, { limit_result(279) })))
    assert.same({ 2, 1 }, (match("batch_update", { limit { typeId = 1.0 }, limit { typeId = 2 } },
      { limit_result(2), limit_result(1) })))
  end)

  it("is absent where a result names a record by more digits than any id has", function()
    assert.same({ 1, false }, (match("associate_default", { unlabelled(1, 2), unlabelled(1, 3) },
      { default_result("1", "2"), default_result("1", ("3"):rep(40)) })))
  end)

  it("is absent where a result names none of the inputs, or not enough", function()
    assert.same({ false, 2 }, (match("batch_update", { limit { typeId = 1 }, limit { typeId = 2 } },
      { limit_result(9), limit_result(2) })))
    assert.same({ false, 2 }, (match("batch_update", { limit { typeId = 1 }, limit { typeId = 2 } },
      { { typeId = 1 }, limit_result(2) })))
    assert.same({ false }, (match("batch_update", { limit { typeId = 1 } }, { { index = 17 } })))
  end)

  it("is given in order to inputs that are alike, if there is a result for each", function()
    local inputs = { limit { typeId = 1 }, limit { typeId = 2 }, limit { typeId = 1 } }
    assert.same({ 1, 2, 3 }, (match("batch_update", inputs, { limit_result(1), limit_result(2), limit_result(1) })))
    assert.same({ 2, 1, 3 }, (match("batch_update", inputs, { limit_result(2), limit_result(1), limit_result(1) })))
    assert.same({ false, 2 }, (match("batch_update", inputs, { limit_result(1), limit_result(2) }))) -- joined, or lost?
  end)

  it("is absent where inputs differ in what no result tells", function()
    local inputs = { { id = 5 }, { id = 5, after = "page2" }, { id = 6, after = "page9" } }
    assert.same({ false, false, 3 }, (match("read", inputs, { read_result(5), read_result(5), read_result(6) })))
  end)

  it("does not change with what the caller does to its inputs afterwards", function()
    local client = binding.scripted { "batch.echo", {} }
    local inputs = binding.limits(3)
    local future = client.async:batch_update("contacts", "companies", inputs)
    inputs[1].typeId, inputs[2], inputs[4] = 77, limit { typeId = 78 }, limit { typeId = 79 }
    assert.same({ 1, 2, 3 }, indexes(future:wait()))
    client:close()
  end)

  it("counts through all requests of a call", function()
    local client = binding.scripted { "batch.echo", {} }
    local results, errors = client:batch_update("contacts", "companies", binding.limits(7), { batch_size = 3 })
    assert.is_nil(errors)
    assert.same({ 1, 2, 3, 4, 5, 6, 7 }, indexes(results))
  end)

  it("is right where a read is halved, and an error in it, too", function()
    local client, token = binding.client { max_response_bytes = 900 }
    local inputs = {}
    for i = 1, 9 do
      inputs[i] = { id = 100 + i }
      if i % 3 > 0 then
        assert(client:associate_default("contacts", "companies", { unlabelled(100 + i, 200 + i) }))
      end
    end
    local results, errors, response = client:read("contacts", "companies", inputs, { batch_size = 5 })
    assert.is_true(#response.requests > 2)
    assert.same({ 3, 6, 9 }, indexes(errors))
    assert.equal(6, #results)
    for _, result in ipairs(results) do assert.equal(tostring(100 + result.index), result.from.id) end
    assert.is_true(#simulator.log(token) > 2)
  end)
end)

describe("the index of an error in a 2xx", function()
  teardown(fault_server.stop_all)

  local two = { labelled(1, 10), labelled(1, 20), labelled(2, 10) }

  it("is found by its context", function()
    local _, failed = match("batch_update", binding.limits(3), {},
      { problem { typeId = { "3" } }, problem { typeId = { "1" }, category = { "HUBSPOT_DEFINED" } },
        problem { typeId = 2 } })
    assert.same({ 3, 1, 2 }, failed)
    _, failed = match("associate", two, {}, { problem { fromObjectId = { "1" }, toObjectId = { "20" } },
      problem { fromObjectId = { "2" } }, problem { fromObjectId = { "1" }, toObjectId = { "10" } } })
    assert.same({ 2, 3, 1 }, failed)
    _, failed = match("read", { { id = 5 }, { id = 6 } }, {},
      { problem { fromObjectId = { "6" }, fromObjectType = { "contact" } }, problem { fromObjectId = { "5" } } })
    assert.same({ 2, 1 }, failed)
  end)

  it("is found by a record's id, if only one input has it on either side", function()
    local _, failed = match("associate", { labelled(1, 10), labelled(2, 20), labelled(20, 30) }, {},
      { problem { objectId = { "10" } }, problem { ids = { "20" } }, problem { id = "1" } })
    assert.same({ 1, false, 1 }, failed)
  end)

  it("is found by the context of its only detail", function()
    local _, failed = match("read", { { id = 5 }, { id = 6 }, { id = 7 } }, {},
      { problem(nil, { errors = { { message = "x", context = { fromObjectId = { "6" } } } } }),
        problem(nil, { errors = { { context = { fromObjectId = "6" } }, { context = { fromObjectId = "5" } } } }) })
    assert.same({ 2, false }, failed)
  end)

  it("is found for calls without results", function()
    local purged = { { category = "USER_DEFINED", typeId = 36 }, { category = "USER_DEFINED", typeId = 38 } }
    local _, failed = match("batch_purge", purged, {}, { problem { typeId = { "38" } } })
    assert.same({ 2 }, failed)
    _, failed = match("archive_labels", two, {},
      { problem { toObjectId = { "20" } }, problem { toObjectId = { "10" } } })
    assert.same({ 2, false }, failed)
    local archived = { { from = { id = 1 }, to = { { id = 7 } } }, { from = { id = 2 }, to = { { id = 7 } } } }
    _, failed = match("archive", archived, {}, { problem { fromObjectId = { "2" } }, problem {} })
    assert.same({ 2, false }, failed) -- the first may have succeeded
  end)

  it("is absent where several inputs may be meant", function()
    local _, failed = match("associate", two, {},
      { problem { fromObjectId = { "1" } }, problem { toObjectId = { "10" } },
      problem { fromObjectId = { "1", "2" }, toObjectId = { "10" } }, problem { fromObjectId = { "99" } }, problem {} })
    assert.same({ false, false, false, false, false }, failed)
  end)

  it("is absent where inputs are alike and not all of them failed", function()
    local inputs = { limit { typeId = 1 }, limit { typeId = 1 }, limit { typeId = 2 } }
    local got, failed = match("batch_update", inputs, { limit_result(1), limit_result(2) },
      { problem { typeId = { "1" } } })
    assert.same({ false, 3 }, got)
    assert.same({ false }, failed)
    failed = select(2, match("batch_update", inputs, { limit_result(2) },
      { problem { typeId = { "1" } }, problem { typeId = "1" } }))
    assert.same({ 1, 2 }, failed)
  end)

  it("is that of the only input nothing came for, where the numbers prove it", function()
    local inputs = binding.limits(3)
    local got, failed = match("batch_update", inputs, { limit_result(3), limit_result(1) }, { problem {} })
    assert.same({ 3, 1 }, got)
    assert.same({ 2 }, failed)
    failed = select(2, match("batch_update", inputs, { limit_result(3) }, { problem {}, problem { typeId = { "1" } } }))
    assert.same({ 2, 1 }, failed)
    failed = select(2, match("batch_update", inputs, { limit_result(3), limit_result(1) }, { "just a text" }))
    assert.same({ 2 }, failed)
    local unproven = {
      { { limit_result(3) }, { problem {} } }, -- two are open
      { { limit_result(3) }, { problem {}, problem {} } },
      { { limit_result(3), limit_result(9) }, { problem {} } }, -- what is the second result of?
      { { limit_result(3), limit_result(3) }, { problem {} } },
      { { limit_result(3), limit_result(1) }, { problem { typeId = { "9" } } } }, -- it names something else
      { { limit_result(3), limit_result(1), limit_result(2) }, { problem {} } }, -- there is none left
    }
    for _, case in ipairs(unproven) do
      failed = select(2, match("batch_update", inputs, case[1], case[2]))
      for _, index in ipairs(failed) do assert.is_false(index) end
    end
  end)

  it("is that of the only input nothing came for, if HubSpot only counts its errors, or tells of none", function()
    local inputs = binding.limits(3)
    local _, failed = match("batch_update", inputs, { limit_result(3), limit_result(1) }, nil, { numErrors = 1 })
    assert.same({ 2 }, failed)
    _, failed = match("batch_update", inputs, { limit_result(3), limit_result(1) })
    assert.same({ 2 }, failed)
    _, failed = match("batch_update", inputs, { limit_result(3) }, nil, { numErrors = 2 })
    assert.same({ false }, failed)
    _, failed = match("batch_update", inputs, { limit_result(3) })
    assert.same({ false }, failed)
  end)

  it("is that of a request's single input, whatever the error says", function()
    local _, failed = match("batch_purge", { { category = "USER_DEFINED", typeId = 36 } }, {},
      { problem {}, problem { typeId = { "99" } }, "text" })
    assert.same({ 1, 1, 1 }, failed)
  end)

  it("is ours, not the server's", function()
    local _, failed = match("batch_update", binding.limits(2), {},
      { problem({ typeId = { "2" } }, { index = 77 }), problem({ typeId = { "9" } }, { index = 1 }) })
    assert.same({ 2, false }, failed)
  end)

  it("counts through all requests of a call", function()
    local client = binding.client()
    local inputs = { limit { maxToObjectIds = 50 }, limit { maxToObjectIds = 51 }, limit { maxToObjectIds = 52 },
      limit { typeId = 99 }, limit { maxToObjectIds = 53 } }
    local results, errors = client:batch_update("contacts", "companies", inputs, { batch_size = 2 })
    assert.same({ 1, 2, 3, 5 }, indexes(results))
    assert.same({ 4 }, indexes(errors))
  end)
end)

describe("the index of a whole request's error", function()
  teardown(fault_server.stop_all)

  it("is that of its single input, beside first and last", function()
    local client = binding.scripted { "batch.echo", { [2] = { 400, '{"message":"No","index":9}' } } }
    local _, errors = client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 1 })
    assert.same({ 2, 2, 2 }, { errors[1].index, errors[1].first, errors[1].last })
    _, errors = binding.receive('{"message":"No"}', 400)
    assert.same({ 1 }, indexes(errors))
    assert.is_nil(errors[1].first)
  end)

  it("is absent where it had several, and where a call has no inputs", function()
    local refusal = { 400, '{"message":"No","context":{"typeId":["2"]},"index":9}' }
    local client = binding.scripted { "batch.echo", { refusal } }
    local _, errors = client:batch_update("contacts", "companies", binding.limits(3))
    assert.same({ false }, indexes(errors))
    client = binding.scripted(binding.answer(404, '{"message":"No"}'))
    _, errors = client:get_limits("contacts", "companies")
    assert.same({ false }, indexes(errors))
  end)

  it("tells of the one input that was not sent", function()
    local client = binding.scripted { "batch.echo", { { 401, '{"message":"No"}' } } }
    local _, errors = client:batch_update("contacts", "companies", binding.limits(2), { batch_size = 1 })
    assert.same({ 1, 2 }, indexes(errors))
    client = binding.scripted { "batch.echo", { { 401, '{"message":"No"}' } } }
    _, errors = client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 1 })
    assert.same({ 1, false }, indexes(errors))
  end)
end)
