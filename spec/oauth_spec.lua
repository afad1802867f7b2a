-- OAuth: access tokens for a refresh token, from the simulator, which knows each client id as an account.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local core = require "hubspot_assoc.core"
local fault_server = require "spec.support.fault_server"
local hosts = require "spec.support.loop_hosts"
local simulator = require "spec.support.simulator"

local apps = 0

-- An app nobody else uses: its client id.
local function new_app(changes)
  apps = apps + 1
  local app = ("app-%d-%s"):format(apps, simulator.token())
  local fields = { token = app }
  for name, value in pairs(changes or {}) do fields[name] = value end
  simulator.control("oauth", fields)
  return app
end

local function options_of(app, changes)
  local options = { client_id = app, client_secret = "simulator-secret", refresh_token = "simulator-first",
    base_url = simulator.url, max_attempts = 1 }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

local function client_of(oauth, changes)
  return assoc.new(binding.options { base_url = simulator.url, access_token = oauth,
    loop = changes and changes.loop, max_attempts = changes and changes.max_attempts or 2 })
end

-- An app, its OAuth and a client with it.
local function new_client(changes, app_changes)
  local app = new_app(app_changes)
  local oauth = assoc.oauth(options_of(app, changes))
  return client_of(oauth), oauth, app
end

-- How many requests for tokens an app has made, and how many calls.
local function counts(app)
  local tokens, calls = 0, 0
  for _, entry in ipairs(simulator.log(app)) do
    if entry.path:find "^/oauth/" then tokens = tokens + 1 else calls = calls + 1 end
  end
  return { tokens, calls }
end

