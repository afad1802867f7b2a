--- A client's counters in Prometheus' text format.
--
--     local metrics = require "metrics"
--     metrics { { stats = client:stats(), rate_limit = client:rate_limit() } }  --> text
--
-- Takes a list, so that several clients, or several processes that have put theirs somewhere, can be shown at once:
-- each with its `labels`, a table name -> value that tells it from the others. Whoever has no stats or no rate_limit
-- leaves it out: the rate is the account's, and needs to be told but once. Serve the text as "text/plain;
-- version=0.0.4", as examples/openresty does. Or run this file:
--
--     make && eval "$(make -s env)"
--     simulator/simulator exec lua5.4 examples/metrics.lua

local PREFIX = "hubspot_assoc_"

-- A row is a metric: its name, type, help, and what of the stats or the rate limit it is; `label`: of a table of these.
local METRICS = {
  { "calls_total", "counter", "API calls made.", "stats", "calls" },
  { "requests_total", "counter", "HTTP requests begun; a batch may be several.", "stats", "requests" },
  { "attempts_total", "counter", "Attempts of requests.", "stats", "attempts" },
  { "retries_total", "counter", "Attempts after another one, by what that ended with.", "stats", "retries",
    label = "reason" },
  { "waits_total", "counter", "Waits of requests that are over, by what for.", "stats", "waits", label = "reason",
    field = "count" },
  { "wait_seconds_total", "counter", "How long those took.", "stats", "waits", label = "reason", field = "seconds" },
  { "errors_total", "counter", "Errors that calls gave, by kind.", "stats", "errors", label = "kind" },
  { "sent_bytes_total", "counter", "Bytes sent, without TLS.", "stats", "bytes_sent" },
  { "received_bytes_total", "counter", "Bytes received, without TLS, as compressed as they were.", "stats",
    "bytes_received" },
  { "opened_connections_total", "counter", "Connections opened.", "stats", "connections_opened" },
  { "reused_connections_total", "counter", "Attempts on a connection that had been used before.", "stats",
    "connections_reused" },
  { "in_flight_requests", "gauge", "Attempts under way.", "stats", "in_flight" },
  { "queued_requests", "gauge", "Requests that wait.", "stats", "queued" },
  { "rate_limit_requests", "gauge", "Requests that HubSpot allows in an interval.", "rate_limit", "requests" },
  { "rate_limit_interval_seconds", "gauge", "That interval.", "rate_limit", "interval" },
  { "rate_limit_remaining_requests", "gauge", "Requests that may be sent at once, as far as is known.", "rate_limit",
    "remaining" },
  { "rate_limit_daily_requests", "gauge", "Requests that HubSpot allows a day.", "rate_limit", "daily" },
  { "rate_limit_daily_remaining_requests", "gauge", "Those of them that are left.", "rate_limit", "daily_remaining" },
  { "rate_limit_hold_seconds", "gauge", "For how long nothing is sent; absent if it may be.", "rate_limit", "hold" },
  { "rate_limit_age_seconds", "gauge", "When HubSpot told of its limits last; absent if never.", "rate_limit", "age" },
}

local ESCAPED = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

--- { worker = "1", reason = "retry" } becomes {reason="retry",worker="1"}, the same each time.
local function format_labels(labels, name, value)
  local pairs_of = {}
  for label, text in pairs(labels or {}) do
    pairs_of[#pairs_of + 1] = ('%s="%s"'):format(label, (tostring(text):gsub('[\\"\n]', ESCAPED)))
  end
  if name then
    pairs_of[#pairs_of + 1] = ('%s="%s"'):format(name, value)
  end
  table.sort(pairs_of)
  return #pairs_of > 0 and "{" .. table.concat(pairs_of, ",") .. "}" or ""
end

--- Exact where it can be; with a point, whatever the locale.
local function format_number(number)
  return (((number % 1 == 0 and number < 2 ^ 53) and "%.0f" or "%.15g"):format(number):gsub(",", "."))
end

local function sorted_names(values)
  local names = {}
  for name in pairs(values) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Adds the samples of a metric that a source has: one, or one for each name in a table.
local function add_samples(lines, metric, source)
  local name, values = PREFIX .. metric[1], source[metric[4]]
  local value = values and values[metric[5]]
  if value and not metric.label then
    lines[#lines + 1] = ("%s%s %s"):format(name, format_labels(source.labels), format_number(value))
  elseif value then
    for _, reason in ipairs(sorted_names(value)) do
      local number = metric.field and value[reason][metric.field] or value[reason]
      lines[#lines + 1] = ("%s%s %s"):format(name, format_labels(source.labels, metric.label, reason),
        format_number(number))
    end
  end
end

--- The text of all that the sources have.
-- @param sources list of { labels =, stats =, rate_limit = }, each of which may be absent
local function metrics(sources)
  local lines = {}
  for _, metric in ipairs(METRICS) do
    local samples = {}
    for _, source in ipairs(sources) do
      add_samples(samples, metric, source)
    end
    if #samples > 0 then -- a metric without a sample is no metric
      lines[#lines + 1] = ("# HELP %s%s %s"):format(PREFIX, metric[1], metric[3])
      lines[#lines + 1] = ("# TYPE %s%s %s"):format(PREFIX, metric[1], metric[2])
      lines[#lines + 1] = table.concat(samples, "\n")
    end
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

if ... then -- required
  return metrics
end

local assoc = require "hubspot_assoc"
assoc.get_limits("contacts", "companies")
io.write(metrics { { stats = assoc.stats(), rate_limit = assoc.rate_limit() } })
