-- What is JSON and what is not, whatever lua-cjson thinks of it: cases of our own in the three classes that collections
-- of JSON parsing tests have: y must be read; n must be refused; i the standard leaves open, and we say what we do.
-- (codec_spec.lua has what becomes of numbers, texts and ids, and answers as a whole.)
local core = require "hubspot_assoc.core"

local function read(text)
  local value, why = core.decode(text)
  if value == nil then assert.is_string(why) end
  return value, why
end

-- In a list and in an object, too, and with white space around.
local function each_place(text)
  return { text, "[" .. text .. "]", '{"v":' .. text .. "}", " \t\r\n" .. text .. "\n", "[1,\t" .. text .. "\r,2 ]",
    '{"a":{"b":[' .. text .. "]}}" }
end

local y = {
  structures = { "[]", "{}", "[[]]", "[{}]", "[[],[[]],{}]", "[1]", "[1,2,3]", '["a",1,true,false,null,{},[]]',
    '{"a":1}',
    '{"a":{"b":{"c":[]}}}', '{"":0}', '{"":{"":""}}', '{"a":1,"a":2}', '{"a":1,"A":2}', '[ ]', '{ }', '[\n1\t,\r2 ]',
    '{ "a" : 1 , "b" : 2 }', '{"a":[{"b":[{"c":[{}]}]}]}', "[" .. ("1,"):rep(5000) .. "1]" },
  words = { "true", "false", "null", "[null,null]", '{"null":null}' },
  numbers = { "0", "-0", "1", "-1", "10", "0.0", "-0.0", "0.1", "123.456", "1e1", "1E1", "1e+1", "1e-1", "0e0",
    "0e+1", "0E5",
    "-0e-1", "1.0e10", "1.5E-7", "20e1", "0.000001", "-123123123123", "9007199254740992", "123456789.123456789e-5" },
  strings = { '""', '"a"', '" "', '"/"', '"\\/"', '"\\""', '"\\\\"', '"\\\\\\""', '"\\b\\f\\n\\r\\t"', '"\\u0000"',
    '"\\u0041"',
    '"\\u00e9\\u00E9"', '"\\u2028\\u2029"', '"\\uFFFF"', '"\\ufffe"', '"\\uD834\\uDd1e"', '"\\uDBFF\\uDFFF"',
    '"\\ud83d\\ude39x"',
    '"\\\\u0000"', '"\\\\ud800"', "\"'\"", '"[{]},:"', '"//"', '"/* */"', '"null"', '"\127"', '"\\u007f"',
    '"\\u001f"',
    '"\\ufdd0\\uDBFF\\uDFFE"', '"\\u200b\\u2064\\u00a0"', '"\\u0022\\u005C\\u002f"', '{"a\\u0000b":1}' },
  utf8 = { '"\194\128"', '"\223\191"', '"\224\160\128"', '"\237\159\191"', '"\238\128\128"', '"\239\191\189"',
    '"\239\191\191"',
    '"\239\191\190"', '"\240\144\128\128"', '"\244\143\191\191"', '"\226\128\168\226\128\169"', '"\194\160"',
    '"\239\187\191"', '"e\204\129"', '{"\195\164":"\208\181"}' },
}

