--- Text for a terminal: what it may hold, and how many columns it takes. Pure.

local text = {}

local byte = string.byte

-- Ranges of code points that take no column: combining marks, joiners, variation selectors.
local ZERO = {
  { 0x300, 0x36F }, { 0x483, 0x489 }, { 0x591, 0x5BD }, { 0x610, 0x61A }, { 0x64B, 0x65F }, { 0x6D6, 0x6DC },
  { 0x900, 0x902 }, { 0x93C, 0x93C }, { 0x941, 0x948 }, { 0xE31, 0xE31 }, { 0xE34, 0xE3A }, { 0xE47, 0xE4E },
  { 0x1AB0, 0x1AFF }, { 0x1DC0, 0x1DFF }, { 0x200B, 0x200D }, { 0x20D0, 0x20FF }, { 0x302A, 0x302D },
  { 0xFE00, 0xFE0F }, { 0xFE20, 0xFE2F }, { 0x1F3FB, 0x1F3FF }, { 0xE0100, 0xE01EF },
}

-- Those that take two: East Asian wide characters, emoji.
local WIDE = {
  { 0x1100, 0x115F }, { 0x231A, 0x231B }, { 0x23E9, 0x23EC }, { 0x2614, 0x2615 }, { 0x2648, 0x2653 },
  { 0x26A1, 0x26A1 }, { 0x26BD, 0x26BE }, { 0x2705, 0x2705 }, { 0x274C, 0x274C }, { 0x2753, 0x2755 },
  { 0x2E80, 0x303E }, { 0x3041, 0x33FF }, { 0x3400, 0x4DBF }, { 0x4E00, 0x9FFF }, { 0xA000, 0xA4CF },
  { 0xA960, 0xA97F }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF }, { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 },
  { 0xFFE0, 0xFFE6 }, { 0x1F300, 0x1F64F }, { 0x1F680, 0x1F6FF }, { 0x1F900, 0x1F9FF }, { 0x1FA70, 0x1FAFF },
  { 0x20000, 0x3FFFD },
}

-- Those that a terminal obeys, or that turn the direction of what follows.
local DANGEROUS = { { 0, 0x1F }, { 0x7F, 0x9F }, { 0x200E, 0x200F }, { 0x2028, 0x202E }, { 0x2066, 0x2069 } }

local function is_in(ranges, code)
  for i = 1, #ranges do
    local range = ranges[i]
    if code >= range[1] and code <= range[2] then return true end
  end
  return false
end

-- The code point at a place of a string and its length in bytes; nil where no sound UTF-8 begins there.
local function decode(s, at)
  local first = byte(s, at)
  local length = first < 0x80 and 1 or first >= 0xC2 and first < 0xE0 and 2 or first >= 0xE0 and first < 0xF0 and 3
    or first >= 0xF0 and first < 0xF5 and 4
  if not length then return nil end
  local code = length == 1 and first or first % 2 ^ (7 - length)
  for i = at + 1, at + length - 1 do
    local following = byte(s, i)
    if not following or following < 0x80 or following > 0xBF then return nil end
    code = code * 64 + following % 64
  end
  local too_long = (length == 3 and code < 0x800) or (length == 4 and code < 0x10000)
  if too_long or code > 0x10FFFF or (code >= 0xD800 and code <= 0xDFFF) then return nil end
  return code, length
end

-- for piece, code in each(s): its characters one by one; code is nil for a byte that is no UTF-8.
local function each(s)
  local at = 1
  return function()
    if at > #s then return nil end
    local code, length = decode(s, at)
    local piece = s:sub(at, at + (length or 1) - 1)
    at = at + #piece
    return piece, code
  end
end

local function columns(code)
  if not code then return 1 end
  if code < 0x300 then return 1 end
  return is_in(ZERO, code) and 0 or is_in(WIDE, code) and 2 or 1
end

--- How many columns a string without control characters takes; roughly right for what is not Latin.
function text.width(s)
  if not s:find("[\128-\255]") then return #s end
  local n = 0
  for _, code in each(s) do n = n + columns(code) end
  return n
end

local function escape_one(piece, code)
  if piece == "\n" then return "\\n" elseif piece == "\t" then return "\\t" elseif piece == "\r" then return "\\r" end
  return code and code > 0xFF and ("\\u{%X}"):format(code) or ("\\x%02X"):format(code or byte(piece))
end

--- A string as it may be shown: what a terminal would obey is spelled out, and so is what is no UTF-8. Whatever comes
-- from a server or a file is shown like this.
-- @param s string, or anything else, by tostring
-- @return string of one line
function text.escape(s)
  s = tostring(s)
  if not s:find("[%c\127-\255]") then return s end
  local pieces = {}
  for piece, code in each(s) do
    pieces[#pieces + 1] = (not code or is_in(DANGEROUS, code)) and escape_one(piece, code) or piece
  end
  return table.concat(pieces)
end

--- The same for text of several lines.
function text.escape_lines(s)
  return (tostring(s):gsub("\t", "  "):gsub("[^\n]+", text.escape))
end

--- Cuts a string to so many columns, with an ellipsis if anything is cut.
function text.cut(s, width)
  if text.width(s) <= width then return s end
  local pieces, used = {}, 0
  for piece, code in each(s) do
    local more = columns(code)
    if used + more > width - 1 then break end
    pieces[#pieces + 1], used = piece, used + more
  end
  return table.concat(pieces) .. (width > 0 and "…" or "")
end

--- Fills a string up with spaces; on the left if `right` is true.
function text.pad(s, width, right)
  local spaces = (" "):rep(width - text.width(s))
  return right and spaces .. s or s .. spaces
end

--- Breaks text into lines of so many columns, at spaces; lines that there are stay apart, and their indents.
function text.wrap(s, width)
  local lines = {}
  for line in (s .. "\n"):gmatch("(.-)\n") do
    local indent = line:match("^ *")
    local current = indent
    for word in line:gmatch("%S+") do
      if text.width(current) + 1 + text.width(word) > width and current ~= indent then
        lines[#lines + 1] = current
        current = indent
      end
      current = current .. (current == indent and "" or " ") .. word
    end
    lines[#lines + 1] = current
  end
  return table.concat(lines, "\n")
end

return text
