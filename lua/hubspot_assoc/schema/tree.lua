--- Text in YAML (or JSON, which is YAML) -> a tree whose nodes know their line and column. The one file that knows the
-- YAML library: the parser of lyaml, which is libyaml's.
--
-- A node is { kind = "map" | "list" | "scalar", line =, column = } and
--   map     entries = { { key = node, value = node }, ... } in the order of the file; keys are scalars, each there once
--   list    items = { node, ... }
--   scalar  value = text, is_plain = written without quotes (and without a tag that says it is text)
-- is_broken: what it says has been told to be wrong; size: how many nodes it is, with all in it.
-- Line and column count from 1, columns in characters, as editors do.

local error, ipairs, pcall, remove, require, setmetatable = error, ipairs, pcall, table.remove, require, setmetatable
local tonumber, tostring = tonumber, tostring

local has_yaml, yaml = pcall(require, "yaml")
if not has_yaml then
  error("hubspot_assoc.schema needs lyaml (LuaRocks: lyaml, Debian: lua-yaml): " .. tostring(yaml), 0)
end

local MOST_MIB = 16 -- a hundred times what any account's schema has; reading takes many times as much memory
local MOST_DEPTH = 32 -- more than any schema needs; what is deeper is no schema
local MOST_NODES = 200000 -- likewise: each takes some hundred bytes
local MOST_REPEATED = 100000 -- nodes that aliases (*name) repeat: a small file of them would fill all memory
local TEXT_TAG = "tag:yaml.org,2002:str"

local tree = {}

-- ---- bytes that are no text ----

local function is_continuation(byte)
  return byte ~= nil and byte >= 0x80 and byte <= 0xBF
end

-- How many bytes the character at `at` has, which is not ASCII; or nil: it is no UTF-8 (nor are overlong ones and
-- surrogates).
local function length_at(text, at)
  local first, second, third, fourth = text:byte(at, at + 3)
  if first >= 0xC2 and first <= 0xDF then
    return is_continuation(second) and 2 or nil
  elseif first >= 0xE0 and first <= 0xEF then
    local lowest, highest = first == 0xE0 and 0xA0 or 0x80, first == 0xED and 0x9F or 0xBF
    return second and second >= lowest and second <= highest and is_continuation(third) and 3 or nil
  elseif first >= 0xF0 and first <= 0xF4 then
    local lowest, highest = first == 0xF0 and 0x90 or 0x80, first == 0xF4 and 0x8F or 0xBF
    return second and second >= lowest and second <= highest and is_continuation(third) and is_continuation(fourth)
      and 4 or nil
  end
  return nil
end

-- What ends a line to YAML's parser, and to hardly anybody else: CR alone, NEL, the line and the paragraph separator.
local HIDDEN_BREAKS = { "\r[^\n]", "\r$", "\194\133", "\226\128[\168\169]" }

local function find_hidden_break(text)
  local first
  for _, pattern in ipairs(HIDDEN_BREAKS) do
    local at = text:find(pattern)
    first = at and (not first or at < first) and at or first
  end
  return first
end

-- The place of the first byte that cannot be there, and why; nil if all can.
local function find_bad_byte(text)
  local zero = text:find("\0", 1, true)
  local control = text:find("[\1-\8\11\12\14-\31\127]")
  local bad = zero and control and (zero < control and zero or control) or zero or control
  local at = text:find("[\128-\255]")
  while at and (not bad or at < bad) do
    local length = length_at(text, at)
    if not length then
      return at, "this is no UTF-8: save the file as UTF-8"
    end
    at = text:find("[\128-\255]", at + length)
  end
  local hidden = find_hidden_break(text)
  if hidden and (not bad or hidden < bad) then
    return hidden, "a line break that editors do not show: end lines with LF, or CR LF"
  end
  return bad, "a control character"
end

-- Line and column of a byte whose forerunners are sound.
local function position(text, at)
  local line, begin = 1, 1
  for after in text:sub(1, at - 1):gmatch("\n()") do
    line, begin = line + 1, after
  end
  local _, more = text:sub(begin, at - 1):gsub("[\128-\191]", "")
  return line, at - begin + 1 - more
