-- The libcurl that the module has found, for specs of what differs from one to the other.
local fault_server = require "spec.support.fault_server"
local faults = require "spec.support.faults"
local wire = require "spec.support.wire"

local libcurl = {}

-- Its version as it says it, "7.88.1" or "8.5.0-DEV", and as a number that can be compared: 7088001.
function libcurl.version()
  local server = fault_server.start(faults.none)
  wire.good_call(wire.client(server), "get_limits")
  local text = server:stop()[1].headers["user-agent"]:match "libcurl/([^;]*);"
  local major, minor, patch = text:match "^(%d+)%.(%d+)%.(%d+)"
  return text, major * 1000000 + minor * 1000 + patch
end

-- Do calls go over HTTP/2 with it, where the server speaks that? (hsa_libcurl_speaks_http2)
function libcurl.speaks_http2()
  local _, version = libcurl.version()
  return version >= 7088000 and not (version >= 8001000 and version < 8004000)
end

return libcurl
