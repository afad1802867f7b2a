--- Values as JSON, always in the same way: names sorted, integers exact, an empty table a list; and no character in it
-- that a terminal might obey. lua-cjson does none of these. Pure. (What is read goes through core.decode.)

local error, pairs, tostring, type = error, pairs, tostring, type
local concat, floor, sort = table.concat, math.floor, table.sort

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(character)
  return ESCAPES[character] or ("\\u%04x"):format(character:byte())
end

-- What a terminal might obey beyond ASCII: the bytes before the last one, the last one, and what its code point counts
-- from.
local DANGEROUS = {
  { "\194", "([\128-\159])", 0 }, -- U+0080 to U+009F: control characters
  { "\226\128", "([\142\143\168-\174])", 0x2000 - 128 }, -- U+200E, U+200F, U+2028 to U+202E: lines, direction of text
  { "\226\129", "([\166-\169])", 0x2040 - 128 }, -- U+2066 to U+2069: direction of text
}

local function escape_dangerous(text)
  for i = 1, #DANGEROUS do
    local head, last, base = DANGEROUS[i][1], DANGEROUS[i][2], DANGEROUS[i][3]
    text = text:gsub(head .. last, function(byte) return ("\\u%04x"):format(base + byte:byte()) end)
  end
  return text
end

local function write_string(text)
  text = text:gsub('[%z\1-\31\127"\\]', escape)
  return '"' .. (text:find("[\194\226]") and escape_dangerous(text) or text) .. '"'
end

local function write_number(number)
  if number ~= number or number == 1 / 0 or number == -1 / 0 then
    error("a number that is not finite", 0)
  elseif number == floor(number) and number > -2 ^ 63 and number < 2 ^ 63 then
    return ("%d"):format(number)
  end
  return (("%.17g"):format(number):gsub(",", ".")) -- in any locale
end

local write

local function write_list(list, depth)
  local parts = {}
  for i = 1, #list do
    parts[i] = write(list[i], depth)
  end
  return "[" .. concat(parts, ",") .. "]"
end

local function write_object(object, depth)
  local names, parts = {}, {}
  for name in pairs(object) do
    if type(name) ~= "string" then
      error("a table that is neither a list nor has names alone", 0)
    end
    names[#names + 1] = name
  end
  sort(names)
  for i = 1, #names do
    parts[i] = write_string(names[i]) .. ":" .. write(object[names[i]], depth)
  end
  return "{" .. concat(parts, ",") .. "}"
end

local MAX_DEPTH = 100

local function count(value)
  local n = 0
  for _ in pairs(value) do
    n = n + 1
  end
  return n
end

function write(value, depth)
  local kind = type(value)
  if kind == "string" then
    return write_string(value)
  elseif kind == "number" then
    return write_number(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind ~= "table" then
    error("a " .. kind, 0)
  elseif depth >= MAX_DEPTH then
    error("a table in itself", 0)
  end
  return (count(value) == #value and write_list or write_object)(value, depth + 1)
end

--- The JSON text of a value.
-- @param value table, string, number or boolean
-- @return string; raises what the value holds that JSON cannot: "a function", say, without a position
return function(value)
  return write(value, 0)
end
