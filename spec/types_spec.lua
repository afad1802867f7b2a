-- The type annotations (types/, made by `make types`): do they say what the library has? Their calls and options are
-- made of its tables; here they are held against how it behaves, and the hand-written part against all that is public.
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local testing = require "hubspot_assoc.testing"

local unpack = table.unpack or unpack -- luacheck: ignore

local function read(path)
  local file = assert(io.open(path), path .. " is missing: make types")
  local text = file:read "*a"
  file:close()
  return text
end

local path = os.getenv "BUILD" .. "/types.lua"
local text = read(path)
local source = read "types/types.lua.in"

-- What is declared as a function: owner (assoc, Client, ...) -> name -> list of parameters.
local functions = {}
for owner, name, parameters in text:gmatch "\nfunction (%w+)[.:]([%w_]+)(%b())" do
  local list = {}
  for parameter in parameters:gmatch "[%w_.]+" do list[#list + 1] = parameter end
  functions[owner] = functions[owner] or {}
  assert(not functions[owner][name], name .. " is declared twice")
  functions[owner][name] = list
end

-- The fields of classes: class -> name -> type as it is written, with ? behind the name cut off.
local classes, parents = {}, {}
do
  local class
  for line in text:gmatch "[^\n]+" do
    class = line:match "^%-%-%-@class ([%w_.]+)" or class
    if line:find "^%-%-%-@class" then
      classes[class], parents[class] = classes[class] or {}, line:match "^%-%-%-@class [%w_.]+: ([%w_.]+)"
    end
    local name, kind = line:match "^%-%-%-@field ([%w_]+)%??%s+(%S+)"
    if name then classes[class][name] = kind end
    if not line:find "^%-%-%-" then class = nil end
  end
end

local function has_field(class, name)
  return classes[class][name] or parents[class] and has_field(parents[class], name)
end

local function names_of(values, wanted)
  local names = {}
  for name, value in pairs(values) do
    if type(value) == (wanted or type(value)) and name:find "^%a" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- What only the first list has, and what only the second has, as texts.
local function differences(first, second)
  local function only(list, other)
    local has, names = {}, {}
    for _, name in ipairs(other) do has[name] = true end
    for _, name in ipairs(list) do names[#names + 1] = not has[name] and name or nil end
    return table.concat(names, " ")
  end
  return only(first, second), only(second, first)
end

describe("the types", function()
  it("are Lua, and do nothing", function()
    local chunk = assert(loadfile(path))
    local before = names_of(_G)
    assert.is_table(chunk())
    assert.same(before, names_of(_G))
  end)

  it("have all that is public, and nothing else", function()
    local client = assoc.new { access_token = "x" }
    local fake = assoc.new { access_token = "x", transport = function() return nil, "other" end }
    local oauth = assoc.oauth { client_id = "x", client_secret = "y" }
    local future = fake.async:get_all_limits()
    local types = testing.new { get_labels = { results = {} } }:client():label_types("a", "b")
    local recording = os.tmpname()
    local recorder = testing.record(recording)
    local has_yaml, schema = pcall(require, "hubspot_assoc.schema") -- lyaml cannot be had for the newest Lua
    local owners = {
      assoc = assoc, Client = getmetatable(client).__index, Async = getmetatable(client.async).__index,
      Future = getmetatable(future).__index, OAuth = { exchange = oauth.exchange },
      LabelTypes = getmetatable(types).__index, Job = getmetatable(client:bulk("archive", "a", "b")).__index,
      testing = testing, Fake = getmetatable(testing.new {}).__index, Recorder = getmetatable(recorder).__index,
      file = require "hubspot_assoc.limiter.file", redis = require "hubspot_assoc.limiter.redis",
      shdict = require "hubspot_assoc.limiter.shdict", schema = has_yaml and schema or nil,
    }
    for owner, object in pairs(owners) do
      local missing, stale = differences(names_of(object, "function"), names_of(functions[owner]))
      assert.equal("", missing, ("types/types.lua.in has no function of %s:"):format(owner))
      assert.equal("", stale, ("types/types.lua.in has functions that %s has not:"):format(owner))
    end
    future:wait()
    recorder:close()
    os.remove(recording)
  end)

  it("have the fields of what is counted", function()
    local client = assoc.new { access_token = "x", transport = function() return nil, "other" end }
    assert.same(names_of(client:stats()), names_of(classes["hubspot_assoc.Stats"]))
    for name in pairs(client:rate_limit()) do assert.is_truthy(classes["hubspot_assoc.Rate"][name], name) end
    local seen = {}
    local watched = testing.new { list = { { status = 503 }, { status = 500 } } }:client { max_attempts = 2,
      on_event = function(event)
        for name in pairs(event) do assert.is_truthy(classes["hubspot_assoc.Event"][name], name) end
        seen.Event = event
      end }
    watched:list("a", 1, "b")
    assert.equal("done", seen.Event.type)
    local fake = testing.new { batch_update = { results = { { category = "X", typeId = 1 } } } }
    local results, errors, response = fake:client():batch_update("a", "b",
      { { category = "X", typeId = 1, maxToObjectIds = 1 }, { category = "X", typeId = 2, maxToObjectIds = 1 } })
    seen.Limit, seen.Error, seen.Response, seen["testing.Request"] = results[1], errors[1], response, fake.requests[1]
    local job = client:bulk("archive", "a", "b", { give_up_after = 0.001, max_attempts = 1,
      on_outcome = function(outcome) seen.Outcome = outcome end, on_progress = function() end })
    job:add({ from = { id = 1 }, to = { { id = 2 } } }, "x")
    seen.Progress = job:finish()
    for class, values in pairs(seen) do
      for name in pairs(values) do
        assert.is_truthy(has_field("hubspot_assoc." .. class, name), class .. "." .. name)
      end
    end
    assert.is_table(seen.Outcome)
  end)

  it("have an alias of its results for each call, and no other", function()
    local aliases = {}
    for name in text:gmatch "\n%-%-%-@alias hubspot_assoc%.result%.([%w_]+) " do aliases[name] = true end
    assert.same(names_of(core.calls), names_of(aliases))
  end)

  it("know each name that they use", function()
    local known = {}
    for name in text:gmatch "\n%-%-%-@class ([%w_.]+)" do known[name] = true end
    for name in text:gmatch "\n%-%-%-@alias ([%w_.]+)" do known[name] = true end
    for line in text:gmatch "[^\n]+" do
      if line:find "^%-%-%-@" then
        for name in line:gmatch "hubspot_assoc[%w_.]*" do assert.is_true(known[name], name .. " in " .. line) end
      end
    end
  end)

  it("describe what there is, and nothing else", function()
    for name, says in source:gmatch "\n%-%-: (%S+) ([^\n]+)" do
      assert.is_truthy(text:find(says, 1, true), name)
      local last = name:match "[%w_]+$"
      assert.is_truthy(text:find("[@%s(.]" .. last .. "[?%s(]"), name)
    end
  end)

  -- Something of the type that an argument has, and something that no argument is.
  local function right(call, name)
    local kind = text:match(("\n%%-%%-%%-@param %s%%?? (%%S+)[^\n]*\n[^\n]*\n?[^%%z]-function assoc%%.%s%%(")
      :format(name, call))
    if kind and kind:find "%[%]$" then return {} end
    return name:find "Id$" and 1 or "x"
  end

  it("have the arguments of each call, in their order, by the names that messages have", function()
    local client = assoc.new { access_token = "x", transport = function() return nil, "other" end }
    for call in pairs(core.calls) do
      for _, owner in ipairs { "assoc", "Client", "Async" } do
        assert.same(functions.assoc[call], functions[owner][call])
      end
      local parameters, given = functions.assoc[call], {}
      assert.equal("options", parameters[#parameters])
      for i, name in ipairs(parameters) do
        given[i] = function() end
        local ok, message = pcall(client[call], client, unpack(given, 1, i))
        assert.is_false(ok)
        assert.matches(("bad argument #%d to '%s' (%s"):format(i, call, name), message, 1, true)
        given[i] = right(call, name)
      end
      given[#parameters], given[#parameters + 1] = nil, {}
      local ok, message = pcall(client[call], client, unpack(given, 1, #parameters + 1))
      assert.is_false(ok)
      assert.matches("one too many", message, 1, true)
    end
  end)

  local function rejects(name, call)
    local ok, message = pcall(call, { [name] = coroutine.create(function() end) })
    assert.is_false(ok, name)
    assert.matches("options." .. name .. ":", message, 1, true)
    assert.is_nil(message:find("unknown", 1, true), message)
  end

  it("have options that there are", function()
    for name in pairs(classes["hubspot_assoc.options"]) do rejects(name, assoc.new) end
    for name in pairs(classes["hubspot_assoc.oauth.options"]) do
      rejects(name, function(options)
        options.client_id, options.client_secret = options.client_id or "x", options.client_secret or "y"
        assoc.oauth(options)
      end)
    end
    for name in pairs(classes["hubspot_assoc.batch_update.options"]) do
      rejects(name, function(options) assoc.batch_update("a", "b", {}, options) end)
    end
    for name in pairs(classes["hubspot_assoc.list.options"]) do
      rejects(name, function(options) assoc.list("a", 1, "b", options) end)
    end
  end)

  it("have the options of the rooms", function()
    local client = assoc.new { access_token = "x", transport = function() return nil, "other" end }
    local rooms = {
      read_all = function(options) client:read_all("a", "b", {}, options) end,
      set_limits = function(options) client:set_limits("a", "b", {}, options) end,
      bulk = function(options) client:bulk("associate", "a", "b", options) end,
    }
    for room, call in pairs(rooms) do
      local class = classes[("hubspot_assoc.%s.options"):format(room)]
      for name in pairs(class or {}) do rejects(name, call) end
    end
  end)
end)
