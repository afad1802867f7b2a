--- What the README shows is what happens: its Lua blocks run, and print the text block that follows.

local simulator = require "spec.support.simulator"
local assoc = require "hubspot_assoc"

local lua = os.getenv("LUA") or "lua5.4"

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local readme = read("README.md")

--- What a script prints in a process of its own, with a fresh account in the simulator.
local function run(script)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(script)
  file:close()
  local pipe = assert(io.popen(("HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s %s %s 2>&1")
    :format(simulator.token(), simulator.url, lua, path)))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  return output
end

--- Correlation ids are never the same twice.
local function without_ids(text)
  return (text:gsub("%x+%-%x+%-%x+%-%x+%-%x+", "(id)"))
end

describe("the README", function()
  local count = 0
  for script, behind in readme:gmatch("\n```lua\n(.-)\n```\n()") do
    count = count + 1
    it(("prints what it says in example %d"):format(count), function()
      local output = readme:match("^.-\n```text\n(.-)```\n", behind)
      assert.equal(without_ids(output), without_ids(run(script)))
    end)
  end

  it("has examples", function()
    assert.is_true(count >= 3)
  end)

  it("lists options that exist, with values that are taken", function()
    local values = {
      access_token = "pat-x", base_url = "https://api.hubapi.com", api_version = "2025-09", timeout = 30,
      connect_timeout = 10, deadline = 120, max_attempts = 4, max_response_bytes = 33554432,
      retry_budget = 100,
      rate = { requests = 100, interval = 10 }, limiter = { reserve = function() end, observe = function() end },
      proxy = "http://127.0.0.1:1", ca_file = "/ca.pem", allow_http = false,
      max_connections = 8, user_agent = "x/1", on_event = function() end, io_thread = true,
      loop = { watch = function() end, suspend = function() end }, transport = function() end,
    }
    local options = readme:match("\n## Options\n(.-)\n## ")
    local listed = 0
    for name in options:gmatch("\n| `([%w_]+)` |") do
      assert.is_not_nil(values[name], name)
      assert.has_no.errors(function() assoc.new { [name] = values[name] } end)
      values[name] = nil
      listed = listed + 1
    end
    assert.equal(20, listed)
    assert.is_nil((next(values)))
  end)

  it("lists all calls, and no others", function()
    local calls = readme:match("\n## Calls\n(.-)\n## ")
    local listed = {}
    for name in calls:gmatch("\n| `([%w_]+)%(") do
      listed[name] = true
    end
    local core = require "hubspot_assoc.core"
    for name in pairs(core.calls) do
      assert.is_true(listed[name], name)
      listed[name] = nil
    end
    assert.is_nil((next(listed)))
  end)
end)
