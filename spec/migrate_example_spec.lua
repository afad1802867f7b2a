-- examples/migrate.lua against the simulator.
local assoc = require "hubspot_assoc"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

describe("examples/migrate.lua", function()
  local rows, report, token

  before_each(function()
    rows, report, token = os.tmpname(), os.tmpname(), simulator.token()
    simulator.control("rate", { token = token, max = 100000, interval_ms = 1000 })
  end)

  after_each(function()
    for _, path in ipairs { rows, report, rows .. ".journal" } do os.remove(path) end
  end)

  local function write(text)
    local file = assert(io.open(rows, "wb"))
    file:write(text)
    file:close()
  end

  -- Runs it; what it said, and its exit status.
  -- terminal: true, it is on one
  local function migrate(terminal)
    local words = { "HUBSPOT_ACCESS_TOKEN=" .. token, "HUBSPOT_BASE_URL=" .. simulator.url, os.getenv "LUA",
      "examples/migrate.lua", "contacts", "companies", shell.quote(rows), shell.quote(report) }
    local command = table.concat(words, " ")
    command = terminal and ("script -qefc %s /dev/null </dev/null"):format(shell.quote(command)) or command
    local pipe = assert(io.popen(command .. " 2>&1; echo $?"))
    local said, status = pipe:read("*a"):match "^(.-)(%d+)\n$"
    pipe:close()
    return said, tonumber(status)
  end

  local function lines_of(path)
    local list = {}
    for line in io.lines(path) do list[#list + 1] = line end
    return list
  end

  it("associates what can be, and reports the rest; again, it does nothing twice", function()
    write(table.concat({ "\239\187\191from,label,to",
      "1,Consultant,2", "1,,3\r", "x,,4", '"5","Employee","6"', "7,Nobody,8",
      '9,"a ""b"", c",10', '11,"bad,12', "12,,13", "", "14,,15" }, "\n") .. "\n")
    local said, status = migrate()
    assert.matches("^5 rows associated, 0 before, 4 failed: see .*; 0 left; %d+ requests", said)
    assert.equal(1, status)
    local list = table.concat(lines_of(report), "\n")
    assert.matches('4,"x","4","","bad input .*record id', list)
    assert.matches('6,"7","8","Nobody",".*no label is named', list)
    assert.matches('7,"9","10","a ""b"", c","', list)
    assert.matches('8,"","","","the quotes do not match"', list)
    assert.equal(4, #lines_of(report))
    assert.not_matches("\r", said) -- no terminal, no progress line

    local results = assoc.check(assoc.new { access_token = token }:read("contacts", "companies", { { id = 1 } }))
    assert.equal(2, #results[1].to)
    local calls = simulator.log(token).count
    said, status = migrate()
    assert.matches("^0 rows associated, 5 before, 4 failed: see .*; 0 left; 0 requests", said)
    assert.equal(1, status) -- a row that failed before is not done
    assert.equal(list, table.concat(lines_of(report), "\n")) -- and each is reported once
    assert.equal(calls + 2, simulator.log(token).count) -- the labels, of both directions
  end)

  it("says in a line why it cannot begin", function()
    os.remove(rows)
    local said, status = migrate()
    assert.same({ ("migrate.lua: %s: No such file or directory\n"):format(rows), 1 }, { said, status })
    write "a,b\n1,2\n"
    said, status = migrate()
    assert.matches("^migrate.lua: [^\n]*: the first line must name the columns: from, to and perhaps label\n$", said)
    assert.equal(1, status)
    write "from,to\n1,2\n"
    token = "noscope"
    said, status = migrate()
    assert.matches("^migrate.lua: [^\n]*HTTP 4[^\n]*\n$", said)
    assert.equal(1, status)
  end)

  it("says that all is done, and where it was ended goes on", function()
    local text = { "to,from" }
    for i = 1, 5000 do text[#text + 1] = i .. "," .. i end
    write(table.concat(text, "\n"))
    simulator.fault(token, { status = 401, skip = 3, times = 100 })
    local said, status = migrate()
    local done = said:match "^([12]000) rows associated, 0 before, 0 failed: see .*; %d+ left; .*the job ended"
    assert.is_truthy(done, said) -- any of the requests, 1,000 rows or 2,000, may be the first that arrives
    assert.equal(1, status)
    simulator.request("DELETE", "/simulator/faults?token=" .. token)
    said, status = migrate()
    assert.matches(("^%d rows associated, %d before, 0 failed: see .*; 0 left"):format(5000 - done, done), said)
    assert.equal(0, status)
    assert.equal(5000, #lines_of(rows .. ".journal"))
  end)

  it("tells of its progress on a terminal", function()
    local text = { "to,from" }
    for i = 1, 5000 do text[#text + 1] = i .. "," .. i end
    write(table.concat(text, "\n"))
    local said, status = migrate(true)
    assert.matches("\r[1-4]000 done, 0 failed, %d+ a second\27%[K", said) -- requests come back in no certain order
    assert.matches("\r5000 done, 0 failed, %d+ a second\27%[K\r?\n5000 rows associated", said)
    assert.equal(0, status)
  end)

  it("ends before it has failed all rows where HubSpot refuses whatever is sent", function()
    local text = { "to,from" }
    for i = 1, 5000 do text[#text + 1] = i .. "," .. i end
    write(table.concat(text, "\n"))
    simulator.fault(token, { status = 400, skip = 2, times = 100000 })
    local said, status = migrate()
    assert.matches("^0 rows associated, 0 before, 2%d failed: see .*; %d+ left; .*look at from, to and the", said)
    assert.equal(1, status)
    simulator.request("DELETE", "/simulator/faults?token=" .. token)
    said = migrate()
    assert.matches("^49%d%d rows associated, 0 before, 2%d failed: see .*; 0 left", said)
  end)

  it("loses no row from the report when it was killed, and lets no second one write it", function()
    write "from,to\nx,1\n2,3\n"
    local left = '{"index":1,"tag":2,"status":"failed","error":{"kind":"config","message":"bad"},'
      .. '"job":{"call":"associate","from":"contacts","to":"companies"}}\n{"index":2,"tag":3,"sta' -- cut by kill -9
    local file = assert(io.open(rows .. ".journal", "wb"))
    file:write(left)
    file:close()
    local said, status = migrate()
    assert.matches("^1 rows associated, 0 before, 1 failed", said)
    assert.equal(1, status)
    assert.same({ '2,"x","1","","bad"' }, lines_of(report))

    local job = assoc.new { access_token = token }:bulk("associate", "contacts", "companies",
      { journal = rows .. ".journal" })
    said, status = migrate()
    job:finish()
    assert.matches("another job is using it", said)
    assert.equal(1, status)
    assert.same({ '2,"x","1","","bad"' }, lines_of(report))
  end)

  it("says how it is called, and what is wrong with the columns", function()
    local pipe = assert(io.popen(os.getenv "LUA" .. " examples/migrate.lua contacts 2>&1; echo $?"))
    assert.matches("^usage: .*\n2\n$", pipe:read "*a")
    pipe:close()
    write "contact,company\n1,2\n"
    local said, status = migrate()
    assert.matches("the first line must name the columns", said)
    assert.equal(1, status)
  end)
end)
