-- Inside the worker: so many light threads that make one call after the other.
local cjson = require "cjson.safe"

local load = {}

local is_running, calls = false, 0
local INPUTS = { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 200 } }

local function by_us(loop)
  local client = require "hubspot_assoc".new { rate = false, max_connections = 250, loop = loop }
  return function()
    local results, errors = client:batch_update("contacts", "companies", INPUTS)
    assert(results and not errors, tostring(errors))
  end
end

local ways = {
  ours = by_us,
  polling = function() return by_us(require "bench.openresty.polling") end,
  resty = function()
    local http = require "resty.http"
    local url = os.getenv "HUBSPOT_BASE_URL"
      .. "/crm/associations/v4/definitions/configurations/contacts/companies/batch/update"
    local headers = { ["Content-Type"] = "application/json", Accept = "application/json",
      Authorization = "Bearer " .. os.getenv "HUBSPOT_ACCESS_TOKEN" }
    return function()
      local answer = assert(http.new():request_uri(url, { method = "POST", headers = headers,
        body = cjson.encode { inputs = INPUTS }, keepalive_timeout = 60000, keepalive_pool = 250 }))
      assert(answer.status == 200 and cjson.decode(answer.body).results[1])
    end
  end,
}

local function work(call)
  while is_running do
    call()
    calls = calls + 1
  end
end

function load.start(way, n)
  local call = ways[way]()
  is_running, calls = true, 0
  assert(ngx.timer.at(0, function()
    for _ = 1, n do ngx.thread.spawn(work, call) end
  end))
end

function load.count()
  return calls
end

function load.stop()
  is_running = false
  ngx.sleep(0.5)
end

return load
