-- hubspot_assoc.core alone, as hosts that link it statically use it.
local binding = require "spec.support.binding"
local core = require "hubspot_assoc.core"
local simulator = require "spec.support.simulator"

local NAMES = { "batch_update", "batch_create", "batch_purge", "get_limits", "get_all_limits" }

describe("hubspot_assoc.core", function()
  it("has every call, new, configure and a version", function()
    for _, name in ipairs(NAMES) do assert.is_function(core[name]) end
    assert.is_function(core.new)
    assert.is_function(core.configure)
    assert.equal(require "hubspot_assoc"._VERSION, core._VERSION)
  end)

  it("loads without the Lua file, and without anything but lua-cjson", function()
    local output = binding.run([[
      package.path = ""
      local before = {}
      for name in pairs(package.loaded) do before[name] = true end
      local core = require "hubspot_assoc.core"
      local more = {}
      for name in pairs(package.loaded) do more[#more + 1] = not before[name] and name or nil end
      table.sort(more)
      print(table.concat(more, " "), pcall(require, "hubspot_assoc") and "found" or "not found")
      local results, errors, response = core.batch_update("contacts", "companies", {
        { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 77 } })
      print(results[1].userEnforcedMaxToObjectIds, errors, response.http_status)]],
      { HUBSPOT_ACCESS_TOKEN = simulator.token(), HUBSPOT_BASE_URL = simulator.url })
    assert.equal("cjson hubspot_assoc.core\tnot found\n77\tnil\t200", output)
  end)

  it("makes the same calls with the same results as hubspot_assoc", function()
    local options = binding.simulator_options()
    local client = core.new(options)
    local results, errors, response = client:batch_update("contacts", "companies",
      { binding.limit { maxToObjectIds = 77 }, binding.limit { typeId = 99 } })
    assert.same({ { index = 1, category = "HUBSPOT_DEFINED", typeId = 279, userEnforcedMaxToObjectIds = 77 } }, results)
    assert.same({ "api", "OBJECT_NOT_FOUND" }, { errors[1].kind, errors[1].category })
    assert.truthy(tostring(errors):find("batch_update contacts -> companies", 1, true))
    assert.equal(207, response.http_status)
    assert.same(require "hubspot_assoc".new(options):get_limits("contacts", "companies"),
      (client:get_limits("contacts", "companies")))
  end)

  it("has a default client of its own, which configure replaces", function()
    local options, token = binding.simulator_options()
    local client = core.configure(options)
    local results, errors = core.get_all_limits()
    assert.is_nil(errors)
    assert.equal(7, #results)
    assert.equal(7, #(client:get_all_limits()))
    assert.equal(2, simulator.log(token).count)
  end)

  it("has clients with all calls", function()
    local client = core.new { access_token = "pat-x" }
    for _, name in ipairs(NAMES) do assert.is_function(client[name]) end
    assert.is_nil(client.batch_updat)
    assert.equal("userdata", type(client))
  end)

  it("names the function that it is told, a string that nobody else holds", function()
    for i = 1, 300 do
      local ok, message = pcall(core.new, { ["x" .. i] = i }, 1, ("name %d"):format(i))
      assert.is_false(ok)
      assert.truthy(message:find(("to 'name %d' (options.x%d: unknown field"):format(i, i), 1, true), message)
    end
  end)

  it("says what its functions and methods are called with, where it is something else", function()
    local client = core.new { access_token = "pat-x" }
    for message, act in pairs {
      ["'new' is a function of the module: call it with a dot, .new(options)"] = function() core:new {} end,
      ["'get_limits' is a function of the module: call it with a dot, .get_limits(...)"] = function()
        core:get_limits("a", "b")
      end,
      ["'get_limits' is a method of a client: call it with a colon, client:get_limits(...)"] = function()
        client.get_limits("a", "b")
      end,
      ["a client expected, got string"] = function() client.close "x" end,
    } do
      local ok, text = pcall(act)
      assert.is_false(ok)
      assert.truthy(text:find(message, 1, true), text)
    end
    assert.is_userdata(core.new()) -- of the environment
  end)

  it("keeps what a client is made of out of reach", function()
    local client = core.new { access_token = "pat-x" }
    assert.is_not_table(getmetatable(client))
    assert.is_false(pcall(function() client.x = 1 end))
    assert.is_nil(client.__gc)
  end)

  it("splits batches", function()
    local options, token = binding.simulator_options()
    local client = core.new(options)
    local _, _, response = client:batch_update("contacts", "companies", binding.limits(5), { batch_size = 2 })
    assert.equal(3, #response.requests)
    assert.equal(3, simulator.log(token).count)
  end)

  it("works inside a coroutine", function()
    local options = binding.simulator_options()
    local client = core.new(options)
    local results = coroutine.wrap(function() return client:get_all_limits() end)()
    assert.equal(7, #results)
  end)

  it("returns its errors where the environment has no token", function()
    local output = binding.run([[
      local core = require "hubspot_assoc.core"
      local results, errors, response = core.get_all_limits()
      print(results, errors[1].kind, response)
      print(errors)]], { HUBSPOT_BASE_URL = simulator.url })
    assert.matches("^nil\tconfig\tnil\n", output)
    assert.matches("HUBSPOT_ACCESS_TOKEN", output)
  end)
end)
