-- OAuth in a real nginx: light threads wait for one refresh, and the worker has time for everything else.
local nginx = require "spec.support.nginx"
local simulator = require "spec.support.simulator"

local APP = [[
  local assoc = require "hubspot_assoc"
  local app = { told = 0 }
  local oauth = assoc.oauth { client_id = "%s", client_secret = "simulator", refresh_token = "simulator-first",
    base_url = os.getenv "HUBSPOT_BASE_URL", on_refresh = function()
      ngx.sleep(0.2)
      app.told = app.told + 1
    end }
  for i = 1, 2 do app[i] = assoc.new { access_token = oauth, base_url = os.getenv "HUBSPOT_BASE_URL" } end
  return app ]]

local SERVER = [[
  location /call { content_by_lua_block {
    local app = require "app"
    local limits, errors = app[ngx.var.arg_client == "2" and 2 or 1]:get_all_limits()
    ngx.print(errors and tostring(errors) or #limits, " ", app.told)
  } }
  location /told { content_by_lua_block { ngx.print(require "app".told) } } ]]

describe("OAuth in nginx #nginx", function()
  after_each(nginx.stop_all)

  it("asks once for all light threads of a worker, which goes on meanwhile", function()
    local app_id = simulator.token()
    simulator.control("oauth", { token = app_id, rotate = true })
    simulator.fault(app_id, { delay = 1.5 })
    local server = nginx.start { server = SERVER, modules = { app = APP:format(app_id) } }
    local first = server:begin("/call?client=1", { count = 6, parallel = 6 })
    local second = server:begin("/call?client=2", { count = 6, parallel = 6 })
    local meanwhile = server:begin("/told", { count = 5, parallel = 1 }):wait()
    for _, pending in ipairs { first, second } do
      for _, answer in ipairs(pending:wait()) do assert.same({ 200, "7 1" }, { answer.status, answer.body }) end
    end
    for _, answer in ipairs(meanwhile) do assert.same({ 200, "0" }, { answer.status, answer.body }) end
    local tokens = 0
    for _, entry in ipairs(simulator.log(app_id)) do
      if entry.path:find "^/oauth/" then tokens = tokens + 1 end
    end
    assert.equal(1, tokens)
    assert.same({}, server:complaints())
    server:quit()
  end)
end)
