--- A schema file -> what is wanted of an account, or what is wrong with the file, each with its line and column.
--
-- What is wanted: { version = 1, unmanaged = "keep" | "remove", pairs = { pair, ... } }
--   pair   { from =, to =, is_same = one object type with itself, unmanaged =, limit =, inverse_limit =,
--            labels = { label, ... }, at = places }
--   label  { label =, inverse_label =, name =, was =, category =, limit =, inverse_limit =, at = places }
--   limit  a number, or "none"; nil: the file says nothing of it
--   places { line =, column =, and field name -> { line =, column = } }
-- The JSON Schema (schema/associations.schema.json) says the same of the shape; what it cannot say is in rules.lua.

local names_of = require "hubspot_assoc.names"
local nearest = require "hubspot_assoc.nearest"
local objects = require "hubspot_assoc.schema.objects"
local rules = require "hubspot_assoc.schema.rules"
local tree = require "hubspot_assoc.schema.tree"

local concat, ipairs, sort, tonumber = table.concat, ipairs, table.sort, tonumber
local setmetatable = setmetatable
local MAX_LIMIT = 2147483647

local Reader = {}
Reader.__index = Reader

function Reader:problem(place, message, severity, is_rule)
  self.problems[#self.problems + 1] = { line = place.line, column = place.column, severity = severity or "error",
    message = message, is_rule = is_rule }
end

-- ---- scalars ----

-- What YAML takes for something else than text, in its version 1.1 or 1.2: `no` is false, 3:20 is 200.
local WORDS = {}
for word in ("~ null true false yes no on off y n"):gmatch("%S+") do
  WORDS[word], WORDS[word:upper()], WORDS[word:gsub("^%l", word.upper)] = true, true, true
end

local NUMBERS = {
  "^[-+]?%d[%d_]*$", "^[-+]?0[xX]%x[%x_]*$", "^[-+]?0[ob][0-7_]+$", "^[-+]?%d[%d_]*%.[%d_]*$", "^[-+]?%.%d[%d_]*$",
  "^[-+]?[%d_]*%.?[%d_]*[eE][-+]?%d+$", "^[-+]?%d[%d_]*:[%d_:]*%.?[%d_]*$", "^[-+]?%.[iI][nN][fF]$", "^%.[nN][aA][nN]$",
  "^%d%d%d%d%-%d%d?%-%d%d?$",
}

local function is_number_like(text)
  for _, pattern in ipairs(NUMBERS) do
    if text:find(pattern) then
      return true
    end
  end
  return false
end

local function is_absent(node)
  return node.is_plain and (node.value == "" or node.value == "~" or node.value:lower() == "null")
end

-- How a value that is not what it should be is called.
local function describe(node)
  if node.kind ~= "scalar" then
    return node.kind == "map" and "a mapping" or "a list"
  elseif is_absent(node) then
    return "nothing"
  end
  return node.is_plain and node.value or '"' .. node.value .. '"'
end

-- Each kind of value: function(reader, node, shape, name) -> value, or nil when it has told what is wrong.
local kinds = {}

function kinds.text(reader, node, shape, name)
  if node.kind ~= "scalar" or is_absent(node) then
    return reader:problem(node, ("%s: text expected, got %s"):format(name, describe(node)))
  elseif node.is_plain and (WORDS[node.value] or is_number_like(node.value)) then
    return reader:problem(node, ('%s: YAML reads %s as no text; write "%s"'):format(name, node.value, node.value))
  end
  local wrong = shape.check and shape.check(node.value)
  if wrong then
    return reader:problem(node, ("%s: %s"):format(name, wrong))
  end
  return node.value
end

-- A whole number, in digits and without quotes.
function kinds.integer(reader, node, shape, name)
  local expected = shape.expected or "a whole number expected"
  if node.kind ~= "scalar" or not node.is_plain or not node.value:find("^%-?%d+$") then
    if node.kind == "scalar" and node.value:find("^%d+$") then
      return reader:problem(node, ("%s: write %s without quotes"):format(name, node.value))
    end
    return reader:problem(node, ("%s: %s, got %s"):format(name, expected, describe(node)))
  elseif node.value:find("^%-?0%d") then
    return reader:problem(node, ("%s: write %s without leading zeros, which mean base 8 to YAML"):format(name,
      node.value))
  end
  local number = tonumber(node.value)
  if number < 1 or number > MAX_LIMIT then
    return reader:problem(node, ("%s: %s, got %s"):format(name, shape.range or "at least 1 expected", node.value))
  end
  return number
end

local LIMIT = { expected = "a number or `none` expected", range = "1 to 2147483647, or `none`, expected" }

function kinds.limit(reader, node, _, name)
  if node.kind == "scalar" and node.value == "none" then
    return "none"
  end
  return kinds.integer(reader, node, LIMIT, name)
end

function kinds.choice(reader, node, shape, name)
  if node.kind == "scalar" and not is_absent(node) then
    for _, choice in ipairs(shape.choices) do
      if node.value == choice then
        return choice
      end
    end
  end
  local near = node.kind == "scalar" and nearest(node.value, shape.choices)[1]
  reader:problem(node, ("%s: %s expected, got %s%s"):format(name, concat(shape.choices, " or "), describe(node),
    near and ("; did you mean %s?"):format(near) or ""))
end

function kinds.version(reader, node, shape, name)
  local number = kinds.integer(reader, node, shape, name)
  if number and number ~= 1 then
    return reader:problem(node, ("version: this release reads version 1, the file has %d"):format(number))
  end
  return number
end

-- ---- lists and mappings ----

