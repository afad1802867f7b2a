-- A process that forks: the child leaves the parent's connections alone and opens its own; both go on.
local child = require "spec.support.child"
local simulator = require "spec.support.simulator"
local wire = require "spec.support.wire"

local forker_path = child.shared_object "forker"
local forker = assert(package.loadlib(forker_path, "luaopen_forker"))()

-- Forks, runs fn in the child, and ends the child with status 0 if fn returned true. Gives the child's pid.
local function fork(fn)
  io.stdout:flush()
  io.stderr:flush()
  local pid = forker.fork()
  if pid ~= 0 then return pid end
  local ok, result = pcall(fn)
  if not ok then io.stderr:write("in the child: ", tostring(result), "\n") end
  forker.exit(ok and result == true and 0 or 1)
end

local PARENT, CHILD, GRANDCHILD = 36, 38, 279 -- association types: who sent a call

-- One call that sets a limit of this type, and must get exactly its own answer.
local function call(client, type_id, limit)
  local category = type_id == 279 and "HUBSPOT_DEFINED" or "USER_DEFINED"
  local results, errors = client:batch_update("contacts", "companies",
    { { category = category, typeId = type_id, maxToObjectIds = limit } })
  assert(results, tostring(errors))
  assert(#results == 1 and results[1].typeId == type_id and results[1].userEnforcedMaxToObjectIds == limit,
    "this is another call's answer")
end

local function make_calls(client, type_id, first, last)
  for limit = first, last do call(client, type_id, limit) end
  return true
end

-- The connections on which the calls of this type came, each once, in order.
local function connections_of(log, type_id)
  local list = {}
  for _, entry in ipairs(log) do
    if entry.body:find(('"typeId":%d'):format(type_id), 1, true) and list[#list] ~= entry.connection then
      list[#list + 1] = entry.connection
    end
  end
  return list
end

local function check_fork(token, make_client)
  local client = make_client(token)
  call(client, PARENT, 1) -- the connection is warm
  local pid = fork(function() return make_calls(client, CHILD, 1, 10) end)
  make_calls(client, PARENT, 2, 11)
  assert.equal(0, forker.wait(pid))
  make_calls(client, PARENT, 12, 14)

  local log = simulator.log(token)
  assert.equal(24, log.count)
  local parents, childs = connections_of(log, PARENT), connections_of(log, CHILD)
  assert.equal(1, #parents) -- one connection, before, while and after the child was there
  assert.equal(1, #childs)
  assert.are_not.equal(parents[1], childs[1])
end

local function http_client(token)
  return wire.client(simulator.url, { access_token = token, max_attempts = 1 })
end

local function https_client(token)
  return wire.client(simulator.https_url, { access_token = token, ca_file = simulator.ca_file, max_attempts = 1 })
end

describe("after a fork", function()
  local token

  before_each(function() token = simulator.token() end)

  it("parent and child go on, each on a connection of its own", function()
    check_fork(token, http_client)
  end)

  it("parent and child go on over TLS and HTTP/2", function()
    check_fork(token, https_client)
  end)

  for scheme, make_client in pairs { http = http_client, https = https_client } do
    it(("a child that drops the client does not close the parent's %s connection"):format(scheme), function()
      local client = make_client(token)
      call(client, PARENT, 1)
      local pid = fork(function()
        client = nil
        collectgarbage()
        collectgarbage()
        return true
      end)
      assert.equal(0, forker.wait(pid))
      make_calls(client, PARENT, 2, 5)
      assert.equal(1, #connections_of(simulator.log(token), PARENT))
    end)
  end

  it("a child that used the client and then dropped it leaves the parent's connection alone", function()
    local client = https_client(token)
    call(client, PARENT, 1)
    local pid = fork(function()
      make_calls(client, CHILD, 1, 2)
      client = nil
      collectgarbage()
      collectgarbage()
      return true
    end)
    assert.equal(0, forker.wait(pid))
    make_calls(client, PARENT, 2, 5)
    assert.equal(1, #connections_of(simulator.log(token), PARENT))
  end)

  it("a child of the child has a connection of its own too", function()
    local client = http_client(token)
    call(client, PARENT, 1)
    local pid = fork(function()
      call(client, CHILD, 1)
      local grandchild = fork(function() return make_calls(client, GRANDCHILD, 100, 103) end)
      make_calls(client, CHILD, 2, 5)
      return forker.wait(grandchild) == 0
    end)
    make_calls(client, PARENT, 2, 5)
    assert.equal(0, forker.wait(pid))
    local log, different = simulator.log(token), {}
    for _, type_id in ipairs { PARENT, CHILD, GRANDCHILD } do
      local connections = connections_of(log, type_id)
      assert.equal(1, #connections)
      assert.is_nil(different[connections[1]])
      different[connections[1]] = true
    end
    assert.equal(14, log.count)
  end)

  it("a client that was never used works in both", function()
    local client = http_client(token)
    local pid = fork(function() return make_calls(client, CHILD, 1, 3) end)
    make_calls(client, PARENT, 1, 3)
    assert.equal(0, forker.wait(pid))
    assert.equal(6, simulator.log(token).count)
  end)

  it("a call that was under way is canceled in the child and goes on in the parent", function()
    local pid
    local client = wire.client(simulator.url, { access_token = function()
      pid = pid or forker.fork()
      return token
    end })
    local outcome = wire.call(client, "batch_update")
    if pid == 0 then
      local ok, problem = pcall(function()
        assert.equal("canceled", outcome.error.kind)
        assert.equal(0, outcome.error.attempts)
        wire.good_call(client, "get_limits") -- a new call is none of the parent's
      end)
      if not ok then io.stderr:write("in the child: ", tostring(problem), "\n") end
      forker.exit(ok and 0 or 1)
    end
    assert.equal(0, forker.wait(pid))
    assert.is_nil(outcome.errors)
    local log = simulator.log(token)
    assert.same({ 2, 1 }, { #log, wire.count(log, "batch_update") })
  end)

  it("a child whose Lua is closed leaves the parent's connection alone", function()
    local report = child.run({}, [[
      local path, token = ...
      local forker = assert(package.loadlib(path, "luaopen_forker"))()
      local simulator, wire = require "spec.support.simulator", require "spec.support.wire"
      local client = wire.client(simulator.https_url, { access_token = token, ca_file = simulator.ca_file })
      wire.good_call(client, "batch_update")
      local pid = forker.fork()
      if pid == 0 then os.exit(0, true) end
      local status = forker.wait(pid)
      wire.good_call(client, "batch_update")
      return status
    ]], forker_path, token)
    assert.equal("0", report.status, table.concat(report, "\n"))
    assert.equal(0, tonumber(report[1]))
    local log = simulator.log(token)
    assert.same({ 2, log[1].connection }, { #log, log[2].connection })
  end)
end)
