-- The process behind fault_server.lua: lua5.4 fault_server_main.lua SCRIPT LIFETIME
-- Says "port N" or "error MESSAGE" first. SIGUSR1 asks for a report, SIGTERM for a last one; a report is its length on
-- a line and then a Lua chunk. Ends by itself after LIFETIME seconds, and when nobody reads stdout any more.
local here = arg[0]:match "^(.*/)" or "./"
package.path = here .. "?.lua;" .. package.path
local cqueues = require "cqueues"
local signal = require "cqueues.signal"
local socket = require "cqueues.socket"
local Conn = require "fault_conn"

local deadline = cqueues.monotime() + tonumber(arg[2])
local report = { connections = 0, seen = {} }

local function say(...)
  io.stdout:write(...)
  io.stdout:flush()
end

local function literal(value)
  if type(value) == "table" then
    local fields = {}
    for key, field in pairs(value) do
      fields[#fields + 1] = ("[%s]=%s"):format(literal(key), literal(field))
    end
    return "{" .. table.concat(fields, ",") .. "}"
  elseif math.type(value) == "float" then
    return ("%.6f"):format(value) -- %q would write it in hexadecimal, which not every Lua reads
  end
  return ("%q"):format(value)
end

local function say_report()
  local chunk = "return " .. literal(report)
  say(#chunk, "\n", chunk)
end

-- The function `name` of spec/servers/FILE.lua, to be called with these arguments behind its own.
local function server(file, name, ...)
  local servers = dofile(here .. "../servers/" .. file .. ".lua")
  local handler = assert(servers[name], "no such server: " .. file .. "." .. name)
  if type(handler) == "table" then return handler.prepare(...) end
  local arguments = table.pack(...)
  return function(conn, n) return handler(conn, n, table.unpack(arguments, 1, arguments.n)) end
end

local function load_script(source)
  local environment = setmetatable({ OK = Conn.OK, server = server }, { __index = _G })
  local chunk = assert(load(source, "=script", "t", environment))
  local handler = chunk()
  assert(type(handler) == "function", "the script must return a function(conn, n)")
  return handler
end

-- A script that never waits keeps the loop from running: even then the process ends in time.
local function end_in_time()
  debug.sethook(function()
    if cqueues.monotime() > deadline then os.exit(1) end
  end, "", 1000000)
end

local function run(handler, client)
  end_in_time()
  report.connections = report.connections + 1
  local conn = Conn.new(client, report.connections, report.seen)
  local ok, message = pcall(handler, conn, conn.n)
  if not ok then report.error = report.error or tostring(message) end
  conn:close()
end

local function obey(signals)
  while true do
    local asked = signals:wait()
    cqueues.sleep(0.02) -- what clients sent before the question was asked is read first
    say_report()
    if asked == signal.SIGTERM then os.exit(0) end
  end
end

local function main()
  signal.block(signal.SIGTERM, signal.SIGUSR1)
  local signals = signal.listen(signal.SIGTERM, signal.SIGUSR1)
  local handler = load_script(arg[1])
  local listener = assert(socket.listen("127.0.0.1", 0))
  assert(listener:listen())
  local loop = cqueues.new()
  loop:wrap(function()
    for client in listener:clients() do loop:wrap(run, handler, client) end
  end)
  loop:wrap(obey, signals)
  loop:wrap(function()
    cqueues.poll({ pollfd = 1, events = "r" }, deadline - cqueues.monotime()) -- a pipe without a reader polls ready
    os.exit(1)
  end)
  local _, _, port = listener:localname()
  say("port ", port, "\n")
  assert(loop:loop())
end

local ok, message = pcall(main)
if not ok then say("error ", tostring(message), "\n") end
