--- Files with a token: the token alone, or OAuth's, a JSON object { "client_id":, "client_secret":, "refresh_token": }
-- in which a rotated refresh token is kept.

local core = require "hubspot_assoc.core"
local to_json = require "hubspot_assoc.json"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"

local token_file = {}

--- Raises if everybody may read a file that holds a secret. (What is no file, a pipe say, is nobody else's.)
function token_file.check_mode(path)
  local mode = system.mode(path)
  if mode and mode:find("^%-") and mode:sub(8, 8) == "r" then
    problem.raise(("%s holds a token and can be read by everybody (%s)"):format(path, mode),
      ("Run: chmod 600 %s"):format(system.quote(path)))
  end
end

local function decode(path, content)
  local tokens = core.decode(content)
  if type(tokens) ~= "table" then
    problem.raise(("%s is no JSON object"):format(path),
      "A token file holds the token and nothing else, or OAuth's { client_id, client_secret, refresh_token } as JSON.")
  end
  for _, name in ipairs { "client_id", "client_secret", "refresh_token" } do
    if type(tokens[name]) ~= "string" or tokens[name] == "" then
      problem.raise(("%s: %s is missing"):format(path, name),
        "OAuth's file needs client_id, client_secret and refresh_token, each a string.")
    end
  end
  return tokens
end

-- A token function that renews the access token, and keeps the refresh token where a new one comes.
local function oauth(path, tokens, base_url)
  local assoc = require "hubspot_assoc"
  return assoc.oauth {
    client_id = tokens.client_id, client_secret = tokens.client_secret, refresh_token = tokens.refresh_token,
    base_url = base_url,
    on_refresh = function(fresh)
      if fresh.refresh_token == tokens.refresh_token then return end
      tokens.refresh_token = fresh.refresh_token
      local ok, reason = system.write_private(path, to_json(tokens) .. "\n")
      if not ok then
        error(reason .. ": HubSpot gave a new refresh token, and it could not be kept; mend that, and if the old one is"
          .. " refused by then, have the app installed anew", 0)
      end
    end,
  }
end

--- Reads a token file.
-- @param path string
-- @param base_url of HubSpot, or nil
-- @return what the client's option access_token takes; raises a problem
function token_file.read(path, base_url)
  token_file.check_mode(path)
  local content, reason = system.read_file(path)
  if not content then
    problem.raise("cannot read the token file: " .. tostring(reason), "Give --token-file a file that you can read.")
  end
  content = content:match("^%s*(.-)%s*$")
  if content:find("^{") then return oauth(path, decode(path, content), base_url) end
  if content == "" or content:find("%s") then
    problem.raise(("%s does not hold a token"):format(path), "Put the token in it, on one line, and nothing else.")
  end
  return content
end

return token_file
