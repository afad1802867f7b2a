-- What `make soak` puts between clients and the simulator: a relay that does wrong what a network does wrong.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local relay = {}

-- What may happen to a piece of what the client sends. Each is a function(link, bytes); what it does not hand on is
-- never handed on. A link has the client's conn, the server's socket, and what is to become of the next answer.
local faults = {}

-- The connection is reset, and the server has seen nothing.
function faults.reset(link)
  link.is_over = true
  link.conn:reset()
end

-- The request arrives; its answer does not.
function faults.lost(link, bytes)
  link.answer = function() faults.reset(link) end
  link.server:xwrite(bytes, "bn")
end

-- Half of an answer, then the end.
function faults.cut(link, bytes)
  link.answer = function(answer)
    link.conn:send(answer:sub(1, #answer // 2))
    link.is_over = true
  end
  link.server:xwrite(bytes, "bn")
end

-- Nothing comes any more, in neither direction, and nobody is told.
function faults.freeze(link)
  link.answer = function() end
  while link.conn.socket:xread(-65536, "b") do end -- luacheck: ignore
  link.is_over = true
end

-- The request arrives late.
function faults.late(link, bytes)
  cqueues.sleep(0.1 + math.random() * 0.3)
  link.server:xwrite(bytes, "bn")
end

-- The answer comes in drops.
function faults.drip(link, bytes)
  link.answer = function(answer)
    link.answer = nil
    local size = #answer // 20 + 1
    for first = 1, #answer, size do
      link.conn:send(answer:sub(first, first + size - 1))
      cqueues.sleep(0.01)
    end
  end
  link.server:xwrite(bytes, "bn")
end

local NAMES = { "cut", "drip", "freeze", "late", "lost", "reset" }

local function draw(per_mille)
  return math.random(1000) <= per_mille and NAMES[math.random(#NAMES)] or nil
end

local function pump_requests(link, per_mille, counts)
  for bytes in function() return not link.is_over and link.conn.socket:xread(-65536, "b") or nil end do
    local name = draw(per_mille)
    counts.pieces = counts.pieces + 1
    if name then
      counts[name] = (counts[name] or 0) + 1
      faults[name](link, bytes)
    else
      link.server:xwrite(bytes, "bn")
    end
  end
  link.is_over = true
end

local function pump_answers(link)
  for bytes in function() return not link.is_over and link.server:xread(-65536, "b") or nil end do
    if link.answer then link.answer(bytes) else link.conn:send(bytes) end
  end
  link.is_over = true
end

-- Relays to this port. So many pieces of a thousand that clients send meet a fault, drawn by this seed. What is
-- reported as seen is one table: how many pieces there were, and how many met which fault.
relay.faulty = {
  prepare = function(port, seed, per_mille)
    local counts = { pieces = 0 }
    math.randomseed(seed)
    return function(conn)
      conn.log[1] = counts
      local server = socket.connect("127.0.0.1", port)
      server:setmode("b", "bn")
      server:onerror(function(_, _, why) return why end)
      local link, loop = { conn = conn, server = server }, cqueues.new()
      loop:wrap(pump_requests, link, per_mille, counts)
      loop:wrap(pump_answers, link)
      while not link.is_over do loop:step() end
      server:close()
    end
  end,
}

return relay
