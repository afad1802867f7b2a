-- What limiter_spec.lua needs.
local limiter = {}

local count = 0

-- The first answer, of this status and body, is held back until there is a file of this name; all others are good.
function limiter.held(conn, _, path, status, body)
  for _ in conn.request, conn do
    count = count + 1
    if count == 1 then
      conn:wait_for_file(path)
      conn:json(status, body, { ["Retry-After"] = "0" })
    else
      conn:ok()
    end
  end
end

return limiter
