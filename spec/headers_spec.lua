-- The option `headers`: more request headers, of a client and of a call.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"

local limit = binding.limit

local OK = '{"status":"COMPLETE","results":[]}'

-- What two requests look like: of a client with these options, called with these.
local function sent(client_headers, call_headers)
  local client, server = binding.scripted(binding.answer(200, '{"results":[]}'), { headers = client_headers })
  local _, errors = client:get_limits("contacts", "companies", { headers = call_headers })
  assert.is_nil(errors)
  return server:stop()[1].headers
end

local function message_of(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return (message:gsub("^.-: bad", "bad"))
end

local function new_message(headers)
  return message_of(assoc.new, { headers = headers })
end

describe("headers", function()
  after_each(fault_server.stop_all)

  it("of a client go with every request, beside the library's own", function()
    local client, server = binding.scripted({ "batch.echo", {} },
      { headers = { ["X-Trace"] = "a b", ["x-team"] = "t: 1" } })
    assert.is_nil(select(2, client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 2 })))
    local seen = server:stop()
    assert.equal(2, #seen)
    for _, request in ipairs(seen) do
      assert.same({ "a b", "t: 1", "application/json", "Bearer pat-scripted" }, { request.headers["x-trace"],
        request.headers["x-team"], request.headers["content-type"], request.headers.authorization })
    end
  end)

  it("of a call go with that call alone, and over the client's, whatever their case", function()
    local client, server = binding.scripted(binding.answer(200, '{"results":[]}'),
      { headers = { ["X-One"] = "client", ["X-Two"] = "client" } })
    local calls = { false, { ["x-one"] = "call", ["X-Three"] = "3" }, false }
    for _, headers in ipairs(calls) do
      assert.is_nil(select(2, client:get_limits("contacts", "companies", headers and { headers = headers } or nil)))
    end
    local seen = server:stop()
    for i, expected in ipairs { { "client", "client" }, { "call", "client", "3" }, { "client", "client" } } do
      local headers = seen[i].headers
      assert.same(expected, { headers["x-one"], headers["x-two"], headers["x-three"] })
    end
  end)

  it("go with each attempt, and with asynchronous calls", function()
    local client, server = binding.scripted({ "answers.first", 502, {}, '{"results":[]}' },
      { headers = { ["X-One"] = "1" }, max_attempts = 2 })
    local future = client.async:get_limits("contacts", "companies", { headers = { ["X-Two"] = "2" } })
    assert.same({}, (future:wait()))
    local seen = server:stop()
    assert.equal(2, #seen)
    for _, request in ipairs(seen) do
      assert.same({ "1", "2" }, { request.headers["x-one"], request.headers["x-two"] })
    end
    client:close()
  end)

  it("are what they were when the client was made, and when the call was", function()
    local of_client, of_call = { ["X-One"] = "1" }, { ["X-Two"] = "2" }
    local client, server = binding.scripted(binding.answer(200, '{"results":[]}'), { headers = of_client })
    of_client["X-One"] = "changed"
    local future = client.async:get_limits("contacts", "companies", { headers = of_call })
    of_call["X-Two"] = "changed"
    future:wait()
    local headers = server:stop()[1].headers
    assert.same({ "1", "2" }, { headers["x-one"], headers["x-two"] })
    client:close()
  end)

  it("reach the option transport", function()
    local seen
    local client = assoc.new { access_token = "pat-x", headers = { ["X-One"] = "1" }, transport = function(request)
      seen = request.headers
      return { status = 200, headers = {}, body = OK }
    end }
    client:batch_purge("contacts", "companies", { { category = "A", typeId = 1 } },
      { headers = { traceparent = "00-1" } })
    assert.same({ "1", "00-1", "application/json" }, { seen["X-One"], seen.traceparent, seen.Accept })
    assert.is_nil(seen.Authorization)
  end)

  it("may be an empty table", function()
    assert.is_nil(sent({}, {})["x-one"])
  end)

  it("are given by a function, which is called when a call is started, once", function()
    local count = 0
    local function number()
      count = count + 1
      return { ["X-Number"] = tostring(count) }
    end
    local client, server = binding.scripted({ "batch.echo", {} }, { headers = number })
    client:batch_update("contacts", "companies", binding.limits(3), { batch_size = 1 })
    local future = client.async:batch_update("contacts", "companies", binding.limits(1))
    assert.equal(2, count)
    future:wait()
    client:batch_update("contacts", "companies", binding.limits(1), { headers = { ["x-number"] = "mine" } })
    client:batch_update("contacts", "companies", binding.limits(1), { headers = number })
    local numbers = {}
    for i, request in ipairs(server:stop()) do numbers[i] = request.headers["x-number"] end
    assert.same({ "1", "1", "1", "2", "mine", "5" }, { numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
      tostring(count) })
    client:close()
  end)

  it("are none where the function returns nil", function()
    assert.is_nil(sent(function() end)["x-one"])
  end)

  it("that a function cannot give are an error of the call, which sends nothing", function()
    local cases = {
      { function() error("no request here", 0) end, "the headers function failed: no request here" },
      { function() error({}) end, "the headers function failed: with a value that is no string" },
      { function() return "x" end, "the headers function returned no table, but string" },
      { function() return { ["X-One"] = 5 } end,
        'the headers function\'s table cannot be used: headers["X-One"]: string expected, got number' },
      { function() return { Host = "x" } end,
        'the headers function\'s table cannot be used: headers["Host"]: the library sets this header itself' },
      { function() coroutine.yield() end, "attempt to yield" },
    }
    for i, case in ipairs(cases) do
      for _, options in ipairs { { { headers = case[1] } }, { {}, { headers = case[1] } } } do
        local client, server = binding.scripted({ "batch.echo", {} }, options[1])
        local results, errors = coroutine.wrap(function()
          return client:batch_update("contacts", "companies", binding.limits(2), options[2])
        end)()
        assert.is_nil(results)
        assert.same({ 1, "config", 0 }, { #errors, errors[1].kind, errors[1].attempts })
        assert.is_truthy(errors[1].message:find(case[2], 1, true), i .. ": " .. errors[1].message)
        assert.equal(0, #server:stop())
      end
    end
  end)

  it("may not be those that the library sets, or on which framing depends", function()
    local forbidden = { "Authorization", "HOST", "content-length", "Content-Type", "content-encoding", "Content-Any",
      "Accept", "accept-encoding", "User-Agent", "Transfer-Encoding", "connection", "Keep-Alive", "Upgrade", "TE",
      "Trailer", "Expect", "Proxy-Authorization", "HTTP2-Settings" }
    local client = assoc.new { access_token = "pat-x" }
    for _, name in ipairs(forbidden) do
      local message = new_message { [name] = "secret-value" }
      assert.is_truthy(message:find("bad argument #1 to 'new' (options.headers[\"" .. name .. '"]: ', 1, true), message)
      assert.is_nil(message:find("secret-value", 1, true))
      message = message_of(client.get_limits, client, "a", "b", { headers = { [name] = "secret-value" } })
      assert.is_truthy(message:find('bad argument #3 to \'get_limits\' (options.headers["' .. name .. '"]: ', 1, true),
        message)
    end
    for _, name in ipairs { "Accept-Language", "Hosted", "X-Content-Type", "Tea", "traceparent", "Cookie" } do
      assert.equal("v", sent({ [name] = "v" })[name:lower()])
    end
  end)

  it("have sound names and values", function()
    local cases = {
      { { "X-One" }, "options.headers: names of headers expected, got a list or other keys" },
      { "X-One: 1", 'options.headers: table or function expected, got string' },
      { { [""] = "v" }, 'options.headers[""]: is no name of a header: it is empty' },
      { { ["a b"] = "v" }, 'options.headers["a b"]: is no name of a header' },
      { { ["a:"] = "v" }, 'options.headers["a:"]: is no name of a header' },
      { { ["a\r\nHost"] = "v" }, "is no name of a header" },
      { { ["\255"] = "v" }, 'options.headers["..."]: is no name of a header' },
      { { a = "" }, 'options.headers["a"]: must not be empty' },
      { { a = "hidden\r\nHost: x" }, 'options.headers["a"]: must have printable ASCII characters only' },
      { { a = "hidden\0" }, 'options.headers["a"]: must have printable ASCII characters only' },
      { { a = 5 }, 'options.headers["a"]: string expected, got number' },
      { { a = { "hidden" } }, 'options.headers["a"]: string expected, got table' },
      { { ["X-A"] = "hidden", ["x-a"] = "hidden" }, "is there twice" },
      { { a = ("hidden"):rep(2000) }, "options.headers: longer than 8192 bytes together" },
    }
    local client = assoc.new { access_token = "pat-x" }
    for _, case in ipairs(cases) do
      local message = new_message(case[1])
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_nil(message:find("hidden", 1, true), message)
      message = message_of(client.batch_update, client, "a", "b", { limit() }, { headers = case[1] })
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)
end)
