--- JSON for programs, on one line: the house's, without what a terminal would obey. Pure.

local to_json = require "hubspot_assoc.json"

local json = {}

-- What is dangerous beyond ASCII, by its last byte: the bytes before, that last byte, the code point it counts from.
local DANGEROUS = {
  { "\194", "[\128-\159]", 0 }, -- U+0080 to U+009F, which some terminals obey
  { "\226\128", "[\142\143\168-\174]", 0x2000 - 128 }, -- U+200E, U+200F, U+2028 to U+202E: line ends, direction of text
  { "\226\129", "[\166-\169]", 0x2040 - 128 }, -- U+2066 to U+2069: direction of text
}

--- A value as JSON, the same for the same. An empty table is a list.
-- @param value string, number, boolean, or a table of such
-- @return string without a line's end
function json.encode(value)
  local encoded = to_json(value)
  for _, kind in ipairs(DANGEROUS) do
    local head, last, base = kind[1], kind[2], kind[3]
    encoded = encoded:gsub(head .. "(" .. last .. ")", function(c) return ("\\u%04x"):format(base + c:byte()) end)
  end
  return encoded
end

return json
