-- How fast a client sends: whole bursts, no 429 for a client alone, and never above a given rate. Seen from the server.
local assoc = require "hubspot_assoc"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local AT_ONCE = 2    -- s: less than any deadline that would pass otherwise
local JITTER = 0.015 -- s: how differently two requests may travel; the client's margin is 0.02 s at least

local token

-- An account with this limit.
local function account(max, interval)
  token = simulator.token()
  simulator.control("rate", { token = token, max = max, interval_ms = interval * 1000 })
end

-- A client of the account, of the default rate unless options tell one.
local function paced(options)
  local all = { base_url = simulator.url, access_token = token, max_attempts = 1, deadline = 60 }
  for name, value in pairs(options or {}) do all[name] = value end
  return assoc.new(all)
end

local function make_calls(client, n)
  for _ = 1, n do wire.good_call(client, "get_limits") end
end

-- What the rate has cost a client's requests so far: how many have waited, and how long (s). That a burst is sent at
-- once is seen here: on a busy machine it takes its time.
local function waits(client)
  local rate = client:stats().waits.rate
  return rate.count, rate.seconds
end

-- Makes calls that need not wait for the rate.
local function make_calls_at_once(client, n)
  local before = waits(client)
  make_calls(client, n)
  assert.equal(before, (waits(client)))
end

local busiest, refused = simulator.busiest, simulator.refused

-- How long it took from the first call to the n-th.
local function span(log, n)
  return log[n].time - log[1].time
end

local function assert_between(low, high, value)
  assert.is_true(value >= low and value <= high, ("%s is not within %s and %s"):format(value, low, high))
end

