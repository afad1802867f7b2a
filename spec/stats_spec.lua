-- client:stats() and client:rate_limit(): what a client has done, and what it knows of the rate.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

local limit = binding.limit

local EMPTY = '{"results":[]}'

-- The counters of a table that are not 0.
local function counted(counters)
  local list = {}
  for name, value in pairs(counters) do
    local count = type(value) == "table" and value.count or value
    if count ~= 0 then list[name] = count end
  end
  return list
end

-- A client whose requests are answered by answers[1], answers[2], ..., the last one ever after.
local function answered(answers, options)
  local n = 0
  local all = { access_token = "pat-x", rate = false, transport = function()
    n = n + 1
    local answer = answers[math.min(n, #answers)]
    if type(answer) == "string" then return nil, answer end
    return { status = answer[1], headers = answer[2] or {}, body = answer[3] or EMPTY }
  end }
  for name, value in pairs(options or {}) do all[name] = value end
  return assoc.new(all)
end

local WINDOW = { ["X-HubSpot-RateLimit-Max"] = "190", ["X-HubSpot-RateLimit-Remaining"] = "189",
  ["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000" }

describe("stats", function()
  after_each(fault_server.stop_all)

  it("are all there, and 0, before the first call", function()
    local stats = assoc.new({ access_token = "pat-x" }):stats()
    local retries = { api = 0, throttled = 0, timeout = 0, transport = 0, protocol = 0, token = 0 }
    local none = { count = 0, seconds = 0 }
    assert.same({ calls = 0, requests = 0, attempts = 0, retries = retries,
      waits = { rate = none, hold = none, connection = none, retry = none, leave = none, token = none },
      errors = { api = 0, throttled = 0, timeout = 0, transport = 0, protocol = 0, canceled = 0, config = 0 },
      bytes_sent = 0, bytes_received = 0, connections_opened = 0, connections_reused = 0, in_flight = 0, queued = 0,
    }, stats)
  end)

  it("count calls, requests and attempts", function()
    local client = binding.scripted { "batch.echo", { [2] = { 502, "" } } }
    client:batch_update("contacts", "companies", binding.limits(5), { batch_size = 2, max_attempts = 2 })
    client:batch_update("contacts", "companies", binding.limits(1))
    client:batch_update("contacts", "companies", {})
    pcall(client.batch_update, client, "contacts", "companies", 5)
    pcall(client.batch_update, client, "contacts", "companies", {}, { batch_size = 5000 })
    pcall(client.batch_update, client, "contacts", "companies", {}, { headers = { Host = "x" } })
    local stats = client:stats()
    assert.same({ 3, 4, 5 }, { stats.calls, stats.requests, stats.attempts })
    assert.same({ api = 1 }, counted(stats.retries))
    assert.same({}, counted(stats.errors))
  end)

  it("count retries by what went wrong", function()
    local client = answered({ { 503, { ["Retry-After"] = "0" } }, { 429, { ["Retry-After"] = "0" } }, "timeout",
      "connect", { 200 } }, { max_attempts = 10 })
    assert.is_nil(select(2, client:get_limits("a", "b")))
    local stats = client:stats()
    assert.same({ api = 1, throttled = 1, timeout = 1, transport = 1 }, counted(stats.retries))
    assert.equal(5, stats.attempts)
    client = binding.client { max_attempts = 3, access_token = function(reason)
      return simulator.token(not reason and "expired" or nil)
    end }
    assert(client:get_all_limits())
    assert.same({ token = 1 }, counted(client:stats().retries))
  end)

  it("count waits, by what for, and their seconds", function()
    local client = answered({ { 503, { ["Retry-After"] = "0.01" } }, { 502 }, { 200 } }, { max_attempts = 5 })
    client:get_limits("a", "b")
    local waits = client:stats().waits
    assert.is_true(waits.retry.count >= 1)
    assert.is_true(waits.retry.seconds > 0 and waits.retry.seconds < 60)

    client = answered({ { 200 } }, { rate = { requests = 1, interval = 0.1 } })
    client:get_limits("a", "b")
    client:get_limits("a", "b")
    assert.same({ rate = 1 }, counted(client:stats().waits))
    assert.is_true(client:stats().waits.rate.seconds > 0.01)

    client = answered({ { 429, { ["Retry-After"] = "1" } }, { 200 } }, { rate = { requests = 100, interval = 1 } })
    client:get_limits("a", "b")
    waits = client:stats().waits
    assert.is_true(waits.hold.count >= 1 and waits.hold.seconds > 0.9)
  end)

  it("count what limiters and token functions make calls wait", function()
    local client = answered({ { 200 } }, { limiter = { observe = function() end, reserve = function() return 0.05 end },
      rate = nil })
    client:get_limits("a", "b")
    assert.same({ leave = 1 }, counted(client:stats().waits))
    client = answered({ { 200 } }, { access_token = function()
      local till = require "hubspot_assoc.core".now() + 0.01
      repeat until require "hubspot_assoc.core".now() > till
      return "pat-y"
    end })
    client:get_limits("a", "b")
    assert.same({ token = 1 }, counted(client:stats().waits))
  end)

  it("count the errors that the caller got, by kind", function()
    local client = binding.client()
    local _, errors = client:batch_update("contacts", "companies", { limit { typeId = 98 }, limit { typeId = 99 } })
    assert.equal(2, #errors)
    client:get_limits("contacts", "nonsense")
    client.async:get_all_limits():cancel()
    local other = binding.client { base_url = binding.closed_url() }
    other:get_all_limits()
    local unset = assoc.new { access_token = function() error "none" end }
    unset:get_all_limits()
    assert.same({ api = 3, canceled = 1 }, counted(client:stats().errors))
    assert.same({ transport = 1 }, counted(other:stats().errors))
    assert.same({ config = 1 }, counted(unset:stats().errors))
    client:close()
  end)

  it("count bytes and connections", function()
    local client, server = binding.scripted(binding.answer(200, EMPTY))
    for _ = 1, 3 do client:get_limits("contacts", "companies") end
    local one = client:stats()
    assert.same({ 1, 2 }, { one.connections_opened, one.connections_reused })
    assert.is_true(one.bytes_sent > 300 and one.bytes_received > 3 * #EMPTY)
    client:batch_update("contacts", "companies", binding.limits(100))
    local two = client:stats()
    assert.is_true(two.bytes_sent - one.bytes_sent > 3000)
    server:stop()
    client:get_limits("contacts", "companies")
    assert.same({ 1, 3 }, { client:stats().connections_opened, client:stats().connections_reused })
  end)

  it("count the bodies of what the option transport answers", function()
    local client = answered { { 200 } }
    client:batch_purge("a", "b", { { category = "A", typeId = 1 } })
    local stats = client:stats()
    assert.same({ #EMPTY, 0, 0 }, { stats.bytes_received, stats.connections_opened, stats.connections_reused })
    assert.is_true(stats.bytes_sent > 10 and stats.bytes_sent < 100)
  end)

  it("tell what is under way, and what waits", function()
    local client = binding.scripted({ "answers.after", 0.3 }, { max_connections = 2 })
    for _ = 1, 5 do client.async:get_limits("contacts", "companies") end
    local stats
    repeat stats = client:stats() until stats.in_flight == 2
    assert.equal(3, stats.queued)
    client:drain()
    stats = client:stats()
    assert.same({ 0, 0, 5 }, { stats.in_flight, stats.queued, stats.attempts })
    assert.same({ connection = 3 }, counted(stats.waits))
    client:close()
  end)

  it("stay when the client is closed", function()
    local client = binding.client()
    client:get_all_limits()
    local before = client:stats()
    client.async:get_all_limits()
    client:close()
    local stats = client:stats()
    assert.same({ 2, 1, 0, 0 }, { stats.calls, stats.errors.canceled, stats.in_flight, stats.queued })
    assert.is_true(stats.bytes_received >= before.bytes_received and before.bytes_received > 0)
    assert.same({}, client:rate_limit())
    client:get_all_limits()
    assert.equal(1, client:stats().errors.config)
  end)

  it("are those of the default client as functions of the module", function()
    local client = assoc.configure((binding.simulator_options()))
    assert(assoc.get_all_limits())
    assert.same(client:stats(), assoc.stats())
    assert.equal(1, assoc.stats().calls)
    assert.equal(client:rate_limit().daily_remaining, assoc.rate_limit().daily_remaining)
    assert.has_error(function() assoc:stats() end,
      "'stats' is a function of the module: call it with a dot, assoc.stats(...)")
    assert.has_error(function() client.rate_limit() end,
      "'rate_limit' is a method of a client: call it with a colon, client:rate_limit(...)")
    client:close()
  end)
end)

describe("rate_limit", function()
  after_each(fault_server.stop_all)

  it("is what the client is configured for, before HubSpot has told anything", function()
    local function known(options)
      options.access_token = "pat-x"
      return assoc.new(options):rate_limit()
    end
    assert.same({ requests = 100, interval = 10, remaining = 100 }, known {})
    assert.same({ requests = 5, interval = 2, remaining = 5 }, known { rate = { requests = 5, interval = 2 } })
    assert.same({}, known { rate = false })
    assert.same({}, known { limiter = { reserve = function() end, observe = function() end } })
  end)

  it("is what HubSpot told last", function()
    local headers = { ["X-HubSpot-RateLimit-Daily"] = "250000", ["X-HubSpot-RateLimit-Daily-Remaining"] = "17" }
    for name, value in pairs(WINDOW) do headers[name] = value end
    for _, options in ipairs { {}, { rate = false },
      { limiter = { reserve = function() return 0 end, observe = function() end } } } do
      local client = answered({ { 200, headers } }, options)
      client:get_limits("a", "b")
      local rate = client:rate_limit()
      assert.is_true(rate.age >= 0)
      rate.age = nil
      assert.same({ requests = 190, interval = 10, remaining = 189, daily = 250000, daily_remaining = 17 }, rate)
    end
  end)

  it("counts what has been sent since", function()
    local client = answered({ { 200, WINDOW }, { 200 } }, { rate = { requests = 10, interval = 60 } })
    for left = 9, 7, -1 do
      client:get_limits("a", "b")
      assert.equal(left, client:rate_limit().remaining)
    end
  end)

  it("tells how long nothing is sent", function()
    local client = answered({ { 429, { ["Retry-After"] = "30" } } }, { rate = { requests = 10, interval = 1 } })
    local _, errors = client:get_limits("a", "b", { deadline = 5 })
    assert.equal("throttled", errors[1].kind)
    local rate = client:rate_limit()
    assert.is_true(rate.hold > 1 and rate.hold <= 30)
    assert.equal(0, rate.remaining)
  end)
end)
