-- What a call asks for from outside, however it is driven: a token, leave from a limiter, an answer in place of the
-- network's (option transport), and to be told of. (Limiters: limiter_spec.lua; in event loops: loop_spec.lua.)
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local async = require "spec.support.async"
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local OK = '{"results":[]}'

local function client_of(options)
  local all = { access_token = "pat-x", base_url = "http://127.0.0.1:1", rate = false, deadline = 5 }
  for name, value in pairs(options) do all[name] = value end
  return assoc.new(all)
end

for _, driver in ipairs(async.drivers) do
  describe("a token, with calls driven by " .. driver.name .. ",", function()
    local function start(access_token, options)
      options = binding.simulator_options(options or {})
      options.access_token, options.io_thread, options.rate = access_token, driver.io_thread, false
      options.max_attempts = 4
      return assoc.new(options)
    end

    it("is asked for once where 50 calls are answered with EXPIRED_AUTHENTICATION", function()
      local old, fresh, asked = simulator.token "expired", simulator.token(), {}
      local client = start(function(reason, rejected)
        if reason then asked[#asked + 1] = { reason, rejected } end
        return reason and fresh or old
      end)
      local futures = {}
      for i = 1, 50 do futures[i] = client.async:get_limits("contacts", "companies") end
      for i = 1, 50 do assert.is_nil(select(2, futures[i]:wait())) end
      assert.same({ { "expired", old } }, asked)
    end)

    it("is asked for again by every call where its function fails", function()
      local n = 0
      local client = start(function()
        n = n + 1
        return nil, "not today"
      end)
      for _ = 1, 3 do
        local errors = select(2, client.async:get_limits("contacts", "companies"):wait())
        assert.same({ "config", false }, { errors[1].kind, errors[1].retryable })
        assert.matches("not today", errors[1].message, 1, true)
      end
      assert.equal(3, n)
    end)

    it("that is not to be had hands on the kind, and whether that may pass", function()
      local given = { kind = "transport", retryable = true, message = "the token server is away" }
      for _, fails in ipairs {
        function() return nil, given end, function() return nil, { given } end, function() error(given) end,
        function() return nil, assoc.errors and assoc.errors { given } or { given } end,
      } do
        local errors = select(2, start(fails).async:get_limits("contacts", "companies"):wait())
        assert.same({ "transport", true, 0 }, { errors[1].kind, errors[1].retryable, errors[1].attempts })
        assert.matches("the token server is away", errors[1].message, 1, true)
      end
    end)

    it("function may cancel its call, close the client, and step, at once", function()
      for _, act in ipairs { function(future) future:cancel() end, function(_, client) client:close() end,
        function(_, client) client:step(0.05) end } do
        local client, future, errors
        local old, fresh = simulator.token "expired", simulator.token()
        client = start(function(reason)
          if not reason then return old end
          if future then act(future, client) end -- else it is asked before start has returned
          return fresh
        end)
        future = client.async:get_limits("contacts", "companies")
        errors = select(2, future:wait(5))
        assert.is_true(errors == nil or errors[1].kind == "canceled")
        assert.equal(1, client:drain(1))
      end
    end)
  end)

  describe("on_event, with calls driven by " .. driver.name .. ",", function()
    it("may step for half a second on each attempt, though the token has expired", function()
      local old, fresh, client, started = simulator.token "expired", simulator.token(), nil, wire.monotime()
      local options = binding.simulator_options { io_thread = driver.io_thread, deadline = 10, max_attempts = 4 }
      options.access_token = function(reason) return reason and fresh or old end
      options.on_event = function(event) if event.type == "attempt" then client:step(0.5) end end
      client = assoc.new(options)
      assert.is_nil(select(2, client.async:get_limits("contacts", "companies"):wait()))
      assert.is_nil(select(2, client:get_limits("contacts", "companies")))
      assert.is_true(wire.monotime() - started < 5)
    end)
  end)

  describe("on_event, with calls driven by " .. driver.name .. " and answered by a transport,", function()
    local function new(on_event)
      return client_of { io_thread = driver.io_thread, rate = { requests = 1, interval = 0.05 }, on_event = on_event,
        transport = function() return { status = 200, body = OK } end }
    end

    it("cannot wait for its own call, in a coroutine that it resumes neither", function()
      local client, future, message
      client = new(function(event)
        if event.number == 2 and future then
          message = select(2, coroutine.resume(coroutine.create(function() return future:wait(1) end)))
        end
      end)
      client.async:get_limits("a", "b")
      future = client.async:get_limits("a", "b") -- which waits for that one
      client:drain(5)
      assert.matches("a call cannot be waited for in its own on_event", tostring(message))
    end)

    it("that closes the client waits for nothing in step", function()
      local client, seconds
      client = new(function()
        client:close()
        local begun_at = core.now()
        client:step(10)
        seconds = math.max(seconds or 0, core.now() - begun_at)
      end)
      client.async:get_limits("a", "b"):wait()
      assert.is_true(seconds < 5, seconds)
    end)
  end)

  describe("the option transport, with calls driven by " .. driver.name .. ",", function()
    it("is given the request without the token, and gives the answer", function()
      local seen
      local client = client_of { io_thread = driver.io_thread, transport = function(request)
        seen = request
        return { status = 200, headers = { ["X-HubSpot-Correlation-Id"] = "id-1" },
          body = '{"status":"COMPLETE","results":[{"typeId":279}]}' }
      end }
      local results, errors, response = client.async:batch_update("contacts", "companies", { binding.limit() }):wait()
      assert.is_nil(errors)
      assert.equal(279, results[1].typeId)
      assert.equal("id-1", response.correlationId)
      assert.same({ "POST", "http://127.0.0.1:1/crm/associations/v4/definitions/configurations/contacts/companies/"
        .. "batch/update", "application/json" }, { seen.method, seen.url, seen.headers["Content-Type"] })
      assert.matches("^hubspot_assoc/", seen.headers["User-Agent"])
      assert.matches('"typeId":279', seen.body, 1, true)
      assert.is_nil(binding.find_text(seen, "pat-x"))
    end)

    it("has its answers judged as the network's: retries, errors, rates", function()
      local n, events = 0, {}
      local client = client_of { io_thread = driver.io_thread, on_event = function(event)
        events[#events + 1] = event.type
      end, transport = function()
        n = n + 1
        if n == 1 then return { status = 503, headers = { ["Retry-After"] = "0" } } end
        if n == 2 then return nil, "timeout" end
        return { status = 404, body = '{"category":"NOT_FOUND","message":"no such thing"}' }
      end }
      local _, errors, response = client.async:get_limits("contacts", "companies"):wait()
      assert.same({ "api", 404, "no such thing", 3 }, { errors[1].kind, errors[1].http_status, errors[1].message,
        response.attempts })
      assert.same({ "attempt", "retry", "attempt", "retry", "attempt", "done" }, events)
    end)

    it("tells what went wrong in the network's words", function()
      for _, row in ipairs { { "timeout", "timeout", nil, true }, { "connect", "transport", "connect", false },
        { "receive", "transport", "receive", true }, { "gremlins", "transport", "other", true } } do
        local client = client_of { io_thread = driver.io_thread, max_attempts = 1,
          transport = function() return nil, row[1] end }
        local err = select(2, client.async:batch_create("contacts", "companies", { binding.limit() }):wait())[1]
        assert.same({ row[2], row[3], row[4] }, { err.kind, err.code, err.ambiguous })
      end
    end)

    it("that fails, or gives no answer, is the call's error", function()
      for _, row in ipairs { { function() error("no luck", 0) end, "the transport failed: no luck" },
        { function() return 5 end, "must return a table" }, { function() end, "must return a table" },
        { function() return { status = 7 } end, "no status from 200 to 599" },
        { function() return { status = 200, body = {} } end, "a body that is no string" } } do
        local client = client_of { io_thread = driver.io_thread, transport = row[1] }
        local err = select(2, client.async:get_limits("contacts", "companies"):wait())[1]
        assert.equal("config", err.kind)
        assert.matches(row[2], err.message, 1, true)
      end
    end)
  end)
end

describe("the option transport", function()
  it("works for ordinary calls, of hubspot_assoc.core too", function()
    local options = { access_token = "pat-x", transport = function() return { status = 200, body = OK } end }
    assert.same({}, (assoc.new(options):get_limits("a", "b")))
    assert.same({}, (core.new(options):get_limits("a", "b")))
  end)

  it("may yield, and answers late without harm", function()
    local client = client_of { timeout = 0.05, max_attempts = 1, transport = function() return coroutine.yield() end }
    local thread = coroutine.create(function() return select(2, client:get_limits("a", "b")) end)
    assert(coroutine.resume(thread))
    wire.sleep(0.1)
    local outcome = select(2, coroutine.resume(thread, { status = 200, body = OK }))
    assert.equal("timeout", outcome[1].kind)
  end)
end)

describe("an answer's headers", function()
  local function message_with(headers)
    local client = client_of { max_attempts = 1, transport = function()
      return { status = 200, body = OK, headers = headers }
    end }
    local _, errors, response = client:get_all_limits()
    assert(not errors or errors[1].kind == "config")
    return errors and errors[1].message, response
  end

  it("are texts, numbers or lists of them: what is none is named", function()
    for headers, message in pairs {
      [{ ["Retry-After"] = true }] = "the transport's answer has the header 'Retry-After' with a value that is no "
        .. "string, but a boolean",
      [{ ["X-A"] = {} }] = "the transport's answer has the header 'X-A' with a value that is no string, but a nil",
      [{ "Retry-After: 5" }] = "the transport's answer has headers whose keys are no names: name -> value is expected",
      ["Retry-After: 5"] = "the transport's answer has headers that are no table, but a string",
    } do
      assert.equal(message, (message_with(headers)))
    end
    local message, response = message_with { ["X-HubSpot-Correlation-Id"] = { "id-1", "id-2" }, ["X-Number"] = 5 }
    assert.is_nil(message)
    assert.equal("id-1", response.correlationId)
  end)
end)

describe("the default client", function()
  it("is one, whichever of the modules made it", function()
    local lines = child.run({}, [[
      local assoc, core = require "hubspot_assoc", require "hubspot_assoc.core"
      local function options(name)
        local answer = { status = 404, body = '{"message":"' .. name .. '"}' }
        return { access_token = "x", transport = function() return answer end }
      end
      local function told(module) return (select(2, module.get_limits("a", "b"))[1].message) end
      assoc.configure(options "one")
      local first = told(core)
      core.configure(options "two")
      return first, told(assoc), told(core), assoc.async:get_limits("a", "b") and assoc.pending(), assoc.drain(2),
        assoc.pending(), assoc.step(0) ]])
    lines.status, lines.seconds = nil, nil
    assert.same({ "one", "two", "two", "1", "1", "0", "0" }, lines)
  end)
end)

describe("the default client that hubspot_assoc.core made", function()
  it("is refused where its loop is none", function()
    local lines = child.run({}, [[
      require "hubspot_assoc.core".configure { access_token = "x", loop = "nonsense" }
      local ok, message = pcall(require "hubspot_assoc".get_limits, "a", "b")
      return ok, message:match "wrong options.loop: .*" ]])
    assert.equal("false", lines[1])
    assert.matches('got "nonsense"', lines[2], 1, true)
  end)
end)

describe("a host", function()
  it("may replace globals after require", function()
    local lines = child.run({}, [[
      local assoc = require "hubspot_assoc"
      local answer = { status = 200, body = '{"results":[]}' }
      local client = assoc.new { access_token = "x", transport = function() return answer end }
      local print, kept, pairs = print, {}, pairs
      for _, name in ipairs { "error", "pairs", "select", "setmetatable", "getmetatable", "type", "tostring", "pcall",
        "next", "rawget", "rawequal", "unpack" } do
        kept[name] = _G[name]
        _G[name] = function() print("called: " .. name) end
      end
      local results = client:get_limits("a", "b")
      local future = client.async:get_limits("a", "b")
      local n
      future:on_done(function(r) n = #r end)
      client:drain(2)
      for name, value in pairs(kept) do _G[name] = value end
      return results and #results, n ]])
    assert.same({ "0", "0" }, { lines[1], lines[2] })
  end)

  it("whose finalizer uses a client after its own does not crash", function()
    local lines = child.run({}, [[
      local holders = {}
      for i = 1, 2 do
        local holder
        if _VERSION == "Lua 5.1" then
          holder = newproxy(true)
          getmetatable(holder).__gc = function() local h = holders[i] h.c:get_limits("a", "b")
            h.c:batch_update("a", "b", { { category = "USER_DEFINED", typeId = 1, maxToObjectIds = 1 } })
            h.a.async:get_limits("a", "b") h.a:step() h.f:wait(0.1) h.a:drain(0.1) h.a:close() end
        else
          holder = setmetatable({}, { __gc = function() local h = holders[i] h.c:get_limits("a", "b")
            h.c:batch_update("a", "b", { { category = "USER_DEFINED", typeId = 1, maxToObjectIds = 1 } })
            h.a.async:get_limits("a", "b") h.a:step() h.f:wait(0.1) h.a:drain(0.1) h.a:close() end })
        end
        holders[i] = { holder = holder } -- made before the client: finalized after it
        local options = { access_token = "x", base_url = "http://127.0.0.1:1" }
        holders[i].c, holders[i].a = require "hubspot_assoc.core".new(options), require "hubspot_assoc".new(options)
        holders[i].f = holders[i].a.async:get_limits("a", "b")
      end
      return "ends" ]])
    assert.same({ "ends", "0" }, { lines[1], lines.status })
  end)

  -- What frees a dropped call's request is made with the first one, and so finalized before this.
  it("whose finalizer uses a client before its own has its results", function()
    local lines = child.run({}, [[
      local client = require "hubspot_assoc".new { access_token = "x", io_thread = false, transport = function()
        return { status = 200, body = '{"results":[{"category":"USER_DEFINED","typeId":1}]}' }
      end }
      local function use() print(#client:get_limits("contacts", "companies")) end
      if _VERSION == "Lua 5.1" then
        holder = newproxy(true)
        getmetatable(holder).__gc = use
      else
        holder = setmetatable({}, { __gc = use })
      end
      return #client:get_limits("contacts", "companies") ]])
    assert.same({ "1", "1", "0" }, { lines[1], lines[2], lines.status })
  end)
end)

describe("the option loop", function()
  it("is refused, with what was expected, where it is no event loop", function()
    for _, row in ipairs { { "socket", '"luv", "cqueues", "ngx" or a table' }, { "nonsense", 'got "nonsense"' },
      { "luv.nonsense", "expected" }, { { suspend = print }, "functions watch and suspend expected" },
      { require "hubspot_assoc.socket", "expected, got function" }, { 5, "options.loop" } } do
      local ok, message = pcall(assoc.new, { loop = row[1] })
      assert.is_false(ok)
      assert.matches("bad argument #1 to 'new' (options.loop", message, 1, true)
      assert.matches(row[2], message, 1, true)
    end
  end)

  it("has calls return an error where no descriptors are left, which says so", function()
    for _, loop in ipairs { "luv", "cqueues", "none", "ordinary" } do
      if loop == "none" or loop == "ordinary" or pcall(require, loop) then
        -- So many descriptors are left: none for the engine, its thread, its notice, the loop; none for a socket.
        for left = 0, 9 do
          local lines = child.run({}, ([[
            local assoc, loop, left = require "hubspot_assoc", %q, %d
            local name = loop == "luv" and loop or loop == "cqueues" and loop or nil
            if name then require(name) require("hubspot_assoc.loop." .. name) end
            local client = assoc.new { access_token = "x", base_url = "http://127.0.0.1:1", loop = name,
              max_attempts = 1 }
            local files, file = {}, nil
            os.execute "prlimit --pid $PPID --nofile=64:64"
            repeat file = io.open "/dev/null" files[#files + 1] = file until not file
            for _ = 1, left do table.remove(files):close() end
            local kind, text
            if loop == "ordinary" then
              local err = select(2, client:get_limits("a", "b"))[1]
              kind, text = err.kind, err.message
            else
              local future = client.async:get_limits("a", "b")
              local err = select(2, future:wait(5))[1]
              kind, text = err.kind, err.message
            end
            for _, other in ipairs(files) do other:close() end
            return kind, text ]]):format(loop, left))
          if lines[1] ~= "transport" then
            assert.equal("config", lines[1], table.concat(lines, "\n"))
            assert.matches("descriptors are left", lines[2], 1, true)
          else
            assert.is_true(left > 2, left .. " left")
          end
        end
      end
    end
  end)

  it("that cannot watch is each call's error", function()
    local function watch() error("EMFILE: too many open files", 0) end
    local client = assoc.new { access_token = "x", loop = { watch = watch, suspend = function() end } }
    local errors = select(2, client.async:get_limits("a", "b"):wait(1))
    assert.equal("config", errors[1].kind)
    assert.matches("too many open files", errors[1].message, 1, true)
  end)
end)

describe("a token function", function()
  it("may have a job done with its own client, whose calls ask for tokens, too", function()
    local client, is_asked
    local done = 0
    client = client_of { io_thread = false, access_token = function()
      if not is_asked then
        is_asked = true
        local job = client:bulk("batch_update", "a", "b", { batch_size = 1, in_flight = 1,
          on_outcome = function(outcome) done = done + (outcome.error and 0 or 1) end })
        for i = 1, 3 do job:add { category = "USER_DEFINED", typeId = i, maxToObjectIds = 1 } end
        job:finish()
      end
      return "x"
    end, transport = function(request)
      local id = request.body and request.body:match '"typeId":(%d+)' or "36"
      return { status = 200, body = '{"results":[{"category":"USER_DEFINED","typeId":' .. id
        .. ',"userEnforcedMaxToObjectIds":1}]}' }
    end }
    local future = client.async:get_limits("a", "b")
    client:drain(20)
    assert.same({ 3, true }, { done, (future:wait()) ~= nil })
  end)
end)

describe("many futures at once", function()
  it("cost linear time", function()
    local function seconds(n)
      local client = client_of { io_thread = false, transport = function() return { status = 200, body = OK } end }
      local started, done = os.clock(), 0
      for _ = 1, n do client.async:get_limits("a", "b"):on_done(function() done = done + 1 end) end
      client:drain(60)
      assert.equal(n, done)
      return os.clock() - started
    end
    seconds(500)
    local few, many = seconds(1000), seconds(10000)
    assert.is_true(many < 40 * few, ("%.3f s for 1,000, %.3f s for 10,000"):format(few, many))
  end)
end)
