--- What an account has: the association types of its pairs, with their labels and limits. Only reads.
--
-- A state is { pairs = { pair, ... }, notes = { { message = }, ... }, problems = the same,
--   titles = object type id -> what people call it, where labels have told it,
--   unread_usage = why HubSpot did not tell how many labels pairs may have }
--   pair  { from =, to =, is_same = one object type with itself, forward = { row, ... },
--           inverse = { row, ... } (the same table where is_same),
--           most_labels = how many labels of its own the pair may have (nil: not known) }
--   row   { category =, typeId =, label = (nil: unlabelled), limit = (nil: none) }
-- Limits come from one request for all of the account, labels from one for each direction of a pair.

local limit_steps = require "hubspot_assoc.limit_steps"
local links = require "hubspot_assoc.schema.links"
local objects = require "hubspot_assoc.schema.objects"

local ipairs, pairs, select, setmetatable, tostring = ipairs, pairs, select, setmetatable, tostring
local concat, remove, sort = table.concat, table.remove, table.sort
local key_of = limit_steps.key

local IN_FLIGHT = 32 -- requests at a time: few enough for each to get its turn well before its deadline

local account = {}

local Reading = {}
Reading.__index = Reading

local function note(list, message, ...)
  list[#list + 1] = { message = message:format(...) }
end

function Reading:tell_progress()
  self.done = self.done + 1
  if self.on_progress then
    self.on_progress(self.done, self.total)
  end
end

-- ---- the whole account's answers ----

-- Reads the account's limits: "USER_DEFINED:38" -> row of get_all_limits. Returns nil and errors if that fails.
function Reading:take_limits(future)
  local rows, errors = future:wait()
  self:tell_progress()
  if errors then
    return nil, errors
  end
  self.limits = {}
  for _, row in ipairs(rows) do
    if row.userEnforcedMaxToObjectIds then
      self.limits[key_of(row)] = row
    end
  end
  return true
end

-- Reads which pairs have labels of their own, and how many they may have. It is worth a note and no more if that fails:
-- not every token may read it.
function Reading:take_usage(future)
  local rows, errors = future:wait()
  self:tell_progress()
  self.usage, self.most_labels = {}, {}
  if errors then
    self.state.unread_usage = tostring(errors[1])
  end
  for _, row in ipairs(rows or {}) do
    local from, to = row.fromObjectType, row.toObjectType
    if from and to and from.objectTypeId and to.objectTypeId then
      self.state.titles[from.objectTypeId], self.state.titles[to.objectTypeId] = from.pluralLabel, to.pluralLabel
      self.usage[#self.usage + 1] = { from = from.objectTypeId, to = to.objectTypeId }
      self.most_labels[objects.pair_key(from.objectTypeId, to.objectTypeId)] = row.limit
    end
  end
end

-- ---- pairs ----

-- The rows of get_labels as ours, with their limits.
function Reading:rows_of(types)
  local rows = {}
  for i, found in ipairs(types) do
    local key = key_of(found)
    local limit = self.limits[key]
    rows[i] = { category = found.category, typeId = found.typeId, label = found.label ~= "" and found.label or nil,
      limit = limit and limit.userEnforcedMaxToObjectIds }
  end
  sort(rows, function(a, b)
    if a.typeId ~= b.typeId then
      return a.typeId < b.typeId
    end
    return a.category < b.category
  end)
  return rows
end

-- Notes that a direction's types have been seen. Where two directions have one unlabelled type there are two names for
-- one custom object.
function Reading:place(pair, direction, rows)
  for _, row in ipairs(rows) do
    self.placed[key_of(row)] = true
  end
  local unlabelled = links.unlabelled(rows)
  local key = unlabelled and key_of(unlabelled)
  local other = key and self.directions[key]
  if other == pair then
    note(self.state.problems, "%s and %s are one object type, which goes by one name", pair.from, pair.to)
  elseif other and not self.is_told[pair] then
    self.is_told[pair] = true
    note(self.state.problems, "%s to %s is the same as %s to %s: each object type goes by one name", pair.from, pair.to,
      other.from, other.to)
  elseif key then
    self.directions[key] = direction
  end
end

function Reading:add_pair(pair, forward, inverse)
  pair.forward = self:rows_of(forward)
  pair.inverse = pair.is_same and pair.forward or self:rows_of(inverse)
  self:place(pair, pair, pair.forward)
  if not pair.is_same then
    self:place(pair, { from = pair.to, to = pair.from }, pair.inverse)
  end
  pair.most_labels = self.most_labels[objects.pair_key(pair.from, pair.to)]
  self.state.pairs[#self.state.pairs + 1] = pair
end

-- A pair that was tried and is none: HubSpot knows no such object type, or none with these associations. One that the
-- token may not read is told of.
function Reading:may_lack(pair, errors)
  local status = errors[1].kind == "api" and errors[1].http_status
  if status == 403 then
    self.refused[#self.refused + 1] = ("%s to %s"):format(pair.from, pair.to)
    self.refusal = self.refusal or errors
  end
  return status == 400 or status == 403 or status == 404
end

-- Starts the requests of a pair.
function Reading:ask(wanted)
  local pair = { from = wanted.from, to = wanted.to }
  pair.is_same = objects.id(pair.from) == objects.id(pair.to)
  return { pair = pair, forward = self.client.async:get_labels(pair.from, pair.to),
    inverse = not pair.is_same and self.client.async:get_labels(pair.to, pair.from) or nil }
end

-- Waits for them. Returns nil and errors if a pair that has to be there could not be read.
function Reading:take_pair(asked, may_lack)
  local forward, errors = asked.forward:wait()
  local inverse
  if not errors and asked.inverse then
    inverse, errors = asked.inverse:wait()
  end
  self:tell_progress()
  if not errors then
    self:add_pair(asked.pair, forward, inverse)
  elseif not (may_lack and self:may_lack(asked.pair, errors)) then
    return nil, errors
  end
  return true
end

-- Reads these pairs, many at a time.
-- @param may_lack pairs that are not there are left out
-- @return true, or nil and errors: of the first pair that could not be read
function Reading:read_pairs(wanted, may_lack)
  local under_way, next_one, problem = {}, 1, nil
  self.total = self.total + #wanted
  while next_one <= #wanted or under_way[1] do
    while next_one <= #wanted and #under_way < IN_FLIGHT and not problem do
      under_way[#under_way + 1] = self:ask(wanted[next_one])
      next_one = next_one + 1
    end
    local asked = remove(under_way, 1)
    if not asked then
      break
    elseif problem then
      asked.forward:cancel()
      if asked.inverse then
        asked.inverse:cancel()
      end
    else
      local _, errors = self:take_pair(asked, may_lack)
      problem = errors
    end
  end
  return not problem or nil, problem
end

-- ---- finding pairs ----

-- The limits whose types are in no pair that was looked at.
function Reading:find_unplaced()
  local found = {}
  for key, row in pairs(self.limits) do
    if not self.placed[key] then
      found[#found + 1] = ("%s %d (limit %d)"):format(row.category, row.typeId, row.userEnforcedMaxToObjectIds)
    end
  end
  sort(found)
  return found
end

-- The pairs with labels of their own.
function Reading:labelled_pairs(seen)
  local found = {}
  for _, row in ipairs(self.usage) do
    local from, to = objects.name(row.from, self.names), objects.name(row.to, self.names)
    found[#found + 1] = objects.pairs_of({ from }, { to }, seen)[1]
  end
  return found
end

-- The custom objects that are known: those with labels, and those that the caller has names for.
function Reading:custom_objects()
  local found, seen = {}, {}
  local function add(id)
    local name = objects.name(id, self.names)
    if objects.is_of_account(id) and not seen[name] then
      seen[name] = true
      found[#found + 1] = name
    end
  end
  for _, row in ipairs(self.usage) do
    add(row.from)
    add(row.to)
  end
  for id in pairs(self.names or {}) do
    add(id)
  end
  sort(found)
  return found
end

-- HubSpot gives limits without their pairs. So the pairs that every account has and those with labels are read, and
-- where limits belong to none of them, those of custom objects, and rare ones.
function Reading:find_pairs()
  local usual, custom, seen = objects.usual(), self:custom_objects(), {}
  local _, errors = self:read_pairs(objects.pairs_of(usual, usual, seen), true)
  if not errors then
    _, errors = self:read_pairs(self:labelled_pairs(seen), true)
  end
  if errors or self.refusal and not self.state.pairs[1] then
    return nil, errors or self.refusal
  elseif self.refusal then
    note(self.state.notes, "Pairs that the token may not read are left out: %s", concat(self.refused, ", "))
  end
  for _, round in ipairs { { custom, usual }, { custom, custom }, { usual, objects.names } } do
    if not errors and self:find_unplaced()[1] then
      errors = select(2, self:read_pairs(objects.pairs_of(round[1], round[2], seen), true))
    end
  end
  return not errors or nil, errors
end

local function by_names(a, b)
  if objects.id(a.from) ~= objects.id(b.from) then
    return objects.is_before(a.from, b.from)
  end
  return objects.is_before(a.to, b.to)
end

-- Leaves only pairs that have something of their own: a label or a limit.
local function keep_used(found)
  local kept = {}
  for _, pair in ipairs(found) do
    local is_used = false
    for _, rows in ipairs { pair.forward, pair.inverse } do
      for _, row in ipairs(rows) do
        is_used = is_used or row.limit ~= nil or (row.label ~= nil and row.category == "USER_DEFINED")
      end
    end
    if is_used then
      kept[#kept + 1] = pair
    end
  end
  sort(kept, by_names)
  return kept
end

-- Reads all that can be found.
function Reading:read_all()
  local _, errors = self:find_pairs()
  if errors then
    return nil, errors
  end
  self.state.pairs = keep_used(self.state.pairs)
  if self.state.unread_usage then
    note(self.state.notes, "Pairs with labels of their own may be left out, for HubSpot did not tell which those are: "
      .. "%s", self.state.unread_usage)
  end
  local unplaced = self:find_unplaced()
  if unplaced[1] then
    note(self.state.notes, "Limits whose pairs HubSpot does not tell are left out; name their pairs: %s",
      concat(unplaced, ", "))
  end
  return true
end

-- ---- all ----

--- Reads the labels and limits of an account.
-- @param client
-- @param wanted list of pairs ({ from =, to = }, names or ids); nil: all that have a label or limit and can be found
-- @param options table or nil: on_progress (function(done, total), in requests or pairs), names (what custom objects
--   are called: id -> name)
-- @return state (above), or nil and errors
function account.read(client, wanted, options)
  options = options or {}
  local reading = setmetatable({
    client = client, on_progress = options.on_progress, names = options.names, done = 0, total = 2,
    placed = {}, directions = {}, is_told = {}, refused = {},
    state = { pairs = {}, notes = {}, problems = {}, titles = {} },
  }, Reading)
  local limits, usage = client.async:get_all_limits(), client.async:get_label_usage()
  local _, errors = reading:take_limits(limits)
  if errors then
    usage:cancel()
    return nil, errors
  end
  reading:take_usage(usage)
  if wanted then
    _, errors = reading:read_pairs(wanted, false)
  else
    _, errors = reading:read_all()
  end
  if errors then
    return nil, errors
  end
  return reading.state
end

--- A pair seen from the other side.
function account.turned(pair)
  return { from = pair.to, to = pair.from, is_same = pair.is_same, forward = pair.inverse, inverse = pair.forward,
    most_labels = pair.most_labels }
end

return account
