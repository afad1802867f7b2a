-- The module as such: what loading it does, and where it works.
local assoc = require "hubspot_assoc"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"

describe("require 'hubspot_assoc'", function()
  it("gives the same module the second time", function()
    assert.equal(assoc, require "hubspot_assoc")
    assert.equal(require "hubspot_assoc.core", require "hubspot_assoc.core")
  end)

  it("names the release", function()
    assert.matches("^%d+%.%d+%.%d+", assoc._VERSION)
  end)

  it("leaves no globals, and loads nothing but what it needs", function()
    local output = binding.run [[
      local globals, loaded = {}, {}
      for name in pairs(_G) do globals[name] = true end
      for name in pairs(package.loaded) do loaded[name] = true end
      require "hubspot_assoc"
      local more = {}
      for name in pairs(_G) do more[#more + 1] = not globals[name] and "global " .. name or nil end
      for name in pairs(package.loaded) do more[#more + 1] = not loaded[name] and name or nil end
      table.sort(more)
      print(table.concat(more, ", "))]]
    assert.equal("cjson, hubspot_assoc, hubspot_assoc.call, hubspot_assoc.client, hubspot_assoc.core, "
      .. "hubspot_assoc.future, hubspot_assoc.pcall, hubspot_assoc.scheduler", output)
  end)

  it("changes nothing that is there", function()
    local output = binding.run [[
      local before = {}
      for _, module in ipairs { _G, string, table, math, io, os, coroutine, package, debug } do
        for name, value in pairs(module) do before[#before + 1] = { module, name, value } end
      end
      local mt = getmetatable ""
      require "hubspot_assoc"
      for _, place in ipairs(before) do assert(rawequal(place[1][place[2] ], place[3]), place[2]) end
      assert(getmetatable "" == mt and not getmetatable(nil) and not getmetatable(print))
      print "same"]]
    assert.equal("same", output)
  end)

  it("runs in an environment without most of the standard library", function()
    local output = binding.run([[
      local print, keep = print, { "require", "package", "setmetatable", "getmetatable", "pcall", "type", "pairs",
        "error", "tostring", "rawget", "rawequal", "rawset", "select", "_VERSION", "coroutine", "jit", "string", "_G" }
      local kept = {}
      for _, name in ipairs(keep) do kept[name] = _G[name] end
      for name in pairs(_G) do if kept[name] == nil then _G[name] = nil end end
      print(#require "hubspot_assoc".get_all_limits())]],
      { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url })
    assert.equal("7", output)
  end)

  it("works when it is loaded inside a coroutine that ends", function()
    local output = binding.run([[
      local assoc
      coroutine.wrap(function()
        assoc = require "hubspot_assoc"
        assert(assoc.get_all_limits())
      end)()
      for _ = 1, 3 do collectgarbage() end
      print(#assoc.get_all_limits())
      print(coroutine.wrap(function() return #assoc.get_all_limits() end)())
      print(pcall(assoc.get_limits, 5))]],
      { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url })
    assert.matches("^7\n7\nfalse\t", output)
  end)

  it("works when it is loaded, dropped and loaded again", function()
    local output = binding.run([[
      local first = require "hubspot_assoc"
      assert(first.get_all_limits())
      local _, errors = first.get_limits("contacts", "nothing")
      package.loaded["hubspot_assoc"], package.loaded["hubspot_assoc.core"] = nil, nil
      local second = require "hubspot_assoc"
      assert(first ~= second)
      print(#first.get_all_limits(), #second.get_all_limits(), tostring(errors):match "HTTP 400")
      first, errors = nil, nil
      for _ = 1, 3 do collectgarbage() end
      print(#second.get_all_limits())]],
      { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url })
    assert.equal("7\t7\tHTTP 400\n7", output)
  end)

  it("fails with a word about lua-cjson where that is missing", function()
    local output = binding.run [[
      package.loaded.cjson = nil
      package.preload.cjson = function() error "no cjson here" end
      print(pcall(require, "hubspot_assoc"))]]
    assert.matches("^false\t", output)
    assert.matches("cjson", output)
  end)

  it("says which libcurl was found, and which is needed, where it is too old", function()
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "old_libcurl") },
      [[ return pcall(require, "hubspot_assoc") ]])
    assert.same({ "false", "0" }, { report[1], report.status })
    assert.truthy(report[2]:find("libcurl 7.80 or newer is needed, found 7.79.1", 1, true), report[2])
  end)
end)

describe("calls", function()
  teardown(fault_server.stop_all)

  it("can be made in many coroutines", function()
    local client, token = binding.client()
    local threads = {}
    for i = 1, 20 do
      threads[i] = coroutine.create(function()
        coroutine.yield()
        local results = client:get_limits("contacts", "companies")
        coroutine.yield(#results)
        return #(client:get_all_limits())
      end)
      assert(coroutine.resume(threads[i]))
    end
    for _, expected in ipairs { 4, 7 } do
      for _, thread in ipairs(threads) do
        local ok, count = coroutine.resume(thread)
        assert.is_true(ok, tostring(count))
        assert.equal(expected, count)
      end
    end
    assert.equal(40, simulator.log(token).count)
  end)

  it("can be made by two clients in turn, each on its own connection", function()
    local first, first_token = binding.client()
    local second, second_token = binding.client()
    for _ = 1, 3 do
      assert(first:get_all_limits())
      assert(second:get_all_limits())
    end
    local connections = {}
    for i, token in ipairs { first_token, second_token } do
      local log = simulator.log(token)
      assert.equal(3, log.count)
      for _, call in ipairs(log) do
        connections[i] = connections[i] or call.connection
        assert.equal(connections[i], call.connection)
      end
    end
    assert.are_not.equal(connections[1], connections[2])
  end)

  it("can be made by the default client and others in turn", function()
    local options, default_token = binding.simulator_options()
    assoc.configure(options)
    local client, token = binding.client()
    for _ = 1, 2 do
      assert(assoc.get_all_limits())
      assert(client:get_all_limits())
    end
    assert.same({ 2, 2 }, { simulator.log(default_token).count, simulator.log(token).count })
  end)

  it("can be made through pcall, xpcall and varargs", function()
    local client = binding.client()
    local ok, results = pcall(client.get_limits, client, "contacts", "companies")
    assert.is_true(ok)
    assert.equal(4, #results)
    ok, results = xpcall(function() return client:get_all_limits() end, tostring)
    assert.is_true(ok)
    assert.equal(7, #results)
    local function pass(...) return client:get_limits(...) end
    assert.equal(4, #(pass("contacts", "companies")))
    assert.equal(3, select("#", client:get_all_limits()))
  end)

  it("return three values whatever comes of them", function()
    local client, token = binding.client()
    assert.equal(3, select("#", client:get_all_limits()))
    assert.equal(3, select("#", client:batch_update("contacts", "companies", {})))
    simulator.fault(token, { status = 404 })
    assert.equal(3, select("#", client:get_all_limits()))
    local broken = assoc.new(binding.options { base_url = binding.closed_url(), access_token = "pat-x" })
    assert.equal(3, select("#", broken:get_all_limits()))
  end)

  it("may be made while an error is being handled, and from a finalizer", function()
    local client = binding.client()
    local _, count = xpcall(function() error "x" end, function() return #(client:get_all_limits()) end)
    assert.equal(7, count)
    if _VERSION ~= "Lua 5.1" then
      local finalized
      setmetatable({}, { __gc = function() finalized = #(client:get_all_limits()) end })
      collectgarbage()
      collectgarbage()
      assert.equal(7, finalized)
    end
  end)

  it("need no stack to speak of", function()
    local client = binding.client()
    local function deep(n)
      if n == 0 then return #(client:get_all_limits()) end
      local count = deep(n - 1)
      return count
    end
    assert.equal(7, deep(150))
  end)
end)