local n = {
  structures = { "", " ", "[", "]", "{", "}", "[[", "[]]", "[}", "{]", "[1", "[1,", "[1,2", "[,", "[,]", "[,1]",
    "[1,]", "[1,,2]",
    "[1 2]", "[1;2]", "[1:2]", "[1\n2]", "[[1]2]", '["a" "b"]', '["a":1]', "[*]", "[a]", "[<null>]", "[][]", "[]{}",
    "[1]x",
    "[1],", "[1]]", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,"b"', '{"a":1,}', '{"a":1,,"b":2}', '{,"a":1}',
    "{,}",
    '{"a"}', '{"a":}', '{"a",1}', '{"a" 1}', '{"a"::1}', '{"a":1:2}', '{"a":1 "b":2}', '{"a":1;"b":2}', '{"a"=1}',
    "{:1}",
    "{a:1}", "{\240\159\142\136}", '{"a":1,"b"}', '{"a":1,,,}', "[1,,,]", ('["\\{'):rep(20),
    "{'a':1}", "{1:1}", "{null:1}", "{true:1}", "{[]:1}", "{{}:1}", '{"a":1}}', '{"a":1}#', '{"a":1}{"b":2}',
    '{"a":1],', '{"a":[}', "1 2", "1,2", '"a","b"', "true false", '"a" "b"', "nullnull" },
  words = { "nul", "nulll", "NULL", "Null", "None", "nil", "undefined", "tru", "truee", "True", "TRUE", "yes",
    "fals", "False",
    "no", "n", "t", "f", "-true", "+null", "tru\0e", "[nul]", "[tru]", "[fals]", "[truefalse]", '{"a":nul}',
    '{"a":truth}', "NaN", "-NaN", "Infinity", "-Infinity", "inf", "Inf", "+Inf",
    "\195\169t\195\169", "[x\195\165]", "\\n", '[\\u000a""]' },
  numbers = { "+1", "++1", "--1", "-", "+", "-a", "01", "-01", "00", "-00", "012", "0x1", "0xA", "0b1", "0o7", ".1",
    "-.1", "1.",
    "-1.", "0.", ".", "1.e1", "1..2", "1.2.3", "0.3e", "0.3e+", "0e", "0e+", "1e", "1eE2", "1e1.0", "1e5e5", "e1",
    "-e1", "1 000", "1,000", "1_000", "1'000", "1-", "1+1", "1/2", "1a", "1e1a", "0x", "1f", "1L", "1n", "9.e+", "- 1",
    "-\n1", "1 .5", "\239\188\145", "\217\161", "1\0", "[1\0]", "[-]", "[1.]", "[01]", "[1e]", ".-1", "0e+-1",
    "[12\229]", "[1e1\229]", "[1e\229]", "0E+", "-.5e1" },
  strings = { '"', '"a', '"\\', '"\\"', '"\\\\\\"', 'a"', "'a'", "`a`", '"\\a"', '"\\x00"', '"\\0"', '"\\\'"',
    '"\\U00000041"',
    '"\\u"', '"\\u0"', '"\\u00"', '"\\u004"', '"\\u004g"', '"\\u 041"', '"\\u-041"', '"\\u+041"', '"\\u{41}"',
    '"\\\n"', '"\\ "',
    '"\\\195\164"', '"a\nb"', '"a\tb"', '"a\rb"', '"a\0b"', '"\31"', '"a""b"', '"a"b"', '\\u0041', "\\",
    '{"a\nb":1}', '{"\\x":1}', '["\\u00A"]', '["a]', '{"a:1}',
    '"\\ud800\\"', '"\\ud800\\u"', '"\\ud800\\u1"', '"\\ud800\\u1x"', '"\\ud834\\udd"', '"\\ud800\\ud800\\x"',
    '"\\u\229"', '"\\\229"', '"\\\240\159\140\128"' },
  utf8 = { "\255", '"\255"', '"\254"', '"\128"', '"\191"', '"a\128"', '"\194"', '"\194a"', '"\192\128"',
    '"\192\175"', '"\193\191"',
    '"\224\128\128"', '"\224\159\191"', '"\225\128"', '"\225\128a"', '"\237\160\128"', '"\237\191\191"',
    '"\237\160\129\237\176\128"',
    '"\240\128\128\128"', '"\240\143\191\191"', '"\240\159\152"', '"\240\159\152a"', '"\244\144\128\128"',
    '"\245\128\128\128"',
    '"\248\136\128\128\128"', '"\252\132\128\128\128\128"', '"\233"', '{"\233":1}', "[\195\164]" },
  ["white space and comments"] = { "\f1", "1\f", "\v1", "[\f]", "[1\v]", "\194\1601", "[\194\160]", "\226\128\1681",
    "[\226\129\160]",
    "\239\187\1911", "\239\187\191[]", "\239\187\191", "\239\187[]", "{}/", "{}/**//",
    "[\239\187\191]", "\0", "\0[]", "[]\0", "[\0]", "//\n1", "1//", "/**/1",
    "[1/**/]", "[1]//", "#\n1", "[1]#x", "--1", "<!-- -->1", "\254\255\0[\0]", "[\0]\0", "\255\254[\0]\0" },
}

-- text -> do we read it?
local i = { ["1e400"] = true, ["-1e400"] = true, ["1e-400"] = true, ["0.1e9999999"] = true, ["1e999999999999"] = true,
  [("9"):rep(400)] = true, ["-" .. ("1"):rep(30)] = true, ["0." .. ("3"):rep(400)] = true,
    ["0" .. ".0" .. ("0"):rep(400) .. "1"] = true,
  ['"\\ud800"'] = false, ['"\\udfff"'] = false, ['"\\ud800\\ud800"'] = false, ['"\\udd1e\\ud834"'] = false,
    ['"\\ud800\\u0041"'] = false,
  ['"\\ud800a"'] = false, ['"\\ud834\\\\udd1e"'] = false, ['"\\ud834\\ndd1e"'] = false, ['{"\\ud800":1}'] = false,
  [("["):rep(100) .. ("]"):rep(100)] = true, [("["):rep(101) .. ("]"):rep(101)] = false,
    [("["):rep(100000) .. ("]"):rep(100000)] = false, [("["):rep(100000)] = false,
  [('{"a":'):rep(100000)] = false, [('[{"":'):rep(50000)] = false }

describe("JSON", function()
  for name, cases in pairs(y) do
    it("is read: " .. name, function()
      for _, case in ipairs(cases) do
        for _, text in ipairs(each_place(case)) do
          local value, why = read(text)
          assert.is_true(value ~= nil, ("%q: %s"):format(text, tostring(why)))
        end
      end
    end)
  end

  for name, cases in pairs(n) do
    it("is refused: " .. name, function()
      for _, text in ipairs(cases) do
        assert.is_nil((read(text)), ("%q"):format(text))
      end
    end)
  end

  it("is read, or refused, where the standard leaves it open", function()
    for text, is_read in pairs(i) do
      assert.equal(is_read, read(text) ~= nil, text:sub(1, 40))
    end
  end)

  it("has the values that it spells", function()
    assert.same({ "\244\143\191\191", "\0", "\240\157\132\158", "\\u0000", "/" },
      read '["\\uDBFF\\uDFFF","\\u0000","\\uD834\\uDd1e","\\\\u0000","\\/"]')
    assert.same({ 0, 0, 10, 0.1, 200, 1.5e-7 }, read "[0,-0,1e1,1e-1,20e1,1.5E-7]")
    assert.same({ [""] = { [""] = "" }, a = 2, A = 3 }, read '{"":{"":""},"a":1,"a":2,"A":3}')
    assert.same({ true, false, {}, {} }, read "[true,false,{},[]]")
  end)

  it("that is cut anywhere is none", function()
    local text = '{"a":[1.5e3,-2,"\\u00e9\\"\195\164",true,null,{"b":{}}],"c":""}'
    assert.is_table(read(text))
    for size = 0, #text - 1 do assert.is_nil((read(text:sub(1, size))), text:sub(1, size)) end
  end)
end)
