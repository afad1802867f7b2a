-- Calls inside a real nginx.
local nginx = require "spec.support.nginx"

describe("in nginx #nginx", function()
  after_each(nginx.stop_all)

  it("an ordinary call gives its results", function()
    local server = nginx.start { server = [[
      location / { content_by_lua_block {
        local limits, errors = require "hubspot_assoc".get_limits("contacts", "companies")
        ngx.print(errors and tostring(errors) or #limits)
      } } ]] }
    local answer = server:get "/"
    assert.equal("4", answer.body)
    assert.equal(200, answer.status)
    assert.not_matches("%[error%]", server:quit())
  end)
end)
