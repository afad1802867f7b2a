-- examples/metrics.lua and examples/log.lua: what a client does, for Prometheus and for a log.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local cjson = require("cjson").new()
local prometheus = require "spec.support.prometheus"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local loadfile = loadfile

local function example(name)
  return assert(loadfile("examples/" .. name .. ".lua"))(name)
end

local function run(name)
  local pipe = assert(io.popen(("HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s %s examples/%s.lua 2>&1"):format(
    simulator.token(), shell.quote(simulator.url), os.getenv "LUA", name)))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("examples/metrics.lua", function()
  local metrics = example "metrics"

  it("shows all counters and the rate, well-formed", function()
    local client = binding.client()
    client:get_limits("contacts", "companies")
    client:get_limits("contacts", "nonsense")
    local stats, rate = client:stats(), client:rate_limit()
    local samples = prometheus.check(metrics { { stats = stats, rate_limit = rate } })
    local function of(name) return samples["hubspot_assoc_" .. name] end
    assert.same({ 2, 2, 2, 1, 0 }, { of "calls_total", of "requests_total", of "attempts_total",
      of 'errors_total{kind="api"}', of 'errors_total{kind="timeout"}' })
    assert.same({ stats.bytes_sent, stats.bytes_received, 1, 1, 0, 0 }, { of "sent_bytes_total",
      of "received_bytes_total", of "opened_connections_total", of "reused_connections_total", of "in_flight_requests",
      of "queued_requests" })
    assert.same({ rate.requests, rate.interval, rate.remaining, rate.daily, rate.daily_remaining }, {
      of "rate_limit_requests", of "rate_limit_interval_seconds", of "rate_limit_remaining_requests",
      of "rate_limit_daily_requests", of "rate_limit_daily_remaining_requests" })
    assert.is_nil(of "rate_limit_hold_seconds")
    local count = 0
    for name in pairs(samples) do count = count + (name:find "_seconds_total{reason=" and 1 or 0) end
    assert.equal(6, count)
  end)

  it("shows every number that stats and rate_limit have", function()
    -- Replaces each number by one of its own, which must then be shown.
    local wanted, next_number = {}, 1000
    local function renumber(value)
      local copy = {}
      for name, field in pairs(value) do
        next_number = next_number + 1
        if type(field) == "table" then
          copy[name] = renumber(field)
        else
          copy[name] = next_number
          wanted[next_number] = name
        end
      end
      return copy
    end
    local rate = { requests = 1, interval = 1, remaining = 1, daily = 1, daily_remaining = 1, hold = 1, age = 1 }
    local client = assoc.new { access_token = "pat-x" }
    local text = metrics { { stats = renumber(client:stats()), rate_limit = renumber(rate) } }
    for _, number in pairs(prometheus.check(text)) do wanted[number] = nil end
    assert.same({}, wanted)
  end)

  it("tells several sources apart by labels, whatever these are", function()
    local client = assoc.new { access_token = "pat-x" }
    local odd = 'a"b\\c\nd,e}f{'
    local text = metrics { { labels = { worker = 1, name = odd }, stats = client:stats() },
      { labels = { worker = 2 }, stats = client:stats() }, { rate_limit = client:rate_limit() } }
    local samples = prometheus.check(text)
    assert.equal(0, samples['hubspot_assoc_calls_total{worker="2"}'])
    assert.equal(0, samples['hubspot_assoc_retries_total{reason="api",worker="2"}'])
    assert.is_truthy(text:find([[{name="a\"b\\c\nd,e}f{",worker="1"}]], 1, true))
    assert.equal(100, samples.hubspot_assoc_rate_limit_requests)
  end)

  it("is empty where there is nothing to show", function()
    assert.equal("", metrics {})
    assert.equal("", metrics { { rate_limit = {} } })
  end)

  it("writes numbers as Prometheus reads them", function()
    local text = metrics { { rate_limit = { requests = 1234567890123456, interval = 0.1, age = 1e-7, hold = 1e9 } } }
    local samples = prometheus.check(text)
    assert.equal(1234567890123456, samples.hubspot_assoc_rate_limit_requests)
    assert.equal(0.1, samples.hubspot_assoc_rate_limit_interval_seconds)
    assert.equal(1e-7, samples.hubspot_assoc_rate_limit_age_seconds)
  end)

  it("runs as a program", function()
    assert.equal(1, prometheus.check(run "metrics").hubspot_assoc_calls_total)
  end)
end)

