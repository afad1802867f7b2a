-- An error that is raised inside the Lua layer, at any instruction: Ctrl-C, a debug hook, memory that runs out. It must
-- lose nothing: afterwards drain ends, nothing is pending, what was done is handed out, and later calls are good.
local assoc = require "hubspot_assoc"
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
    max_attempts = 1, io_thread = options.io_thread }
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
