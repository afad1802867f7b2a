-- Answers that are no sound HTTP, byte by byte: what a call makes of each on a connection that has answered before, and
-- how the client's next call goes.
local binding = require "spec.support.binding"
local child = require "spec.support.child"
local fault_server = require "spec.support.fault_server"
local shell = require "spec.support.shell"
local wire = require "spec.support.wire"

local OK = '{"status":"COMPLETE","results":[{"category":"USER_DEFINED","typeId":36}]}'
local LENGTH = "Content-Length: " .. #OK .. "\r\n"
local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
local HINTS = "HTTP/1.1 103 Early Hints\r\n"
local CHUNK = ("%x\r\n%s\r\n"):format(#OK, OK)

-- An answer with these header lines.
local function with(lines, body)
  return "HTTP/1.1 200 OK\r\n" .. lines .. "\r\n" .. (body or OK)
end

-- Bytes as a name of a spec may have them.
local function shown(bytes)
  return (bytes:gsub("\r\n", "~"):gsub("[%c\128-\255]", function(byte) return ("\\%d"):format(byte:byte()) end))
end

-- Bytes as gzip makes them of this text.
local function gzip(text)
  local pipe = assert(io.popen("printf %s " .. shell.quote(text) .. " | gzip -9 -n | od -An -v -tx1"))
  local bytes = pipe:read("*a"):gsub("%s+", ""):gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end)
  pipe:close()
  return bytes
end

-- name: what each is called; bytes: what is sent; closes: the connection is closed behind it. What comes of
-- it: kind (nil: it goes well), status (ANY: versions of libcurl differ), message (a pattern), again: it is tried again
-- where it may be. is_open: versions differ in whether it goes well; it ends by that or by a protocol error.
local REPLIES, ANY = {}, {}

