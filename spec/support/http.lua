-- lua5.4 http.lua METHOD URL [BODY]: sends one request, BODY as JSON; prints the status on a line and then the answer's
-- body. Specs run it because they may have no socket library, nor the machine a curl command.
local http = require "socket.http"
local ltn12 = require "ltn12"

http.TIMEOUT = 10 -- seconds

local method, url, body = arg[1], arg[2], arg[3]
local parts = {}
local ok, status = http.request {
  method = method, url = url, redirect = false,
  headers = body and { ["Content-Type"] = "application/json", ["Content-Length"] = #body },
  source = body and ltn12.source.string(body),
  sink = ltn12.sink.table(parts),
}
if not ok then
  io.stderr:write(method, " ", url, ": ", tostring(status), "\n")
  os.exit(1)
end
io.write(status, "\n", table.concat(parts))
