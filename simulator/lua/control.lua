-- /simulator/…: how a test tells the simulator what to do. No authorization, no rate limit, not logged.
local accounts = require "simulator.account"
local faults = require "simulator.faults"
local json = require "simulator.json"
local log = require "simulator.log"
local ngx = ngx
local oauth = require "simulator.oauth"

local M = {}

local function refuse(message)
  error { status = 400, body = { status = "error", message = message } }
end

-- Raises unless every field of a body is known and of its type. Null counts as absent.
local function check(body, fields)
  for name, value in pairs(body) do
    if value == json.null then
      body[name] = nil
    elseif name ~= "token" then
      local wanted = fields[name] or refuse("unknown field " .. tostring(name))
      if wanted ~= "any" and type(value) ~= wanted then refuse(("%s must be a %s"):format(name, wanted)) end
    end
  end
end

local function done(body)
  return { status = 200, body = body or { status = "ok" } }
end

local function health()
  return done()
end

local function add_fault(account, fault)
  check(fault, faults.FIELDS)
  if type(fault.retry_after) == "table" and type(fault.retry_after.date_in) ~= "number" then
    refuse "retry_after must be a number, a string or {\"date_in\": seconds}"
  end
  if fault.status and (fault.status < 200 or fault.status > 999 or fault.status % 1 ~= 0) then
    refuse "status must be a whole number from 200 to 999"
  end
  faults.add(account, fault)
  return done { status = "ok", queued = #account.faults }
end

local function clear_faults(account)
  account.faults, account.seen_headers = {}, {}
  return done()
end

local function set_rate(account, body)
  local fields = { max = "number", interval_ms = "number", daily = "number", latency_ms = "number" }
  check(body, fields)
  for name in pairs(fields) do account.rate[name] = body[name] or account.rate[name] end
  return done()
end

local function change_app(account, body, token)
  check(body, oauth.FIELDS)
  ngx.update_time()
  oauth.change(account.app, token, body, ngx.now())
  return done()
end

local function reset(_, body, token)
  check(body, { limits = "boolean", custom_objects = "table" })
  for _, word in ipairs(body.custom_objects or {}) do
    if type(word) ~= "string" or not word:find "^%l[%l%d_]*$" then refuse "custom_objects must be lower case words" end
  end
  accounts.reset(token, body.limits == false, body.custom_objects)
  return done()
end

local function read_log(account, _, _, query)
  local after = query.after and (tonumber(query.after) or refuse "after must be a number") or 0
  return done { count = account.log.count, calls = json.list(log.kept(account.log, after)) }
end

local function clear_log(account)
  account.log = log.new()
  return done()
end

local HANDLERS = {
  ["GET /simulator/health"] = health,
  ["POST /simulator/faults"] = add_fault,
  ["DELETE /simulator/faults"] = clear_faults,
  ["POST /simulator/rate"] = set_rate,
  ["POST /simulator/oauth"] = change_app,
  ["POST /simulator/reset"] = reset,
  ["GET /simulator/log"] = read_log,
  ["DELETE /simulator/log"] = clear_log,
}

--- Answers a control request. The token it is about: in the body, the query or the Authorization header.
function M.answer(method, path, body_text, query, header_token)
  local handler = HANDLERS[method .. " " .. path]
  if not handler then error { status = 404, body = { status = "error", message = "no such control" } } end
  local body = {}
  if body_text and body_text ~= "" then body = json.decode(body_text) end
  if type(body) ~= "table" then refuse "the body must be a JSON object" end
  local token = body.token or query.token or (header_token ~= "" and header_token or nil)
  if type(token) ~= "string" and handler ~= health then refuse "a token is needed, a string" end
  return handler(token and accounts.of(token), body, token, query)
end

return M
