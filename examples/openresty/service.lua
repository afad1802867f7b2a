--- HubSpot's association limits over HTTP. nginx.conf says how this is run.
--
--     GET /limits/{from}/{to}   the limits of an object pair, cached for a few seconds
--     PUT /limits/{from}/{to}   updates: {"inputs":[{"category":"HUBSPOT_DEFINED","typeId":279,"maxToObjectIds":5}]}
--     GET /health               for a load balancer; asks nothing of HubSpot
--     GET /metrics              for Prometheus: each worker's counters, by the label worker, at most a second old;
--                               HubSpot's rate once, for it is the account's
--
-- A request's traceparent is handed on to HubSpot.
--
-- Answers are {"results":[...]}, {"errors":[...]}, or both. An error has HubSpot's fields and the library's (kind,
-- message, retryable, ambiguous, ...). Where there are several and no results, the first decides the status:
--
--     200            all went well
--     207            part of it failed: results and errors
--     400            not JSON, or a field is wrong: the message says which; it counts inputs from 1
--     400 404 409    HubSpot's own, which are about what the caller asked for
--     404 405 413    unknown path; wrong method, with Allow; body too large
--     500            our configuration: trying again helps nobody before it is changed, so it is no 503. Or a bug
--     502            HubSpot's 401 and 403, for the token is ours, and all else it may say; no answer; a broken one
--     503            throttled, with Retry-After; canceled, because this worker ends; /health without a token
--     504            HubSpot did not answer in time

local ngx = ngx
local assoc = require "hubspot_assoc"
local metrics = require "metrics" -- ../metrics.lua
local shdict = require "hubspot_assoc.limiter.shdict"

local json = require("cjson").new() -- one of our own, so that nobody else's settings change
json.decode_invalid_numbers(false)

local CACHE_SECONDS = 5

-- The deadline is shorter than the patience of most proxies, so that callers get our answer and not theirs.
local client = assoc.new {
  limiter = shdict.new(ngx.shared.hubspot), timeout = 8, deadline = 20,
  headers = function() -- called where a call is started: in a request
    local parent = ngx.var.http_traceparent
    return { traceparent = parent and parent:match "^[%x-]+$" }
  end,
}
local cache, counters = ngx.shared.limits, ngx.shared.counters

-- ---- answers ----

local function send(status, body, headers)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #body + 1
  for name, value in pairs(headers or {}) do
    ngx.header[name] = value
  end
  ngx.print(body, "\n")
end

--- cjson takes an empty list for an object.
local function encode_list(values)
  return values[1] and json.encode(values) or "[]"
end

