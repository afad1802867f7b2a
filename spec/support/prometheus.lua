-- Prometheus' text format: a text is checked by the rules that promtool checks, and read.
local prometheus = {}

local NAME, LABEL = "^[%a_:][%w_:]*$", "^[%a_][%w_]*$"

-- By promtool's lint: what a name must not end with, unless it is a type's own.
local function check_name(name, kind)
  assert(name:find(NAME) and not name:find ":", "no name: " .. name)
  assert(not name:find "%u", "capitals: " .. name)
  assert((kind == "counter") == (name:find "_total$" ~= nil), "counters, and only they, end in _total: " .. name)
  for _, word in ipairs { "counter", "gauge", "metric", "count$", "bucket$", "sum$" } do
    assert(not name:find("_" .. word), "a word of the format's own: " .. name)
  end
  for _, unit in ipairs { "milliseconds", "ms", "kilobytes", "minutes", "hours" } do
    assert(not (name .. "_"):find("_" .. unit .. "_"), "no base unit: " .. name)
  end
end

-- The labels of a sample, each once, in any order.
local function read_labels(text)
  local labels, rest = {}, text
  while rest ~= "" do
    local name, value, more = rest:match '^([%w_]+)="(.-)"(.*)$'
    while value and value:gsub("\\\\", ""):find "\\$" do -- that was an escaped quote
      local part, after = more:match '^(.-)"(.*)$'
      value, more = value .. '"' .. part, after
    end
    assert(name and name:find(LABEL) and not labels[name], "labels: " .. text)
    assert(not value:gsub('\\[\\"n]', ""):find '[\\"\n]', "a label's value is not escaped: " .. text)
    labels[name] = value
    assert(more == "" or more:find '^,[%w_]', "labels: " .. text)
    rest = more:gsub("^,", "")
  end
  return labels
end

-- Raises if the text is not well-formed; else returns its samples: 'name{label="value"}' → number, with the labels in
-- the text's order.
function prometheus.check(text)
  local samples, helps, kinds, ended, current = {}, {}, {}, {}, nil
  local seen = {}
  assert(text == "" or text:sub(-1) == "\n", "the text must end with a line break")
  for line in text:gmatch "(.-)\n" do
    local word, name, rest = line:match "^# (%u+) (%S+) (.+)$"
    if word == "HELP" then
      assert(not helps[name] and not seen[name], "HELP is not the first of " .. name)
      assert(not rest:gsub("\\[\\n]", ""):find "\\", "HELP is not escaped: " .. name)
      helps[name] = rest
    elseif word == "TYPE" then
      assert(not kinds[name] and helps[name] and not seen[name], "TYPE does not follow HELP: " .. name)
      assert(rest == "counter" or rest == "gauge", rest)
      check_name(name, rest)
      kinds[name] = rest
    else
      local sample, labels, number = line:match "^([%w_:]+)({.*}) (%S+)$"
      if not sample then
        sample, number = line:match "^([%w_:]+) (%S+)$"
      end
      assert(sample and kinds[sample], "no sample of a known metric: " .. line)
      assert(number:find "^-?%d+%.?%d*e?[+-]?%d*$", "no number: " .. line)
      assert(kinds[sample] ~= "counter" or tonumber(number) >= 0, line)
      assert(sample == current or not ended[sample], "samples of " .. sample .. " are not together")
      ended[sample], current, seen[sample] = true, sample, true
      read_labels(labels and labels:sub(2, -2) or "")
      local key = sample .. (labels or "")
      assert(not samples[key], "twice: " .. key)
      samples[key] = tonumber(number)
    end
  end
  for name in pairs(kinds) do assert(seen[name], "no sample of " .. name) end
  return samples
end

return prometheus
