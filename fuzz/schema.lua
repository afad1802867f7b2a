--- Schema files (YAML and JSON): whatever a file holds, reading it never raises, and gives what is wanted or problems,
-- each with a place within the file and a message. What was read is written as a file, in YAML and in JSON,
-- that says the same again.

package.path = "./?.lua;" .. package.path
local fuzz = require "fuzz.lua"
local reader = require "hubspot_assoc.schema.reader"
local writer = require "hubspot_assoc.schema.writer"

local PAIR_FIELDS = { "from", "to", "is_same", "unmanaged", "limit", "inverse_limit" }
local LABEL_FIELDS = { "label", "name", "was", "category", "limit", "inverse_limit" }

-- ---- places ----

--- The lines' lengths in characters, as editors have them.
local function lengths_of(text)
  local lengths, first = {}, 1
  repeat
    local last = text:find("\n", first, true)
    local line = text:sub(first, (last or #text + 1) - 1)
    lengths[#lengths + 1] = select(2, line:gsub("[^\128-\191]", ""))
    first = last and last + 1
  until not first
  return lengths
end

local function check_problem(problem, lengths)
  local line, column, message = problem.line, problem.column, problem.message
  assert(type(message) == "string" and message ~= "", "no message")
  assert(problem.severity == "error" or problem.severity == "warning", "no severity")
  assert(line % 1 == 0 and line >= 1 and line <= #lengths, ("line %d of %d: %s"):format(line, #lengths, message))
  assert(column % 1 == 0 and column >= 1 and column <= lengths[line] + 1,
    ("column %d of %d in line %d: %s"):format(column, lengths[line], line, message))
end

-- ---- what was read ----

local function fields_of(list, entry, fields)
  for _, field in ipairs(fields) do
    list[#list + 1] = field .. "=" .. tostring(entry[field])
  end
end

--- A text that tells all of it but the places. Between two object types an other side that is called the same goes
-- without saying.
local function describe(wanted)
  local list = { wanted.version, wanted.unmanaged }
  for _, pair in ipairs(wanted.pairs) do
    fields_of(list, pair, PAIR_FIELDS)
    for _, label in ipairs(pair.labels) do
      fields_of(list, label, LABEL_FIELDS)
      list[#list + 1] = tostring(label.inverse_label or not pair.is_same and label.label)
    end
  end
  return table.concat(list, "\n")
end

local function check(text)
  local wanted, problems = reader.parse(text)
  local lengths, has_errors = lengths_of(text), false
  for _, problem in ipairs(problems) do
    check_problem(problem, lengths)
    has_errors = has_errors or problem.severity == "error"
  end
  assert((wanted == nil) == has_errors, "neither wanted nor an error, or both")
  if not wanted then return end
  for _, format in ipairs { "yaml", "json" } do
    local written = writer.write(wanted, { format = format })
    local again, why = reader.parse(written)
    assert(again, format .. ": " .. (why[1] and why[1].message or "") .. "\n" .. written)
    assert(describe(again) == describe(wanted), format .. " says something else:\n" .. written)
  end
end

-- ---- files as they may be ----

local VALUES = { "none", "20", "010", "0x1F", "1e3", "-1", "yes", "~", "null", '""', "'a b'", "\195\164", "*a", "&a x",
  "!!str 5", '"\\u00e4\\ud83d\\ude00"', "\240\159\152\128", "!x y", "<<", "|\n  a\n", ">-\n  b\n", "[a, b]", "{a: b}",
  "contacts", "2-123", "p_car", "Adviser", "keep", "remove", "2026-11-26", "a: b", "# c", "- x", "? x", "%", "@", "`",
  "\226\128\168", "\194\133", "\239\187\191" }
local FIELDS = { "version", "pairs", "unmanaged", "from", "to", "limit", "inverse_limit", "labels", "label",
  "inverse_label", "name", "was", "category", "$schema", "lable", "x" }

local function field(indent, name, value)
  if fuzz.random(25) == 1 then name = fuzz.pick(FIELDS) end
  if fuzz.random(25) == 1 then value = fuzz.pick(VALUES) end
  return indent .. name .. ": " .. value .. (fuzz.random(30) == 1 and " # said" or "") .. "\n"
end

local TYPES = { "contacts", "companies", "deals", "2-7", "p_car" }
local TEXTS = { "Adviser", '"Buyer"', "'C d'", "\195\164rzte", '"e\\u00e4"', '"yes"', "No. 1" }

local function generate()
  local lines = { field("", "version", "1"), field("", "unmanaged", "keep"), "pairs:\n" }
  for _ = 1, fuzz.random(3) do
    lines[#lines + 1] = field("  - ", "from", fuzz.pick(TYPES))
    lines[#lines + 1] = field("    ", "to", fuzz.pick(TYPES))
    if fuzz.random(2) == 1 then lines[#lines + 1] = field("    ", "limit", tostring(fuzz.random(100) + 50)) end
    lines[#lines + 1] = "    labels:\n"
    for _ = 1, fuzz.random(3) do
      lines[#lines + 1] = field("      - ", "label", fuzz.pick(TEXTS))
      if fuzz.random(2) == 1 then lines[#lines + 1] = field("        ", "inverse_label", fuzz.pick(TEXTS)) end
      if fuzz.random(3) == 1 then lines[#lines + 1] = field("        ", "limit", tostring(fuzz.random(50))) end
      if fuzz.random(3) == 1 then lines[#lines + 1] = field("        ", "was", fuzz.pick(TEXTS)) end
    end
  end
  return table.concat(lines)
end

local words = { "\n", "\r\n", "\r", "\t", "  ", ":", ": ", "- ", "---\n", "...\n", "\0", "\255", '"', "'", "[", "]",
  "{", "}", ",", "\\", "\\u", "\\ud800", "\\x00", "&a ", "*a", "%YAML 1.1\n---\n", "\\udc00" }
for _, list in ipairs { VALUES, FIELDS } do
  for _, word in ipairs(list) do words[#words + 1] = word end
end

fuzz.main { check = check, generate = generate, words = words }
