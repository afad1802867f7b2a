-- A bulk job inside a real nginx: its worker goes on meanwhile.
local nginx = require "spec.support.nginx"
local simulator = require "spec.support.simulator"

describe("in nginx #nginx", function()
  after_each(nginx.stop_all)

  it("a bulk job waits as calls do, and others are served meanwhile", function()
    local token = simulator.token()
    simulator.control("rate", { token = token, max = 100000, interval_ms = 1000, latency_ms = 100 })
    simulator.fault(token, { status = 503, skip = 5, times = 4 })
    local server = nginx.start { environment = { HUBSPOT_ACCESS_TOKEN = token }, server = [[
      location /job { content_by_lua_block {
        local path = os.tmpname()
        local served = 0
        local job = require "hubspot_assoc".bulk("associate_default", "contacts", "companies",
          { batch_size = 5, in_flight = 2, journal = path, max_attempts = 1 })
        ngx.thread.spawn(function()
          while not job.summary do
            served = served + 1
            ngx.sleep(0.01)
          end
        end)
        local i = 0
        local summary, errors = job:run(function()
          i = i + 1
          return i <= 100 and { from = { id = i }, to = { id = i } } or nil
        end)
        local lines = 0
        for _ in io.lines(path) do lines = lines + 1 end
        os.remove(path)
        ngx.print(summary.done, " ", summary.left, " ", lines, " ", served > 20, " ", tostring(errors))
      } } ]] }
    local answer = server:get "/job"
    assert.equal("100 0 100 true nil", answer.body)
    assert.equal(200, answer.status)
    assert.not_matches("%[error%]", server:quit())
  end)
end)
