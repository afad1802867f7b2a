-- What batch_spec.lua needs.
local batch = {}

local count = 0

-- Sends each request's inputs back as its results, with its number; but special[n] says what becomes of request n:
-- { status, body }, or "reset".
function batch.echo(conn, _, special)
  for request in conn.request, conn do
    count = count + 1
    local answer, inputs = special[count], request.body:match '^{"inputs":(.*)}$'
    if answer == "reset" then return conn:reset() end
    if answer then
      conn:json(answer[1], answer[2])
    else
      conn:json(200, ('{"status":"COMPLETE","startedAt":"%d","results":%s}'):format(count, inputs),
        { ["X-HubSpot-Correlation-Id"] = "c" .. count })
    end
  end
end

return batch
