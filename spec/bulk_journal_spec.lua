-- The journal of a bulk job: what was done is not done again, what was not is not lost, whatever ended the run before.
local assoc = require "hubspot_assoc"
local bulk_server = require "spec.support.bulk_server"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local shell = require "spec.support.shell"

local journal_module = require "hubspot_assoc.journal"
local JOB = { call = "associate_default", from = "contacts", to = "companies" }
local pair, pairs_of, status = bulk_server.pair, bulk_server.pairs, bulk_server.status

local path

local function read()
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- The lines of the journal, decoded: all of them must be whole.
local function lines()
  local list = {}
  local text = read()
  assert(text == "" or text:sub(-1) == "\n", "the last line is cut")
  for line in text:gmatch "[^\n]*\n" do
    list[#list + 1] = assert(core.decode(line), line)
  end
  return list
end

-- How many outcomes each tag, or index, has in the journal.
local function outcomes_in_journal()
  local seen = {}
  for _, line in ipairs(lines()) do
    if line.status ~= "sent" and line.status ~= "unsent" then
      local key = line.tag or line.index
      seen[key] = (seen[key] or 0) + 1
    end
  end
  return seen
end

local function limits(n)
  local list = {}
  for i = 1, n do list[i] = { category = "USER_DEFINED", typeId = i, maxToObjectIds = 5 } end
  return list
end

local function begin(server, options, name)
  local all = { journal = path }
  for key, value in pairs(options or {}) do all[key] = value end
  return server.client():bulk(name or "associate_default", "contacts", "companies", all)
end

local function counts(summary)
  return { summary.done, summary.failed, summary.unknown, summary.left, summary.skipped }
end

before_each(function()
  path = os.tmpname()
  os.remove(path)
end)

after_each(function() os.remove(path) end)

describe("a journal", function()
  it("has a line for each input, the first says what job it is of", function()
    local server = bulk_server.new { fails = function(input) return input.from.id == "2" and "bad \"luck\"\n" end }
    local job = begin(server)
    for i = 1, 3 do job:add(pair(i), i == 3 and "row\t3 \195\169" or nil) end
    job:finish()
    assert.same({
      { index = 1, status = "done", job = { call = "associate_default", from = "contacts", to = "companies" } },
      { index = 2, status = "failed" },
      { index = 3, status = "done", tag = "row\t3 \195\169" },
    }, (function()
      local list = lines()
      assert.same({ "bad \"luck\"\n", "api", 2, 207 }, { list[2].error.message, list[2].error.kind, list[2].error.index,
        list[2].error.http_status })
      list[2].error = nil
      return list
    end)())
  end)

  it("is UTF-8, also where an error holds a host's own words", function()
    local journal = assert(journal_module.open(path, JOB))
    local line = journal.line({ index = 2, error = { message = "Schl\252ssel" } }, "failed")
    assert.equal("Schl?ssel", core.decode(line).error.message)
    journal:close()
  end)

  it("is for its owner alone", function()
    begin(bulk_server.new()):run(pairs_of(1))
    local pipe = assert(io.popen("stat -c %a " .. shell.quote(path)))
    assert.equal("600", pipe:read "*l")
    pipe:close()
  end)

  -- Its descriptor would be that of standard output, which is free there.
  it("has nothing of what a program prints that was started without standard output", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write [[
      local client = require "hubspot_assoc".new { access_token = "x", skip_waits = true, transport = function()
        return { status = 204 }
      end }
      local job = client:bulk("archive", "contacts", "companies", { journal = ..., on_outcome = function(outcome)
        print(outcome.index)
        io.stdout:flush()
        io.stderr:write(outcome.index, "\n")
      end })
      for i = 1, 6 do job:add { from = { id = i }, to = { { id = 1 } } } end
      job:finish()
    ]]
    file:close()
    os.execute(("%s %s %s >&- 2>&-"):format(os.getenv "LUA" or "lua5.4", script, shell.quote(path)))
    os.remove(script)
    assert.equal(6, #lines())
  end)

  it("has no token, no answer's body, and no more of an error than is of use", function()
    local server = bulk_server.new { on_request = function()
      return { status = 404, headers = {}, body = "pat-x " .. ("x"):rep(5000) }
    end }
    begin(server):run(pairs_of(3))
    assert.not_matches("pat%-x", read())
    assert.is_true(#read() < 2000, read())
  end)

  it("is written when a request has ended, before finish", function()
    local server = bulk_server.new()
    local job = begin(server, { batch_size = 2 })
    for i = 1, 6 do job:add(pair(i)) end
    assert.is_true(#lines() >= 4)
    job:finish()
    assert.equal(6, #lines())
  end)

  for what, tag_of in pairs {
    ["by index"] = function() end,
    ["by tags that are strings"] = function(i) return "tag \"" .. i .. "\"\\\n" end,
    ["by plain tags"] = function(i) return "row " .. i end,
    ["by tags that are numbers"] = function(i) return 9007199254740000 + 7 * i end,
  } do
    it("leaves out what has an outcome, " .. what, function()
      local server = bulk_server.new { fails = function(input) return input.from.id == "3" and "no" end }
      local job = begin(server)
      for i = 1, 10 do job:add(pair(i), tag_of(i)) end
      job:finish()
      assert.equal(10, #server.order)
      local told = 0
      job = begin(server, { on_outcome = function() told = told + 1 end })
      for i = 1, 12 do job:add(pair(i), tag_of(i)) end
      local summary, errors = job:finish()
      assert.same({ 2, 0, 0, 0, 10 }, counts(summary))
      assert.same({ 12, 1, 0, 2, 12 },
        { summary.added, summary.failed_before, summary.unknown_before, told, #server.order })
      assert.same({ 1, 3, "api", "no" }, { #errors, errors[1].index, errors[1].kind, errors[1].message })
      for _, times in pairs(outcomes_in_journal()) do assert.equal(1, times) end
      assert.equal(12, #lines())
    end)
  end

  it("tells what failed in earlier runs of the inputs that it is given, by their places now", function()
    local server = bulk_server.new { fails = function(input)
      return tonumber(input.from.id) > 2 and "no " .. input.from.id
    end }
    local job = begin(server)
    for i = 1, 5 do job:add(pair(i), "row " .. i) end
    job:finish()
    job = begin(server)
    for i = 4, 1, -1 do job:add(pair(i), "row " .. i) end
    local progress = job:progress()
    assert.same({ 4, 2, 0 }, { progress.skipped, progress.failed_before, progress.left })
    local summary, errors = job:finish()
    assert.same({ 0, 0, 0, 0, 4 }, counts(summary))
    assert.same({ 2, "no 4", 1, "no 3", 2 },
      { #errors, errors[1].message, errors[1].index, errors[2].message, errors[2].index })
    assert.matches("^associate_default contacts %-> companies: .*no 4", tostring(errors[1]))
  end)

  it("tells a hundred errors, of whatever run, and how many inputs failed", function()
    local server = bulk_server.new { fails = function(input)
      return input.from.id % 2 == 0 and "no " .. input.from.id
    end }
    begin(server):run(pairs_of(180)) -- the next one has a failure of its own
    local summary, errors = begin(server):run(pairs_of(182))
    assert.same({ 1, 1, 0, 0, 180 }, counts(summary))
    assert.same({ 90, 91, "no 182", "no 2" }, { summary.failed_before, #errors, errors[1].message, errors[2].message })
    summary, errors = begin(server):run(pairs_of(250))
    assert.same({ 91, 101 }, { summary.failed_before, #errors })
    assert.equal("125 inputs failed (91 of these in earlier runs); an error that inputs share is listed once, and a "
      .. "hundred at most", errors[101].message)
  end)

  it("tells an error that inputs of an earlier run share once", function()
    local server = bulk_server.new { on_request = function(_, n) return n > 1 and status(400) or nil end }
    local options = { batch_size = 50, isolate = false, in_flight = 1 }
    begin(server, options):run(pairs_of(300))
    local summary, errors = begin(server, options):run(pairs_of(300))
    assert.same({ 0, 0, 0, 0, 300 }, counts(summary))
    assert.same({ 250, 400, nil }, { summary.failed_before, errors[1].http_status, errors[1].index })
    assert.matches("^250 inputs failed", errors[#errors].message)
    assert.is_true(#errors <= 6, #errors)
  end)

  it("tells of failures whose errors are damaged, or are not there", function()
    write([[
{"index":1,"status":"failed","job":{"call":"associate_default","from":"contacts","to":"companies"}}
{"index":2,"status":"failed","error":{"kind":"nonsense","message":"?"}}
{"index":3,"status":"unknown","error":{"kind":"api","message":"perhaps","http_status":{},"index":"x"}}
]])
    local summary, errors = begin(bulk_server.new()):run(pairs_of(4))
    assert.same({ 2, 1, 1, 3 }, { summary.failed_before, summary.unknown_before, summary.done, summary.skipped })
    assert.equal("it failed in an earlier run, and the journal does not say why", errors[1].message)
    assert.equal(errors[1].message, errors[2].message)
    assert.same({ 3, "api", 3 }, { #errors, errors[3].kind, errors[3].index })
    assert.is_string(tostring(errors))
  end)

  it("knows tags in any order, and inputs without a tag beside them", function()
    local server = bulk_server.new()
    local job = begin(server)
    for i = 1, 5 do job:add(pair(i), "t" .. i) end
    job:add(pair(6))
    job:finish()
    job = begin(server)
    for i = 5, 1, -1 do job:add(pair(i), "t" .. i) end
    job:add(pair(6))
    job:add(pair(7), "t7")
    assert.same({ 1, 0, 0, 0, 6 }, counts(job:finish()))
  end)

  it("raises where inputs cannot be found in it: with tags or without", function()
    begin(bulk_server.new()):run(pairs_of(2))
    assert.error_matches(function() begin(bulk_server.new()):add(pair(1), "tag") end,
      "bad argument #2 to 'add' %(the inputs in the journal have no tags")
    collectgarbage()
    os.remove(path)
    local job = begin(bulk_server.new())
    job:add(pair(1), "tag")
    job:finish()
    assert.error_matches(function() begin(bulk_server.new()):add(pair(1)) end,
      "bad argument #2 to 'add' %(the inputs in the journal have tags")
    collectgarbage()
  end)

  it("raises for a tag that JSON cannot hold, which the next run could not read", function()
    local job = begin(bulk_server.new())
    assert.error_matches(function() job:add(pair(1), "M\252ller") end,
      "bad argument #2 to 'add' %(with a journal a tag is valid UTF%-8, as JSON is%)")
    job:add(pair(1), "M\195\188ller")
    assert.equal(1, job:finish().done)
    job = begin(bulk_server.new())
    job:add(pair(1), "M\195\188ller")
    assert.equal(1, job:finish().skipped)
  end)

  it("has no line for what was left, or given up: the next run sends it", function()
    local down = true
    local server = bulk_server.new { on_request = function() return down and status(503) or nil end }
    local summary = begin(server, { give_up_after = 30, batch_size = 2 }):run(pairs_of(6))
    assert.is_true(summary.failed > 0)
    assert.equal("", read())
    down = false
    assert.same({ 6, 0, 0, 0, 0 }, counts(begin(server, { batch_size = 2 }):run(pairs_of(6))))
    server = bulk_server.new { on_request = function(_, n) return n == 2 and status(401) or nil end }
    os.remove(path)
    summary = begin(server, { batch_size = 2, in_flight = 1 }):run(pairs_of(6))
    assert.equal(2, summary.done)
    assert.equal(2, #lines())
    assert.same({ 4, 0, 0, 0, 2 }, counts(begin(server, { batch_size = 2 }):run(pairs_of(6))))
  end)

  it("knows whether anything of the job has gone well: then isolating goes on, whatever this run meets", function()
    local is_good
    local server = bulk_server.new { refuses = function() return not is_good and "no such type" end }
    local inputs = pairs_of(100)
    local summary = begin(server):run(inputs)
    assert.same({ 0, 100 }, { summary.done, summary.failed + summary.left })
    assert.is_true(summary.left > 50)
    local n = summary.failed
    summary = begin(server):run(inputs) -- nothing of it is mended
    assert.same({ 0, n }, { summary.done, summary.skipped })
    n = n + summary.failed
    is_good = true
    assert.same({ 100 - n, 0, 0, 0, n }, counts(begin(server):run(inputs)))
    is_good = false
    for i = 1, 100 do inputs[100 + i] = pair(1000 + i) end
    assert.same({ 0, 100, 0, 0, 100 }, counts(begin(server):run(inputs)))
    for _, times in pairs(outcomes_in_journal()) do assert.equal(1, times) end
  end)
end)

describe("a journal that cannot be used ends the job before it begins:", function()
  local function expect(pattern, name)
    local server = bulk_server.new()
    local before = path and io.open(path) and read()
    local job, errors = begin(server, nil, name)
    assert.matches(pattern, tostring(errors))
    assert.equal("config", errors[1].kind)
    local added, why = job:add(pair(1))
    assert.is_nil(added)
    assert.matches(pattern, tostring(why))
    local summary, finish_errors = job:finish()
    assert.same({ 0, 0, 0, 0, 0 }, counts(summary))
    assert.matches(pattern, tostring(finish_errors))
    assert.equal(0, #server.sizes)
    if before then assert.equal(before, read()) end
  end

  it("one of another job", function()
    begin(bulk_server.new()):run(pairs_of(2))
    expect("journal .*: it is of another job: associate_default contacts %-> companies; give each", "archive")
    local _, errors = bulk_server.new().client():bulk("associate_default", "contacts", "deals", { journal = path })
    assert.matches("of another job", tostring(errors))
  end)

  it("a damaged line, which it names", function()
    begin(bulk_server.new()):run(pairs_of(5))
    local whole = read()
    for line, damage in pairs { [2] = "{\"index\":2,\"stat\n", [3] = "\n", [4] = "{\"index\":0,\"status\":\"done\"}\n",
      [5] = "{\"index\":5,\"status\":\"odd\"}\n" } do
      local n = 0
      write((whole:gsub("[^\n]*\n", function(text)
        n = n + 1
        return n == line and damage or text
      end)))
      expect("journal .*: line " .. line .. " is damaged; mend it, or give another path: ")
    end
  end)

  it("a line that is no JSON, however much it looks like one that is done", function()
    begin(bulk_server.new()):run(pairs_of(1))
    local whole = read()
    for _, tag in ipairs { "a\1b", "a\228b", "a\127\128b" } do
      write(whole .. '{"index":2,"tag":"' .. tag .. '","status":"done"}\n')
      expect "journal .*: line 2 is damaged"
    end
  end)

  it("one of another job, of which only names are told", function()
    write '{"index":1,"status":"done","job":{"call":"associate","from":"a\\nb","to":{"x":1}}}\n'
    expect "journal [^\n]*: it is of another job: associate %? %-> %?"
  end)

  it("a file that is no journal, which stays as it is", function()
    for _, text in ipairs { "hello", "hello\n", "{}\n", '{"index":1,"status":"done"}\n', "[1]\n2", "\n", "null" } do
      write(text)
      expect "journal .*: it is no journal of a bulk job; give the path of one, or of no file yet"
    end
  end)

  it("one that another job is using, in this process or another", function()
    local first = begin(bulk_server.new())
    first:add(pair(1))
    expect "journal .*: another job is using it; wait for that one, or give each job its own"
    local report = child.run({}, [[
      local client = require "hubspot_assoc".new { access_token = "x" }
      local _, errors = client:bulk("associate_default", "contacts", "companies", { journal = ... })
      return tostring(errors) ]], path)
    assert.matches("another job is using it", report[1])
    first:finish()
    local second, errors = begin(bulk_server.new())
    assert.is_nil(errors)
    second:finish()
  end)

  it("a path that cannot be had", function()
    path = path .. "/no/such"
    expect "journal .*: No such file or directory; give a path in a folder that is there, "
  end)
end)

describe("a run that was killed", function()
  it("may have left a part of the last line", function()
    begin(bulk_server.new()):run(pairs_of(4))
    local whole = read()
    for cut = 0, #whole do
      write(whole:sub(1, cut))
      local server = bulk_server.new()
      local summary, errors = begin(server):run(pairs_of(4))
      assert.is_nil(errors)
      assert.equal(4, summary.done + summary.skipped)
      assert.equal(4, #lines())
      for i = 1, 4 do assert.equal(1, outcomes_in_journal()[i]) end
    end
    write(whole:sub(1, #whole - 10) .. ("\0"):rep(300)) -- after a power cut
    assert.equal(3, begin(bulk_server.new()):run(pairs_of(4)).skipped)
  end)

  it("may have sent what must not be applied twice: it is unknown, and is not sent again", function()
    for cut = 0, 8 do
      os.remove(path)
      -- A run that ends as it has sent so many requests, and has not seen the answer to the last.
      local server
      server = bulk_server.new { on_request = function(_, n)
        if n == cut + 1 then error("killed", 0) end
      end }
      local job = server.client():bulk("batch_create", "contacts", "companies",
        { journal = path, batch_size = 2, in_flight = 1 })
      local before
      for _, input in ipairs(limits(8)) do
        job:add(input)
        before = before or #server.sizes > cut and read()
      end
      before = before or read()
      job = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      write(before)
      local again, unknown = bulk_server.new(), 0
      local summary = begin(again, { on_outcome = function(outcome)
        if outcome.status == "unknown" then
          unknown = unknown + 1
          assert.is_true(outcome.error.ambiguous)
        end
      end }, "batch_create"):run(limits(8))
      assert.equal(unknown, summary.unknown)
      assert.equal(8, summary.done + summary.unknown + summary.skipped + summary.failed)
      for key in pairs(server.applied) do assert.is_nil(again.applied[key], key) end
      for i = 1, 8 do assert.equal(1, outcomes_in_journal()[i]) end
    end
  end)

  it("says for batch_create what surely was not applied", function()
    local server = bulk_server.new { on_request = function(_, n) return n == 2 and status(401) or nil end }
    local summary = begin(server, { batch_size = 2, in_flight = 1 }, "batch_create"):run(limits(6))
    assert.equal(2, summary.done)
    summary = begin(server, { batch_size = 2 }, "batch_create"):run(limits(6))
    assert.same({ 4, 0, 0, 0, 2 }, counts(summary))
    for _, times in pairs(server.applied) do assert.equal(1, times) end
  end)
end)

describe("a disk that is full", function()
  it("ends the job; nothing is claimed that is not written", function()
    local server = bulk_server.new()
    local told = 0
    local job, errors = server.client():bulk("associate_default", "contacts", "companies",
      { journal = "/dev/full", batch_size = 2, on_outcome = function() told = told + 1 end })
    assert.is_nil(errors)
    local n = 0
    repeat n = n + 1 until not job:add(pair(n)) or n > 100
    assert.is_true(n < 40)
    local summary
    summary, errors = job:finish()
    assert.same({ 0, 0, 0, n, 0 }, counts(summary))
    assert.equal(0, told)
    assert.matches("journal /dev/full: No space left on device; mend that, and begin the job again with this journal: ",
      tostring(errors), 1, true)
  end)

  it("in the middle leaves whole lines, and the next run goes on", function()
    local report = child.run({}, [[
      package.path = "./?.lua;" .. package.path
      local bulk_server = require "spec.support.bulk_server"
      local server = bulk_server.new()
      local job = server.client():bulk("associate_default", "contacts", "companies", { journal = ..., batch_size = 50,
        in_flight = 1 })
      local summary, errors = job:run(bulk_server.pairs(2000))
      return summary.done, summary.left > 0, tostring(errors) ]], path)
    assert.equal("2000", report[1])
    os.remove(path)
    -- A limit on the size of files is as good as a full disk: 8 blocks of 512 bytes or 1 KiB.
    local script = ([[ulimit -f 8; exec "$0" "$@"]])
    local file = os.tmpname()
    local out = assert(io.open(file, "w"))
    out:write(([[
      package.path = "./?.lua;" .. package.path
      local bulk_server = require "spec.support.bulk_server"
      local job = bulk_server.new().client():bulk("associate_default", "contacts", "companies",
        { journal = %q, batch_size = 50, in_flight = 1 })
      local summary, errors = job:run(bulk_server.pairs(2000))
      print(summary.done, summary.left > 0, errors[1].kind, tostring(errors))
    ]]):format(path))
    out:close()
    local pipe = assert(io.popen("sh -c " .. shell.quote(script) .. " " .. os.getenv "LUA" .. " " .. file .. " 2>&1"))
    local text = pipe:read "*a"
    pipe:close()
    os.remove(file)
    local done = tonumber(text:match "^(%d+)\ttrue\tconfig\t")
    assert.is_truthy(done, text)
    assert.matches("File too large", text)
    assert.equal(done, #lines())
    assert.is_true(done > 0 and done < 2000)
    local summary = begin(bulk_server.new()):run(pairs_of(2000))
    assert.same({ 2000 - done, 0, 0, 0, done }, counts(summary))
  end)
end)

it("an input that has an outcome in a journal keeps it, whatever other lines are there, and in which order", function()
  local function known(entries)
    local text = {}
    for i, entry in ipairs(entries) do
      text[i] = ('{"index":%d%s,"status":"%s"%s}\n'):format(entry[1], entry[3] and ',"tag":"' .. entry[3] .. '"' or "",
        entry[2], i == 1 and ',"job":{"call":"associate_default","from":"contacts","to":"companies"}' or "")
    end
    write(table.concat(text))
    local journal, found = assert(journal_module.open(path, JOB)), {}
    for i = 1, 6 do
      found[i] = (journal:look_up(i, entries[1][3] and "row " .. i) or "nothing"):sub(1, 1)
    end
    journal:close()
    return table.concat(found)
  end

  assert.equal("dddddn", known { { 1, "done" }, { 2, "done" }, { 3, "done" }, { 1, "failed" }, { 5, "done" },
    { 4, "done" } })
  assert.equal("nddsdn", known { { 5, "done" }, { 3, "done" }, { 2, "done" }, { 5, "sent" }, { 4, "sent" },
    { 2, "unsent" } })
  assert.equal("dsnnnn", known { { 1, "done", "row 1" }, { 1, "unsent", "row 1" }, { 2, "sent", "row 2" } })
  assert.equal("dnnnnn", known { { 1, "done", "row 1" }, { 1, "sent", "row 1" }, { 2, "unsent", "row 2" } })
end)

it("a journal of many runs stays small in memory where inputs have no tags", function()
  local server = bulk_server.new()
  begin(server):run(pairs_of(20000))
  collectgarbage()
  collectgarbage()
  local before = collectgarbage "count"
  local job = begin(server)
  collectgarbage()
  collectgarbage()
  assert.is_true(collectgarbage "count" - before < 500, collectgarbage "count" - before)
  assert.equal(20000, job:run(pairs_of(20000)).skipped)
  assert.is_true(assoc ~= nil)
end)
