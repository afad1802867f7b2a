-- Servers that mean ill. See spec/attack_spec.lua.
local attacks = {}

-- Answers each request with `first`, and then with `piece` over and over, until the client has gone.
function attacks.endless(conn, _, first, piece)
  piece = piece:rep(math.ceil(10000 / #piece))
  for _ in conn.request, conn do
    if conn:send(first) then
      repeat until not conn:send(piece)
    end
  end
end

return attacks
