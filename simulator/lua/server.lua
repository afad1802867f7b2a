-- One request from arrival to answer. With control, faults, guard and oauth, the only code that knows nginx.
local ngx = ngx
local accounts = require "simulator.account"
local auth = require "simulator.auth"
local control = require "simulator.control"
local errors = require "simulator.errors"
local faults = require "simulator.faults"
local json = require "simulator.json"
local log = require "simulator.log"
local oauth = require "simulator.oauth"
local rate = require "simulator.rate"
local routes = require "simulator.routes"

local M = {}

-- Seconds since 1970, fresh: nginx remembers the time for a whole round of its loop.
local function now()
  ngx.update_time()
  return ngx.now()
end

local function uuid()
  return (ngx.var.request_id:gsub("^(%x%x%x%x%x%x%x%x)(%x%x%x%x)%x(%x%x%x)%x(%x%x%x)", "%1-%2-4%3-a%4-"))
end

-- The path as it was sent, in segments: decoded after splitting, so that an encoded slash stays inside its segment.
local function split_path(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    parts[#parts + 1] = part:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return parts
end

-- Runs a handler, which may raise an answer. Whatever else it raises is a mistake in the simulator, and says so.
local function guarded(handler, ...)
  local ok, answer = pcall(handler, ...)
  if ok or type(answer) == "table" then return answer end
  return { status = 500, body = { status = "error", message = "mistake in the simulator: " .. tostring(answer) } }
end

local function handle(request)
  local handler, segments = routes.find(request.method, split_path(request.path))
  if not handler then return segments end
  local media_type = ngx.var.http_content_type or ""
  local wanted = request.is_oauth and "^application/x%-www%-form%-urlencoded" or "^application/json"
  if request.body and not media_type:lower():find(wanted) then return errors.wrong_media_type() end
  return guarded(handler, {
    account = request.account, version = segments.version, segments = segments,
    query = ngx.decode_args(request.query or ""), body = request.body, arrived = request.arrived, now = now,
  })
end

-- Handles a call, and notes when that was: a request may wait before it, and its answer after it.
local function carry_out(request)
  local answer = handle(request)
  request.entry.carried_out = { turn = log.next_turn(request.account.log), time = now(), status = answer.status }
  return answer
end

-- What HubSpot would do: authorization, then the rate limit, then the call. The answer takes a random part of
-- latency_ms, and the call is counted at a random moment of it.
local function serve(request)
  if request.is_oauth then return carry_out(request) end -- neither of the two
  local refusal = request.has_expired and errors.expired_token() or auth.refusal(request.token)
  if refusal then return refusal end
  local latency = math.random() * request.account.rate.latency_ms / 1000
  local before = math.random() * latency
  if latency > 0 then ngx.sleep(before) end
  local policy = rate.take(request.account.rate, now())
  local answer = policy and errors.rate_limit(policy) or carry_out(request)
  if latency > 0 then ngx.sleep(latency - before) end
  answer.headers = answer.headers or {}
  for name, value in pairs(rate.headers(request.account.rate)) do answer.headers[name] = value end
  return answer
end

-- A body as text. A table that is an error names the correlation id; it may be a fault's and serve again.
local function body_text(body, correlation_id)
  if type(body) ~= "table" then return body and tostring(body) or "" end
  local own = body.correlationId
  if body.status == "error" then body.correlationId = own or correlation_id end
  local text = json.encode(body)
  body.correlationId = own
  return text
end

local function send(answer)
  local id = uuid()
  local text = body_text(answer.body, id)
  ngx.status = answer.status
  ngx.header["X-HubSpot-Correlation-Id"] = id
  if text ~= "" then
    ngx.header["Content-Type"] = text:find "^%s*[%[{]" and "application/json;charset=utf-8" or "text/html;charset=utf-8"
  end
  for name, value in pairs(answer.headers or {}) do ngx.header[name] = value end
  if answer.status ~= 204 then
    ngx.header["Content-Length"] = #text
    ngx.print(text)
  end
end

local function read_request()
  ngx.req.read_body()
  local headers = ngx.req.get_headers(100)
  local path, query = ngx.var.request_uri:match "^([^?]*)%??(.*)$"
  return {
    arrived = now(), method = ngx.req.get_method(), path = path, query = query ~= "" and query or nil,
    headers = headers, body = ngx.req.get_body_data(), token = auth.token(ngx.var.http_authorization),
  }
end

-- Whose request it is: an OAuth app's, which its access tokens belong to, or the access token's own.
local function find_account(request)
  request.is_oauth = oauth.is_path(request.path)
  if request.is_oauth then
    request.account = oauth.account(request.body)
  else
    request.account, request.has_expired = oauth.owner(request.token, request.arrived)
    request.account = request.account or accounts.of(request.token)
  end
end

-- An API call: noted, then answered, under a fault if there is one.
local function serve_call(request)
  find_account(request)
  local entry = {
    time = request.arrived, method = request.method, path = request.path, query = request.query,
    body = request.body and request.is_oauth and oauth.without_secrets(request.body) or request.body,
    headers = request.headers, scheme = ngx.var.scheme, protocol = ngx.var.server_protocol,
    connection = tonumber(ngx.var.connection),
  }
  log.add(request.account.log, entry)
  request.entry = entry
  local answer = guarded(function()
    local fault = faults.take(request.account, ngx.var.http_x_simulator_fault)
    return (not fault and serve(request)) or faults.answer(fault, function() return serve(request) end)
  end)
  if not answer then
    entry.closed = true
    return ngx.exit(ngx.HTTP_CLOSE)
  end
  entry.status = answer.status
  send(answer)
end

--- nginx calls this for every request.
function M.serve()
  local request = read_request()
  if request.path:find "^/simulator/" then
    local query = ngx.decode_args(request.query or "")
    return send(guarded(control.answer, request.method, request.path, request.body, query, request.token))
  end
  serve_call(request)
end

return M