local function expect_good(results, errors)
  assert.is_nil(errors)
  assert.equal(7, #results)
end

-- The module with a clock that can be put forward: oauth function, forward(seconds).
local function with_clock()
  local loaded, now, ahead = package.loaded["hubspot_assoc.oauth"], core.now, 0
  package.loaded["hubspot_assoc.oauth"] = nil
  core.now = function() return now() + ahead end
  local module = require "hubspot_assoc.oauth"
  core.now, package.loaded["hubspot_assoc.oauth"] = now, loaded
  return function(options) return module.new(options, 1) end, function(seconds) ahead = ahead + seconds end
end

describe("assoc.oauth", function()
  teardown(fault_server.stop_all)

  it("gets an access token for the first call, and uses it for those that follow", function()
    local told = {}
    local client, _, app = new_client { on_refresh = function(tokens) told[#told + 1] = tokens end }
    assert.same({ 0, 0 }, counts(app))
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits())
    assert.same({ 1, 2 }, counts(app))
    assert.equal(1, #told)
    assert.matches("^simulator%-access%-", told[1].access_token)
    assert.same({ "simulator-first", 1800, "bearer" },
      { told[1].refresh_token, told[1].expires_in, told[1].token_type })
  end)

  it("sends a form, without an Authorization header, percent-encoded", function()
    local secret = "s\195\188 +&=%;?/#\"'\\\1~-._Az9"
    local client, _, app = new_client({ client_secret = secret }, { client_secret = secret })
    expect_good(client:get_all_limits())
    local request = simulator.log(app)[1]
    assert.same({ "POST", "/oauth/2026-09/token", "application/x-www-form-urlencoded", "application/json" },
      { request.method, request.path, request.headers["content-type"], request.headers.accept })
    assert.equal("grant_type=refresh_token&client_id=" .. app .. "&client_secret=***&refresh_token=***", request.body)
    assert.is_nil(request.query)
    local server = fault_server.start { "answers.always", 400, '{"error":"invalid_request","message":"no"}', {} }
    client = client_of(assoc.oauth(options_of("x", { base_url = server.url, client_secret = "a b&c" })))
    client:get_all_limits()
    request = server:stop()[1]
    assert.equal("grant_type=refresh_token&client_id=x&client_secret=a%20b%26c&refresh_token=simulator-first",
      request.body)
    assert.is_nil(request.headers.authorization)
  end)

  it("refreshes ahead of the end, and sends what HubSpot gave last", function()
    local oauth_new, forward = with_clock()
    local app = new_app { rotate = true }
    local told = {}
    local client = client_of(oauth_new(options_of(app, { on_refresh = function(tokens)
      told[#told + 1] = tokens.refresh_token
    end })))
    expect_good(client:get_all_limits())
    forward(1739)
    expect_good(client:get_all_limits())
    assert.same({ 1, 2 }, counts(app))
    forward(2)
    expect_good(client:get_all_limits()) -- the first refresh token is dead by now
    assert.same({ 2, 3 }, counts(app))
    forward(1741)
    expect_good(client:get_all_limits())
    assert.same({ 3, 4 }, counts(app))
    assert.equal(3, #told)
    assert.is_true(told[1] ~= told[2] and told[2] ~= told[3])
  end)

  it("keeps a margin that short lives have room for", function()
    local oauth_new, forward = with_clock()
    local app = new_app { expires_in = 20 }
    local client = client_of(oauth_new(options_of(app)))
    expect_good(client:get_all_limits())
    forward(17)
    expect_good(client:get_all_limits())
    assert.same({ 1, 2 }, counts(app))
    forward(1.5)
    expect_good(client:get_all_limits())
    assert.same({ 2, 3 }, counts(app))
  end)

  it("refreshes once more when HubSpot says that a token has expired", function()
    local client, _, app = new_client()
    expect_good(client:get_all_limits())
    simulator.control("oauth", { token = app, expire = true })
    local results, errors, response = client:get_all_limits()
    expect_good(results, errors)
    assert.equal(2, response.attempts)
    assert.same({ 2, 3 }, counts(app))
  end)

  it("takes no token for expired that is not in use any more", function()
    local _, oauth, app = new_client()
    local first = oauth()
    assert.equal(first, oauth())
    local second = oauth("expired", first)
    assert.not_equal(first, second)
    assert.equal(second, oauth("expired", first))
    assert.equal(second, oauth())
    assert.same({ 2, 0 }, counts(app))
  end)

  it("uses the old token while it is good and no other can be had", function()
    local oauth_new, forward = with_clock()
    local app = new_app()
    local client = client_of(oauth_new(options_of(app, { max_attempts = 3 })))
    expect_good(client:get_all_limits())
    forward(1750)
    simulator.fault(app, { status = 503 })
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits()) -- not tried again at once
    assert.same({ 2, 3 }, counts(app)) -- in one attempt, for the old one is good
    forward(6)
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits())
    assert.same({ 3, 5 }, counts(app))
  end)

  it("hands on trouble that may pass, and asks again for the next call", function()
    local client, _, app = new_client()
    simulator.fault(app, { status = 503 })
    local results, errors, response = client:get_all_limits()
    assert.is_nil(results)
    assert.is_nil(response)
    assert.same({ "api", true, 0 }, { errors[1].kind, errors[1].retryable, errors[1].attempts })
    expect_good(client:get_all_limits())
    assert.same({ 2, 1 }, counts(app))
  end)

  it("tries a refresh several times, as any call", function()
    local client, _, app = new_client { max_attempts = 3 }
    simulator.fault(app, { status = 503, times = 2, retry_after = 0 })
    expect_good(client:get_all_limits())
    assert.same({ 3, 1 }, counts(app))
  end)

  it("hands on that HubSpot cannot be reached", function()
    local oauth = assoc.oauth(options_of("x", { base_url = binding.closed_url() }))
    local _, errors = client_of(oauth):get_all_limits()
    assert.same({ "transport", true }, { errors[1].kind, errors[1].retryable })
  end)

  it("says that the user must authorize anew, and does not ask again until a code comes", function()
    local client, oauth, app = new_client()
    simulator.control("oauth", { token = app, revoke = "simulator-first" })
    for _ = 1, 3 do
      local _, errors = client:get_all_limits()
      assert.same({ "config", false, 0 }, { errors[1].kind, errors[1].retryable, errors[1].attempts })
      assert.matches("invalid_grant: missing or invalid refresh token", errors[1].message)
      assert.matches("authorize the app anew", errors[1].message)
    end
    assert.same({ 1, 0 }, counts(app))
    assert(oauth:exchange("simulator-code", "https://example.com/back"))
    expect_good(client:get_all_limits())
    assert.same({ 2, 1 }, counts(app))
  end)

  it("uses a token to its end when its refresh token has died", function()
    local oauth_new, forward = with_clock()
    local app = new_app()
    local client = client_of(oauth_new(options_of(app)))
    expect_good(client:get_all_limits())
    simulator.control("oauth", { token = app, revoke = "simulator-first" })
    forward(1750)
    expect_good(client:get_all_limits())
    forward(20)
    expect_good(client:get_all_limits())
    assert.same({ 2, 3 }, counts(app))
    forward(40)
    local _, errors = client:get_all_limits()
    assert.matches("invalid_grant", errors[1].message)
    assert.same({ 2, 3 }, counts(app))
  end)

  it("takes the latest refresh token, which another process may have stored", function()
    local app, stored, asked = new_app { rotate = true }, "simulator-first", 0
    local function new()
      return assoc.oauth(options_of(app, {
        refresh_token = function()
          asked = asked + 1
          return stored
        end,
        on_refresh = function(tokens) stored = tokens.refresh_token end,
      }))
    end
    local first, second = new(), new()
    local token = first()
    assert.not_equal(token, second())
    assert.not_equal(token, first("expired", token))
    assert.same({ 3, 0 }, counts(app))
    assert.equal(3, asked)
    -- Another one is faster: what was read is refused, and what there is now is not.
    local latest, old = stored, "simulator-old"
    simulator.control("oauth", { token = app, revoke = old })
    local reads = { old, latest }
    local slow = assoc.oauth(options_of(app, {
      refresh_token = function() return table.remove(reads, 1) or latest end,
    }))
    assert.is_string(slow())
    assert.same({ 5, 0 }, counts(app))
  end)

  it("asks again with another refresh token than the one that was refused", function()
    local app, stored = new_app(), "simulator-dead"
    simulator.control("oauth", { token = app, revoke = stored })
    local oauth = assoc.oauth(options_of(app, { refresh_token = function() return stored end }))
    for _ = 1, 3 do
      local token, errors = oauth()
      assert.is_nil(token)
      assert.matches("^invalid_grant: missing or invalid refresh token; HubSpot takes this refresh token no more: "
        .. "the user must authorize the app anew, and then oauth:exchange%(code, redirect_uri%)$", errors[1].message)
    end
    assert.same({ 1, 0 }, counts(app))
    stored = "simulator-good"
    assert.is_string(oauth())
  end)

  it("says what kept the refresh token away", function()
    for expected, source in pairs {
      ["there is no refresh token: call oauth:exchange(code, redirect_uri) first, or give the option refresh_token"] =
        function() end,
      ["there is no refresh token: call oauth:exchange(code, redirect_uri) first, or give the option refresh_token: "
        .. "the vault is sealed"] = function() return nil, "the vault is sealed" end,
      ["no such vault"] = function() error("no such vault", 0) end,
    } do
      local token, errors = assoc.oauth(options_of("x", { refresh_token = source }))()
      assert.is_nil(token)
      assert.same({ "config", false, expected }, { errors[1].kind, errors[1].retryable, errors[1].message })
    end
  end)

  it("hands on other refusals, and asks again", function()
    local client, _, app = new_client { client_secret = "wrong" }
    for _ = 1, 2 do
      local _, errors = client:get_all_limits()
      assert.same({ "api", false }, { errors[1].kind, errors[1].retryable })
      assert.matches("invalid_client: missing or invalid client secret", errors[1].message)
    end
    assert.same({ 2, 0 }, counts(app))
  end)

  it("has no token before there is a refresh token", function()
    local app = new_app()
    local options = options_of(app)
    options.refresh_token = nil
    local _, errors = client_of(assoc.oauth(options)):get_all_limits()
    assert.equal("config", errors[1].kind)
    assert.matches("exchange", errors[1].message)
    assert.same({ 0, 0 }, counts(app))
  end)

  it("takes answers of any kind", function()
    for body, expected in pairs {
      ["{}"] = "no access token", ['{"access_token":5}'] = "no access token", ["[]"] = "not a JSON object",
      ['{"access_token":"a\\nb","expires_in":1800}'] = "printable", [""] = "empty",
      ['{"access_token":"tok-secret","expires_in":18'] = "cannot be used",
    } do
      local server = fault_server.start { "answers.always", 200, body, {} }
      local oauth = assoc.oauth(options_of("x", { base_url = server.url }))
      local _, problem = oauth()
      local _, errors = client_of(oauth):get_all_limits()
      assert.matches(expected, tostring(errors))
      assert.is_nil(binding.find_text({ errors, problem or {} }, "tok-secret"))
      server:stop()
    end
  end)

  it("keeps the refresh token where an answer has none", function()
    for _, rest in ipairs { "", ',"refresh_token":""', ',"refresh_token":5' } do
      local server = fault_server.start { "answers.always", 200,
        ('{"access_token":"pat-simulator-x","expires_in":1800%s}'):format(rest), {} }
      local told
      local oauth = assoc.oauth(options_of("x", { base_url = server.url,
        on_refresh = function(tokens) told = tokens end }))
      assert.is_string(oauth())
      assert.equal("simulator-first", told.refresh_token)
      assert.is_string(oauth("expired", "pat-simulator-x"))
      assert.equal("simulator-first", told.refresh_token)
      assert.equal(2, #server:stop())
    end
  end)

  it("uses a token without a life until it is refused", function()
    local server = fault_server.start { "answers.always", 200, '{"access_token":"pat-simulator-x"}', {} }
    local oauth = assoc.oauth(options_of("x", { base_url = server.url }))
    for _ = 1, 3 do assert.equal("pat-simulator-x", oauth()) end
    assert.equal(1, #server:stop())
  end)

  it("serves clients of hubspot_assoc.core", function()
    local _, oauth, app = new_client()
    local client = core.new(binding.options { base_url = simulator.url, access_token = oauth })
    expect_good(client:get_all_limits())
    assert.same({ 1, 1 }, counts(app))
  end)

  it("takes no longer than the call has that waits for it", function()
    local client, _, app = new_client { timeout = 60 }
    simulator.fault(app, { delay = 5 })
    local started = core.now()
    local results, errors = client:get_all_limits { deadline = 0.2 }
    assert.is_nil(results)
    assert.same({ "timeout", 0 }, { errors[1].kind, errors[1].attempts })
    assert.is_true(core.now() - started < 4)
    expect_good(client:get_all_limits())
  end)

  it("serves asynchronous calls, with and without an I/O thread", function()
    for _, io_thread in ipairs { true, false } do
      local app = new_app()
      local client = assoc.new(binding.options { base_url = simulator.url, io_thread = io_thread,
        access_token = assoc.oauth(options_of(app)) })
      local futures = {}
      for i = 1, 10 do futures[i] = client.async:get_all_limits() end
      client:drain(20)
      for i = 1, 10 do expect_good(futures[i]:wait()) end
      assert.same({ 1, 10 }, counts(app))
    end
  end)
end)

describe("on_refresh", function()
  it("has the tokens before they are used", function()
    local app, seen = new_app { rotate = true }, nil
    local client = client_of(assoc.oauth(options_of(app, { on_refresh = function(tokens)
      seen = { tokens.refresh_token, counts(app)[2] }
    end })))
    expect_good(client:get_all_limits())
    assert.matches("^simulator%-refresh%-", seen[1])
    assert.equal(0, seen[2])
  end)

  it("may fail: the tokens are kept for it, and used when it has taken them", function()
    local fails, told = true, {}
    local client, _, app = new_client({ on_refresh = function(tokens)
      told[#told + 1] = tokens
      if fails then error("the disk is full; " .. tokens.refresh_token, 0) end
    end }, { rotate = true })
    for _ = 1, 2 do
      local _, errors = client:get_all_limits()
      assert.same({ "config", true, 0 }, { errors[1].kind, errors[1].retryable, errors[1].attempts })
      assert.matches("on_refresh failed: the disk is full; %*%*%*$", errors[1].message)
    end
    fails = false
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits())
    assert.same({ 1, 2 }, counts(app)) -- HubSpot was asked once
    assert.equal(3, #told)
    assert.same(told[1], told[2])
    assert.same(told[1], told[3])
  end)

  it("may fail while the old token is good, which then is used", function()
    local oauth_new, forward = with_clock()
    local fails, told = false, 0
    local app = new_app { rotate = true }
    local client = client_of(oauth_new(options_of(app, { on_refresh = function()
      told = told + 1
      if fails then error {} end
    end })))
    expect_good(client:get_all_limits())
    fails = true
    forward(1750)
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits())
    assert.same({ 2, 3 }, counts(app))
    assert.equal(2, told)
    forward(6)
    fails = false
    expect_good(client:get_all_limits())
    expect_good(client:get_all_limits())
    assert.same({ 2, 5 }, counts(app))
    assert.equal(3, told)
  end)

  it("may change its table, and may make calls", function()
    local app, client, inside = new_app(), nil, nil
    client = client_of(assoc.oauth(options_of(app, { on_refresh = function(tokens)
      inside = { client:get_all_limits() }
      tokens.access_token, tokens.refresh_token = nil, nil
    end })))
    expect_good(client:get_all_limits())
    expect_good(inside[1], inside[2])
    simulator.control("oauth", { token = app, expire = true })
    expect_good(client:get_all_limits())
    assert.same({ 2, 5 }, counts(app))
  end)

  it("may yield", function()
    local client, _, app = new_client { on_refresh = function(tokens)
      assert(coroutine.yield(tokens.refresh_token) == "stored")
    end }
    local results
    local thread = coroutine.create(function() results = { client:get_all_limits() } end)
    assert.same({ true, "simulator-first" }, { coroutine.resume(thread) })
    assert.is_nil(results)
    -- Who has no event loop to wait in has it called, too, with the same tokens.
    local other = coroutine.create(function() return #client:get_all_limits() end)
    assert.same({ true, "simulator-first" }, { coroutine.resume(other) })
    assert.same({ true, 7 }, { coroutine.resume(other, "stored") })
    assert(coroutine.resume(thread, "stored"))
    expect_good(results[1], results[2])
    assert.same({ 1, 2 }, counts(app))
  end)
end)

describe("oauth:exchange", function()
  it("gives an app's first tokens, and uses them", function()
    local app, told = new_app(), 0
    local options = options_of(app, { on_refresh = function() told = told + 1 end })
    options.refresh_token = nil
    local oauth = assoc.oauth(options)
    local tokens, errors = oauth:exchange("simulator-code pkce", "https://example.com/back?a=b c", "verifier")
    assert.is_nil(errors)
    assert.matches("^simulator%-access%-", tokens.access_token)
    assert.matches("^simulator%-refresh%-", tokens.refresh_token)
    assert.equal(1800, tokens.expires_in)
    assert.equal(tokens.access_token, oauth())
    expect_good(client_of(oauth):get_all_limits())
    assert.same({ 1, 1 }, counts(app))
    assert.equal(0, told) -- its caller has them
    assert.equal("grant_type=authorization_code&client_id=" .. app .. "&client_secret=***&code=***"
      .. "&redirect_uri=https%3A%2F%2Fexample.com%2Fback%3Fa%3Db%20c&code_verifier=***", simulator.log(app)[1].body)
    simulator.control("oauth", { token = app, expire = true })
    expect_good(client_of(oauth):get_all_limits())
    assert.equal(1, told)
  end)

  it("returns errors, and leaves what there is as it is", function()
    local client, oauth, app = new_client()
    expect_good(client:get_all_limits())
    assert(oauth:exchange("simulator-code", "https://example.com/"))
    local tokens, errors = oauth:exchange("simulator-code", "https://example.com/") -- a code is good once
    assert.is_nil(tokens)
    assert.same({ "api", 400, "invalid_grant", "oauth" },
      { errors[1].kind, errors[1].http_status, errors[1].error, errors[1].call })
    assert.equal("oauth: api: invalid_grant: missing or unknown auth code", tostring(errors):match "^(.-) %(HTTP")
    expect_good(client:get_all_limits())
    assert.same({ 3, 2 }, counts(app))
  end)

  it("raises what is misuse, and names no value", function()
    local _, oauth = new_client()
    for expected, call in pairs {
      ["'exchange' is a method: call it with a colon, oauth:exchange(code, redirect_uri)"] =
        function() oauth.exchange("code", "uri") end,
      ["bad argument #1 to 'exchange' (code: string expected, got nil)"] = function() oauth:exchange() end,
      ["bad argument #1 to 'exchange' (code: string expected, got number)"] = function() oauth:exchange(5, "x") end,
      ["bad argument #2 to 'exchange' (redirect_uri: string expected, got nil)"] =
        function() oauth:exchange("code") end,
      ["bad argument #2 to 'exchange' (redirect_uri: string expected, got an empty one)"] =
        function() oauth:exchange("code", "") end,
      ["bad argument #3 to 'exchange' (code_verifier: string expected, got table)"] =
        function() oauth:exchange("code", "uri", {}) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.equal(expected, message:match "^.*oauth_spec%.lua:%d+: (.*)$")
    end
  end)
end)

describe("options of assoc.oauth", function()
  it("are checked, by name and without their values", function()
    for expected, changes in pairs {
      ["options.client_id: string expected, got table"] = { client_id = {} },
      ["options.client_secret: string expected, got number"] = { client_secret = 12345 },
      ["options.client_secret: must not be empty"] = { client_secret = "" },
      ["options.refresh_token: string or function expected, got boolean"] = { refresh_token = true },
      ["options.on_refresh: function expected, got string"] = { on_refresh = "secret-12345" },
      ["options.refresh_tokn: unknown field; did you mean 'refresh_token'?"] = { refresh_tokn = "secret-12345" },
      ["options.rate: unknown field"] = { rate = "secret-12345" },
      ["options.proxy: string expected, got number"] = { proxy = 12345 },
      ["options.base_url: must begin with https:// (http:// is for this machine only, or with allow_http = true)"] =
        { base_url = "http://secret-12345.example" },
      ['options.loop: "luv", "cqueues", "ngx" or a table with functions watch and suspend expected, got "x"'] =
        { loop = "x" },
    } do
      local ok, message = pcall(function() return assoc.oauth(options_of("x", changes)), 1 end)
      assert.is_false(ok)
      assert.equal("bad argument #1 to 'oauth' (" .. expected .. ")", message:match "^.*oauth_spec%.lua:%d+: (.*)$")
      assert.is_nil(message:find("12345", 1, true))
    end
    local ok, message = pcall(function() return assoc.oauth { client_id = "x" }, 1 end)
    assert.is_false(ok)
    assert.matches("options.client_secret: string expected, got nil", message, 1, true)
    ok, message = pcall(function() return assoc:oauth {}, 1 end)
    assert.is_false(ok)
    assert.matches("call it with a dot, assoc.oauth", message, 1, true)
    assert.is_false(pcall(assoc.oauth))
  end)

  it("are taken once: what changes afterwards changes nothing", function()
    local app = new_app()
    local options = options_of(app)
    local oauth = assoc.oauth(options)
    for name in pairs(options) do options[name] = "changed" end
    expect_good(client_of(oauth):get_all_limits())
  end)

  it("may be functions that want a token themselves: they get none while it is asked for", function()
    local app, oauth, inner = new_app(), nil, nil
    oauth = assoc.oauth(options_of(app, { on_event = function() inner = { n = 2, oauth() } end }))
    assert.is_string(oauth())
    assert.same({ n = 2, nil, "a token is being asked for already, by a caller of this call" }, inner)
    assert.same({ 1, 0 }, counts(app))
  end)

  it("of the client are used", function()
    local events, app = {}, new_app()
    local oauth = assoc.oauth(options_of(app, { user_agent = "my-app/1", on_event = function(event)
      events[#events + 1] = event.type .. " " .. event.call
    end }))
    assert(oauth())
    assert.same({ "attempt oauth", "done oauth" }, events)
    assert.matches("my%-app/1$", simulator.log(app)[1].headers["user-agent"])
  end)
end)

describe("what is secret", function()
  local SECRETS = { "sec/ret-one", "ref resh-two", "co+de-three", "ver&ifier-four" }
  local AS_SENT = { "sec%2Fret-one", "ref%20resh-two", "co%2Bde-three", "ver%26ifier-four" }

  local function expect_none(value)
    for i, secret in ipairs(SECRETS) do
      assert.is_nil(binding.find_text(value, secret))
      assert.is_nil(binding.find_text(value, AS_SENT[i]))
    end
  end

  teardown(fault_server.stop_all)

  it("is in no field of the object, nor in its text", function()
    local oauth = assoc.oauth(options_of("x", { client_secret = SECRETS[1], refresh_token = SECRETS[2] }))
    assert.equal("hubspot_assoc.oauth", tostring(oauth))
    expect_none(oauth)
    for _, value in pairs(oauth) do assert.equal("function", type(value)) end
    assert.is_string(getmetatable(oauth))
  end)

  it("is masked in errors and events where a server repeats it", function()
    for _, answer in ipairs {
      { 400, '{"error":"invalid_request","error_description":"@","message":"@","x":["@"]}' },
      { 400, '{"error":"invalid_grant","message":"@"}' }, { 400, "@" }, { 500, "@" }, { 502, "<html>@" },
      { 200, "<html>@" }, { 200, '{"errors":[{"message":"@"}]}' }, { 302, "@" },
    } do
      local server = fault_server.start { "answers.repeating", answer[1], answer[2] }
      local events = {}
      local oauth = assoc.oauth(options_of("x", { base_url = server.url, client_secret = SECRETS[1],
        refresh_token = SECRETS[2], on_event = function(event) events[#events + 1] = event end }))
      local _, problem = oauth()
      expect_none(problem)
      assert.matches("oauth", tostring(problem))
      local _, errors, response = client_of(oauth):get_all_limits()
      expect_none(errors)
      expect_none(response)
      _, errors = oauth:exchange(SECRETS[3], "https://example.com/", SECRETS[4])
      expect_none(errors)
      expect_none(events)
      server:stop()
    end
  end)

  it("reaches no transport, which may be a recorder", function()
    local requests = {}
    local oauth = assoc.oauth { client_id = "the app", client_secret = SECRETS[1], refresh_token = SECRETS[2],
      base_url = "https://api.hubapi.com",
      transport = function(request)
        requests[#requests + 1] = request
        return { status = 200, body = '{"access_token":"pat-simulator-1","expires_in":1800}' }
      end }
    assert.equal("pat-simulator-1", oauth())
    assert.equal("pat-simulator-1", assert(oauth:exchange(SECRETS[3], "https://example.com/", SECRETS[4])).access_token)
    expect_none(requests)
    assert.same({ "POST", "https://api.hubapi.com/oauth/2026-09/token",
      "grant_type=refresh_token&client_id=the%20app&client_secret=*************&refresh_token=**************",
      "application/x-www-form-urlencoded" },
      { requests[1].method, requests[1].url, requests[1].body, requests[1].headers["Content-Type"] })
    assert.is_nil(requests[1].headers.Authorization)
  end)
end)

describe("a table as a token function", function()
  it("is one if it can be called", function()
    local token, calls = simulator.token(), 0
    local provider = setmetatable({}, { __metatable = "mine", __call = function(self, ...)
      calls = calls + 1
      assert.equal("table", type(self))
      local left = select(3, ...)
      assert.same({ n = 3, nil, nil, left }, { n = select("#", ...), ... })
      assert.is_true(left > 0 and left <= 120)
      return token
    end })
    for _, module in ipairs { assoc, core } do
      expect_good(module.new(binding.options { base_url = simulator.url, access_token = provider }):get_all_limits())
    end
    assert.equal(2, calls)
  end)

  it("is refused otherwise, and no metamethod runs", function()
    local function never() error "a metamethod has run" end
    for _, value in ipairs { {}, setmetatable({}, { __call = {} }),
      setmetatable({}, setmetatable({}, { __index = never })),
      setmetatable({}, { __index = never, __pairs = never, __len = never, __tostring = never }) } do
      for _, module in ipairs { assoc, core } do
        local ok, message = pcall(module.new, { access_token = value })
        assert.is_false(ok)
        assert.matches("options.access_token: string or function expected, got table", message, 1, true)
      end
    end
  end)
end)

for _, entry in ipairs(hosts) do
  local name, new_host, library = entry[1], entry[2], entry[3]
  if hosts.has(library) then
    describe("OAuth in " .. name, function()
      local host, app
      before_each(function()
        host, app = new_host(), new_app { rotate = true }
      end)

      -- Starts n coroutines that make a call each, with so many clients that share this; how many have gone well.
      local function start(oauth, n, nclients)
        local clients, good = {}, { n = 0 }
        for i = 1, nclients do clients[i] = client_of(oauth, { loop = host.loop }) end
        for i = 1, n do
          host.start(function()
            local results, errors = clients[i % nclients + 1]:get_all_limits()
            expect_good(results, errors)
            good.n = good.n + 1
          end)
        end
        return good
      end

      it("asks once for all who wait, and others go on meanwhile", function()
        local told, ticks = 0, 0
        local oauth = assoc.oauth(options_of(app, { on_refresh = function()
          told = told + 1
          local before = ticks
          host.sleep(0.3)
          assert.is_true(ticks > before)
        end }))
        simulator.fault(app, { delay = 0.3 })
        local good = start(oauth, 12, 3)
        host.start(function()
          while good.n < 12 do
            ticks = ticks + 1
            host.sleep(0.02)
          end
        end)
        host.run()
        assert.same({ 12, 1 }, { good.n, told })
        assert.same({ 1, 12 }, counts(app))
        assert.is_true(ticks > 10)
      end)

      it("asks once more for all whose token has expired", function()
        local oauth = assoc.oauth(options_of(app))
        local good = start(oauth, 4, 2)
        host.run()
        simulator.control("oauth", { token = app, expire = true })
        local more = start(oauth, 8, 2)
        host.run()
        assert.same({ 4, 8 }, { good.n, more.n })
        assert.equal(2, counts(app)[1])
      end)

      it("keeps nobody waiting while the old token is good", function()
        local oauth_new, forward = with_clock()
        local is_first, order = true, {}
        local oauth = oauth_new(options_of(app, { on_refresh = function()
          if not is_first then
            host.sleep(0.5)
            order[#order + 1] = "refreshed"
          end
          is_first = false
        end }))
        local client = client_of(oauth, { loop = host.loop })
        host.start(function() expect_good(client:get_all_limits()) end)
        host.run()
        forward(1750)
        host.start(function() expect_good(client:get_all_limits()) end)
        local other = client_of(oauth, { loop = host.loop })
        host.start(function()
          host.sleep(0.05)
          expect_good(other:get_all_limits())
          order[#order + 1] = "not waited"
        end)
        host.run()
        assert.same({ "not waited", "refreshed" }, order)
        assert.same({ 2, 3 }, counts(app))
      end)

      it("fails for all who wait, and goes on with the next call", function()
        local oauth = assoc.oauth(options_of(app))
        local client, other, failed = client_of(oauth, { loop = host.loop }), client_of(oauth, { loop = host.loop }), 0
        simulator.fault(app, { status = 503, delay = 0.2 })
        for _, one in ipairs { client, client, other, other } do
          host.start(function()
            local _, errors = one:get_all_limits()
            assert.is_true(errors[1].retryable)
            failed = failed + 1
          end)
        end
        host.run()
        assert.equal(4, failed)
        assert.same({ 1, 0 }, counts(app))
        local good = start(oauth, 1, 1)
        host.run()
        assert.equal(1, good.n)
      end)

      it("takes no longer than a call has, and takes nobody along whose time is longer", function()
        local oauth = assoc.oauth(options_of(app))
        local client, other = client_of(oauth, { loop = host.loop }), client_of(oauth, { loop = host.loop })
        simulator.fault(app, { delay = 1 })
        local log = {}
        local function start_call(one, deadline)
          host.start(function()
            local _, errors = one:get_all_limits { deadline = deadline }
            log[#log + 1] = errors and errors[1].kind or "good"
          end)
        end
        start_call(client, 0.2)
        start_call(client, 20)
        start_call(other, 0.2)
        start_call(client, 20)
        start_call(other, 20)
        host.run()
        assert.same({ "timeout", "timeout", "good", "good", "good" }, log)
        assert.same({ 1, 3 }, counts(app))
      end)

      it("goes on when all who wait for it have died", function()
        if not coroutine.close or name ~= "luv" then return end -- nobody can kill one otherwise
        local told = 0
        local oauth = assoc.oauth(options_of(app, { on_refresh = function() told = told + 1 end }))
        local client = client_of(oauth, { loop = host.loop })
        simulator.fault(app, { delay = 0.3 })
        local thread = host.start(function() client:get_all_limits() end)
        host.start(function()
          host.sleep(0.05)
          coroutine.close(thread)
          host.sleep(1)
          client:close()
        end)
        host.run()
        assert.equal(1, told)
        assert.same({ 1, 0 }, counts(app))
        assert.is_string(oauth())
        assert.same({ 1, 0 }, counts(app))
      end)

      it("also serves who can only block meanwhile", function()
        local oauth = assoc.oauth(options_of(app))
        simulator.fault(app, { delay = 0.2 })
        local good = start(oauth, 3, 1)
        expect_good(client_of(oauth):get_all_limits())
        host.run()
        assert.equal(3, good.n)
        assert.same({ 1, 4 }, counts(app))
      end)

      it("goes on when the one who works on it dies", function()
        if not coroutine.close or name ~= "luv" then return end -- nobody can kill one otherwise
        local stuck
        local oauth = assoc.oauth(options_of(app, { on_refresh = function()
          if stuck then return end
          stuck = coroutine.running()
          coroutine.yield()
        end }))
        local first, second = client_of(oauth, { loop = host.loop }), client_of(oauth, { loop = host.loop })
        local good
        host.start(function() first:get_all_limits() end)
        host.start(function()
          while not stuck do host.sleep(0.01) end
          host.start(function()
            good = #second:get_all_limits()
            first:close()
          end)
          coroutine.close(stuck)
        end)
        host.run()
        assert.equal(7, good)
        assert.equal(1, counts(app)[1])
      end)
    end)
  end
end

describe("examples/oauth.lua", function()
  it("keeps the refresh token in a file that nobody else can read", function()
    local app, path = new_app { rotate = true }, os.tmpname()
    os.remove(path)

    -- What it prints, also on stderr.
    local function run(...)
      local words = { "HUBSPOT_CLIENT_ID=" .. app, "HUBSPOT_CLIENT_SECRET=simulator",
        "HUBSPOT_BASE_URL=" .. simulator.url, os.getenv "LUA", "examples/oauth.lua", path, ... }
      local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1"))
      local output = pipe:read "*a"
      pipe:close()
      return output
    end

    local function kept()
      local pipe = assert(io.popen(("stat -c %%a %s; cat %s; ls %s.* 2>/dev/null"):format(path, path, path)))
      local mode, token = pipe:read("*l", "*a")
      pipe:close()
      assert.equal("600", mode)
      return token
    end

    assert.matches("there is no refresh token:", run())
    assert.matches("invalid_grant", run("none", "https://example.com/"))
    assert.equal("4 association types from contacts to companies\n", run("simulator-code", "https://example.com/"))
    local first = kept()
    assert.matches("^simulator%-refresh%-%x+$", first)
    assert.equal("4 association types from contacts to companies\n", run())
    local second = kept()
    assert.matches("^simulator%-refresh%-%x+$", second)
    assert.not_equal(first, second)
    assert.equal("4 association types from contacts to companies\n", run())
    os.remove(path)
  end)
end)
