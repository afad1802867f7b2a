-- A process that forks while an I/O thread is at work: the child's calls end as canceled and its next ones work; the
-- parent goes on as if nothing had happened.
local async = require "spec.support.async"
local child = require "spec.support.child"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local forker = assert(package.loadlib(child.shared_object "forker", "luaopen_forker"))()
local probe, start, start_from = async.probe, async.start, async.start_from

local PATIENCE = 20 -- s, for a child

-- Forks, runs fn in the child, and ends the child with status 0 if fn returned true. Gives the child's pid. A
-- child that hangs is killed.
local function fork(fn)
  io.stdout:flush()
  io.stderr:flush()
  local pid = forker.fork()
  if pid ~= 0 then return pid end
  probe.alarm(PATIENCE)
  local ok, result = pcall(fn)
  if not ok then io.stderr:write("in the child: ", tostring(result), "\n") end
  forker.exit(ok and result == true and 0 or 1)
end

-- One call that must get its own answer.
local function assert_works(client, type_id)
  local results, errors = start(client, type_id):wait()
  assert(results, tostring(errors))
  assert(#results == 1 and results[1].typeId == type_id, "this is another call's answer")
  results, errors = client:batch_update("contacts", "companies",
    { { category = "USER_DEFINED", typeId = type_id + 1, maxToObjectIds = 5 } })
  assert(results, tostring(errors))
  assert(results[1].typeId == type_id + 1, "this is another call's answer")
  return true
end

local function assert_canceled(future)
  local results, errors = future:wait(0)
  assert(results == nil and #errors == 1 and errors[1].kind == "canceled",
    "not canceled but " .. tostring(errors or "well"))
end

teardown(async.stop)

for _, driver in ipairs(async.drivers) do
  describe("a fork with asynchronous calls, driven by " .. driver.name, function()
    local client

    before_each(function() client = async.client(driver) end)
    after_each(function() client:close() end)

    it("cancels the child's calls in flight, and not the parent's", function()
      local slow, never, done = start_from(client, "slow"), start_from(client, "never"), start(client, 7)
      assert(done:wait())
      local handed = 0
      done:on_done(function() handed = handed + 1 end)
      slow:on_done(function() handed = handed + 1 end)
      local pid = fork(function()
        assert_canceled(slow)
        assert_canceled(never)
        assert(done:wait(0)[1].typeId == 7) -- what was there, is there
        assert(client:pending() == 3)
        assert(client:step() == 3 and handed == 2)
        return assert_works(client, 100)
      end)
      local results, errors = slow:wait()
      assert.is_nil(errors)
      assert.equal(1, #results)
      assert.is_false(never:done())
      assert.equal(0, forker.wait(pid))
      assert.equal(2, client:step())
      assert.equal(2, handed)
      assert_works(client, 200)
    end)

    it("has nothing to do with the order of things in the child", function()
      for _, first in ipairs {
        function() client:step() end,
        function() client:drain() end,
        function() client:get_limits("contacts", "companies") end,
        function() start(client):wait() end,
        function() return driver.io_thread and client:fd() end,
        function(future) future:cancel() end,
        function(future) future:wait() end,
        function(future) future:done() end,
      } do
        local future = start_from(client, "never")
        client:step(0.01)
        local pid = fork(function()
          first(future)
          client:step()
          assert(future:done())
          assert_canceled(future)
          return assert_works(client, 100)
        end)
        assert.equal(0, forker.wait(pid))
        assert.is_false(future:done())
        future:cancel()
        client:step()
        assert_works(client, 200)
      end
    end)

    it("lets the child close and drop the client", function()
      for _, leave in ipairs { function() client:close() end, function() client = nil end } do
        local mine = client
        local future = start_from(mine, "never")
        start(mine):wait()
        mine:step()
        local pid = fork(function()
          mine = nil
          leave()
          future = nil
          collectgarbage()
          collectgarbage()
          return future == nil and mine == nil
        end)
        assert.equal(0, forker.wait(pid))
        assert.is_false(future:done())
        assert_works(mine, 200)
        client = mine
      end
    end)

    it("lets a child of the child work too", function()
      local future = start_from(client, "never")
      client:step(0.01)
      local pid = fork(function()
        assert_works(client, 100)
        local mine = start_from(client, "never")
        local grandchild = fork(function()
          assert_canceled(future)
          assert_canceled(mine)
          return assert_works(client, 300)
        end)
        assert_works(client, 120)
        assert(forker.wait(grandchild) == 0, "the grandchild failed")
        assert(not mine:done())
        return true
      end)
      assert.equal(0, forker.wait(pid))
      assert.is_false(future:done())
    end)

    it("is right however it comes, 50 times", function()
      client:close()
      local server = async.own_server()
      client = async.client(driver, { base_url = server.url, max_connections = 4 })
      local expected = 0
      for round = 1, 50 do
        local futures = {}
        -- Now and then the calls are just made, under way, queued, done.
        for i = 1, round % 7 + 1 do futures[i] = start(client, i) end
        if round % 3 == 0 then client:step(0.0005 * (round % 5)) end
        local pid = fork(function()
          for _, future in ipairs(futures) do
            local results, errors = future:wait()
            assert(results or errors[1].kind == "canceled", tostring(errors))
          end
          return assert_works(client, 1000 + round)
        end)
        for i, future in ipairs(futures) do assert.equal(i, future:wait()[1].typeId) end
        assert.equal(0, forker.wait(pid))
        expected = expected + #futures + 2
      end
      client:drain()
      assert.equal(expected, #server:stop()) -- none was sent twice
    end)

    it("over TLS leaves the parent's connection alone", function()
      client:close()
      local token = simulator.token()
      client = wire.client(simulator.https_url, { access_token = token, ca_file = simulator.ca_file,
        io_thread = driver.io_thread })
      local function call() return assert(client.async:get_all_limits():wait()) end
      call()
      for _ = 1, 10 do
        local pid = fork(function()
          call()
          client:close()
          return true
        end)
        call()
        assert.equal(0, forker.wait(pid))
      end
      call()
      local log, connections = simulator.log(token), {}
      for _, entry in ipairs(log) do connections[entry.connection] = (connections[entry.connection] or 0) + 1 end
      assert.equal(22, #log)
      assert.equal(12, connections[log[1].connection]) -- all of the parent's
    end)

    it("in the middle of first handshakes does no harm", function()
      client:close()
      for _ = 1, 10 do
        local token = simulator.token()
        client = wire.client(simulator.https_url, { access_token = token, ca_file = simulator.ca_file,
          io_thread = driver.io_thread })
        local future = client.async:get_all_limits()
        local pid = fork(function()
          local results, errors = future:wait(0)
          assert(results or errors[1].kind == "canceled", tostring(errors))
          return client.async:get_all_limits():wait() and client:get_all_limits() and true
        end)
        assert.equal(7, #future:wait())
        assert.equal(0, forker.wait(pid))
        client:close()
      end
    end)
  end)
end

describe("a fork with an I/O thread", function()
  local client

  before_each(function() client = async.client(async.drivers[1]) end)
  after_each(function() client:close() end)

  it("gives the child a thread and a descriptor of its own", function()
    local fd = client:fd()
    local future = start_from(client, "slow")
    local pid = fork(function()
      assert(probe.threads() == 1)
      local mine = client:fd()
      assert(probe.poll(mine, 0), "the canceled call is not announced")
      assert(client:step() == 1)
      assert(not probe.poll(mine, 0))
      start(client)
      assert(probe.threads() == 2)
      assert(probe.poll(mine, 5))
      assert(client:drain() == 1)
      client:close()
      assert(probe.threads() == 1)
      return true
    end)
    assert.equal(0, forker.wait(pid))
    assert.is_true(probe.poll(fd, 5))
    assert.equal(fd, client:fd())
    assert.equal(1, client:step())
    assert.is_nil(select(2, future:wait()))
    assert.is_false(probe.poll(fd, 0))
  end)

  it("brings all threads of all clients to rest", function()
    local clients, futures = { client }, {}
    for i = 2, 8 do clients[i] = async.client(async.drivers[1]) end
    for _ = 1, 20 do
      for i, each in ipairs(clients) do futures[i] = start(each, i) end
      local pid = fork(function()
        for i, each in ipairs(clients) do
          local results, errors = futures[i]:wait()
          assert(results or errors[1].kind == "canceled", tostring(errors))
          assert_works(each, 50 + i)
        end
        return true
      end)
      for i in ipairs(clients) do assert.equal(i, futures[i]:wait()[1].typeId) end
      assert.equal(0, forker.wait(pid))
    end
    for i = 2, 8 do clients[i]:close() end
  end)

  it("is no more than a program that is started needs", function() -- which closes what it inherits by itself
    local future = start_from(client, "slow")
    for _ = 1, 20 do os.execute "true" end
    assert.is_nil(select(2, future:wait()))
  end)

  it("leaves a child that ends well with its Lua closed, and with an exit", function()
    -- A leak checker in the child would look for the parent's threads.
    local sanitizer = os.getenv "ASAN_OPTIONS"
    local report = child.run({ ASAN_OPTIONS = sanitizer and sanitizer .. ":detect_leaks=0" }, [[
      local forker_path, probe_path, url = ...
      local forker = assert(package.loadlib(forker_path, "luaopen_forker"))()
      local probe = assert(package.loadlib(probe_path, "luaopen_probe"))()
      local client = require "hubspot_assoc".new { base_url = url, access_token = "x", rate = false }
      local never = client.async:get_limits("never", "companies")
      client.async:get_limits("contacts", "companies"):wait()
      local statuses = {}
      for i, finish in ipairs { function() os.exit(3, true) end, function() os.exit(4) end,
          function() client.async:get_limits("contacts", "companies"):wait() os.exit(5, true) end } do
        io.stdout:flush()
        local pid = forker.fork()
        if pid == 0 then
          probe.alarm(10)
          finish()
        end
        statuses[i] = ("%d"):format(forker.wait(pid))
      end
      return statuses[1], statuses[2], statuses[3], never:done(),
        #client.async:get_limits("contacts", "companies"):wait()
    ]], child.shared_object "forker", child.shared_object "probe", async.server().url)
    assert.same({ "3", "4", "5", "false", "0" }, { (table.unpack or unpack)(report) }) -- luacheck: ignore
    assert.equal("0", report.status)
  end)
end)
