-- Lua tables to JSON and back: what arrives at the server, and what a caller gets of an answer.
local cjson = require "cjson"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"

local HAS_INTEGERS = math.type ~= nil
local subtype = math.type or type

-- The field `v` of the only result of an answer in which it stands as this JSON text.
local function decoded(json, name)
  name = name or "v"
  local results, errors = binding.receive(('{"results":[{"%s":%s}]}'):format(name, json))
  assert.is_nil(errors, tostring(errors))
  return results[1][name]
end

-- A 200 with this body is no answer that the call can use.
local function refused(body, call)
  local results, errors, response = binding.receive(body, 200, nil, call)
  assert.is_nil(results)
  assert.equal(1, #errors)
  assert.same({ "protocol", 200 }, { errors[1].kind, errors[1].http_status })
  assert.is_string(errors[1].message)
  assert.equal(200, response.http_status)
  return errors[1]
end

-- What the server gets and what it sends back: the request's body, the results.
local function echoed(category)
  local client, server = binding.scripted(binding.echo)
  local results, errors = client:batch_update("contacts", "companies", { binding.limit { category = category } })
  assert.is_nil(errors, tostring(errors))
  local seen = server:stop()
  return seen[1].body, results
end

describe("a number in an answer", function()
  teardown(fault_server.stop_all)

  it("is an integer if it is one", function()
    for _, json in ipairs { "0", "1", "-1", "279", "2147483647", "-2147483648", "4294967296", "999999999999999" } do
      local value = decoded(json)
      assert.equal(HAS_INTEGERS and "integer" or "number", subtype(value))
      assert.equal(json, ("%d"):format(value))
    end
  end)

  it("prints without a fraction", function()
    assert.equal("279", tostring(decoded "279"))
    assert.equal("0", tostring(decoded "0"))
  end)

  it("stays a float if it has a fraction", function()
    for _, json in ipairs { "0.5", "-1.25", "3.14159", "1e-7", "123456789.75", "2.5E3", "1.5e10" } do
      local value = decoded(json)
      assert.equal("number", type(value))
      assert.equal(tonumber(json), value)
      if value % 1 ~= 0 then assert.equal(HAS_INTEGERS and "float" or "number", subtype(value)) end
    end
  end)

  it("is exact beyond a double's 53 bits", function()
    for _, digits in ipairs { "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808",
      "1000000000000000", "1234567890123456789" } do
      local value = decoded(digits)
      if HAS_INTEGERS then
        assert.equal("integer", subtype(value))
      elseif type(value) == "number" then
        assert.is_true(math.abs(value) <= 2 ^ 53)
      end
      assert.equal(digits, type(value) == "string" and value or ("%d"):format(value))
    end
  end)

  it("is its exact digits beyond 64 bits", function()
    for _, digits in ipairs { "9223372036854775808", "-9223372036854775809", "18446744073709551615",
      "123456789012345678901234567890", ("9"):rep(400) } do
      assert.equal(digits, decoded(digits))
    end
  end)

  it("may have an exponent or a sign on zero", function()
    assert.equal(1000, decoded "1e3")
    assert.equal(1000, decoded "1E+3")
    assert.equal(0, decoded "-0")
    assert.equal(0, decoded "0e5")
    assert.equal(1e300, decoded "1e300")
    assert.equal(123456789012345680, decoded "1.2345678901234568e17")
    assert.equal(0.001, decoded "1e-3")
  end)

  it("keeps its value where it has many digits and a fraction or an exponent", function()
    assert.equal(12345678901234567.5, decoded "12345678901234567.5")
    assert.equal(0.1234567890123456789, decoded "0.1234567890123456789")
    assert.equal(12345678901234567e3, decoded "12345678901234567e3")
  end)

  it("keeps its place beside other long numbers", function()
    local results = binding.receive '{"results":[{"a":[9007199254740993,1,"9007199254740995",9007199254740997]}]}'
    local list = results[1].a
    assert.equal(4, #list)
    assert.equal("9007199254740993 1 9007199254740995 9007199254740997",
      ("%s %s %s %s"):format(list[1], list[2], list[3], list[4]))
    assert.equal("string", type(list[3]))
  end)

  it("is exact in errors and in the envelope too", function()
    local _, errors, response = binding.receive('{"status":"COMPLETE","links":{"n":9007199254740993},"results":[],'
      .. '"errors":[{"message":"x","context":{"n":[9007199254740993]}}],"numErrors":1}', 207)
    assert.equal("9007199254740993", tostring(errors[1].context.n[1]))
    assert.equal("9007199254740993", tostring(response.links.n))
    assert.equal("1", tostring(response.numErrors))
  end)

  it("is refused if it is not JSON", function()
    for _, text in ipairs { "NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "0x10", "-0x1F", "+1", "01", "-01",
      "1_000", "0x9007199254740993", "--9007199254740993", "-", "1.", "-1.", "2.e3", ".5", "-.5", "1e", "1e+",
      "1.5e", "1.5E-", "-e5", "00", "-00", "00.5", "1.5.5", "1e5.5", "1e5e5", "1-2", "1+2",
      "123456789012345678.", "- 1", "1. 5" } do
      refused(('{"results":[{"v":%s}]}'):format(text))
    end
  end)

  it("is an exact integer also if it is written with a fraction or an exponent", function()
    local cases = { ["123456789012345678.0"] = "123456789012345678", ["123456789012345678e0"] = "123456789012345678",
      ["1234567890123456.78E2"] = "123456789012345678", ["-9007199254740993.00"] = "-9007199254740993", ["5.0"] = "5",
      ["90071992547409930e-1"] = "9007199254740993", ["0.0"] = "0", ["-0.0e7"] = "0" }
    for json, digits in pairs(cases) do
      local value = decoded(json)
      if HAS_INTEGERS then
        assert.equal("integer", subtype(value))
        assert.equal(digits, tostring(value))
      else
        assert.equal(tonumber(digits), value)
      end
    end
  end)

  it("is read whatever the host's locale, also if that is set after require", function()
    local server = fault_server.start(binding.answer(200, '{"results":[{"a":0.5,"b":-1.25e1,"c":279,"id":7.0}]}'))
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "comma_locale") }, [[
      local assoc = require "hubspot_assoc"
      assert(os.setlocale("comma", "numeric") == "comma")
      local client = assoc.new { base_url = ..., access_token = "pat-x", max_attempts = 1 }
      local results, errors = client:get_all_limits()
      if errors then return errors end
      local one = results[1]
      return one.a == 1 / 2, one.b == -25 / 2, one.c == 279, one.id]], server.url)
    server:stop()
    assert.same({ "true", "true", "true", "7", "0" }, { report[1], report[2], report[3], report[4], report.status })
  end)

  it("is one wherever it is, in lists whose elements are alike and in such whose are not", function()
    local texts, many = {}, {}
    for i = 1, 20 do texts[i], many["k" .. i] = ('"k%d":%d'):format(i, i), i end
    local elements = {
      { '{"a":1,"b":"x"}', { a = 1, b = "x" } },
      { '{"b":2,"a":"y"}', { b = 2, a = "y" } },
      { '{"a":null,"c":{"d":[{"e":3},{"e":"z","f":[4,5]},[6,{"e":7}]]}}',
        { c = { d = { { e = 3 }, { e = "z", f = { 4, 5 } }, { 6, { e = 7 } } } } } },
      { "{}", {} },
      { '[8,{"a":9}]', { 8, { a = 9 } } },
      { '{"a":"10","b":11}', { a = "10", b = 11 } },
      { '{"a":12,"a":13}', { a = 13 } },
      { "{" .. table.concat(texts, ",") .. "}", many },
      { "14", 14 },
    }
    for _ = 1, #elements do -- each comes first once: what it has is looked for in the others
      local json, expected = {}, {}
      for i, element in ipairs(elements) do json[i], expected[i] = element[1], element[2] end
      local results = binding.receive('{"results":[{"v":[' .. table.concat(json, ",") .. '],"w":1},{"v":null,"w":2}]}')
      assert.same(expected, results[1].v)
      assert.same({ 1, { w = 2 } }, { results[1].w, results[2] })
      table.insert(elements, table.remove(elements, 1))
    end
  end)

  it("is refused in the place of a key", function()
    refused '{"results":[],12:1}'
    refused '{"results":[],12 \n:1}'
    refused '{"results":[],1.5:1}'
    refused '{"results":[],9007199254740993:1}'
  end)
