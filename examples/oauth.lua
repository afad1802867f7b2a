--- The way of an OAuth app: its first tokens for a code, then calls with them. The refresh token is kept in a file.
--
-- 1. Open the app's install URL (HubSpot shows it on the app's page, under Auth) and choose an account. HubSpot sends
--    the browser to the redirect URL, with ?code=... behind it. Within a minute:
--
--        export HUBSPOT_CLIENT_ID=... HUBSPOT_CLIENT_SECRET=...
--        lua5.4 examples/oauth.lua refresh_token CODE REDIRECT_URL
--
-- 2. From then on:
--
--        lua5.4 examples/oauth.lua refresh_token

local assoc = require "hubspot_assoc"

local path, code, redirect_uri = ...
if not path or code and not redirect_uri then
  io.stderr:write "usage: lua oauth.lua FILE [CODE REDIRECT_URL], FILE is where the refresh token is kept\n"
  os.exit(2)
end

local function read(name)
  local file = io.open(name)
  local text = file and file:read "*a"
  return file and file:close() and text or nil
end

-- All of it or nothing, also if the machine stops meanwhile; and nobody else may read it (mode 0600).
local function save(tokens)
  local new = path .. ".new"
  local pipe = assert(io.popen(("umask 077 && rm -f '%s' && cat >'%s' && sync '%s'"):format(new, new, new), "w"))
  pipe:write(tokens.refresh_token)
  pipe:close()
  assert(read(new) == tokens.refresh_token, "cannot write " .. new)
  assert(os.rename(new, path))
end

local oauth = assoc.oauth {
  client_id = os.getenv "HUBSPOT_CLIENT_ID",
  client_secret = os.getenv "HUBSPOT_CLIENT_SECRET",
  refresh_token = read(path),
  on_refresh = save,
}

if code then
  local tokens, errors = oauth:exchange(code, redirect_uri)
  save(tokens or error(tostring(errors), 0))
end

local client = assoc.new { access_token = oauth }
local limits = assoc.check(client:get_limits("contacts", "companies"))
print(("%d association types from contacts to companies"):format(#limits))
