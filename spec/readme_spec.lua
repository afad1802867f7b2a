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

local readme, reference = read("README.md"), read("docs/reference.md")

--- What a script prints in a process of its own, with a fresh account in the simulator, or without a token.
local function run(script, has_no_token)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(script)
  file:close()
  local token = has_no_token and "-u HUBSPOT_ACCESS_TOKEN" or "HUBSPOT_ACCESS_TOKEN=" .. simulator.token()
  local pipe = assert(io.popen(("env %s HUBSPOT_BASE_URL=%s %s %s 2>&1"):format(token, simulator.url, lua, path)))
  local output = pipe:read("*a")
  pipe:close()
  os.remove(path)
  os.remove((os.getenv("TMPDIR") or "/tmp") .. "/hubspot-rate") -- what an example leaves for the next process
  return output
end

--- Correlation ids are never the same twice.
local function without_ids(text)
  return (text:gsub("%x+%-%x+%-%x+%-%x+%-%x+", "(id)"))
end

--- The names that headings have in links.
local function anchors(text)
  local names = {}
  for heading in text:gmatch("\n#+ ([^\n]+)") do
    names[heading:lower():gsub("[^%w%- _]", ""):gsub(" ", "-")] = true
  end
  return names
end

for name, text in pairs { ["README.md"] = readme, ["docs/reference.md"] = reference } do
  describe(name, function()
    local count = 0
    for script, behind in text:gmatch("\n```lua\n(.-)\n```\n()") do
      count = count + 1
      it(("prints what it says in example %d"):format(count), function()
        local output = text:match("^.-\n```text\n(.-)```\n", behind)
        assert.equal(without_ids(output), without_ids(run(script)))
      end)
    end

    it("has links that lead somewhere", function()
      local folder, links = name:match("^(.*/)[^/]*$") or "", 0
      for link in text:gmatch("%]%(([^):]+)%)") do
        local path, anchor = link:match("^([^#]*)#?(.*)$")
        local file = assert(io.open(path == "" and name or folder .. path, "rb"), link) -- a folder can be opened, too
        if anchor ~= "" then
          assert.is_true(anchors(file:read("*a"))[anchor], link)
        end
        file:close()
        links = links + 1
      end
      assert.is_true(links >= 3)
    end)
  end)
end

describe("the README", function()
  local first = readme:match("\n```lua\n(.-)\n```\n")

  it("has a first script that says what it needs", function()
    assert.equal(readme:match("without a token it says\n\n```text\n(.-)```\n"), run(first, true))
  end)

  it("names all calls, and no others", function()
    local named = {}
    for row in readme:match("\n## Calls\n(.-)\n## "):gmatch("\n| [%a ]+ | ([^\n]+) |") do
      for name in row:gmatch("`([%w_]+)`") do
        named[name] = true
      end
    end
    for name in pairs(require "hubspot_assoc.core".calls) do
      assert.is_true(named[name], name)
      named[name] = nil
    end
    assert.is_nil((next(named)))
  end)

  it("has examples", function()
    assert.is_true(select(2, readme:gsub("\n```lua\n", "")) >= 5)
  end)
end)

describe("the reference", function()
  it("lists options that exist, with values that are taken", function()
    local values = {
      access_token = "pat-x", base_url = "https://api.hubapi.com", api_version = "2025-09", timeout = 30,
      connect_timeout = 10, deadline = 120, max_attempts = 4, max_response_bytes = 33554432,
      retry_budget = 100,
      rate = { requests = 100, interval = 10 }, limiter = { reserve = function() end, observe = function() end },
      proxy = "http://127.0.0.1:1", ca_file = "/ca.pem", allow_http = false,
      max_connections = 8, user_agent = "x/1", headers = { traceparent = "00" },
      on_event = function() end, io_thread = true, skip_waits = false,
      loop = { watch = function() end, suspend = function() end }, transport = function() end,
    }
    local options = reference:match("\n## Options\n(.-)\n## ")
    for name in options:gmatch("\n| `([%w_]+)` |") do
      assert.is_not_nil(values[name], name)
      assert.has_no.errors(function() assoc.new { [name] = values[name] } end)
      values[name] = nil
    end
    assert.is_nil((next(values)))
  end)

  it("lists all calls, and no others", function()
    local calls = reference:match("\n## Calls\n(.-)\n## ")
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
