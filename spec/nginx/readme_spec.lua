-- The README's nginx.conf, as it stands there: only paths and the port are this tree's.
local nginx = require "spec.support.nginx"
local simulator = require "spec.support.simulator"

local conf = assert(nginx.read "README.md":match "\n```nginx\n(.-)```\n")

-- Replaces what must be there once.
local function replace(from, to)
  local n
  conf, n = conf:gsub(from:gsub("%p", "%%%0"), (to:gsub("%%", "%%%%")))
  assert(n == 1, from .. " is there " .. n .. " times")
end

describe("the README's nginx.conf #nginx", function()
  after_each(nginx.stop_all)

  it("serves what it says", function()
    replace("load_module modules/ndk_http_module.so; ", "")
    replace("load_module modules/ngx_http_lua_module.so; ", "")
    replace('lua_package_path "/usr/local/share/lua/5.1/?.lua;;";', 'lua_package_path "@TREE@/lua/?.lua;;";')
    replace('lua_package_cpath "/usr/local/lib/lua/5.1/?.so;;";', 'lua_package_cpath "@MODULE@/?.so;;";')
    replace("listen 127.0.0.1:8080;", "listen 127.0.0.1:@PORT@;")
    local token = simulator.token()
    local server = nginx.start { conf = conf, workers = 2,
      environment = { HUBSPOT_ACCESS_TOKEN = token, HUBSPOT_BASE_URL = simulator.url } }
    for _, answer in ipairs(server:get_many("/limits", 20)) do
      assert.same({ 200, 4 }, { answer.status, select(2, answer.body:gsub("\n", "")) })
      assert.matches("HUBSPOT_DEFINED 279 100\n", answer.body)
      assert.matches(" no limit\n", answer.body)
    end
    simulator.fault(token, { status = 403 })
    local answer = server:get "/limits"
    assert.equal(502, answer.status)
    assert.matches("^get_limits contacts %-> companies: ", answer.body)
    assert.same({}, server:complaints())
    server:quit()
  end)
end)
