-- An error that is raised inside the Lua layer, at any instruction: Ctrl-C, a debug hook, memory that runs out. It must
-- lose nothing: afterwards drain ends, nothing is pending, what was done is handed out, and later calls are good.
local assoc = require "hubspot_assoc"
local hosts = require "spec.support.loop_hosts"
local interrupt = require "spec.support.interrupt"

-- Answers in place of the network.
local function transport()
  return { status = 200, body = '{"results":[]}' }
end

local scenarios = {
  { "starts and waits", function(client)
    client.async:get_limits("a", "b"):wait(5)
  end },
  { "steps", function(client, note)
    for _ = 1, 3 do client.async:get_limits("a", "b"):on_done(note) end
    client:step(1)
    client:step(1)
  end },
  { "drains calls with several functions", function(client, note)
    for _ = 1, 2 do client.async:get_limits("a", "b"):on_done(note):on_done(note) end
    client:drain(5)
  end },
  { "cancels and closes", function(client, note)
    client.async:get_limits("a", "b"):on_done(note)
    local future = client.async:get_limits("a", "b"):on_done(note)
    future:cancel()
    future:on_done(note)
    client:step()
  end },
  { "waits for a token, a limiter and events", function(client)
    client.async:get_limits("a", "b")
    client.async:get_limits("a", "b"):wait(5)
  end, { limited = true } },
  { "makes ordinary calls", function(client)
    client:get_limits("a", "b")
    client:get_limits("a", "b")
  end, { limited = true } },
  { "iterates", function(client)
    for _ in client:read_all("a", "b", { 1, 2 }, { batch_size = 1, in_flight = 2 }) do end -- luacheck: ignore
  end, { limited = true } },
  { "reads labels", function(client)
    client:label_types("a", "b")
  end, { limited = true } },
}

local function new_client(options)
  local all = { access_token = "pat-x", base_url = "http://127.0.0.1:1", transport = transport, rate = false,
    max_attempts = 1, io_thread = options.io_thread, loop = options.loop }
  if options.limited then
    all.rate = nil
    all.limiter = { reserve = function() return 0 end, observe = function() end }
    all.access_token = function() return "pat-x" end
    all.on_event = function() end
  end
  return assoc.new(all)
end

-- Is everything sound after what was interrupted? Returns what is not.
local function complaint(client)
  local _, raised = pcall(client.step, client)
  local n = client:drain(3)
  if client:pending() ~= 0 then return ("%d are pending (%s, %s)"):format(client:pending(), n, tostring(raised)) end
  local results, errors = client:get_limits("a", "b")
  if not results then return "an ordinary call fails: " .. tostring(errors) end
  local done
  client.async:get_limits("a", "b"):on_done(function() done = true end)
  client:drain(3)
  if not done then return "on_done is not called any more" end
  client:close()
end

for _, io_thread in ipairs { true, false } do
  describe("an error at any instruction, " .. (io_thread and "with" or "without") .. " an I/O thread", function()
    local jit = rawget(_G, "jit")
    setup(function() if jit then jit.off() end end)
    teardown(function() if jit then jit.on() end end)

    for _, scenario in ipairs(scenarios) do
      local name, run, more = scenario[1], scenario[2], scenario[3] or {}

      it("loses nothing where one " .. name, function()
        local complaints, n, has_raised = {}, 0, true
        while has_raised and n < (io_thread and 200 or 800) do
          n = n + 1
          local client = new_client { io_thread = io_thread, limited = more.limited }
          local place
          has_raised, place = interrupt(n, function() run(client, function() end) end)
          local text = complaint(client)
          if text then complaints[#complaints + 1] = ("at %d: %s%s"):format(n, text, place or "") end
        end
        assert.same({}, complaints)
        assert.is_true(n > 50, n .. " points")
      end)
    end
  end)
end

describe("an error at any instruction of an ordinary call in a coroutine of an event loop", function()
  local jit = rawget(_G, "jit")
  setup(function() if jit then jit.off() end end)
  teardown(function() if jit then jit.on() end end)

  local clock = assoc.new { access_token = "pat-x", transport = transport, io_thread = false, skip_waits = true,
    limiter = { reserve = function() return 6 end, observe = function() end } }

  -- What nobody goes on with is looked after when some seconds have passed.
  local function let_time_pass(client)
    local n = 0
    repeat
      n = n + 1
      pcall(client.step, client, 0.01)
      assert(clock:get_limits("a", "b"))
    until client:pending() == 0 or n == 20
  end

  --- Raises at the n-th instruction of the library in this coroutine, whoever resumes it. Returns { place = where }.
  local function strike(thread, n)
    local struck, count = {}, 0
    local function hook()
      local is_ours = debug.getinfo(2, "S").source:find("lua/hubspot_assoc", 1, true)
      if not is_ours or coroutine.running() ~= thread then return end
      count = count + 1
      if count == n then
        struck.place = debug.traceback("", 2):gsub("\n%s*", " < "):sub(1, 500)
        error("interrupted here", 0)
      end
    end
    debug.sethook(thread, hook, "", 1)
    return struck
  end

  it("leaves the call to others", function()
    local complaints, n = {}, 0
    local struck
    repeat
      n = n + 1
      local client = new_client { limited = true, loop = hosts.own().loop }
      local thread = coroutine.create(function() client:get_limits("a", "b") end)
      struck = strike(thread, n)
      coroutine.resume(thread)
      let_time_pass(client)
      local text = complaint(client)
      debug.sethook()
      if text then complaints[#complaints + 1] = ("at %d: %s%s"):format(n, text, struck.place or "") end
    until not struck.place or n == 2000
    assert.same({}, complaints)
    assert.is_true(n > 50, n .. " points")
  end)
end)

describe("functions of futures", function()
  it("are called once each, though an error comes in between at any instruction", function()
    for n = 1, 400 do
      local client, calls = new_client { io_thread = false }, {}
      for i = 1, 3 do
        client.async:get_limits("a", "b"):on_done(function() calls[#calls + 1] = i end)
          :on_done(function() calls[#calls + 1] = i + 10 end)
      end
      local has_raised = interrupt(n, function() client:drain(5) end)
      client:drain(3)
      table.sort(calls)
      assert.same({ 1, 2, 3, 11, 12, 13 }, calls, n)
      if not has_raised then break end
    end
  end)
end)
