-- What torture/host.c has something fail in. Each scenario is a function that raises what it finds unsound: whatever failed, a
-- call ends in results or errors, nothing is pending afterwards, every on_done function is called once, and the next call
-- of the same client is good. The simulator's account is each process's own.
local host = require "host"

local URL = assert(os.getenv "SIMULATOR_URL", "run by `make torture`")
local TOKEN = "pat-torture-" .. os.tmpname():gsub(".*/lua_", "")
os.remove(("/tmp/lua_%s"):format(TOKEN:sub(#"pat-torture-" + 1)))

local LIMIT = { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = 50 }
local UNKNOWN = { category = "HUBSPOT_DEFINED", typeId = 9999, maxToObjectIds = 5 }
local KINDS = { api = true, throttled = true, timeout = true, transport = true, protocol = true, canceled = true,
  config = true, pending = true }

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
  local outcome = table.pack(host.with_fault(fn, client))
  check_raised(outcome[1], outcome[2])
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
    return client:get_limits("contacts", "companies", { headers = { ["X-Simulator-Fault"] = "close" }, max_attempts = 1 })
  end },
  retry = { function(client)
    return client:get_limits("contacts", "companies", { headers = { ["X-Simulator-Fault"] = "status=503; times=1; retry_after=0" } })
  end },
  fresh_token = { function(client)
    return client:get_limits("contacts", "companies", { headers = { ["X-Simulator-Fault"] = "status=401; times=1" } })
  end, { access_token = function() return TOKEN end } },
  timeout = { function(client)
    return client:get_limits("contacts", "companies",
      { headers = { ["X-Simulator-Fault"] = "delay=5" }, timeout = 0.05, max_attempts = 1 })
  end },
}

for name, row in pairs(ordinary) do
  scenarios[name] = function()
    local client = new_client(row[2])
    client:get_limits("contacts", "companies") -- what is tried is a client in use
    try(client, row[1])
  end
end

-- ---- asynchronous ones ----

local function try_futures(options, fn)
  local client = new_client(options)
  client.async:get_limits("contacts", "companies"):wait()
  local futures, calls = {}, {}
  local function begin()
    local i = #futures + 1
    local future = client.async:get_limits("contacts", "companies")
    futures[i], calls[i] = future, 0
    future:on_done(function(results, errors)
      calls[i] = calls[i] + 1
      check_outcome(results, errors)
    end)
  end
  check_raised(host.with_fault(fn, client, begin, futures))
  pcall(client.step, client)
  client:drain(25)
  for i = 1, #futures do
    assert(futures[i]:done(), "a future is not done")
    check_outcome(futures[i]:wait())
    -- An on_done that was never taken is not called; one that was is called once.
    assert(calls[i] <= 1, "an on_done function was called twice")
  end
  check_later(client)
end

function scenarios.async()
  try_futures(nil, function(client, begin)
    for _ = 1, 3 do begin() end
    client:drain(20)
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

return scenarios
