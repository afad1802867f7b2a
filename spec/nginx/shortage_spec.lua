-- What nginx may be short of: timers, connections, folders. Calls end with an error, or well and later; none hangs.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local system = require "system"

local quick = "faults.none"

local app = [[
  return require "hubspot_assoc".new { rate = false, max_connections = 20, max_attempts = 1, deadline = 3 } ]]

local CALL = [[ location /call { content_by_lua_block {
  local limits, errors = require "app":get_limits("contacts", "companies")
  ngx.print(errors and tostring(errors) or #limits)
} } ]]

local function start(options)
  options.modules = { app = options.app or app }
  options.environment = options.environment or {}
  options.environment.HUBSPOT_BASE_URL = fault_server.start(options.script or quick).url
  options.server = (options.server or "") .. CALL
  return nginx.start(options)
end

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
end)

describe("without timers to spare #nginx", function()
  local OTHERS = [[ location /others { content_by_lua_block {
    local n = 0
    while n < 10 and ngx.timer.at(ngx.var.arg_delay, function() ngx.sleep(1) end) do n = n + 1 end
    ngx.print(n)
  } } ]]

  it("(pending ones) a call ends with an error that says so, and later ones go well", function()
    local server = start { http = "lua_max_pending_timers 1;", server = OTHERS }
    server:get "/others?delay=0.5"
    local answer = server:get "/call"
    assert.is_true(answer.seconds < 1, ("%.2f s"):format(answer.seconds))
    assert.matches("config", answer.body)
    assert.matches("timer", answer.body)
    system.sleep(0.6)
    assert.equal("1", server:get("/call").body)
    server:quit()
  end)

  it("(one pending one) calls go well, one after the other and side by side", function()
    local server = start { http = "lua_max_pending_timers 1;" }
    for _ = 1, 3 do assert.equal("1", server:get("/call").body) end
    for _, answer in ipairs(server:get_many("/call", 10)) do assert.equal("1", answer.body) end
    server:quit()
  end)

  -- nginx drops a timer that it cannot run, and tells nobody but its log.
  it("(running ones) a call ends, and later ones go well", function()
    local server = start { http = "lua_max_running_timers 1;", server = OTHERS }
    server:get "/others?delay=0"
    system.sleep(0.05)
    local answer = server:begin("/call"):wait()[1]
    assert.equal(200, answer.status)
    assert.is_true(answer.seconds < 3.5, ("%.2f s"):format(answer.seconds))
    system.sleep(1.1)
    answer = server:begin("/call"):wait()[1]
    assert.same({ 200, "1" }, { answer.status, answer.body })
    assert.is_true(answer.seconds < 1, ("%.2f s"):format(answer.seconds))
    server:quit()
  end)

  it("(running ones) calls that nobody waits for are handed out as soon as another call is made", function()
    local server = start { http = "lua_max_running_timers 1;", server = OTHERS .. [[
      location /begin { content_by_lua_block {
        local app = require "app"
        for _ = 1, 5 do
          app.async:get_limits("contacts", "companies"):on_done(function()
            app.handed_out = (app.handed_out or 0) + 1
          end)
        end
      } }
      location /handed_out { content_by_lua_block { ngx.print(require "app".handed_out or 0) } } ]] }
    server:get "/others?delay=0"
    system.sleep(0.05)
    server:get "/begin"
    system.sleep(1.5)
    assert.equal("0", server:get("/handed_out").body) -- else nginx has not dropped our timer
    server:get "/begin"
    assert.is_true(nginx.wait_until(function() return server:get("/handed_out").body == "10" end, 2),
      server:get("/handed_out").body)
    server:quit()
  end)
end)

