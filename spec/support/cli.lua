-- Runs the real program, in the Lua that the spec itself runs in, with an environment of its own.
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local cli = { preload = os.getenv "LD_PRELOAD" } -- a sanitizer, or nothing

local MOST = 60 -- s, for a run

local lua = os.getenv "LUA" or "lua5.4"

--- busted's describe, where this Lua can run the program at all: argparse and lyaml are not packaged for all of them.
function cli.describe(describe, pending)
  for _, library in ipairs { "argparse", "yaml" } do
    if not pcall(require, library) then
      return function(name) describe(name, function() pending("(no " .. library .. " for this Lua)") end) end
    end
  end
  return describe
end

function cli.read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read "*a"
  file:close()
  return content
end

function cli.write(path, content)
  local file = assert(io.open(path, "wb"))
  file:write(content)
  file:close()
  return path
end

--- Runs a command line: its output and exit status. A sanitizer preloaded for the spec has no business in it; the
-- program that it may run has it (cli.command).
function cli.sh(command)
  local pipe = assert(io.popen("unset LD_PRELOAD; (" .. command .. ") 2>&1; echo :$?"))
  local output, status = pipe:read("*a"):match "^(.*):(%d+)\n$"
  pipe:close()
  return output, tonumber(status)
end

local function execute(command)
  os.execute("unset LD_PRELOAD; " .. command)
end

--- A folder of its own, which is also HOME of what runs; cli.remove takes it away.
function cli.folder()
  return (cli.sh "mktemp -d"):match "^%S+"
end

function cli.remove(folder)
  execute("rm -rf " .. shell.quote(folder))
end

-- What must not reach the program from who runs the specs.
local UNSET = { "HUBSPOT_ACCESS_TOKEN", "HUBSPOT_BASE_URL", "HUBSPOT_API_VERSION", "HUBSPOT_ASSOC_PROFILE", "NO_COLOR",
  "COLUMNS", "XDG_CONFIG_HOME" }
if not os.getenv "HSA_LINES" then UNSET[#UNSET + 1] = "LUA_INIT" end -- `make coverage` has something of its own there

local function environment_words(environment)
  local words = { "env", "--default-signal=PIPE,INT" }
  for _, name in ipairs(UNSET) do words[#words + 1] = "-u " .. name end
  local all = { TERM = "xterm", LC_ALL = "C.UTF-8", HUBSPOT_BASE_URL = simulator.url, LD_PRELOAD = cli.preload }
  for name, value in pairs(environment) do all[name] = value end
  for name, value in pairs(all) do
    if value then words[#words + 1] = shell.quote(name .. "=" .. value) else table.insert(words, 2, "-u " .. name) end
  end
  return table.concat(words, " ")
end

--- The command line that runs the program: for specs that put it into one of their own.
function cli.command(environment, ...)
  local words = { environment_words(environment), shell.quote(lua), "bin/hubspot-assoc" }
  for _, argument in ipairs { ... } do words[#words + 1] = shell.quote(argument) end
  return table.concat(words, " ")
end

-- Runs a command line: { status =, out =, err = }. Its input is there at once; or, where `after` is given, it comes
-- when that has been shown, and the command line `meanwhile` has run.
local function perform(command, input, after, meanwhile)
  local out, err, stdin = os.tmpname(), os.tmpname(), os.tmpname()
  cli.write(stdin, input or "")
  local typist = ("{ n=0; until %s || [ $((n += 1)) -gt %d ]; do sleep 0.05; done; %s; cat %s; }"):format(
    after and ("grep -qF %s %s"):format(shell.quote(after), out) or ":", MOST * 10,
    meanwhile and meanwhile .. " >/dev/null 2>&1" or ":", stdin)
  local _, status = cli.sh(("%s | timeout -k 5 %d %s >%s 2>%s"):format(typist, MOST, command, out, err))
  local result = { status = status, out = cli.read(out), err = cli.read(err) }
  for _, path in ipairs { out, err, stdin } do os.remove(path) end
  return result
end

--- cli.run({ HUBSPOT_ACCESS_TOKEN = token, NAME = false }, "limits", "get", …) → { status =, out =, err = }
function cli.run(environment, ...)
  return perform(cli.command(environment, ...))
end

--- The same with text on its standard input.
function cli.feed(input, environment, ...)
  return perform(cli.command(environment, ...), input)
end

--- The same on a terminal of its own, 80 columns wide: out has all that was shown there.
-- @param input what is typed; or { after =, meanwhile = a command line, what is typed when the first has been shown and
--   the second has run }
function cli.on_terminal(input, environment, ...)
  local command = "stty cols 80 -echo; exec " .. cli.command(environment, ...)
  local typing = type(input) == "table" and input or { input }
  local result = perform(("script -qefc %s /dev/null"):format(shell.quote(command)), typing[1], typing.after,
    typing.meanwhile)
  result.out = result.out:gsub("\r\n", "\n")
  return result
end

--- Runs it in the background, and sends it a signal as soon as is_due() is true.
-- @return { status =, out = } of which out has the error output, too
function cli.stop(signal, is_due, environment, ...)
  local out, status = os.tmpname(), os.tmpname()
  cli.write(status, "")
  local command = ("{ %s & echo $! >%s.pid; wait $!; echo $? >%s; } >%s 2>&1 &"):format(cli.command(environment, ...),
    status, status, out)
  execute(command)
  local tries = 0
  repeat
    execute "sleep 0.05"
    tries = tries + 1
  until is_due() or cli.read(status) ~= "" or tries > MOST * 20
  execute(("kill -%s $(cat %s.pid)"):format(signal, status))
  while cli.read(status) == "" and tries < MOST * 40 do
    execute "sleep 0.02"
    tries = tries + 1
  end
  local result = { status = tonumber(cli.read(status)), out = cli.read(out) }
  for _, path in ipairs { out, status, status .. ".pid" } do os.remove(path) end
  return result
end

return cli
