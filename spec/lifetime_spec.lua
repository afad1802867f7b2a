-- The ends of things that are still at work: futures, clients, coroutines, Lua states and processes. Each also while
-- the garbage collector is as eager as it can be.
local assoc = require "hubspot_assoc"
local async = require "spec.support.async"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local fault_server = require "spec.support.fault_server"
local simulator = require "spec.support.simulator"
local monotime = require "system".monotime
local tune = require "spec.support.collector"

local AT_ONCE = async.AT_ONCE
local probe, start, start_from, timed = async.probe, async.start, async.start_from, async.timed

local is_jit = rawget(_G, "jit") ~= nil
local closes_at_exit = is_jit or _VERSION ~= "Lua 5.1" -- os.exit(code, true) closes the state

local function collect()
  collectgarbage()
  collectgarbage()
end

-- How eager the collector is: name → function that makes it so and returns one that undoes it.
local collectors = {
  { name = "as usual", set = function() return function() end end },
  { name = "without a pause", set = function()
    local pause = tune("pause", 0)
    return function() tune("pause", pause) end
  end },
  { name = "at every turn", set = function() -- of a hook, which compiled code has not
    if is_jit then require "jit".off() end
    -- Behind other specs there is more to collect: then a little less often.
    local instructions = 1000 * math.max(1, math.floor(timed(collectgarbage) / 0.002))
    debug.sethook(function() collectgarbage() end, "", instructions)
    return function()
      debug.sethook()
      if is_jit then require "jit".on() end
    end
  end },
}

if _VERSION >= "Lua 5.4" then
  collectors[#collectors + 1] = { name = "by generations", set = function()
    local mode = collectgarbage "generational"
    return function() collectgarbage(mode) end
  end }
end

