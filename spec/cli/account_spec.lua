--- hubspot-assoc: which account, and its token, which appears nowhere.

local cjson = require("cjson").new()
local cli = require "spec.support.cli"
local to_json = require "hubspot_assoc.json"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)

local GET = { "limits", "get", "contacts", "companies" }
local unpack = table.unpack or unpack -- luacheck: ignore

-- Runs GET with more options before it.
local function get(environment, ...)
  local arguments = { ... }
  for _, word in ipairs(GET) do arguments[#arguments + 1] = word end
  return cli.run(environment, unpack(arguments))
end

describe("the account of hubspot-assoc", function()
  local folder
  before_each(function() folder = cli.folder() end)
  after_each(function() cli.remove(folder) end)

  -- Writes a file of one's own eyes.
  local function write(name, content, mode)
    local path = folder .. "/" .. name
    cli.sh("mkdir -p " .. path:match "^(.*)/")
    cli.write(path, content)
    cli.sh(("chmod %s %s"):format(mode or "600", path))
    return path
  end

  local function is_right(result)
    assert.equal("", result.err)
    assert.matches("Employee +50", result.out)
    assert.equal(0, result.status)
  end

  -- It failed, says why and what to do, and does not tell a token.
  local function is_refused(result, status, ...)
    assert.equal(status, result.status)
    assert.equal("", result.out)
    for _, part in ipairs { ... } do assert.matches(part, result.err, 1, true) end
    assert.is_nil(result.err:find("pat-", 1, true), result.err)
  end

  it("is the environment's, a token file's, or a profile's", function()
    is_right(get { HUBSPOT_ACCESS_TOKEN = simulator.token() })
    local path = write("token", simulator.token() .. "\n")
    is_right(get({ HUBSPOT_ACCESS_TOKEN = "pat-expired" }, "--token-file", path))
    write("hubspot-assoc/config", "[one]\ntoken_file = ../token\n[default]\ntoken = " .. simulator.token() .. "\n")
    is_right(get({ XDG_CONFIG_HOME = folder }, "--profile", "one"))
    is_right(get { XDG_CONFIG_HOME = folder })
    is_right(get { XDG_CONFIG_HOME = folder, HUBSPOT_ASSOC_PROFILE = "one", HUBSPOT_ACCESS_TOKEN = "pat-expired" })
    write(".config/hubspot-assoc/config", "[home]\ntoken_file = ~/token\nbase_url = " .. simulator.url)
    is_right(get({ HOME = folder, HUBSPOT_BASE_URL = "http://127.0.0.1:1" }, "--profile=home"))
  end)

  it("takes options behind the command, too", function()
    local path = write("token", simulator.token())
    is_right(cli.run({}, "limits", "get", "contacts", "companies", "--token-file", path))
  end)

  it("says what to do where there is none", function()
    is_refused(get { HOME = folder }, 1, "there is no access token", "HUBSPOT_ACCESS_TOKEN", "--profile")
    is_refused(get({ HOME = folder }, "--profile", "x"), 1, "there is no profile 'x'", "token_file = ")
    write(".config/hubspot-assoc/config", "[sandbox]\ntoken = pat-x\n")
    is_refused(get({ HOME = folder }, "--profile", "sandbx"), 1, "Did you mean 'sandbox'?")
    is_refused(get({}, "--token-file", folder .. "/none"), 1, "cannot read the token file")
  end)

  it("is looked for in no folder but one's own", function()
    is_refused(get { HOME = "" }, 1, "there is no access token", "HOME is not set")
    is_refused(get({ HOME = "" }, "--profile", "x"), 1, "HOME is not set", "XDG_CONFIG_HOME")
    write("hubspot-assoc/config", "[home]\ntoken_file = ~/token\n")
    is_refused(get({ HOME = "", XDG_CONFIG_HOME = folder }, "--profile", "home"), 1, "~/token: HOME is not set")
  end)

  it("never takes a token from the command line", function()
    for _, words in ipairs { { "--token", "pat-secret" }, { "--token=pat-secret" }, { "--access-token=pat-secret" } } do
      is_refused(get({}, unpack(words)), 64, "a token is no argument", "--token-file")
    end
    is_refused(get({}, "--tokn=pat-secret"), 64, "unknown option")
  end)

  it("refuses files that everybody may read, and what is no token", function()
    local open = write("open", simulator.token(), "644")
    is_refused(get({}, "--token-file", open), 1, "can be read by everybody", "chmod 600")
    write("hubspot-assoc/config", "[default]\ntoken = pat-simulator-x\n", "644")
    is_refused(get { XDG_CONFIG_HOME = folder }, 1, "can be read by everybody")
    is_refused(get({}, "--token-file", write("two", "pat-a pat-b")), 1, "does not hold a token")
    is_refused(get({}, "--token-file", write("json", '{"client_id":"x"}')), 1, "client_secret is missing")
    is_refused(get({}, "--token-file", write("half", '{"client_id":"x')), 1, "is no JSON object")
  end)

  it("says where the profiles are wrong", function()
    write("hubspot-assoc/config", "[a]\ntokn_file = x\n")
    is_refused(get { XDG_CONFIG_HOME = folder }, 1, "profile 'a' has an unknown key 'tokn_file'",
      "Did you mean 'token_file'?")
    write("hubspot-assoc/config", "[a]\nbase_url = " .. simulator.url .. "\n")
    is_refused(get({ XDG_CONFIG_HOME = folder, HUBSPOT_ACCESS_TOKEN = simulator.token() }, "--profile", "a"), 1,
      "profile 'a' has no token")
    write("hubspot-assoc/config", "[a]\n[a\n")
    is_refused(get { XDG_CONFIG_HOME = folder }, 1, "config, line 2:")
  end)

  it("takes a token from a pipe", function()
    local path = write("token", simulator.token())
    local output, status = cli.sh("bash -c \"" .. cli.command({}, unpack(GET)):gsub('"', '\\"')
      .. " --token-file <(cat " .. path .. ")\"")
    assert.equal(0, status, output)
    assert.matches("Employee +50", output)
  end)

  describe("with OAuth's file", function()
    local app

    local function write_tokens(changes)
      local tokens = { client_id = app, client_secret = "simulator-secret", refresh_token = "simulator-first",
        note = "of ours" }
      for name, value in pairs(changes or {}) do tokens[name] = value end
      return write("oauth.json", to_json(tokens))
    end

    before_each(function() app = simulator.token() end)

    it("gets access tokens, and keeps the refresh token that comes with one", function()
      simulator.control("oauth", { token = app, rotate = true })
      local path = write_tokens()
      local seen = {}
      for i = 1, 3 do
        is_right(get({}, "--token-file", path))
        seen[i] = cjson.decode(cli.read(path)).refresh_token
      end
      assert.is_true(seen[1] ~= "simulator-first" and seen[2] ~= seen[1] and seen[3] ~= seen[2])
      assert.equal("of ours", cjson.decode(cli.read(path)).note)
      assert.equal("600\n", (cli.sh("stat -c %a " .. path)))
      assert.equal("oauth.json\n", (cli.sh("ls " .. folder)))
    end)

    it("says that the app must be authorized anew", function()
      local result = get({}, "--token-file", write_tokens { refresh_token = "unknown-refresh-token" })
      assert.equal(1, result.status)
      assert.matches("invalid_grant", result.err)
      assert.is_nil(result.err:find("simulator-secret", 1, true))
      assert.is_nil(result.err:find("unknown-refresh-token", 1, true))
    end)

    it("keeps it for its owner alone also where a file for everybody lies in the way", function()
      simulator.control("oauth", { token = app, rotate = true })
      local path = write_tokens()
      for _, what in ipairs { "touch %s.new; chmod 666 %s.new", "ln -s %s.other %s.new; touch %s.other" } do
        cli.sh((what:gsub("%%s", path)))
        is_right(get({}, "--token-file", path))
        assert.equal("600\n", (cli.sh("stat -c %a " .. path)))
      end
      assert.equal("", cli.read(path .. ".other"))
    end)

    it("does not go on with a refresh token that it cannot keep", function()
      simulator.control("oauth", { token = app, rotate = true })
      local path = write_tokens()
      cli.sh(("mkdir -p %s.new/full"):format(path)) -- in the way of the new file
      local result = get({}, "--token-file", path)
      assert.equal(1, result.status)
      assert.matches("could not be kept", result.err)
    end)
  end)

  it("tells HubSpot's refusals, and what to do", function()
    is_refused(get { HUBSPOT_ACCESS_TOKEN = "nonsense" }, 1, "INVALID_AUTHENTICATION", "copy it anew")
    is_refused(get { HUBSPOT_ACCESS_TOKEN = simulator.token "noscope" }, 1, "MISSING_SCOPES", "scopes that are named")
    is_refused(get { HUBSPOT_ACCESS_TOKEN = simulator.token "expired" }, 1, "EXPIRED_AUTHENTICATION", "get a new one")
  end)

  it("tells the requests with -v, without the token", function()
    local token = simulator.token()
    local result = get({ HUBSPOT_ACCESS_TOKEN = token }, "-v")
    assert.equal(0, result.status)
    assert.matches("get_limits", result.err)
    assert.matches("http_status=200", result.err)
    assert.is_nil(result.err:find(token, 1, true))
  end)
end)
