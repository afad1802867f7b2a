-- Runs Lua code in a process of its own, in the Lua that the spec itself runs in and with the tree's modules: for what
-- must be there before a process starts (its environment), or what may end it.
local shell = require "spec.support.shell"
local system = require "system" -- busted needs it too

local child = {}

local MOST = 120 -- s, for a process

local function interpreter()
  local lowest = 0
  while arg and arg[lowest - 1] do lowest = lowest - 1 end
  return arg and lowest < 0 and arg[lowest] or assert(os.getenv "LUA", "which Lua is this?")
end

local function temporary_file(text)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  return name
end

-- child.run({ http_proxy = "…", HOME = false }, [[ return 1, "two" ]], …) → { "1", "two", status = "0", seconds = 0.1 }
-- Sets variables in the environment, or unsets those that are false. What the code returns comes back as strings, "nil"
-- included; its arguments are in `...`. status is the shell's exit status: "0", "141" after SIGPIPE, "124" if the
-- process had to be stopped.
function child.run(environment, code, ...)
  return child.start(environment, code, ...)()
end

-- The same for processes side by side: the function that this gives waits for the process and gives what it returned.
function child.start(environment, code, ...)
  local script = temporary_file(([[
    package.path = %q .. package.path
    local function report(...)
      for i = 1, select("#", ...) do print((tostring(select(i, ...)):gsub("\n", " "))) end
    end
    report((function(...) %s
    end)(...))
  ]]):format("./?.lua;", code))
  -- Event loops that other specs load ignore SIGPIPE, and children inherit that.
  local words = { "timeout", MOST, "env", "--default-signal=PIPE" }
  if not os.getenv "HSA_LINES" then words[#words + 1] = "-u LUA_INIT" end -- `make coverage` has its hook there
  for name, value in pairs(environment) do
    if not value then words[#words + 1] = "-u " .. name end
  end
  for name, value in pairs(environment) do
    if value then words[#words + 1] = shell.quote(name .. "=" .. value) end
  end
  for _, word in ipairs { interpreter(), script, ... } do words[#words + 1] = shell.quote(word) end
  local started = system.monotime()
  local pipe = assert(io.popen("exec 2>&1 </dev/null; " .. table.concat(words, " ") .. "; echo $?"))
  return function()
    local lines = {}
    for line in pipe:lines() do lines[#lines + 1] = line end
    pipe:close()
    os.remove(script)
    lines.seconds = system.monotime() - started
    lines.status = table.remove(lines)
    return lines
  end
end

-- A value of LD_PRELOAD with this shared object behind what is preloaded already (a sanitizer).
function child.preload(path)
  local already = os.getenv "LD_PRELOAD"
  return already and already ~= "" and already .. ":" .. path or path
end

-- The path of spec/support/NAME.c as a shared object; the Makefile builds it.
function child.shared_object(name)
  return ("%s/support/%s.so"):format(assert(os.getenv "BUILD", "run specs by `make test`"), name)
end

-- For the code of a child: most(), the most memory that it has had so far, in KiB.
child.MOST_MEMORY = [[
  local function most()
    for line in io.lines "/proc/self/status" do
      local kib = line:match "^VmHWM:%s*(%d+)"
      if kib then return tonumber(kib) end
    end
  end
]]

return child
