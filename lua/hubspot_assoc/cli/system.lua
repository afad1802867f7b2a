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

--- Which of the standard input, output and error output are terminals.
-- @return three booleans
function system.terminals()
  local status = system.run("t=0; [ -t 0 ] && t=1; [ -t 1 ] && t=$((t + 2)); [ -t 2 ] && t=$((t + 4)); exit $t")
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

local function read_file(path)
  local file, reason = io.open(path, "rb")
  if not file then return nil, reason end
  local content = file:read("*a")
  file:close()
  return content
end
system.read_file = read_file

-- The content comes through a pipe: a command line could be read by anybody.
local WRITE = [[
  target=%s; target=$(readlink -f -- "$target" 2>/dev/null || printf '%%s' "$target")
  umask 077; new=$(mktemp -- "$target.XXXXXX") || exit 1
  trap 'rm -f -- "$new"' EXIT
  cat >"$new" && { sync -- "$new" || :; } && mv -f -- "$new" "$target"]]

--- Writes a file that its owner alone can read, all of it or nothing: into a new file beside it, which then takes its
-- place. Where the path is a link, what it leads to is replaced.
-- @return true; or nil and why not
function system.write_private(path, content)
  local pipe = assert(io.popen("(" .. WRITE:format(system.quote(path)) .. ") >/dev/null 2>&1", "w"))
  pipe:write(content)
  pipe:close()
  if read_file(path) ~= content then return nil, "cannot write " .. path end
  return true
end

--- Is there a program of this name?
function system.has(program)
  local _, status = capture("command -v " .. system.quote(program))
  return status == 0
end

system.capture = capture

return system