describe("the check of Prometheus' format", function()
  it("finds what is wrong", function()
    local head = "# HELP a_total Help.\n# TYPE a_total counter\n"
    assert.same({ a_total = 1 }, prometheus.check(head .. "a_total 1\n"))
    for _, text in ipairs { "a_total 1\n", head, head .. "a_total 1", head .. "a_total 1\na_total 1\n",
      head .. "a_total\n", head .. head .. "a_total 1\n", "# TYPE a_total counter\na_total 1\n",
      "# HELP a Help.\n# TYPE a counter\na 1\n",
      "# HELP a_total Help.\n# TYPE a_total gauge\na_total 1\n", head .. 'a_total{b="\\x"} 1\n',
      head .. 'a_total{b=1} 1\n', head .. 'a_total{b="1",b="1"} 1\n', head .. "a_total 1,5\n",
      head .. "a_total nope\n", head .. 'a_total{b="1" } 1\n',
      head .. "a_total 1\n# HELP b_total B.\n# TYPE b_total counter\nb_total 1\na_total{c=\"1\"} 1\n",
      "# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", "# HELP aB A.\n# TYPE aB gauge\naB 1\n" } do
      assert.is_false((pcall(prometheus.check, text)), text)
    end
  end)
end)

describe("examples/log.lua", function()
  local log = example "log"

  local function lines_of(text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = cjson.decode(line) end
    return lines
  end

  it("writes a line of JSON for each event", function()
    local text = {}
    local client, token = binding.client { max_attempts = 2, on_event = log(function(line)
      text[#text + 1] = line
    end, function() return 0 end) }
    simulator.fault(token, { status = 503, retry_after = 0 })
    local _, _, response = client:get_limits("contacts", "companies")
    client:get_limits("contacts", "nonsense")
    assert.equal(6, #text)
    local lines = lines_of(table.concat(text, "\n"))
    local levels = {}
    for i, line in ipairs(lines) do
      levels[i] = ("%s %s %d"):format(line.level, line.type, line.number)
      assert.equal("1970-01-01T00:00:00Z", line.time)
    end
    assert.same({ "debug attempt 1", "warning retry 1", "debug attempt 1", "info done 1", "debug attempt 2",
      "error done 2" }, levels)
    assert.equal(response.correlationId, lines[4].correlationId)
    assert.same({ "contacts", "nonsense", "api", 400 }, { lines[6].from, lines[6].to, lines[6].kind,
      lines[6].http_status })
    assert.is_nil(table.concat(text):find(token, 1, true))
    assert.matches('^{"time":"1970%-01%-01T00:00:00Z","level":"debug","type":"attempt","call":"get_limits",', text[1])
  end)

  it("leaves nothing of an event out", function()
    local text, names = {}, {}
    local write = log(function(line) text[#text + 1] = line end)
    local client, token = binding.client { max_attempts = 2, on_event = function(event)
      for name in pairs(event) do names[name] = true end
      write(event)
    end }
    simulator.fault(token, { status = 503, retry_after = 0 })
    client:batch_update("contacts", "companies", binding.limits(2), { batch_size = 1 })
    local shown = {}
    for _, line in ipairs(lines_of(table.concat(text, "\n"))) do
      for name in pairs(line) do shown[name] = true end
    end
    for name in pairs(names) do assert.is_true(shown[name], name) end
  end)

  it("runs as a program", function()
    local lines = lines_of(run "log")
    assert.equal(4, #lines)
    for _, line in ipairs(lines) do assert.matches("^20%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", line.time) end
  end)
end)
