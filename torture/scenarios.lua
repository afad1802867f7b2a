-- What torture/host.c has something fail in. Each scenario is a function that raises what it finds unsound: whatever
-- failed, a call ends in results or errors, nothing is pending afterwards, every on_done function is called once, and
-- the next call of the same client is good. The simulator's account is each process's own.
local host = require "host"

local jit = rawget(_G, "jit")
if jit then jit.off() end -- LuaJIT crashes where memory runs out in code that it has compiled
local function pack(...) return { n = select("#", ...), ... } end

local URL = assert(os.getenv "SIMULATOR_URL", "run by `make torture`")
local TOKEN = "pat-torture-" .. os.tmpname():gsub(".*/lua_", "")
os.remove(("/tmp/lua_%s"):format(TOKEN:sub(#"pat-torture-" + 1)))

local LIMIT = { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 50 }
local UNKNOWN = { category = "HUBSPOT_DEFINED", typeId = 9999, maxToObjectIds = 5 }
local KINDS = { api = true, throttled = true, timeout = true, transport = true, protocol = true, canceled = true,
  config = true, pending = true }

--- A function of the user's: what it does can be interrupted, too. (What fails in this file is nobody's.)
local function work(code)
  local text = ("local TOKEN = %q local x = 0 for i = 1, 2 do x = x + i end %s"):format(TOKEN, code)
  return assert((loadstring or load)(text, "@torture/asked")) -- luacheck: ignore
end

local assoc -- loaded by each scenario before things fail

local function new_client(options)
  assoc = require "hubspot_assoc"
  local all = { access_token = TOKEN, base_url = URL, rate = false, deadline = 20 }
  for name, value in pairs(options or {}) do all[name] = value end
  return assoc.new(all)
end

-- ---- what must hold ----

local function check_outcome(results, errors)
  assert(results ~= nil or errors ~= nil, "a call returned neither results nor errors")
  if errors then
    assert(#errors > 0 and KINDS[errors[1].kind], "an error of no kind: " .. tostring(errors))
    assert(type(errors[1].message) == "string" and #tostring(errors) > 0, "an error without a message")
  end
end

--- What was raised while things failed: memory, the host's interruption, or what asks for them.
local function check_raised(ok, message)
  if ok then return end
  message = tostring(message)
  assert(message:find("memory", 1, true) or message:find("interrupted by the host", 1, true)
    or message:find("cannot be", 1, true), "raised: " .. message)
end

local function check_later(client)
  assert(client:pending() == 0, "calls are pending")
  local limits, errors = client:get_limits("contacts", "companies")
  assert(limits and #limits > 0, "a later call fails: " .. tostring(errors))
  client:close()
  assert(client:pending() == 0, "calls are pending after close")
end

--- Runs fn(client) while things fail, then looks.
local function try(client, fn)
  local outcome = pack(host.with_fault(fn, client))
  check_raised(outcome[1], outcome[2])
  assert(not outcome[1] or not host.has_interrupted_asked(), "an interruption has become a call's error")
  pcall(client.step, client) -- raises what was interrupted
  client:drain(25)
  if outcome[1] then check_outcome(outcome[2], outcome[3]) end
  check_later(client)
end

local scenarios = {}

-- ---- ordinary calls ----

local ordinary = {
  ok = { function(client) return client:get_limits("contacts", "companies") end },
  cold = { function() return new_client():get_limits("contacts", "companies") end },
  partial = { function(client) return client:batch_update("contacts", "companies", { LIMIT, UNKNOWN }) end },
  split = { function(client)
    return client:batch_update("contacts", "companies", { LIMIT, UNKNOWN, LIMIT }, { batch_size = 1 })
  end },
  refused = { function(client) return client:get_limits("nonsense", "companies") end },
  no_answer = { function(client)
    return client:get_limits("contacts", "companies",
      { headers = { ["X-Simulator-Fault"] = "close" }, max_attempts = 1 })
  end },
  retry = { function(client)
    return client:get_limits("contacts", "companies",
      { headers = { ["X-Simulator-Fault"] = "status=503; times=1; retry_after=0" } })
  end },
  throttled = { function(client)
    return client:get_limits("contacts", "companies",
      { headers = { ["X-Simulator-Fault"] = "status=429; times=1; retry_after=0" } })
  end },
  fresh_token = { function(client)
    return client:get_limits("contacts", "companies", { headers = { ["X-Simulator-Fault"] = "status=401; times=1" } })
  end, { access_token = function() return TOKEN end } },
  timeout = { function(client)
    return client:get_limits("contacts", "companies",
      { headers = { ["X-Simulator-Fault"] = "delay=5" }, timeout = 0.05, max_attempts = 1 })
  end },
  transport = { function(client) return client:get_limits("contacts", "companies") end,
    { transport = work([[return { status = 200, body = '{"results":[{"typeId":279}]}' }]]) } },
  asked = { function(client) return client:get_limits("contacts", "companies") end,
    { access_token = work "return TOKEN", headers = work "return {}", on_event = work "",
      limiter = { reserve = work "return 0", observe = work "" } } },
}

for name, row in pairs(ordinary) do
  scenarios[name] = function()
    local client = new_client(row[2])
    client:get_limits("contacts", "companies") -- what is tried is a client in use
    try(client, row[1])
  end
end

-- ---- asynchronous ones ----

local function get_limits(client)
  return client.async:get_limits("contacts", "companies")
end

local function try_futures(options, fn, call, check)
  call, check = call or get_limits, check or check_outcome
  local client = new_client(options)
  client.async:get_limits("contacts", "companies"):wait()
  local futures, calls, has_function = {}, {}, {}
  local function begin()
    local i = #futures + 1
    local future = call(client)
    futures[i], calls[i] = future, 0
    future:on_done(function(results, errors)
      calls[i] = calls[i] + 1
      check_outcome(results, errors)
    end)
    has_function[i] = true
  end
  check_raised(host.with_fault(fn, client, begin, futures))
  pcall(client.step, client)
  client:drain(25)
  for i = 1, #futures do
    assert(futures[i]:done(), "a future is not done")
    check(futures[i]:wait())
    assert(calls[i] == 1 or calls[i] == 0 and not has_function[i], "an on_done function was called " .. calls[i] .. " times")
  end
  check_later(client)
end

function scenarios.async()
  try_futures(nil, function(client, begin)
    for _ = 1, 3 do begin() end
    client:drain(20)
  end)
end

--- A step that is made again when memory is back adds nothing twice.
function scenarios.async_partial()
  try_futures({ io_thread = false }, function(client, begin)
    begin()
    client:drain(20)
  end, function(client)
    return client.async:batch_update("contacts", "companies", { LIMIT, UNKNOWN })
  end, function(results, errors)
    check_outcome(results, errors)
    assert(not results or #results == 1 and #errors == 1, "something is there twice, or missing")
  end)
end

function scenarios.stepped()
  try_futures({ io_thread = false }, function(client, begin)
    for _ = 1, 3 do begin() end
    client:drain(20)
  end)
end

function scenarios.cancel()
  try_futures(nil, function(client, begin, futures)
    for _ = 1, 3 do begin() end
    futures[2]:cancel()
    futures[1]:wait()
    client:step(1)
  end)
end

function scenarios.close()
  local client = new_client()
  client:get_limits("contacts", "companies")
  local futures = {}
  check_raised(host.with_fault(function()
    for i = 1, 3 do futures[i] = client.async:get_limits("contacts", "companies") end
    client:close()
  end))
  pcall(client.close, client)
  pcall(client.step, client)
  client:drain(25)
  assert(client:pending() == 0, "calls are pending")
  for i = 1, #futures do check_outcome(futures[i]:wait()) end
  check_later(new_client())
end

function scenarios.fork()
  local client = new_client()
  local future = client.async:get_limits("contacts", "companies")
  future:wait()
  check_raised(host.with_fault(function()
    client.async:get_limits("contacts", "companies")
    local status = host.in_child(function()
      client:get_limits("contacts", "companies")
      return true
    end)
    assert(status < 1000 and status ~= 0 or status == 0, "the child crashed: " .. status)
    return client:get_limits("contacts", "companies")
  end))
  pcall(client.step, client)
  client:drain(25)
  check_later(client)
end

--- Two coroutines in an event loop, which ends when nothing is watched any more.
function scenarios.loop()
  local watched = {} -- on_readable -> descriptor
  local function resume(thread)
    if coroutine.status(thread) ~= "suspended" then return false end
    local ok, message = coroutine.resume(thread)
    if not ok then error(message, 0) end
  end
  local client = new_client { access_token = work "return TOKEN", loop = {
    watch = function(fd, on_readable)
      local function look() return on_readable() end
      local function stop() watched[look] = nil end
      watched[look] = fd -- last: an error before this leaves nothing
      return stop
    end,
    suspend = function(start)
      local thread = coroutine.running()
      start(function() return resume(thread) end)
      coroutine.yield()
    end,
  } }
  local function call(options)
    resume(coroutine.create(function()
      check_outcome(client:get_limits("contacts", "companies", options))
    end))
  end
  local function run(most)
    local began = os.time()
    local look = next(watched)
    while look and os.time() - began < most do
      if host.is_readable(watched[look]) then look() end
      look = next(watched, watched[look] and look or nil) or next(watched)
    end
  end
  client:get_limits("contacts", "companies")
  check_raised(host.with_fault(function()
    for _ = 1, 2 do call { deadline = 2 } end -- whose coroutine has died is not known before
    run(25)
  end))
  for _ = 1, 3 do pcall(run, 5) end -- raises what was interrupted
  call() -- if memory was short when the last one ended, nobody has told the loop
  run(10)
  assert(next(watched) == nil, "the event loop does not end")
  client:drain(25)
  check_later(client)
end

--- A limiter whose log is a file.
function scenarios.limiter_file()
  assoc = require "hubspot_assoc"
  local path = os.tmpname()
  local limiter = require "hubspot_assoc.limiter.file".new(path)
  local client = new_client { limiter = limiter, rate = false }
  client:get_limits("contacts", "companies")
  local ok, problem = pcall(try, client, function() return client:get_limits("contacts", "companies") end)
  local waits = limiter:reserve(1)
  os.remove(path)
  assert(ok, problem)
  assert(waits < 1, "the limiter is of no use any more: " .. waits)
end

-- ---- several calls for one ----

local IDS = { "101", "102", "103" }

local function associate(client)
  local inputs = {}
  for i = 1, #IDS do inputs[i] = { from = { id = IDS[i] }, to = { id = "20" .. i } } end
  assert(client:associate_default("contacts", "companies", inputs))
end

local function read_all(client)
  local n, failed = 0, nil
  for _, records, errors in client:read_all("contacts", "companies", IDS, { batch_size = 1, in_flight = 2 }) do
    check_outcome(records, errors)
    n, failed = n + 1, failed or errors
  end
  assert(n == #IDS, n .. " ids were given")
  return not failed or nil, failed
end

local function list_all(client)
  local records = client:list_all("contacts", IDS[1], "companies")
  local n = 0
  for record in records do
    assert(record.toObjectId == "201", "another record")
    n = n + 1
  end
  assert(records.errors or n == 1, n .. " records were given")
  return not records.errors or nil, records.errors
end

for name, iterate in pairs { read_all = read_all, list_all = list_all } do
  scenarios[name] = function()
    local client = new_client()
    associate(client)
    assert(iterate(client))
    try(client, iterate)
    assert(iterate(new_client()), "what is read is another thing afterwards")
  end
end

--- Answers that are too large are asked for again in halves.
function scenarios.halved()
  associate(new_client())
  local client = new_client { max_response_bytes = 450 }
  local function read()
    local results, errors = client:read("contacts", "companies", { { id = IDS[1] }, { id = IDS[2] }, { id = IDS[3] } })
    assert(errors or #results == 3, "results are missing")
    return results, errors
  end
  assert(#assert(read()) == 3)
  try(client, read)
end

function scenarios.labels()
  local client = new_client()
  local function set()
    local types, errors = client:label_types("contacts", "companies")
    if not types then return nil, errors end
    types:of("unlabelled")
    return client:set_limits("contacts", "companies", { unlabelled = 60, Primary = 5 })
  end
  assert(set())
  assert(client:set_limits("contacts", "companies", { unlabelled = 30, Primary = false }))
  try(client, set)
  client = new_client()
  assert(set())
  assert(#set() == 0, "limits that are set are set again")
end

local WANTED = [[
version: 1
unmanaged: remove
pairs:
  - {from: contacts, to: companies, limit: 20, labels: [{label: Buyer, limit: 3}]}
]]

function scenarios.schema()
  local client = new_client()
  local schema = require "hubspot_assoc.schema"
  local wanted, before = assert(schema.parse(WANTED)), assert(schema.parse((WANTED:gsub("Buyer", "Old"))))
  assert(schema.apply(client, assert(schema.plan_for(client, before))))
  local function apply()
    local plan, errors = schema.plan_for(client, wanted)
    if not plan then return nil, errors end
    return schema.apply(client, plan)
  end
  try(client, apply)
  client = new_client()
  assert(apply())
  assert(schema.plan_for(client, wanted).count == 0, "the plan is not carried out")
end

-- ---- whole jobs ----

local function read(path)
  local file, text = io.open(path, "rb"), ""
  if file then
    text = file:read "*a"
    file:close()
  end
  return text
end

--- Killed by whatever failed, a job is begun again with the same journal: each input then has one outcome.
function scenarios.bulk()
  local path = os.tmpname()
  os.remove(path)
  local client = new_client()
  client:bulk("associate_default", "contacts", "companies"):finish() -- loads what there is to load
  local function job()
    local seen = {}
    local run = client:bulk("associate_default", "contacts", "companies",
      { journal = path, batch_size = 2, in_flight = 2, give_up_after = 1,
        on_outcome = function(outcome) seen[outcome.tag] = (seen[outcome.tag] or 0) + 1 end })
    for i = 1, 5 do
      run:add({ from = { id = tostring(100 + i) }, to = { id = tostring(200 + i) } }, "row " .. i)
    end
    local summary, errors = run:finish()
    return summary, errors, seen
  end
  check_raised(host.with_fault(job))
  pcall(client.step, client)
  client:drain(25)
  collectgarbage() -- whose lock it is
  collectgarbage()
  local summary, errors, seen = job()
  local journal = read(path)
  os.remove(path)
  assert(summary and not errors, "the job cannot be begun again: " .. tostring(errors))
  for i = 1, 5 do
    local _, n = journal:gsub(('"tag":"row %d"[^\n]*"status":"done"'):format(i), "")
    if n == 0 then _, n = journal:gsub(('"status":"done"[^\n]*"tag":"row %d"'):format(i), "") end
    assert(n == 1, ("row %d has %d outcomes in the journal:\n%s"):format(i, n, journal))
    assert((seen["row " .. i] or 0) <= 1, "an outcome was told twice")
  end
  check_later(client)
end

function scenarios.oauth()
  assoc = require "hubspot_assoc"
  local id = TOKEN:gsub("^pat%-", "app-simulator-")
  local oauth = assoc.oauth { client_id = id, client_secret = "simulator-secret", refresh_token = "simulator-" .. id,
    base_url = URL, deadline = 20 }
  local client = new_client { access_token = oauth }
  try(client, function() return client:get_limits("contacts", "companies") end)
end

--- on_refresh is called, and a refresh that was interrupted gone on with.
function scenarios.refresh()
  assoc = require "hubspot_assoc"
  local n = 0
  local oauth = assoc.oauth { client_id = "id", client_secret = "secret", refresh_token = work "return 'old'",
    on_refresh = work "", transport = function()
      n = n + 1
      return { status = 200, body = ('{"access_token":"%s","refresh_token":"new","expires_in":1800}'):format(TOKEN) }
    end }
  local client = new_client { access_token = oauth }
  try(client, function() return client:get_limits("contacts", "companies") end)
  assert(n >= 1, "a token out of nowhere")
end

return scenarios
