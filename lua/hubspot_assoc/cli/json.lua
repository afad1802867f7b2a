--- JSON for programs: keys sorted, so that the same is always written the same; empty lists stay lists; nothing in it
-- that a terminal would obey.

local json = {}

local Array = { __name = "hubspot_assoc.cli.json.array" }

--- Marks a table as a list, so that it is written as one even where it is empty. Returns it.
function json.array(list)
  return setmetatable(list, Array)
end

local short = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }

local function quote(s)
  s = s:gsub('[%c"\\\127]', function(c) return short[c] or ("\\u%04x"):format(c:byte()) end)
  return '"' .. s:gsub("\194([\128-\159])", function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function number(n)
  if n % 1 == 0 and n > -2 ^ 53 and n < 2 ^ 53 then return ("%d"):format(n) end
  if n ~= n or n == math.huge or n == -math.huge then error("no JSON number: " .. tostring(n), 0) end
  return (("%.17g"):format(n):gsub(",", ".")) -- a host's locale may have a comma
end

local encode

local function join(open, parts, close, indent, depth)
  if #parts == 0 then return open .. close end
  if not indent then return open .. table.concat(parts, ",") .. close end
  local margin = "\n" .. indent:rep(depth + 1)
  return open .. margin .. table.concat(parts, "," .. margin) .. "\n" .. indent:rep(depth) .. close
end

local function encode_table(value, indent, depth)
  local parts = {}
  if getmetatable(value) == Array or value[1] ~= nil then
    for i = 1, #value do parts[i] = encode(value[i], indent, depth + 1) end
    return join("[", parts, "]", indent, depth)
  end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do
    parts[i] = quote(tostring(key)) .. (indent and ": " or ":") .. encode(value[key], indent, depth + 1)
  end
  return join("{", parts, "}", indent, depth)
end

function encode(value, indent, depth)
  local kind = type(value)
  if kind == "string" then return quote(value) end
  if kind == "number" then return number(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "table" then return encode_table(value, indent, depth) end
  return "null"
end

--- A value as JSON.
-- @param value string, number, boolean, or a table of such: a list if it has an element [1] or is marked by json.array
-- @param pretty true: a line for each field
-- @return string without a line's end
function json.encode(value, pretty)
  return encode(value, pretty and "  " or nil, 0)
end

return json
