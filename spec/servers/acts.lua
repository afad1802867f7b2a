-- What a server does, as a list of acts: each is { method of conn, arguments... }, or the method's name alone.
--   fault_server.start { "acts.always", { "head", 200 }, { "send", "{" }, "close" }
local acts = {}

local count = 0

local function act_out(conn, list)
  for _, act in ipairs(list) do
    if type(act) == "string" then conn[act](conn) else conn[act[1]](conn, table.unpack(act, 2)) end
  end
end

-- These, once a connection; whoever wants to read a request says "request".
function acts.once(conn, _, ...)
  act_out(conn, { ... })
end

-- These, for each request.
function acts.always(conn, _, ...)
  for _ in conn.request, conn do act_out(conn, { ... }) end
end

-- For the n-th request of all: by_number[n], else what the rest says.
function acts.by_number(conn, _, by_number, ...)
  for _ in conn.request, conn do
    count = count + 1
    act_out(conn, by_number[count] or { ... })
  end
end

-- For the n-th connection, once: by_number[n], else what the rest says.
function acts.by_connection(conn, n, by_number, ...)
  act_out(conn, by_number[n] or { ... })
end

return acts
