-- The phases of nginx: where an ordinary call suspends the request, and where it says that it cannot.
local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local shell = require "spec.support.shell"

-- Answers each request after 0.3 s.
local slow = { "answers.after", 0.3 }

local quick = "faults.none"

local app = [[ return require "hubspot_assoc".new { rate = false, max_connections = 20, max_attempts = 1 } ]]

-- An nginx whose client `app` talks to a HubSpot that does what the script says.
local function start(script, options)
  local hubspot = fault_server.start(script)
  options.modules = options.modules or {}
  options.modules.app = options.modules.app or app
  options.environment = { HUBSPOT_BASE_URL = hubspot.url }
  return nginx.start(options), hubspot
end

-- HubSpot's answers are held back until there is a file of this name.
local released

local function held()
  return { "acts.always", { "wait_for_file", released }, "ok" }
end

local function release()
  assert(io.open(released, "w")):close()
end

before_each(function()
  released = os.tmpname()
  os.remove(released)
end)

after_each(function()
  nginx.stop_all()
  fault_server.stop_all()
  os.remove(released)
end)

local function wait_for_requests(hubspot, n)
  assert(nginx.wait_until(function() return #hubspot:seen() == n end), "not all were sent, side by side")
end

-- ---- where one can wait ----

local CALL = [[ local limits, errors = require "app":get_limits("contacts", "companies")
  ngx.ctx.seen = errors and tostring(errors) or #limits ]]
local SAY = [[ content_by_lua_block { ngx.print(ngx.ctx.seen) } ]]

local function certificate(server_folder)
  local command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    .. "-subj /CN=localhost -keyout %s/key.pem -out %s/cert.pem 2>/dev/null"
  assert(os.execute(command:format(shell.quote(server_folder), shell.quote(server_folder))))
end

local places = {
  { phase = "rewrite", server = "location /call { rewrite_by_lua_block {" .. CALL .. "}" .. SAY .. "}" },
  { phase = "access", server = "location /call { access_by_lua_block {" .. CALL .. "}" .. SAY .. "}" },
  { phase = "content", server = "location /call { content_by_lua_block {" .. CALL .. " ngx.print(ngx.ctx.seen) } }" },
  { phase = "server_rewrite", server = "location /call {" .. SAY .. "} server_rewrite_by_lua_block { "
    .. "if ngx.var.uri == '/call' then " .. CALL .. " end }" },
  { phase = "timer", server = [[ location /call { content_by_lua_block {
    local ctx, done = ngx.ctx, require "ngx.semaphore".new()
    ngx.timer.at(0, function() ]] .. CALL:gsub("ngx%.ctx", "ctx") .. [[ done:post() end)
    done:wait(10)
    ngx.print(ctx.seen)
  } } ]] },
}

describe("in a phase that can wait #nginx", function()
  for _, place in ipairs(places) do
    it("calls suspend the request, and the worker goes on: " .. place.phase, function()
      local server, hubspot = start(held(), { server = place.server ..
        " location /other { content_by_lua_block { ngx.print 'ok' } }" })
      local calls = server:begin("/call", { count = 10 })
      wait_for_requests(hubspot, 10)
      assert.equal("ok", server:get("/other").body)
      release()
      local answers = calls:wait()
      assert.equal(10, #answers)
      for _, answer in ipairs(answers) do assert.same({ 200, "1" }, { answer.status, answer.body }) end
      assert.same({}, server:complaints())
      server:quit()
    end)
  end

  it("calls suspend the handshake, and the worker goes on: ssl_certificate", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    certificate(folder)
    local server, hubspot = start(held(), { server = ([[
      listen 127.0.0.1:@PORT1@ ssl;
      ssl_certificate %s/cert.pem;
      ssl_certificate_key %s/key.pem;
      ssl_certificate_by_lua_block {
        local limits, errors = require "app":get_limits("contacts", "companies")
        package.loaded.seen = errors and tostring(errors) or #limits
      }
      location / { content_by_lua_block { ngx.print(package.loaded.seen) } } ]]):format(folder, folder) })
    local calls = server:begin("/", { count = 10, url = "https://127.0.0.1:" .. server.port + 1 })
    wait_for_requests(hubspot, 10)
    assert.equal(200, server:get("/").status)
    release()
    local answers = calls:wait()
    os.execute("rm -r " .. folder)
    assert.equal(10, #answers)
    for _, answer in ipairs(answers) do assert.same({ 200, "1" }, { answer.status, answer.body }) end
    assert.same({}, server:complaints())
    server:quit()
  end)
end)

-- ---- where one cannot ----

local TRY = [[
  local ok, message = pcall(function()
    local limits = require "app":get_limits("contacts", "companies")
    return limits
  end)
  package.loaded.seen = { ok = ok, message = tostring(message) } ]]
local TELL = [[ location /seen { content_by_lua_block {
  local seen = package.loaded.seen or {}
  ngx.print(tostring(seen.ok), " ", seen.message)
} } ]]

local closed = {
  { phase = "init", http = "init_by_lua_block {" .. TRY .. "}", server = "" },
  { phase = "init_worker", http = "init_worker_by_lua_block {" .. TRY .. "}", server = "" },
  { phase = "set", server = "location /do { set_by_lua_block $x {" .. TRY .. " return '' } return 204; }" },
  { phase = "header_filter", server = "location /do { header_filter_by_lua_block {" .. TRY .. "} return 204; }" },
  { phase = "body_filter", server = "location /do { body_filter_by_lua_block {" .. TRY .. "} return 200 'x'; }" },
  { phase = "log", server = "location /do { log_by_lua_block {" .. TRY .. "} return 204; }" },
}

describe("in a phase that cannot wait #nginx", function()
  for _, place in ipairs(closed) do
    it("an ordinary call says so and names the way out: " .. place.phase, function()
      local server, hubspot = start(quick, { http = place.http, server = (place.server or "") .. TELL })
      if place.server ~= "" then server:get "/do" end
      local seen = server:get("/seen").body
      assert.matches("^false ", seen)
      assert.matches("'get_limits' cannot wait here", seen)
      assert.matches("ngx.timer.at%(0", seen)
      assert.matches("client.async", seen)
      assert.matches(place.phase, seen)
      assert.matches("^false [^ ]*:%d+: ", seen) -- it says where
      assert.equal(0, #hubspot:seen())
      assert.same({}, server:complaints())
      server:quit()
    end)
  end

  it("the functions of the module, step with a time, wait and drain say so too", function()
    local server = start(slow, { server = [[
      location /do { header_filter_by_lua_block {
        local assoc, app = require "hubspot_assoc", require "app"
        local function try(fn, ...) return select(2, pcall(fn, ...)) or "nothing" end
        local future = app.async:get_limits("contacts", "companies")
        package.loaded.seen = table.concat({
          try(assoc.get_limits, "contacts", "companies"), try(future.wait, future), try(future.wait, future, 1),
          try(app.step, app, 1), try(app.drain, app), tostring(app:step()), tostring(app:step(0)),
          tostring(app:drain(0)), tostring(future:done()), try(future.wait, future, 0) and "pending" }, "\n")
      } return 204; }
      location /seen { content_by_lua_block { ngx.print(package.loaded.seen) } } ]] })
    server:get "/do"
    local lines = {}
    for line in server:get("/seen").body:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for i, name in ipairs { "get_limits", "wait", "wait", "step", "drain" } do
      assert.matches("'" .. name .. "' cannot wait here: nginx's phase header_filter cannot wait", lines[i], 1, true)
    end
    assert.equal("0 0 0 false pending", table.concat(lines, " ", 6))
    assert.same({}, server:complaints())
    server:quit()
  end)

  local START = [[ require "app".async:get_limits("contacts", "companies"):on_done(function(limits, errors)
    package.loaded.phase, package.loaded.seen = ngx.get_phase(), errors and tostring(errors) or #limits end) ]]
  local starts = {
    { phase = "init_worker", http = "init_worker_by_lua_block {" .. START .. "}", server = "" },
    { phase = "set", server = "location /do { set_by_lua_block $x {" .. START .. " return '' } return 204; }" },
    { phase = "header_filter", server = "location /do { header_filter_by_lua_block {" .. START .. "} return 204; }" },
    { phase = "body_filter", server = "location /do { body_filter_by_lua_block { if ngx.arg[2] then" .. START
      .. "end } return 200 'x'; }" },
    { phase = "log", server = "location /do { log_by_lua_block {" .. START .. "} return 204; }" },
  }
  for _, place in ipairs(starts) do
    it("client.async starts calls; on_done is called later: " .. place.phase, function()
      local server = start(quick, { http = place.http, server = place.server .. [[
        location /seen { content_by_lua_block { ngx.print(package.loaded.seen, " ", package.loaded.phase) } } ]] })
      if place.server ~= "" then server:get "/do" end
      assert.is_true(nginx.wait_until(function() return server:get("/seen").body == "1 timer" end, 3),
        server:get("/seen").body)
      assert.same({}, server:complaints())
      server:quit()
    end)
  end

  it("client.async in init_by_lua raises", function()
    local server = start(quick, {
      http = [[ init_by_lua_block {
        local ok, message = pcall(function()
          local future = require "app".async:get_limits("contacts", "companies")
          return future
        end)
        package.loaded.seen = { ok = ok, message = tostring(message) } } ]],
      server = TELL })
    assert.matches("^false [^ ]*:%d+: 'get_limits' cannot be called here: in init_by_lua", server:get("/seen").body)
    assert.equal(1, nginx.tasks(server:pid()))
    server:quit()
  end)

  it("calls as nginx's worker ends raise or do nothing, and the worker ends", function()
    local server = start(quick, {
      http = [[ exit_worker_by_lua_block {
        local app = require "app"
        ngx.log(ngx.WARN, "ordinary: ", select(2, pcall(app.get_limits, app, "contacts", "companies")))
        local ok, what = pcall(app.async.get_limits, app.async, "contacts", "companies")
        ngx.log(ngx.WARN, "async: ", ok, " ", tostring(what))
      } ]], server = "location / { return 204; }" })
    server:get "/"
    local log = server:quit()
    assert.matches("ordinary: [^\n]*'get_limits' cannot wait here", log)
    assert.not_matches("exited on signal", log)
    assert.not_matches("%[alert%]", log)
  end)
end)

-- ---- what is started where ----

describe("a client that init_by_lua makes #nginx", function()
  local COUNT = [[ location / { content_by_lua_block {
    ngx.print(#require "app":get_limits("contacts", "companies"))
  } } ]]

  it("starts nothing in the master, and works in all workers", function()
    local server = start(quick, { workers = 2, http = "init_by_lua_block { require 'app' }", server = COUNT })
    local without = nginx.start { workers = 2, http = "init_by_lua_block { }", server = "location / { return 204; }" }
    local master = server:pid()
    assert.equal(1, nginx.tasks(master))
    assert.equal(nginx.fds(without:pid()), nginx.fds(master))
    for i, pid in ipairs(server:workers()) do
      assert.equal(1, nginx.tasks(pid))
      assert.equal(nginx.fds(without:workers()[i]), nginx.fds(pid))
    end
    for _ = 1, 20 do assert.equal("1", server:get("/").body) end
    assert.equal(1, nginx.tasks(master))
    assert.equal(nginx.fds(without:pid()), nginx.fds(master))
    assert.same({}, server:complaints())
    server:quit()
  end)

  it("costs a worker one thread and no more than a few descriptors, which it gives back", function()
    local server = start(quick, { http = "init_by_lua_block { require 'app' }", server = COUNT })
    local worker = server:workers()[1]
    local fds = nginx.fds(worker)
    for _ = 1, 5 do assert.equal("1", server:get("/").body) end
    assert.equal(2, nginx.tasks(worker))
    -- The connection of a request just answered is closed a moment later.
    assert(nginx.wait_until(function() return nginx.fds(worker) <= fds + 8 end), nginx.fds(worker) - fds .. " more")
    assert.equal("", nginx.folders())
    local log = server:quit()
    assert.not_matches("%[alert%]", log)
  end)
end)
