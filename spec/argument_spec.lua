-- Misuse raises, before anything is sent, and names the place. One account has all these calls and stays unused.
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local simulator = require "spec.support.simulator"

local limit = binding.limit
local options, token = binding.simulator_options()

-- A name for this file's own lines in error messages.
local HERE = "argument_spec%.lua:"

-- Runs fn, which must raise a string; gives it.
local function message_of(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "it did not raise")
  assert.is_string(message)
  return message
end

local function assert_in(part, message)
  assert.is_true(message:find(part, 1, true) ~= nil, ("%q is not in %q"):format(part, message))
end

-- fn raises at this file's position, for that argument of that call, with all these parts in the message.
local function raises(argument, name, parts, fn, ...)
  local message = message_of(fn, ...)
  assert.matches("^%S*" .. HERE .. "%d+: bad argument #" .. argument .. " to '" .. name .. "' %(", message)
  for _, part in ipairs(type(parts) == "table" and parts or { parts }) do assert_in(part, message) end
  return message
end

-- The ways to make a call: call(name, ...).
local ways = {
  { "assoc", function()
    assoc.configure(options)
    return function(name, ...)
      local results, errors, response = assoc[name](...) -- no tail call: the position must be this line's
      return results, errors, response
    end
  end },
  { "a client", function()
    local client = assoc.new(options)
    return function(name, ...)
      local results, errors, response = client[name](client, ...)
      return results, errors, response
    end
  end },
  { "hubspot_assoc.core", function()
    core.configure(options)
    return function(name, ...)
      local results, errors, response = core[name](...)
      return results, errors, response
    end
  end },
  { "a client of hubspot_assoc.core", function()
    local client = core.new(options)
    return function(name, ...)
      local results, errors, response = client[name](client, ...)
      return results, errors, response
    end
  end },
}

-- A table that fails whoever touches it other than raw.
local function touchy(fields)
  local function fail() error "a metamethod ran" end
  local meta = { __metatable = "touchy" }
  for _, event in ipairs { "index", "newindex", "pairs", "ipairs", "len", "call", "tostring", "concat", "eq", "lt" } do
    meta["__" .. event] = fail
  end
  return setmetatable(fields or {}, meta)
end

local function untouched()
  local count = simulator.log(token).count
  simulator.clear_log(token)
  assert.equal(0, count)
end