--- What callers see of an error: all but `body` (the first bytes of an answer that was no JSON, whatever they are)
-- and empty tables, in which a list cannot be told from an object.
local function shown(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for name, field in pairs(value) do
    if name ~= "body" and (type(field) ~= "table" or next(field) ~= nil) then
      copy[name] = shown(field)
    end
  end
  return copy
end

--- Ends the request with an error of its own: serve catches it.
local function refuse(status, message, headers)
  error({ status = status, headers = headers, errors = { { kind = "request", message = message } } })
end

-- ---- HubSpot's errors ----

local STATUS_OF_KIND = {
  throttled = 503, timeout = 504, transport = 502, protocol = 502, config = 500, canceled = 503,
}
-- HubSpot's statuses that are about what the caller sent. In a 2xx an error is about one input.
local STATUS_OF_API = { [200] = 400, [201] = 400, [207] = 400, [400] = 400, [404] = 404, [409] = 409 }

local function status_of(err)
  return err.kind == "api" and (STATUS_OF_API[err.http_status] or 502) or STATUS_OF_KIND[err.kind] or 500
end

--- Tells the operator of what is not the caller's doing, in one line each.
local function log_ours(errors)
  for _, err in ipairs(errors) do
    if status_of(err) >= 500 then
      ngx.log(ngx.ERR, (tostring(err):gsub("%c+", " ")))
    end
  end
end

local function send_errors(results, errors)
  log_ours(errors)
  local text = '"errors":' .. json.encode(shown(errors)) .. "}"
  if results then
    return send(207, '{"results":' .. encode_list(results) .. "," .. text)
  end
  local retry_after = errors[1].retry_after
  send(status_of(errors[1]), "{" .. text, { ["Retry-After"] = retry_after and math.max(1, math.ceil(retry_after)) })
end

--- Makes a call of the library, which raises where its arguments are wrong: the pair and the inputs, all of them the
-- caller's. Whatever else is raised is a bug.
local function call(name, ...)
  local ok, results, errors = pcall(client[name], client, ...)
  if ok then
    return results, errors
  end
  local place = tostring(results):match("bad argument #[123] to '" .. name .. "' %((.+)%)$")
  if place then
    refuse(400, (place:gsub("got userdata$", "got null"))) -- no other userdata comes out of JSON
  end
  error(results, 0)
end

-- ---- the cache ----

-- All workers share it. A read that is under way during an update may bring what was before, and write it down when
-- the update is long done. So the key of what it writes has the generation in which it began; an update ends the
-- generation, and what is written under an old one is never looked for. There is one for all pairs, because HubSpot
-- knows the same pair by several names, such as contacts and 0-1.

--- The present generation. Its name is a request's id: if it is lost (the dictionary is full), the next is still new.
local function generation()
  local present = cache:get "generation"
  if not present then
    cache:add("generation", ngx.var.request_id)
    present = cache:get "generation" or ngx.var.request_id
  end
  return present
end

local function end_generation()
  cache:delete "generation"
end

-- ---- what it does ----

local function get_limits(from, to)
  local key = ("%s %s/%s"):format(generation(), from, to) -- before the call
  local body = cache:get(key)
  if not body then
    local results, errors = call("get_limits", from, to)
    if errors then
      return send_errors(results, errors)
    end
    body = '{"results":' .. encode_list(results) .. "}"
    cache:set(key, body, CACHE_SECONDS)
  end
  send(200, body)
end

--- The request's body. nginx may have put one into a file that was sent in very small chunks.
local function read_body()
  ngx.req.read_body()
  local path = ngx.req.get_body_file()
  if not path then
    return ngx.req.get_body_data() or ""
  end
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function read_inputs()
  local ok, body = pcall(json.decode, read_body())
  if not ok then
    refuse(400, "the body is not JSON: " .. body)
  end
  if type(body) ~= "table" or body.inputs == nil or next(body, next(body)) ~= nil then
    refuse(400, 'the body must be an object with one field, "inputs"')
  end
  return body.inputs
end

local function put_limits(from, to)
  local results, errors = call("batch_update", from, to, read_inputs())
  end_generation() -- also after an error: HubSpot may have applied it all the same
  if errors then
    return send_errors(results, errors)
  end
  send(200, '{"results":' .. encode_list(results) .. "}")
end

--- Says whether this worker has a token; only a call could tell whether HubSpot takes it.
local function health()
  if (os.getenv "HUBSPOT_ACCESS_TOKEN" or "") == "" then
    return send(503, '{"errors":[{"kind":"config","message":"HUBSPOT_ACCESS_TOKEN is not set"}]}')
  end
  send(200, '{"status":"ok"}')
end

-- ---- metrics ----

local KEEP_SECONDS = 1

--- A worker knows its own counters only, and nobody can say which one answers a request: so each writes down its own.
local function keep_counters()
  if not ngx.worker.exiting() then -- after a reload another has its number
    counters:set(ngx.worker.id(), json.encode { stats = client:stats(), rate_limit = client:rate_limit() })
  end
end

--- What the workers have written: a source for each one's counters, and one for the rate, as HubSpot told it last.
local function read_counters()
  local sources, rate = {}, nil
  for id = 0, ngx.worker.count() - 1 do
    local text = counters:get(id)
    local kept = text and json.decode(text)
    if kept then
      sources[#sources + 1] = { labels = { worker = id }, stats = kept.stats }
      local age = kept.rate_limit.age
      rate = age and (not rate or age < rate.age) and kept.rate_limit or rate
    end
  end
  sources[#sources + 1] = { rate_limit = rate }
  return sources
end

local function get_metrics()
  keep_counters()
  send(200, (metrics(read_counters()):gsub("\n$", "")), { ["Content-Type"] = "text/plain; version=0.0.4" })
end

-- ---- requests ----

local ROUTES = {
  { path = "^/metrics$", allow = "GET, HEAD", handlers = { GET = get_metrics, HEAD = get_metrics } },
  { path = "^/health$", allow = "GET, HEAD", handlers = { GET = health, HEAD = health } },
  -- HubSpot's object types: contacts, 0-1, p_thing.
  { path = "^/limits/([%w_-]+)/([%w_-]+)$", allow = "GET, HEAD, PUT",
    handlers = { GET = get_limits, HEAD = get_limits, PUT = put_limits } },
}

local UNKNOWN_PATH = "there are /limits/{from}/{to}, /health and /metrics"

local function route()
  local path, method = ngx.var.uri, ngx.req.get_method()
  for _, entry in ipairs(ROUTES) do
    local from, to = path:match(entry.path)
    if from then
      if not entry.handlers[method] then
        refuse(405, "this path allows " .. entry.allow, { Allow = entry.allow })
      end
      return entry.handlers[method](from, to)
    end
  end
  refuse(404, UNKNOWN_PATH)
end

local service = {}

--- For each worker, when it starts.
function service.start()
  keep_counters()
  assert(ngx.timer.every(KEEP_SECONDS, keep_counters))
end

--- Answers a request.
function service.serve()
  local ok, problem = pcall(route)
  if ok then
    return
  end
  if type(problem) ~= "table" then
    ngx.log(ngx.ERR, problem)
    problem = { status = 500, errors = { { kind = "internal", message = "a bug in this service; its log says more" } } }
  end
  send(problem.status, json.encode { errors = problem.errors }, problem.headers)
end

local MESSAGES = {
  [400] = "this is no HTTP request, or its headers are too large",
  [404] = UNKNOWN_PATH,
  [413] = "the body is too large",
}

--- Answers a request that nginx has refused. (It refuses one method by itself: TRACE.)
function service.serve_error()
  local message = MESSAGES[ngx.status] or "nginx refuses this request"
  send(ngx.status, json.encode { errors = { { kind = "request", message = message } } },
    ngx.status == 405 and { Allow = "GET, HEAD, PUT" })
end

return service
