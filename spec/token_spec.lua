-- Access tokens: a string, or a function that gives one.
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"

local limit = binding.limit

-- A token function that answers with these tokens in turn, and the list of what it was called with.
local function giving(...)
  local tokens, reasons = { ... }, {}
  return function(...)
    reasons[#reasons + 1] = { n = select("#", ...), ... }
    return tokens[#reasons] or tokens[#tokens]
  end, reasons
end

-- The ways to make a client: of hubspot_assoc, of hubspot_assoc.core.
for _, module in ipairs { { "hubspot_assoc", assoc }, { "hubspot_assoc.core", core } } do
  local new = module[2].new

  local function client_with(access_token, changes)
    local options = binding.simulator_options(changes)
    options.access_token = access_token
    return new(options)
  end

  -- The only error of a call that was not sent for want of a token.
  local function config_error(client, ...)
    local results, errors, response = client:batch_update("contacts", "companies", { limit() }, ...)
    assert.is_nil(results)
    assert.is_nil(response)
    assert.equal(1, #errors)
    assert.same({ "config", 0 }, { errors[1].kind, errors[1].attempts })
    return errors[1].message
  end

  describe("a token function of " .. module[1], function()
    teardown(fault_server.stop_all)

    it("is asked before a request, with no reason", function()
      local token = simulator.token()
      local give, reasons = giving(token)
      local results, errors = client_with(give):get_all_limits()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.same({ { n = 1 } }, reasons)
      assert.equal(1, simulator.log(token).count)
    end)

    it("is not asked before there is a call, nor for empty inputs", function()
      local give, reasons = giving "x"
      local client = client_with(give)
      client:batch_update("contacts", "companies", {})
      assert.same({}, reasons)
    end)

    it("gives a token without blanks, and so does who gives a string", function()
      for _, token in ipairs { " ", "Bearer pat-x", "pat-x " } do
        assert.matches("^the token function's token must have no blanks in it %(give the token alone",
          config_error(client_with(function() return token end)))
        local ok, problem = pcall(client_with, token)
        assert.is_false(ok)
        assert.matches("access_token: must have no blanks in it", problem, 1, true)
      end
    end)

    it("is asked anew for every call", function()
      local first, second = simulator.token(), simulator.token()
      local client = client_with((giving(first, second)))
      client:get_all_limits()
      client:get_all_limits()
      assert.equal(1, simulator.log(first).count)
      assert.equal(1, simulator.log(second).count)
    end)

    it("is asked for every request of a split batch", function()
      local tokens = { simulator.token(), simulator.token(), simulator.token() }
      local give, reasons = giving(tokens[1], tokens[2], tokens[3])
      local _, errors, response = client_with(give):batch_update("contacts", "companies",
        { limit(), limit(), limit() }, { batch_size = 1 })
      assert.equal(3, #response.requests)
      assert.equal(3, #errors) -- 5 is below a label's limit: not what this is about
      assert.equal(3, #reasons)
      for _, token in ipairs(tokens) do assert.equal(1, simulator.log(token).count) end
    end)

    it("is asked once more when the token has expired, and told so", function()
      local old, new_token = simulator.token "expired", simulator.token()
      local give, reasons = giving(old, new_token)
      local results, errors, response = client_with(give, { max_attempts = 4 }):get_all_limits()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.equal(2, response.attempts)
      assert.same({ { n = 1 }, { n = 2, "expired", old } }, reasons)
      assert.equal(1, simulator.log(old).count)
      assert.equal(1, simulator.log(new_token).count)
    end)

    it("is asked only once more, even if the second token has expired as well", function()
      local old = simulator.token "expired"
      local give, reasons = giving(old)
      local results, errors, response = client_with(give, { max_attempts = 4 }):get_all_limits()
      assert.is_nil(results)
      assert.same({ "api", 401, "EXPIRED_AUTHENTICATION", 2 },
        { errors[1].kind, errors[1].http_status, errors[1].category, errors[1].attempts })
      assert.equal(401, response.http_status)
      assert.same({ { n = 1 }, { n = 2, "expired", old } }, reasons)
      assert.equal(2, simulator.log(old).count)
    end)

    it("is asked once more for a call that is not idempotent too", function()
      local old, new_token = simulator.token "expired", simulator.token()
      local client = client_with((giving(old, new_token)), { max_attempts = 4 })
      local results, errors = client:batch_create("contacts", "deals", { limit { typeId = 4 } })
      assert.is_nil(errors)
      assert.equal(1, #results)
    end)

    it("is not asked again for another 401 or 403", function()
      for _, token in ipairs { simulator.token "noscope", "unknown" } do
        local give, reasons = giving(token)
        local _, errors = client_with(give, { max_attempts = 4 }):get_all_limits()
        assert.equal(1, errors[1].attempts)
        assert.same({ { n = 1 } }, reasons)
      end
    end)

    it("is not asked again for a retry", function()
      local token = simulator.token()
      local give, reasons = giving(token)
      simulator.fault(token, { status = 503, retry_after = 0, times = 2 })
      local results, errors, response = client_with(give, { max_attempts = 4 }):get_all_limits()
      assert.is_nil(errors)
      assert.equal(7, #results)
      assert.equal(3, response.attempts)
      assert.equal(1, #reasons)
    end)

    it("may give no token and say why", function()
      local message = config_error(client_with(function() return nil, "the vault is sealed" end))
      assert.matches("the vault is sealed", message)
    end)

    it("may give nothing at all, or something that is no token", function()
      for _, give in ipairs { function() end, function() return nil end, function() return false end,
        function() return 5 end, function() return {} end, function() return print end, function() return true end,
        function() return nil, {} end, function() return nil, 5 end, function() return false, "no" end } do
        local message = config_error(client_with(give))
        assert.matches("token", message)
      end
    end)

    it("may fail", function()
      local message = config_error(client_with(function() error "no such vault" end))
      assert.matches("no such vault", message)
      for _, value in ipairs { {}, 5, true } do
        assert.matches("token", config_error(client_with(function() error(value) end)))
      end
      assert.matches("token", config_error(client_with(function() error() end)))
    end)

    it("may fail with an object that prints as text", function()
      local thrown = setmetatable({}, { __tostring = function() error "not even that" end })
      assert.matches("token", config_error(client_with(function() error(thrown) end)))
    end)

    it("gives no token that would break a header", function()
      for _, token in ipairs { "", "a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\195\164", "a\tb" } do
        config_error(client_with(function() return token end))
      end
    end)

    it("is asked again by the next call after it failed", function()
      local token, calls = simulator.token(), 0
      local client = client_with(function()
        calls = calls + 1
        if calls == 1 then error "not yet" end
        return token
      end)
      config_error(client)
      assert.equal(7, #(client:get_all_limits()))
    end)

    it("may give no token after the old one has expired", function()
      local old = simulator.token "expired"
      local client = client_with(function(reason)
        if reason == "expired" then return nil, "the refresh token is revoked" end
        return old
      end, { max_attempts = 4 })
      local results, errors = client:get_all_limits()
      assert.is_nil(results)
      assert.equal("config", errors[1].kind)
      assert.equal(1, errors[1].attempts)
      assert.matches("the refresh token is revoked", errors[1].message)
      assert.equal(1, simulator.log(old).count)
    end)

    it("is not asked for the rest of a batch after it failed", function()
      local token, calls = simulator.token(), 0
      local client = client_with(function()
        calls = calls + 1
        if calls == 2 then return nil, "gone" end
        return token
      end)
      local results, errors, response = client:batch_update("contacts", "deals",
        { limit { typeId = 4 }, limit { typeId = 4 }, limit { typeId = 4 }, limit { typeId = 4 } }, { batch_size = 1 })
      assert.equal(2, calls)
      assert.same({}, results)
      assert.equal(1, simulator.log(token).count)
      assert.equal(1, #response.requests)
      assert.equal(3, #errors) -- HubSpot's about input 1, the token's about input 2, the rest
      assert.same({ "config", 0, 2, 2 }, { errors[2].kind, errors[2].attempts, errors[2].first, errors[2].last })
      assert.same({ "config", 0, 3, 4 }, { errors[3].kind, errors[3].attempts, errors[3].first, errors[3].last })
    end)

    it("may make calls of its own with another client", function()
      local inner, outer = simulator.token(), simulator.token()
      local inner_client = client_with(inner)
      local client = client_with(function()
        assert(inner_client:get_all_limits())
        return outer
      end)
      assert.equal(7, #(client:get_all_limits()))
      assert.equal(1, simulator.log(inner).count)
      assert.equal(1, simulator.log(outer).count)
    end)

    it("may collect garbage", function()
      local token = simulator.token()
      local client = client_with(function()
        collectgarbage()
        collectgarbage()
        return token .. ""
      end)
      assert.equal(7, #(client:get_all_limits()))
    end)

    it("may take longer than the deadline", function()
      local client = client_with(function()
        local start = os.clock()
        while os.clock() - start < 0.1 do end -- luacheck: ignore 542
        return simulator.token()
      end, { deadline = 0.02 })
      local results, errors = client:get_all_limits()
      assert.is_nil(results)
      assert.same({ "timeout", 0 }, { errors[1].kind, errors[1].attempts })
    end)
  end)

  describe("a token that is a string, of " .. module[1] .. ",", function()
    it("is used as it is, and not refreshed", function()
      local token = simulator.token "expired"
      local _, errors = client_with(token, { max_attempts = 4 }):get_all_limits()
      assert.same({ "EXPIRED_AUTHENTICATION", 1 }, { errors[1].category, errors[1].attempts })
      assert.equal(1, simulator.log(token).count)
    end)

    it("is not refreshed by a 401 in the middle either", function()
      local token = simulator.token()
      simulator.fault(token, { status = 401 })
      local _, errors = client_with(token, { max_attempts = 4 }):get_all_limits()
      assert.same({ 401, 1 }, { errors[1].http_status, errors[1].attempts })
    end)
  end)
end

-- Runs fn in a coroutine, answering each of its yields with what `answer` gives for the yielded values: what fn
-- returned, and how often it yielded.
local function run(fn, answer)
  local thread, yields = coroutine.create(fn), 0
  local function step(ok, ...)
    if not ok then error((...), 0) end
    if coroutine.status(thread) == "dead" then return { n = select("#", ...), ... } end
    yields = yields + 1
    return step(coroutine.resume(thread, answer(...)))
  end
  return step(coroutine.resume(thread)), yields
end

describe("a token function that yields", function()
  teardown(fault_server.stop_all)

  it("is waited for", function()
    local token = simulator.token()
    local client = binding.client { access_token = function(reason)
      local part, more = coroutine.yield("need", reason, "a token")
      return coroutine.yield("and", part, more)
    end }
    local log = {}
    local returned, yields = run(function() return client:get_all_limits() end, function(...)
      log[#log + 1] = { n = select("#", ...), ... }
      if #log == 1 then return "one", nil, "three" end
      return token
    end)
    assert.equal(2, yields)
    assert.same({ { n = 3, "need", nil, "a token" }, { n = 3, "and", "one" } }, log)
    assert.equal(3, returned.n)
    assert.equal(7, #returned[1])
    assert.is_nil(returned[2])
    assert.equal(200, returned[3].http_status)
  end)

  it("is waited for by the module's functions too", function()
    local token = simulator.token()
    assoc.configure(binding.simulator_options { access_token = function() return coroutine.yield() end })
    local returned, yields = run(function() return assoc.get_limits("contacts", "companies") end, function()
      return token
    end)
    assert.equal(1, yields)
    assert.is_nil(returned[2])
  end)

  it("may yield again when the token has expired", function()
    local tokens = { simulator.token "expired", simulator.token() }
    local client = binding.client { max_attempts = 4, access_token = function(reason)
      return coroutine.yield(reason)
    end }
    local reasons = {}
    local returned, yields = run(function() return client:get_all_limits() end, function(reason)
      reasons[#reasons + 1] = reason or "none"
      return tokens[#reasons]
    end)
    assert.equal(2, yields)
    assert.same({ "none", "expired" }, reasons)
    assert.equal(7, #returned[1])
  end)

  it("may yield for every request of a batch", function()
    local token = simulator.token()
    local client = binding.client { access_token = function() return coroutine.yield() end }
    local returned, yields = run(function()
      return client:batch_update("contacts", "companies", { limit(), limit(), limit() }, { batch_size = 1 })
    end, function() return token end)
    assert.equal(3, yields)
    assert.equal(3, #returned[3].requests)
  end)

  it("may fail after a yield", function()
    local client = binding.client { access_token = function()
      coroutine.yield()
      error "lost"
    end }
    local returned = run(function() return client:get_all_limits() end, function() end)
    assert.is_nil(returned[1])
    assert.equal("config", returned[2][1].kind)
    assert.matches("lost", returned[2][1].message)
  end)

  it("may give nil and a message after a yield", function()
    local client = binding.client { access_token = function() return coroutine.yield() end }
    local returned = run(function() return client:get_all_limits() end, function() return nil, "sealed" end)
    assert.equal("config", returned[2][1].kind)
    assert.matches("sealed", returned[2][1].message)
  end)

  it("lets other calls of the same client go on meanwhile", function()
    local token = simulator.token()
    local client = binding.client { access_token = function() return (coroutine.yield()) end }
    local done = {}
    local threads = {}
    for i = 1, 5 do
      threads[i] = coroutine.create(function()
        local results, errors = client:get_all_limits()
        done[#done + 1] = { i, errors == nil and #results }
      end)
      assert(coroutine.resume(threads[i]))
    end
    for _, i in ipairs { 3, 1, 5, 2, 4 } do assert(coroutine.resume(threads[i], token)) end
    assert.same({ { 3, 7 }, { 1, 7 }, { 5, 7 }, { 2, 7 }, { 4, 7 } }, done)
    assert.equal(5, simulator.log(token).count)
  end)

  it("may never be resumed", function()
    for _ = 1, 50 do
      local client = binding.client { access_token = function() return coroutine.yield() end }
      local thread = coroutine.create(function() return client:get_all_limits() end)
      assert(coroutine.resume(thread))
    end
    collectgarbage()
    collectgarbage()
  end)

  it("may be resumed after the deadline", function()
    local token = simulator.token()
    local client = binding.client { deadline = 0.02, access_token = function() return coroutine.yield() end }
    local returned = run(function() return client:get_all_limits() end, function()
      local start = os.clock()
      while os.clock() - start < 0.1 do end -- luacheck: ignore 542
      return token
    end)
    assert.is_nil(returned[1])
    assert.same({ "timeout", 0 }, { returned[2][1].kind, returned[2][1].attempts })
    assert.equal(0, simulator.log(token).count)
  end)

  it("is an error of kind config where nobody can resume it", function()
    -- In the main thread of a child: busted might run a spec in a coroutine.
    local code = [[
      local assoc = require "hubspot_assoc"
      local client = assoc.new { access_token = function() return coroutine.yield() end }
      local ok, results, errors = pcall(client.get_all_limits, client)
      print(ok, results, ok and errors and errors[1].kind)
      local _, again = client:get_all_limits()
      print(again[1].kind)]]
    local output = binding.run(code, { HUBSPOT_BASE_URL = simulator.url })
    assert.equal("true\tnil\tconfig\nconfig", output)
  end)
end)

describe("a token function of hubspot_assoc.core that yields", function()
  it("is an error of kind config: only hubspot_assoc can wait for it", function()
    local options = binding.simulator_options { access_token = function() return coroutine.yield() end }
    local client = core.new(options)
    local thread = coroutine.create(function() return client:get_all_limits() end)
    local _, results, errors = coroutine.resume(thread)
    assert.equal("dead", coroutine.status(thread))
    assert.is_nil(results)
    assert.equal("config", errors[1].kind)
  end)
end)

describe("a token", function()
  teardown(fault_server.stop_all)

  it("is sent as a Bearer token, with nothing around it", function()
    local client, server = binding.scripted(faults.none, { access_token = "pat-na1-~!@#$%^&*()_+{}" })
    client:get_all_limits()
    assert.equal("Bearer pat-na1-~!@#$%^&*()_+{}", server:stop()[1].headers.authorization)
  end)

  it("may be long", function()
    local token = ("x"):rep(4000)
    local client, server = binding.scripted(faults.none, { access_token = token })
    client:get_all_limits()
    assert.equal("Bearer " .. token, server:stop()[1].headers.authorization)
  end)
end)
