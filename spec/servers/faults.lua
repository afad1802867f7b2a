-- What a well-behaved server does not do, by name. Each reads a whole request before it misbehaves, unless it says
-- otherwise. (Specs load this for the names: so no library here, and nothing that only a newer Lua can read.)
local faults = {}

-- The same to every request, on every connection: act(conn, request).
local function always(act)
  return function(conn)
    for request in conn.request, conn do act(conn, request) end
  end
end

-- The first connection answers one request well and then acts; later connections are well-behaved.
local function warm(act)
  return function(conn, n)
    if n > 1 then return conn:serve() end
    conn:serve(1)
    act(conn)
  end
end

-- ---- no fault ----

-- Answers every request with HubSpot's batch envelope.
faults.none = always(function(conn) conn:ok() end)

-- ---- connections that break ----

-- Half of the body, then RST. The pause lets the client read that half before the RST discards it.
faults.reset_mid_body = always(function(conn)
  conn:head(200, { ["Content-Length"] = #conn.OK })
  conn:send(conn.OK:sub(1, math.floor(#conn.OK / 2)))
  conn:sleep(0.05)
  conn:reset()
end)

-- RST at once, no byte of an answer.
faults.reset_without_reply = always(function(conn) conn:reset() end)

-- End of stream at once, no byte of an answer.
faults.close_without_reply = always(function(conn) conn:close() end)

-- RST before the request is read: the connection opens and dies.
function faults.reset_on_connect(conn) conn:reset() end

-- Reads the request and stays silent for as long as the server lives.
faults.never_answers = always(function(conn) conn:sleep(3600) end)

-- ---- warm connections: the first request on connection 1 goes well, connections 2, 3, … are well-behaved ----

-- Reads the second request (it is in the log: it may have been applied), then RST.
faults.reset_warm_after_post = warm(function(conn)
  conn:request()
  conn:reset()
end)

-- The same with an end of stream in place of the RST.
faults.close_warm_after_post = warm(function(conn)
  conn:request()
  conn:close()
end)

-- Closes when the second request begins to arrive, without reading it: the log never has it on connection 1.
faults.close_warm_idle = warm(function(conn)
  conn:wait_readable()
  conn:close()
end)

-- Closes right after the first answer, though that promised keep-alive: the client can see it before it reuses it.
faults.close_after_answer = warm(function(conn) conn:close() end)

-- ---- lengths and speed ----

-- Closes before Content-Length bytes came.
faults.short_length = always(function(conn)
  conn:head(200, { ["Content-Length"] = #conn.OK + 100 })
  conn:send(conn.OK)
  conn:close()
end)

-- A good answer, then more bytes than Content-Length, in the same packet.
faults.long_length = always(function(conn)
  conn:send("HTTP/1.1 200 OK\r\nContent-Length: ", #conn.OK, "\r\n\r\n", conn.OK, ("x"):rep(100))
end)

-- The same, but the surplus is a whole second answer (typeId 666): a client that reuses the connection is fooled.
faults.forged_answer = always(function(conn)
  local head = "HTTP/1.1 200 OK\r\nContent-Length: " .. #conn.OK .. "\r\n\r\n"
  conn:send(head, conn.OK, head, (conn.OK:gsub("279", "666")))
end)

-- Ends a chunked body in the middle of a chunk.
faults.short_chunk = always(function(conn)
  conn:head(200, { ["Transfer-Encoding"] = "chunked" })
  conn:send("1000\r\n", conn.OK)
  conn:close()
end)

-- Head at once, the body byte by byte, 10 a second (about 19 s in all).
faults.slow_drip = always(function(conn)
  conn:head(200, { ["Content-Length"] = #conn.OK })
  conn:drip(conn.OK, 10)
end)

-- The head byte by byte, 10 a second, without end.
faults.slow_headers = always(function(conn)
  conn:send "HTTP/1.1 200 OK\r\n"
  repeat until not conn:drip("X-Filler: 1\r\n", 10)
end)

-- Header lines of 1 KiB for as long as the client reads.
faults.endless_headers = always(function(conn)
  conn:send "HTTP/1.1 200 OK\r\n"
  repeat until not conn:send("X-Filler: ", ("x"):rep(1012), "\r\n")
end)

-- One header line without end.
faults.endless_header_line = always(function(conn)
  conn:send "HTTP/1.1 200 OK\r\nX-Filler: "
  repeat until not conn:send(("x"):rep(1024))
end)

-- A JSON string without end and without Content-Length, 64 KiB at a time.
faults.endless_body = always(function(conn)
  conn:head(200)
  conn:send '{"a":"'
  repeat until not conn:send(("x"):rep(65536))
end)

-- 200 with 64 MiB of zeros in 64 KiB of gzip. They are made beforehand: that takes 0.4 s.
faults.gzip_bomb = {
  prepare = function()
    local pipe = assert(io.popen(("head -c %d /dev/zero | gzip -9"):format(64 * 1024 * 1024)))
    local bytes = pipe:read "*a"
    assert(pipe:close())
    return always(function(conn) conn:json(200, bytes, { ["Content-Encoding"] = "gzip" }) end)
  end,
}

-- ---- answers that are not what the API promises ----

-- No HTTP at all.
faults.garbage = always(function(conn)
  conn:send "\0\1\2\255 this is no HTTP\r\n\r\n"
  conn:close()
end)

-- 200, but plain text.
faults.not_json = always(function(conn) conn:answer(200, "all is well", { ["Content-Type"] = "text/plain" }) end)

-- 200 and an empty body.
faults.empty_body = always(function(conn) conn:json(200, "") end)

-- JSON with a byte string that is no UTF-8 in a result's category.
faults.invalid_utf8 = always(function(conn) conn:json(200, (conn.OK:gsub("HUBSPOT_DEFINED", "A\195\40B\255"))) end)

-- The right length for a body that ends in the middle of the JSON.
faults.truncated_json = always(function(conn) conn:json(200, conn.OK:sub(1, #conn.OK - 20)) end)

-- JSON nested 100,000 deep.
faults.deep_json = always(function(conn) conn:json(200, ("["):rep(100000) .. ("]"):rep(100000)) end)

-- 502 from something in between: HTML.
faults.html_error = always(function(conn)
  conn:answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", { ["Content-Type"] = "text/html" })
end)

-- 302 to /moved on the same server, where everything is well: a client that follows shows up in the log.
faults.redirect = always(function(conn, request)
  if request.path == "/moved" then conn:ok() else conn:answer(302, "", { Location = "/moved" }) end
end)

-- 401 whose message holds the request's Authorization header: to prove that tokens are redacted.
faults.echo_authorization = always(function(conn, request)
  conn:json(401, ('{"status":"error","category":"INVALID_AUTHENTICATION",'
    .. '"message":"Authentication failed for %s","correlationId":"c0ffee"}'):format(request.headers.authorization))
end)

return faults
