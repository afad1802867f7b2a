--- Faults that the simulator makes when a request asks it to, in a header (simulator/README.md). Those of the network
-- are the relay's (spec/servers/relay.lua).

local faults = { drawn = 0 }

-- `limits`: HubSpot asks for patience, which a check of the rate would count as its own doing.
local FAULTS = {
  { "status=429; retry_after=1", limits = true }, { "status=423; retry_after=1", limits = true },
  { "status=477; retry_after=1", limits = true }, { "status=503; retry_after=1", limits = true },
  { "status=503" }, { "status=503; after" }, { "status=500" }, { "status=500; after" }, { "status=502; after" },
  { "status=504" }, { "close" }, { "close; after" }, { "status=401" }, { "status=400" },
  { "status=200; body=oops" }, { 'status=200; body={"results":[' }, { "status=201; after; body=" },
  { delay = 0.4 }, { delay = 4 }, { delay = 4 }, -- the latter is given up, and carried out late
}

--- The option `headers` of a client: some calls meet a fault.
-- @param per_mille of the calls
-- @param spares_rate no fault may look like a rate that was exceeded
function faults.headers(per_mille, spares_rate)
  return function()
    if math.random(1000) > per_mille then return nil end
    local fault = FAULTS[math.random(#FAULTS)]
    if spares_rate and fault.limits then return nil end
    faults.drawn = faults.drawn + 1
    -- All attempts of a call, or one. A delay that no other call has: the simulator counts the requests that bring the
    -- same header.
    local times = not fault.limits and math.random(4) == 1 and 99 or 1
    local rest = ("times=%d; delay=%.8f"):format(times, (fault.delay or 0) + faults.drawn * 1e-7)
    return { ["X-Simulator-Fault"] = fault[1] and fault[1] .. "; " .. rest or rest }
  end
end

return faults
