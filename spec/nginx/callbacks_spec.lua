-- What a client calls back in nginx: on_done, token functions. Errors in them, yields in them, and what they start.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local simulator = require "spec.support.simulator"

local quick = "faults.none"

local app = [[ return require "hubspot_assoc".new { rate = false, max_connections = 20, max_attempts = 1 } ]]

local CALL = [[ location /call { content_by_lua_block {
  local limits, errors = require "app":get_limits("contacts", "companies")
  ngx.print(errors and tostring(errors) or #limits)
} } ]]

-- A client whose token function does this; `reasons` are what it was called with.
local function with_token(code)
  return ([[
    local reasons = {}
    local client = require "hubspot_assoc".new { rate = false, access_token = function(reason)
      reasons[#reasons + 1] = tostring(reason)
      %s
    end }
    client.reasons = reasons
    return client ]]):format(code)
end

local function start(script, options)
  options.modules = { app = options.app or app }
  if script then options.environment = { HUBSPOT_BASE_URL = fault_server.start(script).url } end
  return nginx.start(options)
end

local function ends_well(server)
  assert.equal("1", server:get("/call").body)
  assert.same({}, server:complaints())
  server:quit()
end

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
end)

describe("on_done in nginx #nginx", function()
  it("that raises is in the log, and harms nothing", function()
    local server = start(quick, { server = CALL .. [[
      location / { content_by_lua_block {
        local app = require "app"
        local seen = 0
        for i = 1, 10 do
          app.async:get_limits("contacts", "companies"):on_done(function()
            if i % 2 == 0 then error "enough" end
            seen = seen + 1
          end):on_done(function() seen = seen + 100 end)
        end
        while app:pending() > 0 do ngx.sleep(0.01) end
        ngx.print(seen)
      } } ]] })
    assert.equal("1005", server:get("/").body)
    assert.equal("1", server:get("/call").body)
    local raised = {}
    for line in server:log():gmatch "[^\n]+" do
      if line:find "%[error%].*enough" then raised[#raised + 1] = line end
    end
    assert.equal(5, #raised)
    assert.equal(5, #server:complaints())
    assert.not_matches("%[alert%]", server:quit())
  end)

  it("that raises no string is in the log, too", function()
    local server = start(quick, { server = CALL .. [[
      location / { content_by_lua_block {
        local app = require "app"
        for _, what in ipairs { {}, 7, true, setmetatable({}, { __tostring = function() return "spoken" end }) } do
          app.async:get_limits("contacts", "companies"):on_done(function() error(what, 0) end)
        end
        app.async:get_limits("contacts", "companies"):on_done(function() error() end)
        while app:pending() > 0 do ngx.sleep(0.01) end
      } } ]] })
    assert.equal(200, server:get("/").status)
    assert.equal("1", server:get("/call").body)
    assert.equal(5, #server:complaints(), server:log())
    assert.not_matches("exited on signal", server:quit())
  end)

  it("that yields raises, and harms nothing", function()
    local server = start(quick, { server = CALL .. [[
      location / { content_by_lua_block {
        local app, semaphore = require "app", require "ngx.semaphore"
        for _ = 1, 3 do
          app.async:get_limits("contacts", "companies"):on_done(function() ngx.sleep(0.05) end)
          app.async:get_limits("contacts", "companies"):on_done(function() semaphore.new():wait(0.05) end)
          app.async:get_limits("contacts", "companies"):on_done(function() app:get_limits("contacts", "companies") end)
          app.async:get_limits("contacts", "companies"):on_done(function() ngx.socket.tcp():connect("127.0.0.1", 1) end)
        end
        while app:pending() > 0 do ngx.sleep(0.01) end
        ngx.sleep(0.2)
        ngx.print "ok"
      } } ]] })
    local answer = server:begin("/"):wait()[1]
    assert.same({ 200, "ok" }, { answer.status, answer.body }, server:log())
    for _ = 1, 5 do assert.equal("1", server:get("/call").body) end
    assert.matches("%[error%][^\n]*yield", server:log())
    assert.not_matches("exited on signal", server:quit())
  end)

  it("may start calls, cancel and fail at once, without end", function()
    local server = start(quick, { server = CALL .. [[
      location / { content_by_lua_block {
        local app, seen = require "app", {}
        app:get_limits("contacts", "companies")
        local function note(name) return function() seen[#seen + 1] = name end end
        local third = app.async:get_limits("contacts", "companies"):on_done(note "third")
        local first = app.async:get_limits("contacts", "companies")
        first:on_done(function() third:cancel() note "first"() end)
        local second = app.async:get_limits("contacts", "companies"):on_done(note "second")
        first:cancel()
        second:cancel()
        ngx.sleep(0.3)
        table.sort(seen)
        ngx.print(table.concat(seen, " "), " ", app:pending())
      } } ]] })
    assert.equal("first second third 0", server:get("/").body)
    ends_well(server)
  end)

  it("that starts a call that is done at once is called for each of them", function()
    local server = start(quick, {
      app = with_token "return nil, 'none today'", server = [[
      location / { content_by_lua_block {
        local app, n = require "app", 0
        local function again()
          n = n + 1
          if n < 50 then app.async:get_limits("contacts", "companies"):on_done(again) end
        end
        for _ = 1, 3 do app.async:get_limits("contacts", "companies"):on_done(again) end
        ngx.sleep(0.5)
        ngx.print(n >= 50, " ", app:pending())
      } }
      location /call { content_by_lua_block {
        local limits, errors = require "app":get_limits("contacts", "companies")
        ngx.print(errors[1].kind)
      } } ]] })
    assert.equal("true 0", server:get("/").body)
    assert.equal("config", server:get("/call").body)
    server:quit()
  end)

  it("may close the client, as others may; the canceled calls are told", function()
    local server = start(quick, { server = CALL .. [[
      location / { content_by_lua_block {
        local app, kinds = require "app", {}
        if ngx.var.arg_first then
          app.async:get_limits("contacts", "companies"):on_done(function() app:close() end)
        end
        for i = 1, 5 do
          app.async:get_limits("contacts", "companies"):on_done(function(_, errors)
            kinds[i] = errors and errors[1].kind or "ok"
          end)
        end
        if not ngx.var.arg_first then app:close() end
        ngx.sleep(0.3)
        package.loaded.app = nil
        ngx.print(#kinds, " ", app:pending())
      } } ]] })
    for _ = 1, 5 do assert.equal("5 0", server:get("/?first=1").body) end
    assert.equal("5 0", server:get("/").body)
    ends_well(server)
  end)
end)

describe("a token function in nginx #nginx", function()
  it("may sleep, and use nginx's sockets", function()
    local server = start(quick, { server = CALL .. " location /token { return 200 pat-fetched; }", app = with_token [[
      ngx.sleep(0.05)
      local socket = ngx.socket.tcp()
      assert(socket:connect("127.0.0.1", ngx.var.server_port))
      assert(socket:send "GET /token HTTP/1.0\r\n\r\n")
      return socket:receive "*a":match "pat%-.*" ]] })
    ends_well(server)
  end)

  it("may sleep while others call, and is asked again after EXPIRED", function()
    local server = start(nil, { server = CALL:gsub("#limits", "#limits, ' ', table.concat(require 'app'.reasons, ' ')"),
      app = with_token(("ngx.sleep(0.05) return reason and %q or %q"):format(simulator.token(),
        simulator.token "expired")) })
    assert.equal("4 nil expired", server:get("/call").body)
    for _, answer in ipairs(server:get_many("/call", 10)) do
      assert.same({ 200, "4" }, { answer.status, answer.body:sub(1, 1) })
    end
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("that sleeps for a call of client.async holds up no other call", function()
    local server = start(nil, { app = with_token(([[
      if reason then ngx.sleep(1) end
      return #reasons == 1 and %q or %q ]]):format(simulator.token "expired", simulator.token())), server = [[
      location / { content_by_lua_block {
        local app = require "app"
        local future = app.async:get_limits("contacts", "companies")
        while not app.reasons[2] do ngx.sleep(0.01) end
        local started = ngx.now()
        local limits, errors = app:get_limits("contacts", "companies")
        ngx.print(errors and tostring(errors) or ngx.now() - started < 0.5)
        future:wait()
      } } ]] })
    assert.equal("true", server:get("/").body)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("that fails is the call's error", function()
    for _, row in ipairs {
      { "error 'no luck'", "no luck" }, { "return nil, 'none today'", "none today" }, { "return 7", "gave no token" },
      { "return 'a\\nb'", "printable" }, { "ngx.sleep(0.01) error 'no luck later'", "no luck later" },
      { "error {}", "no string" },
    } do
      local server = start(quick, { server = CALL, app = with_token(row[1]) })
      local body = server:get("/call").body
      assert.matches(row[2], body, 1, true)
      assert.matches("config", body)
      assert.same({}, server:complaints())
      server:quit()
    end
  end)

  -- The thread that was to answer the client's question for a token is gone.
  it("is called though who waits for the call is killed", function()
    local server = start(nil, { app = with_token(("return reason and %q or %q"):format(simulator.token(),
      simulator.token "expired")), server = [[
      location / { content_by_lua_block {
        local app = require "app"
        local future = app.async:get_limits("contacts", "companies")
        local thread = ngx.thread.spawn(function() future:wait() end)
        ngx.thread.kill(thread)
        ngx.sleep(0.2)
        local limits, errors = future:wait(2)
        ngx.print(errors and tostring(errors) or #limits, " ", app:pending())
      } } ]] })
    assert.matches("^4 [01]$", server:get("/").body)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("is called though the request that called is gone", function()
    local server = start(nil, { app = with_token(("return reason and %q or %q"):format(simulator.token(),
      simulator.token "expired")), server = [[
      location /kill { content_by_lua_block {
        local app = require "app"
        local thread = ngx.thread.spawn(function() app:get_limits("contacts", "companies") end)
        ngx.thread.kill(thread)
      } }
      location /pending { content_by_lua_block { ngx.print(require "app":pending()) } } ]] })
    server:get "/kill"
    assert.is_true(nginx.wait_until(function() return server:get("/pending").body == "0" end, 2),
      server:get("/pending").body .. " calls are pending")
    server:quit()
  end)

  it("is called for each request of a batch though who called is gone", function()
    local server = start({ "answers.after", 0.1 }, {
      app = with_token "return 'pat-x'", server = [[
      location /kill { content_by_lua_block {
        local app, inputs = require "app", {}
        for i = 1, 4 do inputs[i] = { category = "HUBSPOT_DEFINED", typeId = i, maxToObjectIds = 1 } end
        local thread = ngx.thread.spawn(function()
          app:batch_update("contacts", "companies", inputs, { batch_size = 1 })
        end)
        ngx.sleep(0.05)
        ngx.thread.kill(thread)
      } }
      location /state { content_by_lua_block {
        local app = require "app"
        ngx.print(app:pending(), " ", #app.reasons)
      } } ]] })
    server:get "/kill"
    assert.is_true(nginx.wait_until(function() return server:get("/state").body == "0 4" end, 2),
      server:get("/state").body)
    assert.same({}, server:complaints())
    server:quit()
  end)
end)

describe("a limiter in nginx #nginx", function()
  -- Both of its methods ask a server, by a cosocket.
  local with_limiter = [[
    local limiter = { asked = 0, told = 0 }
    local function ask(path)
      local socket = ngx.socket.tcp()
      assert(socket:connect("127.0.0.1", limiter.port))
      assert(socket:send("GET " .. path .. " HTTP/1.0\r\n\r\n"))
      return assert(socket:receive "*a"):match "\r\n\r\n(.*)"
    end
    function limiter:reserve() self.asked = self.asked + 1 return tonumber(ask "/wait") end
    function limiter:observe() self.told = self.told + 1 ask "/wait" end
    local client = require "hubspot_assoc".new { limiter = limiter, max_connections = 20 }
    client.limiter = limiter
    return client ]]

  it("may use nginx's sockets, in ordinary calls and in others", function()
    local server = start(quick, { app = with_limiter, server = [[
      location /wait { return 200 0.01; }
      location / { content_by_lua_block {
        local app, n = require "app", 0
        app.limiter.port = ngx.var.server_port
        local threads = {}
        for i = 1, 10 do
          threads[i] = ngx.thread.spawn(function() if app:get_limits("contacts", "companies") then n = n + 1 end end)
          app.async:get_limits("contacts", "companies"):on_done(function(limits) if limits then n = n + 1 end end)
        end
        for i = 1, 10 do ngx.thread.wait(threads[i]) end
        for _ = 1, 100 do if app:pending() > 0 then ngx.sleep(0.02) end end
        ngx.print(n, " ", app.limiter.asked, " ", app.limiter.told, " ", app:pending())
      } } ]] })
    assert.equal("20 20 20 0", server:get("/").body)
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("that is killed while it is asked leaves the call to another waiter", function()
    local server = start(quick, { app = with_limiter:gsub("return tonumber%(ask \"/wait\"%)",
      "if self.asked == 1 then ngx.sleep(100) end return 0"), server = [[
      location /wait { return 200 0; }
      location / { content_by_lua_block {
        local app = require "app"
        app.limiter.port = ngx.var.server_port
        local future
        local thread = ngx.thread.spawn(function()
          future = app.async:get_limits("contacts", "companies")
          future:wait()
        end)
        ngx.thread.kill(thread)
        local limits, errors = future:wait(20)
        ngx.print(errors and tostring(errors) or #limits)
      } } ]] })
    assert.equal("1", server:get("/").body)
    server:quit()
  end)
end)
