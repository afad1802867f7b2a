--- A strict reader of JSON (RFC 8259), written apart from the library: an oracle for targets in Lua.
-- returns the value (objects as tables, without what is null in them; lists and null as {}), or nil if it is none; and
-- true where readers may differ: half of a surrogate pair, a name that is there twice, deep nesting, a number beyond a
-- double's integers

local MOST_DEPTH = 100

local NULL = {}
local reader = {} -- first character -> function(state) that returns a value, and raises where it is none

local function fail() error("no JSON", 0) end

local function skip(state) state.at = state.text:match("^[ \t\r\n]*()", state.at) end

local function take(state, pattern)
  local found, after = state.text:match("^(" .. pattern .. ")()", state.at)
  if not found then fail() end
  state.at = after
  return found
end

local function read(state, depth)
  skip(state)
  if depth > MOST_DEPTH then
    state.is_open = true
    fail()
  end
  local value = (reader[state.text:sub(state.at, state.at)] or fail)(state, depth)
  skip(state)
  return value
end

-- ---- strings ----

local function is_utf8(text)
  local at = 1
  while at <= #text do
    local a, b, c, d = text:byte(at, at + 3)
    local function more(byte, least, most) return byte and byte >= (least or 0x80) and byte <= (most or 0xBF) end
    if a < 0x80 then at = at + 1
    elseif a >= 0xC2 and a <= 0xDF and more(b) then at = at + 2
    elseif a >= 0xE0 and a <= 0xEF and more(b, a == 0xE0 and 0xA0, a == 0xED and 0x9F) and more(c) then at = at + 3
    elseif a >= 0xF0 and a <= 0xF4 and more(b, a == 0xF0 and 0x90, a == 0xF4 and 0x8F) and more(c) and more(d) then
      at = at + 4
    else
      return false
    end
  end
  return true
end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function encode(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local function unit(state) return tonumber(take(state, "%x%x%x%x"), 16) end

local function read_escape(state)
  local letter = take(state, ".")
  if letter ~= "u" then return ESCAPES[letter] or fail() end
  local code = unit(state)
  if code >= 0xD800 and code <= 0xDBFF and state.text:find("^\\u[dD][c-fC-F]", state.at) then
    state.at = state.at + 2
    code = 0x10000 + (code - 0xD800) * 0x400 + unit(state) - 0xDC00
  elseif code >= 0xD800 and code <= 0xDFFF then
    state.is_open = true
  end
  return encode(code)
end

reader['"'] = function(state)
  local parts = {}
  state.at = state.at + 1
  while true do
    parts[#parts + 1] = take(state, '[^"\\%z\1-\31]*')
    if take(state, '["\\]') == '"' then break end
    parts[#parts + 1] = read_escape(state)
  end
  local text = table.concat(parts)
  if not state.is_open and not is_utf8(text) then fail() end
  return text
end

-- ---- the rest ----

local function read_number(state)
  local text = take(state, "%-?%d[%d.eE+-]*") -- none of these may come behind a number
  if text:find "^%-?0%d" or not (text:find "^%-?%d+$" or text:find "^%-?%d+%.%d+$" or text:find "^%-?%d+[eE][+-]?%d+$"
    or text:find "^%-?%d+%.%d+[eE][+-]?%d+$") then
    fail()
  end
  local number = tonumber(text)
  if math.abs(number) > 1e15 then state.is_open = true end
  return number
end

for digit = 0, 9 do reader[tostring(digit)] = read_number end
reader["-"] = read_number

function reader.t(state) return take(state, "true") == "true" end
function reader.f(state) return take(state, "false") ~= "false" end
function reader.n(state) return take(state, "null") == "null" and NULL end

reader["["] = function(state, depth)
  state.at = state.at + 1
  skip(state)
  if state.text:find("^%]", state.at) then
    state.at = state.at + 1
    return {}
  end
  repeat read(state, depth + 1) until take(state, "[,%]]") == "]"
  return {}
end

reader["{"] = function(state, depth)
  local object, seen = {}, {}
  state.at = state.at + 1
  skip(state)
  if state.text:find("^}", state.at) then
    state.at = state.at + 1
    return object
  end
  repeat
    skip(state)
    if not state.text:find('^"', state.at) then fail() end
    local name = reader['"'](state)
    skip(state)
    take(state, ":")
    local value = read(state, depth + 1)
    state.is_open = state.is_open or seen[name]
    seen[name] = true
    if value ~= NULL then object[name] = value end
  until take(state, "[,}]") == "}"
  return object
end

return function(text)
  local state = { text = text, at = 1 }
  local ok, value = pcall(read, state, 1)
  if not ok and value ~= "no JSON" then error(value, 0) end
  if not ok or state.at <= #text then return nil, state.is_open end
  return value, state.is_open
end
