-- A scripted TCP server for faults that a well-behaved HTTP server cannot make. It is a process of its own, because
-- specs block while they call it; specs need no socket library for it and may run in any Lua.
--
--   local server = fault_server.start "faults.garbage"     or, with arguments: start { "answers.always", 200, "{}" }
--   ... calls to server.url ...
--   local seen = server:stop()
--
-- "faults.garbage" is the function `garbage` in the table that spec/servers/faults.lua returns. It is Lua 5.4 and
-- runs once a connection, as garbage(conn, n, arguments...); n counts connections from 1. See fault_conn.lua for what
-- conn can do. When the function returns, the connection is closed. The file is loaded once for each server, so that
-- its local variables are the server's. Where a server must prepare something, { prepare = function(arguments...) }
-- stands in place of the function and gives it.
local shell = require "spec.support.shell"

local fault_server = {}
local running = {}

local Server = {}
Server.__index = Server

-- A value as Lua source for every Lua: no byte in it that a shell or a Lua could take amiss.
local function literal(value)
  if type(value) == "string" then
    return '"' .. value:gsub("[^%w %.,:_{}%[%]-]", function(byte) return ("\\%03d"):format(byte:byte()) end) .. '"'
  elseif type(value) == "table" then
    local fields = {}
    for key, field in pairs(value) do fields[#fields + 1] = ("[%s] = %s"):format(literal(key), literal(field)) end
    return "{" .. table.concat(fields, ", ") .. "}"
  end
  return tostring(value)
end

-- The source that gives a server its function.
local function source_of(script)
  local words = type(script) == "table" and script or { script }
  local file, name = words[1]:match "^([%w_]+)%.([%w_]+)$"
  if not file then return script end
  local arguments = { literal(file), literal(name) }
  for i = 2, #words do arguments[i + 1] = literal(words[i]) end
  return ("return server(%s)"):format(table.concat(arguments, ", "))
end

-- options.lifetime: seconds after which the server ends by itself, 300 unless told (a busy machine is slow).
function fault_server.start(script, options)
  script = source_of(script)
  local lifetime = options and options.lifetime or 300
  local pipe = assert(io.popen("echo $$; " .. shell.helper("fault_server_main.lua", script, lifetime)))
  local pid = pipe:read "*l"
  local first = pipe:read "*l" or "error it ended before it said its port"
  local port = tonumber(first:match "^port (%d+)$")
  if not port then
    pipe:close()
    error("fault server: " .. first:gsub("^error ", ""), 2)
  end
  local server = setmetatable({ pid = pid, pipe = pipe, port = port, url = "http://127.0.0.1:" .. port }, Server)
  running[server] = true
  return server
end

-- Stops what a failed spec has left behind: after_each(fault_server.stop_all).
function fault_server.stop_all()
  local problem
  for server in pairs(running) do
    local ok, message = pcall(server.stop, server)
    if not ok then problem = problem or message end
  end
  if problem then error(problem, 0) end
end

-- What was seen, for people: a line a request.
function fault_server.describe(seen)
  local lines = {}
  for i, request in ipairs(seen) do
    lines[i] = ("connection %d at %.3f: %s %s by %s"):format(request.connection, request.at, request.method,
      request.path, request.headers["user-agent"] or "somebody")
  end
  return table.concat(lines, "\n")
end

-- A pipe that io.popen opened goes one way only, so questions are asked by signal.
local function ask(server, signal_name)
  os.execute("kill -" .. signal_name .. " " .. server.pid .. " 2>/dev/null")
  local size = tonumber(server.pipe:read "*l" or nil)
  local chunk = size and server.pipe:read(size)
  if not chunk then return { connections = 0, seen = {}, error = "the server ended by itself" } end
  return assert((loadstring or load)(chunk, "=report"))()
end

local function requests(report)
  report.seen.connections = report.connections
  return report.seen
end

-- The requests read so far, in the order in which they were complete: an array of { connection, method, path,
-- headers = { lowercase name = value }, body, at = monotonic seconds, extra = bytes that came behind the request }.
-- Its field `connections` counts all connections, also those that sent no whole request.
function Server:seen()
  if self.stopped then return self.stopped end
  return requests(ask(self, "USR1"))
end

-- Stops the server and returns the same. The first stop raises if the script failed; later ones give the list.
function Server:stop()
  if self.stopped then return self.stopped end
  local report = ask(self, "TERM")
  self.pipe:close()
  running[self] = nil
  self.stopped = requests(report)
  if report.error then error("fault server: " .. report.error, 2) end
  return self.stopped
end

return fault_server