local function add(name, bytes, expected)
  local reply = { name = name, bytes = bytes }
  for key, value in pairs(expected or {}) do reply[key] = value end
  REPLIES[#REPLIES + 1] = reply
end

local function add_refused(name, bytes, message, status)
  add(name, bytes, { kind = "protocol", message = message, status = status or 200 })
end

local function add_open(name, bytes, message)
  add(name, bytes, { is_open = true, message = message })
end

-- Folded lines. The handle has kept headers of the call before: libcurl 7.84 to 8.0.1 added a folded first line to one
-- of them, long freed.
add_refused("a folded first header line", with(" X: y\r\n" .. LENGTH), "header line")
add_refused("a tab in its place", with("\tX: y\r\n" .. LENGTH), "header line")
add("a folded first line of an interim answer", HINTS .. " X: y\r\n\r\n" .. with(LENGTH),
  { kind = "protocol", message = "header line" })
add_refused("a folded first line behind an interim answer", HINTS .. "A: b\r\n\r\n" .. with(" X: y\r\n" .. LENGTH),
  "header line")
add_refused("a folded first line behind an interim answer without headers",
  HINTS .. "\r\n" .. HINTS .. "\r\n" .. with(" X: y\r\n" .. LENGTH), "header line")
add("a long first header line with blanks", with("X: " .. ("y "):rep(20000) .. "\r\n" .. LENGTH))
add_refused("a folded first trailer", CHUNKED .. CHUNK .. "0\r\n X: y\r\n\r\n")
add("a folded header line", with(LENGTH .. "X: y\r\n z\r\n\tz\r\n"))
add("an interim answer with headers", HINTS .. "A: b\r\n c\r\n\r\n" .. with(LENGTH))

-- Heads that do not end.
for _, bytes in ipairs { "HTTP/1.1 200 OK\r\n", "HTTP/1.1 207 Multi-Status\r\nContent-Ty",
  "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 200 OK\r\n" .. LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r", "HTTP/1.1 400 Bad Request\r\nContent-Ty",
  "HTTP/1.1 503 Service Unavailable\r\n", "HTTP/1.1 302 Found\r\n" } do
  add(shown(bytes) .. " and the end", bytes,
    { kind = "protocol", status = tonumber(bytes:match " (%d+)"), again = true, closes = true })
end
add("an interim head that does not end", HINTS .. "X: y\r\n", { kind = "protocol", again = true, closes = true })
for _, bytes in ipairs { HINTS .. "\r\n", HINTS .. "\r\nHT", "HTTP/1.1 2", "HTTP/1.1 200 OK" } do
  add(shown(bytes) .. " and the end", bytes, { kind = "transport", again = true, closes = true })
end

-- Status lines.
for _, line in ipairs { "HTTP/1.1 2000 OK", "HTTP/1.1 abc OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20",
  "HTTP/1.1200 OK", "HTTP/1.1 -200 OK", "HTTP/1.1 99 OK", "HTTP/1.1 000 OK", "HTTP/2 000 OK", "HTTP/9.9 200 OK",
  "http/1.1 200 OK", "ICY 200 OK", " HTTP/1.1 200 OK", "HTTP 200 OK", "220 smtp ready", "SSH-2.0-OpenSSH",
  "<html>", "{}", "\22\3\1\2\0\1\0\1", "HTTP/1.1 200 \0OK", "HTTP/1.1 200\rOK", "HTTP/..1 200 OK",
  "HTTP/1. 200 OK", "HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "HTTP/1 200 OK",
  "HTTP/1.1 " .. ("2"):rep(100) .. " OK", "HTTP/1." .. ("1"):rep(100) .. " 200 OK", "HTTP/1.1\t200 OK",
  "\0\0\0\0\0", "H", "HTTPS/1.1 200 OK", "RTSP/1.0 200 OK" } do
  add("the status line " .. shown(line), line .. "\r\n" .. LENGTH .. "\r\n" .. OK, { kind = "protocol", status = ANY })
end

-- Lengths.
for _, value in ipairs { "0x10", "-1", "+" .. #OK, "", "many", "1.5", "1e3", "1 2", "0, 5", "5,", "9999999999999999999",
  "18446744073709551616", "\"0\"", "0;x" } do
  local line = "Content-Length: " .. value
  add_refused(line, with(line .. "\r\n"), "Content%-Length")
  add_refused(line .. " and no body", with(line .. "\r\n", ""), "Content%-Length")
end
add("blanks behind a length", with("Content-Length: " .. #OK .. " \t \r\n"))
add("a length with zeros before it", with("Content-Length: 000" .. #OK .. "\r\n"))
add("a head alone, and a body until the end", "HTTP/1.1 200 OK\r\n\r\n" .. OK, { closes = true })
add("a list of the same length", with("Content-Length: " .. #OK .. ", " .. #OK .. "\r\n"))
add_refused("two lengths", with("Content-Length: 0\r\n" .. LENGTH), "Content%-Length")
add_refused("two lengths, the right one first", with(LENGTH .. "Content-Length: 0\r\n"), "Content%-Length")
add_refused("a length that goes on", with("Content-Length: 0\r\n 5\r\n"), "Content%-Length")
add("the same length twice", with(LENGTH .. LENGTH))
for name, body in pairs { ["a body that is cut off"] = OK:sub(1, -2), ["a body that does not come"] = "" } do
  add(name, with(LENGTH, body), { kind = "protocol", status = 200, again = true, closes = true })
end

-- Header lines.
add_refused("a header line without a colon", with("X y\r\n" .. LENGTH))
add_refused("a header line without a name", with(": y\r\n" .. LENGTH))
add_refused("a blank before the colon", with("Content-Length : 0\r\n", ""), "name")
add_refused("a blank in a name", with("X y: z\r\n" .. LENGTH), "name")
add_refused("a carriage return in a name", with("X\rY: z\r\n" .. LENGTH))
add_refused("a carriage return in a value", with("X: y\rz\r\n" .. LENGTH))
add_refused("a NUL in a name", with("X\0: z\r\n" .. LENGTH))
add_refused("a NUL in a value", with("X: y\0z\r\n" .. LENGTH))
add_refused("a header line of 120 KB", with("X: " .. ("y"):rep(120000) .. "\r\n" .. LENGTH), "100 KB")
add_refused("70 KB of headers", with(("X: " .. ("y"):rep(1000) .. "\r\n"):rep(70) .. LENGTH), "64 KiB")
add_open("5,000 header lines", with(("X: y\r\n"):rep(5000) .. LENGTH))
add("a header line that is empty", with("X:\r\n" .. LENGTH))
add_open("20 interim answers", (HINTS .. "X: y\r\n\r\n"):rep(20) .. with(LENGTH))
add("bytes of no meaning in a value", with(LENGTH .. "X: \1\127\128\255\r\n"))
add("line feeds alone", (with(LENGTH):gsub("\r", "")))

-- Chunks and trailers.
for name, bytes in pairs { ["no number"] = "xyz\r\n" .. OK, ["a negative number"] = "-5\r\n" .. OK,
  ["an empty line"] = "\r\n" .. CHUNK, ["too large a number"] = "fffffffffffffffff\r\n" .. OK,
  ["no end of line"] = ("%x\r\n%sX\r\n0\r\n\r\n"):format(#OK, OK) } do
  add_refused("chunks with " .. name, CHUNKED .. bytes)
end
for name, bytes in pairs { ["a NUL"] = "X: y\0z", ["a NUL in the name"] = "X\0: y", ["no colon"] = "Xy" } do
  add_refused("trailers with " .. name, CHUNKED .. CHUNK .. "0\r\n" .. bytes .. "\r\n\r\n")
end
for name, bytes in pairs { ["a chunk's size"] = "5", ["a chunk"] = CHUNK:sub(1, -10), ["chunks, between two"] = CHUNK,
  ["the last chunk"] = CHUNK .. "0\r\n", ["trailers"] = CHUNK .. "0\r\nX: y\r\n" } do
  add("the end in " .. name, CHUNKED .. bytes, { kind = "protocol", status = 200, again = true, closes = true })
end
add("chunks whose sizes have zeros before them", CHUNKED .. "000" .. CHUNK .. "0000\r\n\r\n")
add("chunks whose sizes are in capital letters", CHUNKED .. ("%X\r\n%s\r\n0\r\n\r\n"):format(#OK, OK))
add("chunks of a byte each", CHUNKED .. OK:gsub(".", "1\r\n%0\r\n") .. "0\r\n\r\n")
add_open("trailers with line feeds alone", CHUNKED .. CHUNK .. "0\r\nX: y\n\n")
add_open("a chunk's extension of 20 KB",
  CHUNKED .. CHUNK:gsub("\r\n", ";" .. ("a"):rep(20000) .. "\r\n", 1) .. "0\r\n\r\n")
add_open("trailers of 120 KB", CHUNKED .. CHUNK .. "0\r\nX: " .. ("y"):rep(120000) .. "\r\n\r\n")
add_refused("trailers that say what a head would", CHUNKED .. CHUNK .. "0\r\nTransfer-Encoding: gzip\r\n\r\n",
  "Transfer%-Encoding")
add("trailers", CHUNKED .. CHUNK .. "0\r\nX: y\r\nZ: z\r\n\r\n")
add("chunks with extensions", CHUNKED .. CHUNK:gsub("\r\n", ";a=b\r\n", 1) .. "0;c\r\n\r\n")
add("chunks and a length", with("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", CHUNK .. "0\r\n\r\n"))

for _, value in ipairs { "xchunked", "gzip, chunked", "identity", "chunked, chunked", "",
  "identity, chunked", "chunked, identity", "gzip", "identity, identity", "chunked;q=1" } do
  add_refused("Transfer-Encoding: " .. value, with("Transfer-Encoding: " .. value .. "\r\n" .. LENGTH))
end

add_open("Transfer-Encoding twice", with(("Transfer-Encoding: chunked\r\n"):rep(2), CHUNK .. "0\r\n\r\n"))

-- Compressed bodies, of the right length.
local zipped = gzip(OK)
local function with_gzip(bytes)
  return with("Content-Encoding: gzip\r\nContent-Length: " .. #bytes .. "\r\n", bytes)
end
for n = 1, 24 do
  add_refused(("the first %d of %d bytes of gzip"):format(n, #zipped), with_gzip(zipped:sub(1, n)))
end
add_refused("gzip of nothing", with_gzip(gzip ""))
add_refused("no gzip", with_gzip(OK))
add("gzip", with_gzip(zipped))
add_open("gzip of a file with a name of 10,000 bytes",
  with_gzip("\31\139\8\8" .. zipped:sub(5, 10) .. ("n"):rep(10000) .. "\0" .. zipped:sub(11)))
add_open("gzip of two members", with_gzip(gzip(OK:sub(1, 9)) .. gzip(OK:sub(10))), "gzip")
add_open("gzip, and bytes behind it", with_gzip(zipped .. "xyz"), "gzip")
add_open("gzip, and zeros behind it", with_gzip(zipped .. ("\0"):rep(9)), "gzip")
add_refused("gzip whose sum is another", with_gzip(zipped:sub(1, -9) .. "\0\0\0\0" .. zipped:sub(-4)))
add_refused("gzip whose method is another", with_gzip(zipped:sub(1, 2) .. "\9" .. zipped:sub(4)))
for _, value in ipairs { "deflate", "br", "zstd", "compress", "gzip, gzip", "unheard" } do
  add_refused("the encoding " .. value, with("Content-Encoding: " .. value .. "\r\n" .. LENGTH), "Content%-Encoding")
end
add_refused("eight encodings", with("Content-Encoding: gzip" .. (",gzip"):rep(7) .. "\r\n" .. LENGTH), "ncoding")
for _, value in ipairs { "identity", "none", "" } do
  add("the encoding " .. value .. ", which is none", with("Content-Encoding: " .. value .. "\r\n" .. LENGTH))
end
add_refused("two encodings", with(("Content-Encoding: gzip\r\n"):rep(2) .. LENGTH), "Content%-Encoding")

-- Statuses.
for _, status in ipairs { 101, 300, 304, 305, 306, 399 } do
  local head = "HTTP/1.1 %d Odd\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
  add("the status " .. status, head:format(status), { kind = "protocol", status = status,
    message = status == 101 and "another protocol" or "never answers" })
end

-- What has no body by its status.
local EMPTY = "HTTP/1.1 204 No Content\r\n"
add("no content, with a length", EMPTY .. "Content-Length: 5\r\n\r\n")
add("no content, in chunks", EMPTY .. "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
add("no content, and a body", EMPTY .. "\r\n" .. OK)
add("no change, with a length that is none", "HTTP/1.1 304 Not Modified\r\nContent-Length: ~249\r\n\r\n",
  { kind = "protocol", status = 304 })

-- More than one answer: what stands behind the first is nobody's.
add("an answer and another one", with(LENGTH) .. with(LENGTH, OK:gsub("36", "99")))
add("an answer and an error", with(LENGTH) .. "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}")
add("an answer and more of a body", with(LENGTH) .. "<html>")

-- Answers what the first object type of the call asks for, and any other well. (The replies are more than a command
-- line may hold.)
local function start_server()
  local path, lines = os.tmpname(), {}
  for i, reply in ipairs(REPLIES) do
    lines[i] = ("{ %s, %s }"):format(binding.literal(reply.bytes), tostring(reply.closes or false))
  end
  local file = assert(io.open(path, "w"))
  file:write("return {", table.concat(lines, ",\n"), "}")
  file:close()
  local server = fault_server.start(("local replies = dofile(%q)"):format(path) .. [[
    return function(conn)
      for request in conn.request, conn do
        local reply = replies[tonumber(request.path:match "/reply(%d+)/")]
        if not reply then
          conn:ok()
        else
          conn:send(reply[1])
          if reply[2] then conn:close() end
        end
      end
    end]])
  os.remove(path)
  return server
end

-- What each call sends about records of one type. archive, archive_one and batch_purge expect nothing of the body.
local LINK = { from = { id = "1" }, to = { { id = "2" } } }
local CALLS = {
  batch_update = function(from) return from, "companies", wire.INPUTS.batch_update end,
  batch_create = function(from) return from, "companies", wire.INPUTS.batch_create end,
  batch_purge = function(from) return from, "companies", wire.INPUTS.batch_purge end,
  archive = function(from) return from, "companies", { LINK } end,
  archive_one = function(from) return from, "1", "companies", "2" end,
}

describe("an odd reply:", function()
  local server

  setup(function() server = start_server() end)
  teardown(fault_server.stop_all)

  -- Only batch_update is given a second attempt: each waits a while.
  local function check_error(reply, method, outcome)
    local err = outcome.error
    local again = reply.again and method ~= "batch_create" or false
    assert.is_nil(outcome.results)
    assert.same({ reply.kind, again and method == "batch_update" and 2 or 1, again, true },
      { err.kind, err.attempts, err.retryable, err.ambiguous })
    if reply.status ~= ANY then assert.equal(reply.status, err.http_status) end
    assert.truthy(err.message:find(reply.message or "."), err.message)
  end

  -- The server's own good answers have another type id than the replies: whose answer is it?
  local function check_good(method, outcome, type_id)
    assert.is_nil(outcome.errors, tostring(outcome.errors))
    local result = method == "batch_update" and outcome.results[1]
    if result then assert.equal(type_id or 279, result.typeId) end
  end

  -- One call about records of this type.
  local function call(client, method, from)
    return wire.timed(client, method, CALLS[method](from))
  end

  for i, reply in ipairs(REPLIES) do
    it(reply.name .. (reply.kind and " is no success" or " is read") .. (reply.is_open and ", or not" or ""), function()
      for method in pairs(CALLS) do
        local client = wire.client(server, { max_attempts = method == "batch_update" and 2 or 1 })
        check_good(method, call(client, method, "contacts"))
        local outcome = call(client, method, "reply" .. i)
        if reply.is_open and not outcome.results then
          assert.equal("protocol", outcome.error.kind)
          assert.matches(reply.message or ".", outcome.error.message)
        elseif reply.kind then
          check_error(reply, method, outcome)
        else
          check_good(method, outcome, 36)
        end
        check_good(method, call(client, method, "contacts"))
      end
    end)
  end
end)

describe("header fields", function()
  after_each(fault_server.stop_all)

  it("are known in lower case, whatever the host's locale", function()
    local server = fault_server.start(binding.answer(200, OK, { ["x-hubspot-ratelimit-max"] = "90",
      ["x-hubspot-ratelimit-interval-milliseconds"] = "10000", ["x-hubspot-correlation-id"] = "abc" }))
    local report = child.run({ LD_PRELOAD = child.preload(child.shared_object "turkish_locale") }, [[
      local client = require "hubspot_assoc".new { base_url = ..., access_token = "pat-x", max_attempts = 1 }
      local _, errors, response = client:get_limits("contacts", "companies")
      if errors then return errors end
      return response.rate_limit.max, response.rate_limit.interval_ms, response.correlationId]], server.url)
    assert.same({ "90", "10000", "abc", "0" }, { report[1], report[2], report[3], report.status })
  end)

  it("bring printable ASCII alone into texts", function()
    local odd = "a\1\27[31m\127b\195\164\255 c"
    local _, errors, response = binding.receive('{"message":"no"}', 400, { ["X-HubSpot-Correlation-Id"] = odd })
    assert.equal("a[31mb c", errors[1].correlationId)
    assert.equal("a[31mb c", response.correlationId)
  end)
end)
