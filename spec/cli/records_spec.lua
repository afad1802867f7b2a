--- hubspot-assoc records: associate, archive, export.

local cjson = require("cjson").new()
local cli = require "spec.support.cli"
local csv = require "hubspot_assoc.cli.csv"
local progress = require "hubspot_assoc.cli.progress"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)

describe("hubspot-assoc records", function()
  local token, folder, environment
  before_each(function()
    token, folder = simulator.token(), cli.folder()
    environment = { HUBSPOT_ACCESS_TOKEN = token }
  end)
  after_each(function() cli.remove(folder) end)

  local function write(name, content)
    return cli.write(folder .. "/" .. name, content)
  end

  local function run(...)
    return cli.run(environment, "records", ...)
  end

  local function is(status, result)
    assert.equal(status, result.status, result.out .. result.err)
    return result
  end

  local function names()
    local list = {}
    for name in (cli.sh("ls " .. folder)):gmatch "[^\n]+" do list[#list + 1] = name end
    return list
  end

  -- id -> { to id -> { label -> true } }
  local function associated(...)
    local result = is(0, cli.feed(table.concat({ ... }, "\n") .. "\n", environment, "records", "export", "contacts",
      "companies", "-"))
    local found = {}
    for line in result.out:gmatch "[^\n]+" do
      local row = cjson.decode(line)
      found[row.from.id] = {}
      for _, record in ipairs(row.to) do
        local labels = {}
        for _, kind in ipairs(record.associationTypes) do
          labels[kind.label ~= cjson.null and kind.label or "unlabelled"] = true
        end
        found[row.from.id][record.toObjectId] = labels
      end
    end
    return found
  end

  -- n rows of contacts and companies
  local function rows(n)
    local lines = { "from,to" }
    for i = 1, n do lines[i + 1] = ("%d,%d"):format(i, i + 100000) end
    return table.concat(lines, "\n") .. "\n"
  end

  it("associates the rows of a CSV file, with labels", function()
    local path = write("rows.csv", '\239\187\191From;To;Label\r\n1;11;"Employee"\r\n2;12;"Employee; Consultant"\r\n'
      .. "9007199254740993;13;\r\n")
    local result = is(0, run("associate", "contacts", "companies", path))
    assert.matches("^3 done, 0 failed", result.err)
    local found = associated("1", "2", "9007199254740993", "4")
    assert.same({ unlabelled = true, Employee = true }, found["1"]["11"])
    assert.same({ unlabelled = true, Employee = true, Consultant = true }, found["2"]["12"])
    assert.same({ unlabelled = true }, found["9007199254740993"]["13"])
    assert.same({}, found["4"])
    assert.same({ "rows.csv" }, names())
  end)

  it("associates the rows of an NDJSON file, or of a pipe", function()
    local content = '{"from":1,"to":{"id":"11"},"label":"Employee"}\n\n{"from":{"id":9007199254740993},"to":"12"}\n'
    is(0, run("associate", "contacts", "companies", write("rows.ndjson", content)))
    is(0, cli.feed("3,13\n4,14\n", environment, "records", "associate", "contacts", "companies", "-", "--format", "csv",
      "--label", "Consultant"))
    local found = associated("1", "9007199254740993", "3", "4")
    assert.is_true(found["1"]["11"].Employee)
    assert.same({ unlabelled = true }, found["9007199254740993"]["12"])
    assert.is_true(found["3"]["13"].Consultant and found["4"]["14"].Consultant)
  end)

  it("removes associations, or labels only", function()
    local path = write("rows.csv", "from,to\n1,11\n1,12\n2,12\n")
    is(0, run("associate", "contacts", "companies", path, "--label", "Employee"))
    is(0, run("archive", "contacts", "companies", write("labels.csv", "1,11\n"), "--label", "Employee"))
    is(0, run("archive", "contacts", "companies", write("all.csv", "1,12\n")))
    local found = associated("1", "2")
    assert.same({ ["11"] = { unlabelled = true } }, found["1"])
    assert.same({ ["12"] = { unlabelled = true, Employee = true } }, found["2"])
  end)

  it("never removes more than a row of NDJSON says", function()
    is(0, run("associate", "contacts", "companies", write("rows.csv", "1,11\n2,12\n"), "--label", "Employee"))
    local labels = write("labels.ndjson", '{"from":"1","to":"11","label":"Employee"}\n')
    is(0, run("archive", "contacts", "companies", labels))
    local mixed = write("mixed.ndjson", '{"from":"9","to":"19"}\n{"from":"2","to":"12","label":"Employee"}\n')
    assert.matches("rows of both kinds go apart", is(1, run("archive", "contacts", "companies", mixed)).out)
    local found = associated("1", "2")
    assert.same({ unlabelled = true }, found["1"]["11"])
    assert.same({ unlabelled = true, Employee = true }, found["2"]["12"])
  end)

  it("passes over no column that seems to have the labels: without them all would be removed", function()
    is(0, run("associate", "contacts", "companies", write("rows.csv", "1,11\n"), "--label", "Employee"))
    for _, name in ipairs { "lable", "Label name", "association_label" } do
      local wrong = write("wrong.csv", "from,to," .. name .. "\n1,11,Employee\n")
      local result = is(1, run("archive", "contacts", "companies", wrong))
      assert.matches(("the first line has a column '%s'"):format(name), result.err, 1, true)
      assert.matches("call it 'label'", result.err, 1, true)
    end
    local lines = write("wrong.ndjson", '{"from":"1","to":"11","lable":"Employee"}\n')
    local told = is(1, run("archive", "contacts", "companies", lines)).out
    assert.matches("the labels' field is 'label', not 'lable'", told, 1, true)
    is(0, run("archive", "contacts", "companies", write("other.csv", "from,to,level\n2,12,high\n")))
    assert.same({ unlabelled = true, Employee = true }, associated("1")["1"]["11"])
  end)

  it("tells CSV from NDJSON by the first line where the name says nothing", function()
    is(0, cli.feed("from,to\n1,11\n", environment, "records", "associate", "contacts", "companies", "-"))
    is(0, cli.feed('{"from":"2","to":"12"}\n', environment, "records", "associate", "contacts", "companies", "-"))
    is(0, run("associate", "contacts", "companies", write("rows.txt", "\239\187\191from;to\n3;13\n")))
    local found = associated("1", "2", "3")
    assert.same({ unlabelled = true }, found["1"]["11"])
    assert.same({ unlabelled = true }, found["2"]["12"])
    assert.same({ unlabelled = true }, found["3"]["13"])
  end)

  it("says at once that --label names none", function()
    local path = write("rows.csv", "1,11\n2,12\n")
    local result = is(1, run("associate", "contacts", "companies", path, "--label", "Emplyee"))
    assert.matches('did you mean "Employee"', result.err, 1, true)
    assert.matches("Nothing was sent", result.err, 1, true)
    assert.same({ "rows.csv" }, names()) -- no journal that is in the way
  end)

  it("tells what ended a job early", function()
    simulator.fault(token, { status = 401, times = 10 })
    local result = is(1, run("associate", "contacts", "companies", write("rows.csv", rows(10000))))
    assert.matches("hubspot-assoc: associate_default contacts -> companies: ", result.err, 1, true)
    assert.matches("--resume goes on", (result.err:gsub("%s+", " ")), 1, true)
  end)

  it("takes a label that has a semicolon in it, and writes it so that it is read again", function()
    for _, label in ipairs { "Sales; EMEA", "back\\slash" } do
      is(0, cli.run(environment, "labels", "create", "contacts", "companies", label))
    end
    local path = write("rows.csv", "from,to,label\n1,11,Sales\\; EMEA;Employee\n2,12,back\\slash\n3,13,back\\\\slash\n"
      .. "x,14,Employee; Sales\\; EMEA\n5,15,no\\;ne\n")
    local result = is(1, run("associate", "contacts", "companies", path))
    assert.matches('no label is named "no;ne"', result.out, 1, true)
    local found = associated("1", "2", "3")
    assert.same({ ["Sales; EMEA"] = true, Employee = true, unlabelled = true }, found["1"]["11"])
    assert.same({ ["back\\slash"] = true, unlabelled = true }, found["2"]["12"])
    assert.same(found["2"]["12"], found["3"]["13"])
    local failed = cli.read(path .. ".failed")
    assert.matches('\nx,14,"Employee; Sales\\; EMEA",', failed, 1, true)
    assert.matches('\n5,15,"no\\;ne",', failed, 1, true)
  end)

  it("writes rows of NDJSON that failed with their labels apart", function()
    local path = write("rows.ndjson", '{"from":"x","to":"1","label":["Employee","Consultant"]}\n')
    is(1, run("associate", "contacts", "companies", path))
    assert.matches('"labels":["Employee","Consultant"]', cli.read(path .. ".failed"), 1, true)
  end)

  it("finds what fails, tells why, and keeps it in a file that can be run again", function()
    local path = write("rows.csv", "from,to,label\n1,11,\n2,x,\n3,13,Nobody\n4,14,Employee\n\"5,15\n")
    local result = is(1, run("associate", "contacts", "companies", path))
    assert.matches("2 done, 3 failed", result.err)
    assert.matches("rows.csv.failed", result.err, 1, true)
    assert.matches('no label is named "Nobody"', result.out, 1, true)
    assert.matches("a quote is not closed: \"5,15", result.out, 1, true)
    local failed = {}
    for line in cli.read(path .. ".failed"):gmatch "[^\n]+" do failed[#failed + 1] = line end
    assert.equal("from,to,label,error", failed[1])
    assert.equal(4, #failed)
    assert.equal("3,13,Nobody,", failed[2]:match "^3,13,Nobody,")

    -- An unfinished journal is not begun anew by mistake; with --resume what was settled is not sent again.
    assert.matches("--resume", is(1, run("associate", "contacts", "companies", path)).err, 1, true)
    local before = simulator.log(token).count
    local told = cjson.decode(is(1, run("associate", "contacts", "companies", path, "--resume", "--json")).out)
    assert.same({ 0, 3, 3, true }, { told.done, told.failed, told.skipped, told.finished })
    for i, call in ipairs(simulator.log(token)) do
      if i > before then assert.equal("GET", call.method) end -- labels
    end

    local again = write("rows.csv.failed", (cli.read(path .. ".failed"):gsub("2,x", "2,12"):gsub("Nobody,", "Employee,")
      :gsub("\n,,[^\n]*", "")))
    is(0, run("associate", "contacts", "companies", again))
    local found = associated("1", "2", "3", "4")
    assert.is_true(found["2"]["12"].unlabelled and found["3"]["13"].Employee and found["4"]["14"].Employee)
  end)

  it("finds what HubSpot refuses, row by row", function()
    local lines = {}
    for i = 1, 10 do lines[i] = "1," .. i .. "\n" end
    is(0, run("associate", "deals", "contacts", write("ten.csv", table.concat(lines))))
    local result = is(1, run("associate", "deals", "contacts", write("more.csv", "2,1\n1,11\n3,1\n"), "--json"))
    local told = cjson.decode(result.out)
    assert.same({ 2, 1, 2 }, { told.done, told.failed, told.failures[1].line })
    assert.matches("^from,to,label,error\n1,11,,", cli.read(folder .. "/more.csv.failed"))
  end)

  for signal, status in pairs { KILL = 137, INT = 130 } do
    it("goes on after SIG" .. signal .. ", and does not send again what has gone through", function()
      local path = write("rows.csv", rows(5000)) -- three requests, of which two hang
      simulator.fault(token, { skip = 1, delay = 30, times = 2 })
      local function is_due()
        return simulator.log(token).count >= 3 and select(2, cli.sh("test -s " .. path .. ".journal")) == 0
      end
      local stopped = cli.stop(signal, is_due, environment, "records", "associate", "contacts", "companies", path)
      assert.equal(status, stopped.status)
      if signal == "INT" then assert.matches("--resume", stopped.out, 1, true) end
      local told = cjson.decode(is(0, run("associate", "contacts", "companies", path, "--resume", "--json")).out)
      assert.equal(5000, told.done + told.skipped)
      assert.is_true(told.skipped > 0 and told.done > 0)
      local found = associated("1", "2500", "5000")
      assert.same({ true, true, true }, { found["1"]["100001"] ~= nil, found["2500"]["102500"] ~= nil,
        found["5000"]["105000"] ~= nil })
      assert.same({ "rows.csv" }, names())
    end)
  end

  it("keeps what failed as it stands in the file, and sends what was changed before --resume", function()
    local path = write("rows.csv", "from,to\n1,11\n2 3,x y\n")
    is(1, run("associate", "contacts", "companies", path))
    assert.matches("\n2 3,x y,,", cli.read(path .. ".failed"), 1, true)
    write("rows.csv", "from,to\n1,12\n2,13\n")
    is(0, run("associate", "contacts", "companies", path, "--resume")) -- what failed is not there any more
    local found = associated("1", "2")
    assert.is_true(found["1"]["12"] ~= nil and found["2"]["13"] ~= nil)
  end)

  it("ends where nothing can go on, and says how to go on", function()
    local path = write("rows.csv", rows(10))
    simulator.fault(token, { status = 429, policy = "DAILY", times = 10 })
    local result = is(1, run("associate", "contacts", "companies", path))
    assert.matches("--resume goes on", (result.err:gsub("\n", " ")), 1, true)
    simulator.control("reset", { token = token })
    is(0, run("associate", "contacts", "companies", path, "--resume"))
  end)

  it("shows progress on a terminal only", function()
    local path = write("rows.csv", rows(5000))
    local shown = is(0, cli.on_terminal("", environment, "records", "associate", "contacts", "companies", path))
    assert.matches("%[#+%.*%] +%d+ %%  [%d,]+ rows", shown.out)
    assert.matches("5,000 done, 0 failed", shown.out, 1, true)
    local result = is(0, run("archive", "contacts", "companies", path))
    assert.matches("^5,000 done, 0 failed, in %d+:%d%d\n$", result.err)
    assert.equal("", is(0, run("associate", "contacts", "companies", path, "-q")).err)
  end)

  it("says what is wrong with a file", function()
    for content, expected in pairs {
      [""] = "is empty", ["a,b\n1,2\n"] = "must name the columns 'from' and 'to'",
      ['"a'] = "line 1: a quote is not closed",
    } do
      assert.matches(expected, is(1, run("associate", "contacts", "companies", write("x.csv", content))).err, 1, true)
    end
    for _, path in ipairs { folder .. "/none.csv", folder } do
      for _, verb in ipairs { "associate", "export" } do
        assert.matches("cannot read " .. path .. ": ", is(1, run(verb, "contacts", "companies", path)).err, 1, true)
      end
    end
    assert.matches("no /", is(1, run("associate", "contacts", "companies", write("y.csv", "1,2\n"), "--resume")).err, 1,
      true)
    local refused = is(1, run("associate", "contacts", "companies", folder .. "/y.csv", "--journal", folder .. "/no/y"))
    assert.matches("--journal PATH puts the journal elsewhere", refused.err, 1, true)
    assert.equal(0, simulator.log(token).count)
  end)

  it("tells which records could not be exported", function()
    local path = write("ids", "id\n1\n\n 2 \nx3\n")
    local result = is(1, run("export", "contacts", "companies", path))
    assert.matches("ids, line 5: 'x3' is no record id", result.err, 1, true)
    result = is(1, cli.run({ HUBSPOT_ACCESS_TOKEN = simulator.token "noscope" }, "records", "export", "contacts",
      "companies", write("ids", "1\n2\n")))
    assert.matches("2 of 2 records could not be read", result.err)
    assert.equal("", result.out)
  end)
end)

describe("CSV", function()
  local function fields(lines, delimiter)
    local at = 1
    return csv.fields(lines[1], delimiter or ",", function()
      at = at + 1
      return lines[at]
    end)
  end

  it("has quoted fields that hold anything", function()
    assert.same({ "a", "", "" }, fields { "a,," })
    assert.same({ 'x,"y"', "2" }, fields { '"x,""y""",2' })
    assert.same({ 'two\n"li,nes', "z" }, fields { '"two', '""li,nes",z' })
    assert.same({ "a", "" }, fields { '"a",' })
    assert.same({ "" }, fields { "" })
    assert.same({ nil, "a quote is not closed" }, { fields { '"a' } })
    assert.same({ nil, "a quoted field goes on behind its quote" }, { fields { '"a"b' } })
  end)

  it("is written so that it is read as it was", function()
    for _, row in ipairs { { "a", "b" }, { 'x"y', "1,2" }, { "a;b", "two\nlines" }, { "", "" } } do
      local lines = {}
      for line in (csv.line(row) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
      assert.same(row, fields(lines))
    end
    assert.same({ ",", ";", "\t" }, { csv.delimiter "from,to", csv.delimiter "from;to", csv.delimiter "from\tto" })
  end)
end)

describe("a progress line", function()
  it("tells how far a job is, how fast, and how long it will take", function()
    assert.equal("[######..................]  25 %  12,345 rows  1,234/s  0:30 left  3 failed",
      progress.line({ rows = 12345, failed = 3, rate = 1234.5, seconds = 10 }, 0.25))
    assert.equal("5 rows", progress.line { rows = 5, failed = 0, rate = 5, seconds = 0.5 })
    assert.equal("5 rows  1/s  HubSpot is in trouble; again in 3 s",
      progress.line { rows = 5, failed = 0, rate = 1, seconds = 5, retry_in = 2.5 })
    assert.same({ "0:00", "1:23", "1:02:03" }, { progress.duration(0), progress.duration(83), progress.duration(3723) })
    assert.same({ "0", "999", "1,000", "1,234,567" },
      { progress.number(0), progress.number(999), progress.number(1000), progress.number(1234567) })
  end)
end)

