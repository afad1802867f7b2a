--- Text for terminals and programs: widths, what is dangerous, tables, JSON, profiles. Pure.

local draw_table = require "hubspot_assoc.cli.table"
local ini = require "hubspot_assoc.cli.ini"
local to_json = require "hubspot_assoc.json"
local text = require "hubspot_assoc.cli.text"

describe("text", function()
  it("counts columns", function()
    for sample, width in pairs {
      [""] = 0, abc = 3, ["Müller"] = 6, ["日本"] = 4, ["e\204\129"] = 1, ["\240\159\152\128"] = 2, ["한글x"] = 5,
      ["\255"] = 1, ["\226\130"] = 2, -- no UTF-8
    } do
      assert.equal(width, text.width(sample), sample)
    end
  end)

  it("spells out what a terminal would obey, and what is no UTF-8", function()
    for sample, shown in pairs {
      plain = "plain", ["Müller 日本"] = "Müller 日本",
      ["\27[31mred"] = "\\x1B[31mred", ["a\nb\tc\r"] = "a\\nb\\tc\\r", ["\127\0"] = "\\x7F\\x00",
      ["\194\155"] = "\\x9B", -- U+009B, CSI
      ["\226\128\174evil"] = "\\u{202E}evil", -- right to left override
      ["\255\254"] = "\\xFF\\xFE", ["\192\128"] = "\\xC0\\x80", ["\237\160\128"] = "\\xED\\xA0\\x80",
    } do
      assert.equal(shown, text.escape(sample))
    end
  end)

  it("cuts and fills up by columns", function()
    assert.equal("abc", text.cut("abc", 3))
    assert.equal("ab…", text.cut("abcd", 3))
    assert.equal("日…", text.cut("日本語", 4))
    assert.equal("日  |", text.pad("日", 4) .. "|")
    assert.equal("  日", text.pad("日", 4, true))
  end)

  it("wraps at spaces and keeps lines apart", function()
    assert.equal("one two\nthree\n\n  four\n  five", text.wrap("one two three\n\n  four five", 8))
  end)
end)

describe("a table", function()
  local columns = { { title = "NAME" }, { title = "N", right = true } }

  it("is as wide as its widest cells", function()
    assert.same({ "NAME   N", "Böse   5", "x     10", "      no" },
      { (table.unpack or unpack)(draw_table(columns, { { "Böse", 5 }, { "x", 10 }, { nil, "no" } })) }) -- luacheck: ignore
  end)

  it("is cut where it must be, at its widest column", function()
    local lines = draw_table(columns, { { ("long "):rep(20), 12345678 } }, 40)
    for _, line in ipairs(lines) do assert.is_true(text.width(line) <= 40) end
    assert.matches("…", lines[2])
    assert.matches("12345678$", lines[2])
  end)

  it("lets nothing dangerous through", function()
    assert.same({ "T", "\\x1B]0;x\\x07" }, draw_table({ { title = "T" } }, { { "\27]0;x\7" } }))
  end)
end)

describe("JSON", function()
  it("is the same for the same, and keeps lists", function()
    assert.equal('{"a":[],"b":[1,2],"d":"x","e":true,"f":1.5}',
      to_json { d = "x", b = { 1, 2 }, a = {}, e = true, f = 1.5 })
  end)

  it("escapes what must be, and what a terminal would obey", function()
    assert.equal([["\"\\\n\u001b\u007f\u009b\u202eü/"]], to_json('"\\\n\27\127\194\155\226\128\174ü/'))
  end)

  it("is read again as it was", function()
    local value = { text = "Müller \"x\" \\ \n", n = 2147483647, list = { "a", { b = false } } }
    local decoded = require("cjson").new().decode(to_json(value))
    assert.same(value, decoded)
  end)
end)

describe("profiles", function()
  it("are read", function()
    assert.same({ default = { token_file = "x y" }, b = { base_url = "http://h" } },
      ini '# comment\n[default]\n token_file = "x y"\n\n; another\n[b]\r\nbase_url=http://h\r\n')
  end)

  it("say where they are wrong", function()
    for content, line in pairs { ["a = b"] = 1, ["[a]\nnonsense"] = 2, ["[a]\n[b]\n[a]"] = 3, ["\n[]"] = 2 } do
      local profiles, at = ini(content)
      assert.is_nil(profiles)
      assert.equal(line, at, content)
    end
  end)
end)