describe("a client alone on its account", function()
  after_each(fault_server.stop_all)

  it("uses whole bursts, window after window, and meets no 429", function()
    account(20, 0.7)
    local client = paced()
    for _ = 1, 2 do
      make_calls_at_once(client, 20) -- a burst is not spread over the window
      wire.sleep(0.8)
    end
    make_calls(client, 30) -- the fourth burst begins when the third's window has passed
    local log = simulator.log(token)
    assert.equal(0, refused(log))
    assert.is_true(log[61].time - log[41].time >= 0.7)
    assert.is_true(select(2, waits(client)) < 1.4)
    for _, call in ipairs(log) do assert.equal(log[1].connection, call.connection) end
  end)

  it("learns that its account allows more than the default 100 in 10 s", function()
    account(150, 1)
    local client = paced()
    make_calls_at_once(client, 150)
    make_calls(client, 10)
    local log = simulator.log(token)
    assert.equal(0, refused(log))
    assert.is_true(span(log, 160) >= 1)
    assert.equal(150, wire.good_call(client, "get_limits").response.rate_limit.max)
  end)

  it("notices that its account's limit has changed", function()
    account(100, 0.5)
    local client = paced()
    make_calls(client, 5)
    simulator.control("rate", { token = token, max = 10 })
    make_calls(client, 25)
    local log = simulator.log(token)
    assert.equal(0, refused(log))
    assert.is_true(span(log, 30) >= 1)
    assert.is_true(select(2, waits(client)) < 2)
  end)

  it("keeps to the default until it knows better", function()
    local server = fault_server.start [[ return function(conn) for _ in conn.request, conn do
      conn:send("HTTP/1.1 200 OK\r\nContent-Length: ", #OK, "\r\n\r\n", OK) end end ]]
    local client = assoc.new { base_url = server.url, access_token = wire.TOKEN, deadline = 1 }
    make_calls(client, 100)
    local outcome = wire.call(client, "get_limits")
    assert.same({ "throttled", 0 }, { outcome.error.kind, outcome.error.attempts })
    assert.equal(100, #server:stop())
  end)
end)

describe("a rate", function()
  it("is a ceiling where the account would allow more", function()
    account(100, 1)
    local client = paced { rate = { requests = 5, interval = 0.5 } }
    make_calls_at_once(client, 5)
    make_calls(client, 8)
    local log = simulator.log(token)
    assert.is_true(busiest(log, 0.5 - JITTER) <= 5)
    assert.is_true(span(log, 11) >= 1 - JITTER)
    assert.is_true(select(2, waits(client)) < 1.7)
  end)

  it("does not lift the account's limit", function()
    account(5, 0.5)
    local client = paced { rate = { requests = 1000, interval = 1 } }
    make_calls_at_once(client, 5)
    make_calls(client, 8)
    assert.equal(0, refused(simulator.log(token)))
  end)

  it("holds for every window, wherever it begins", function()
    account(100, 1)
    local client = paced { rate = { requests = 4, interval = 0.4 } }
    make_calls(client, 2)
    wire.sleep(0.25)
    make_calls(client, 10)
    assert.is_true(busiest(simulator.log(token), 0.4 - JITTER) <= 4)
  end)

  it("of false is none", function()
    account(30, 5)
    local client = paced { rate = false, deadline = 1 } -- what is refused is not tried again: that is another window
    for _ = 1, 40 do wire.call(client, "get_limits") end
    local log = simulator.log(token)
    assert.equal(40, #log)
    assert.equal(10, refused(log))
    assert.equal(0, (waits(client)))
  end)

  it("counts the retries too", function()
    account(100, 1)
    simulator.fault(token, { status = 477, retry_after = 0 })
    local client = paced { rate = { requests = 2, interval = 0.8 }, max_attempts = 2 }
    make_calls(client, 2)
    local log = simulator.log(token)
    assert.equal(3, #log)
    assert.is_true(span(log, 3) >= 0.8 - JITTER) -- longer than any wait before a second attempt
  end)
end)

describe("two clients on one account", function()
  it("share its limit: each slows down for the other's calls", function()
    account(20, 0.8)
    local mine, other = paced(), paced()
    for _ = 1, 30 do -- in turns: each sees in the answers what the other has used
      wire.call(mine, "get_limits")
      wire.call(other, "get_limits")
    end
    local log = simulator.log(token)
    assert.equal(60, #log - refused(log)) -- none is lost
    -- Where a machine is slow each place becomes free by itself, and both try for it: what the other has sent each
    -- learns from its next answer. So each call beyond the first window may be refused, once.
    assert.is_true(refused(log) <= 40, refused(log) .. " were refused")
    assert.is_true(span(log, 60) >= 1.6)
  end)

  it("do not overrun it when one comes late and fast", function()
    account(20, 1)
    local mine, other = paced(), paced { rate = false }
    make_calls(mine, 5)
    make_calls(other, 10)
    make_calls(mine, 10) -- after the first of these it knows of the other's
    assert.equal(0, refused(simulator.log(token)))
  end)
end)

describe("a client that was refused with 429", function()
  it("waits for its next calls too", function()
    account(100, 1)
    local client = paced { deadline = 2.5 }
    simulator.fault(token, { status = 429, retry_after = 4 })
    assert.equal(429, wire.call(client, "get_limits").error.http_status)
    local outcome = wire.call(client, "batch_update")
    assert.same({ "throttled", 0 }, { outcome.error.kind, outcome.error.attempts })
    assert_between(2.5, 4, outcome.error.retry_after)
    assert.matches('HubSpot answered HTTP 429 with the header Retry%-After, so nothing is sent for another %d%.%d s',
      outcome.error.message)
    assert.is_true(outcome.seconds < AT_ONCE)
    wire.good_call(client, "batch_update", { deadline = 20 })
    local log = simulator.log(token)
    assert.equal(2, #log)
    assert_between(3.99, 8, span(log, 2))
  end)
end)

-- Makes so many calls at once: the errors.
local function make_at_once(client, n)
  local errors = {}
  for _ = 1, n do
    client.async:get_limits("contacts", "companies"):on_done(function(_, errs) errors[#errors + 1] = errs end)
  end
  client:drain(60)
  client:close()
  return errors
end

describe("a client that is new to its account", function()
  after_each(fault_server.stop_all)

  it("sends one call first, and the others when it knows what the account allows", function()
    account(20, 2)
    make_calls(paced { rate = false }, 20)
    assert.same({}, make_at_once(paced(), 30))
    local log = simulator.log(token)
    assert.equal(50, #log - refused(log))
    assert.is_true(refused(log) <= 8, refused(log) .. " were refused")
  end)

  it("does not wait long for that call's answer", function()
    local server = fault_server.start [[ return function(conn, n) for _ in conn.request, conn do
      if n == 1 then conn:sleep(4) end
      conn:ok() end end ]]
    local client = paced { base_url = server.url, access_token = wire.TOKEN, deadline = 3 }
    assert.equal(1, #make_at_once(client, 12)) -- the first, at its deadline
    server:stop()
  end)

  it("loses no call where another begins at the same time", function()
    account(20, 1)
    local mine, other, errors = paced(), paced(), 0
    for _, client in ipairs { mine, other } do
      for _ = 1, 50 do
        client.async:get_limits("contacts", "companies"):on_done(function(_, errs)
          errors = errors + (errs and 1 or 0)
        end)
      end
    end
    repeat
      mine:step(0.01)
      other:step(0.01)
    until mine:pending() + other:pending() == 0
    assert.equal(0, errors)
  end)
end)

describe("a client that was refused with 429 and told no time", function()
  it("waits until the oldest call that counts has left the window, not longer", function()
    account(100, 3)
    local client = paced()
    make_calls(client, 1)
    wire.sleep(1.5)
    make_calls(client, 1)
    simulator.fault(token, { status = 429 })
    make_calls(client, 1)
    local log = simulator.log(token)
    assert_between(3, 4, log[4].time - log[1].time) -- a whole window would be 4.5
  end)
end)

describe("a call", function()
  it("leaves the client's queue when a connection is free for it, so that a 429 holds it back", function()
    account(100, 10)
    local client = paced { max_connections = 2 }
    make_calls(client, 1)
    simulator.fault(token, { status = 429, retry_after = 1, delay = 0.2 })
    simulator.fault(token, { delay = 0.2, times = 10 })
    assert.same({}, make_at_once(client, 10))
    local log = simulator.log(token)
    assert.equal(12, #log)
    local refused_at
    for _, call in ipairs(log) do
      if call.status == 429 then refused_at = call.time + 0.2 end
    end
    for _, call in ipairs(log) do
      assert.is_true(call.time < refused_at + 0.1 or call.time > refused_at + 0.9, call.time - refused_at)
    end
  end)

  it("that found no free connection before its deadline says so", function()
    account(100, 10)
    local client = paced { max_connections = 1, rate = false, deadline = 0.5 }
    simulator.fault(token, { delay = 2, times = 2 })
    local errors = make_at_once(client, 2)
    assert.equal(2, #errors)
    table.sort(errors, function(a, b) return a[1].attempts < b[1].attempts end)
    assert.same({ "timeout", 0 }, { errors[1][1].kind, errors[1][1].attempts })
    assert.matches("^the deadline %(option deadline%) passed after 0.%d s in the client's queue: no connection was "
      .. "free %(option max_connections: 1%)$", errors[1][1].message)
  end)
end)

describe("what HubSpot's headers say", function()
  after_each(fault_server.stop_all)

  local HANDLER = [[ return function(conn) for request in conn.request, conn do
    local head = ""
    if request.path:find "batch" then
      head = "X-HubSpot-RateLimit-Max: 1\r\nX-HubSpot-RateLimit-Interval-Milliseconds: 86399999\r\n"
        .. "X-HubSpot-RateLimit-Remaining: 0\r\n"
    end
    conn:send("HTTP/1.1 200 OK\r\n", head, "Content-Length: ", #OK, "\r\n\r\n", OK) end end ]]

  it("silences nobody for longer than a minute, is named as the reason, and binds no other family of calls", function()
    local server = fault_server.start(HANDLER)
    local client = paced { base_url = server.url, access_token = wire.TOKEN, deadline = 5 }
    wire.good_call(client, "batch_update")
    local outcome = wire.call(client, "batch_update")
    assert.equal("throttled", outcome.error.kind)
    assert_between(50, 61, outcome.error.retry_after)
    assert.matches("HubSpot's rate limit headers allow 1 requests in 60 s, the next in 60.%d s", outcome.error.message)
    for _ = 1, 5 do
      assert.is_table((client:list("contacts", "1", "companies")))
    end
    server:stop()
  end)
end)

describe("a Retry-After that HubSpot cannot mean", function()
  it("holds the client for a minute, a day's for as long as it says", function()
    for _, row in ipairs { { "99999999999999999999", 60 }, { 86400, 86400 } } do
      account(100, 10)
      local client = paced { deadline = 5 }
      simulator.fault(token, { status = 477, retry_after = row[1] })
      assert.is_true(wire.call(client, "get_limits").error.retry_after >= 86400)
      local err = wire.call(client, "get_limits").error
      assert.same({ "throttled", 0 }, { err.kind, err.attempts })
      assert_between(row[2] - 5, row[2], err.retry_after)
      assert.matches("^HubSpot answered HTTP 477 with the header Retry%-After, so nothing is sent for ", err.message)
    end
  end)
end)

describe("a wait for the rate that would outlast the deadline", function()

  it("fails at once as throttled and says when to come back", function()
    account(100, 10)
    local client = paced { rate = { requests = 2, interval = 8 }, deadline = 3 }
    make_calls(client, 2)
    for _, method in ipairs { "batch_update", "batch_create" } do
      local outcome = wire.call(client, method)
      local err = outcome.error
      assert.is_nil(outcome.results)
      assert.is_nil(outcome.response)
      assert.same({ "throttled", 0, true, false }, { err.kind, err.attempts, err.retryable, err.ambiguous })
      assert.is_nil(err.http_status)
      assert_between(4, 8.1, err.retry_after)
      assert.is_true(outcome.seconds < AT_ONCE)
      assert.matches("^the client sends 2 requests in 8 s %(option rate%), the next in %d%.%d s: that is past the "
        .. "call's deadline %(option deadline%)$", err.message)
    end
    assert.equal(2, simulator.log(token).count)
  end)

  it("says so where the call has waited in the queue", function()
    account(100, 10)
    local client = paced { rate = { requests = 2, interval = 1 }, deadline = 1.5 }
    local errors = make_at_once(client, 6)
    assert.equal(2, #errors)
    for _, errs in ipairs(errors) do
      assert.same({ "throttled", 0 }, { errs[1].kind, errs[1].attempts })
      assert.matches("^the deadline %(option deadline%) passed after %d.%d s in the client's queue: the client sends 2 "
        .. "requests in 1 s", errs[1].message)
    end
  end)

  it("is right about when to come back", function()
    account(100, 10)
    local client = paced { rate = { requests = 1, interval = 3 }, deadline = 1 }
    make_calls(client, 1)
    wire.sleep(wire.call(client, "get_limits").error.retry_after)
    make_calls_at_once(client, 1)
  end)

  it("ends a large batch in order: what was sent, what failed, what was not sent", function()
    account(100, 10)
    local client = paced { rate = { requests = 2, interval = 8 }, deadline = 3 }
    local inputs = {}
    for i = 1, 5 do inputs[i] = wire.INPUTS.batch_update[1] end
    local outcome = wire.timed(client, "batch_update", "contacts", "companies", inputs, { batch_size = 1 })
    assert.equal(2, #outcome.results)
    assert.is_true(outcome.seconds < AT_ONCE)
    local next_input = 3
    for _, err in ipairs(outcome.errors) do
      assert.same({ "throttled", 0, next_input }, { err.kind, err.attempts, err.first })
      next_input = err.last + 1
    end
    assert.equal(6, next_input)
    assert.is_true(#outcome.errors <= 2, "one error for all that was not sent")
    assert.equal(2, simulator.log(token).count)
  end)
end)
