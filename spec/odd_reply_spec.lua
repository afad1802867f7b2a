-- Answers that are no sound HTTP, byte by byte: what a call makes of each on a connection that has answered before, and
-- how the client's next call goes.
local binding = require "spec.support.binding"
local fault_server = require "spec.support.fault_server"
local wire = require "spec.support.wire"

local OK = '{"status":"COMPLETE","results":[{"category":"USER_DEFINED","typeId":36}]}'
local WITH_LENGTH = "Content-Length: " .. #OK .. "\r\n"

local function sound(more)
  return "HTTP/1.1 200 OK\r\n" .. WITH_LENGTH .. (more or "") .. "\r\n" .. OK
end

-- name: what each is called; bytes: what is sent; keeps: the connection stays open (it is closed else). What comes of
-- it: kind (nil: it goes well), status, message (a pattern), again: it is tried again where it may be.
local REPLIES = {
  -- The handle has kept headers of the call before: libcurl 7.84 to 8.0.1 added such a line to one of them, long freed.
  { name = "a folded first header line", bytes = "HTTP/1.1 200 OK\r\n X: y\r\n" .. WITH_LENGTH .. "\r\n" .. OK,
    kind = "protocol", status = 200, message = "continues" },
  { name = "a tab in its place", bytes = "HTTP/1.1 200 OK\r\n\tX: y\r\n" .. WITH_LENGTH .. "\r\n" .. OK,
    kind = "protocol", status = 200, message = "continues" },
  { name = "a folded first line of an interim answer", bytes = "HTTP/1.1 103 Early Hints\r\n X: y\r\n\r\n" .. sound(),
    kind = "protocol", message = "continues" },
  { name = "a folded first line behind an interim answer",
    bytes = "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n X: y\r\n" .. WITH_LENGTH .. "\r\n" .. OK,
    kind = "protocol", status = 200, message = "continues" },
  { name = "a folded first trailer", bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. ("%x\r\n%s\r\n0\r\n X: y\r\n\r\n"):format(#OK, OK), kind = "protocol", status = 200 },
  { name = "a folded header line", bytes = sound "X: y\r\n z\r\n\tz\r\n", keeps = true },
  { name = "an interim answer with headers", keeps = true,
    bytes = "HTTP/1.1 103 Early Hints\r\nA: b\r\n c\r\n\r\n" .. sound() },
  { name = "trailers", bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    .. ("%x\r\n%s\r\n0\r\nX: y\r\n z\r\n\r\n"):format(#OK, OK), keeps = true },
}

-- Answers what the first object type of the call asks for, and any other well.
local function start_server()
  local literals = {}
  for i, reply in ipairs(REPLIES) do
    literals[i] = ("{ %s, %s }"):format(binding.literal(reply.bytes), tostring(reply.keeps or false))
  end
  return fault_server.start("local replies = {" .. table.concat(literals, ",\n") .. [[ }
    return function(conn)
      for request in conn.request, conn do
        local reply = replies[tonumber(request.path:match "/reply(%d+)/")]
        if not reply then
          conn:ok()
        else
          conn:send(reply[1])
          if not reply[2] then conn:close() end
        end
      end
    end]])
end

local METHODS = { "batch_update", "batch_create", "batch_purge" }

describe("an odd reply:", function()
  local server, clients

  setup(function()
    server, clients = start_server(), {}
    for _, method in ipairs(METHODS) do clients[method] = wire.client(server) end
  end)
  teardown(fault_server.stop_all)

  local function call(method, i)
    return wire.timed(clients[method], method, "reply" .. i, "companies", wire.INPUTS[method])
  end

  for i, reply in ipairs(REPLIES) do
    it(reply.name .. (reply.kind and " is no success" or " is read"), function()
      for _, method in ipairs(METHODS) do
        wire.good_call(clients[method], method)
        local outcome = call(method, i)
        if reply.kind then
          assert.is_nil(outcome.results)
          local again = reply.again and method ~= "batch_create" or false
          local err = outcome.error
          assert.same({ reply.kind, reply.status, again and 2 or 1, again, true },
            { err.kind, err.http_status, err.attempts, err.retryable, err.ambiguous })
          assert.truthy(err.message:find(reply.message or "."), err.message)
        else
          assert.is_nil(outcome.errors, tostring(outcome.errors))
          if method ~= "batch_purge" then assert.equal(36, outcome.results[1].typeId) end
        end
        wire.good_call(clients[method], method)
      end
    end)
  end
end)
