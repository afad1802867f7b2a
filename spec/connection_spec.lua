-- Connections that end, die, fall silent or say what nobody asked: what was not processed is sent again, and nothing is
-- applied twice.
local nginx = require "spec.support.nginx"
local shell = require "spec.support.shell"
local wire = require "spec.support.wire"

local folder -- of the certificate

local function run(command)
  local status = os.execute(command)
  assert(status == true or status == 0, command)
end

setup(function()
  folder = os.tmpname()
  os.remove(folder)
  run(("mkdir %s && cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out cert 2>/dev/null")
    :format(shell.quote(folder), shell.quote(folder)))
end)

teardown(function() os.execute("rm -r " .. shell.quote(folder)) end)

-- An nginx that counts how often each input was applied. PORT speaks HTTP/1.1, PORT1 TLS, with HTTP/2 if asked.
local function counting_server(settings)
  return nginx.start {
    http = "lua_shared_dict applied 10m; lua_shared_dict counts 1m;",
    server = ([[
      listen 127.0.0.1:@PORT1@ ssl http2;
      ssl_certificate %s/cert;
      ssl_certificate_key %s/key;
      %s
      location / { content_by_lua_block {
        ngx.req.read_body()
        local id = ngx.req.get_body_data():match '"typeId":(%%d+)'
        ngx.shared.applied:incr(id, 1, 0)
        ngx.header["Content-Type"] = "application/json"
        ngx.print('{"status":"COMPLETE","results":[{"category":"USER_DEFINED","typeId":', id, '}]}')
      } }
      location = /counts { content_by_lua_block {
        local applied, twice = 0, 0
        for _, id in ipairs(ngx.shared.applied:get_keys(0)) do
          applied = applied + 1
          if ngx.shared.applied:get(id) > 1 then twice = twice + 1 end
        end
        ngx.print(applied, " ", twice)
      } } ]]):format(folder, folder, settings),
  }
end

local function https(server)
  return ("https://localhost:%d"):format(server.port + 1)
end

-- Starts so many calls at once, each with an input of its own, and waits for all: how many went well, an error of one.
local function call_all(client, calls)
  local well, problem, typeId = 0, nil, 0
  for _, call in ipairs(calls) do
    for _ = 1, call[2] do
      typeId = typeId + 1
      local inputs = { { category = "USER_DEFINED", typeId = typeId, maxToObjectIds = 5 } }
      client.async[call[1]](client.async, "contacts", "companies", inputs):on_done(function(_, errors)
        if errors then problem = tostring(errors) else well = well + 1 end
      end)
    end
  end
  client:drain(100)
  return well, problem
end

describe("a server that ends each connection after some requests", function()
  local server
  after_each(function() server:quit() end)

  for _, scheme in ipairs { "http", "https" } do
    for requests, calls in pairs {
      [3] = { { "batch_update", 200 }, { "batch_create", 50 } },
      [1000] = { { "batch_create", 3500 } },
    } do
      it(("(%d, %s) loses no call and applies none twice"):format(requests, scheme), function()
        server = counting_server(("keepalive_requests %d;"):format(requests))
        local client = wire.client(scheme == "https" and https(server) or server.url,
          { ca_file = folder .. "/cert", deadline = 100, timeout = 30, max_attempts = 4 })
        local wanted = 0
        for _, call in ipairs(calls) do wanted = wanted + call[2] end
        local well, problem = call_all(client, calls)
        assert.same({ wanted, nil }, { well, problem })
        local applied, twice = server:request("GET", "/counts").body:match "(%d+) (%d+)"
        assert.equal(wanted, tonumber(applied))
        assert.equal(0, tonumber(twice))
      end)
    end
  end
end)
