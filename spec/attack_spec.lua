-- What a server can do that answers in HubSpot's name, or a proxy on the way to it, with one answer: little. (Bombs in
-- gzip, endless heads and bodies: transport_spec.lua, fault_spec.lua. Bytes that are no HTTP: odd_reply_spec.lua. Rates
-- and a Retry-After that nobody can mean: pace_spec.lua.)
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

after_each(fault_server.stop_all)

local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
local GZIP = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\31\139\8\0\0\0\0\0\0\3"

-- what -> what it begins with, and what it goes on with
local ENDLESS = {
  ["a chunk's extension"] = { CHUNKED .. "5;", "x" },
  ["trailers"] = { CHUNKED .. "0\r\n", "X: y\r\n" },
  ["a trailer"] = { CHUNKED .. "0\r\nX: ", "y" },
  ["chunks of white space"] = { CHUNKED, "1\r\n \r\n" },
  ["interim answers"] = { "", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" },
  ["a status line"] = { "HTTP/1.1 200 ", "x" },
  ["a version"] = { "HTTP/1.", "1" },
  ["gzip of nothing"] = { GZIP, "\0\0\0\255\255" }, -- stored blocks with no bytes in them
  ["a name in gzip"] = { GZIP:sub(1, -8) .. "\8\0\0\0\0\0\3", "x" },
}

describe("a hostile server", function()
  for what, bytes in pairs(ENDLESS) do
    it("cannot hold a call beyond its deadline, nor fill the memory, by what never ends: " .. what, function()
      local server = fault_server.start { "attacks.endless", bytes[1], bytes[2] }
      local sanitizer = os.getenv "ASAN_OPTIONS" -- keeps what was freed for a while
      local environment = { ASAN_OPTIONS = sanitizer and sanitizer .. ":quarantine_size_mb=1" }
      local report = child.run(environment, child.MOST_MEMORY .. [[
        local client = require "hubspot_assoc".new { base_url = ..., access_token = "x", max_response_bytes = 1000000,
          max_attempts = 1, deadline = 1 }
        client:get_limits("contacts", "a/b", { deadline = 0.001 }) -- libcurl is loaded and ready
        local before = most()
        local _, errors = client:get_limits("contacts", "companies")
        return errors[1].kind, most() - before ]], server.url)
      assert.equal("0", report.status, table.concat(report, "\n"))
      assert.is_true(report[1] == "timeout" or report[1] == "protocol", report[1])
      assert.is_true(tonumber(report[2]) < 16 * 1024, report[2] .. " KiB")
      assert.is_true(report.seconds < 8)
    end)
  end

  it("cannot fill the memory with errors that take three bytes each", function()
    local body = '{"results":[],"errors":[' .. ("{},"):rep(300000) .. "{}]}"
    local client = assoc.new(binding.options { transport = function() return { status = 207, body = body } end })
    collectgarbage()
    collectgarbage()
    local before = collectgarbage "count"
    local _, errors = client:batch_update("contacts", "companies", { binding.limit() })
    collectgarbage()
    assert.equal(10001, #errors)
    assert.equal("HubSpot reports 290001 errors more, which no batch can have", errors[10001].message)
    assert.is_true(collectgarbage "count" - before < 20 * 1024)
  end)

  it("has of the memory a multiple of max_response_bytes at most", function()
    for _, piece in ipairs { "[],", "{},", '{"":0},', "1," } do
      local report = child.run({}, [[
        local piece = ...
        local most = 2 ^ 20
        local body = '{"results":[' .. piece:rep(math.floor(most / #piece) - 99) .. piece:sub(1, -2) .. "]}"
        local client = require "hubspot_assoc".new { access_token = "x", max_response_bytes = most, rate = false,
          transport = function() return { status = 200, body = body } end }
        collectgarbage()
        collectgarbage()
        local before = collectgarbage "count"
        local results, errors = client:get_all_limits()
        return errors, #results, collectgarbage "count" * 1024 - before * 1024 < 50 * most
      ]], piece)
      assert.same({ "nil", "true", "0" }, { report[1], report[3], report.status }, table.concat(report, "\n"))
      assert.is_true(tonumber(report[2]) > 140000)
    end
  end)
end)

describe("a hostile proxy", function()
  -- What a client makes of a proxy that answers CONNECT so.
  local function call_through(...)
    local proxy = fault_server.start { ... }
    local client = wire.client("https://api.hubspot.test", { proxy = proxy.url, ca_file = simulator.ca_file,
      max_attempts = 1, deadline = 2,
      access_token = "pat-secret-token" })
    local outcome = wire.timed(client, "get_limits", "contacts", "companies")
    local asked = proxy:stop()
    for _, request in ipairs(asked) do
      assert.equal("CONNECT", request.method)
      for _, value in pairs(request.headers) do assert.is_nil(value:find("pat-secret", 1, true)) end
    end
    return outcome, client
  end

  it("is no HubSpot: neither its answer nor what it says of rates and times counts", function()
    local headers = { ["Retry-After"] = "3600", ["X-HubSpot-RateLimit-Max"] = "1",
      ["X-HubSpot-RateLimit-Remaining"] = "0",
      ["X-HubSpot-RateLimit-Interval-Milliseconds"] = "60000", ["X-HubSpot-Correlation-Id"] = "forged",
      Location = "https://127.0.0.1/", ["Set-Cookie"] = "a=b" }
    for _, status in ipairs { 200, 302, 401, 407, 429, 503 } do
      local outcome, client = call_through("acts.always", { "answer", status, '{"results":[]}', headers })
      local err = outcome.error
      assert.equal("transport", err.kind, status)
      assert.is_nil(err.http_status)
      assert.is_nil(err.retry_after)
      assert.is_nil(err.correlationId)
      assert.is_false(err.ambiguous)
      assert.same({}, client:rate_limit() or {})
      assert.is_true(outcome.seconds < 1.5)
    end
  end)

  it("cannot hold a call beyond its deadline, nor fill the memory, by what never ends", function()
    for _, bytes in ipairs { { "", "HTTP/1.1 200 OK\r\n" }, { "HTTP/1.1 502 Bad\r\n", "X: y\r\n" },
      { "HTTP/1.1 200 OK\r\nX: ", "y" }, { "", "HTTP/1.1 100 Continue\r\n\r\n" }, { "", "z" },
      { "HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n" },
      { "HTTP/1.1 407 No\r\nContent-Length: 99999999999\r\n\r\n", "x" } } do
      local outcome = call_through("attacks.endless", bytes[1], bytes[2])
      assert.is_true(outcome.error.kind == "transport" or outcome.error.kind == "timeout", outcome.error.kind)
      assert.is_true(outcome.seconds < 5)
    end
  end)

  it("cannot answer for the server it was to lead to", function()
    local outcome = call_through("acts.always", { "send", "HTTP/1.1 200 OK\r\n\r\n"
      .. "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n"
      .. '{"results":[]}' })
    assert.equal("transport", outcome.error.kind)
    assert.is_nil(outcome.results)
  end)
end)
