--- A client as luasocket's select and copas take it: an object with getfd and dirty.
--
--     local socket_of = require "hubspot_assoc.socket"
--     local calls = socket_of(client)
--     socket.select({ calls, other_socket }, nil)            then client:step()
--     copas.addthread(function() while copas.receive(calls) do end end)

local scheduler = require "hubspot_assoc.scheduler"

local error = error

local FD_SETSIZE = 1024 -- select knows no greater descriptors; here and on macOS, BSD

local function check(fd)
  if fd and fd >= FD_SETSIZE then
    error(("the client's descriptor %d is too large for select, which takes those below %d: "
      .. "make the client before so many files are open"):format(fd, FD_SETSIZE), 3)
  end
  return fd
end

---@param client hubspot_assoc.Client with an I/O thread (as it has by default)
return function(client)
  check(client:fd())
  local object = {}

  --- The descriptor; when the client is closed -1, which select passes over.
  function object.getfd()
    return check(client:fd()) or -1
  end

  --- Is there something for client:step() that the descriptor does not tell?
  function object.dirty()
    return scheduler.front(client.finished) ~= nil
  end

  --- For copas.receive: steps. Returns how many calls were handed out; or nil and "timeout", upon which copas waits
  -- for the descriptor; or nil and "closed" if no call is pending.
  function object.receive()
    local n = client:step()
    if n > 0 then
      return n
    end
    return nil, client:pending() > 0 and "timeout" or "closed"
  end

  --- copas closes what a coroutine waited for at its end; the client stays open.
  function object.close() end

  return object
end
