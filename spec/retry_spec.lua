-- When a call is tried again and when not, how long it waits, and what it then says. (The pure judgement is tested in
-- spec/core; here it is seen from outside.)
local assoc = require "hubspot_assoc"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local AT_ONCE = 1.2 -- s: less than any wait that was asked for, and any deadline
local LATE = 5      -- s: how much later than needed a loaded machine may be
local BACKOFF = 0.5 -- s: the longest wait before a second attempt

local token, client

local function start(options)
  token = simulator.token()
  local all = { access_token = token }
  for name, value in pairs(options or {}) do all[name] = value end
  client = wire.client(simulator.url, all)
end

local function fault(fields)
  simulator.fault(token, fields)
end

-- When the simulator saw each of the calls, in seconds after the first.
local function times()
  local log = simulator.log(token)
  local after = {}
  for i, call in ipairs(log) do after[i] = call.time - log[1].time end
  return after
end

local function count()
  return simulator.log(token).count
end

local function assert_error(expected, outcome)
  local got = {}
  for name in pairs(expected) do got[name] = outcome.error[name] end
  assert.same(expected, got)
end

local function assert_between(low, high, value)
  assert.is_true(value >= low and value <= high, ("%s is not within %s and %s"):format(value, low, high))
end

describe("a call that may be sent twice", function()
  before_each(function() start() end)

  for _, status in ipairs { 408, 477, 500, 525 } do
    it(("recovers from %d"):format(status), function()
      fault { status = status }
      local outcome = wire.good_call(client, "batch_update")
      assert.equal(2, outcome.response.attempts)
      assert.equal(200, outcome.response.http_status)
      assert.equal(2, count())
      assert.is_true(outcome.seconds < BACKOFF + LATE)
    end)
  end

  for _, status in ipairs { 408, 503 } do
    it(("gives up on %d after max_attempts, ambiguous"):format(status), function()
      fault { status = status, times = 9 }
      local outcome = wire.call(client, "batch_update")
      assert_error({ kind = "api", http_status = status, attempts = 2, retryable = true, ambiguous = true }, outcome)
      assert.is_nil(outcome.results)
      assert.same({ status, 2 }, { outcome.response.http_status, outcome.response.attempts })
      assert.equal(2, count())
    end)
  end

  it("waits the rate interval that the headers of a 429 tell", function()
    fault { status = 429, headers = { ["X-HubSpot-RateLimit-Interval-Milliseconds"] = "700" } }
    wire.good_call(client, "batch_update")
    assert_between(0.69, 0.7 + LATE, times()[2])
  end)

  it("waits the Retry-After seconds of a 429", function()
    fault { status = 429, retry_after = 1 }
    wire.good_call(client, "batch_update")
    assert_between(0.99, 1 + LATE, times()[2])
  end)

  it("waits until the Retry-After date of a 429", function()
    fault { status = 429, retry_after = { date_in = 1 } }
    wire.good_call(client, "batch_update")
    assert_between(0.99, 2 + LATE, times()[2]) -- dates are whole seconds
  end)

  it("does not wait for a Retry-After date that has passed", function()
    fault { status = 503, retry_after = "Mon, 01 Jan 2024 00:00:00 GMT" }
    wire.good_call(client, "batch_update")
    assert_between(0, BACKOFF + LATE, times()[2])
  end)

  for _, nonsense in ipairs { "soon", "-5", "1.5" } do
    it(("takes the Retry-After %q as none"):format(nonsense), function()
      fault { status = 503, retry_after = nonsense }
      wire.good_call(client, "batch_update")
      assert_between(0, BACKOFF + LATE, times()[2])
    end)
  end

  it("is tried max_attempts times, waiting longer each time at most", function()
    fault { status = 500, times = 9 }
    local outcome = wire.call(client, "batch_update", { max_attempts = 3 })
    assert_error({ http_status = 500, attempts = 3 }, outcome)
    local after = times()
    assert.equal(3, #after)
    assert_between(0, BACKOFF + LATE, after[2])
    assert_between(0, 2 * BACKOFF + LATE, after[3] - after[2])
  end)

  it("is tried once if max_attempts is 1", function()
    for _, status in ipairs { 500, 503, 408 } do
      fault { status = status }
      assert_error({ http_status = status, attempts = 1 }, wire.call(client, "batch_update", { max_attempts = 1 }))
    end
    assert.equal(3, count())
  end)

  for _, status in ipairs { 400, 401, 403, 404, 405, 409, 410, 414, 422, 425, 451 } do
    it(("is not tried again after %d"):format(status), function()
      fault { status = status }
      local outcome = wire.call(client, "batch_update")
      assert_error({ kind = "api", http_status = status, attempts = 1, retryable = false, ambiguous = false }, outcome)
      assert.equal(1, count())
      assert.is_true(outcome.seconds < AT_ONCE)
    end)
  end

  it("stays ambiguous if an earlier attempt was", function()
    for _, first in ipairs { { status = 502 }, { close = true } } do
      start()
      fault(first)
      fault { status = 400 }
      local outcome = wire.call(client, "batch_update")
      assert_error({ kind = "api", http_status = 400, attempts = 2, retryable = false, ambiguous = true }, outcome)
    end
  end)

  it("is not ambiguous after refusals only", function()
    fault { status = 429, retry_after = 0 }
    fault { status = 400 }
    assert_error({ http_status = 400, attempts = 2, ambiguous = false }, wire.call(client, "batch_update"))
  end)

  it("is never ambiguous if it only reads", function()
    fault { status = 502 }
    fault { status = 404 }
    assert_error({ http_status = 404, attempts = 2, ambiguous = false }, wire.call(client, "get_limits"))
  end)

  it("recovers when a server appears that could not be reached", function()
    local server = fault_server.start { "acts.by_connection", { { "reset" } }, "serve" }
    wire.good_call(wire.client(server), "batch_update")
    assert.equal(1, #server:stop())
  end)
end)

describe("the daily limit", function()
  it("is not waited for", function()
    start { max_attempts = 4 }
    fault { status = 429, policy = "DAILY" }
    local outcome = wire.call(client, "batch_update")
    assert_error({ kind = "throttled", http_status = 429, attempts = 1, policyName = "DAILY", ambiguous = false,
      retryable = false }, outcome)
    assert.is_nil(outcome.error.retry_after)
    assert.is_true(outcome.seconds < AT_ONCE)
    assert.equal(1, count())
  end)

  it("is not waited for even if Retry-After is short, which is handed on", function()
    start()
    fault { status = 429, policy = "DAILY", retry_after = 1 }
    assert_error({ kind = "throttled", attempts = 1, retry_after = 1 }, wire.call(client, "batch_update"))
    assert.equal(1, count())
  end)

  it("is recognised when it comes from the account itself", function()
    start()
    simulator.control("rate", { token = token, daily = 2 })
    wire.good_call(client, "get_limits")
    assert.equal(0, wire.good_call(client, "get_limits").response.rate_limit.daily_remaining)
    assert_error({ kind = "throttled", attempts = 1, policyName = "DAILY" }, wire.call(client, "batch_create"))
    assert.equal(3, count())
  end)

  it("keeps the rest of a large batch from being sent", function()
    start()
    simulator.control("rate", { token = token, daily = 1 })
    local inputs = {}
    for i = 1, 5 do inputs[i] = wire.INPUTS.batch_update[1] end
    local outcome = wire.timed(client, "batch_update", "contacts", "companies", inputs, { batch_size = 1 })
    assert.equal(1, #outcome.results)
    assert.equal(2, #outcome.errors)
    assert.same({ 2, 2, 1, "throttled" }, { outcome.errors[1].first, outcome.errors[1].last,
      outcome.errors[1].attempts, outcome.errors[1].kind })
    assert.same({ 3, 5, 0, "throttled" }, { outcome.errors[2].first, outcome.errors[2].last,
      outcome.errors[2].attempts, outcome.errors[2].kind })
    assert.equal(2, count())
  end)
end)

describe("a wait that would outlast the deadline", function()
  before_each(function() start { deadline = 1.5 } end)

  local function assert_fails_at_once(expected, low, high)
    local outcome = wire.call(client, "batch_update")
    expected.attempts, expected.retryable = 1, true
    assert_error(expected, outcome)
    assert_between(low, high, outcome.error.retry_after)
    assert.is_true(outcome.seconds < AT_ONCE)
    assert.equal(1, count())
  end

  it("for the seconds of a Retry-After fails at once and says when to come back", function()
    fault { status = 429, retry_after = 7 }
    assert_fails_at_once({ kind = "throttled", http_status = 429, ambiguous = false }, 7, 7)
  end)

  it("for the date of a Retry-After fails at once and says when to come back", function()
    fault { status = 429, retry_after = { date_in = 7 } }
    assert_fails_at_once({ kind = "throttled", http_status = 429 }, 6, 8)
  end)

  it("for an account that is being moved (477) fails at once and says when to come back", function()
    fault { status = 477, retry_after = 86400 }
    assert_fails_at_once({ kind = "throttled", http_status = 477, ambiguous = false }, 86400, 86400)
  end)

  it("for what is locked (423) fails at once and says when to come back", function()
    fault { status = 423 }
    assert_fails_at_once({ kind = "throttled", http_status = 423, ambiguous = false }, 2, 2)
  end)

  it("for a server that is down (503) fails at once and says when to come back", function()
    fault { status = 503, retry_after = 60 }
    assert_fails_at_once({ kind = "api", http_status = 503 }, 60, 60)
  end)

  it("keeps the rest of a large batch from being sent", function()
    fault { status = 477, retry_after = 400, times = 9 }
    local inputs = {}
    for i = 1, 5 do inputs[i] = wire.INPUTS.batch_update[1] end
    local outcome = wire.timed(client, "batch_update", "contacts", "companies", inputs, { batch_size = 1 })
    assert.is_nil(outcome.results)
    assert.equal(1, count())
    assert.equal(2, #outcome.errors)
    assert.same({ "throttled", 1, 1, 1 }, { outcome.errors[1].kind, outcome.errors[1].first, outcome.errors[1].last,
      outcome.errors[1].attempts })
    assert.same({ "throttled", 2, 5, 0 }, { outcome.errors[2].kind, outcome.errors[2].first, outcome.errors[2].last,
      outcome.errors[2].attempts })
  end)

  it("for an absurd Retry-After fails at once", function()
    fault { status = 503, retry_after = "99999999999999999999999999" }
    assert_fails_at_once({ kind = "api", http_status = 503 }, 86400, math.huge)
  end)
end)

describe("the deadline", function()
  after_each(fault_server.stop_all)

  it("ends a call whose server stays silent, whatever the timeout", function()
    start()
    fault { delay = 30 }
    local outcome = wire.call(client, "batch_update", { timeout = 30, deadline = 0.4 })
    assert_error({ kind = "timeout", attempts = 1, ambiguous = true, retryable = true }, outcome)
    assert_between(0.39, 0.4 + LATE, outcome.seconds)
  end)

  it("covers all attempts and waits together", function()
    local server = fault_server.start { "acts.always", { "sleep", 9 } }
    local outcome = wire.call(wire.client(server), "batch_update", { timeout = 0.2, deadline = 0.8, max_attempts = 50 })
    assert_error({ kind = "timeout", ambiguous = true }, outcome)
    assert_between(0.19, 0.8 + LATE, outcome.seconds)
    local seen = server:stop()
    assert.equal(#seen, outcome.error.attempts)
    assert_between(1, 4, #seen)
  end)

  it("covers all requests of a large batch together", function()
    start()
    fault { delay = 10, skip = 2, times = 9 }
    local inputs = {}
    for i = 1, 9 do inputs[i] = wire.INPUTS.batch_update[1] end
    local outcome = wire.timed(client, "batch_update", "contacts", "companies", inputs,
      { batch_size = 1, deadline = 2, max_attempts = 1 })
    assert_between(1.99, 2 + LATE, outcome.seconds)
    assert.equal(2, #outcome.results)
    local last = outcome.errors[#outcome.errors]
    assert.same({ "timeout", 9, 0 }, { last.kind, last.last, last.attempts })
    assert.equal(3, count()) -- one was under way when time was up
    assert.equal(count(), last.first - 1)
  end)

  it("of a call goes before the client's", function()
    start { deadline = 0.2 }
    fault { delay = 0.5, times = 2 }
    assert.equal("timeout", wire.call(client, "batch_update").error.kind)
    assert.equal(1, wire.good_call(client, "batch_update", { deadline = 5 }).response.attempts)
  end)
end)

describe("batch_create", function()
  before_each(function() start() end)

  for name, refusal in pairs {
    ["429"] = { status = 429, retry_after = 0 }, ["477"] = { status = 477 },
    ["503 with Retry-After"] = { status = 503, retry_after = 0 },
  } do
    it(("is tried again after %s, which surely was not applied"):format(name), function()
      fault(refusal)
      local outcome = wire.good_call(client, "batch_create")
      assert.same({ 2, 201 }, { outcome.response.attempts, outcome.response.http_status })
      assert.equal(2, count())
    end)
  end

  for _, status in ipairs { 408, 500, 502, 503, 504, 521, 524 } do
    it(("is not tried again after %d, and may have been applied"):format(status), function()
      fault { status = status }
      local outcome = wire.call(client, "batch_create")
      assert_error({ kind = "api", http_status = status, attempts = 1, retryable = false, ambiguous = true }, outcome)
      assert.is_true(outcome.seconds < AT_ONCE)
      assert.equal(1, count())
    end)
  end

  it("that is locked out (423) may be sent again", function()
    fault { status = 423 }
    assert_error({ kind = "throttled", attempts = 1, retryable = true, ambiguous = false },
      wire.call(client, "batch_create", { deadline = 1 }))
  end)

  it("given up after refusals only is not ambiguous and may be sent again", function()
    fault { status = 503, retry_after = 0, times = 9 }
    assert_error({ http_status = 503, attempts = 2, retryable = true, ambiguous = false },
      wire.call(client, "batch_create"))
    assert.equal(2, count())
  end)

  it("is tried again if no connection was made", function()
    local outcome = wire.call(wire.client("http://127.0.0.1:1"), "batch_create")
    assert_error({ kind = "transport", code = "connect", attempts = 2, retryable = true, ambiguous = false }, outcome)
    assert.is_nil(outcome.response)
  end)

  it("that is refused first and lost then is ambiguous", function()
    fault { status = 429, retry_after = 0 }
    fault { close = true }
    local outcome = wire.call(client, "batch_create", { max_attempts = 4 })
    assert_error({ kind = "transport", attempts = 2, retryable = false, ambiguous = true }, outcome)
    assert.equal(2, count())
  end)
end)

describe("the retry budget", function()
  it("spares a server that only fails, and is earned back by success", function()
    start { max_attempts = 2, retry_budget = 10 }
    local other = wire.client(simulator.url, { access_token = token, retry_budget = 1 })
    fault { status = 500, times = 22 }
    for _ = 1, 12 do
      local outcome = wire.call(client, "batch_update")
      assert.equal(outcome.error.attempts == 1 or nil, outcome.error.out_of_budget)
      assert.equal(outcome.error.attempts == 1, tostring(outcome.error):find("retry_budget is used up", 1, true) ~= nil)
    end
    assert.equal(22, count()) -- ten calls were sent twice, two once

    fault { status = 500 }
    assert.equal(2, wire.good_call(other, "batch_update").response.attempts) -- each client has its own

    for _ = 1, 2 do wire.good_call(client, "batch_update") end
    fault { status = 500, times = 3 }
    assert.equal(2, wire.call(client, "batch_update").error.attempts)
    assert.equal(1, wire.call(client, "batch_update").error.attempts)
  end)

  it("of 0 is no retry but what successes pay for", function()
    start { retry_budget = 0 }
    fault { status = 500 }
    assert_error({ attempts = 1, out_of_budget = true, retryable = true }, wire.call(client, "batch_update"))
    fault { status = 429, retry_after = 0 } -- that is none
    assert.equal(2, wire.good_call(client, "batch_update").response.attempts)
  end)

  it("of false has no end", function()
    start { retry_budget = false, max_attempts = 100 }
    fault { status = 503, retry_after = "Mon, 01 Jan 2024 00:00:00 GMT", times = 3 }
    assert.equal(4, wire.good_call(client, "batch_update").response.attempts)
  end)

  it("is a number of retries or false", function()
    for _, row in ipairs {
      { -1, "retry_budget: integer from 0 to 1000000 expected, got number -1" },
      { true, "integer or false expected, got boolean" },
      { "5", "integer or false expected, got string" }, { 0.5, "integer expected, got number 0.5" },
    } do
      local ok, text = pcall(assoc.new, { retry_budget = row[1] })
      assert.is_false(ok)
      assert.matches(row[2], text, 1, true)
    end
  end)
end)

describe("429, 423 and 477", function()
  it("cost neither attempts nor budget: the deadline alone ends them", function()
    start { max_attempts = 1, retry_budget = 0 }
    for _, status in ipairs { 429, 477 } do
      fault { status = status, times = 3 }
      assert.equal(4, wire.good_call(client, "batch_update", { deadline = 30 }).response.attempts)
    end
    fault { status = 423 }
    assert.equal(2, wire.good_call(client, "batch_update", { deadline = 30 }).response.attempts)
    fault { status = 429, times = 99 }
    local outcome = wire.call(client, "batch_create", { deadline = 2 })
    assert_error({ kind = "throttled", http_status = 429, retryable = true, ambiguous = false }, outcome)
    assert_between(2, 6, outcome.error.attempts)
    assert_between(0.5, 2 + LATE, outcome.seconds)
    assert.is_true(outcome.error.retry_after > 0)
  end)

  it("are waited for longer each time, where HubSpot names no time", function()
    start()
    fault { status = 477, times = 4 }
    wire.good_call(client, "batch_update", { deadline = 30 })
    local after = times()
    for i, low in ipairs { 0.25, 0.5, 1, 2 } do
      assert_between(low - 0.01, 2 * low + LATE, after[i + 1] - after[i])
    end
  end)
end)

describe("the wall clock", function()
  it("changes nothing when it is set back or forward", function()
    start()
    fault { status = 503, retry_after = 1 }
    fault { delay = 3 }
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "wild_clock") }, [[
      local client = require("spec.support.wire").client(os.getenv "SIMULATOR_URL", { access_token = ... })
      local before = os.time()
      local _, errors, response = client:batch_update("contacts", "companies",
        { { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 5 } }, { deadline = 1.5, max_attempts = 4 })
      return math.abs(os.time() - before), errors[1].kind, errors[1].attempts
    ]], token)
    assert.is_true(tonumber(report[1]) > 3000, "the clock did not jump: " .. report[1])
    assert.same({ "timeout", "2" }, { report[2], report[3] })
    assert_between(0.99, 1 + LATE, times()[2])
    assert_between(1.49, 1.5 + LATE, report.seconds)
  end)
end)
