--- One process of the soak: a way of making calls, in rounds, each in a fresh account that is compared with HubSpot's
-- state in the end. Prints a line for soak/run: "figures …" and one for each check, "passed …" or "failed …".
--   soak/worker.lua NAME SECONDS SEED NUMBER

package.path = "./?.lua;" .. package.path
local assoc = require "hubspot_assoc"
local now = require "hubspot_assoc.core".now
local Account = require "soak.account"
local drivers = require "soak.drivers"
local faults = require "soak.faults"
local probe = assert(package.loadlib(os.getenv "BUILD" .. "/support/probe.so", "luaopen_probe"))()
local simulator = require "spec.support.simulator"

local unpack = table.unpack or unpack -- luacheck: ignore
local name, seconds, seed, number = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local ROUND = math.min(10, seconds / 12) -- s
local MOST = 250 -- calls in 10 s that a worker's account allows
local CALL_FAULTS = 35 -- of 1000 calls; the relay has its own

math.randomseed(seed * 1000 + number)
local limiter = name:match "^limiter (%a+)"
local driver = drivers.find(name:match "^%a+")
if not driver then
  print "skipped"
  os.exit(0, true)
end

-- ---- clients ----

local token
local alone = 0 -- how often a limiter could not reach its log in time
local SLOW = 0.5 -- s: by so much limiters widen a window of 10 s for late answers, and by no more (docs/design.md)
local slow, begun = 0, {} -- attempts that took longer; when those under way began

local function new_limiter()
  local place = os.getenv("SOAK_" .. limiter:upper())
  local options = { peers = 2, timeout = 1 }
  function options.on_change(change) alone = alone + (change.shared and 0 or 1) end
  if limiter == "file" then return require "hubspot_assoc.limiter.file".new(place, options) end
  local client = require "spec.support.redis_server".client
  return require "hubspot_assoc.limiter.redis".new(function(timeout)
    return client.connect { host = "127.0.0.1", port = tonumber(place), timeout = timeout }
  end, options)
end

local function watch_attempts(event)
  local key = event.number .. ":" .. (event.first or 1)
  if event.type == "attempt" then
    begun[key] = event.elapsed
  elseif event.type ~= "wait" then
    slow = slow + (event.elapsed - (begun[key] or event.elapsed) > SLOW and 1 or 0)
    begun[key] = nil
  end
end

--- A client as a program has it; all its calls go through the relay.
local function new_client()
  local options = { access_token = function() return token end, timeout = 2, connect_timeout = 2, deadline = 30,
    retry_budget = false, headers = faults.headers(CALL_FAULTS, limiter), limiter = limiter and new_limiter() or nil,
    on_event = limiter and watch_attempts or nil,
    base_url = driver.is_tls and os.getenv "SOAK_HTTPS_URL" or os.getenv "SOAK_URL", ca_file = simulator.ca_file }
  for option, value in pairs(driver.options) do options[option] = value end
  return assoc.new(options)
end

--- One that meets no faults, and blocks.
local function new_clean_client()
  return assoc.new { access_token = token, base_url = simulator.url, rate = false,
    limiter = limiter and new_limiter() or nil }
end

-- ---- what is kept an eye on ----

local samples, descriptors = {}, {}

local function resident()
  local file = assert(io.open "/proc/self/statm")
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4096
end

