#!/usr/bin/env lua
--- What calls cost an nginx worker: the latency of an unrelated /ping on the same single worker while 200 calls are in
-- flight to a HubSpot that takes 50 ms, beside its idle figures; calls per second and processor time per call, of some
-- rounds the least. The same with a wake-up by polling, and with lua-resty-http if RESTY_HTTP names the folder that has
-- resty/http.lua (and resty/string.lua, of lua-resty-string); and what libcurl alone takes for the same requests, in C,
-- without nginx. Called by `make bench-openresty`.

package.path = "./?.lua;" .. package.path
local figures = require "bench.figures"
local nginx = require "spec.support.nginx"
local socket = require "socket"

local IN_FLIGHT, ROUNDS, SECONDS, PINGS = tonumber(os.getenv "IN_FLIGHT") or 200, 5, 4, 1000
local TICKS = 100 -- of /proc/PID/stat in a second

local RESTY_HTTP = os.getenv "RESTY_HTTP"
if RESTY_HTTP == "" then RESTY_HTTP = nil end -- what make hands on where none was given

local function start_hubspot()
  return nginx.start {
    http = "keepalive_requests 100000000;",
    server = [[ location / { content_by_lua_block {
      ngx.req.read_body()
      ngx.sleep(0.04 + 0.02 * math.random()) -- else all calls would soon come back at the same time
      ngx.header["Content-Type"] = "application/json"
      ngx.print('{"status":"COMPLETE","results":[{"category":"HUBSPOT_DEFINED","typeId":279,',
        '"userEnforcedMaxToObjectIds":200}],',
        '"startedAt":"2026-01-01T00:00:00.000Z","completedAt":"2026-01-01T00:00:00.050Z"}')
    } } ]],
  }
end

local function start_worker(hubspot)
  return nginx.start {
    environment = { HUBSPOT_BASE_URL = hubspot.url, HUBSPOT_ACCESS_TOKEN = "pat-bench", RESTY_HTTP = RESTY_HTTP or "" },
    main = "env RESTY_HTTP;",
    http = [[ keepalive_requests 100000000; lua_socket_log_errors off; init_by_lua_block {
      package.path = "./?.lua;" .. (os.getenv "RESTY_HTTP" or "") .. "/?.lua;" .. package.path
    } ]],
    server = [[
      location = /ping { return 200 "pong"; }
      location = /start { content_by_lua_block {
        require "bench.openresty.load".start(ngx.var.arg_way, ngx.var.arg_n)
      } }
      location = /count { content_by_lua_block { ngx.print(require "bench.openresty.load".count()) } }
      location = /stop { content_by_lua_block { require "bench.openresty.load".stop() } }
    ]],
  }
end

