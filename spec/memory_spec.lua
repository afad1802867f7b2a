-- Memory that runs out in Lua while a call is under way: what is then raised loses nothing. Afterwards drain ends, each
-- on_done function has been called once, and the results are whole; or the call's error says that there was no memory
-- for the function that it asked, or that the transport was interrupted: nobody knows then what became of the attempt.
local assoc = require "hubspot_assoc"
local child = require "spec.support.child"

local scarce = assert(package.loadlib(child.shared_object "scarce", "luaopen_scarce"))()

local ANSWER = '{"status":"COMPLETE","results":['
  .. '{"category":"HUBSPOT_DEFINED","typeId":279,"userEnforcedMaxToObjectIds":5},'
  .. '{"category":"USER_DEFINED","typeId":38,"userEnforcedMaxToObjectIds":6}]}'

local function new_client(io_thread)
  return assoc.new { base_url = "http://127.0.0.1:1", io_thread = io_thread, max_attempts = 1,
    access_token = function() return "pat-x" end, on_event = function() end,
    limiter = { reserve = function() return 0.001 end, observe = function() end },
    transport = function() return { status = 200, body = ANSWER } end }
end

-- What is done while memory is scarce, to a client with three calls under way.
local scenarios = {
  { "wait", function(_, futures) futures[1]:wait(5) end },
  { "step", function(client) client:step(1) client:step(1) end },
  { "drain", function(client) client:drain(5) end },
  { "done", function(_, futures) futures[2]:done() end },
  { "an ordinary call", function(client) client:get_limits("contacts", "companies") end },
  { "a call that is started", function(client) client.async:get_limits("contacts", "companies") end },
}

-- Returns how often memory was refused from the n-th allocation on, and what was wrong afterwards.
local function try(io_thread, n, run)
  local client, futures, seen = new_client(io_thread), {}, { 0, 0, 0 }
  for i = 1, 3 do
    futures[i] = client.async:get_limits("contacts", "companies"):on_done(function(limits)
      seen[i] = seen[i] + (limits and #limits or 100)
    end)
  end
  client.core:wait(5) -- until one of them has news
  scarce.begin(n)
  local ok, message = pcall(run, client, futures)
  local refused = scarce.finish()
  assert(ok or tostring(message):find("memory", 1, true), message)
  pcall(client.step, client) -- raises what a step before has left
  client:drain(3)
  local problems = {}
  for i = 1, 3 do
    local limits, errors = futures[i]:wait(3)
    local is_whole = limits and seen[i] == 2 and limits[2].userEnforcedMaxToObjectIds == 6
    local was_refused = errors and seen[i] == 100
      and (errors[1].message:find("failed: .*memory") or errors[1].code == "other")
    if not is_whole and not was_refused then
      problems[#problems + 1] = ("call %d: %s %s, on_done %d"):format(i, tostring(limits), tostring(errors), seen[i])
    end
  end
  if client:pending() ~= 0 then problems[#problems + 1] = client:pending() .. " pending" end
  if not client:get_limits("contacts", "companies") then problems[#problems + 1] = "no more calls" end
  client:close()
  return refused, problems[1] and ("at %d: %s"):format(n, table.concat(problems, "; "))
end

for _, io_thread in ipairs { true, false } do
  -- lua-cjson's decoder leaks its buffer where Lua raises inside it, which a sanitizer reports.
  describe("memory that runs out, " .. (io_thread and "with" or "without") .. " an I/O thread #cjson_leaks", function()
    -- LuaJIT itself crashes, now and then, where memory runs out in code that it has compiled (none of ours is on the
    -- stack).
    local jit = rawget(_G, "jit")
    setup(function() if jit then jit.off() end end)
    teardown(function() if jit then jit.on() end end)

    for _, scenario in ipairs(scenarios) do
      it("loses nothing in " .. scenario[1], function()
        local problems, n, refused = {}, 0, 1
        while refused > 0 and n < 1000 do
          n = n + 1
          refused, problems[#problems + 1] = try(io_thread, n, scenario[2])
        end
        assert.same({}, problems)
        assert.is_true(n > 2 and n < 1000, n .. " points")
      end)
    end
  end)
end
