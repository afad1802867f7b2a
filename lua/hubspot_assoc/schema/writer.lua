--- What is wanted of an account -> the text of a file, in YAML or JSON: always the same for the same. Pure.

local quoted = require "hubspot_assoc.json" -- JSON's quotes are YAML's, too
local reader = require "hubspot_assoc.schema.reader"

local concat, error, ipairs, rep, tostring, type = table.concat, error, ipairs, string.rep, tostring, type

local writer = {}

local PAIR_FIELDS = { "from", "to", "unmanaged", "limit", "inverse_limit" }
local LABEL_FIELDS = { "label", "inverse_label", "was", "name", "category", "limit", "inverse_limit" }

-- ---- texts ----

-- A text as people write it: without quotes where YAML reads the same.
local function plain_or_quoted(text)
  local is_plain = text:find("^[A-Za-z_\128-\255]") and not text:find("[^A-Za-z0-9 \128-\255_.()/&+-]")
    and not text:find(" $") and #quoted(text) == #text + 2 -- nothing in it had to be escaped
  return is_plain and not reader.needs_quotes(text) and text or quoted(text)
end

-- An object type's id (2-1234567) needs no quotes; nor do limits, which are numbers or the word none.
local function yaml_value(value)
  if type(value) == "number" then
    return ("%d"):format(value)
  end
  return value:find("^%d+%-%d+$") and value or plain_or_quoted(value)
end

local function json_value(value)
  return type(value) == "number" and ("%d"):format(value) or quoted(value)
end

-- ---- YAML ----

-- The lines of a list's element: the first with a dash.
local function add_fields(lines, indent, fields, entry)
  local lead = rep(" ", indent) .. "- "
  for _, field in ipairs(fields) do
    local value = entry[field]
    if value ~= nil then
      lines[#lines + 1] = ("%s%s: %s"):format(lead, field, yaml_value(value))
      lead = rep(" ", indent + 2)
    end
  end
end

-- An other side that is called the same goes without saying, between two object types.
local function label_fields(pair, label)
  if pair.is_same or label.inverse_label ~= label.label then
    return LABEL_FIELDS
  end
  local fields = {}
  for _, field in ipairs(LABEL_FIELDS) do
    if field ~= "inverse_label" then
      fields[#fields + 1] = field
    end
  end
  return fields
end

local function write_yaml(wanted, options)
  local lines = {}
  if options.schema_path then
    lines[1] = "# yaml-language-server: $schema=" .. options.schema_path
  end
  lines[#lines + 1] = "version: 1"
  lines[#lines + 1] = "unmanaged: " .. (wanted.unmanaged or "keep")
  lines[#lines + 1] = wanted.pairs[1] and "pairs:" or "pairs: []"
  for i, pair in ipairs(wanted.pairs) do
    if i > 1 then
      lines[#lines + 1] = ""
    end
    add_fields(lines, 2, PAIR_FIELDS, pair)
    if pair.labels[1] then
      lines[#lines + 1] = "    labels:"
    end
    for _, label in ipairs(pair.labels) do
      add_fields(lines, 6, label_fields(pair, label), label)
    end
  end
  return concat(lines, "\n") .. "\n"
end

-- ---- JSON ----

local function json_object(indent, members)
  local lead = rep(" ", indent)
  return "{\n" .. lead .. "  " .. concat(members, ",\n" .. lead .. "  ") .. "\n" .. lead .. "}"
end

local function json_list(indent, elements)
  if not elements[1] then
    return "[]"
  end
  local lead = rep(" ", indent)
  return "[\n" .. lead .. "  " .. concat(elements, ",\n" .. lead .. "  ") .. "\n" .. lead .. "]"
end

local function json_fields(fields, entry)
  local members = {}
  for _, field in ipairs(fields) do
    if entry[field] ~= nil then
      members[#members + 1] = ("%s: %s"):format(quoted(field), json_value(entry[field]))
    end
  end
  return members
end

local function write_json(wanted, options)
  local pair_texts, members = {}, {}
  for i, pair in ipairs(wanted.pairs) do
    local labels, fields = {}, json_fields(PAIR_FIELDS, pair)
    for j, label in ipairs(pair.labels) do
      labels[j] = json_object(8, json_fields(label_fields(pair, label), label))
    end
    if labels[1] then
      fields[#fields + 1] = '"labels": ' .. json_list(6, labels)
    end
    pair_texts[i] = json_object(4, fields)
  end
  if options.schema_path then
    members[1] = '"$schema": ' .. quoted(options.schema_path)
  end
  members[#members + 1] = '"version": 1'
  members[#members + 1] = '"unmanaged": ' .. quoted(wanted.unmanaged or "keep")
  members[#members + 1] = '"pairs": ' .. json_list(2, pair_texts)
  return json_object(0, members) .. "\n"
end

--- The text of a file.
-- @param wanted as reader.lua describes it
-- @param options table or nil: format ("yaml" or "json"), schema_path (for editors: where the JSON Schema is)
function writer.write(wanted, options)
  options = options or {}
  if options.format == nil or options.format == "yaml" then
    return write_yaml(wanted, options)
  elseif options.format == "json" then
    return write_json(wanted, options)
  end
  error(('bad argument #2 to \'write\' (options.format: "yaml" or "json" expected, got %s)')
    :format(tostring(options.format)), 2)
end

return writer
