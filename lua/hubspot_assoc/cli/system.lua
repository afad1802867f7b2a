--- What plain Lua cannot ask the system, asked of /bin/sh: terminals, file modes, files for one's own eyes, programs.
-- Nothing else in the program runs a shell. Text from outside reaches it as quoted words only.

local system = {}

function system.quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

-- os.execute returns the status of wait(2) in Lua 5.1.
local function status_of(first, how, code)
  if type(first) == "number" then
    return first >= 256 and math.floor(first / 256) or first > 0 and 128 + first % 128 or 0
  end
  return how == "signal" and 128 + code or code
end

--- Runs a command line with our own input and outputs.
-- @return its exit status; 128 + the signal if one ended it
function system.run(command)
  return status_of(os.execute(command))
end

-- Output and exit status of a command line. (popen's close has no status in Lua 5.1.)
local function capture(command)
  local pipe = assert(io.popen("(" .. command .. ") 2>/dev/null; echo :$?"))
  local output = pipe:read("*a") or ""
  pipe:close()
  local body, status = output:match("^(.*):(%d+)\n$")
  return body or output, tonumber(status) or 1
end

-- Each adds to a number what it finds; 64 says that the shell came so far, for which it needs descriptors of its own.
local LOOK = "t=64; [ -t 0 ] && t=65; [ -t 1 ] && t=$((t + 2)); [ -t 2 ] && t=$((t + 4)); true 3>&2 || t=$((t + 8)); "
  .. "exec 2>/dev/null; true 3<&0 || t=$((t + 8)); true 3>&1 || t=$((t + 8)); exit $t"

local places = {} -- of what is closed: else a connection would get its number, and our output

--- Which of the standard input, output and error output are terminals.
-- @return three booleans
function system.terminals()
  local status = system.run(LOOK)
  status = status >= 64 and status < 96 and status - 64 or 0 -- else nobody knows
  for _ = 1, math.floor(status / 8) do places[#places + 1] = io.open("/dev/null", "rb") end
  return status % 2 == 1, status % 4 >= 2, status % 8 >= 4
end

--- Columns of the terminal that we write to; nil if nobody knows.
function system.columns()
  -- stty asks its standard input, which may be anything; the error output is not captured.
  local pipe = assert(io.popen("stty size 2>/dev/null </dev/tty"))
  local columns = tonumber((pipe:read("*a") or ""):match("^%d+ (%d+)"))
  pipe:close()
  return columns and columns > 0 and columns or nil
end

--- Reads a line from the standard input, in a child: Ctrl-C ends that at once, on every Lua.
-- @return string; or nil at the end of the input
function system.read_line()
  io.stdout:flush()
  io.stderr:flush()
  local pipe = assert(io.popen("IFS= read -r line && printf '%s\\n' \"$line\""))
  local line = pipe:read("*l")
  pipe:close()
  return line
end

--- Who may read a file, as `ls -l` shows it ("-rw-------"); nil if there is none.
function system.mode(path)
  local output = capture("ls -ldL -- " .. system.quote(path))
  return output:match("^(%S+)")
end

--- Opens a file to be read.
-- @return file; or nil and why not ("PATH: No such file or directory")
function system.open(path)
  local file, reason = io.open(path, "rb")
  if not file then return nil, reason end
  local _, problem = file:read(0) -- a folder can be opened, too
  if not problem then return file end
  file:close()
  return nil, ("%s: %s"):format(path, problem)
end

--- The content of a file; or nil and why not.
function system.read_file(path)
  local file, reason = system.open(path)
  if not file then return nil, reason end
  local content = file:read("*a")
  file:close()
  return content
end

-- What a path leads to, where it is a link.
local function target_of(path)
  local target = capture("readlink -f -- " .. system.quote(path)):match "^(.+)\n$"
  return target or path
end

-- In place of what somebody may have left under its name: a file that everybody can read would stay one.
local function write_new(path, content)
  os.remove(path)
  local file, reason = require("hubspot_assoc.core").open_file(path)
  if not file then return nil, reason end
  local ok
  ok, reason = file:truncate(0)
  if ok then ok, reason = file:write(content, 0) end
  if ok then ok, reason = file:sync() end
  file:close()
  return ok, reason
end

--- Writes a file that its owner alone can read, all of it or nothing: into a new file beside it, which then takes its
-- place.
-- @return true; or nil and why not
function system.write_private(path, content)
  local target = target_of(path)
  local fresh = target .. ".new"
  local ok, reason = write_new(fresh, content)
  if ok then ok, reason = os.rename(fresh, target) end
  if ok then return true end
  os.remove(fresh)
  return nil, ("cannot write %s: %s"):format(path, reason)
end

--- Runs a command line that gets a text on its standard input.
function system.feed(command, content)
  local pipe = assert(io.popen(command, "w"))
  pipe:write(content)
  pipe:close()
end

--- Is there a program of this name?
function system.has(program)
  local _, status = capture("command -v " .. system.quote(program))
  return status == 0
end

system.capture = capture

return system
