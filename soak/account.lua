--- An account in a round of the soak: what calls it is asked for, what came of each input, and whether HubSpot's state
-- agrees with that in the end.
--
-- Contact n is associated with company n, each n once. What is known of n: "in", "out", "either" (the error was
-- ambiguous), "busy" (a call about it is under way). Limits are created in places of which each is used once.
-- Each call names itself to HubSpot, in whose log it is found again (soak/history.lua).

local history = require "soak.history"
local simulator = require "spec.support.simulator"

local Account = {}
Account.__index = Account

-- Unlabelled types that have no limit in a fresh account.
local PLACES = { { "contacts", "contacts", 449 }, { "contacts", "deals", 4 }, { "contacts", "tickets", 15 },
  { "companies", "companies", 450 }, { "companies", "deals", 342 }, { "companies", "tickets", 340 },
  { "deals", "companies", 341 }, { "deals", "deals", 451 }, { "deals", "tickets", 27 }, { "tickets", "contacts", 16 },
  { "tickets", "companies", 339 }, { "tickets", "deals", 28 }, { "tickets", "tickets", 452 } }

--- @param token whose account it is
-- @param first n of the first pair
-- @param places may limits be created in it, too?
function Account.new(token, first, places)
  local account = { token = token, next = first, states = {}, told = {}, known = {}, places = {}, limits = {},
    problems = {}, calls = 0, inputs = 0, done = 0, failed = 0, unknown = 0, late = 0,
    log_begins = simulator.log(token, math.maxinteger or 2 ^ 52).count }
  for i, place in ipairs(places and PLACES or {}) do account.places[i] = place end
  return setmetatable(account, Account)
end

