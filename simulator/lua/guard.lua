-- Says that the simulator answers, and ends it when the script that started it is gone: kill -9 leaves that no time
-- to clean up.
local ngx = ngx
local ffi = require "ffi"
ffi.cdef "int getppid(void); int kill(int pid, int signal);"

local M = {}
local SIGTERM, INTERVAL = 15, 0.5 -- INTERVAL in s

local function end_orphan()
  -- The current folder is the simulator's own; the pattern makes sure that nothing else is ever removed.
  os.execute [[case $PWD in */build/simulator.??????) rm -rf -- "$PWD" ;; esac]]
  ffi.C.kill(ngx.worker.pid(), SIGTERM)
end

--- @param owner process for which the script runs, 0: none; without it the script is told to end
function M.start(owner)
  local parent = ffi.C.getppid()
  ngx.timer.every(INTERVAL, function()
    if ffi.C.getppid() ~= parent then
      end_orphan()
    elseif owner > 0 and ffi.C.kill(owner, 0) ~= 0 then
      ffi.C.kill(parent, SIGTERM)
    end
  end)
  -- The sockets listen already: whoever sees this file can connect.
  assert(io.open("ready", "w")):close()
end

return M
