-- Ready scripts for fault_server.start: name → source. Each reads a whole request before it misbehaves, unless it says
-- otherwise.

-- The same to every request, on every connection. `action` sees `conn` and `request`.
local function always(action)
  return "return function(conn) for request in conn.request, conn do " .. action .. " end end"
end

-- The first connection answers one request well and then does `action`; later connections are well-behaved.
local function warm(action)
  return "return function(conn, n) if n > 1 then conn:serve() return end conn:serve(1) " .. action .. " end"
end

return {
  -- No fault: answers every request with HubSpot's batch envelope.
  none = always [[ conn:ok() ]],

  -- Connections that break.
  -- Half of the body, then RST. The pause lets the client read that half before the RST discards it.
  reset_mid_body = always [[ conn:head(200, {["Content-Length"] = #OK}) conn:send(OK:sub(1, #OK // 2))
    conn:sleep(0.05) conn:reset() ]],
  -- RST at once, no byte of an answer.
  reset_without_reply = always [[ conn:reset() ]],
  -- End of stream at once, no byte of an answer.
  close_without_reply = always [[ conn:close() ]],
  -- RST before the request is read: the connection opens and dies.
  reset_on_connect = [[ return function(conn) conn:reset() end ]],
  -- Reads the request and stays silent for as long as the server lives.
  never_answers = always [[ conn:sleep(3600) ]],

  -- Warm connections: the first request on connection 1 goes well, connections 2, 3, … are well-behaved.
  -- Reads the second request (it is in the log: it may have been applied), then RST.
  reset_warm_after_post = warm [[ conn:request() conn:reset() ]],
  -- The same with an end of stream in place of the RST.
  close_warm_after_post = warm [[ conn:request() conn:close() ]],
  -- Closes when the second request begins to arrive, without reading it: the log never has it on connection 1.
  close_warm_idle = warm [[ conn:wait_readable() conn:close() ]],
  -- Closes right after the first answer, though that promised keep-alive: the client can see it before it reuses it.
  close_after_answer = warm [[ conn:close() ]],

  -- Lengths and speed.
  -- Closes before Content-Length bytes came.
  short_length = always [[ conn:head(200, {["Content-Length"] = #OK + 100}) conn:send(OK) conn:close() ]],
  -- A good answer, then more bytes than Content-Length, in the same packet.
  long_length = always [[ conn:send("HTTP/1.1 200 OK\r\nContent-Length: ", #OK, "\r\n\r\n", OK, ("x"):rep(100)) ]],
  -- The same, but the surplus is a whole second answer (typeId 666): a client that reuses the connection is fooled.
  forged_answer = always [[ local forged = OK:gsub("279", "666")
    local head = "HTTP/1.1 200 OK\r\nContent-Length: " .. #OK .. "\r\n\r\n" conn:send(head, OK, head, forged) ]],
  -- Ends a chunked body in the middle of a chunk.
  short_chunk = always [[ conn:head(200, {["Transfer-Encoding"] = "chunked"}) conn:send("1000\r\n", OK) conn:close() ]],
  -- Head at once, the body byte by byte, 10 a second (about 19 s in all).
  slow_drip = always [[ conn:head(200, {["Content-Length"] = #OK}) conn:drip(OK, 10) ]],
  -- The head byte by byte, 10 a second, without end.
  slow_headers = always [[ conn:send("HTTP/1.1 200 OK\r\n") while conn:drip("X-Filler: 1\r\n", 10) do end ]],
  -- Header lines of 1 KiB for as long as the client reads.
  endless_headers = always [[ conn:send("HTTP/1.1 200 OK\r\n")
    while conn:send("X-Filler: ", ("x"):rep(1012), "\r\n") do end ]],
  -- One header line without end.
  endless_header_line = always [[ conn:send("HTTP/1.1 200 OK\r\nX-Filler: ") while conn:send(("x"):rep(1024)) do end ]],
  -- A JSON string without end and without Content-Length, 64 KiB at a time.
  endless_body = always [[ conn:head(200) conn:send('{"a":"') while conn:send(("x"):rep(65536)) do end ]],
  -- 64 MiB of zeros in 64 KiB of gzip.
  gzip_bomb = always [[ conn:gzip_bomb(64) ]],

  -- Answers that are not what the API promises.
  -- No HTTP at all.
  garbage = always [[ conn:send("\0\1\2\255 this is no HTTP\r\n\r\n") conn:close() ]],
  -- 200, but plain text.
  not_json = always [[ conn:answer(200, "all is well", {["Content-Type"] = "text/plain"}) ]],
  -- 200 and an empty body.
  empty_body = always [[ conn:json(200, "") ]],
  -- JSON with a byte string that is no UTF-8 in a result's category.
  invalid_utf8 = always [[ conn:json(200, (OK:gsub("HUBSPOT_DEFINED", "A\xC3\x28B\xFF"))) ]],
  -- The right length for a body that ends in the middle of the JSON.
  truncated_json = always [[ conn:json(200, OK:sub(1, #OK - 20)) ]],
  -- JSON nested 100,000 deep.
  deep_json = always [[ conn:json(200, ("["):rep(100000) .. ("]"):rep(100000)) ]],
  -- 502 from something in between: HTML.
  html_error = always [[
    conn:answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", {["Content-Type"] = "text/html"}) ]],
  -- 302 to /moved on the same server, where everything is well: a client that follows shows up in the log.
  redirect = always [[
    if request.path == "/moved" then conn:ok() else conn:answer(302, "", {Location = "/moved"}) end ]],
  -- 401 whose message holds the request's Authorization header: to prove that tokens are redacted.
  echo_authorization = always [[ conn:json(401, ('{"status":"error","category":"INVALID_AUTHENTICATION",'
    .. '"message":"Authentication failed for %s","correlationId":"c0ffee"}'):format(request.headers.authorization)) ]],
}