for _, driver in ipairs(async.drivers) do
  for number, collector in ipairs(collectors) do
    -- Without the thread, two of them tell as much.
    if not driver.io_thread and number > 2 then break end

    describe(("lifetimes, driven by %s, collected %s:"):format(driver.name, collector.name), function()
      local server, mute, undo, threads, descriptors

      setup(function()
        server = async.own_server()
        mute = fault_server.start "async.mute"
        async.client(driver, { base_url = server.url }):get_limits("contacts", "companies") -- what libcurl keeps
      end)

      teardown(async.stop)

      before_each(function()
        collect()
        threads, descriptors = probe.threads(), probe.descriptors()
        undo = collector.set()
      end)

      after_each(function() undo() end)

      local function new(options)
        local all = { base_url = server.url }
        for name, value in pairs(options or {}) do all[name] = value end
        return async.client(driver, all)
      end

      -- What was dropped is gone: no thread, no connection, no descriptor.
      local function assert_all_gone()
        undo()
        local seconds = timed(collect)
        assert.is_true(seconds < AT_ONCE, "the collector was held up")
        assert.same({ threads, descriptors }, { probe.threads(), probe.descriptors() })
      end

      it("futures that are dropped in flight come to their end", function()
        local client, seen, n = new(), {}, 0
        for i = 1, 16 do
          start(client, i):on_done(function(results)
            n = n + 1
            seen[results[1].typeId] = true
          end)
          if i % 2 == 0 then start(client, i) end -- nobody asks for these
          if i % 5 == 0 then collect() end
        end
        assert.equal(24, client:drain(20))
        assert.equal(16, n)
        for i = 1, 16 do assert.is_true(seen[i]) end
        client:close()
        assert_all_gone()
      end)

      it("a client that is dropped in flight ends its calls", function()
        local function use()
          local client = new { max_connections = 4 }
          for i = 1, 10 do
            start(client, i)
            start_from(client, i % 2 == 0 and "never" or "drip"):on_done(function() error "nobody steps" end)
          end
          client:step(0.01)
        end
        use()
        assert_all_gone()
        use()
        use()
        assert_all_gone()
      end)

      it("a client lives as long as one of its futures", function()
        local future = start_from(new(), "slow")
        collect()
        assert.is_nil(select(2, future:wait()))
        local async_calls = new().async -- or its door to asynchronous calls
        collect()
        future = async_calls:get_limits("contacts", "companies")
        async_calls = nil -- luacheck: ignore
        collect()
        assert.is_nil(select(2, future:wait()))
        future = nil -- luacheck: ignore
        assert_all_gone()
      end)

      it("a client that its own on_done and on_event refer to is dropped all the same", function()
        local function use()
          local client
          client = new { on_event = function() return client end }
          start_from(client, "never"):on_done(function() return client end)
          client:step(0.01)
        end
        use()
        assert_all_gone()
      end)

      it("results outlive their client", function()
        local function use()
          local results, errors = start(new(), 3):wait()
          local _, other_errors, response = start_from(new(), "missing"):wait()
          return results, errors, other_errors, response
        end
        local results, errors, other_errors, response = use()
        collect()
        assert.equal(3, results[1].typeId)
        assert.is_nil(errors)
        assert.equal("no such thing", other_errors[1].message)
        assert.equal(404, response.http_status)
        assert_all_gone()
      end)

      it("a closed client's futures can be asked for ever", function()
        local client = new()
        local futures = { start(client), start_from(client, "never") }
        futures[1]:wait()
        client:close()
        client = nil -- luacheck: ignore
        collect()
        for i = 1, 2 do
          assert.is_true(futures[i]:done())
          assert.equal(i == 1, (futures[i]:wait()) ~= nil)
          assert.is_false(futures[i]:cancel())
        end
        futures = nil -- luacheck: ignore
        assert_all_gone()
      end)

      it("a coroutine that dies while its token function waits takes nothing along", function()
        local client = new { deadline = 0.1, access_token = function() return coroutine.yield() end }
        local n = 0
        local function begin()
          return coroutine.wrap(function() start(client):on_done(function() n = n + 1 end):wait() end)
        end
        begin()()
        begin()()
        collect()
        assert.equal(2, client:drain())
        local resume = begin()
        resume()
        assert.has_error(function() resume(nil, "x") resume() end) -- it has ended: no token
        client:drain()
        client:close()
        client = nil -- luacheck: ignore
        resume = nil -- luacheck: ignore
        assert_all_gone()
      end)

      if driver.io_thread then
        it("a coroutine that dies while it waits in an event loop takes nothing along", function()
          local on_readable, watched
          local watches, outcomes = 0, {}
          local loop = {
            watch = function(fd, fn)
              watched, on_readable, watches = fd, fn, watches + 1
              return function() watches = watches - 1 end
            end,
            suspend = function(begin)
              local thread = coroutine.running()
              begin(function()
                if coroutine.status(thread) == "suspended" then assert(coroutine.resume(thread)) end
              end)
              if coroutine.yield() == "die" then error "it dies" end
            end,
          }
          local client = new { loop = loop }
          local threads_of_loop = {}
          for i = 1, 4 do
            threads_of_loop[i] = coroutine.create(function()
              outcomes[i] = client:get_limits(i < 3 and "slow" or "never", "companies")
            end)
            assert(coroutine.resume(threads_of_loop[i]))
          end
          assert.is_false(coroutine.resume(threads_of_loop[2], "die"))
          assert.is_false(coroutine.resume(threads_of_loop[3], "die"))
          threads_of_loop = nil -- luacheck: ignore
          collect()
          assert.equal(1, watches)
          while not outcomes[1] do
            assert.is_true(probe.poll(watched, 5))
            on_readable()
          end
          assert.is_nil(outcomes[2])
          client:close()
          assert.equal(0, watches)
          assert.is_nil(outcomes[4])
          client, loop, on_readable = nil, nil, nil -- luacheck: ignore
          assert_all_gone()
        end)
      end

      it("an error on the way leaves all in order", function()
        local ok = pcall(function()
          local client = new()
          start_from(client, "never")
          start(client)
          client:step(0.01)
          error "on the way"
        end)
        assert.is_false(ok)
        assert_all_gone()
      end)

      it("many clients one after the other leave nothing", function()
        for i = 1, 12 do
          local client = new()
          local future = start(client, i)
          if i % 3 == 0 then future:cancel() elseif i % 3 == 1 then future:wait() end
          if i % 2 == 0 then client:close() end
        end
        assert_all_gone()
      end)

      it("TLS connections and handshakes under way are dropped", function()
        local function use_it(url)
          local client = new { base_url = url, ca_file = simulator.ca_file, access_token = simulator.token() }
          for _ = 1, 5 do client.async:get_all_limits() end
          client:step(0.002)
        end
        -- On a stack of its own: LuaJIT's collector takes what earlier calls have left on the running one for alive.
        local function use(url) coroutine.wrap(use_it)(url) end
        use(simulator.https_url)
        assert_all_gone()
        for _ = 1, 5 do use((mute.url:gsub("^http:", "https:"))) end
        for _ = 1, 5 do use(simulator.https_url) end
        assert_all_gone()
      end)
    end)
  end

  describe("a Lua that ends with calls in flight, driven by " .. driver.name .. ",", function()
    local PREAMBLE = ([[
      local assoc = require "hubspot_assoc"
      local url, ca_file = ...
      local function start(n, options, seconds)
        local all = { base_url = url, access_token = "x", rate = false, io_thread = %s, ca_file = ca_file }
        for name, value in pairs(options or {}) do all[name] = value end
        local client = assoc.new(all)
        for i = 1, n do client.async:get_limits("never", "companies") end
        client:step(seconds or 0.1)
        return client
      end
      local monotime, exit = require "system".monotime, os.exit
      function os.exit(...)
        print(monotime())
        exit(...)
      end
      local function with_time(value) return value, monotime() end ]]):format(tostring(driver.io_thread))

    local server

    setup(function() server = async.own_server() end)
    teardown(async.stop)

    -- The process ends with this status, and says this; from where its code ends, it ends soon.
    local function assert_ends(status, said, environment, code, url, ca_file)
      local report = child.run(environment, ("%s return with_time((function() %s end)())"):format(PREAMBLE, code),
        url or server.url, ca_file)
      local seconds = monotime() - assert(tonumber(table.remove(report)), "its code did not end")
      assert.same({ status, said }, { report.status, table.concat(report, "\n") })
      assert.is_true(seconds < 6, seconds)
    end

    it("does so at once, with 1,000 of them", function()
      assert_ends("0", "1000", {}, [[
        client = start(1000) -- a global: what lua_close finds
        return client:pending() ]])
    end)

    it("does so at once in the middle of a run of 1,000", function()
      assert_ends("0", "1000", {}, [[
        client = assoc.new { base_url = url, access_token = "x", rate = false, io_thread = url ~= nil }
        local n = 0
        for i = 1, 2000 do
          client.async:get_limits("contacts", "companies"):on_done(function() n = n + 1 end)
        end
        while n < 1000 do client:step(0.001) end
        return n >= 1000 and 1000 ]])
    end)


    it("does so with 1,000 behind TLS handshakes that hang", function()
      local mute = fault_server.start "async.mute"
      assert_ends("0", "1000", {}, "client = start(1000) return client:pending()", (mute.url:gsub("^http:", "https:")))
      mute:stop()
    end)

    it("does so with many clients", function()
      assert_ends("0", "20", {}, [[
        clients = {}
        for i = 1, 20 do clients[i] = start(3, nil, 0.005) end
        return #clients ]])
    end)

    -- Lua sees a few bytes of each, and behind much other data it would not collect for long.
    it("has collected those that were dropped, before they were many", function()
      assert_ends("0", "true", {}, [[
        local others, most = {}, 0
        for i = 1, 300000 do others[i] = { i } end
        collectgarbage()
        for i = 1, 300 do
          start(1, nil, 0)
          most = math.max(most, assoc.new { access_token = "x" }:fd())
        end
        return most < 300 or most ]])
    end)

    it("does so by os.exit that closes it", function()
      assert_ends("7", "", {}, "client = start(100) os.exit(7, true)")
      assert_ends(closes_at_exit and "0" or "1", "", {}, "local client = start(100) os.exit(" ..
        (closes_at_exit and "true" or "1") .. ", true)")
    end)

    it("does so by os.exit that does not", function()
      assert_ends("7", "", {}, "client = start(100) os.exit(7)")
    end)

    it("does so by os.exit in a first TLS handshake and right after answers, 10 times", function()
      for i = 1, 10 do
        assert_ends("7", "", {}, ([[
          local client = assoc.new { base_url = url, access_token = "x", io_thread = %s, ca_file = ca_file }
          for _ = 1, 10 do client.async:get_all_limits() end
          client:step(%f)
          os.exit(7, %s) ]]):format(tostring(driver.io_thread), i % 5 * 0.002, tostring(i % 2 == 0)),
          simulator.https_url, simulator.ca_file)
      end
    end)

    it("does so by an error in its main chunk", function()
      local report = child.run({}, PREAMBLE .. [[ client = start(100) error "the end" ]], server.url)
      assert.equal("1", report.status)
      assert.matches("the end", report[1])
      assert.is_true(report.seconds < 6)
    end)

    it("does so by an error in on_done, and in a coroutine", function()
      local report = child.run({}, PREAMBLE .. [[
        client = start(10)
        client.async:get_limits("contacts", "companies"):on_done(function() error "the end" end)
        client:close()
        coroutine.wrap(function() client:drain() end)() ]], server.url)
      assert.equal("1", report.status)
      assert.matches("the end", table.concat(report))
    end)

    it("does so by a signal", function()
      local report = child.run({}, PREAMBLE .. [[
        client = start(100)
        os.execute "kill -TERM $PPID"
        client:drain(20) ]], server.url)
      assert.equal("143", report.status)
      assert.is_true(report.seconds < 6)
    end)

    it("does so while a coroutine waits for a token", function()
      assert_ends("0", "1", {}, [[
        client = assoc.new { base_url = url, access_token = function() return coroutine.yield() end,
          io_thread = ca_file == nil }
        thread = coroutine.create(function() client.async:get_limits("contacts", "companies"):wait() end)
        coroutine.resume(thread)
        return client:pending() ]])
    end)
  end)
end

-- Lua keeps what has a finalizer, and all that it refers to, until the next collection, and goes through it in one go.
describe("a call that is done", function()
  it("is gone after one collection, with all that it brought", function()
    local KB, N, TEXT = 100, 20, ("x"):rep(100 * 1024)
    local client = assoc.new { access_token = "x", io_thread = false, transport = function()
      return { status = 200, body = ('{"results":[{"category":"USER_DEFINED","typeId":1,"label":"%s"}]}'):format(TEXT) }
    end }
    local function call()
      local labels
      client.async:get_labels("contacts", "companies"):on_done(function(results) labels = results end)
      client:drain()
      assert.equal(#TEXT, #labels[1].label)
      assert.equal(#TEXT, #client:get_labels("contacts", "companies")[1].label)
    end
    call()
    collect()
    local before = collectgarbage "count"
    collectgarbage "stop"
    for _ = 1, N do call() end
    collectgarbage "restart"
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < N * KB / 4)
    client:close()
  end)
end)

describe("calls that are interrupted and dropped", function()
  it("leave nothing with their client, however many they are", function()
    local client = core.new { access_token = function() error("interrupted!", 0) end }
    local function drop(n)
      for _ = 1, n do assert.is_false((pcall(client.get_limits, client, "contacts", "companies"))) end
      collect()
    end
    drop(100)
    local before = collectgarbage "count"
    drop(10000)
    assert.is_true(collectgarbage "count" - before < 32)
  end)
end)

describe("a module that is required again", function()
  teardown(async.stop)

  it("in a process with a thread at work is another one, and both go on", function()
    local report = child.run({}, [[
      local url = ...
      local function new() return require "hubspot_assoc".new { base_url = url, access_token = "x", rate = false } end
      local first = new()
      local slow = first.async:get_limits("slow", "companies")
      package.loaded["hubspot_assoc"], package.loaded["hubspot_assoc.core"] = nil, nil
      collectgarbage()
      local second = new()
      return first ~= second, #second.async:get_limits("contacts", "companies"):wait(), #slow:wait()
    ]], async.server().url)
    assert.same({ "true", "0", "1" }, { report[1], report[2], report[3] })
    assert.equal("0", report.status)
  end)
end)

describe("a coroutine that is left in a token function", function()
  it("is not kept by its client when the call has ended", function()
    local client = assoc.new { access_token = coroutine.yield, rate = false, io_thread = false }
    local left = setmetatable({}, { __mode = "k" })
    do
      local thread = coroutine.create(function() client.async:get_limits("contacts", "companies") end)
      assert(coroutine.resume(thread))
      assert.equal("suspended", coroutine.status(thread))
      left[thread] = true
    end
    client:close()
    client:drain()
    collect()
    assert.is_nil(next(left))
    assert.equal("config", select(2, client:get_limits("contacts", "companies"))[1].kind)
  end)
end)

-- They run wherever Lua asks for memory, and so in the middle of what is done with a call in C.
describe("a finalizer", function()
  local SCRIPT = [[
    local does, name, way = ...
    local tune = require "spec.support.collector"
    local assoc = require(name)
    local client, future
    local runs, looks, turn = 0, 0, 0
    local actions = {
      close = function() client:close() end,
      cancel = function() future:cancel() end,
      step = function() client:step(0) end,
    }
    local wait_for_next
    local function finalize()
      looks = looks + 1
      wait_for_next()
      if future and looks == turn then
        runs = runs + 1
        actions[does]()
      end
    end
    function wait_for_next()
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalize
      else
        setmetatable({}, { __gc = finalize })
      end
    end
    local function new_client()
      local attempts = 0
      return assoc.new { access_token = function() return "x" end, rate = false, skip_waits = true, io_thread = false,
        on_event = function() end, transport = function()
          attempts = attempts + 1
          return { status = attempts == 1 and 503 or 200, headers = { a = "b" },
            body = '{"results":[{"category":"USER_DEFINED","typeId":1}],"errors":[{"message":"no"}]}' }
        end }
    end
    local function perform()
      if name == "hubspot_assoc.core" then
        future = true
        return client:get_limits("contacts", "companies")
      end
      future = client.async:get_limits("contacts", "companies")
      if way == "step" then
        while client:pending() > 0 do client:step(1) end
      elseif way == "drain" then
        client:drain()
      end
      return future:wait()
    end
    wait_for_next()
    tune("pause", 0)
    tune("stepmul", 1000)
    if _VERSION == "Lua 5.4" then
      collectgarbage("incremental", 0, 0, 40)
    elseif _VERSION >= "Lua 5.5" then
      tune("stepsize", 1000000000)
    end
    local i = 0
    repeat -- until it has met enough; collectors differ in how often they run
      i = i + 1
      client, future, looks, turn = new_client(), nil, 0, i % 2 == 0 and i % 250 or i % 8
      local ok, results, errors = pcall(perform)
      if not ok then -- Lua 5.1 to 5.3 raise what a finalizer has raised
        assert(tostring(results):find "in a finalizer", results)
        while client:pending() > 0 do client:step(1) end
        results, errors = future:wait()
      end
      assert(results or errors)
    until i >= 250 and runs >= 5 or i == 10000
    return runs >= 5 or runs
  ]]

  local function check(...)
    local report = child.run({}, SCRIPT, ...)
    assert.same({ "true", "0" }, { report[1], report.status })
  end

  it("may close a client of the core at work", function() check("close", "hubspot_assoc.core") end)

  for _, does in ipairs { "close", "cancel", "step" } do
    for _, way in ipairs { "step", "drain", "wait" } do -- of who then does not wait for what has ended
      it(("may %s what is at work, in %s"):format(does, way), function() check(does, "hubspot_assoc", way) end)
    end
  end
end)

-- A call whose stack must grow has finalizers run, too: anywhere, though seldom. A hook stands for them here.
describe("what a finalizer does at any call of a function", function()
  local SCRIPT = [[
    local does = ...
    if jit then jit.off() end
    local assoc = require "hubspot_assoc"
    local client, future, other
    local actions = {
      close = function() client:close() end,
      cancel = function() future:cancel() end,
      step = function() client:step(0) end,
    }
    local waits = {
      step = function() while client:pending() > 0 do client:step(1) end end,
      drain = function() client:drain() end,
      wait = function() other:wait() end,
    }
    local function new_client()
      local attempts, tokens = 0, 0
      return assoc.new { rate = false, skip_waits = true, io_thread = false, on_event = function() end,
        access_token = function()
          tokens = tokens + 1
          return "x" .. tokens
        end,
        transport = function()
          attempts = attempts + 1
          return { status = ({ 503, 401 })[attempts] or 200, headers = { a = "b" },
            body = '{"results":[{"category":"USER_DEFINED","typeId":1}],"errors":[{"message":"no"}]}' }
        end }
    end
    local delivered
    local function start()
      local n = 0
      local started = client.async:get_limits("contacts", "companies")
      return started:on_done(function()
        n = n + 1
        assert(n == 1, "delivered twice")
        delivered = delivered + 1
      end)
    end
    -- Acts at the n-th call; false: there are fewer.
    local function perform(n, wait)
      local began, has_acted, gave_up_at = 0, false, os.time() + 20
      client, delivered = new_client(), 0
      debug.sethook(function()
        began = began + 1
        assert(began % 100 > 0 or os.time() < gave_up_at, "it hangs")
        if began == n and future then
          pcall(actions[does]) -- what is worked on in C cannot be used: that is said
        end
        has_acted = began >= n
      end, "c")
      future, other = nil, nil
      future, other = start(), start()
      wait()
      debug.sethook()
      for i, each in ipairs { future, other } do
        local results, errors = each:wait()
        assert(results or errors, i)
      end
      while client:pending() > 0 do client:step(0) end
      assert(delivered == 2, delivered)
      return has_acted
    end
    local total = 0
    for name, wait in pairs(waits) do
      local n = 0
      repeat
        n = n + 1
        local ok, result = xpcall(function() return perform(n, wait) end, debug.traceback)
        debug.sethook()
        assert(ok, ("%s, call %d: %s"):format(name, n, tostring(result)))
      until not result
      total = total + n
    end
    return total > 500 or total
  ]]

  for _, does in ipairs { "close", "cancel", "step" } do
    it("does no harm: " .. does, function()
      local report = child.run({}, SCRIPT, does)
      assert.same({ "true", "0" }, { report[1], report.status })
    end)
  end
end)
