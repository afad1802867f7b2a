-- The examples in their real hosts: a C program, LÖVE, Neovim, event loops. `make hosts` runs this; `make test` passes
-- it over, for the hosts are large.
if not os.getenv "HOSTS" then return end

local fault_server = require "spec.support.fault_server"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local lua, build = assert(os.getenv "LUA"), assert(os.getenv "BUILD")

-- Answers each request after 0.3 s, with a limit.
local slow = { "answers.after", 0.3 }

-- What a shell command prints, the last line being its status. It talks to the simulator unless told another url, and
-- has a home of its own, which it leaves empty or not at all.
local function run(command, url)
  local pipe = assert(io.popen(([[
    home=$(mktemp -d "$PWD/build/home.XXXXXX") || exit 1
    export HOME="$home" XDG_RUNTIME_DIR="$home" HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s
    unset XDG_DATA_HOME XDG_CONFIG_HOME XDG_CACHE_HOME XDG_STATE_HOME
    (%s) </dev/null 2>&1
    echo "status $?"
    rm -rf "$home"]]):format(simulator.token(), url or simulator.url, command)))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- The README's way to a tree built for LuaJIT, which LÖVE and Neovim have inside.
local with_luajit = 'eval "$(env -u MAKEFLAGS -u BUILD make -s env LUA=luajit)" && '

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

describe("examples/frame_loop", function()
  after_each(fault_server.stop_all)

  local command = ("timeout 60 %s/frame_loop examples/frame_loop.lua"):format(shell.quote(build))

  -- A machine that is busy otherwise may hold up a frame or two.
  local function check(output)
    assert.matches("\nstatus 0\n$", output)
    assert.equal(24, count(output, "frame +%d+: %w+ %-> %w+: %d+ limits"))
    local frames, late = output:match "(%d+) frames; the worst took [%d.]+ ms of 16.7, (%d+) were late"
    assert.is_true(tonumber(frames) >= 180, output)
    assert.is_true(tonumber(late) <= 2, output)
  end

  it("draws all frames in time", function()
    check(run(command))
  end)

  it("draws all frames in time while answers take long", function()
    local server = fault_server.start(slow)
    local output = run(command, server.url)
    check(output)
    local arrived, asked = output:match "frame +(%d+): [^\n]*%(asked for in frame (%d+)%)"
    assert.is_true(arrived - asked >= 15, output)
  end)
end)

describe("examples/love", function()
  after_each(fault_server.stop_all)

  local command = with_luajit .. "timeout 60 xvfb-run -a -s '-screen 0 640x400x24' love examples/love 60"

  it("shows results, and ends after so many frames", function()
    local output = run(command)
    assert.matches("\nstatus 0\n$", output)
    assert.matches("contacts %-> companies: unlabelled %w+, [^\n]*Consultant 20", output)
    assert.equal(12, count(output, "%w+ %-> %w+: [^\n]+ %(frame %d+%)\n"))
    assert.matches("\n%d+ frames; client:step took [%d.]+ ms at most\n", output)
  end)

  it("draws while answers take long", function()
    local server = fault_server.start(slow)
    local output = run(command, server.url)
    assert.matches("\nstatus 0\n$", output)
    assert.equal(12, count(output, "%w+ %-> %w+: unlabelled 5 %(frame %d+%)\n"))
    assert.is_true(tonumber(output:match "%(frame (%d+)%)") >= 5, output)
  end)
end)

describe("examples/neovim", function()
  after_each(fault_server.stop_all)

  -- What Neovim has in its message area when each of these commands has said something. (What a command raises at
  -- once is not there, because a script has called it; it is added.)
  local function messages(commands, url)
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write(([[
      local commands, said, ticks, raised = %s, 0, 0, ""
      local notify = vim.notify
      vim.notify = function(...) said = said + 1 return notify(...) end
      local timer, started = vim.loop.new_timer(), vim.loop.hrtime()
      for command in commands:gmatch "[^\n]+" do
        local ok, message = pcall(vim.cmd, command)
        if not ok then raised = raised .. message .. "\n" end
      end
      local took = (vim.loop.hrtime() - started) / 1e6
      timer:start(0, 10, function() ticks = ticks + 1 end)
      local _, n = commands:gsub("\n", "")
      vim.wait(10000, function() return said == n end, 5)
      local shown = vim.api.nvim_exec("messages", true)
      io.stdout:write(("took %%d ms, %%d ticks\n%%s\n%%s\n"):format(took, ticks, shown, raised))
    ]]):format(("%q"):format(commands)))
    file:close()
    local output = run(with_luajit .. "timeout 60 nvim --headless -u NONE -i NONE -n "
      .. "--cmd 'set runtimepath+=examples/neovim' -c 'runtime plugin/hubspot.lua' -c 'luafile " .. script
      .. "' -c 'qa!' 2>/dev/null", url)
    os.remove(script)
    return output
  end

  it("updates a limit, and says so", function()
    local output = messages "HubSpotLimit contacts companies HUBSPOT_DEFINED 279 200\n"
    assert.matches("\ncontacts %-> companies: the limit is 200 now\n", output)
    assert.matches("\nstatus 0\n$", output)
  end)

  it("says what went wrong", function()
    local output = messages("HubSpotLimit contacts companies HUBSPOT_DEFINED 279 5\n"
      .. "HubSpotLimit contacts companies HUBSPOT_DEFINED x 5\nHubSpotLimit contacts\n")
    assert.matches("VALIDATION_ERROR: The limit 5 of the object pair must not be below", output)
    assert.matches("inputs%[1%]%.typeId: integer expected, got string \"x\"", output)
    assert.matches("HubSpotLimit FROM TO CATEGORY TYPE_ID LIMIT", output)
  end)

  it("does not hold up the editor", function()
    local server = fault_server.start(slow)
    local output = messages(("HubSpotLimit contacts companies HUBSPOT_DEFINED 279 5\n"):rep(3), server.url)
    assert.equal(3, count(output, "the limit is 5 now"))
    local took, ticks = output:match "took (%d+) ms, (%d+) ticks"
    assert.is_true(tonumber(took) < 100, output)
    assert.is_true(tonumber(ticks) >= 10, output)
  end)
end)

describe("examples/event_loop.lua", function()
  for _, name in ipairs { "luv", "cqueues" } do
    it("runs in " .. name, function()
      local output = run(("timeout 60 %s examples/event_loop.lua %s"):format(shell.quote(lua), name))
      assert.equal(3, count(output, "%w+ %-> %w+: %d+ limits\n"))
      assert.matches("\n%d+ ticks meanwhile\nstatus 0\n$", output)
    end)
  end

  it("names what it can run in", function()
    assert.matches("which loop%? luv or cqueues", (run(("%s examples/event_loop.lua"):format(shell.quote(lua)))))
  end)
end)
