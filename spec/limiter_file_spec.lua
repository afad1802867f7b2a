-- limiter.file where something goes wrong: processes that die or stop at any point, files that are not as they were.
-- (What every limiter does: limiter_conformance_spec.lua.)
local assoc = require "hubspot_assoc"
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"
local file = require "hubspot_assoc.limiter.file"
local interrupt = require "spec.support.interrupt"
local rates = require "spec.support.rates"
local simulator = require "spec.support.simulator"
local system = require "system" -- busted needs it too

local check_windows, waits_of, within = rates.check_windows, rates.waits_of, rates.within

local trouble = child.preload(child.shared_object "file_trouble")

local path, clock, changes

before_each(function()
  path = os.tmpname()
  os.remove(path)
  clock = { now = 1000 }
  changes = {}
end)
after_each(function() os.remove(path) end)

local function new(requests, interval, more)
  local options = { requests = requests, interval = interval, now = function() return clock.now end,
    on_change = function(change) changes[#changes + 1] = change end }
  for name, value in pairs(more or {}) do options[name] = value end
  return file.new(path, options)
end

local function contents()
  local input = assert(io.open(path, "rb"))
  local text = input:read "*a"
  input:close()
  return text
end

local function write(text)
  local output = assert(io.open(path, "wb"))
  output:write(text)
  output:close()
end

local function message_of(limiter)
  local ok, text = pcall(limiter.reserve, limiter, 1)
  assert.is_false(ok)
  return text
end

describe("the file of limiter.file", function()
  it("is its owner's, and small, however many requests it has seen", function()
    local limiter = new(1000, 1)
    waits_of(limiter, 20000)
    assert.equal(320 + 16384 * 32, #contents())
    local pipe = io.popen("ls -l " .. path)
    assert.matches("^%-rw%-%-%-%-%-%-%-", pipe:read "*a")
    pipe:close()
  end)

  it("keeps to the window also when its oldest entries are overwritten", function()
    local limiter, times = new(20000, 1), {}
    for i = 1, 34000 do times[i] = clock.now + limiter:reserve(1) end
    check_windows(times, 20000, 1)
    within(1, 1.1, times[34000] - times[1])
  end)

  it("is opened when it is first used, where it was meant to be", function()
    local name = path:match "[^/]+$" -- others may run this spec in the same folder
    local lines = child.run({}, [[
      local file = require "hubspot_assoc.limiter.file"
      local core = require "hubspot_assoc.core"
      local name = ...
      local limiter = file.new(name)
      if core.open_file("/dev/null"):is_at "/dev/null" then limiter:reserve(1) end
      return core.absolute_path(name), core.absolute_path("/x")]], name)
    assert.matches("^/.*/" .. name .. "$", lines[1])
    assert.equal("/x", lines[2])
    assert.is_truthy(io.open(lines[1]))
    os.remove(lines[1])
  end)

  it("has one rate for each prefix", function()
    local one, other = new(2, 1, { prefix = "one/:" }), new(2, 1, { prefix = "other" })
    waits_of(one, 4)
    assert.equal(0, waits_of(other, 2)[2])
    for _, suffix in ipairs { ".one%2F%3A", ".other" } do assert(os.remove(path .. suffix)) end
  end)

  it("that cannot be used is the call's error, which names it", function()
    for _, row in ipairs { { "/nonexistent/folder/rate", "No such file or directory" }, { "/tmp", "Is a directory" },
      { "/dev/full", "not a limiter's file" }, { "/dev/null", "does not keep what is written" } } do
      local client = assoc.new { base_url = simulator.url, access_token = "pat-x", limiter = file.new(row[1]) }
      local _, errors = client:get_limits("contacts", "companies")
      assert.same({ "config", 0 }, { errors[1].kind, errors[1].attempts })
      assert.matches("the limiter failed: " .. row[1], errors[1].message, 1, true)
      assert.matches(row[2], errors[1].message, 1, true)
    end
  end)

  it("that is somebody else's is left alone", function()
    for _, text in ipairs { "important\n", ("x"):rep(5000), "hubspot_assoc limiter 2 0 1\n" } do
      write(text)
      local message = message_of(new(5, 1))
      assert.matches(path .. ": ", message, 1, true)
      assert.equal(text, contents())
    end
    assert.matches("another version of hubspot_assoc uses this file (2, not 1)", message_of(new(5, 1)), 1, true)
  end)

  it("whose times lie ahead has another clock, and is left alone", function()
    waits_of(new(5, 1), 5)
    clock.now = 900
    assert.matches("do not share it between time namespaces", message_of(new(5, 1)), 1, true)
  end)

  it("is not harmed by a test whose clock is put forward", function()
    local lines = child.run({}, [[
      local assoc = require "hubspot_assoc"
      local core = require "hubspot_assoc.core"
      local limiter = require "hubspot_assoc.limiter.file".new(..., { requests = 1, interval = 20 })
      local client = assoc.new { access_token = "pat-x", limiter = limiter, skip_waits = true, transport = function()
        return { status = 200, body = '{"results":[]}' }
      end }
      for _ = 1, 3 do assoc.check(client:get_limits("a", "b")) end
      return core.now() - core.common_now() > 30]], path)
    assert.equal("true", lines[1])
    assert.is_true(file.new(path, { requests = 1, interval = 20 }):reserve(1) > 30)
  end)

  it("of the time before the machine was started again holds up nobody for longer than a window", function()
    local open = io.open
    finally(function() io.open = open end) -- luacheck: ignore
    waits_of(new(5, 1), 50)
    local before = contents()
    io.open = function(name, ...) -- luacheck: ignore
      if name ~= "/proc/sys/kernel/random/boot_id" then return open(name, ...) end
      return { read = function() return "11111111-2222-3333-4444-555555555555" end, close = function() end }
    end
    for _, uptime in ipairs { 0.2, 3, 5000 } do
      clock.now = uptime
      local waits = waits_of(new(5, 1), 6)
      within(math.max(1.02 - uptime, 0), math.max(1.05 - uptime, 0), waits[5])
      within(1, 2.1, waits[6])
      write(before)
    end
  end)
end)

describe("a damaged file of limiter.file", function()
  it("holds up all for a window, whatever has become of it, and is told", function()
    waits_of(new(5, 1), 30)
    clock.now = clock.now + 0.9
    local whole = contents()
    local n = 0
    for place = 0, #whole - 1, 13 do
      for _, text in ipairs { whole:sub(1, place), whole:sub(1, place) .. ("\0"):rep(#whole - place),
        whole:sub(1, place) .. "#" .. whole:sub(place + 2) } do
        write(text)
        changes = {}
        local ok, wait = pcall(new(5, 1).reserve, new(5, 1), 1)
        if ok and place > 0 then
          assert.is_true(wait > 0.05, place)
          local is_told = #changes > 0
          assert.is_true(not is_told or wait >= 1)
          n = n + (is_told and 1 or 0)
          if is_told then assert.matches("was damaged", changes[1].reason) end
        elseif place > 0 then
          assert.matches("not a limiter's file", wait)
          assert.is_true(place < 22)
        end
      end
    end
    assert.is_true(n > 30)
  end)

  it("goes on afterwards with the whole rate", function()
    local limiter = new(5, 1)
    waits_of(limiter, 5)
    write(contents():sub(1, 400))
    within(1, 1.1, limiter:reserve(1))
    clock.now = clock.now + 5
    assert.equal(0, waits_of(limiter, 5)[5])
    within(1, 1.1, limiter:reserve(1))
    assert.equal(1, #changes)
  end)

  for name, lose in pairs {
    emptied = function() write "" end,
    removed = function() os.remove(path) end,
    replaced = function()
      os.rename(path, path .. ".old")
      new(5, 1):reserve(1)
      os.remove(path .. ".old")
    end,
  } do
    it("that was " .. name .. " holds up those who knew it, and all with them, for a window", function()
      local limiters, times = { new(5, 1), new(5, 1) }, {}
      for i = 1, 5 do times[i] = clock.now + limiters[i % 2 + 1]:reserve(1) end
      clock.now = clock.now + 0.3
      lose()
      for i = 1, 10 do
        if i == 5 then clock.now = clock.now + 0.5 end
        times[#times + 1] = clock.now + limiters[i % 2 + 1]:reserve(1)
      end
      check_windows(times, name == "replaced" and 6 or 5, 1, name)
      within(2, 3.2, times[#times] - times[1])
      clock.now = clock.now + 5
      assert.equal(0, waits_of(limiters[1], 5)[5])
    end)
  end
end)

-- ---- processes that die or stop ----

-- Reserves so many of 5 in 2 s, and prints when each is to be sent. Its clock stands still, as this process's does: who
-- is held up between a reservation and a look at the clock would tell another time than that in the log.
local PROCESS = [[
  local file = require "hubspot_assoc.limiter.file"
  local path, n = ...
  local limiter = file.new(path, { requests = 5, interval = 2, now = function() return 1000 end })
  for _ = 1, n do
    io.write(("%.6f\n"):format(1000 + limiter:reserve(1)))
    io.flush()
  end
  limiter:observe { max = 5, remaining = 3, interval_ms = 2000, late = 0.1, age = 0.1 }
  print "done"]]

local function run(what, n)
  return child.run({ LD_PRELOAD = trouble, FILE_TROUBLE = what }, PROCESS, path, n)
end

local function add_times(times, lines)
  for _, line in ipairs(lines) do times[#times + 1] = tonumber(line) end
end

describe("a process that is killed", function()
  for _, what in ipairs { "K", "W" } do
    it(what == "K" and "between any two steps harms nobody" or "in the middle of a write harms nobody", function()
      local killed, lines = 0, nil
      for n = 1, 30 do
        os.remove(path)
        local times = {}
        lines = run(("%d,%s"):format(n, what), 2)
        if lines[#lines] ~= "done" then killed = killed + 1 end
        add_times(times, lines)
        -- Its last reservation may be in the log though it was not told.
        local limiter = new(5, 2)
        for _ = 1, 12 do times[#times + 1] = clock.now + limiter:reserve(1) end
        check_windows(times, 5, 2, "killed before step " .. n)
        assert.is_true(times[#times] - clock.now < 9, "it took a place for ever, before step " .. n)
        if what == "K" then
          assert.same({}, changes) -- nothing was damaged
        else
          for _, change in ipairs(changes) do assert.matches("was damaged", change.reason) end
        end
      end
      assert.is_true(killed > 5 and lines[#lines] == "done", killed .. " were killed")
    end)
  end
end)

describe("an error at any instruction", function()
  it("leaves neither the lock nor a damaged file behind", function()
    local n, times = 0, {}
    local other = new(5, 1)
    repeat
      n = n + 7
      local limiter = new(5, 1)
      limiter:reserve(1)
      local has_raised = interrupt(n, function()
        times[#times + 1] = clock.now + limiter:reserve(1)
      end, { within = "lua/hubspot_assoc/limiter" })
      times[#times + 1] = clock.now + other:reserve(1)
      clock.now = times[#times]
    until not has_raised
    assert.is_true(n > 100, n)
    assert.same({}, changes)
    check_windows(times, 5, 1)
  end)
end)

describe("a process that has to stand back while it has the lock", function()
  it("keeps the others waiting, not on their own", function()
    local flag, rounds = path .. ".held", 0
    repeat -- a very busy machine may have it stand back for longer than they wait
      rounds, changes = rounds + 1, {}
      local limiter = new(50, 1)
      limiter:reserve(1)
      local collect = child.start({}, [[
        local path, flag = ...
        local held = assert(require "hubspot_assoc.core".open_file(path))
        assert(held:lock())
        assert(io.open(flag, "w")):close()
        require "system".sleep(0.2)
        held:close() ]], path, flag)
      local input
      repeat
        system.sleep(0.002)
        input = io.open(flag)
      until input
      input:close()
      limiter:reserve(1)
      assert.equal("0", collect().status)
      os.remove(flag)
    until #changes == 0 or rounds == 10
    assert.same({}, changes)
  end)
end)

describe("a process that is stopped with the lock", function()
  it("leaves the others their part of the rate, without delay, until it goes on", function()
    local times, pid_path = {}, path .. ".pid"
    local tell_pid = ([[
      local pid, out = io.open("/proc/self/stat"):read "*n", io.open(%q, "w")
      out:write(("%%d"):format(pid))
      out:close() ]]):format(pid_path)
    local collect = child.start({ LD_PRELOAD = trouble, FILE_TROUBLE = "8,S" }, tell_pid .. PROCESS, path, 3)
    local limiter = new(8, 2, { peers = 4, timeout = 1 })
    local pid
    repeat -- until it stands still
      system.sleep(0.02)
      local input = io.open(pid_path)
      pid = input and input:read "*n"
      if input then input:close() end
      local stat = pid and io.open(("/proc/%d/stat"):format(pid))
      local state = stat and stat:read("*a"):match "%) (%a)"
      if stat then stat:close() end
    until state == "T"
    local before = core.now()
    for i = 1, 6 do times[i] = clock.now + limiter:reserve(1) end
    assert.is_true(core.now() - before < 4, "they waited for the lock each time")
    assert.equal(1, #changes)
    assert.is_false(changes[1].shared)
    assert.matches("lock is held", changes[1].reason)
    check_windows(times, 2, 2)
    os.execute(("kill -CONT %d"):format(pid))
    local lines = collect()
    os.remove(pid_path)
    assert.equal("done", lines[#lines])
    times[#times + 1] = clock.now + limiter:reserve(1)
    assert.same({ true, "it can be reached again" }, { changes[2].shared, changes[2].reason })
    -- It knows what was sent meanwhile.
    for _ = 1, 8 do times[#times + 1] = clock.now + limiter:reserve(1) end
    check_windows(times, 8, 2)
  end)
end)

describe("a full disk", function()
  it("is the call's error, and passes", function()
    local lines = run("1,F", 1)
    assert.matches(path .. ": No space left on device; nothing is sent until", table.concat(lines, " "), 1, true)
    lines = run("9,F", 5)
    assert.matches(path .. ": No space left on device; nothing is sent until", table.concat(lines, " "), 1, true)
    local times = {}
    add_times(times, lines)
    assert.is_true(#times > 0)
    lines = run("0,", 8)
    assert.equal("done", lines[#lines])
    add_times(times, lines)
    check_windows(times, 5, 2)
  end)
end)

describe("a process that forks", function()
  local forker = assert(package.loadlib(child.shared_object "forker", "luaopen_forker"))()

  it("shares the rate with its child, and does not hold its lock", function()
    local limiter = new(6, 30, { timeout = 5 })
    waits_of(limiter, 2)
    io.stdout:flush()
    local pid = forker.fork()
    if pid == 0 then
      local ok, waits = pcall(waits_of, limiter, 2)
      forker.exit(ok and waits[2] == 0 and 0 or 1)
    end
    assert.equal(0, waits_of(limiter, 2)[2])
    assert.equal(0, forker.wait(pid))
    assert.is_true(limiter:reserve(1, 0) > 10)
  end)
end)

describe("four processes that share a file", function()
  it("reserve each place once, and all of them, whoever comes when", function()
    local collect = {}
    for i = 1, 4 do
      collect[i] = child.start({}, [[
        local file = require "hubspot_assoc.limiter.file"
        local changes = 0
        local limiter = file.new(..., { requests = 50, interval = 1, timeout = 10, -- a busy machine's
          on_change = function() changes = changes + 1 end })
        for _ = 1, 500 do limiter:reserve(1) end
        return changes]], path)
    end
    for i = 1, 4 do assert.equal("0", collect[i]()[1]) end
    local times, numbers = {}, {}
    for number, at in contents():gmatch "(%d+) (%d+)\n" do
      if #number == 14 then
        times[#times + 1] = at / 1e6
        numbers[tonumber(number)] = true
      end
    end
    within(2000, 2050, #times) -- who was held up for too long has taken another place
    assert.is_true(numbers[1] and numbers[#times])
    table.sort(times)
    check_windows(times, 50, 1.02 - 1e-5)
    within(0, 1.03 * #times / 50, times[#times] - times[1])
  end)

  it("keep to the rate together", function()
    local token = simulator.token()
    simulator.control("rate", { token = token, max = 20, interval_ms = 1000 })
    local collect, since = {}, system.gettime()
    for i = 1, 4 do
      collect[i] = child.start({}, [[
        local assoc = require "hubspot_assoc"
        local file = require "hubspot_assoc.limiter.file"
        local url, token, path = ...
        local limiter = file.new(path, { requests = 20, interval = 1.2, timeout = 10 }) -- a busy machine's
        local client = assoc.new { base_url = url, access_token = token, limiter = limiter }
        local good = 0
        for _ = 1, 20 do
          client.async:get_limits("contacts", "companies"):on_done(function(results)
            good = good + (results and 1 or 0)
          end)
        end
        client:drain()
        return good]], simulator.url, token, path)
    end
    for i = 1, 4 do assert.equal("20", collect[i]()[1]) end
    local log = simulator.log(token)
    assert.equal(80, #log - simulator.refused(log))
    rates.check_log(log, since, 20, 1.2)
    assert.is_true(log[#log].time - log[1].time < 20)
  end)
end)

describe("wrong arguments of limiter.file", function()
  it("raise and name the place", function()
    for _, row in ipairs {
      { nil, nil, "bad argument #1 to 'new' (a path expected)" }, { "", nil, "a path expected" },
      { "a\0b", nil, "a path expected" }, { "x", { requests = 0 }, "options.requests: integer from 1 to 1000000" },
      { "x", { peers = 1.5 }, "options.peers" }, { "x", { release = print }, "options.release: unknown option" },
      { "x", 5, "bad argument #2 to 'new' (options: table expected, got number)" },
    } do
      local ok, text = pcall(function()
        local limiter = file.new(row[1], row[2])
        return limiter
      end)
      assert.is_false(ok)
      assert.matches("^spec/limiter_file_spec.lua:%d+: ", text)
      assert.matches(row[3], text, 1, true)
    end
  end)

  it("of reserve, too", function()
    local ok, text = pcall(function()
      local wait = new(3, 1):reserve(4)
      return wait
    end)
    assert.is_false(ok)
    assert.matches("^spec/limiter_file_spec.lua:%d+: bad argument #1 to 'reserve' %(integer from 1 to the rate's 3 ",
      text)
  end)
end)