function kinds.list(reader, node, shape, name)
  if node.kind ~= "list" then
    return reader:problem(node, ("%s: a list expected (lines that begin with -), got %s"):format(name, describe(node)))
  end
  local values = {}
  for _, item in ipairs(node.items) do
    values[#values + 1] = kinds[shape.of.kind](reader, item, shape.of, shape.each)
  end
  return values
end

-- What may be meant: the most alike, or those that begin so.
local function suggest(text, names)
  local near = nearest(text, names)
  if near[1] then
    return { near[1] }
  end
  for _, name in ipairs(names) do
    if text ~= "" and name:sub(1, #text) == text then
      near[#near + 1] = name
    end
  end
  return near
end

function Reader:unknown_field(key, fields)
  local names = names_of(fields)
  local near = suggest(key.value, names)
  self:problem(key, ("'%s' is not known here; %s"):format(key.value, near[1]
    and ("did you mean '%s'?"):format(concat(near, "' or '")) or "known are " .. concat(names, ", ")))
end

function kinds.map(reader, node, shape, name)
  if node.kind ~= "map" then
    return reader:problem(node, ("%s: %s expected, got %s"):format(name, shape.expected, describe(node)))
  end
  local value, given, is_broken = { at = { line = node.line, column = node.column } }, {}, false
  for _, entry in ipairs(node.entries) do
    local field = entry.key.value
    local field_shape = shape.fields[field]
    if entry.key.is_broken then
      is_broken = true
    elseif not field_shape then
      reader:unknown_field(entry.key, shape.fields)
    elseif not given[field] then
      given[field] = true
      value[field] = kinds[field_shape.kind](reader, entry.value, field_shape, field)
      value.at[field] = { line = entry.value.line, column = entry.value.column }
    end
  end
  for _, field in ipairs(shape.required) do
    if not given[field] and not is_broken then
      reader:problem(node, ("%s: '%s' is missing"):format(name, field))
    end
  end
  return value
end

-- ---- what a file looks like ----

local function check_object(text)
  if not objects.is_name(text) then
    return ('an object type expected, like contacts, p_car or 2-1234567; got "%s"'):format(text)
  end
end

-- An account may have any other; label_plan.lua says which are not made.
local function check_label(text)
  if text == "" then
    return "a text expected, this one is empty"
  end
end

local function check_name(text)
  if not text:find("^[A-Za-z_][A-Za-z0-9_]*$") then
    return ('letters, digits and _ expected, no digit first; got "%s"'):format(text)
  end
end

local OBJECT = { kind = "text", check = check_object }
local LABEL_TEXT = { kind = "text", check = check_label }
local ANY_LIMIT = { kind = "limit" }
local UNMANAGED = { kind = "choice", choices = { "keep", "remove" } }

local LABEL = {
  kind = "map", expected = "a label with its fields (- label: …)", required = { "label" },
  fields = {
    label = LABEL_TEXT, inverse_label = LABEL_TEXT, was = LABEL_TEXT,
    name = { kind = "text", check = check_name },
    category = { kind = "choice", choices = { "USER_DEFINED", "HUBSPOT_DEFINED", "INTEGRATOR_DEFINED", "WORK" } },
    limit = ANY_LIMIT, inverse_limit = ANY_LIMIT,
  },
}

local PAIR = {
  kind = "map", expected = "a pair with its fields (- from: …)", required = { "from", "to" },
  fields = {
    from = OBJECT, to = OBJECT, unmanaged = UNMANAGED, limit = ANY_LIMIT, inverse_limit = ANY_LIMIT,
    labels = { kind = "list", of = LABEL, each = "the label" },
  },
}

local FILE = {
  kind = "map", expected = "a mapping (version: 1, pairs: …)", required = { "version", "pairs" },
  fields = {
    version = { kind = "version" }, unmanaged = UNMANAGED, pairs = { kind = "list", of = PAIR, each = "the pair" },
    ["$schema"] = { kind = "text" }, -- what editors look for in JSON
  },
}

-- ---- reading ----

local function by_place(a, b)
  if a.line ~= b.line then
    return a.line < b.line
  elseif a.column ~= b.column then
    return a.column < b.column
  end
  return a.order < b.order
end

local function sorted(problems)
  for order, problem in ipairs(problems) do
    problem.order = order
  end
  sort(problems, by_place)
  for _, problem in ipairs(problems) do
    problem.order = nil
  end
  return problems
end

local function has_errors(problems)
  for _, problem in ipairs(problems) do
    if problem.severity == "error" then
      return true
    end
  end
  return false
end

local reader = {}

--- Would YAML read this text, without quotes, as something else?
function reader.needs_quotes(text)
  return text == "" or WORDS[text] or is_number_like(text)
end

--- Reads a file's text.
-- @param text YAML or JSON
-- @return what is wanted (above), or nil where there is an error; and a list of problems, in the order of their places:
--   { line =, column =, severity = "error" | "warning", message =, is_rule = the file has its right shape, but breaks a
--   rule of HubSpot's (rules.lua) }
function reader.parse(text)
  local root, problems = tree.parse(text)
  local self = setmetatable({ problems = problems }, Reader)
  local wanted
  if root then
    wanted = kinds.map(self, root, FILE, "the file")
  end
  if wanted and not has_errors(problems) then
    wanted.unmanaged = wanted.unmanaged or "keep"
    for _, pair in ipairs(wanted.pairs) do
      pair.labels = pair.labels or {}
    end
    rules.check(wanted, function(place, message, severity) self:problem(place, message, severity, true) end)
  end
  return not has_errors(problems) and wanted or nil, sorted(problems)
end

return reader