end)

describe("long digits inside a text", function()
  teardown(fault_server.stop_all)

  it("stay as they are", function()
    for _, text in ipairs { "9007199254740993", "id 12345678901234567890", [[\"12345678901234567890\"]],
      [[\\\"12345678901234567890]], [[\\]], "-9007199254740993" } do
      local expected = text:gsub("\\(.)", "%1")
      assert.equal(expected, decoded('"' .. text .. '"'))
    end
  end)

  it("stay as they are beside a number that needs care", function()
    local results = binding.receive [[{"results":[{"a":"\\","b":"x\"1234567890123456789","c":9007199254740993}]}]]
    assert.equal("\\", results[1].a)
    assert.equal('x"1234567890123456789', results[1].b)
    assert.equal("9007199254740993", tostring(results[1].c))
  end)

  it("stay as they are in a key", function()
    local results = binding.receive '{"results":[{"9007199254740993":9007199254740993}]}'
    assert.equal("9007199254740993", tostring(results[1]["9007199254740993"]))
  end)
end)

describe("a record id in an answer", function()
  teardown(fault_server.stop_all)

  it("is an exact string, however it came", function()
    for _, name in ipairs { "id", "toObjectId" } do
      for _, digits in ipairs { "0", "7", "123456789", "999999999999999", "1000000000000000", "9007199254740993",
        "9223372036854775807", "18446744073709551616" } do
        assert.equal(digits, decoded(digits, name))
        assert.equal(digits, decoded('"' .. digits .. '"', name))
      end
    end
  end)

  it("is a string inside other objects too", function()
    local results = binding.receive '{"results":[{"from":{"id":101},"to":[{"toObjectId":9007199254740993}]}]}'
    assert.equal("101", results[1].from.id)
    assert.equal("9007199254740993", results[1].to[1].toObjectId)
  end)

  it("keeps all its digits where it is written with a fraction or an exponent", function()
    local cases = { ["123456789012345678.0"] = "123456789012345678", ["123456789012345678e0"] = "123456789012345678",
      ["123456789012345678E+0"] = "123456789012345678", ["12345678901234567.8e1"] = "123456789012345678",
      ["1234567890123456780.0e-1"] = "123456789012345678", ["9.223372036854775807e18"] = "9223372036854775807",
      ["7.0"] = "7", ["7e0"] = "7", ["7e2"] = "700", ["0.0"] = "0", ["-0"] = "0", ["-0.0"] = "0", ["0e99"] = "0" }
    for _, name in ipairs { "id", "toObjectId", "fromObjectId", "after" } do
      for json, digits in pairs(cases) do assert.equal(digits, decoded(json, name)) end
    end
  end)

  it("is as it was written where it is no integer, or none that anybody can use", function()
    for _, json in ipairs { "1.5", "-2.5e-3", "1e999999999999999999999", "1e-999999999999999999999",
      ("9"):rep(300) .. ".5" } do
      assert.equal(json, decoded(json, "id"))
    end
  end)

  it("is one whatever is around it", function()
    local results = binding.receive '{"results":[{"id" \t:\r\n 7,"toObjectId":\n-5},[{"x\\"id":8}],[7,"id",9]]}'
    assert.same({ { id = "7", toObjectId = "-5" }, { { ['x"id'] = 8 } }, { 7, "id", 9 } }, results)
  end)

  it("is not what merely sounds like one", function()
    assert.equal("number", type(decoded("5", "paid")))
    assert.equal("number", type(decoded("5", "fromObjectID")))
    assert.equal("number", type(decoded("279", "typeId")))
    assert.equal("number", type(decoded("5", "userEnforcedMaxToObjectIds")))
  end)
end)

describe("null in an answer", function()
  teardown(fault_server.stop_all)

  it("is an absent field of an object", function()
    local results, errors, response = binding.receive(
      '{"status":"COMPLETE","links":null,"errors":null,"numErrors":null,"results":[{"typeId":279,"label":null,'
      .. '"x":{"y":null}}]}')
    assert.is_nil(errors)
    assert.same({ { typeId = 279, x = {} } }, results)
    assert.is_nil(response.links)
    assert.is_nil(response.numErrors)
  end)

  it("keeps its place in a list", function()
    local results = binding.receive '{"results":[{"list":[1,null,3,null]}]}'
    local list = results[1].list
    assert.equal(4, #list)
    assert.same({ 1, 3 }, { list[1], list[3] })
    assert.equal(cjson.null, list[2])
  end)

  it("keeps its place among the results", function()
    local results, errors = binding.receive '{"results":[null,{"typeId":279}]}'
    assert.is_nil(errors)
    assert.equal(2, #results)
    assert.equal(279, results[2].typeId)
  end)

  it("is no text, number or list of HubSpot's", function()
    local _, errors, response = binding.receive(
      '{"status":"error","message":null,"category":null,"correlationId":null,"errors":null}', 400)
    assert.is_string(errors[1].message)
    assert.is_nil(errors[1].category)
    assert.is_nil(errors[1].errors)
    assert.is_nil(response.correlationId)
    assert.is_string(tostring(errors))
  end)
end)

describe("a text", function()
  teardown(fault_server.stop_all)

  it("survives the way there and back, whatever it holds", function()
    for _, text in ipairs {
      "a\0b", "\0", "\"quoted\"", "back\\slash", "/slash/", "a\nb\rc\td\be\f", "\1\2\31\127", "'single'",
      "\195\164\195\182\195\188", "\226\130\172", "\240\159\152\128", "\239\187\191BOM", "\239\191\191",
      "\244\143\191\191", "\226\128\168\226\128\169", "12345678901234567890", "%d %s %%", ("x"):rep(10000),
      "</script>", "{\"a\":[1]}", " ",
    } do
      local _, results = echoed(text)
      assert.equal(text, results[1].category)
    end
  end)

  it("is sent as JSON", function()
    local body = echoed "a\0b\"c\\d\nе\127"
    assert.is_nil(body:find "%z")
    assert.is_nil(body:find "[\1-\31]")
    assert.equal("a\0b\"c\\d\nе\127", cjson.new().decode(body).inputs[1].category)
  end)

  it("may have escapes", function()
    assert.equal("\"\\/\b\f\n\r\t", decoded [["\"\\\/\b\f\n\r\t"]])
    assert.equal("A\195\164\226\130\172\240\159\152\128", decoded [["\u0041\u00e4\u20AC\ud83d\uDE00"]])
    assert.equal("a\0b", decoded [["a\u0000b"]])
    assert.equal("\\u0041", decoded [["\\u0041"]])
  end)

  it("is refused with half of a surrogate pair", function()
    for _, text in ipairs { [["\ud83d"]], [["\ude00"]], [["\ud83dx"]], [["\ud83d\u0041"]], [["\ud83d\ud83d"]] } do
      refused(('{"results":[{"v":%s}]}'):format(text))
    end
  end)

  it("is refused with a wrong escape", function()
    for _, text in ipairs { [["\x41"]], [["\u12"]], [["\u00g0"]], [["\"]], [["\a"]] } do
      refused(('{"results":[{"v":%s}]}'):format(text))
    end
  end)

  it("is refused with a control character that is not escaped, in keys too", function()
    for byte = 0, 31 do
      local char = string.char(byte)
      for _, text in ipairs { char, "a" .. char .. "b", "twelve bytes" .. char, char .. "twelve bytes",
        "seven b" .. char .. "seven b", "\195\164" .. char } do
        refused('{"results":[{"v":"' .. text .. '"}]}')
        refused('{"results":[{"' .. text .. '":1}]}')
      end
    end
    assert.equal("\127", decoded '"\127"')
  end)

  it("is refused if it does not end", function()
    for _, body in ipairs { '"', '"a', '{"results":[],"', '{"results":[],"a', '{"results":[],"a\\',
      '{"results":[],"a\\"', '{"results":[],"a":"eight bytes and more\\' } do
      refused(body)
    end
  end)

  it("is refused if it is not UTF-8", function()
    for _, bytes in ipairs { "\255", "\128", "\195(", "\192\175", "\193\191", "\224\128\175", "\237\160\189",
      "\240\128\128\175", "\244\144\128\128", "\245\128\128\128", "\226\130", "ok then \255 at the end" } do
      refused('{"results":[{"v":"' .. bytes .. '"}]}')
    end
    refused '{"results":[{"\255":1}]}'
    refused '\255{"results":[]}'
  end)

  it("keeps a NUL in a key", function()
    local results = binding.receive [[{"results":[{"a\u0000b":1}]}]]
    assert.equal(1, results[1]["a\0b"])
  end)
end)

describe("the result of invalid UTF-8", function()
  teardown(fault_server.stop_all)

  it("is a protocol error that says so", function()
    local client = binding.scripted(faults.invalid_utf8)
    local results, errors = client:batch_update("contacts", "companies", { binding.limit() })
    assert.is_nil(results)
    assert.equal("protocol", errors[1].kind)
    assert.matches("UTF%-8", errors[1].message)
  end)
end)

describe("an answer", function()
  teardown(fault_server.stop_all)

  it("may have empty lists and objects", function()
    local results, errors = binding.receive '{"results":[{"a":[],"b":{},"c":[[],{}]}]}'
    assert.is_nil(errors)
    assert.same({ { a = {}, b = {}, c = { {}, {} } } }, results)
    results, errors = binding.receive '{"status":"COMPLETE","results":[{}],"errors":[],"numErrors":0}'
    assert.is_nil(errors)
    assert.same({ {} }, results)
  end)

  it("may have white space around", function()
    local results, errors = binding.receive ' \r\n\t{ "results" : [ { "typeId" : 279 } ] }\n\n'
    assert.is_nil(errors)
    assert.equal(279, results[1].typeId)
  end)

  it("keeps the last of two fields of the same name", function()
    assert.equal(2, (binding.receive '{"results":[{"v":1,"v":2}]}')[1].v)
    assert.is_nil((binding.receive '{"results":[{"v":1,"v":null}]}')[1].v)
    assert.equal(2, (binding.receive '{"results":[{"v":null,"v":2}]}')[1].v)
  end)

  it("may be nested, but not without end", function()
    local function nested(depth)
      return '{"results":[{"v":' .. ("["):rep(depth) .. ("]"):rep(depth) .. "}]}"
    end
    local results, errors = binding.receive(nested(40))
    assert.is_nil(errors)
    local depth, value = 0, results[1].v
    while value do depth, value = depth + 1, value[1] end
    assert.equal(40, depth)
    refused(nested(1000))
    refused(nested(20000))
  end)

  it("is a protocol error if it is nested a hundred thousand deep", function()
    local client = binding.scripted(faults.deep_json)
    local results, errors = client:batch_update("contacts", "companies", { binding.limit() })
    assert.is_nil(results)
    assert.equal("protocol", errors[1].kind)
  end)

  it("is refused if it is no JSON object with a list of results", function()
    for _, body in ipairs { "", " ", "null", "true", "5", '"text"', "[]", "[1]", "{}", '{"results":null}',
      '{"results":{"a":1}}', '{"results":"x"}', '{"results":5}', '{"results":true}', '{"Results":[]}', "all is well",
      "<html></html>", "{'results':[]}", '{"results":[],}', '{"results":[1,]}', '{"results":[]', '{"results":[]}}',
      '{"results":[]} x', '// x\n{"results":[]}', "\239\187\191", "{", "]" } do
      refused(body)
    end
  end)

  it("is refused if it is a list where an object is promised, or has an object where a list is", function()
    for _, call in ipairs { "batch_update", "batch_create", "batch_purge" } do
      for _, body in ipairs { "[]", " [ ]", '{"results":{}}', '{"status":"COMPLETE","results": { } }',
        '{"x":{"results":[]},"results":{}}', '{"x":["results"],"results":{}}', '{"results":[],"results":{}}' } do
        refused(body, call)
      end
    end
    local client = binding.scripted(binding.answer(200, "[]"))
    for _, results in ipairs {
      { client:update_label("contacts", "companies", { associationTypeId = 1, label = "x" }) },
      { client:associate_one_default("contacts", 1, "companies", 2) },
      { client:archive_one("contacts", 1, "companies", 2) },
      { client:request_usage_report(5) },
    } do
      assert.is_nil(results[1])
      assert.equal("protocol", results[2][1].kind)
    end
  end)

  it("is refused if it is a 207 that does not say what became of the inputs", function()
    for _, body in ipairs { "", "[]", "{}", '{"results":{}}', '{"links":{}}', "null" } do
      for _, call in ipairs { "batch_purge", "batch_update" } do
        local results, errors, response = binding.receive(body, 207, nil, call)
        assert.is_nil(results)
        assert.same({ "protocol", 207, true }, { errors[1].kind, errors[1].http_status, errors[1].ambiguous })
        assert.equal(207, response.http_status)
      end
    end
    local client = binding.scripted(binding.answer(207, ""))
    local results, errors = client:archive_one("contacts", 1, "companies", 2)
    assert.same({ nil, "protocol" }, { results, errors[1].kind })
    results, errors = binding.receive('{"status":"COMPLETE"}', 207, nil, "batch_purge")
    assert.is_nil(errors)
    assert.same({}, results)
  end)

  it("is refused with bytes behind its end, also behind a NUL", function()
    refused '{"results":[]}\0'
    refused '{"results":[]}\0garbage'
    refused '{"results":[]}{"results":[]}'
    refused '\0{"results":[]}'
    refused '{"results":\0[]}'
  end)

  it("is refused with a byte order mark", function()
    local message = refused('\239\187\191{"results":[]}').message
    assert.equal("HTTP 200, but the answer cannot be used: it is not JSON (outside of its strings is a character that "
      .. "is not ASCII: a byte order mark?)", message)
  end)

  it("is refused in another encoding", function()
    local body = '{"results":[]}'
    refused((body:gsub(".", "%0\0")))
    refused((body:gsub(".", "\0%0")))
  end)

  it("is kept in part where it cannot be used", function()
    assert.equal("all is well", refused("all is well").body)
    assert.is_true(#refused(("x"):rep(100000)).body <= 4096)
    assert.is_nil(refused("").body)
  end)

  it("says in one line why it cannot be used", function()
    for _, body in ipairs { "", "all is well", "[]", '{"results":5}' } do
      local message = refused(body).message
      assert.is_nil(message:find "\n")
      assert.matches("HTTP 200", message)
    end
  end)

  it("may be empty where the call gives nothing", function()
    for _, body in ipairs { "", '{"status":"COMPLETE","results":[]}', '{"status":"COMPLETE"}' } do
      local results, errors = binding.receive(body, 200, nil, "batch_purge")
      assert.is_nil(errors, tostring(errors))
      assert.same({}, results)
    end
  end)
end)

describe("a zero that is sent", function()
  teardown(fault_server.stop_all)

  it("has no sign", function()
    local zero = 0 / -1
    local client, server = binding.scripted(binding.answer(200, '{"results":[{}]}'))
    local input = binding.limit { typeId = zero, maxToObjectIds = zero }
    client:batch_update("contacts", "companies", { input })
    client:associate("contacts", "companies", { { from = { id = zero }, to = { id = zero },
      types = { { associationCategory = "HUBSPOT_DEFINED", associationTypeId = zero } } } })
    client:update_label("contacts", "companies", { associationTypeId = zero, label = "x" })
    client:delete_label("contacts", "companies", zero)
    client:list("contacts", zero, "companies")
    for _, request in ipairs(server:stop()) do
      assert.is_nil((request.path .. request.body):find "%-0")
      assert.truthy((request.path .. request.body):find "[^%d]0")
    end
    assert.equal("-inf", tostring(1 / input.typeId)) -- the caller's own is left alone
  end)
end)

describe("numbers that are sent", function()
  teardown(fault_server.stop_all)

  it("are written as they are, among whatever texts", function()
    local client, server = binding.scripted(binding.answer(200, '{"results":[]}'))
    local inputs = {}
    for i, category in ipairs { "a", '"', "\\", '\\"279', "\195\191", "\1\n", ("x"):rep(3000), "279" } do
      for _, number in ipairs { 0, 1, 9, 10, 65535, 2 ^ 31 - 1 } do
        inputs[#inputs + 1] = { category = category .. i, typeId = number, maxToObjectIds = 2 ^ 31 - 1 - number }
      end
    end
    client:batch_update("contacts", "companies", inputs)
    client:batch_update("contacts", "companies", inputs, { batch_size = 7 })
    local requests, sent = server:stop(), {}
    for i = 2, #requests do
      for _, input in ipairs(cjson.decode(requests[i].body).inputs) do sent[#sent + 1] = input end
    end
    assert.same(inputs, cjson.decode(requests[1].body).inputs)
    assert.same(inputs, sent)
    assert.matches('[{,]"typeId":2147483647[,}]', requests[1].body)
    assert.is_nil(requests[1].body:find "\255")
  end)
end)

describe("a list that is sent", function()
  teardown(fault_server.stop_all)

  it("is a JSON array, also with one element", function()
    local body = echoed "HUBSPOT_DEFINED"
    assert.matches('^{"inputs":%[{.*}%]}$', body)
  end)
end)

describe("what is sent", function()
  -- Where a text becomes a string, Lua 5.1 and LuaJIT run finalizers before they read it.
  it("is not what a finalizer has sent meanwhile", function()
    local function client_that(keeps)
      return core.new { access_token = "x", skip_waits = true, rate = false, transport = function(request)
        keeps(request.body)
        return { status = 200, body = '{"results":[]}' }
      end }
    end
    local bodies, inner = {}, client_that(function() end)
    local outer = client_that(function(body) bodies[body] = true end)
    local function finalize()
      inner:associate_default("notes", "deals", { { from = { id = "8" }, to = { id = "9" } } })
    end
    local inputs = {}
    for i = 1, 50 do inputs[i] = { from = { id = tostring(i) }, to = { id = "1" } } end
    for _ = 1, 2000 do
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalize
      else
        setmetatable({}, { __gc = finalize })
      end
      outer:associate_default("contacts", "companies", inputs)
    end
    local body = next(bodies)
    assert.same({ [body] = true }, bodies)
    assert.equal(#inputs, #cjson.decode(body).inputs)
  end)

  -- It may change what has been checked, for it can run wherever memory is asked for. That is an error, no crash.
  for what, change in pairs {
    ["has more inputs"] = "for i = 4, 150 do inputs[i] = inputs[1] end",
    ["has inputs that are none"] = "inputs[1], inputs[2], inputs[3] = true, 5, 'x'",
    ["has a senseless batch_size"] = "options.batch_size = 0",
  } do
    it("does not crash where a finalizer has seen to it that it " .. what, function()
      local lines = child.run({}, ([[
        local core = require "hubspot_assoc.core"
        local client = core.new { access_token = "x", rate = false, skip_waits = true, transport = function()
          return { status = 204 }
        end }
        local inputs, options
        local runs = 0
        local function finalize()
          if not inputs then return end
          %s
          runs = runs + 1
        end
        require "spec.support.collector"("pause", 100)
        for _ = 1, 5000 do
          inputs, options = nil, { batch_size = 50 }
          local list = {}
          for i = 1, 3 do list[i] = { category = "USER_DEFINED", typeId = i, maxToObjectIds = i } end
          if newproxy then
            getmetatable(newproxy(true)).__gc = finalize
          else
            setmetatable({}, { __gc = finalize })
          end
          inputs = list
          pcall(client.batch_update, client, "contacts", "companies", inputs, options)
        end
        return runs > 10
      ]]):format(change))
      assert.same({ "true", "0" }, { lines[1], lines.status })
    end)
  end
end)

describe("the host's own lua-cjson", function()
  teardown(fault_server.stop_all)

  it("keeps its settings", function()
    local function settings()
      return { cjson.decode_max_depth(), cjson.encode_max_depth(), cjson.decode_invalid_numbers(),
        cjson.encode_invalid_numbers(), cjson.encode_number_precision(), cjson.encode_keep_buffer(),
        cjson.encode_sparse_array() }
    end
    local before = settings()
    local client = binding.client()
    client:batch_update("contacts", "companies", { binding.limit() })
    assert.same(before, settings())
  end)

  it("may be set as the host likes without changing ours", function()
    local code = [[
      local cjson = require "cjson"
      cjson.decode_max_depth(1)
      cjson.encode_max_depth(1)
      cjson.encode_number_precision(1)
      local assoc = require "hubspot_assoc"
      cjson.encode_sparse_array(true, 1, 1)
      cjson.decode_invalid_numbers(true)
      local inputs = { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 777 } }
      local results, errors = assoc.batch_update("contacts", "companies", inputs)
      print(errors, #results, results[1].typeId, results[1].userEnforcedMaxToObjectIds)
      print(cjson.decode_max_depth(), cjson.encode_max_depth(), cjson.encode_number_precision())]]
    local options, token = binding.simulator_options()
    local output = binding.run(code, { HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = options.base_url })
    assert.equal("nil\t1\t279\t777\n1\t1\t1", output)
  end)

  it("is not needed any more once the module is loaded", function()
    local loaded = package.loaded.cjson
    package.loaded.cjson = { encode = error, decode = error, new = error }
    local client = binding.client()
    local ok, results = pcall(client.get_all_limits, client)
    package.loaded.cjson = loaded
    assert.is_true(ok)
    assert.equal(7, #results)
  end)
end)

describe("an answer for which there is not enough memory", function()
  teardown(fault_server.stop_all)

  -- lua-cjson would end the process.
  it("is an error that says so", function()
    local server = fault_server.start { "bodies.long_text", 3000000 }
    -- A sanitizer's malloc comes before ours; it can do the same, and warns of it.
    local environment = { LD_PRELOAD = child.preload(child.shared_object "no_large"),
      ASAN_OPTIONS = "max_allocation_size_mb=2:allocator_may_return_null=1:detect_leaks=0:log_path=stderr" }
    local report = child.run(environment, [[
      local client = require "hubspot_assoc".new { base_url = ..., access_token = "pat-x", max_attempts = 1 }
      local results, errors = client:get_all_limits()
      return results, errors[1].kind, errors[1].message, errors[1].retryable]], server.url)
    server:stop()
    local n = #report
    assert.same({ "nil", "config", "false", "0" }, { report[n - 3], report[n - 2], report[n], report.status })
    assert.matches("memory", report[n - 1])
  end)
end)

describe("results", function()
  teardown(fault_server.stop_all)

  it("belong to the caller: two calls share nothing", function()
    local client = binding.client()
    local first, second = client:get_all_limits(), client:get_all_limits()
    assert.same(first, second)
    assert.is_false(rawequal(first, second) or rawequal(first[1], second[1]))
    assert.is_nil(getmetatable(first))
  end)

  it("may be many", function()
    local client, server = binding.scripted { "bodies.labels", 20000 }
    local results, errors = client:get_limits("contacts", "companies")
    server:stop()
    assert.is_nil(errors)
    assert.equal(20000, #results)
    assert.same({ typeId = 20000, label = "label 20000" }, results[20000])
  end)
end)

