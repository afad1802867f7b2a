--- Which account a command is about: --token-file, --profile, the environment, or the profile "default". Its client.

local ini = require "hubspot_assoc.cli.ini"
local names_of = require "hubspot_assoc.names"
local nearest = require "hubspot_assoc.nearest"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"
local token_file = require "hubspot_assoc.cli.token_file"

local account = {}

local FIELDS = { "token", "token_file", "base_url", "api_version" }

local function variable(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local NO_HOME = "Set it, or XDG_CONFIG_HOME to the folder that hubspot-assoc/config is in."

--- The file with the profiles; nil where the environment does not say where it is.
function account.config_path()
  local home = variable "HOME"
  local folder = variable "XDG_CONFIG_HOME" or home and home .. "/.config"
  return folder and folder .. "/hubspot-assoc/config"
end

local function check_profiles(path, profiles)
  local is_field = {}
  for _, name in ipairs(FIELDS) do is_field[name] = true end
  for section, profile in pairs(profiles) do
    for key in pairs(profile) do
      if not is_field[key] then
        local meant = nearest(key, FIELDS)[1]
        problem.raise(("%s: profile '%s' has an unknown key '%s'"):format(path, section, key),
          (meant and ("Did you mean '%s'? "):format(meant) or "")
          .. "A profile has " .. table.concat(FIELDS, ", ") .. ".")
      end
    end
    -- Without its own it would be the environment's, which may be another account's.
    if (profile.token_file or profile.token or "") == "" then
      problem.raise(("%s: profile '%s' has no token"):format(path, section),
        "Give it 'token_file = FILE', or 'token = …'.")
    end
    if profile.token then token_file.check_mode(path) end
  end
end

-- All profiles: name -> fields; none if there is no file.
local function read_profiles(path)
  local content, reason = system.read_file(path)
  if not content then
    if not system.mode(path) then return {} end
    problem.raise("cannot read the profiles: " .. reason, "Make that file readable for you.")
  end
  local profiles, line, wrong = ini(content)
  if not profiles then
    problem.raise(("%s, line %d: %s"):format(path, line, wrong), "The manual shows what the file looks like.")
  end
  check_profiles(path, profiles)
  return profiles
end

local function find_profile(name)
  local path = account.config_path()
  if not path then
    problem.raise("the file with the profiles cannot be found: HOME is not set", NO_HOME)
  end
  local profiles = read_profiles(path)
  if profiles[name] then return profiles[name], path end
  local names = names_of(profiles)
  local advice
  if #names == 0 then
    advice = ("Write it into %s:\n  [%s]\n  token_file = …"):format(path, name)
  else
    local meant = nearest(name, names)[1]
    advice = (meant and ("Did you mean '%s'? "):format(meant) or "")
      .. ("%s has: %s."):format(path, table.concat(names, ", "))
  end
  problem.raise(("there is no profile '%s'"):format(name), advice)
end

-- What a path in the file means: `~` is the home folder, others begin at the file's.
local function expand(path, config_path)
  if path:find("^~/") then
    return (variable "HOME" or problem.raise(path .. ": HOME is not set", "Set it, or give the whole path."))
      .. path:sub(2)
  end
  if path:find("^/") then return path end
  return config_path:match("^(.*/)") .. path
end

local function options_of(profile, config_path)
  local base_url = profile.base_url or variable "HUBSPOT_BASE_URL"
  local options = { base_url = base_url, api_version = profile.api_version }
  if profile.token_file then
    options.access_token = token_file.read(expand(profile.token_file, config_path), base_url)
  elseif profile.token then
    options.access_token = profile.token
  end
  return options
end

local function choose(args)
  if args.token_file then
    return { access_token = token_file.read(args.token_file, variable "HUBSPOT_BASE_URL") }
  elseif args.profile or variable "HUBSPOT_ASSOC_PROFILE" then
    return options_of(find_profile(args.profile or variable "HUBSPOT_ASSOC_PROFILE"))
  elseif variable "HUBSPOT_ACCESS_TOKEN" then
    return {}
  end
  local path = account.config_path()
  local profile = path and read_profiles(path).default
  if profile then return options_of(profile, path) end
  problem.raise("there is no access token",
    ("Set HUBSPOT_ACCESS_TOKEN, give --token-file FILE or --profile NAME, or write a profile 'default' into %s. "
      .. "To try without an account: hubspot-assoc simulator."):format(path or "its file (HOME is not set)"))
end

local function describe(event)
  local words = { event.type }
  for _, name in ipairs { "call", "name", "from", "to", "attempt", "first", "last", "http_status", "kind", "delay",
    "elapsed", "correlationId" } do
    if event[name] ~= nil then
      local value = event[name]
      if type(value) == "number" and value % 1 ~= 0 then value = ("%.3f"):format(value) end
      words[#words + 1] = name .. "=" .. tostring(value)
    end
  end
  return table.concat(words, " ")
end

--- Makes the client of the account that a command line names.
-- @param args { profile =, token_file = }
-- @param terminal to which -v tells the requests
-- @return client; raises a problem
function account.client(args, terminal)
  local assoc = require "hubspot_assoc"
  local options = choose(args)
  options.user_agent = "hubspot-assoc-cli/" .. assoc._VERSION
  if terminal.verbose > 0 then
    options.on_event = function(event) terminal:trace(describe(event)) end
  end
  local ok, client = pcall(assoc.new, options)
  if ok then return client end
  local reason = tostring(client):match("%(options%.(.*)%)$") or tostring(client)
  problem.raise("wrong settings: " .. reason, "Look at the profile, and at the variables HUBSPOT_….")
end

return account
