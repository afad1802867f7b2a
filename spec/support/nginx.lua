-- A real nginx for specs, on ports of its own, with its files in build/ and the module as built for LuaJIT.
--
--   local server = nginx.start { server = [[ location / { content_by_lua_block { ... } } ]] }
--   local answer = server:request("GET", "/")        → { status = 200, body = "…", headers = { ["x-name"] = "…" } }
--   server:quit()                                    → its log; raises if it does not end within 10 s
--
-- Options: main, events, http, server (parts of nginx.conf; or all of it: conf), workers (1), environment (name →
-- value, beside the simulator's), modules (name → source of a Lua module that nginx finds). @PORT@ in them is
-- server.port, @PORT1@ the next, @TREE@ this tree, @MODULE@ where the module is, @FOLDER@ where nginx is.
-- after_each(nginx.stop_all) stops what a failed spec has left behind.
local shell = require "spec.support.shell"
local system = require "system"

local nginx = {}
local running = {}

local Server = {}
Server.__index = Server

-- Of every nginx.conf: what keeps it in its folder.
local MAIN = [[
%s
%s
pid nginx.pid;
error_log error.log info;
env HUBSPOT_BASE_URL;
env TMPDIR;
]]
local HTTP = [[ http {
  access_log off;
  client_body_temp_path tmp;
  proxy_temp_path tmp;
  fastcgi_temp_path tmp;
  uwsgi_temp_path tmp;
  scgi_temp_path tmp;
]]

local CONF = [[
worker_processes %d;
env HUBSPOT_ACCESS_TOKEN;
%s
events { %s }
http {
  lua_package_path "@FOLDER@/?.lua;@TREE@/?.lua;@TREE@/lua/?.lua;;";
  lua_package_cpath "@MODULE@/?.so;;";
%s
  server {
    listen 127.0.0.1:@PORT@;
%s
  }
}
]]

local function capture(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function line_of(command)
  return (capture(command):gsub("\n$", ""))
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- The text of a file; "" if there is none.
function nginx.read(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end
local read = nginx.read

-- The shell knows nginx's place and its Lua module's.
local function shell_line(code)
  return line_of(". scripts/nginx.sh; find_nginx || { echo 'nginx is missing' >&2; exit 1; }; " .. code)
end

local function environment_of(options)
  local words = { "env -u LUA_PATH -u LUA_CPATH -u LUA_INIT -u LD_PRELOAD" }
  for name, value in pairs(options.environment or {}) do
    words[#words + 1] = shell.quote(name .. "=" .. value)
  end
  return table.concat(words, " ")
end

-- Starts nginx as a daemon; false if the port is taken.
local function try(server, conf, options)
  server.port = tonumber(shell_line "random_port")
  server.url = "http://127.0.0.1:" .. server.port
  local function port(n) return server.port + (tonumber(n) or 0) end
  write(server.folder .. "/nginx.conf", (conf:gsub("@PORT(%d?)@", port)))
  local folder = shell.quote(server.folder)
  local status = shell_line(("%s \"$nginx\" -p %s/ -c nginx.conf -e error.log >%s/start.log 2>&1 </dev/null; echo $?")
    :format(environment_of(options), folder, folder))
  local log = read(server.folder .. "/start.log") .. server:log()
  if status ~= "0" and not log:find("in use", 1, true) then
    error("nginx did not start: " .. log, 3)
  end
  if status ~= "0" then os.remove(server.folder .. "/error.log") end
  return status == "0"
end

-- Started by root, nginx would have workers of another user, who may not enter the folder that this tree lies in.
local function user_line()
  return line_of "id -u" == "0" and ("user root %s;"):format(line_of "id -gn") or ""
end

local function conf_of(options, places)
  local conf = options.conf or CONF:format(options.workers or 1, options.main or "",
    options.events or "worker_connections 1024;", options.http or "", options.server or "")
  return MAIN:format(shell_line "lua_modules", user_line()) .. conf:gsub("http {", HTTP, 1):gsub("@%u+@", places)
end

function nginx.start(options)
  local here = line_of "pwd"
  local build = assert(os.getenv "LUAJIT_BUILD", "run specs by `make test`")
  if build:sub(1, 1) ~= "/" then build = here .. "/" .. build end
  local folder = line_of(("mkdir -p build && mktemp -d %s/build/nginx.XXXXXX"):format(shell.quote(here)))
  local server = setmetatable({ folder = folder }, Server)
  local conf = conf_of(options, { ["@TREE@"] = here, ["@MODULE@"] = build, ["@FOLDER@"] = folder })
  for name, source in pairs(options.modules or {}) do write(folder .. "/" .. name .. ".lua", source) end
  running[server] = true
  for _ = 1, 10 do
    if try(server, conf, options) then
      assert(nginx.wait_until(function() return server:pid() and #server:workers() >= (options.workers or 1) end))
      return server
    end
  end
  error("nginx found no free port", 2)
end

-- A server that somebody else has started, in this folder.
function nginx.at(url, folder)
  return setmetatable({ url = url, folder = folder }, Server)
end

function nginx.stop_all()
  for server in pairs(running) do
    os.execute(("kill -TERM $(cat %s/nginx.pid 2>/dev/null) 2>/dev/null"):format(shell.quote(server.folder)))
    server:wait_for_end()
    server:forget()
  end
end

-- What it has written into its log so far.
function Server:log()
  return read(self.folder .. "/error.log")
end

function Server:pid()
  return tonumber(read(self.folder .. "/nginx.pid"))
end

-- The process numbers of its workers, in order.
function Server:workers()
  local pids = {}
  local master = self:pid()
  for pid in read(("/proc/%d/task/%d/children"):format(master, master)):gmatch "%d+" do
    pids[#pids + 1] = tonumber(pid)
  end
  table.sort(pids)
  return pids
end

function Server:signal(name)
  assert(line_of(("kill -%s %d && echo ok"):format(name, self:pid())) == "ok")
end

-- ---- requests ----

local Pending = {}
Pending.__index = Pending

-- Sends requests without waiting for their answers: pending, whose wait() gives those, in the order in which they came.
-- Options: method, body, headers (name → value), count (1), parallel (all at once), close_after (s), url.
function Server:begin(path, options)
  options = options or {}
  local words, count = {}, options.count or 1
  for name, value in pairs(options.headers or {}) do words[#words + 1] = name .. ": " .. value end
  local command = shell.helper("http_full.lua", options.method or "GET", (options.url or self.url) .. path,
    options.body or "", table.concat(words, "\n"), count, options.parallel or count, options.close_after or "")
  return setmetatable({ pipe = assert(io.popen(command)) }, Pending)
end

-- A list of { status = (0: none came), body =, headers = (lower case name → value), seconds = }.
function Pending:wait()
  local answers = {}
  for line in function() return self.pipe:read "*l" end do
    local status, seconds, head, rest = line:match "^(%d+) ([%d.]+) (%d+) (%d+)$"
    local lines = tonumber(head) > 0 and self.pipe:read(tonumber(head)) or ""
    local answer = { status = tonumber(status), seconds = tonumber(seconds), headers = {},
      body = tonumber(rest) > 0 and self.pipe:read(tonumber(rest)) or "" }
    for name, value in lines:gmatch "([^\r\n:]+): ([^\r\n]*)" do
      local key = name:lower()
      answer.headers[key] = answer.headers[key] and answer.headers[key] .. ", " .. value or value
    end
    answers[#answers + 1] = answer
  end
  self.pipe:close()
  return answers
end

-- Sends one request, with body and headers (name → value) if given.
function Server:request(method, path, body, headers)
  local answer = self:begin(path, { method = method, body = body, headers = headers }):wait()[1]
  if not answer or answer.status == 0 then
    error("nginx did not answer " .. method .. " " .. path .. "\n" .. self:log(), 2)
  end
  return answer
end

function Server:get(path, headers)
  return self:request("GET", path, nil, headers)
end

-- Sends so many requests at once (parallel: so many at a time) and waits for their answers.
function Server:get_many(path, count, parallel)
  return self:begin(path, { count = count, parallel = parallel }):wait()
end

-- ---- what a process holds ----

-- The number of its threads.
function nginx.tasks(pid)
  return tonumber(line_of(("ls /proc/%d/task 2>/dev/null | wc -l"):format(pid)))
end

-- The number of its descriptors.
function nginx.fds(pid)
  return tonumber(line_of(("ls /proc/%d/fd 2>/dev/null | wc -l"):format(pid)))
end

-- KiB of memory.
function nginx.rss(pid)
  return tonumber(read(("/proc/%d/status"):format(pid)):match "VmRSS:%s*(%d+)")
end

function nginx.is_alive(pid)
  return read(("/proc/%d/stat"):format(pid)):match "%) [^ZX]" ~= nil
end

-- The folders of unix sockets that were left behind in this place: TMPDIR, which is this spec file's own, unless told.
function nginx.folders(place)
  return line_of(("ls -d %s/hubspot_assoc.* 2>/dev/null"):format(place or os.getenv "TMPDIR" or "/tmp"))
end

-- Waits until done() is true, so many seconds at most.
function nginx.wait_until(done, seconds)
  local give_up_at = system.monotime() + (seconds or 30)
  while not done() do
    if system.monotime() > give_up_at then return false end
    system.sleep(0.01)
  end
  return true
end

function Server:wait_for_end()
  return nginx.wait_until(function() return read(self.folder .. "/nginx.pid") == "" end)
end

function Server:forget()
  running[self] = nil
  os.execute("rm -rf " .. shell.quote(self.folder))
end

-- Lines of its log that tell of something wrong: a list, of the first few.
function Server:complaints()
  local found = {}
  for line in self:log():gmatch "[^\n]+" do
    local is_bad = line:find "%[error%]" or line:find "%[alert%]" or line:find "%[crit%]" or line:find "%[emerg%]"
      or line:find "exited on signal"
    if is_bad and #found < 5 and not line:find "lua_code_cache is off" then found[#found + 1] = line end
  end
  return found
end

-- Asks it to end gracefully, and waits for that.
function Server:quit()
  self:signal "QUIT"
  assert(self:wait_for_end(), "nginx did not end within 10 s")
  local log = self:log()
  self:forget()
  return log
end

return nginx