local function sample()
  collectgarbage()
  collectgarbage()
  probe.trim()
  samples[#samples + 1] = resident()
  descriptors[#descriptors + 1] = probe.descriptors()
end

local function median(list, first, last)
  local sorted = {}
  for i = first, last do sorted[#sorted + 1] = list[i] end
  table.sort(sorted)
  return sorted[math.ceil(#sorted / 2)]
end

-- ---- rounds ----

local sums = { rounds = 0, calls = 0, inputs = 0, done = 0, failed = 0, unknown = 0, late = 0 }
local problems = {}
local first = number * 100000000 + 1

local function begin_round(rounds)
  token = os.getenv("SOAK_TOKEN_" .. (limiter or ""):upper()) or simulator.token()
  if not limiter then
    simulator.control("rate", { token = token, max = MOST, interval_ms = 10000 })
  end
  return Account.new(token, first, not limiter or rounds == 0 and number % 2 == 0)
end

local function end_round(account)
  if not limiter then
    simulator.control("rate", { token = token, max = 1000000, interval_ms = 10000 })
  end
  local client = new_clean_client()
  for _, problem in ipairs(account:check(client)) do problems[#problems + 1] = problem end
  client:close()
  for sum in pairs(sums) do sums[sum] = sums[sum] + (account[sum] or 0) end
  sums.rounds = sums.rounds + 1
  first = account.next
  if not limiter then simulator.control("reset", { token = token }) end
end

local function run_round(client, deadline)
  local account = begin_round(sums.rounds)
  local ends = math.min(now() + ROUND, deadline)
  driver.run(client, function() return now() < ends and account:next_call() or nil end)
  end_round(account)
end

-- ---- the whole ----

local function check(is_good, text, ...)
  print((is_good and "passed " or "failed ") .. text:format(...))
end

local function mib(bytes) return bytes / 1048576 end

local function check_memory()
  local n = #samples
  local half, three = math.ceil(n / 2), math.ceil(n * 3 / 4)
  local before, after = median(samples, half, three), median(samples, math.min(three + 1, n), n)
  sums.memory_half, sums.memory_end = mib(before), mib(after)
  -- A short run is all warming up.
  check(seconds < 120 or after <= before * 1.02 + 262144,
    "memory is flat: %.2f MiB in the third quarter, %.2f in the fourth", mib(before), mib(after))
end

local function print_problems()
  for i = 1, math.min(#problems, 20) do print("told " .. problems[i]:gsub("\n", " ")) end
  check(#problems == 0, "every input has one outcome, and HubSpot agrees (%d do not)", #problems)
end

--- Makes calls in rounds until the time is up; afterwards the client is closed, and nothing holds it.
local function run(deadline)
  local client = new_client()
  local next_round = name == "bulk" and require "soak.bulk".run_round or run_round
  while now() < deadline - 1 do
    next_round(client, deadline, begin_round, end_round)
    sample()
  end
  local stats, pending = client:stats(), client:pending()
  client:close()
  return stats, pending
end

--- What every client leaves behind: loops, loaded libraries.
local function warm_up()
  token = simulator.token()
  local client = new_client()
  client:get_limits("contacts", "companies", { headers = {} })
  client:close()
end

local function main()
  warm_up()
  sample()
  local before, threads = probe.descriptors(), probe.threads()
  local stats, pending = run(now() + seconds)
  print_problems()
  sample() -- by now nothing on the stack holds the client, and its limiter
  check(pending == 0, "nothing is pending (%d)", pending)
  check_memory()
  local after, most = probe.descriptors(), math.max(unpack(descriptors))
  local kept = rawget(_G, "jit") and 1 or 0 -- a trace of LuaJIT's may hold a limiter, and its file
  check(after <= before + kept and most <= before + 16, "descriptors are flat: %d before, %d at most, %d after",
    before, most, after)
  check(probe.threads() <= threads, "no thread is left: %d before, %d after", threads, probe.threads())
  if limiter then
    print(("rate %s %d %d %d %d"):format(limiter, stats.attempts, stats.retries.throttled, slow, alone))
  end
  local retries = 0
  for _, n in pairs(stats.retries) do retries = retries + n end
  print(("figures %d %d %d %d %d %d %d %d %d %d %.2f %.2f %d"):format(sums.rounds, sums.calls, sums.inputs,
    sums.done, sums.failed, sums.unknown, sums.late, stats.attempts, retries, faults.drawn, sums.memory_half,
    sums.memory_end, most))
end

local ok, message = xpcall(main, debug.traceback)
if not ok then print("failed it raised: " .. message:gsub("\n", " ")) end
os.exit(ok and 0 or 1, true)
