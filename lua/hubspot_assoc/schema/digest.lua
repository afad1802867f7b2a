--- A short digest of a text: 12 hexadecimal digits by which a person or a program confirms what it has seen. Pure. It
-- guards against mistakes, not against somebody who makes two texts with one digest.

local byte = string.byte

-- Two remainders of the text as a number, in doubles: no sum reaches 2^53.
local FIRST_PRIME, SECOND_PRIME = 16777213, 16777199 -- below 2^24
local FIRST_BASE, SECOND_BASE = 257, 263

--- @return 12 hexadecimal digits
return function(text)
  local a, b = #text + 1, #text + 1
  for i = 1, #text, 4 do
    local b1, b2, b3, b4 = byte(text, i, i + 3)
    local word = ((b1 * 256 + (b2 or 0)) * 256 + (b3 or 0)) * 256 + (b4 or 0)
    a = (a * FIRST_BASE + word) % FIRST_PRIME
    b = (b * SECOND_BASE + word) % SECOND_PRIME
  end
  return ("%06x%06x"):format(a, b)
end
