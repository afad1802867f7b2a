-- The server of the specs of asynchronous calls.
local async = {}

local acts = {}

function acts.never(conn) conn:sleep(3600) end

function acts.drip(conn)
  conn:head(200, { ["Content-Length"] = #conn.OK })
  conn:drip(conn.OK, 10)
end

function acts.slow(conn)
  conn:sleep(0.15)
  conn:ok()
end

function acts.missing(conn)
  conn:json(404, '{"status":"error","category":"NOT_FOUND","message":"no such thing"}')
end

-- What it does depends on the call's first argument: "never" answers, a "drip" of bytes, a "slow" answer after 0.15 s,
-- "missing" (404). Else it sends the inputs of each request back as results, but for a request with typeId 666, which
-- it never answers.
function async.serve(conn)
  for request in conn.request, conn do
    local act, inputs = acts[request.path:match "/(%l+)/companies"], request.body:match '^{"inputs":(.*)}$'
    if request.body:find('"typeId":666', 1, true) then act = acts.never end
    if act then act(conn) else conn:json(200, '{"status":"COMPLETE","results":' .. (inputs or "[]") .. "}") end
  end
end

-- Neither reads nor writes.
function async.mute(conn) conn:sleep(3600) end

return async