function Account:problem(text, ...)
  self.problems[#self.problems + 1] = text:format(...)
end

-- ---- inputs and their outcomes ----

function Account.contact(n) return ("%d"):format(n) end
function Account.company(n) return ("%d"):format(n + 5000000000) end

--- A call is to put a pair in, or to take it out.
function Account:ask(n, makes)
  self.states[n] = "busy"
  self.told[n] = self.told[n] or {}
  table.insert(self.told[n], { call = self.calls, makes = makes })
end

function Account:new_pairs(count)
  local list = {}
  for i = 1, count do
    list[i] = self.next
    self:ask(self.next, "in")
    self.next = self.next + 1
  end
  return list
end

--- Takes up to so many pairs that are known to be there: any, or the latest, about which requests that were given up
-- may still be on their way.
function Account:take_known(count)
  local list, among = {}, math.random(2) == 1 and 40 or math.huge
  while #list < count and self.known[1] do
    list[#list + 1] = table.remove(self.known, #self.known + 1 - math.random(math.min(#self.known, among)))
  end
  return list
end

function Account:put_back(list)
  for _, n in ipairs(list) do self.known[#self.known + 1] = n end
end

--- What became of a pair. Each busy one is told of once.
function Account:settle(n, state)
  if self.states[n] ~= "busy" then
    self:problem("pair %d has a second outcome: %s, then %s", n, tostring(self.states[n]), state)
  end
  self.states[n] = state
  local word = self.told[n][#self.told[n]]
  word.outcome = state == "either" and "unknown" or state == word.makes and "done" or "failed"
  if state == "in" then self.known[#self.known + 1] = n end
end

--- Counts an outcome: true, or the error.
function Account:count(outcome)
  local name = outcome == true and "done" or outcome.ambiguous and "unknown" or "failed"
  self[name] = self[name] + 1
end

--- What came for each of n inputs: a list of true, or the input's error.
function Account:outcomes(n, results, errors, promises_results)
  local list = {}
  local function set(place, outcome)
    if list[place] or place < 1 or place > n then self:problem("input %d of %d has two outcomes", place, n) end
    list[place] = outcome
  end
  for _, result in ipairs(promises_results and results or {}) do
    if result.index then set(result.index, true) else self:problem "a result without index" end
  end
  for _, err in ipairs(errors or {}) do
    for place = err.index or err.first or 1, err.index or err.last or n do set(place, err) end
  end
  for place = 1, n do
    if not list[place] then
      if promises_results then self:problem("input %d of %d has no outcome", place, n) end
      list[place] = true
    end
    self:count(list[place])
  end
  return list
end

--- Settles pairs that were `before`, and are `after` if all went well.
function Account:judge(list, before, after, results, errors, promises_results)
  for place, outcome in ipairs(self:outcomes(#list, results, errors, promises_results)) do
    self:settle(list[place], outcome == true and after or outcome.ambiguous and "either" or before)
  end
end

-- ---- calls ----

local calls = {}

local function pairs_of(list, types)
  local inputs = {}
  for i, n in ipairs(list) do
    inputs[i] = { from = { id = Account.contact(n) }, to = { id = Account.company(n) }, types = types }
  end
  return inputs
end

local CONSULTANT = { { associationCategory = "USER_DEFINED", associationTypeId = 36 } }

local function associate(account, name, types)
  local list = account:new_pairs(math.random(30))
  return { name = name, n = #list, "contacts", "companies", pairs_of(list, types),
    options = { batch_size = math.random(3) == 1 and 7 or 2000 },
    judge = function(results, errors) account:judge(list, "out", "in", results, errors, true) end }
end

function calls.associate_default(account) return associate(account, "associate_default") end
function calls.associate(account) return associate(account, "associate", CONSULTANT) end

function calls.associate_one_default(account)
  local list = account:new_pairs(1)
  return { name = "associate_one_default", n = 1, "contacts", Account.contact(list[1]), "companies",
    Account.company(list[1]),
    judge = function(_, errors) account:judge(list, "out", "in", nil, errors) end }
end

function calls.archive(account)
  local list = account:take_known(math.random(10))
  local inputs = {}
  if not list[1] then return calls.associate_default(account) end
  for i, n in ipairs(list) do
    account:ask(n, "out")
    inputs[i] = { from = { id = Account.contact(n) }, to = { { id = Account.company(n) } } }
  end
  return { name = "archive", n = #list, "contacts", "companies", inputs,
    judge = function(results, errors) account:judge(list, "in", "out", results, errors) end }
end

--- Reading changes nothing: what is known to be there has to be in the answer.
local function expect(account, n, records)
  for _, record in ipairs(records) do
    if record.toObjectId == Account.company(n) then return end
  end
  account:problem("pair %d is not in an answer", n)
end

function calls.read(account)
  local list, inputs = account:take_known(20), {}
  if not list[1] then return calls.associate_default(account) end
  for i, n in ipairs(list) do inputs[i] = { id = Account.contact(n) } end
  return { name = "read", n = #list, "contacts", "companies", inputs,
    judge = function(results, errors)
      for _, outcome in ipairs(account:outcomes(#list, results, errors, true)) do
        if outcome ~= true and outcome.subCategory then account:problem("read: %s", tostring(outcome)) end
      end
      for _, result in ipairs(results or {}) do expect(account, tonumber(result.from.id), result.to) end
      account:put_back(list)
    end }
end

function calls.list(account)
  local list = account:take_known(1)
  if not list[1] then return calls.associate_default(account) end
  return { name = "list", n = 1, "contacts", Account.contact(list[1]), "companies",
    judge = function(results, errors)
      account:count(errors and errors[1] or true)
      if results then expect(account, list[1], results) end
      account:put_back(list)
    end }
end

function calls.get_limits(account)
  return { name = "get_limits", n = 1, "contacts", "companies",
    judge = function(results, errors)
      account:count(errors and errors[1] or true)
      if results and #results ~= 4 then account:problem("get_limits: %d limits", #results) end
    end }
end

function calls.batch_update(account)
  local most = math.random(100, 900)
  return { name = "batch_update", n = 1, "contacts", "companies",
    { { category = "HUBSPOT_DEFINED", typeId = 279, maxToObjectIds = most } },
    judge = function(results, errors)
      local outcome = account:outcomes(1, results, errors, true)[1]
      if outcome == true and results[1].userEnforcedMaxToObjectIds ~= most then
        account:problem("batch_update: %s, not %d", tostring(results[1].userEnforcedMaxToObjectIds), most)
      end
    end }
end

--- Takes a place for a limit, and notes what becomes of it: CONFLICT would say that it was created twice.
function Account:take_place()
  local place = table.remove(self.places)
  if not place then return nil end
  local limit = { most = math.random(100, 900), call = self.calls }
  self.limits[place[3]] = limit
  return place, { category = "HUBSPOT_DEFINED", typeId = place[3], maxToObjectIds = limit.most }, function(outcome)
    if limit.outcome then self:problem("limit %d has a second outcome", place[3]) end
    limit.outcome = outcome == true and "done" or outcome.ambiguous and "unknown" or "failed"
  end
end

function calls.batch_create(account)
  local place, input, settle = account:take_place()
  if not place then return calls.associate_default(account) end
  return { name = "batch_create", n = 1, place[1], place[2], { input },
    judge = function(results, errors) settle(account:outcomes(1, results, errors, true)[1]) end }
end

-- How often each is drawn.
local SHARES = { { 36, "associate_default" }, { 10, "associate" }, { 10, "associate_one_default" }, { 8, "archive" },
  { 8, "read" }, { 6, "list" }, { 6, "get_limits" }, { 6, "batch_update" }, { 10, "batch_create" } }

--- The next call: { name =, arguments…, n = inputs, options = nil or a table, judge = function(results, errors) }.
function Account:next_call()
  local drawn, i = math.random(100), 1
  while drawn > SHARES[i][1] do
    drawn = drawn - SHARES[i][1]
    i = i + 1
  end
  self.calls = self.calls + 1
  local call = calls[SHARES[i][2]](self)
  self.inputs = self.inputs + call.n
  local options = call.options or {}
  options.headers = { ["X-Soak-Call"] = ("%d"):format(self.calls) }
  call[#call + 1] = options
  return call
end

-- ---- HubSpot's state ----

--- n -> is the pair there?
local function read_pairs(account, client)
  local ids, numbers, found = {}, {}, {}
  for n in pairs(account.states) do
    ids[#ids + 1] = Account.contact(n)
    numbers[#numbers + 1] = n
  end
  local place = 0
  for _, records, errors in client:read_all("contacts", "companies", ids) do
    place = place + 1
    local n = numbers[place]
    found[n] = records and records[1] ~= nil
    if errors then
      account:problem("pair %d cannot be read: %s", n, tostring(errors))
    elseif found[n] and (#records > 1 or records[1].toObjectId ~= Account.company(n)) then
      account:problem("pair %d: another record is there", n)
    end
  end
  return found
end

--- Association type -> its limit.
local function read_limits(account, client)
  local limits, errors = client:get_all_limits()
  if not limits then account:problem("limits cannot be read: %s", tostring(errors)) end
  local found = {}
  for _, limit in ipairs(limits or {}) do found[limit.typeId] = limit.userEnforcedMaxToObjectIds end
  return found
end

--- HubSpot's state and how it came to that. What was given up may still arrive: until nothing did meanwhile.
local function read_all(account, client)
  local function read() return history.read(account.token, account.log_begins, account.states, account.limits) end
  local now = read()
  for _ = 1, 20 do
    local before, found_pairs, found_limits = now, read_pairs(account, client), read_limits(account, client)
    now = read()
    if now.changes == before.changes then return now, found_pairs, found_limits end
  end
  error "HubSpot's state does not come to rest"
end

local function check_pair(account, n, requests, is_there)
  local told, last = account.told[n], history.last(requests)
  local untruth = account.states[n] == "busy" and "has no outcome" or history.untruth(requests, told)
  if untruth then
    account:problem("pair %d: %s %s", n, untruth, history.text(requests, told))
  elseif is_there ~= (last ~= nil and last.makes == "in") then
    account:problem("pair %d: HubSpot says %s %s", n, is_there and "in" or "out", history.text(requests, told))
  elseif account.states[n] ~= "either" and (account.states[n] == "in") ~= is_there then
    account.late = account.late + 1
  end
end

local function check_limit(account, id, requests, says)
  local limit, last = account.limits[id], history.last(requests)
  local untruth = not limit.outcome and "has no outcome" or history.times(requests) > 1 and "was created twice"
    or history.untruth(requests, { limit })
  if untruth then
    account:problem("limit %d: %s %s", id, untruth, history.text(requests, { limit }))
  elseif says ~= (last and limit.most) then
    account:problem("limit %d of %d: HubSpot says %s", id, limit.most, tostring(says))
  end
end

--- Compares what was told with what HubSpot did, and that with HubSpot's state.
-- @param client that meets no faults
function Account:check(client)
  local all, found_pairs, found_limits = read_all(self, client)
  for n, requests in pairs(all.pairs) do check_pair(self, n, requests, found_pairs[n]) end
  for id, requests in pairs(all.limits) do check_limit(self, id, requests, found_limits[id]) end
  return self.problems
end

Account.pairs_of = pairs_of

return Account
