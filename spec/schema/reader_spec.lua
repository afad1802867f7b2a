--- Reading a schema file: what is good, what is wrong with it and where; and that the JSON Schema says the same.
-- Corpus: good/ is good to both; bad/ to neither; what is in rules/ the JSON Schema cannot know; what is in yaml/ is
-- wrong before it is asked, or is read otherwise by other libraries.

local cli = require "spec.support.cli"
local expected = dofile "spec/schema/corpus/expected.lua"

local describe = cli.describe(describe, pending)
local FOLDER = "spec/schema/corpus/"
-- The Python that has the validator (see scripts/install-missing).
local PYTHON = "$(python3 -c 'import jsonschema, yaml' 2>/dev/null && echo python3 || echo /usr/bin/python3)"

local function files(folder)
  local list = {}
  for path in cli.sh("ls " .. FOLDER .. folder .. "/*"):gmatch "[^\n]+" do list[#list + 1] = path end
  assert(#list > 3)
  return list
end

describe("the reader of schema files", function()
  local schema = require "hubspot_assoc.schema"

  local function parse(path)
    return schema.parse(cli.read(path))
  end

  local function messages(problems)
    local list = {}
    for i, problem in ipairs(problems) do
      list[i] = ("%d:%d %s"):format(problem.line, problem.column, problem.message)
    end
    return table.concat(list, "\n")
  end

  for _, path in ipairs(files "good") do
    it("takes " .. path, function()
      local wanted, problems = parse(path)
      assert.equal("", messages(problems))
      assert.equal(1, wanted.version)
    end)
  end

  for _, folder in ipairs { "bad", "rules", "yaml" } do
    for _, path in ipairs(files(folder)) do
      it("says what is wrong with " .. path, function()
        local place, message = assert(expected[path:sub(#FOLDER + 1)], path):match "^(%d+:%d+) (.*)$"
        local wanted, problems = parse(path)
        assert.is_nil(wanted)
        local found = messages(problems)
        local first = found:match "^[^\n]*"
        if place then assert.equal(place, first:match "^%d+:%d+", found) end
        assert.is_truthy(found:find(message or expected[path:sub(#FOLDER + 1)], 1, true), found)
        assert.is_true(#problems <= 2, found)
        for _, problem in ipairs(problems) do assert.equal("error", problem.severity) end
      end)
    end
  end

  it("names no line that is not there", function()
    local _, problems = schema.parse "version: 1\npairs: ["
    assert.equal("2:9 did not find expected node content", messages(problems))
  end)

  it("has a file for each expectation", function()
    for name in pairs(expected) do assert.is_true(#cli.read(FOLDER .. name) >= 0) end
  end)

  it("agrees with the JSON Schema", function()
    local all, is_good = {}, {}
    for folder, good in pairs { good = true, bad = false, rules = true } do
      for _, path in ipairs(files(folder)) do
        all[#all + 1], is_good[path] = path, good
      end
    end
    local output, status = cli.sh(PYTHON .. " spec/support/json_schema.py schema/associations.schema.json "
      .. table.concat(all, " "))
    assert.equal(0, status, output)
    local count = 0
    for path, verdict in output:gmatch "(%S+) (%a+)[^\n]*\n" do
      count = count + 1
      assert.equal(is_good[path] and "good" or "bad", verdict, path)
    end
    assert.equal(#all, count)
  end)

  -- Each field has a value of these, or is not there. (1.0 is no number to the reader, and one to JSON Schema.)
  local VALUES = { '"contacts"', '"0-1"', '"p_car"', '"a b"', '""', '" x"', '"x\\n"', "5", "0", "-1", "1.5",
    "2147483648", '"5"', '"none"', "true", "null", "[]", "{}", '"keep"', '"remove"', '"HUBSPOT_DEFINED"', "[5]",
    '{"a":1}', "1" }

  local function any_value(good)
    return math.random(4) > 1 and good or VALUES[math.random(#VALUES)]
  end

  local function any_fields(fields)
    local members = {}
    for _, field in ipairs(fields) do
      if field[3] or math.random(3) > 1 then
        local value = type(field[2]) == "function" and (math.random(8) > 1 and field[2]() or any_value "1") or field[2]
        members[#members + 1] = ('"%s":%s'):format(field[1], type(field[2]) == "function" and value or any_value(value))
      end
    end
    return "{" .. table.concat(members, ",") .. "}"
  end

  local function any_document()
    local function label()
      return any_fields { { "label", '"A"', true }, { "inverse_label", '"B"' }, { "was", '"C"' }, { "name", '"a_1"' },
        { "category", '"USER_DEFINED"' }, { "limit", "5" }, { "inverse_limit", "5" }, math.random(20) == 1 and
        { "limits", "5" } or nil }
    end
    local function pair()
      return any_fields { { "from", '"deals"', true }, { "to", '"tickets"', true }, { "unmanaged", '"keep"' },
        { "limit", "5" }, { "inverse_limit", "5" }, { "labels", function() return "[" .. label() .. "]" end } }
    end
    return any_fields { { "version", "1", true }, { "unmanaged", '"keep"' },
      { "pairs", function() return "[" .. pair() .. "]" end, true } }
  end

  it("agrees with it on documents of all kinds", function()
    math.randomseed(42)
    local documents = {}
    for i = 1, 3000 do documents[i] = any_document() end
    local folder = cli.folder()
    local path = cli.write(folder .. "/all.lines", table.concat(documents, "\n") .. "\n")
    local output = cli.sh(PYTHON .. " spec/support/json_schema.py schema/associations.schema.json " .. path)
    cli.remove(folder)
    local i, good = 0, 0
    for verdict in output:gmatch "(%a+)\n" do
      i = i + 1
      local wanted, problems = schema.parse(documents[i])
      local is_rule = problems[1] and problems[1].is_rule -- which JSON Schema cannot say
      if not is_rule then
        assert.equal(verdict, wanted and "good" or "bad", documents[i] .. "\n" .. messages(problems))
      end
      good = good + (verdict == "good" and 1 or 0)
    end
    assert.equal(#documents, i)
    assert.is_true(good > 100 and good < 2500, good)
  end)

  it("reads all that a file says", function()
    local wanted = assert(parse(FOLDER .. "good/all_fields.yaml"))
    assert.same({ "remove", 3 }, { wanted.unmanaged, #wanted.pairs })
    local pair = wanted.pairs[1]
    assert.same({ "contacts", "companies", "keep", 100, "none", 3 },
      { pair.from, pair.to, pair.unmanaged, pair.limit, pair.inverse_limit, #pair.labels })
    local label = pair.labels[2]
    assert.same({ "Employee", "Employer", "employee_employer", "Worker", "USER_DEFINED", "none", 50 },
      { label.label, label.inverse_label, label.name, label.was, label.category, label.limit, label.inverse_limit })
    assert.same({ 14, 16 }, { label.at.label.line, label.at.label.column })
    assert.is_true(wanted.pairs[2].is_same)
    assert.equal(5000, wanted.pairs[3].limit)
  end)

  it("reads JSON as it is", function()
    local wanted = assert(parse(FOLDER .. "good/json.json"))
    assert.equal('Amié 😀 "x" / y', wanted.pairs[1].labels[1].label)
    local escaped = assert(schema.parse [[{"version": 1, "pairs": [{"from": "contacts", "to": "deals",
      "labels": [{"label": "\ud83d\ude00 \\ud83d\\ude00"}]}]}]])
    assert.equal("😀 \\ud83d\\ude00", escaped.pairs[1].labels[1].label)
    local _, problems = schema.parse [[{"version": "\\ud83d\ude00"}]] -- half a character
    assert.equal("error", problems[1].severity)
  end)

  it("reads texts in quotes as they are", function()
    local labels = assert(parse(FOLDER .. "good/quotes.yaml")).pairs[1].labels
    local texts = {}
    for i, label in ipairs(labels) do texts[i] = label.label end
    assert.same({ "no", "5", "12:30", "Größe & Ämter (DE) 😀", "a: b # c", "7" }, texts)
  end)

  it("warns of what is hardly meant, and of what some accounts refuse", function()
    local wanted, problems = schema.parse(([[
version: 1
pairs:
  - from: contcats
    to: deals
    limit: 20000
    labels: [%s]
]]):format(("{label: A%d},"):rep(11):gsub("%%d", (function()
      local n = 0
      return function()
        n = n + 1
        return n
      end
    end)())))
    assert.is_table(wanted)
    assert.equal([[
3:11 from: 'contcats' is no object type of HubSpot's that this release knows; did you mean 'contacts'?
5:12 limit: HubSpot's limits end at 10000 as a rule
6:13 labels: 11 of one's own; only the highest subscriptions allow more than 10]], messages(problems))
    for _, problem in ipairs(problems) do assert.equal("warning", problem.severity) end
  end)

  it("tells of all that is wrong, in the order of the file", function()
    local _, problems = schema.parse [[
version: 1
unmanaged: no
pairs:
  - from: contacts
    to: companies
    limit: "5"
    labels:
      - label: A
        limt: 3
  - to: deals
]]
    assert.equal([[
2:12 unmanaged: keep or remove expected, got no
6:12 limit: write 5 without quotes
9:9 'limt' is not known here; did you mean 'limit'?
10:5 the pair: 'from' is missing]], messages(problems))
  end)

  it("never fails itself, whatever is in a file", function()
    local good = cli.read(FOLDER .. "good/all_fields.yaml")
    local pieces = { "\n", " ", ":", "-", "[", "]", "{", "}", "&a ", "*a", "!!str ", "'", '"', "|", "#", "\t", "<<: ",
      "? ", "no", "5", "\255", "\0", "limit", "---\n", "%" }
    math.randomseed(7)
    for round = 1, 3000 do
      local at = math.random(#good)
      local text = good:sub(1, at) .. pieces[math.random(#pieces)] .. good:sub(at + math.random(0, 3))
      local wanted, problems = schema.parse(text)
      assert.is_true(wanted ~= nil or #problems > 0, round)
      for _, problem in ipairs(problems) do
        assert.is_true(problem.line >= 1 and problem.line <= 60 and problem.column >= 1, round .. messages(problems))
      end
    end
  end)

  it("takes no time for what is nested, repeated or long", function()
    local text = "version: 1\npairs: [&a {from: contacts, to: deals}" .. (", *a"):rep(10000) .. "]\n"
    local _, problems = schema.parse(text)
    assert.equal(10000, #problems)
    assert.is_nil((schema.parse(("["):rep(100000))))
    assert.is_nil((schema.parse("a: " .. ("x"):rep(1000000))))
    assert.is_nil((schema.parse('{"a": "' .. ("\\"):rep(1000001) .. '"}')))
  end)

  -- Of a list that names itself n times a level, level by level, and of lists within a list.
  it("refuses aliases that would fill the memory", function()
    local laughs = { "- &a0 [x, x, x, x, x, x, x, x, x, x]" }
    for i = 1, 30 do laughs[i + 1] = ("- &a%d [%s]"):format(i, (", *a" .. i - 1):rep(10):sub(3)) end
    local pair = "version: 1\npairs:\n- &p\n  from: contacts\n  to: deals\n  labels:\n  - &l {label: A}\n"
    for place, text in pairs { ["5:43"] = table.concat(laughs, "\n") .. "\n",
      ["2023:3"] = pair .. ("  - *l\n"):rep(2000) .. ("- *p\n"):rep(2000) } do
      local wanted, problems = schema.parse(text)
      assert.is_nil(wanted)
      assert.truthy(messages(problems):find(place .. " aliases (*) repeat too much", 1, true), messages(problems))
    end
  end)

  it("refuses a file that is no schema by its size", function()
    local wanted, problems = schema.parse("version: 1\n" .. ("#"):rep(2 ^ 24))
    assert.is_nil(wanted)
    assert.equal("1:1 the file has more than 16 MiB: this is no schema", messages(problems))
    wanted, problems = schema.parse("version: 1\npairs:\n" .. ("- x\n"):rep(2 ^ 21))
    assert.is_nil(wanted)
    assert.equal("199998:3 the file has more than 200000 keys and values: this is no schema", messages(problems))
  end)
end)
