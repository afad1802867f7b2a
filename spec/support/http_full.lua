-- lua5.4 http_full.lua METHOD URL BODY HEADERS [COUNT [PARALLEL [CLOSE_AFTER]]]: sends a request so many times, so many
-- at a time; with CLOSE_AFTER closes each connection after as many seconds, whatever has come. HEADERS are lines; an
-- empty BODY is none. For each answer prints a line `STATUS SECONDS HEAD BODY`, the last two being lengths, and head
-- and body behind it; status 0: none came.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local MOST = 30 -- s, for one answer

local method, url, body, headers = arg[1], arg[2], arg[3], arg[4] or ""
local count, parallel, close_after = tonumber(arg[5] or "") or 1, tonumber(arg[6] or "") or 1, tonumber(arg[7] or "")
local scheme, host, port, path = url:match "^(https?)://([^:/]+):(%d+)(.*)$"

local lines = { ("%s %s HTTP/1.0"):format(method, path == "" and "/" or path), ("Host: %s:%s"):format(host, port) }
for line in headers:gmatch "[^\n]+" do lines[#lines + 1] = line end
if body ~= "" then lines[#lines + 1] = "Content-Length: " .. #body end
local request = table.concat(lines, "\r\n") .. "\r\n\r\n" .. body

local function exchange()
  local client = socket.connect { host = host, port = tonumber(port), nodelay = true }
  client:settimeout(MOST)
  client:setmode("b", "bn")
  client:onerror(function(_, _, why) return why end)
  local text
  if client:connect() and (scheme == "http" or client:starttls()) and client:xwrite(request, "bn") then
    if close_after then cqueues.sleep(close_after) else text = client:xread("*a", "b") end
  end
  client:close()
  return text or ""
end

local function report(text, seconds)
  local status = text:match "^HTTP/1%.%d (%d+)"
  local head, rest = text:match "^[^\n]*\n(.-)\r?\n\r?\n(.*)$"
  if not status or not head then status, head, rest = 0, text, "" end
  io.write(("%d %.6f %d %d\n"):format(status, seconds, #head, #rest), head, rest)
end

local controller, left = cqueues.new(), count
for _ = 1, math.min(parallel, count) do
  controller:wrap(function()
    while left > 0 do
      left = left - 1
      local started = cqueues.monotime()
      local text = exchange()
      report(text, cqueues.monotime() - started)
    end
  end)
end
assert(controller:loop())
