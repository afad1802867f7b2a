-- The rooms over calls in nginx: labels by name and iterators let other requests go on, as calls do.
local nginx = require "spec.support.nginx"
local simulator = require "spec.support.simulator"

after_each(nginx.stop_all)

describe("rooms over calls in nginx #nginx", function()
  it("suspend the request, and share what they read", function()
    local token = simulator.token()
    local server = nginx.start {
      environment = { HUBSPOT_ACCESS_TOKEN = token },
      modules = { app = [[ return require "hubspot_assoc".new { rate = false } ]] },
      server = [[ location /ping { return 200 pong; }
        location / { content_by_lua_block {
          local app = require "app"
          local check = require "hubspot_assoc".check
          local types = check(app:label_types("contacts", "companies"))
          local done = check(app:set_limits("contacts", "companies", { Employee = 40, unlabelled = 60 }))
          local inputs = {}
          for i = 1, 30 do
            inputs[i] = { from = { id = i }, to = { id = 100 + i }, types = types:of "Employee" }
          end
          check(app:associate("contacts", "companies", inputs))
          local n = 0
          for id, records, errors in app:read_all("contacts", "companies", { 1, 2, 30, 31 }, { batch_size = 2 }) do
            n = n + #records
          end
          for record in app:list_all("companies", 101, "contacts") do n = n + tonumber(record.toObjectId) * 100 end
          ngx.print(#done, " ", n)
        } }
        location /log { log_by_lua_block { require "app":label_types("contacts", "deals") } return 204; } ]],
    }
    simulator.fault(token, { delay = 0.5, times = 2 })
    assert.equal("2 103", server:get("/").body)
    assert.equal("0 103", server:get("/").body)
    assert.same({}, server:complaints())
    server:get "/log"
    assert.matches("'label_types' cannot wait here", table.concat(server:complaints()))
    server:quit()
    local reads = 0
    for _, call in ipairs(simulator.log(token)) do
      reads = reads + (call.path:find "/labels$" and 1 or 0)
    end
    assert.equal(4, reads) -- one in each direction for label_types, one for each set_limits
  end)
end)
