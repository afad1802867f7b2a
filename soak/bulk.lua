--- Bulk jobs with journals in the soak: one that creates limits, which must not be applied twice, then one that
-- associates. In most rounds a child process (soak/job.lua) begins them and is killed; who goes on after it must give
-- each input exactly one outcome, counted over the journal and both processes.

local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local Account = require "soak.account"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local bulk = {}

local PAIRS, LABELS = 600, 10

-- ---- what is to be done, the same in both processes ----

--- Runs both jobs of a plan, as far as they come.
-- @param plan { first =, count = of pairs, limits = list of { id =, most = }, create =, associate = paths of journals }
-- @param tell function(job's name, outcome) or nil
-- @return are both done? (A job that has ended early may have asked for no more inputs.)
function bulk.run(client, plan, tell)
  local function options(name, batch_size)
    return { journal = plan[name], batch_size = batch_size, give_up_after = 20, deadline = 15,
      on_outcome = tell and function(outcome) tell(name, outcome) end }
  end
  local i, n = 0, 0
  local create = client:bulk("batch_create", "contacts", "deals", options("create", 2)):run(function()
    i = i + 1
    local limit = plan.limits[i]
    return limit and { category = "USER_DEFINED", typeId = limit.id, maxToObjectIds = limit.most }, limit and limit.id
  end)
  local associate = client:bulk("associate_default", "contacts", "companies", options("associate", 20)):run(function()
    n = n + 1
    local pair = plan.first + n - 1
    return n <= plan.count and Account.pairs_of({ pair })[1] or nil, pair
  end)
  return create.left + associate.left == 0 and i > #plan.limits and n > plan.count
end

-- ---- a round ----

local function path()
  local name = os.tmpname()
  os.remove(name)
  return name
end

--- Labels of the account's own have limits to create.
local function new_limits(token)
  local client, limits = assoc.new { access_token = token, base_url = simulator.url, rate = false }, {}
  for i = 1, LABELS do
    assoc.check(client:create_label("contacts", "deals", { name = "soak_" .. i, label = "Soak " .. i }))
  end
  for _, kind in ipairs(assoc.check(client:get_labels("contacts", "deals"))) do
    if kind.category == "USER_DEFINED" then
      limits[#limits + 1] = { id = kind.typeId, most = math.random(100, 900) }
    end
  end
  client:close()
  return limits
end

--- Begins the jobs in a process that is killed at some moment.
local function begin_and_kill(plan, token)
  local limits = {}
  for i, limit in ipairs(plan.limits) do limits[i] = limit.id .. "=" .. limit.most end
  local words = { os.getenv "LUA", "soak/job.lua", token, plan.create, plan.associate, plan.first, plan.count,
    math.random(1000000), table.concat(limits, ",") }
  for i, word in ipairs(words) do words[i] = shell.quote(word) end
  local pipe = assert(io.popen("echo $$; exec " .. table.concat(words, " ") .. " 2>&1"))
  local pid = pipe:read "*n"
  local seconds = math.random() * (math.random(2) == 1 and 0.5 or 5)
  os.execute(("sleep %.3f; kill -KILL %d 2>/dev/null"):format(seconds, pid))
  local said = pipe:read "*a":gsub("%s+$", "")
  pipe:close()
  return said ~= "" and said or nil
end

--- The last line of each tag in a journal: { status =, error = }.
local function read_journal(name)
  local last, file = {}, io.open(name)
  for line in file and file:lines() or function() end do
    local record = core.decode(line)
    if record then last[tonumber(record.tag)] = record end -- the last line may be cut
  end
  if file then file:close() end
  return last
end

local OUTCOMES = { done = true, failed = true, unknown = true }

--- One outcome for each input: from the journal that was left, or told now.
local function collect(account, plan)
  local outcomes = {}
  for _, name in ipairs { "create", "associate" } do
    outcomes[name] = {}
    for tag, record in pairs(read_journal(plan[name])) do
      if OUTCOMES[record.status] then outcomes[name][tag] = record end
    end
  end
  return outcomes, function(name, outcome)
    if outcomes[name][outcome.tag] then
      account:problem("%s %s: %s after %s", name, outcome.tag, outcome.status, outcomes[name][outcome.tag].status)
    end
    outcomes[name][outcome.tag] = outcome
  end
end

local function count(account, outcome)
  account.inputs = account.inputs + 1
  account[outcome.status] = account[outcome.status] + 1
end

local function judge_pairs(account, plan, outcomes, was_killed)
  for n = plan.first, plan.first + plan.count - 1 do
    local outcome = outcomes[n]
    if not outcome then
      account:problem("associate %d has no outcome", n)
    else
      -- What failed may have been applied by the process that was killed.
      local is_certain = outcome.status == "failed" and not was_killed and not outcome.error.ambiguous
      account:settle(n, outcome.status == "done" and "in" or is_certain and "out" or "either")
      count(account, outcome)
    end
  end
end

local function judge_limits(account, plan, outcomes)
  for _, limit in ipairs(plan.limits) do
    local outcome = outcomes[limit.id]
    if not outcome then
      account:problem("create %d has no outcome", limit.id)
    else
      account.limits[limit.id] = { most = limit.most, call = account.calls, outcome = outcome.status }
      count(account, outcome)
    end
  end
end

--- The journals have to say the same as was told.
local function check_journals(account, plan, outcomes)
  for name, list in pairs(outcomes) do
    local last = read_journal(plan[name])
    for tag, outcome in pairs(list) do
      if not last[tag] or last[tag].status ~= outcome.status then
        account:problem("%s %s: %s, the journal says %s", name, tag, outcome.status,
          last[tag] and last[tag].status or "nothing")
      end
    end
  end
end

--- As soak/worker.lua's.
function bulk.run_round(client, _, begin_round, end_round)
  local account = begin_round(0)
  local plan = { first = account.next, count = #account:new_pairs(PAIRS), limits = new_limits(account.token),
    create = path(), associate = path() }
  local was_killed = math.random(4) > 1
  if was_killed then
    local said = begin_and_kill(plan, account.token)
    if said then account:problem("the child said: %s", said) end
  end
  local outcomes, tell = collect(account, plan)
  local tries = 0
  repeat -- a job may have ended early, and is to be begun again then
    tries = tries + 1
  until bulk.run(client, plan, tell) or tries == 9
  judge_pairs(account, plan, outcomes.associate, was_killed or tries > 1)
  judge_limits(account, plan, outcomes.create)
  check_journals(account, plan, outcomes)
  account.calls = client:stats().calls - (bulk.counted or 0)
  bulk.counted = client:stats().calls
  os.remove(plan.create)
  os.remove(plan.associate)
  end_round(account)
end

return bulk