for _, way in ipairs(ways) do
  describe("a wrong argument of " .. way[1], function()
    local call

    before_each(function() call = way[2]() end)
    teardown(untouched)

    local function update(inputs, call_options)
      return call("batch_update", "contacts", "companies", inputs, call_options)
    end

    -- A call with inputs raises for inputs with these parts.
    local function refused(parts, inputs)
      return raises(3, "batch_update", parts, update, inputs)
    end

    it("is named as the contract has it", function()
      local message = refused({}, { limit(), limit { typeId = "x" } })
      assert.matches([[: bad argument #3 to 'batch_update' %(inputs%[2%]%.typeId: integer expected, got string "x"%)$]],
        message)
    end)

    it("has the right number", function()
      raises(1, "batch_update", "from: string expected, got nil", call, "batch_update")
      raises(2, "batch_update", "to: string expected, got nil", call, "batch_update", "contacts")
      raises(3, "batch_update", "inputs: list expected, got nil", call, "batch_update", "contacts", "companies")
      raises(4, "batch_update", "options: table expected, got number 5", update, {}, 5)
      raises(1, "batch_create", "from: string expected, got table", call, "batch_create", {}, "companies", {})
      raises(2, "batch_purge", "to: string expected, got boolean", call, "batch_purge", "contacts", true, {})
      raises(2, "get_limits", "to: string expected, got nil", call, "get_limits", "contacts")
      raises(3, "get_limits", "options: table expected", call, "get_limits", "contacts", "companies", "x")
      raises(1, "get_all_limits", "options: table expected", call, "get_all_limits", "contacts")
    end)

    it("is refused where there is one too many", function()
      raises(5, "batch_update", "no more than 4 arguments", call, "batch_update", "contacts", "companies", {}, {}, 1)
      raises(4, "get_limits", "no more than 3 arguments", call, "get_limits", "contacts", "companies", {}, {})
      raises(2, "get_all_limits", "no more than 1 argument", call, "get_all_limits", {}, {})
    end)

    it("names the nearest known field", function()
      refused({ "inputs[1].maxToObjectId:", "'maxToObjectIds'" },
        { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectId = 5 } })
      refused({ "inputs[1].typeid:", "'typeId'" }, { { category = "x", typeid = 279, maxToObjectIds = 5 } })
      refused({ "inputs[2].Category:", "'category'" }, { limit(), { Category = "HUBSPOT_DEFINED", typeId = 279 } })
      refused({ "inputs[1].categroy:", "'category'" }, { limit { categroy = "x" } })
    end)

    it("names no field where none is near", function()
      local message = refused("inputs[1].colour: unknown field", { limit { colour = "red" } })
      assert.is_nil(message:find "did you mean")
      refused("unknown field", { limit { [("x"):rep(1000)] = 1 } })
      refused("unknown field", { limit { [""] = 1 } })
    end)

    it("is an unknown field, whatever bytes follow a known name", function()
      refused("inputs[1]", { limit { ["typeId\0x"] = 1 } })
      refused("inputs[1]", { limit { ["\0"] = 1 } })
    end)

    it("is a field that this call does not have", function()
      raises(3, "batch_purge", "inputs[1].maxToObjectIds: unknown field", call, "batch_purge", "contacts", "companies",
        { limit() })
    end)

    it("names the field that is missing", function()
      refused("inputs[1].category: string expected, got nil", { { typeId = 279, maxToObjectIds = 5 } })
      refused("inputs[1].typeId: integer expected, got nil", { { category = "HUBSPOT_DEFINED", maxToObjectIds = 5 } })
      refused("inputs[1].maxToObjectIds: integer expected, got nil", { { category = "HUBSPOT_DEFINED", typeId = 279 } })
      refused("inputs[1]", { {} })
    end)

    it("names the nearest known call option", function()
      raises(4, "batch_update", { "options.timout:", "'timeout'" }, update, {}, { timout = 1 })
      raises(4, "batch_update", { "options.max_atempts:", "'max_attempts'" }, update, {}, { max_atempts = 1 })
      raises(4, "batch_update", { "options.batchSize:", "'batch_size'" }, update, {}, { batchSize = 1 })
      raises(1, "get_all_limits", "options.batch_size: unknown field", call, "get_all_limits", { batch_size = 1 })
      raises(4, "batch_update", "options.access_token", update, {}, { access_token = "x" })
    end)

    it("is a call option out of its range or of the wrong type", function()
      local wrong = {
        timeout = { 0, -1, "1", true, 0 / 0, math.huge, {} },
        deadline = { 0, -0.5, "1", 0 / 0, math.huge },
        max_attempts = { 0, -1, 1.5, "2", 0 / 0, math.huge, 1e300 },
        batch_size = { 0, -1, 2001, 1.5, "2", 0 / 0, math.huge },
      }
      for name, values in pairs(wrong) do
        for _, value in ipairs(values) do
          raises(4, "batch_update", "options." .. name .. ":", update, { limit() }, { [name] = value })
        end
      end
    end)

    it("is a single input without its list, and is told so", function()
      refused({ "inputs: list expected, got a single", "{ { ... } }" }, limit())
      refused({ "inputs: list expected, got a single" }, { typeId = 279 })
    end)

    it("is a list with a hole", function()
      refused("inputs", { limit(), nil, limit() })
      refused("inputs", { nil, limit() })
      refused("inputs", { [2] = limit() })
      refused("inputs", { [1] = limit(), [1000000] = limit() })
    end)

    it("is a list with other keys", function()
      refused({ "inputs: ", "'n'" }, { limit(), n = 1 })
      refused("inputs: list", { [0] = limit() })
      refused("inputs: list", { limit(), [1.5] = limit() })
      refused("inputs: list", { limit(), [true] = limit() })
      refused("inputs: list", { limit(), [-1] = limit() })
      refused("inputs: list", { [{}] = limit() })
      refused("inputs: list", { [math.huge] = limit() })
    end)

    it("is a list of something else", function()
      refused("inputs[1]: table expected, got number 279", { 279 })
      refused("inputs[2]: table expected, got string", { limit(), "x" })
      refused("inputs[1]", { { limit() } })
      refused("inputs[1]: table expected, got function", { print })
      refused("inputs[1]: table expected, got boolean", { false })
    end)

    it("is no list at all", function()
      for _, value in ipairs { "x", 5, true, print, coroutine.create(function() end) } do
        refused("inputs: list expected, got " .. type(value), value)
      end
    end)

    it("is a number that is no int32", function()
      for _, value in ipairs { 1.5, -1, 2147483648, 2 ^ 53 + 2, 1e300, math.huge, -math.huge, 0 / 0, "279", true } do
        refused("inputs[1].typeId: integer", { limit { typeId = value } })
        refused("inputs[1].maxToObjectIds: integer", { limit { maxToObjectIds = value } })
      end
    end)

    it("is a category that is no text", function()
      for _, value in ipairs { 5, true, {}, print, "" } do
        refused("inputs[1].category: ", { limit { category = value } })
      end
    end)

    it("is text that is not UTF-8", function()
      for _, bytes in ipairs { "\255", "a\195(", "\192\128", "\237\160\128", "\244\144\128\128", "\226\130", "\128" } do
        refused({ "inputs[1].category", "UTF-8" }, { limit { category = bytes } })
        raises(1, "get_limits", { "from", "UTF-8" }, call, "get_limits", bytes, "companies")
      end
    end)

    it("is an object type that fits into no path", function()
      for _, value in ipairs { "", ".", "..", "a\0b", "a\nb", "a\rb", "a\tb", "a\127", ("x"):rep(256) } do
        raises(1, "get_limits", "from: ", call, "get_limits", value, "companies")
        raises(2, "batch_update", "to: ", call, "batch_update", "contacts", value, {})
      end
      raises(1, "get_limits", "from: string expected, got number 5", call, "get_limits", 5, "companies")
    end)

    it("is a cyclic table", function()
      local list = {}
      list[1] = list
      refused("inputs[1]", list)
      local input = limit()
      input.category = input
      refused("inputs[1].category: string expected, got table", { input })
      local cyclic_options = {}
      cyclic_options.timeout = cyclic_options
      raises(4, "batch_update", "options.timeout", update, {}, cyclic_options)
    end)

    it("is refused also where the inputs are empty", function()
      raises(2, "batch_update", "to", call, "batch_update", "contacts", nil, {})
      raises(4, "batch_update", "options.x", update, {}, { x = 1 })
    end)

    it("is found in the last input of many", function()
      local inputs = binding.limits(5000)
      inputs[5000].typeId = "x"
      refused("inputs[5000].typeId: integer expected", inputs)
    end)

    it("runs no metamethod", function()
      refused("inputs[1].typeId: integer expected, got nil", { touchy { category = "HUBSPOT_DEFINED" } })
      refused("inputs[1].typeId: integer expected, got table", { limit { typeId = touchy() } })
      refused("inputs: list expected, got the key 'x'", touchy { x = 1 })
      raises(4, "batch_update", "options.x", update, {}, touchy { x = 1 })
      raises(1, "get_limits", "from: string expected, got table", call, "get_limits", touchy(), "companies")
    end)
  end)
end

describe("what a wrong call raises", function()
  -- fn makes a wrong call in the line after its first.
  local function blames_its_line(fn)
    local line = debug.getinfo(fn, "S").linedefined + 1
    assert.matches("^%S*" .. HERE .. line .. ": bad argument #", message_of(fn))
  end

  it("begins with the position of the line that made the call", function()
    local client, core_client = assoc.new(options), core.new(options)
    blames_its_line(function()
      local r = assoc.batch_update("contacts", 5, {})
      return r
    end)
    blames_its_line(function()
      local r = client:batch_update("contacts", 5, {})
      return r
    end)
    blames_its_line(function()
      local r = core.batch_update("contacts", 5, {})
      return r
    end)
    blames_its_line(function()
      local r = core_client:batch_update("contacts", 5, {})
      return r
    end)
    for _, make in ipairs { assoc.new, assoc.configure, core.new, core.configure } do
      blames_its_line(function()
        local r = make { x = 1 }
        return r
      end)
    end
  end)

  it("has no position where there is no line to blame", function()
    local client = assoc.new(options)
    assert.matches("^bad argument #2 ", message_of(coroutine.wrap(client.batch_update), client, "contacts", 5, {}))
  end)
end)

describe("a good argument", function()
  it("runs no metamethod either", function()
    local client = binding.client()
    local inputs = touchy { touchy(limit { maxToObjectIds = 77 }) }
    local results, errors = client:batch_update("contacts", "companies", inputs, touchy { timeout = 5 })
    assert.is_nil(errors)
    assert.equal(77, results[1].userEnforcedMaxToObjectIds)
    assert.same({}, (client:batch_update("contacts", "companies", touchy())))
  end)

  it("reaches lua-cjson without metatables: OpenResty's runs them", function()
    local lines = child.run({ HUBSPOT_BASE_URL = simulator.url, HUBSPOT_ACCESS_TOKEN = simulator.token() }, [[
      local cjson = require "cjson"
      local new, seen = cjson.new, {}
      local function has_none(value)
        if type(value) ~= "table" then return true end
        if debug.getmetatable(value) then return false end
        for _, field in next, value do
          if not has_none(field) then return false end
        end
        return true
      end
      function cjson.new()
        local instance = new()
        local encode = instance.encode
        function instance.encode(value)
          seen[#seen + 1] = has_none(value)
          return encode(value)
        end
        return instance
      end
      local assoc = require "hubspot_assoc"
      local function odd(fields) return setmetatable(fields, { __len = function() return 0 end, __index = error }) end
      local _, errors = assoc.batch_update("contacts", "companies",
        odd { odd { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 } })
      assert(not errors, errors)
      assoc.associate("contacts", "companies", { { from = odd { id = "1" }, to = odd { id = 2 },
        types = odd { odd { associationCategory = "HUBSPOT_DEFINED", associationTypeId = 279 } } } })
      assoc.create_label("contacts", "companies", odd { name = "odd", label = "Odd" })
      return (table.unpack or unpack)(seen) ]])
    lines.seconds = nil
    assert.same({ "true", "true", "true", status = "0" }, lines)
  end)

  it("is what its table holds, not what its metatable tells", function()
    local backed = setmetatable({ category = "HUBSPOT_DEFINED" }, { __index = { typeId = 279, maxToObjectIds = 5 } })
    local client = binding.client()
    raises(3, "batch_update", "inputs[1].typeId", function()
      local results = client:batch_update("contacts", "companies", { backed })
      return results
    end)
  end)

  it("stays as it was", function()
    local client = binding.client()
    local input, call_options = limit { typeId = 279, maxToObjectIds = 78 }, { timeout = 5 }
    local meta = {}
    local inputs = setmetatable({ input, input }, meta)
    client:batch_update("contacts", "companies", inputs, call_options)
    assert.equal(meta, getmetatable(inputs))
    assert.is_true(rawequal(inputs[1], input) and rawequal(inputs[2], input))
    assert.is_nil(inputs[3])
    assert.same({ category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 78 }, input)
    assert.is_nil(getmetatable(input))
    assert.same({ timeout = 5 }, call_options)
  end)

  it("may be changed or collected once the call is made", function()
    local client = binding.client()
    for _ = 1, 20 do
      local results = client:batch_update("contacts", "companies", { limit { maxToObjectIds = 80 } })
      collectgarbage()
      assert.equal(80, results[1].userEnforcedMaxToObjectIds)
    end
  end)
end)

describe("a dot in the place of a colon", function()
  local client = assoc.new(options)
  teardown(untouched)

  local function says(part, fn)
    local message = message_of(fn)
    assert.matches("^%S*" .. HERE .. "%d+: ", message)
    assert_in(part, message)
  end

  it("is told so for a client's calls", function()
    says("colon", function() local r = client.batch_update("contacts", "companies", {}) return r end)
    says("colon", function() local r = client.get_all_limits() return r end)
    says("colon", function() local r = client.get_limits({}, "contacts", "companies") return r end)
    says("client:batch_update", function() local r = client.batch_update(nil, "contacts") return r end)
    says("colon", function() local r = client.get_all_limits(assoc) return r end)
    says("colon", function() local r = client.get_all_limits(setmetatable({}, {})) return r end)
  end)

  it("is told so for the calls of a client of hubspot_assoc.core", function()
    local core_client = core.new(options)
    says("colon", function() local r = core_client.batch_update("contacts", "companies", {}) return r end)
    says("colon", function() local r = core_client.get_all_limits() return r end)
    says("colon", function() local r = core_client.get_all_limits(io.stdout) return r end)
  end)

  it("is told so the other way around for the module's functions", function()
    says("assoc.batch_update", function() local r = assoc:batch_update("contacts", "companies", {}) return r end)
    says("dot", function() local r = assoc:get_all_limits() return r end)
    says("dot", function() local r = core:get_all_limits() return r end)
    says("dot", function() local r = core:batch_update("contacts", "companies", {}) return r end)
  end)

  it("is told so for new, configure and check", function()
    says("dot", function() local r = assoc:new(options) return r end)
    says("dot", function() local r = assoc:configure(options) return r end)
    says("dot", function() local r = assoc:check(nil, { "an error" }) return r end)
    says("dot", function() local r = core:new(options) return r end)
    says("dot", function() local r = core:configure(options) return r end)
  end)

  it("is no call of a module's metamethod", function()
    assoc.configure(options)
    says("from: string expected, got table", function()
      local r = assoc.batch_update(touchy(), "companies", {})
      return r
    end)
  end)
end)

describe("a wrong option of a client", function()
  local makers = {
    { "assoc", "new", assoc.new }, { "assoc", "configure", assoc.configure },
    { "core", "new", core.new }, { "core", "configure", core.configure },
  }

  for _, maker in ipairs(makers) do
    local make = maker[3]
    describe("made by " .. maker[1] .. "." .. maker[2], function()
      -- The option's value raises with these parts.
      local function refused(parts, given)
        local message = message_of(function()
          local client = make(given)
          return client
        end)
        assert.matches("^%S*" .. HERE .. "%d+: bad argument #1 to '%a+' %(options", message)
        for _, part in ipairs(type(parts) == "table" and parts or { parts }) do assert_in(part, message) end
        return message
      end

      it("is blamed on the call that was made", function()
        assert_in("'" .. maker[2] .. "'", refused({}, 5))
      end)

      it("names the nearest known one", function()
        refused({ "options.acces_token:", "'access_token'" }, { acces_token = "x" })
        refused({ "options.baseUrl:", "'base_url'" }, { baseUrl = "x" })
        refused({ "options.onEvent:", "'on_event'" }, { onEvent = print })
        refused({ "options.rate.request:", "'requests'" }, { rate = { request = 1, interval = 1 } })
      end)

      it("is of the wrong type", function()
        for _, name in ipairs { "access_token", "base_url", "api_version", "proxy", "ca_file", "user_agent", "timeout",
          "connect_timeout", "deadline", "max_attempts", "max_response_bytes", "max_connections", "allow_http",
          "on_event" } do
          refused("options." .. name .. ":", { [name] = {} })
        end
        refused("options.rate: ", { rate = true })
        refused("options.rate: ", { rate = 10 })
        refused("options.rate.interval: ", { rate = { requests = 10 } })
        refused("options.rate.requests: ", { rate = { interval = 10 } })
        refused("options.rate", { rate = { 100, 10 } })
        refused("options", { "pat-x" })
      end)

      it("is out of its range", function()
        for _, name in ipairs { "timeout", "connect_timeout", "deadline", "max_attempts", "max_response_bytes",
          "max_connections" } do
          for _, value in ipairs { 0, -1, 0 / 0, math.huge, -math.huge, 1e300, "1" } do
            refused("options." .. name .. ":", { [name] = value })
          end
        end
        for _, value in ipairs { 0, -1, 1.5, 0 / 0, math.huge } do
          refused("options.rate.requests:", { rate = { requests = value, interval = 10 } })
        end
        for _, value in ipairs { 0, -1, 0 / 0, math.huge } do
          refused("options.rate.interval:", { rate = { requests = 10, interval = value } })
        end
      end)

      it("is an api_version that there cannot be", function()
        for _, value in ipairs { "", "v3", "V4", "v4 ", "2025-08", "2024-12", "2026", "2026-3", "2026-00", "2026-13",
          "2026-+9", "2026- 9", "2026-03-01", "26-03", "2026/03", "../../x", "latest", "2026-03\0", "+026-03" } do
          refused("options.api_version: ", { api_version = value })
        end
      end)

      it("is a base_url that is not safe", function()
        for _, value in ipairs { "", "api.hubapi.com", "http://api.hubapi.com", "ftp://127.0.0.1", "file:///etc/hosts",
          "https://", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "https://h/?q=1", "https://h/#",
          "https://user:secret@h", "https://h/a b", "https://h/\r\nX: y", "https://h\0" } do
          refused("options.base_url: ", { base_url = value })
        end
      end)

      it("is a header value with a line break or NUL", function()
        for _, bytes in ipairs { "a\r\nX: y", "a\nb", "a\0b", "\195\164", "", "a\127", "a\tb" } do
          refused("options.access_token: ", { access_token = bytes })
          refused("options.user_agent: ", { user_agent = bytes })
        end
      end)

      it("never shows a secret", function()
        local secret = "pat-na1-secret"
        for _, given in ipairs { secret, { secret }, { access_token = secret .. "\n" }, { access_token = { secret } },
          { access_token = "\0" .. secret }, { access_token = secret, x = 1 }, { access_token = secret, timeout = "x" },
          { proxy = "http://u:" .. secret .. "@127.0.0.1:1\n" }, { base_url = "https://u:" .. secret .. "@h" } } do
          local message = refused({}, given)
          assert.is_nil(message:find(secret, 1, true), message)
        end
      end)

      it("runs no metamethod", function()
        refused("options.x: unknown field", touchy { x = 1 })
        assert.truthy(make(touchy { rate = touchy { requests = 10, interval = 1 } }))
      end)
    end)
  end

  it("may be left out altogether", function()
    assert.truthy(assoc.new())
    assert.truthy(assoc.new {})
    assert.truthy(assoc.new(nil))
  end)

  it("is not the case for what the contract lists", function()
    assert.truthy(assoc.new {
      access_token = "pat-x", base_url = "https://api.hubapi.com", api_version = "2026-09", timeout = 30,
      connect_timeout = 10, deadline = 120, max_attempts = 4, max_response_bytes = 32 * 1024 * 1024,
      rate = { requests = 100, interval = 10 }, proxy = "http://127.0.0.1:3128", ca_file = "/nowhere",
      max_connections = 8, user_agent = "my-app/1.0", on_event = print, allow_http = false,
    })
    for _, url in ipairs { "https://h", "https://h/", "https://h:8443/prefix/", "http://127.0.0.1", "http://[::1]:8080",
      "http://localhost:80/x", "HTTPS://API.HUBAPI.COM" } do
      assert.truthy(assoc.new { base_url = url })
    end
    assert.truthy(assoc.new { base_url = "http://hubspot.example", allow_http = true })
    assert.truthy(assoc.new { rate = false, access_token = function() return "x" end })
  end)

  it("leaves the default client as it was", function()
    local configured = binding.simulator_options()
    assoc.configure(configured)
    assert.is_false(pcall(assoc.configure, { x = 1 }))
    local results = assoc.get_all_limits()
    assert.equal(7, #results)
  end)
end)

describe("a record id", function()
  local client = assoc.new { access_token = "pat-x", base_url = "http://127.0.0.1:1", max_attempts = 1 }

  local function problem(id)
    local ok, message = pcall(client.read, client, "contacts", "companies", { { id = id } })
    return not ok and message
  end

  it("may be a number only where the number is exact", function()
    assert.is_false(problem(2 ^ 53 - 1))
    for _, id in ipairs { 2 ^ 53, 2 ^ 53 + 2, 1.5, -1, 0 / 0, math.huge, "x1", "", "1 " } do
      assert.matches("inputs[1].id: record id (a string of digits) expected", problem(id), 1, true)
    end
  end)

  it("is an int64", function()
    assert.is_false(problem "9223372036854775807")
    for _, id in ipairs { "9223372036854775808", "12345678901234567890" } do
      assert.matches("inputs[1].id: record id (9223372036854775807 at most) expected, got string", problem(id), 1, true)
    end
  end)
end)
