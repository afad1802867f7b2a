-- The option `headers` in nginx: what the request brought is handed on to HubSpot.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"

-- As README has it: only what is sound is handed on.
local app = [[ return require "hubspot_assoc".new { rate = false, max_attempts = 1, headers = function()
  local parent = ngx.var.http_traceparent
  return { traceparent = parent and parent:match "^[%x-]+$" }
end } ]]

local PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

describe("headers in nginx #nginx", function()
  after_each(function()
    nginx.stop_all()
    fault_server.stop_all()
  end)

  it("are those of the request that starts the call", function()
    local hubspot = fault_server.start(require "spec.support.binding".answer(200, '{"results":[]}'))
    local server = nginx.start { modules = { app = app }, environment = { HUBSPOT_BASE_URL = hubspot.url }, server = [[
      location / { content_by_lua_block {
        local app = require "app"
        local future = app.async:get_limits("contacts", "companies")
        local _, errors = app:get_limits("contacts", "companies")
        local _, late = future:wait()
        ngx.print(tostring(errors or late))
      } }
      location /timer { content_by_lua_block {
        local done, problem
        ngx.timer.at(0, function()
          local _, errors = require "app":get_limits("contacts", "companies")
          done, problem = true, tostring(errors)
        end)
        while not done do ngx.sleep(0.01) end
        ngx.print(problem)
      } } ]] }
    assert.equal("nil", server:get("/", { traceparent = PARENT }).body)
    assert.equal("nil", server:get("/", { traceparent = "no parent" }).body)
    assert.equal("nil", server:get("/").body)
    assert.matches("the headers function failed: .*API disabled", server:get("/timer").body)
    local parents = {}
    for i, request in ipairs(hubspot:stop()) do parents[i] = request.headers.traceparent or "none" end
    assert.same({ PARENT, PARENT, "none", "none", "none", "none" }, parents)
    assert.same({}, server:complaints())
    server:quit()
  end)
end)