end

-- ---- building the tree ----

local Builder = {}
Builder.__index = Builder

function Builder:problem(line, column, message)
  self.problems[#self.problems + 1] = { line = line, column = column, severity = "error", message = message }
end

-- Of what is missing at the end libyaml may say that it is in a line behind the last one: the text's end is meant.
function Builder:place(line, column)
  if line > self.last_line then
    return self.last_line, self.last_column
  end
  return line, column
end

function Builder:place_of(event)
  local mark = event.start_mark
  return self:place(mark.line + 1, mark.column + 1)
end

-- Puts a key into the open map: it waits for its value.
function Builder:add_key(map, node)
  map.waiting = node
  if node.kind ~= "scalar" then
    self:problem(node.line, node.column, "a key is a word, not a list or a mapping")
    node.value, node.is_broken = "", true
  elseif node.value == "<<" and node.is_plain then
    node.is_broken = true
    self:problem(node.line, node.column, "merge keys (<<) are not read here: write the keys out")
  elseif map.first[node.value] then
    self:problem(node.line, node.column, ("'%s' is here already, in line %d"):format(node.value,
      map.first[node.value].line))
  else
    map.first[node.value] = node
  end
end

-- Puts a node where the next one is awaited.
function Builder:add(node)
  local parent = self.stack[#self.stack]
  if parent then
    parent.size = parent.size + node.size
  end
  if not parent then
    self.root = node
  elseif parent.kind == "list" then
    parent.items[#parent.items + 1] = node
  elseif parent.waiting then
    parent.entries[#parent.entries + 1] = { key = parent.waiting, value = node }
    parent.waiting = nil
  else
    self:add_key(parent, node)
  end
end

-- Makes the node that an event begins, and remembers its anchor.
function Builder:new_node(event, kind)
  local line, column = self:place_of(event)
  local node = { kind = kind, line = line, column = column, size = 1 }
  self.nodes = self.nodes + 1
  if event.tag and event.tag ~= TEXT_TAG and event.tag ~= "!" then
    self:problem(line, column, ("the tag %s has no meaning here"):format(tostring(event.tag)))
  end
  if event.anchor then
    self.anchors[event.anchor] = node
  end
  return node
end

function Builder:open(event, kind)
  local node = self:new_node(event, kind)
  if kind == "map" then
    node.entries, node.first = {}, {}
  else
    node.items = {}
  end
  self:add(node)
  node.is_open = true
  self.stack[#self.stack + 1] = node
end

function Builder:close()
  local node = remove(self.stack)
  node.is_open, node.first = nil, nil
  local parent = self.stack[#self.stack]
  if parent then
    parent.size = parent.size + node.size - 1 -- it was counted as one when it was opened
  end
end

local on_event = {}

function on_event.MAPPING_START(builder, event) builder:open(event, "map") end
function on_event.SEQUENCE_START(builder, event) builder:open(event, "list") end
function on_event.MAPPING_END(builder) builder:close() end
function on_event.SEQUENCE_END(builder) builder:close() end

function on_event.SCALAR(builder, event)
  local node = builder:new_node(event, "scalar")
  node.value, node.is_plain = event.value, event.style == "PLAIN" and event.tag == nil
  builder:add(node)
end

function on_event.ALIAS(builder, event)
  local line, column = builder:place_of(event)
  local node = builder.anchors[event.anchor]
  if node and not node.is_open then
    builder.repeated = builder.repeated + node.size
    if builder.repeated > MOST_REPEATED then
      builder:problem(line, column, "aliases (*) repeat too much: write it out, or split the file")
      builder.is_over = true
      return nil
    end
    return builder:add(node)
  end
  builder:problem(line, column, node and ("*%s stands inside what it names"):format(event.anchor)
    or ("there is no &%s above"):format(event.anchor))
  builder:add { kind = "scalar", line = line, column = column, value = "", size = 1, is_broken = true }
end

function on_event.DOCUMENT_START(builder, event)
  builder.documents = builder.documents + 1
  if builder.documents == 2 then
    local line, column = builder:place_of(event)
    builder:problem(line, column, "a second document: a file holds one")
    builder.is_over = true
  end
end

-- ---- what libyaml says ----

-- What its messages mean to somebody who has written `\t`, or forgotten a bracket. The rest is handed on.
local MEANINGS = {
  ["found character that cannot start any token"] =
    "this cannot begin anything here: a tab? YAML is indented by spaces",
  ["mapping values are not allowed in this context"] = "a ':' too many here, or the line above is not complete",
}

-- Its error texts: "what at document: 1, line: 2, column: 3\nwhile what at line: 1, column: 1\n".
local function syntax_problem(builder, message)
  message = tostring(message)
  local what = message:match("^(.-) at document:") or message:match("^[^\n]*")
  local line, column = message:match("line: (%d+), column: (%d+)")
  line, column = builder:place(tonumber(line) or 1, tonumber(column) or 1)
  local begun = message:match("\nwhile [^\n]* at line: (%d+)")
  begun = begun and builder:place(tonumber(begun), 1)
  what = MEANINGS[what] or what
  if begun and begun ~= line then
    what = ("%s (of what begins in line %d)"):format(what, begun)
  end
  return { line = line, column = column, severity = "error", message = what }
end

-- JSON writes characters beyond the first 65,536 as two \u escapes, which YAML's parser refuses; \U is YAML's for one.
local function join_surrogates(text)
  if not text:find("^%s*[{%[]") then
    return text
  end
  local unescaped = text:gsub("\\\\", "\1") -- a byte that is not there: find_bad_byte
  unescaped = unescaped:gsub("\\u([dD][89aAbB]%x%x)\\u([dD][c-fC-F]%x%x)", function(high, low)
    local code = 0x10000 + (tonumber(high, 16) - 0xD800) * 0x400 + (tonumber(low, 16) - 0xDC00)
    return ("\\U%08X"):format(code)
  end)
  return (unescaped:gsub("\1", "\\\\"))
end

-- Feeds all events to the builder; returns nil, or the problem that ended it.
local function build(builder, text)
  local next_event = yaml.parser(text)
  while not builder.is_over do
    local ok, event = pcall(next_event)
    if not ok then
      return syntax_problem(builder, event)
    elseif not event then
      return nil
    end
    local handler = on_event[event.type]
    if handler then
      handler(builder, event)
    end
    if builder.nodes > MOST_NODES then
      local line, column = builder:place_of(event)
      return { line = line, column = column, severity = "error",
        message = ("the file has more than %d keys and values: this is no schema"):format(MOST_NODES) }
    end
    if #builder.stack > MOST_DEPTH then
      local line, column = builder:place_of(event)
      builder:problem(line, column, "this is nested too deeply")
      return nil
    end
  end
end

--- Reads a text.
-- @return the tree's root (nil where there is none), and a list of problems, in the order they were found:
--   { line =, column =, severity = "error", message = }. With any, the tree may be less than what the text says.
function tree.parse(text)
  if #text > MOST_MIB * 2 ^ 20 then
    return nil, { { line = 1, column = 1, severity = "error",
      message = ("the file has more than %d MiB: this is no schema"):format(MOST_MIB) } }
  end
  local bad, why = find_bad_byte(text)
  if bad then
    local line, column = position(text, bad)
    return nil, { { line = line, column = column, severity = "error", message = why } }
  end
  local builder = setmetatable({ problems = {}, stack = {}, anchors = {}, documents = 0, nodes = 0, repeated = 0 },
    Builder)
  builder.last_line, builder.last_column = position(text, #text + 1)
  local problem = build(builder, join_surrogates(text))
  if problem then
    return nil, { problem }
  elseif not builder.root then
    builder:problem(1, 1, "the file is empty")
  end
  return builder.root, builder.problems
end

return tree