describe("without connections to spare #nginx", function()
  it("calls wait for one, and go well", function()
    -- One more than below: OpenResty's nginx takes one for itself.
    local server = start { events = "worker_connections 9;", server = [[
      location /hold { content_by_lua_block { ngx.sleep(0.5) } } ]] }
    assert.equal("1", server:get("/call").body)
    system.sleep(1.2) -- the connection does not linger any more
    local many = server:begin("/call", { count = 3 })
    for _, answer in ipairs(many:wait()) do assert.equal("1", answer.body) end
    local holders = server:begin("/hold", { count = 10 })
    system.sleep(0.1)
    holders:wait()
    assert.equal("1", server:get("/call").body)
    assert.not_matches("exited on signal", server:quit())
  end)

  -- The call comes first, so that its request has a connection; it finds none for news of it.
  it("a call that finds none ends with an error, or well as soon as there is one", function()
    local server = start { events = "worker_connections 8;", server = [[
      location /hold { content_by_lua_block { ngx.sleep(0.6) } }
      location /late { content_by_lua_block {
        ngx.sleep(0.2)
        local limits, errors = require "app":get_limits("contacts", "companies")
        ngx.print(errors and tostring(errors) or #limits)
      } } ]] }
    local caller = server:begin "/late"
    system.sleep(0.1)
    local holders = server:begin("/hold", { count = 10 })
    local answer = caller:wait()[1]
    assert.equal(200, answer.status)
    assert.is_true(answer.body == "1" or answer.body:find "config" ~= nil, answer.body)
    assert.is_true(answer.seconds < 2, ("%.2f s"):format(answer.seconds))
    assert.matches("worker_connections are not enough", server:log())
    holders:wait()
    assert.equal("1", server:get("/call").body)
    assert.equal("", nginx.folders())
    server:quit()
  end)

  it("a call that ends while there are none goes well", function()
    local server = start { events = "worker_connections 8;",
      server = "location /hold { content_by_lua_block { ngx.sleep(1) } }",
      script = { "answers.after", 0.4 } }
    local caller = server:begin "/call"
    system.sleep(0.1)
    local holders = server:begin("/hold", { count = 10 })
    local answer = caller:wait()[1]
    assert.same({ 200, "1" }, { answer.status, answer.body })
    assert.is_true(answer.seconds < 1, ("%.2f s"):format(answer.seconds))
    assert.matches("worker_connections are not enough", server:log())
    holders:wait()
    assert.equal("1", server:get("/call").body)
    assert.equal("", nginx.folders())
    server:quit()
  end)
end)

describe("without a folder for the socket #nginx", function()
  it("a call ends with an error that says so", function()
    local server = start { environment = { LD_PRELOAD = child.shared_object "no_folders" } }
    local answer = server:get "/call"
    assert.matches("config", answer.body)
    assert.matches("folder", answer.body)
    assert.is_true(answer.seconds < 1)
    assert.not_matches("exited on signal", server:quit())
  end)

  it("TMPDIR is where it is, if nginx hands it on", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 777 " .. folder))
    local server = start { environment = { TMPDIR = folder }, server = [[
      location /folder { content_by_lua_block {
        local client = require "hubspot_assoc.core".new {}
        ngx.print(client:listen())
      } } ]] }
    assert.matches("^" .. folder:gsub("%p", "%%%0") .. "/hubspot_assoc%.%w+/s$", server:get("/folder").body)
    assert.equal("1", server:get("/call").body)
    server:quit()
    os.execute("rm -r " .. folder)
  end)

  it("a TMPDIR that cannot be used is none", function()
    for _, folder in ipairs { "/nowhere", "relative", "/tmp/" .. ("x"):rep(100), "" } do
      local server = start { environment = { TMPDIR = folder } }
      assert.equal("1", server:get("/call").body)
      -- In /tmp then, where other programs' sockets may be for a moment, too.
      assert.is_true(nginx.wait_until(function() return nginx.folders "/tmp" == "" end))
      server:quit()
    end
  end)
end)

describe("when the connection to the I/O thread breaks #nginx", function()
  -- The descriptors of the worker that are unix sockets without a name, shut down as if by somebody else.
  it("another one is made", function()
    local server = start {
      script = { "answers.after", 0.3 },
      server = [[ location /break { content_by_lua_block {
        local ffi = require "ffi"
        ffi.cdef "int shutdown(int, int); int getsockname(int, void *, unsigned *);"
        local broken, name = 0, ffi.new "char[128]"
        for fd = 3, 100 do
          local size = ffi.new("unsigned[1]", 128)
          if ffi.C.getsockname(fd, name, size) == 0 and name[0] == 1 and size[0] > 2 then
            ffi.C.shutdown(fd, 2)
            broken = broken + 1
          end
        end
        ngx.print(broken)
      } } ]] }
    local calls = server:begin("/call", { count = 5 })
    system.sleep(0.1)
    assert.equal("1", server:get("/break").body)
    for _, answer in ipairs(calls:wait()) do
      assert.equal("1", answer.body)
      assert.is_true(answer.seconds < 1, ("%.2f s"):format(answer.seconds))
    end
    for _ = 1, 3 do assert.equal("1", server:get("/call").body) end
    server:quit()
  end)
end)
