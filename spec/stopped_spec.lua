-- A process that is stopped (SIGSTOP, a debugger, a laptop that sleeps), or whose host has something else to do: what
-- has come meanwhile counts, though the time is up.
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"

local unpack = table.unpack or unpack -- luacheck: ignore

after_each(fault_server.stop_all)

-- A call that must not be applied twice. When the server has it, the process does something else, or nothing, until the
-- answer is there and the time is up.
local CALL = [[
  local system = require "system"
  local url, has_come, may_answer, has_answered = ...
  local client = require "hubspot_assoc".new { base_url = url, access_token = "x", io_thread = %s, %s = 3 }
  local future = client.async:batch_create("contacts", "companies", {
    { category = "USER_DEFINED", typeId = 36, maxToObjectIds = 5 } })
  local file
  repeat
    client:step(0.01)
    file = io.open(has_come)
  until file
  file:close()
  os.execute(("%s: >%%s; until test -e %%s; do sleep 0.1; done; sleep 3.5; %s"):format(may_answer, has_answered))
  local results, errors, response = future:wait(60)
  client:close()
  return results and #results, errors, response and response.attempts
]]

describe("an answer that is there when the time is up", function()
  local files

  before_each(function()
    files = { os.tmpname(), os.tmpname(), os.tmpname() }
    for _, path in ipairs(files) do os.remove(path) end
  end)
  after_each(function()
    for _, path in ipairs(files) do os.remove(path) end
  end)

  for _, row in ipairs {
    { "timeout", "whose host does not step", "false", "", "" },
    { "timeout", "that was stopped", "true", "kill -STOP $PPID; ", "kill -CONT $PPID" },
    { "deadline", "that was stopped", "false", "kill -STOP $PPID; ", "kill -CONT $PPID" },
  } do
    it(("is read by a process %s (%s, io_thread = %s)"):format(row[2], row[1], row[3]), function()
      local server = fault_server.start { "acts.once", "request", { "make_file", files[1] },
        { "wait_for_file", files[2] }, "ok", { "make_file", files[3] }, "serve" }
      local lines = child.run({}, CALL:format(row[3], row[1], row[4], row[5]), server.url, unpack(files))
      assert.same({ "1", "nil", "1", "0" }, { lines[1], lines[2], lines[3], lines.status })
      assert.equal(1, #server:stop())
    end)
  end
end)
