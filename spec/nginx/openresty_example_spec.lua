-- examples/openresty, as it is: its nginx.conf, its Lua, the script that runs it.
local cjson = require("cjson").new()
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local nginx = require "spec.support.nginx"
local prometheus = require "spec.support.prometheus"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"
local system = require "system"

local PAIR = "/limits/contacts/companies"

local read = nginx.read

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function line_of(command)
  return lines_of(command)[1] or ""
end

-- ---- a service that runs ----

local running = {}

local Service = {}
Service.__index = Service

-- The processes that this one has started, directly or not, as far as they run.
local function descendants(pid, found)
  found = found or {}
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    found[#found + 1] = tonumber(child)
    descendants(child, found)
  end
  return found
end

-- The folders in build/ in which this service, and a simulator of its own, run.
function Service:folders()
  local found, seen = {}, {}
  for _, pid in ipairs(descendants(self.pid)) do
    local folder = line_of(("readlink /proc/%d/cwd"):format(pid))
    if folder:find "/build/%a+%.%w+$" and not seen[folder] then
      seen[folder] = true
      found[#found + 1] = folder
    end
  end
  return found
end

-- Runs a command that prints the service's URL, on a port that is free.
local function run(command, words)
  for _ = 1, 10 do
    local port = line_of ". scripts/nginx.sh; random_port"
    local self = setmetatable({ port = port, url = "http://127.0.0.1:" .. port }, Service)
    self.out, self.log_path = os.tmpname(), os.tmpname()
    self.pid = tonumber(line_of(("env --default-signal=INT PORT=%s %s %s >%s 2>%s </dev/null & echo $!"):format(
      port, table.concat(words, " "), command, self.out, self.log_path)))
    running[self] = true
    assert(nginx.wait_until(function()
      return read(self.out):find(self.url .. "\n", 1, true) or not nginx.is_alive(self.pid)
    end))
    if nginx.is_alive(self.pid) then
      self.server = nginx.at(self.url, line_of(("grep -lF '127.0.0.1:%s;' build/openresty.*/nginx.conf"):format(port))
        :match "^(.*)/")
      return self
    end
    self:forget()
    assert(self:log():find("in use", 1, true), self:log())
  end
end

-- The service of a fresh account, or with this token and HubSpot.
local function start(options)
  options = options or {}
  local token = options.token or simulator.token()
  local service = run("examples/openresty/run", {
    "HUBSPOT_ACCESS_TOKEN=" .. shell.quote(token), "HUBSPOT_BASE_URL=" .. shell.quote(options.url or simulator.url),
  })
  service.token = token
  assert(nginx.wait_until(function() return #service.server:workers() == 2 end))
  return service
end

-- What it has said on stderr, up to now or its end.
function Service:log()
  return self.whole_log or read(self.log_path)
end

function Service:forget()
  self.whole_log = read(self.log_path)
  running[self] = nil
  os.remove(self.out)
  os.remove(self.log_path)
end

function Service:end_by(signal, target)
  os.execute(("kill -s %s -- %s"):format(signal, target or self.pid))
  assert(nginx.wait_until(function() return not nginx.is_alive(self.pid) end), "it does not end")
  self:forget()
end

-- An answer with its JSON, in which there is no token.
function Service:check(answer)
  if self.token ~= "" then assert.is_nil(answer.body:find(self.token, 1, true)) end
  if answer.body ~= "" then answer.json = cjson.decode(answer.body) end
  assert.equal("application/json", answer.headers["content-type"])
  return answer
end

function Service:request(method, path, body)
  local answer = self.server:begin(path, { method = method, body = body }):wait()[1]
  assert(answer and answer.status > 0, "no answer\n" .. self:log())
  return self:check(answer)
end

function Service:get(path)
  return self:request("GET", path or PAIR)
end

local function inputs(...)
  return cjson.encode { inputs = { ... } }
end

local function limit(number)
  return { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = number }
end

function Service:put(number)
  return self:request("PUT", PAIR, inputs(limit(number)))
end

-- Sends bytes as they are.
function Service:send(bytes)
  local path = os.tmpname()
  write(path, bytes)
  local pipe = assert(io.popen(shell.helper("raw.lua", self.port, path)))
  local text = pipe:read "*a"
  pipe:close()
  os.remove(path)
  local status, head, body = text:match "^HTTP/1%.1 (%d+)[^\n]*\n(.-)\r?\n\r?\n(.*)$"
  return { status = tonumber(status), json = cjson.decode(body), head = head }
end

-- Lets one worker alone accept requests: 1 or 2; nil: both again.
function Service:let_only(n)
  for i, pid in ipairs(self.server:workers()) do
    local is_out = n ~= nil and i ~= n
    os.execute(("kill -%s %d"):format(is_out and "STOP" or "CONT", pid))
    -- Until it has really stopped, a connection may wake it instead of the other.
    assert(nginx.wait_until(function()
      return (read(("/proc/%d/stat"):format(pid)):match "%) T" ~= nil) == is_out
    end))
  end
end

-- The limit of contacts -> companies that an answer tells.
local function limit_in(answer)
  for _, result in ipairs(answer.json.results) do
    if result.typeId == 279 then return result.userEnforcedMaxToObjectIds end
  end
end

-- How many calls of this method HubSpot has had.
local function count_calls(service, method)
  local n = 0
  for _, call in ipairs(simulator.log(service.token)) do n = n + (call.method == method and 1 or 0) end
  return n
end

local function first_error(answer)
  return answer.json.errors[1]
end

local function end_all()
  for service in pairs(running) do
    if nginx.is_alive(service.pid) then
      if service.server then service:let_only(nil) end -- it may not have begun
      service:end_by "TERM"
    else
      service:forget()
    end
  end
  fault_server.stop_all()
end

-- Whatever has happened, there is no token in the log, nor what was sent.
local function check_log(service)
  if service.token ~= "" then assert.is_nil(service:log():find(service.token, 1, true)) end
  assert.not_matches("%[alert%]", service:log())
  assert.not_matches("maxToObjectIds", service:log())
end

describe("examples/openresty: limits #nginx", function()
  local service

  before_each(function() service = start() end)
  after_each(function()
    end_all()
    check_log(service)
  end)

  it("are updated and read back", function()
    assert.equal(100, limit_in(service:get()))
    local answer = service:put(200)
    assert.same({ 200, 200 }, { answer.status, limit_in(answer) })
    assert.is_nil(answer.json.errors)
    answer = service:get()
    assert.same({ 200, 200 }, { answer.status, limit_in(answer) })
    assert.equal("", service:log())
  end)

  it("come from a cache that the workers share", function()
    local bodies = {}
    for n = 1, 2 do
      service:let_only(n)
      for _ = 1, 3 do bodies[service:get().body] = true end
    end
    assert.equal(100, limit_in { json = cjson.decode((next(bodies))) })
    assert.is_nil(next(bodies, (next(bodies))))
    assert.equal(1, count_calls(service, "GET"))
  end)

  it("are read anew after a few seconds", function()
    service:get()
    system.sleep(5.2)
    service:get()
    assert.equal(2, count_calls(service, "GET"))
  end)

  it("are read anew after an update by any worker, under whatever name", function()
    service:let_only(1)
    service:get()
    service:get "/limits/0-1/0-2"
    service:let_only(2)
    service:put(200)
    assert.equal(200, limit_in(service:get()))
    service:let_only(1)
    assert.equal(200, limit_in(service:get "/limits/0-1/0-2"))
    assert.equal(4, count_calls(service, "GET"))
  end)

  it("are read anew after an update that failed, for it may have been applied", function()
    assert.equal(100, limit_in(service:get()))
    simulator.fault(service.token, { status = 400, after = true })
    assert.equal(400, service:put(200).status)
    assert.equal(200, limit_in(service:get()))
  end)

  it("that were read before an update are not written into the cache after it", function()
    simulator.fault(service.token, { delay = 1, after = true }) -- HubSpot reads at once and answers late
    service:let_only(1)
    local late = service.server:begin(PAIR)
    assert(nginx.wait_until(function() return count_calls(service, "GET") == 1 end))
    service:let_only(2)
    service:put(200)
    service:let_only(nil)
    assert.equal(100, limit_in(service:check(late:wait()[1])))
    for _ = 1, 10 do assert.equal(200, limit_in(service:get())) end
    assert.equal(2, count_calls(service, "GET"))
  end)

  it("that were read during an update are not read from the cache after it", function()
    simulator.fault(service.token, { delay = 1 }) -- HubSpot updates late
    local update = service.server:begin(PAIR, { method = "PUT", body = inputs(limit(200)) })
    assert(nginx.wait_until(function() return count_calls(service, "POST") == 1 end))
    assert.equal(100, limit_in(service:get()))
    assert.equal(200, limit_in(service:check(update:wait()[1])))
    assert.equal(200, limit_in(service:get()))
  end)

  it("are never old behind an update, whoever else reads", function()
    simulator.control("rate", { token = service.token, max = 10000 })
    service:get()
    local others = service.server:begin(PAIR, { count = 600, parallel = 6 })
    for number = 101, 112 do
      assert.equal(200, service:put(number).status)
      assert.equal(number, limit_in(service:get()))
    end
    for _, answer in ipairs(others:wait()) do assert.equal(200, answer.status) end
  end)

  it("are an empty list where there are none", function()
    simulator.fault(service.token, { body = '{"results":[]}' })
    assert.equal('{"results":[]}\n', service:get().body)
    assert.equal('{"results":[]}\n', service:request("PUT", PAIR, '{"inputs":[]}').body)
  end)

  it("are partly updated: 207", function()
    local answer = service:request("PUT", PAIR, inputs(limit(300), { category = "USER_DEFINED", typeId = 38,
      maxToObjectIds = 5000 }))
    assert.same({ 207, 300, 1 }, { answer.status, limit_in(answer), #answer.json.errors })
    local err = first_error(answer)
    assert.same({ "api", "VALIDATION_ERROR", "38" }, { err.kind, err.category, err.context.typeId[1] })
    assert.matches("must not exceed", err.message)
    assert.matches('"results":%[%]', service:put(1).body)
    assert.equal("", service:log()) -- the caller's doing
  end)

  it("can be asked for by HEAD", function()
    local answer = service:request("HEAD", PAIR)
    assert.same({ 200, "" }, { answer.status, answer.body })
  end)
end)

describe("examples/openresty: a request that is wrong #nginx", function()
  local service

  before_each(function() service = start() end)
  after_each(function()
    end_all()
    check_log(service)
  end)

  local function expect_refused(status, message, answer)
    assert.same({ status, "request" }, { answer.status, first_error(answer).kind })
    assert.matches(message, first_error(answer).message)
  end

  it("in its body is told where", function()
    local function expect(message, body) expect_refused(400, message, service:request("PUT", PAIR, body)) end
    expect("not JSON", "{")
    expect("not JSON", "")
    expect("not JSON", '{"inputs":[{"category":"USER_DEFINED","typeId":NaN,"maxToObjectIds":1}]}')
    expect('one field, "inputs"', "{}")
    expect('one field, "inputs"', "[]")
    expect('one field, "inputs"', "279")
    expect('one field, "inputs"', '{"inputs":[],"dryRun":true}')
    expect("^inputs: list expected, got a single element", '{"inputs":{"category":"USER_DEFINED"}}')
    expect("^inputs%[2%]%.typeId: integer expected, got string \"x\"$",
      inputs(limit(1), { category = "USER_DEFINED", typeId = "x", maxToObjectIds = 1 }))
    expect("^inputs%[1%]%.typeID: unknown field; did you mean 'typeId'%?$", '{"inputs":[{"typeID":279}]}')
    expect("^inputs%[1%]%.typeId: integer expected, got null$",
      '{"inputs":[{"category":"USER_DEFINED","typeId":null,"maxToObjectIds":1}]}')
    expect("^inputs%[1%]%.maxToObjectIds: ", '{"inputs":[{"category":"USER_DEFINED","typeId":1,"maxToObjectIds":1.5}]}')
    assert.equal(0, simulator.log(service.token).count)
    assert.equal("", service:log())
  end)

  it("in its path or method is told what there is", function()
    for _, path in ipairs { "/", "/limits", "/limits/contacts", PAIR .. "/", PAIR .. "/x", "/healthy", "/error",
      "/limits/a%0Ab/c" } do
      expect_refused(404, "/limits/{from}/{to}, /health and /metrics", service:get(path))
    end
    for _, method in ipairs { "POST", "DELETE", "PATCH", "TRACE" } do
      local answer = service:request(method, PAIR)
      assert.same({ 405, "GET, HEAD, PUT" }, { answer.status, answer.headers.allow })
    end
    local answer = service:request("PUT", "/health", "{}")
    expect_refused(405, "GET, HEAD", answer)
    assert.equal("GET, HEAD", answer.headers.allow)
  end)

  it("in its size or form is refused by nginx, in JSON", function()
    local spaces = (" "):rep(300 * 1024)
    local head = "PUT " .. PAIR .. " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    expect_refused(413, "too large", service:send(("%sContent-Length: %d\r\n\r\n%s"):format(head, #spaces, spaces)))
    expect_refused(413, "too large", service:send(head .. "Transfer-Encoding: chunked\r\n\r\n"
      .. ("%x\r\n%s\r\n0\r\n\r\n"):format(#spaces, spaces)))
    expect_refused(400, "no HTTP", service:send "hello\r\n\r\n")
    expect_refused(400, "headers are too large", service:send(head .. "X: " .. ("x"):rep(50000) .. "\r\n\r\n"))
    expect_refused(414, "refuses", service:send("GET /" .. ("x"):rep(50000) .. " HTTP/1.1\r\nHost: x\r\n\r\n"))
  end)

  it("is not one that comes in tiny pieces, which nginx puts into a file", function()
    local body = inputs(limit(200)) .. (" "):rep(90 * 1024)
    local answer = service:send("PUT " .. PAIR .. " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
      .. "Transfer-Encoding: chunked\r\n\r\n" .. body:gsub(".", "1\r\n%0\r\n") .. "0\r\n\r\n")
    assert.same({ 200, 200 }, { answer.status, limit_in(answer) })
    assert.matches("buffered to a temporary file", service:log())
  end)

  it("for HubSpot is answered with HubSpot's status and error", function()
    local answer = service:get "/limits/contacts/nonsense"
    local err = first_error(answer)
    assert.same({ 400, "api", "VALIDATION_ERROR", false, false, 1 },
      { answer.status, err.kind, err.category, err.retryable, err.ambiguous, err.attempts })
    assert.matches("^%x+%-", err.correlationId)
    for _, status in ipairs { 400, 404, 409 } do
      simulator.fault(service.token, { status = status, body = { message = "no", category = "C" } })
      answer = service:put(200)
      assert.same({ status, "no", "C" }, { answer.status, first_error(answer).message, first_error(answer).category })
    end
    assert.equal("", service:log())
  end)
end)

describe("examples/openresty: what is not the caller's doing #nginx", function()
  local service

  after_each(function()
    end_all()
    check_log(service)
  end)

  local function expect(status, kind, answer)
    assert.same({ status, kind }, { answer.status, first_error(answer).kind })
    assert.matches("%[error%][^\n]*get_limits contacts %-> companies: ", service:log())
  end

  it("is 502 where HubSpot refuses the token, or fails", function()
    service = start()
    for _, status in ipairs { 401, 403, 405, 415, 500, 521 } do
      simulator.fault(service.token, { status = status, times = status < 500 and 1 or 4 })
      local answer = service:get()
      expect(502, "api", answer)
      assert.equal(status, first_error(answer).http_status)
    end
    simulator.fault(service.token, { status = 401, body = { message = "not with " .. service.token } })
    assert.matches("^not with ", first_error(service:get()).message)
    assert.equal(7, select(2, service:log():gsub("%[error%]", "")))
  end)

  it("is 502 where HubSpot cannot be reached", function()
    service = start { url = "http://127.0.0.1:1" }
    local answer = service:get()
    expect(502, "transport", answer)
    assert.equal("connect", first_error(answer).code)
    assert.equal(200, service:get("/health").status)
  end)

  it("is 502 where HubSpot's answer cannot be used", function()
    service = start { url = fault_server.start(faults.html_error).url }
    local answer = service:get()
    expect(502, "api", answer)
    assert.is_nil(answer.body:find("<html>", 1, true))
    end_all()
    service = start { url = fault_server.start {
      "acts.always", { "answer", 200, "A\195\40", { ["Content-Type"] = "text/plain" } } }.url }
    expect(502, "protocol", service:get())
  end)

  it("is 503 and the time to come back where HubSpot throttles", function()
    service = start()
    simulator.fault(service.token, { status = 429, retry_after = 60 })
    local answer = service:get()
    expect(503, "throttled", answer)
    assert.equal("60", answer.headers["retry-after"])
    assert.equal("TEN_SECONDLY_ROLLING", first_error(answer).policyName)
    -- Now all workers hold still; their seconds are broken, and rounded up.
    for n = 1, 2 do
      service:let_only(n)
      answer = service:get()
      expect(503, "throttled", answer)
      local seconds = first_error(answer).retry_after
      assert.is_true(seconds > 50 and seconds < 60 and seconds % 1 > 0, tostring(seconds))
      assert.equal(tostring(math.ceil(seconds)):gsub("%.0", ""), answer.headers["retry-after"])
    end
    assert.equal(1, count_calls(service, "GET"))
  end)

  it("is 503 where the daily limit is reached", function()
    service = start()
    simulator.fault(service.token, { status = 429, policy = "DAILY" })
    local answer = service:get()
    expect(503, "throttled", answer)
    assert.equal("DAILY", first_error(answer).policyName)
    assert.is_nil(answer.headers["retry-after"]) -- nobody knows the account's midnight
  end)

  it("is 500 where there is no token, and /health says so", function()
    service = start { token = "" }
    expect(500, "config", service:get())
    local answer = service:get "/health"
    assert.same({ 503, "config" }, { answer.status, first_error(answer).kind })
    assert.equal(503, service:request("HEAD", "/health").status)
  end)

  if os.getenv "SLOW" then
    it("is 504 where HubSpot does not answer in time", function()
      service = start { url = fault_server.start(faults.never_answers).url }
      local answer = service:get()
      expect(504, "timeout", answer)
      assert.is_true(answer.seconds > 15 and answer.seconds < 25, tostring(answer.seconds))
    end)
  end
end)

describe("examples/openresty: /health #nginx", function()
  after_each(end_all)

  it("says that there is a token, and does not ask HubSpot", function()
    local service = start()
    local answer = service:get "/health"
    assert.same({ 200, '{"status":"ok"}\n' }, { answer.status, answer.body })
    assert.same({ 200, "" }, { service:request("HEAD", "/health").status, service:request("HEAD", "/health").body })
    assert.equal(0, simulator.log(service.token).count)
    check_log(service)
  end)
end)

describe("examples/openresty: /metrics #nginx", function()
  after_each(end_all)

  it("has each worker's counters, and the account's rate once", function()
    local service = start()
    service:let_only(1)
    assert.equal(200, service:get().status)
    service:let_only(2)
    assert.equal(400, service:get("/limits/contacts/nonsense").status)
    service:let_only(nil)
    local samples, answer
    assert(nginx.wait_until(function()
      answer = service.server:get "/metrics"
      samples = prometheus.check(answer.body)
      return samples['hubspot_assoc_calls_total{worker="0"}'] == 1
        and samples['hubspot_assoc_calls_total{worker="1"}'] == 1
    end))
    assert.equal("text/plain; version=0.0.4", answer.headers["content-type"])
    assert.equal(1, samples['hubspot_assoc_errors_total{kind="api",worker="0"}']
      + samples['hubspot_assoc_errors_total{kind="api",worker="1"}'])
    assert.equal(250000, samples.hubspot_assoc_rate_limit_daily_requests)
    assert.is_true(samples.hubspot_assoc_rate_limit_daily_remaining_requests < 250000)
    check_log(service)
  end)

  it("are there before the first call, and still right after a reload", function()
    local service = start()
    local samples = prometheus.check(service.server:get("/metrics").body)
    assert.equal(0, samples['hubspot_assoc_calls_total{worker="0"}'])
    assert.is_nil(samples.hubspot_assoc_rate_limit_daily_requests)
    service:get()
    local before = service.server:workers()
    os.execute("kill -s HUP " .. service.server:pid())
    assert(nginx.wait_until(function()
      local now = service.server:workers()
      return #now == 2 and now[1] ~= before[1] and now[2] ~= before[2] and now[1] ~= before[2] and now[2] ~= before[1]
    end))
    service.server:get "/metrics" -- may still meet what an old worker has written, a second at most
    assert(nginx.wait_until(function()
      samples = prometheus.check(service.server:get("/metrics").body)
      return samples['hubspot_assoc_calls_total{worker="0"}'] == 0
        and samples['hubspot_assoc_calls_total{worker="1"}'] == 0
    end))
    check_log(service)
  end)

  it("hand the caller's traceparent on to HubSpot, if it is one", function()
    local hubspot = fault_server.start(require "spec.support.binding".answer(200, '{"results":[]}'))
    local service = start { url = hubspot.url }
    local parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert.equal(200, service.server:get("/limits/a/b", { traceparent = parent }).status)
    assert.equal(200, service.server:get("/limits/a/c", { traceparent = "\255; none" }).status)
    local seen = hubspot:stop()
    assert.same({ parent, "none" }, { seen[1].headers.traceparent, seen[2].headers.traceparent or "none" })
  end)
end)

-- service.lua with a client whose calls end as the path says: what HubSpot cannot be made to do, or not quickly.
describe("examples/openresty: service.lua #nginx", function()
  after_each(nginx.stop_all)

  local STUB = [[
    require "hubspot_assoc".new = function()
      local function call(_, from, to)
        if from == "raise" then
          error(to == "other" and "bad argument #1 to 'find' (string expected, got nil)"
            or "bad argument #4 to 'get_limits' (options.deadline: number expected)")
        end
        local function err(kind) return { kind = kind, message = kind, http_status = 200, retry_after = 0.2 } end
        return from == "part" and {} or nil, { err(to), err "config" }
      end
      return { get_limits = call }
    end
    require "service" ]]

  it("gives each kind of error its status", function()
    local server = nginx.start {
      modules = { service = read "examples/openresty/service.lua", metrics = read "examples/metrics.lua" },
      http = "lua_shared_dict hubspot 1m; lua_shared_dict limits 1m; init_by_lua_block {" .. STUB .. "}",
      server = [[ location / { content_by_lua_block { require "service".serve() } } ]],
    }
    local expected = { throttled = 503, timeout = 504, transport = 502, protocol = 502, config = 500, canceled = 503,
      pending = 500, ["not-known"] = 500, api = 400 }
    for kind, status in pairs(expected) do
      local answer = server:get("/limits/all/" .. kind)
      assert.same({ kind, status, "1" }, { kind, answer.status, answer.headers["retry-after"] })
      assert.equal(207, server:get("/limits/part/" .. kind).status)
    end
    -- A bug is none of the caller's mistakes, however it is put.
    for _, what in ipairs { "other", "options" } do
      local answer = server:get("/limits/raise/" .. what)
      assert.same({ 500, "internal" }, { answer.status, cjson.decode(answer.body).errors[1].kind })
      assert.not_matches("bad argument", answer.body)
    end
    local log = server:quit()
    assert.matches("bad argument #1 to 'find'", log)
    assert.matches("bad argument #4 to 'get_limits'", log)
  end)
end)

describe("make openresty #nginx", function()
  after_each(end_all)

  local function check(signal, group)
    local service = run("setsid make -s run-openresty", { "HUBSPOT_ACCESS_TOKEN=simulator-token" })
    service.token = "simulator-token"
    assert.equal(100, limit_in(service:get()))
    local commands = {}
    for command in read(service.out):gmatch "\n%s*(curl [^\n]+)" do commands[#commands + 1] = command end
    assert.equal(2, #commands)
    local pids, folders = descendants(service.pid), service:folders()
    assert.is_true(#pids >= 4) -- the simulator's script and nginx, the service's master and workers
    assert.equal(2, #folders)
    service:end_by(signal, (group and "-" or "") .. service.pid)
    local command = "ls -d " .. table.concat(folders, " ") .. " 2>/dev/null"
    assert(nginx.wait_until(function() return line_of(command) == "" end), "still there: " .. line_of(command))
    for _, pid in ipairs(pids) do
      assert(nginx.wait_until(function() return not nginx.is_alive(pid) end), "still there: " .. pid)
    end
    assert.equal(0, service.server:begin("/health"):wait()[1].status)
  end

  it("runs until Ctrl-C, which a terminal sends to all of its processes", function() check("INT", true) end)
  it("runs until make is ended by SIGTERM", function() check("TERM", false) end)
end)
