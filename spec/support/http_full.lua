-- lua5.4 http_full.lua METHOD URL BODY HEADERS: sends one request; prints the status on a line, the answer's headers
-- on lines, an empty line and its body. HEADERS are lines; an empty BODY is none.
local http = require "socket.http"
local ltn12 = require "ltn12"

http.TIMEOUT = 20 -- seconds

local method, url, body = arg[1], arg[2], arg[3]
local headers, parts = {}, {}
for name, value in (arg[4] or ""):gmatch "([^\n:]+): ([^\n]*)" do headers[name] = value end
if body ~= "" then headers["Content-Length"] = #body end
local ok, status, answered = http.request {
  method = method, url = url, redirect = false, headers = headers,
  source = body ~= "" and ltn12.source.string(body) or nil,
  sink = ltn12.sink.table(parts),
}
if not ok then
  io.stderr:write(method, " ", url, ": ", tostring(status), "\n")
  os.exit(1)
end
io.write(status, "\n")
for name, value in pairs(answered) do io.write(name, ": ", value, "\n") end
io.write("\n", table.concat(parts))
