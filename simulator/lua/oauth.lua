-- OAuth: apps trade codes and refresh tokens for access tokens, which live for a while. An app is known by its
-- client id from its first call on, and is an account: that of its access tokens.
local accounts = require "simulator.account"
local errors = require "simulator.errors"

local ngx = ngx

local M = {}

local SECRET = { "client_secret", "refresh_token", "code", "code_verifier" } -- fields that the log hides

local issued = {} -- access token → { client_id =, good_until = }

-- A request has one of each kind.
local function new_token(kind)
  return ("simulator-%s-%s"):format(kind, ngx.var.request_id)
end

-- RFC 6749, 5.2, beside HubSpot's fields.
local function refuse(status, code, message)
  error { status = status, body = { status = "error", message = message, error = code, error_description = message } }
end

local function field(form, name)
  local value = form[name]
  if type(value) ~= "string" or value == "" then refuse(400, "invalid_request", "missing or invalid " .. name) end
  return value
end

local function check_secret(app, secret)
  local is_good = app.secret and secret == app.secret or not app.secret and secret:find("simulator", 1, true)
  if not is_good then refuse(401, "invalid_client", "missing or invalid client secret") end
end

local GRANTS = {}

-- Each gives the refresh token that goes along with the access token.
function GRANTS.authorization_code(app, form)
  local code, redirect_uri = field(form, "code"), field(form, "redirect_uri")
  if not code:find("simulator", 1, true) or app.dead[code] or not redirect_uri:find "^https?://" then
    refuse(400, "invalid_grant", "missing or unknown auth code")
  end
  if code:find("pkce", 1, true) then field(form, "code_verifier") end
  app.dead[code] = true
  return new_token "refresh"
end

function GRANTS.refresh_token(app, form)
  local old = field(form, "refresh_token")
  if not old:find("simulator", 1, true) or app.dead[old] then
    refuse(400, "invalid_grant", "missing or invalid refresh token")
  end
  app.dead[old] = app.rotate or nil
  return app.rotate and new_token "refresh" or old
end

--- Is it a path of OAuth's?
function M.is_path(path)
  return path:find "^/oauth/" ~= nil
end

--- The account that a form is about: that of its client id, "" without one.
function M.account(body)
  local client_id = ngx.decode_args(body or "").client_id
  return accounts.of(type(client_id) == "string" and client_id or "")
end

--- A form without what is secret in it, for the log.
function M.without_secrets(body)
  local shown = "&" .. body
  for _, name in ipairs(SECRET) do shown = shown:gsub("(&" .. name .. "=)[^&]+", "%1***") end
  return shown:sub(2)
end

--- POST /oauth/{version}/token.
function M.token(call)
  if call.version < "2026-03" then return errors.no_such_path() end
  if next(call.query) then refuse(400, "invalid_request", "the parameters belong into the body") end
  local form, app = ngx.decode_args(call.body or ""), call.account.app
  local grant = GRANTS[field(form, "grant_type")] or refuse(400, "unsupported_grant_type", "unknown grant_type")
  local client_id = field(form, "client_id")
  check_secret(app, field(form, "client_secret"))
  local refresh_token, access_token = grant(app, form), new_token "access"
  issued[access_token] = { client_id = client_id, good_until = call.now() + app.expires_in }
  return { status = 200, body = { token_type = "bearer", access_token = access_token, refresh_token = refresh_token,
    expires_in = app.expires_in } }
end

--- Of an access token that was issued here: its account, and whether it has expired. nil for any other.
function M.owner(token, now)
  local entry = issued[token]
  if entry then return accounts.of(entry.client_id), now >= entry.good_until end
end

--- What a control request may say of an app.
M.FIELDS = {
  client_secret = "string", expires_in = "number", rotate = "boolean", expire = "boolean", revoke = "string",
}

--- Changes an app as a control request says.
function M.change(app, client_id, body, now)
  app.secret = body.client_secret or app.secret
  app.expires_in = body.expires_in or app.expires_in
  if body.rotate ~= nil then app.rotate = body.rotate end
  if body.revoke then app.dead[body.revoke] = true end
  for _, entry in pairs(body.expire and issued or {}) do
    if entry.client_id == client_id then entry.good_until = math.min(entry.good_until, now) end
  end
end

return M
