--- A short digest of a text: 12 hexadecimal digits by which a person or a program confirms what it has seen. Pure. It
-- guards against mistakes, not against somebody who makes two texts with one digest.

-- Two remainders of the text as a number, in doubles: a multiplication stays below 2^53.
local PRIMES = { 16777213, 16777199 } -- below 2^24
local BASES = { 257, 263 }

--- @return 12 hexadecimal digits
return function(text)
  local a, b = 1, 1
  for i = 1, #text do
    local byte = text:byte(i) + 1
    a = (a * BASES[1] + byte) % PRIMES[1]
    b = (b * BASES[2] + byte) % PRIMES[2]
  end
  return ("%06x%06x"):format(a, b)
end
