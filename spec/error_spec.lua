-- Errors and responses: what they hold and how they read.
local cjson = require("cjson").new()
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"

local limit = binding.limit

local function assert_in(part, text)
  assert.is_true(text:find(part, 1, true) ~= nil, ("%q is not in %q"):format(part, text))
end

-- The error has exactly these values in these fields; `absent` in the place of a value: none.
local absent = {}
local function assert_fields(expected, err)
  for name, value in pairs(expected) do
    if value == absent then
      assert.is_nil(err[name], name)
    else
      assert.equal(value, err[name], name)
    end
  end
end

-- The only error of a call that failed: error, errors, response.
local function failure(results, errors, response)
  assert.is_nil(results)
  assert.equal(1, #errors)
  return errors[1], errors, response
end

local REFUSAL = [[{"status":"error","category":"VALIDATION_ERROR","message":"Invalid input","correlationId":"c-1",
  "subCategory":"SUB","context":{"typeId":["279"]},"errors":[{"message":"must be less","code":"X","in":"inputs"}],
  "links":{"help":"https://example"},"extra":{"deep":[1,2]}}]]

describe("an error that HubSpot gave", function()
  teardown(fault_server.stop_all)

  it("has HubSpot's fields and ours", function()
    local err, _, response = failure(binding.receive(REFUSAL, 400))
    assert_fields({
      kind = "api", message = "Invalid input", http_status = 400, attempts = 1, retryable = false, ambiguous = false,
      retry_after = absent, code = absent, first = absent, last = absent, status = "error",
      category = "VALIDATION_ERROR", correlationId = "c-1", subCategory = "SUB",
    }, err)
    assert.same({ typeId = { "279" } }, err.context)
    assert.same({ { message = "must be less", code = "X", ["in"] = "inputs" } }, err.errors)
    assert.same({ help = "https://example" }, err.links)
    assert.same({ deep = { 1, 2 } }, err.extra)
    assert.same({ 400, 1, "c-1" }, { response.http_status, response.attempts, response.correlationId })
  end)

  it("says which call it was", function()
    local err = failure(binding.receive(REFUSAL, 400))
    assert_fields({ call = "batch_update", from = "contacts", to = "companies" }, err)
  end)

  it("is of kind api for any 4xx and 5xx, whatever the body", function()
    local bodies = { REFUSAL, "", "<html><h1>Bad Gateway</h1></html>", "[]", "[1,2]", '"text"', "null", "5", "{}",
      '{"status":"error"', "\255\254", "{\"message\":\"a\"}\0", ("["):rep(1000) }
    for _, status in ipairs { 400, 401, 403, 404, 405, 409, 413, 415, 418, 451, 499, 500, 501, 502, 503, 521, 599 } do
      local err, errors, response = failure(binding.receive(bodies[status % #bodies + 1], status))
      assert_fields({ kind = "api", http_status = status, attempts = 1 }, err)
      assert.is_string(err.message)
      assert.is_true(#err.message > 0)
      assert_in(tostring(status), tostring(errors))
      assert.equal(status, response.http_status)
    end
    for _, body in ipairs(bodies) do
      local err, errors = failure(binding.receive(body, 400))
      assert_fields({ kind = "api", http_status = 400 }, err)
      assert_in("400", tostring(errors))
    end
  end)

  it("is retryable and may be ambiguous if the server broke", function()
    local expected = {
      batch_update = { retryable = true, ambiguous = true }, -- sending it again is safe, but who knows what is applied
      batch_create = { retryable = false, ambiguous = true },
    }
    for call, fields in pairs(expected) do
      assert_fields(fields, (failure(binding.receive("", 500, nil, call))))
    end
    local client = binding.scripted(faults.html_error)
    assert_fields({ kind = "api", http_status = 502, retryable = true, ambiguous = false },
      (failure(client:get_all_limits())))
  end)

  it("keeps the beginning of a body that is no JSON object", function()
    local html = "<html><body><h1>502 Bad Gateway</h1></body></html>"
    local err = failure(binding.receive(html, 502))
    assert.equal(html, err.body)
    assert_in("502", err.message)
    assert.is_true(#failure(binding.receive(("x"):rep(100000), 502)).body <= 4096)
    assert.is_nil(failure(binding.receive("", 502)).body)
  end)

  it("has a message of ours where HubSpot's is missing or no text", function()
    for _, json in ipairs { "{}", '{"message":5}', '{"message":{"a":1}}', '{"message":["x"]}', '{"message":true}',
      '{"message":null}' } do
      local err, errors = failure(binding.receive(json, 400))
      assert.is_string(err.message)
      assert_in("400", tostring(errors))
    end
  end)

  it("prints whatever types its fields have", function()
    local odd = '{"category":%s,"correlationId":%s,"message":%s,"policyName":%s,"errors":%s,"first":%s,"body":%s}'
    for _, json in ipairs { "5", "true", "[]", '{"a":1}', '"x"', "1.5", "null", "9007199254740993", '""' } do
      local _, errors = failure(binding.receive(odd:gsub("%%s", (json:gsub("%%", "%%%%"))), 400))
      assert_in("batch_update contacts -> companies", tostring(errors))
      assert.equal(tostring(errors), tostring(errors[1]))
    end
  end)

  it("has our values where HubSpot's fields have our names", function()
    local err = failure(binding.receive('{"kind":"x","http_status":200,"attempts":"many","retryable":"yes",'
      .. '"ambiguous":"yes","message":"m"}', 400))
    assert_fields({ kind = "api", http_status = 400, attempts = 1, retryable = false, ambiguous = false }, err)
    assert.equal("m", err.message)
  end)

  it("has no time to come back and no range that only the body names", function()
    local err, errors = failure(binding.receive('{"retry_after":7,"first":3,"last":4,"message":"m"}', 400))
    assert_fields({ retry_after = absent, first = absent, last = absent }, err)
    assert.is_nil(tostring(errors):find("inputs 3", 1, true))
  end)

  it("has the correlation id of the header where the body has none", function()
    local headers = { ["X-HubSpot-Correlation-Id"] = "from-header" }
    local err, errors, response = failure(binding.receive("<html></html>", 502, headers))
    assert.equal("from-header", err.correlationId)
    assert.equal("from-header", response.correlationId)
    assert_in("from-header", tostring(errors))
    err = failure(binding.receive('{"correlationId":"from-body"}', 400, headers))
    assert.equal("from-body", err.correlationId)
  end)
end)

describe("an answer with a status of 400 and above that is no JSON", function()
  teardown(fault_server.stop_all)

  it("is told by its text, if that is short", function()
    local err, errors = failure(binding.receive("error code: 1016", 530))
    assert.equal("HTTP 530: error code: 1016", err.message)
    assert_in("error code: 1016", tostring(errors))
    err = failure(binding.receive("\r\n upstream connect error\nmore of it", 503))
    assert.equal("HTTP 503: upstream connect error", err.message)
    for _, body in ipairs { "<html><h1>no text</h1></html>", ("x"):rep(1000), "\255\254", "", "\n\n",
      '{"message":"cut' } do
      assert.equal("HTTP 530 without a message from HubSpot", failure(binding.receive(body, 530)).message)
    end
  end)

  it("does not say its status twice", function()
    for _, body in ipairs { "", "<html></html>", "error code: 502" } do
      local _, errors = failure(binding.receive(body, 502))
      local _, times = tostring(errors):gsub("HTTP 502", "")
      assert.equal(1, times)
    end
  end)
end)

describe("a 403", function()
  teardown(fault_server.stop_all)

  local function text(json)
    local _, errors = failure(binding.receive('{"category":"MISSING_SCOPES","message":"No."' .. json .. "}", 403))
    return tostring(errors)
  end

  it("names the scopes that are missing, wherever HubSpot tells them", function()
    assert_in("MISSING_SCOPES: No.; it needs the scopes crm.a.read, crm.b (HTTP 403",
      text ',"errors":[{"message":"x","context":{"requiredGranularScopes":["crm.a.read","crm.b"]}}]')
    assert_in("No.; it needs the scopes crm.a.read (", text ',"context":{"missingScopes":["crm.a.read"]}')
    assert_in("No.; it needs the scopes crm.a, crm.b, crm.c (",
      text [[,"context":{"missingScopes":["crm.a"]},"errors":[{"context":{"missingScopes":["crm.b","crm.a"]}},
        {"context":{"requiredGranularScopes":["crm.c"]}}] ]])
  end)

  it("reads well whatever is in their places", function()
    for _, json in ipairs { "5", "null", '"x"', "[]", "{}", "[5,null,{}]", '{"a":["x"]}' } do
      assert_in("MISSING_SCOPES: No. (HTTP 403", text(',"context":' .. json))
      assert_in("MISSING_SCOPES: No. (HTTP 403", text(',"errors":' .. json))
      assert_in("MISSING_SCOPES: No. (HTTP 403", text(',"errors":[{"context":' .. json .. "}]"))
      if json ~= '"x"' then
        assert_in("MISSING_SCOPES: No. (HTTP 403", text(',"context":{"missingScopes":' .. json .. "}"))
      end
    end
  end)

  it("says a scope once", function()
    local body = '{"message":"crm.a is missing","context":{"missingScopes":["crm.a"]}}'
    local _, errors = failure(binding.receive(body, 403))
    assert_in("crm.a is missing (HTTP", tostring(errors))
  end)
end)

describe("a text of a server's in an error", function()
  teardown(fault_server.stop_all)

  it("has no control characters in what is printed", function()
    local json = [[{"category":"A\u0000\u0007","correlationId":"c\u001b[31m",
      "message":"one\ntwo\r\tthree\u001b]0;x\u007f\u0085!\u00e4","context":{"missingScopes":["s\u0001"]}}]]
    local err, errors = failure(binding.receive(json, 403))
    assert.equal("one\ntwo\r\tthree\27]0;x\127\194\133!\195\164", err.message) -- HubSpot's own, as it came
    local text = tostring(errors)
    assert.is_nil(text:find "%c")
    assert.is_nil(text:find("\194\133", 1, true))
    assert_in("A\\0\\7: one two  three\\27]0;x\\127\\133!\195\164; it needs the scopes s\\1 (", text)
    assert_in("correlationId c\\27[31m", text)
  end)
end)

describe("an error inside a 2xx", function()
  teardown(fault_server.stop_all)

  local function partial(body, status, call)
    local results, errors, response = binding.receive(body, status or 207, nil, call)
    assert.is_table(results)
    assert.is_table(errors)
    assert.is_true(#errors > 0)
    assert.equal("api", errors[1].kind)
    assert.is_string(errors[1].message)
    assert.is_table(response)
    return results, errors, response
  end

  it("has HubSpot's fields and ours", function()
    local results, errors, response = partial [[{"status":"COMPLETE","results":[{"typeId":1}],"numErrors":2,"errors":[
      {"status":"error","id":"e-1","category":"VALIDATION_ERROR","message":"No","subCategory":{"a":1},
       "context":{"typeId":["5"]},"links":{},"errors":[]},
      {"category":"CONFLICT","message":"Exists","correlationId":"c-2"}]}]]
    assert.same({ { typeId = 1 } }, results)
    assert.equal(2, #errors)
    assert_fields({ kind = "api", message = "No", http_status = 207, attempts = 1, category = "VALIDATION_ERROR",
      id = "e-1", retryable = false, ambiguous = false, status = "error", first = absent, last = absent }, errors[1])
    assert.same({ a = 1 }, errors[1].subCategory)
    assert.same({ typeId = { "5" } }, errors[1].context)
    assert.equal("c-2", errors[2].correlationId)
    assert.equal(2, response.numErrors)
    assert.is_nil(response.errors)
  end)

  it("has no time to come back, no range and no index that only the body names", function()
    local _, errors = partial('{"results":[],"errors":[{"message":"m","first":1,"last":1e9,"index":5,"retry_after":7,'
      .. '"out_of_budget":true}]}')
    assert_fields({ first = absent, last = absent, retry_after = absent, out_of_budget = absent, message = "m" },
      errors[1])
    assert.not_equal(5, errors[1].index)
  end)

  it("has the answer's correlation id where it has none of its own", function()
    local headers = { ["X-HubSpot-Correlation-Id"] = "from-header" }
    local body = '{"results":[],"errors":[{"message":"a"},{"message":"b","correlationId":"own"}]%s}'
    local _, errors = binding.receive(body:format "", 207, headers)
    assert.same({ "from-header", "own" }, { errors[1].correlationId, errors[2].correlationId })
    assert_in("correlationId from-header", tostring(errors[1]))
    local response
    _, errors, response = binding.receive(body:format ',"correlationId":"from-body"', 207, headers)
    assert.same({ "from-body", "own", "from-body" },
      { errors[1].correlationId, errors[2].correlationId, response.correlationId })
    _, errors = binding.receive('{"results":[{}],"numErrors":1}', 207, headers)
    assert.equal("from-header", errors[1].correlationId)
  end)

  it("counts whatever the status of the answer is", function()
    for _, status in ipairs { 200, 201, 202, 207 } do
      local results, errors = partial('{"status":"COMPLETE","results":[],"errors":[{"message":"m"}]}', status)
      assert.same({}, results)
      assert.same({ "m", status }, { errors[1].message, errors[1].http_status })
    end
  end)

  it("is there also without results", function()
    assert.same({}, (partial '{"errors":[{"message":"m"}]}'))
    assert.same({}, (partial '{"results":null,"errors":[{"message":"m"}]}'))
  end)

  it("is made where HubSpot only counts", function()
    local results, errors = partial '{"status":"COMPLETE","results":[{"typeId":1}],"numErrors":3}'
    assert.equal(1, #results)
    assert_in("3", errors[1].message)
    assert.same({}, (partial '{"status":"COMPLETE","numErrors":1}'))
  end)

  it("is made where the batch is not complete", function()
    for _, status in ipairs { "PENDING", "PROCESSING", "CANCELED", "SOMETHING_NEW" } do
      local results, errors, response = partial(('{"status":"%s","results":[{"typeId":1}]}'):format(status), 200)
      assert.equal(1, #results)
      assert_in(status, errors[1].message)
      assert.equal(status, response.status)
    end
    assert.same({}, (partial('{"status":"PENDING"}', 202)))
    assert.same({}, (partial('{"status":"PENDING"}', 202, "batch_purge")))
  end)

  it("is an error also where it is no list of objects", function()
    for _, json in ipairs { '["text"]', "[5]", "[null]", "[[]]", '{"message":"alone"}', '"text"', '[{"message":5}]' } do
      partial('{"status":"COMPLETE","results":[],"errors":' .. json .. "}")
    end
    local _, errors = partial '{"results":[],"errors":["text"]}'
    assert.equal("text", errors[1].message)
    _, errors = partial '{"results":[],"errors":{"message":"alone"}}'
    assert.equal("alone", errors[1].message)
  end)

  it("is none where the list is empty", function()
    local results, errors = binding.receive('{"status":"COMPLETE","results":[{}],"errors":[],"numErrors":0}', 200)
    assert.same({ {} }, results)
    assert.is_nil(errors)
  end)
end)

describe("a throttled call", function()
  teardown(fault_server.stop_all)

  it("fails at once with the time to come back if that is past the deadline", function()
    for _, status in ipairs { 429, 423, 477 } do
      local body = '{"status":"error","message":"Wait","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}'
      local err, errors, response = failure(binding.receive(body, status, { ["Retry-After"] = "600" }, nil,
        { max_attempts = 4, deadline = 5 }))
      assert_fields({ kind = "throttled", http_status = status, attempts = 1, retry_after = 600, retryable = true,
        ambiguous = false, message = "Wait" }, err)
      assert_in("600 s", tostring(errors))
      assert.equal(status, response.http_status)
      assert.is_true(response.elapsed < 4)
    end
  end)

  it("says so if the daily limit is used up, and does not wait", function()
    local client, token = binding.client { max_attempts = 4 }
    simulator.fault(token, { status = 429, policy = "DAILY" })
    local err, errors = failure(client:get_all_limits())
    assert_fields({ kind = "throttled", http_status = 429, attempts = 1, policyName = "DAILY", retryable = false }, err)
    assert_in("daily limit", tostring(errors))
    assert_in("midnight", tostring(errors))
    assert.equal(1, simulator.log(token).count)
  end)
end)

describe("a call without an answer", function()
  teardown(fault_server.stop_all)

  it("is of kind timeout if the time ran out", function()
    local client, server = binding.scripted(faults.never_answers, { timeout = 0.2 })
    local err, errors, response = failure(client:batch_update("contacts", "companies", { limit() }))
    assert_fields({ kind = "timeout", http_status = absent, code = absent, attempts = 1, retryable = true,
      ambiguous = true }, err)
    assert.is_nil(response)
    assert_in("timeout", tostring(errors))
    assert_in("may have been applied", tostring(errors))
    err = failure(client:batch_create("contacts", "companies", { limit() }))
    assert_fields({ kind = "timeout", retryable = false, ambiguous = true }, err)
    err = failure(client:get_all_limits())
    assert_fields({ kind = "timeout", retryable = true, ambiguous = false }, err)
    server:stop()
  end)

  it("is of kind transport, with the place where it broke", function()
    local client = assoc.new(binding.options { base_url = binding.closed_url(), access_token = "pat-x" })
    local err, errors, response = failure(client:batch_create("contacts", "companies", { limit() }))
    assert_fields({ kind = "transport", code = "connect", http_status = absent, attempts = 1, retryable = true,
      ambiguous = false }, err)
    assert.is_nil(response)
    assert_in("transport (connect)", tostring(errors))

    client = binding.scripted(faults.close_without_reply)
    err = failure(client:batch_create("contacts", "companies", { limit() }))
    assert_fields({ kind = "transport", code = "receive", http_status = absent }, err)
    assert_fields({ retryable = false, ambiguous = true }, err)
  end)

  it("is of kind transport and code tls if the certificate is not trusted", function()
    local client = assoc.new(binding.options { base_url = simulator.https_url, access_token = simulator.token() })
    local err, _, response = failure(client:batch_create("contacts", "companies", { limit() }))
    assert_fields({ kind = "transport", code = "tls", http_status = absent, ambiguous = false }, err)
    assert.is_nil(response)
  end)

  it("is of kind config if there is no token", function()
    local client = binding.client { access_token = function() return nil, "the vault is sealed" end }
    local err, errors, response = failure(client:batch_update("contacts", "companies", { limit() }))
    assert_fields({ kind = "config", http_status = absent, attempts = 0, retryable = false, ambiguous = false }, err)
    assert.is_nil(response)
    assert_in("the vault is sealed", tostring(errors))
    assert_in("config", tostring(errors))
  end)
end)

describe("an answer that is not what the API promises", function()
  teardown(fault_server.stop_all)

  it("is a protocol error, with a response if one was received", function()
    for _, name in ipairs { "not_json", "empty_body", "truncated_json", "redirect" } do
      local client, server = binding.scripted(faults[name])
      local err, errors, response = failure(client:batch_update("contacts", "companies", { limit() }))
      assert_fields({ kind = "protocol", http_status = name == "redirect" and 302 or 200, attempts = 1 }, err)
      assert.equal(err.http_status, response.http_status)
      assert_in("protocol", tostring(errors))
      assert.equal(1, #server:stop())
    end
  end)

  it("may have been applied, if it is a 2xx to a call that changes something", function()
    assert_fields({ kind = "protocol", ambiguous = true }, (failure(binding.receive("x", 200))))
    assert_fields({ kind = "protocol", ambiguous = true }, (failure(binding.receive("x", 200, nil, "batch_create"))))
    local client = binding.scripted(faults.not_json)
    assert_fields({ kind = "protocol", ambiguous = false }, (failure(client:get_all_limits())))
  end)

  it("is a protocol error if it is larger than max_response_bytes", function()
    local body = '{"results":[' .. (" "):rep(2000) .. "{}]}"
    local err = failure(binding.receive(body, 200, nil, nil, { max_response_bytes = 1000 }))
    assert.equal("protocol", err.kind)
    assert_in("max_response_bytes", err.message)
    assert.is_nil(select(2, binding.receive(body, 200, nil, nil, { max_response_bytes = 3000 })))
  end)
end)

describe("the text of an error", function()
  teardown(fault_server.stop_all)

  it("tells call, pair, category, message, status, correlation id and attempts", function()
    local _, errors = binding.receive(REFUSAL, 400)
    for _, part in ipairs { "batch_update", "contacts", "companies", "VALIDATION_ERROR", "Invalid input", "400", "c-1",
      "1 attempt" } do
      assert_in(part, tostring(errors))
      assert_in(part, tostring(errors[1]))
    end
    assert.is_nil(tostring(errors):find "\n")
  end)

  it("tells the number of attempts", function()
    local client, token = binding.client { max_attempts = 2 }
    simulator.fault(token, { status = 503, retry_after = 0, times = 2 })
    local _, errors = client:get_all_limits()
    assert.equal(2, errors[1].attempts)
    assert_in("2 attempts", tostring(errors))
    assert_in("get_all_limits", tostring(errors))
  end)

  it("has a line for each of several errors", function()
    local _, errors = binding.receive
      '{"results":[],"errors":[{"message":"one"},{"message":"two"},{"message":"three"}]}'
    local text = tostring(errors)
    assert_in("3 errors", text)
    for i, part in ipairs { "one", "two", "three" } do
      assert.equal(part, errors[i].message)
      assert_in(tostring(errors[i]), text)
    end
    assert.equal(3, select(2, text:gsub("\n", "")))
  end)

  it("can be concatenated on both sides", function()
    local _, errors = binding.receive(REFUSAL, 400)
    for _, value in ipairs { errors, errors[1] } do
      local text = tostring(value)
      assert.equal("failed: " .. text, "failed: " .. value)
      assert.equal(text .. "!", value .. "!")
      assert.equal(text .. 5, value .. 5)
      assert.equal(5 .. text, 5 .. value)
      assert.equal(text .. text, value .. value)
      assert.equal(text .. tostring(errors[1]), value .. errors[1])
    end
  end)

  it("cannot be concatenated with what is no text", function()
    local _, errors = binding.receive(REFUSAL, 400)
    for _, other in ipairs { {}, print, true } do
      assert.is_false(pcall(function() return errors .. other end))
      assert.is_false(pcall(function() return other .. errors[1] end))
    end
  end)

  it("survives a caller's changes to the error", function()
    local _, errors = binding.receive(REFUSAL, 400)
    errors[1].message, errors[1].category, errors[1].call, errors[1].attempts = nil, nil, {}, "x"
    assert.is_string(tostring(errors))
    errors[1] = "gone"
    assert.is_string(tostring(errors))
    errors[1] = nil
    assert.is_string(tostring(errors))
    assert.is_string("x" .. errors)
  end)

  it("has no format characters that mean something", function()
    local _, errors = binding.receive('{"message":"100 %d %s %n %%","category":"%s"}', 400)
    assert_in("100 %d %s %n %%", tostring(errors))
  end)
end)

describe("errors and results", function()
  teardown(fault_server.stop_all)

  it("can be encoded again", function()
    local _, errors, response = binding.receive(REFUSAL, 400)
    local copy = cjson.decode(cjson.encode(errors))
    assert.equal("Invalid input", copy[1].message)
    assert.equal(400, cjson.decode(cjson.encode(response)).http_status)
  end)

  it("can be walked with pairs and ipairs", function()
    local _, errors = binding.receive(REFUSAL, 400)
    local names = {}
    for name in pairs(errors[1]) do names[name] = true end
    assert.is_true(names.kind and names.message and names.category)
    for i, err in ipairs(errors) do assert.equal(errors[i], err) end
  end)
end)

describe("assoc.check", function()
  teardown(fault_server.stop_all)

  it("returns its arguments where there are no errors", function()
    local results, response = {}, {}
    local returned = { n = select("#", assoc.check(results, nil, response)), assoc.check(results, nil, response) }
    assert.equal(3, returned.n)
    assert.equal(results, returned[1])
    assert.is_nil(returned[2])
    assert.equal(response, returned[3])
    assert.is_true(assoc.check(true))
    assert.is_nil((assoc.check(nil, nil, nil)))
  end)

  it("passes a call's results on", function()
    local client = binding.client()
    local results = assoc.check(client:get_all_limits())
    assert.equal(7, #results)
  end)

  it("raises the text of the errors of a call that failed", function()
    local results, errors, response = binding.receive(REFUSAL, 400)
    local ok, message = pcall(assoc.check, results, errors, response)
    assert.is_false(ok)
    assert.is_string(message)
    assert.equal(tostring(errors), message:sub(-#tostring(errors)))
  end)

  it("raises for a partial failure too", function()
    local ok, message = pcall(function()
      return assoc.check(binding.receive('{"results":[{"typeId":1}],"errors":[{"message":"partly"}]}', 207))
    end)
    assert.is_false(ok)
    assert_in("partly", message)
  end)

  it("raises where the call had nothing to return but errors", function()
    local client = assoc.new(binding.options { base_url = binding.closed_url(), access_token = "pat-x" })
    local ok, message = pcall(function() return assoc.check(client:get_all_limits()) end)
    assert.is_false(ok)
    assert_in("transport", message)
  end)
end)

describe("the token", function()
  local TOKEN = "pat-na1-0123-the-secret-4567"
  teardown(fault_server.stop_all)

  local events = {}
  local function client_of(script, changes)
    events = {}
    local options = { access_token = TOKEN, on_event = function(event) events[#events + 1] = event end }
    for name, value in pairs(changes or {}) do options[name] = value end
    return (binding.scripted(script, options))
  end

  local function assert_hidden(token, ...)
    for i = 1, select("#", ...) do
      local place = binding.find_text((select(i, ...)), token)
      assert.is_nil(place, place)
    end
    assert.is_nil(binding.find_text(events, token))
  end

  local function update(client)
    return client:batch_update("contacts", "companies", { limit() })
  end

  it("is in no error, text, event or response, even where the server repeats it", function()
    local client = client_of(faults.echo_authorization)
    local results, errors, response = update(client)
    assert.equal(401, errors[1].http_status)
    assert_in("Authentication failed for Bearer ", errors[1].message)
    assert_hidden(TOKEN, results, errors, response, client)
    assert.is_true(#events > 0)
  end)

  it("is not in a 207 that repeats it", function()
    local client = client_of "bodies.token_in_errors"
    local results, errors, response = update(client)
    assert.equal(207, response.http_status)
    assert_in("Bearer ", errors[1].message)
    assert_hidden(TOKEN, results, errors, response)
  end)

  it("is not in an HTML page, a protocol error or a header that repeats it", function()
    for _, answer in ipairs { { 502, "text/html" }, { 200, "text/plain" }, { 302, "text/plain" } } do
      local client = client_of { "bodies.token_in_text", answer[1], answer[2] }
      local results, errors, response = update(client)
      assert.is_nil(results)
      assert_hidden(TOKEN, errors, response)
      assert_hidden("the-secret", errors, response)
    end
  end)

  it("is not in an answer that repeats it in JSON's other spellings", function()
    local token = "pat-na1/the+secret/4567"
    local client = client_of("bodies.token_escaped", { access_token = token })
    local _, errors, response = update(client)
    assert.equal(400, errors[1].http_status)
    assert_hidden(token, errors, response)
  end)

  it("is masked from eight characters on: a shorter one would mask parts of words, and is none of HubSpot's", function()
    for token, told in pairs { p = "HubSpot repeats p", ["pat-xyz"] = "HubSpot repeats pat-xyz",
      ["pat-wxyz"] = "HubSpot repeats ********" } do
      local client = assoc.new { access_token = token, max_attempts = 1, transport = function()
        return { status = 400, body = ('{"message":"HubSpot repeats %s"}'):format(token) }
      end }
      local _, errors = update(client)
      assert.equal(told, errors[1].message)
    end
  end)

  it("is not in an error of a token function's token", function()
    local client = client_of(faults.none, { access_token = function() return TOKEN .. "\n" end })
    local _, errors = update(client)
    assert.equal("config", errors[1].kind)
    assert_hidden(TOKEN, errors)
  end)

  it("is not in what a client prints as", function()
    assert.is_nil(tostring(assoc.new { access_token = TOKEN }):find(TOKEN, 1, true))
    assert_hidden(TOKEN, assoc.new { access_token = TOKEN })
    assert.is_nil(tostring(require "hubspot_assoc.core".new { access_token = TOKEN }):find(TOKEN, 1, true))
  end)

  it("is sent", function()
    local client, server = binding.scripted(faults.none, { access_token = TOKEN })
    update(client)
    assert.equal("Bearer " .. TOKEN, server:stop()[1].headers.authorization)
  end)
end)

describe("a response", function()
  teardown(fault_server.stop_all)

  it("has the rate limits that HubSpot's headers tell", function()
    local _, _, response = binding.receive('{"results":[]}', 200, {
      ["X-HubSpot-RateLimit-Max"] = "190", ["x-hubspot-ratelimit-remaining"] = "187",
      ["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000", ["X-HubSpot-RateLimit-Daily"] = "650000",
      ["X-HubSpot-RateLimit-Daily-Remaining"] = "649999",
    })
    assert.same({ max = 190, remaining = 187, interval_ms = 10000, daily = 650000, daily_remaining = 649999 },
      response.rate_limit)
  end)

  it("has those of the rate limits that were seen", function()
    local _, _, response = binding.receive('{"results":[]}', 200, { ["X-HubSpot-RateLimit-Remaining"] = "0",
      ["X-HubSpot-RateLimit-Max"] = "many" })
    assert.same({ remaining = 0 }, response.rate_limit)
    _, _, response = binding.receive '{"results":[]}'
    assert.is_nil(response.rate_limit)
  end)

  it("has integers for what is counted", function()
    local _, _, response = binding.receive('{"results":[]}', 200, { ["X-HubSpot-RateLimit-Max"] = "190" })
    assert.equal("200 1 190", ("%s %s %s"):format(response.http_status, response.attempts, response.rate_limit.max))
  end)

  it("keeps the rest of the envelope", function()
    local _, _, response = binding.receive('{"status":"COMPLETE","requestedAt":"a","startedAt":"b","completedAt":"c",'
      .. '"links":{"x":"y"},"paging":{"next":{"after":"5"}},"results":[]}')
    assert.same({ "COMPLETE", "a", "b", "c" },
      { response.status, response.requestedAt, response.startedAt, response.completedAt })
    assert.same({ x = "y" }, response.links)
    assert.same({ next = { after = "5" } }, response.paging)
  end)

  it("is there for a call that failed, if anything was received", function()
    local _, _, response = binding.receive("", 500)
    assert.equal(500, response.http_status)
    assert.equal(1, response.attempts)
    assert.is_number(response.elapsed)
  end)

  it("tells the time that the whole call took", function()
    local client, token = binding.client()
    simulator.fault(token, { delay = 0.3 })
    local _, _, response = client:get_all_limits()
    assert.is_true(response.elapsed > 0.25 and response.elapsed < 5) -- nginx's clock is a little behind
  end)
end)

describe("a list of errors made by hand", function()
  it("reads as the library's own, and says only what is known", function()
    local errors = assoc.errors { { kind = "timeout", message = "too slow" } }
    assert.equal("timeout: too slow", tostring(errors))
    assert.equal("timeout: too slow", tostring(errors[1]))
    assert.equal("it failed: timeout: too slow!", "it failed: " .. errors .. "!")
    errors = assoc.errors {
      { kind = "api", category = "VALIDATION_ERROR", message = "no", http_status = 400, attempts = 2,
        ambiguous = true, call = "associate", from = "contacts", to = "deals", first = 1, last = 3 },
      { kind = "throttled", message = "later", retry_after = 7, policyName = "DAILY" },
    }
    assert.equal("2 errors:\n- associate contacts -> deals, inputs 1 to 3: "
      .. "VALIDATION_ERROR: no (HTTP 400, 2 attempts; it may have been applied)\n"
      .. "- throttled: later (come back in 7 s; the daily limit is reset at midnight in the account's time zone)",
      tostring(errors))
  end)

  it("goes through check", function()
    local errors = assoc.errors { { kind = "api", message = "no" } }
    local ok, message = pcall(assoc.check, {}, errors)
    assert.same({ false, "api: no" }, { ok, message })
  end)

  it("takes strings, and errors that calls returned, as they are", function()
    local client = assoc.new { access_token = "pat-x" }
    client:close()
    local _, own = client:get_all_limits()
    local given = { kind = "api", message = "no" }
    local errors = assoc.errors { "no file", own[1], given }
    assert.same({ "config", "no file" }, { errors[1].kind, errors[1].message })
    assert.equal(own[1], errors[2])
    assert.is_nil(getmetatable(given))
    assert.same({ kind = "api", message = "no" }, given)
    assert.equal("config: no file", tostring(errors[1]))
  end)

  it("takes nothing that is no error, and says where", function()
    for expected, list in pairs {
      ["errors: list expected, got nil"] = false,
      ["errors: list of at least one error expected: { { kind = , message = }, ... }"] = { kind = "api" },
      ["errors[1].kind: unknown kind 'apy'; did you mean 'api'?"] = { { kind = "apy", message = "x" } },
      ["errors[1].kind: unknown kind 'x-ray'; it is one of api, throttled, timeout, transport, protocol, canceled, "
        .. "config, pending"] = { { kind = "x-ray", message = "x" } },
      ["errors[2].kind: string expected, got nil"] = { "x", { message = "x" } },
      ["errors[1].message: string expected, got number"] = { { kind = "api", message = 5 } },
      ["errors[2]: table or string expected, got boolean"] = { "x", true },
    } do
      local ok, message = pcall(assoc.errors, list or nil)
      assert.is_false(ok)
      assert_in("bad argument #1 to 'errors' (" .. expected .. ")", message)
      ok, message = pcall(require "hubspot_assoc.core".errors, list or nil)
      assert.is_false(ok)
      assert_in(expected, message)
    end
  end)

  it("blames its caller", function()
    local function caller() assoc.errors {} end
    local _, message = pcall(caller)
    assert.matches("error_spec.lua:%d+: bad argument #1 to 'errors'", message)
    _, message = pcall(assoc.errors, assoc)
    assert_in("call it with a dot", message)
  end)
end)
