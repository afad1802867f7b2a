-- Clients: options, the environment, several of them, and their end.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local simulator = require "spec.support.simulator"
local tune = require "spec.support.collector"

local limit = binding.limit

-- Prints what came of one call of the default client: the number of results, then the errors.
local CALL = [[
  local assoc = require "hubspot_assoc"
  local ok, results, errors, response = pcall(assoc.get_all_limits)
  print(ok, ok and results and #results, errors and errors[1].kind, errors and errors[1].attempts, response)
  print(ok and errors or "")]]

describe("the default client", function()
  local environment

  before_each(function()
    environment = { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url }
  end)

  local function logged_path()
    return simulator.log(environment.HUBSPOT_ACCESS_TOKEN)[1].path
  end

  -- The call came back with an error of kind config that says this.
  local function fails_with(...)
    local output = binding.run(CALL, environment)
    assert.matches("^true\tnil\tconfig\t0\tnil\n", output)
    for _, part in ipairs { ... } do
      assert.is_true(output:find(part, 1, true) ~= nil, ("%q is not in %q"):format(part, output))
    end
  end

  it("is made from the environment", function()
    assert.matches("^true\t7\tnil\tnil\ttable: ", binding.run(CALL, environment))
    assert.equal("/crm/associations/v4/definitions/configurations/all", logged_path())
  end)

  it("has the environment's API version", function()
    environment.HUBSPOT_API_VERSION = "2026-03"
    assert.matches("^true\t7\t", binding.run(CALL, environment))
    assert.equal("/crm/associations/2026-03/definitions/configurations/all", logged_path())
  end)

  it("takes an empty variable for none", function()
    environment.HUBSPOT_API_VERSION = ""
    assert.matches("^true\t7\t", binding.run(CALL, environment))
  end)

  it("says what to do without a token", function()
    for _, token in ipairs { false, "" } do
      environment.HUBSPOT_ACCESS_TOKEN = token or nil
      fails_with("HUBSPOT_ACCESS_TOKEN", "access_token", "env HUBSPOT_ACCESS_TOKEN;")
    end
  end)

  it("names the variable that cannot be used", function()
    local good = environment
    for name, values in pairs {
      HUBSPOT_BASE_URL = { "http://api.example", "nonsense", "ftp://127.0.0.1", "https://u:p@h" },
      HUBSPOT_API_VERSION = { "v3", "latest", "2024-01" },
      HUBSPOT_ACCESS_TOKEN = { "pat-x\n", "a\r\nb", "\195\164" },
    } do
      for _, value in ipairs(values) do
        environment = setmetatable({}, { __index = good })
        for key, known in pairs(good) do environment[key] = known end
        environment[name] = value
        fails_with(name)
      end
    end
  end)

  it("shows no token where that cannot be used", function()
    environment.HUBSPOT_ACCESS_TOKEN = "pat-secret\n"
    assert.is_nil(binding.run(CALL, environment):find("pat-secret", 1, true))
  end)

  it("sees a token that is set after it failed for want of one", function()
    local token = environment.HUBSPOT_ACCESS_TOKEN
    environment.HUBSPOT_ACCESS_TOKEN = nil
    environment.TOKEN = token
    local output = binding.run([[
      local ok, uv = pcall(require, "luv")
      local setenv = ok and uv.os_setenv
      if not setenv and rawget(_G, "jit") then
        local ffi = require "ffi"
        ffi.cdef "int setenv(const char *, const char *, int);"
        setenv = function(name, value) ffi.C.setenv(name, value, 1) end
      end
      if not setenv then print "no setenv" return end
      local assoc = require "hubspot_assoc"
      local client = assoc.new()
      for _, get in ipairs { assoc.get_all_limits, function() return client:get_all_limits() end } do
        print(select(2, get())[1].kind)
      end
      setenv("HUBSPOT_ACCESS_TOKEN", os.getenv "TOKEN")
      print(#assoc.get_all_limits(), #client:get_all_limits())]], environment)
    if output == "no setenv" then
      pending "this Lua has nothing here that changes the environment"
    else
      assert.equal("config\nconfig\n7\t7", output)
    end
  end)

  it("can be replaced after a failure", function()
    local output = binding.run([[
      local assoc = require "hubspot_assoc"
      print(select(2, assoc.get_all_limits())[1].kind)
      assoc.configure { access_token = os.getenv "TOKEN", base_url = os.getenv "URL" }
      print(#assoc.get_all_limits())]],
      { TOKEN = environment.HUBSPOT_ACCESS_TOKEN, URL = simulator.url, HUBSPOT_BASE_URL = "nonsense" })
    assert.equal("config\n7", output)
  end)

  it("has options that go before the environment, one by one", function()
    local other = simulator.token()
    environment.OTHER = other
    environment.HUBSPOT_API_VERSION = "nonsense"
    local output = binding.run([[
      local assoc = require "hubspot_assoc"
      assoc.configure { access_token = os.getenv "OTHER", api_version = "2026-09" }
      print(#assoc.get_all_limits())]], environment)
    assert.equal("7", output)
    assert.equal("/crm/associations/2026-09/definitions/configurations/all", simulator.log(other)[1].path)
    assert.equal(0, simulator.log(environment.HUBSPOT_ACCESS_TOKEN).count)
  end)

  it("raises for misuse even where the environment is unusable", function()
    local output = binding.run([[
      local assoc = require "hubspot_assoc"
      print(pcall(assoc.batch_update, "contacts", 5, {}))]], { HUBSPOT_BASE_URL = "nonsense" })
    assert.matches("^false\t.*bad argument #2 to 'batch_update'", output)
  end)

  it("is one for all: two calls share its connection", function()
    local output = binding.run(CALL .. CALL, environment)
    assert.equal(2, select(2, output:gsub("true\t7", "")))
    local log = simulator.log(environment.HUBSPOT_ACCESS_TOKEN)
    assert.equal(log[1].connection, log[2].connection)
  end)

  it("is not made, and no environment read, before the first call", function()
    local output = binding.run([[
      require "hubspot_assoc"
      print "loaded"]], { HUBSPOT_BASE_URL = "nonsense", HUBSPOT_API_VERSION = "nonsense" })
    assert.equal("loaded", output)
  end)
end)

describe("a client made with assoc.new", function()
  teardown(fault_server.stop_all)

  it("takes what it is not told from the environment", function()
    local token = simulator.token()
    local output = binding.run('print(#require "hubspot_assoc".new():get_all_limits())',
      { HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = simulator.url })
    assert.equal("7", output)
  end)

  it("is made, and its calls fail, where the environment is unusable", function()
    local output = binding.run([[
      local client = require "hubspot_assoc".new { access_token = "pat-x" }
      local _, errors = client:get_all_limits()
      print(errors[1].kind, errors[1].message)]], { HUBSPOT_BASE_URL = "http://hubspot.example" })
    assert.matches("^config\t.*HUBSPOT_BASE_URL", output)
  end)

  -- Else they would go to HubSpot, with the token, though they were meant for another host.
  it("is made, and its calls fail, where the environment is unusable and memory runs out for saying so", function()
    local report = child.run({ HUBSPOT_BASE_URL = "http://hubspot.example",
      LD_PRELOAD = child.preload(child.shared_object "no_copies") }, [[
      local client = require "hubspot_assoc".new { access_token = "pat-x", connect_timeout = 1, max_attempts = 1 }
      local _, errors = client:get_all_limits()
      return errors[1].kind, errors[1].message ]])
    assert.same({ "config", "0" }, { report[1], report.status })
    assert.matches("HUBSPOT_BASE_URL", report[2])
  end)

  it("has every call as a method", function()
    local client = assoc.new { access_token = "pat-x" }
    for _, name in ipairs { "batch_update", "batch_create", "batch_purge", "get_limits", "get_all_limits" } do
      assert.is_function(client[name])
      assert.is_function(assoc[name])
    end
    assert.is_nil(client.batch_updat)
  end)

  it("keeps to its base_url's prefix, with or without a slash at the end", function()
    for _, prefix in ipairs { "", "/", "/prefix", "/prefix/", "/a/b%20c/", "/prefix//" } do
      local server = fault_server.start(faults.none)
      local client = assoc.new(binding.options { base_url = server.url .. prefix, access_token = "pat-x" })
      local _, errors = client:get_limits("contacts", "companies")
      assert.is_nil(errors)
      assert.equal(prefix:gsub("/+$", "") .. "/crm/associations/v4/definitions/configurations/contacts/companies",
        server:stop()[1].path)
    end
  end)

  it("does not depend on its options' table once it is made", function()
    local options = binding.simulator_options()
    local client = assoc.new(options)
    for name in pairs(options) do options[name] = nil end
    options.access_token = {}
    collectgarbage()
    assert.equal(7, #(client:get_all_limits()))
  end)

  it("leaves its options as they were", function()
    local options = binding.options { access_token = "pat-x", rate = { requests = 5, interval = 1 } }
    local rate = options.rate
    assoc.new(options)
    assert.same({ rate = { requests = 5, interval = 1 }, max_attempts = 1, access_token = "pat-x" }, options)
    assert.equal(rate, options.rate)
    assert.is_nil(getmetatable(options))
  end)

  it("stands beside others, each with its own token and version", function()
    local first, first_token = binding.client { api_version = "2025-09" }
    local second, second_token = binding.client { api_version = "2026-09" }
    for value = 101, 105 do
      assert(first:batch_update("contacts", "companies", { limit { maxToObjectIds = value } }))
      assert(second:batch_update("contacts", "companies", { limit { maxToObjectIds = value + 100 } }))
    end
    local function limit_of(client)
      for _, result in ipairs((client:get_limits("contacts", "companies"))) do
        if result.typeId == 279 then return result.userEnforcedMaxToObjectIds end
      end
    end
    assert.same({ 105, 205 }, { limit_of(first), limit_of(second) })
    for token, version in pairs { [first_token] = "2025%-09", [second_token] = "2026%-09" } do
      local log = simulator.log(token)
      assert.equal(6, log.count)
      for _, call in ipairs(log) do assert.matches("/" .. version .. "/", call.path) end
    end
  end)

  it("is not the default client, but assoc.configure returns that", function()
    local options, default_token = binding.simulator_options()
    local default = assoc.configure(options)
    local other, token = binding.simulator_options()
    assoc.new(other)
    assoc.get_all_limits()
    default:get_all_limits()
    assert.equal(0, simulator.log(token).count)
    assert.equal(2, simulator.log(default_token).count)
  end)

  it("says who it is, with what the user adds", function()
    local client, server = binding.scripted(faults.none, { user_agent = "my-app/1.0 (me@example.com)" })
    client:get_all_limits()
    local agent = server:stop()[1].headers["user-agent"]
    assert.equal("hubspot_assoc/" .. assoc._VERSION, agent:match "^(%S+) ")
    assert.matches(" my%-app/1%.0 %(me@example%.com%)$", agent)
  end)

  it("asks for JSON", function()
    local client, server = binding.scripted(faults.none)
    client:batch_update("contacts", "companies", { limit() })
    client:get_all_limits()
    local seen = server:stop()
    assert.same({ "application/json", "application/json" }, { seen[1].headers.accept, seen[2].headers.accept })
    assert.equal("application/json", seen[1].headers["content-type"])
    assert.is_nil(seen[2].headers["content-type"])
    assert.equal("", seen[2].body)
    assert.is_nil(seen[1].headers.expect)
  end)

  it("takes api_version in every form there is", function()
    for _, version in ipairs { "v4", "2025-09", "2025-10", "2026-01", "2026-12", "2030-06", "9999-12" } do
      local client, server = binding.scripted(faults.none, { api_version = version })
      local _, errors = client:get_all_limits()
      assert.is_nil(errors)
      assert.equal("/crm/associations/" .. version .. "/definitions/configurations/all", server:stop()[1].path)
    end
  end)
end)

describe("a limit in time or number", function()
  teardown(fault_server.stop_all)

  local function attempts_of(fault, changes, call_options)
    local client, token = binding.client(changes)
    fault.times = 20
    simulator.fault(token, fault)
    local _, errors, response = client:get_all_limits(call_options)
    return errors[1], response, simulator.log(token).count
  end

  it("is 4 attempts where none is told", function()
    local options, token = binding.simulator_options()
    options.max_attempts = nil
    simulator.fault(token, { status = 503, retry_after = 0, times = 20 })
    local _, errors = assoc.new(options):get_all_limits()
    assert.equal(4, errors[1].attempts)
    assert.equal(4, simulator.log(token).count)
  end)

  it("is the client's, or the call's where that has its own", function()
    local fault = { status = 503, retry_after = 0 }
    assert.equal(2, attempts_of(fault, { max_attempts = 2 }).attempts)
    assert.equal(1, attempts_of(fault, { max_attempts = 3 }, { max_attempts = 1 }).attempts)
    assert.equal(3, attempts_of(fault, { max_attempts = 1 }, { max_attempts = 3 }).attempts)
  end)

  it("is the deadline of the call", function()
    local fault = { status = 503, retry_after = 30 }
    local err = attempts_of(fault, { max_attempts = 4, deadline = 5 })
    assert.same({ 1, 30 }, { err.attempts, err.retry_after })
    err = attempts_of(fault, { max_attempts = 4 }, { deadline = 5 })
    assert.same({ 1, 30 }, { err.attempts, err.retry_after })
  end)

  it("is the time of one attempt", function()
    local err, response, count = attempts_of({ delay = 3 }, { timeout = 0.15, max_attempts = 1 })
    assert.same({ "timeout", 1, 1 }, { err.kind, err.attempts, count })
    assert.is_nil(response)
    err = attempts_of({ delay = 3 }, { max_attempts = 1 }, { timeout = 0.15 })
    assert.equal("timeout", err.kind)
  end)

  it("is the client's rate", function()
    local client = binding.client { rate = { requests = 2, interval = 0.3 } }
    local elapsed = {}
    for i = 1, 3 do
      local _, _, response = client:get_all_limits()
      elapsed[i] = response.elapsed
    end
    assert.is_true(elapsed[1] < 0.25 and elapsed[2] < 0.25)
    assert.is_true(elapsed[1] + elapsed[2] + elapsed[3] >= 0.29)
  end)

  it("is at once an error where the rate lets nothing be sent before the deadline", function()
    local client, token = binding.client { rate = { requests = 1, interval = 60 }, deadline = 1 }
    assert(client:get_all_limits())
    local results, errors = client:get_all_limits()
    assert.is_nil(results)
    assert.same({ "throttled", 0, true }, { errors[1].kind, errors[1].attempts, errors[1].retryable })
    assert.is_true(errors[1].retry_after > 50 and errors[1].retry_after < 62)
    assert.equal(1, simulator.log(token).count)
  end)
end)

describe("collecting garbage", function()
  teardown(fault_server.stop_all)

  it("ends clients that nobody needs", function()
    local options = binding.simulator_options()
    local watched = setmetatable({}, { __mode = "k" })
    for _ = 1, 200 do
      local client = assoc.new(options)
      watched[client] = true
    end
    local used = assoc.new(options)
    watched[used] = true
    assert.equal(7, #(used:get_all_limits()))
    used = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(watched))
  end)

  it("closes a client's connections with it", function()
    local server = fault_server.start "bodies.closed"
    local function closed()
      local client = assoc.new(binding.options { base_url = server.url, access_token = "pat-x" })
      local results = client:get_all_limits()
      return results[1].closed
    end
    assert.equal(0, closed())
    collectgarbage()
    collectgarbage()
    assert.equal(1, closed())
    server:stop()
  end)

  it("leaves a client alone while its call is under way", function()
    local token = simulator.token()
    local thread = coroutine.create(function()
      return assoc.new(binding.simulator_options { access_token = function()
        return coroutine.yield()
      end }):get_all_limits()
    end)
    assert(coroutine.resume(thread))
    for _ = 1, 5 do collectgarbage() end
    local _, results = coroutine.resume(thread, token)
    assert.equal(7, #results)
  end)

  it("may happen at any moment of a call", function()
    local client = binding.client { on_event = function() end }
    -- LuaJIT's compiled code leaves for each step of a collector that is always due, and comes no further.
    local jit = rawget(_G, "jit")
    if jit then jit.off() end
    local pause, step = tune("pause", 0), tune("stepmul", 100000)
    local ok, problem = pcall(function()
      for round = 1, 20 do
        local results, errors, response = client:batch_update("contacts", "companies",
          { limit { maxToObjectIds = 100 + round }, limit { typeId = 99 } }, { timeout = 5 })
        assert(#results == 1 and results[1].userEnforcedMaxToObjectIds == 100 + round)
        assert(errors[1].category == "OBJECT_NOT_FOUND" and #tostring(errors) > 10)
        assert(response.http_status == 207)
        pcall(client.batch_update, client, "contacts", "companies", { { category = {}, round = round } })
        local other = assoc.new { access_token = "pat-x" .. round }
        assert(#tostring(other) > 0)
      end
    end)
    tune("pause", pause)
    tune("stepmul", step)
    if jit then jit.on() end
    assert.is_true(ok, tostring(problem))
  end)

  it("does not grow with the number of calls", function()
    local client, token = binding.client()
    simulator.control("rate", { token = token, max = 100000 })
    local function calls(n)
      for _ = 1, n do client:batch_update("contacts", "companies", { limit(), limit { typeId = 99 } }) end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    calls(50)
    local before = calls(50)
    local after = calls(300)
    assert.is_true(after - before < 20, ("%.1f KiB more"):format(after - before))
  end)
end)

describe("the end of the Lua state", function()
  it("ends clients, calls and connections in whatever order", function()
    local output = binding.run([[
      assoc = require "hubspot_assoc"
      client = assoc.new { access_token = function() return coroutine.yield() end }
      warm = assoc.new { access_token = os.getenv "TOKEN" }
      assert(warm:get_all_limits())
      threads = {}
      for i = 1, 10 do
        threads[i] = coroutine.create(function() return client:get_all_limits() end)
        assert(coroutine.resume(threads[i]))
      end
      kept = { warm:get_limits("contacts", "nothing") }
      print(kept[2][1].http_status)]], { TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url })
    assert.equal("400", output)
  end)

  it("may come in the middle of a call", function()
    local output = binding.run([[
      local assoc = require "hubspot_assoc"
      local client = assoc.new { access_token = function() print "bye" os.exit(0, true) end }
      client:get_all_limits()
      print "not reached"]], { HUBSPOT_BASE_URL = simulator.url })
    assert.equal("bye", output)
  end)
end)