--- Adds latencies of /ping in microseconds; over one connection, with 2 ms in between.
local function ping(server, taken)
  local connection = assert(socket.connect("127.0.0.1", server.port))
  connection:setoption("tcp-nodelay", true)
  for _ = 1, PINGS do
    local started = socket.gettime()
    assert(connection:send "GET /ping HTTP/1.1\r\nHost: worker\r\n\r\n")
    repeat local line = assert(connection:receive "*l") until line == ""
    assert(connection:receive(4) == "pong")
    taken[#taken + 1] = (socket.gettime() - started) * 1e6
    socket.sleep(0.002)
  end
  connection:close()
end

--- Seconds of processor time that the worker has used, all its threads.
local function cpu(server)
  local file = assert(io.open(("/proc/%d/stat"):format(server:workers()[1])))
  local fields = {}
  for field in (file:read "*a":gsub("^.*%) ", "")):gmatch "%S+" do fields[#fields + 1] = field end
  file:close()
  return (fields[12] + fields[13]) / TICKS -- user's and system's
end

local function get(server, path)
  local answer = server:get(path)
  assert(answer.status == 200, path .. ": " .. answer.status .. " " .. server:log())
  return answer.body
end

--- One way under load, for a while: adds its calls, seconds, processor time and latencies of /ping.
local function measure(server, way, sums)
  get(server, ("/start?way=%s&n=%d"):format(way, IN_FLIGHT))
  socket.sleep(1)
  local calls, used, started = tonumber(get(server, "/count")), cpu(server), socket.gettime()
  socket.sleep(SECONDS)
  calls, used = tonumber(get(server, "/count")) - calls, cpu(server) - used
  sums.calls, sums.us = sums.calls + calls, math.min(sums.us, used / calls * 1e6)
  sums.seconds = sums.seconds + socket.gettime() - started
  ping(server, sums.taken)
  get(server, "/stop")
end

local function at(taken, share)
  return taken[math.max(1, math.ceil(#taken * share))]
end

--- The same requests by libcurl alone: microseconds of processor time for each.
local function measure_libcurl(hubspot, sums)
  local pipe = io.popen(("HUBSPOT_BASE_URL=%s HUBSPOT_ACCESS_TOKEN=pat-bench %s/bench/raw %d %d"):format(hubspot.url,
    os.getenv "BUILD", IN_FLIGHT * 50, IN_FLIGHT))
  sums.us = math.min(sums.us, tonumber((pipe:read("*a"):match "^%S+ %S+ (%S+)")))
  pipe:close()
end

local function print_row(name, sums, idle, resty)
  local taken, p99 = sums.taken, at(sums.taken, 0.99)
  local row = ("  %-24s %6.0f %6.0f %7.0f %9.2f"):format(name, at(taken, 0.5), p99, at(taken, 1),
    p99 / at(idle.taken, 0.99))
  if sums.calls > 0 then
    row = row .. (" %8.0f %8.0f"):format(sums.calls / sums.seconds, sums.us)
    row = row .. (resty and (" %7.2f"):format(sums.us / resty.us) or "")
  end
  print(row)
end

local function main()
  local hubspot = start_hubspot()
  local server = start_worker(hubspot)
  local function new_sums() return { calls = 0, us = math.huge, seconds = 0, taken = {} } end
  local idle, ours, polling, resty = new_sums(), new_sums(), new_sums(), RESTY_HTTP and new_sums()
  local libcurl = new_sums()
  for _ = 1, ROUNDS do -- in turn, for the machine may be faster at one time than at another
    ping(server, idle.taken)
    measure(server, "ours", ours)
    measure(server, "polling", polling)
    if resty then measure(server, "resty", resty) end
    measure_libcurl(hubspot, libcurl)
  end
  for _, sums in ipairs { idle, ours, polling, resty } do table.sort(sums.taken) end
  print(("\nOne nginx worker, %d calls in flight, 50 ms each; /ping beside them, us\n"):format(IN_FLIGHT))
  print("                           median    p99   worst  p99/idle  calls/s  us/call  /resty")
  print_row("idle", idle, idle)
  print_row("hubspot_assoc", ours, idle, resty)
  print_row("hubspot_assoc, polling", polling, idle, resty)
  if resty then print_row("lua-resty-http", resty, idle, resty) end
  local ratio = resty and (" %7.2f"):format(libcurl.us / resty.us) or ""
  print(("  %-67s %8.0f%s"):format("libcurl alone", libcurl.us, ratio))
  print()
  figures.add("nginx", "hubspot_assoc", ours.us)
  figures.add("goal", "/ping in nginx meanwhile, p99 : idle", at(ours.taken, 0.99) / at(idle.taken, 0.99), 2)
  if resty then
    figures.add("nginx", "lua-resty-http", resty.us)
    figures.add("goal", "nginx, processor time : lua-resty-http", ours.us / resty.us, 1.2)
  end
  assert(not server:log():find "%[error%]", server:log())
end

local ok, message = xpcall(main, debug.traceback)
nginx.stop_all()
if not ok then error(message, 0) end
