-- The faults of spec/servers/faults.lua as fault_server.start takes them: faults.garbage = "faults.garbage", ...
local faults = {}
for name in pairs(dofile "spec/servers/faults.lua") do faults[name] = "faults." .. name end
return faults
