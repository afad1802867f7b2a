-- The calls on associations of records: in batches, one by one, and the usage report.
local batch = require "simulator.batch"
local errors = require "simulator.errors"
local input = require "simulator.input"
local json = require "simulator.json"
local links = require "simulator.links"
local rules = require "simulator.limit_rules"

local M = {}
local MOST_ASSOCIATED, MOST_READ, MOST_ARCHIVED_FROM = 2000, 1000, 100
local PAGE = 500 -- records of an answer, and the most that may be asked for

local ID = { id = "id" }
local TYPE = { associationCategory = "category", associationTypeId = "int32" }
local LABELLED = { from = ID, to = ID, types = { list = TYPE } }

-- v4 answers with numbers where later versions have strings. A client must get both right.
local function id_in(call, id)
  return call.version == "v4" and json.number(id) or id
end

local function by_from(a, b)
  return links.less(a.from.id, b.from.id)
end

-- The types of an input, which the pair must have, or nil, category and message of an error.
local function find_types(call, from, to, types)
  local kinds = {}
  for i, wanted in ipairs(types) do
    kinds[i] = call.account:type_of(from, to, wanted.associationCategory, wanted.associationTypeId)
    if not kinds[i] then
      return nil, "OBJECT_NOT_FOUND", ("No association type %s %d from %s to %s")
        :format(wanted.associationCategory, wanted.associationTypeId, from, to)
    end
  end
  return kinds
end

-- Is there room for one more association of this type, from this record's side?
local function check_room(account, kind, from_id, to_id)
  if not account.limits[kind] or account.links:has(kind, from_id, to_id) then return end
  return rules.room(account, kind, account.links:count(kind, from_id))
end

-- Associates two records by these types, and by the unlabelled one in any case, or returns category and message of an
-- error and changes nothing.
local function associate(account, from, to, from_id, to_id, kinds)
  local all = { account:unlabelled(from, to) }
  for _, kind in ipairs(kinds) do all[#all + 1] = kind end
  for _, kind in ipairs(all) do
    local category, message = check_room(account, kind, from_id, to_id)
    if not category then category, message = check_room(account, account:inverse(kind), to_id, from_id) end
    if category then return category, message end
  end
  for _, kind in ipairs(all) do account.links:add(kind, account:inverse(kind), from_id, to_id) end
end

local function labelled_result(call, from, to, from_id, to_id, kinds)
  local labels = {}
  for _, kind in ipairs(kinds) do labels[#labels + 1] = kind.label end
  return {
    fromObjectTypeId = from, fromObjectId = id_in(call, from_id),
    toObjectTypeId = to, toObjectId = id_in(call, to_id), labels = json.list(labels),
  }
end

-- The error of an input about two records.
local function failure(category, message, from, to, wanted)
  return errors.of_input(category, message, {
    fromObjectId = wanted.from.id, toObjectId = wanted.to.id, fromObjectTypeId = from, toObjectTypeId = to,
  })
end

-- Makes the function that tries one input with types: act(kinds, input) returns a result, or nil, category, message.
local function each_labelled(call, act)
  local from, to = input.pair(call)
  return function(wanted)
    local result
    local kinds, category, message = find_types(call, from, to, wanted.types)
    if kinds then result, category, message = act(kinds, wanted, from, to) end
    if not category then return result end
    return nil, failure(category, message, from, to, wanted)
  end
end

function M.associate(call)
  local try = each_labelled(call, function(kinds, wanted, from, to)
    local category, message = associate(call.account, from, to, wanted.from.id, wanted.to.id, kinds)
    if category then return nil, category, message end
    return labelled_result(call, from, to, wanted.from.id, wanted.to.id, kinds)
  end)
  local created = (call.version == "v4" or call.version < "2026-09") and 201 or 200
  return batch.run(call, input.inputs(call.body, LABELLED, MOST_ASSOCIATED), try, created, false, function(a, b)
    return links.less(a.fromObjectId, b.fromObjectId)
  end)
end

local function default_try(call)
  local from, to = input.pair(call)
  return function(wanted)
    local category, message = associate(call.account, from, to, wanted.from.id, wanted.to.id, {})
    if category then return nil, failure(category, message, from, to, wanted) end
    local kind = call.account:unlabelled(from, to)
    return {
      from = { id = wanted.from.id }, to = { id = wanted.to.id },
      associationSpec = { associationCategory = kind.category, associationTypeId = kind.type_id },
    }
  end
end

function M.associate_default(call)
  local inputs = input.inputs(call.body, { from = ID, to = ID }, MOST_ASSOCIATED)
  return batch.run(call, inputs, default_try(call), 200, false, by_from)
end

-- Of the records found, those behind the cursor, `limit` at most: { toObjectId, associationTypes }; and `paging` if
-- there are more. The cursor has a character that a client must take care to encode.
local function page(call, found, after, limit)
  local results, paging = {}, nil
  local last = after and tostring(after):match "^(%d+)%%3D$"
  if after and not last then error(errors.validation("The paging cursor is invalid: " .. tostring(after))) end
  for _, record in ipairs(found) do
    if not last or links.less(last, record.id) then
      if #results == limit then
        paging = { next = { after = found.last_id .. "%3D" } }
        break
      end
      local types = {}
      for i, kind in ipairs(record.kinds) do
        types[i] = { category = kind.category, typeId = kind.type_id, label = kind.label or json.null }
      end
      results[#results + 1] = { toObjectId = id_in(call, record.id), associationTypes = types }
      found.last_id = record.id
    end
  end
  return json.list(results), paging
end

-- A record without associations is an error to HubSpot.
local function nothing_found(account, from, to, id)
  local from_name, to_name = account:singular(from), account:singular(to)
  local message = ("No %s is associated with %s %s."):format(to_name, from_name, id)
  local refusal = errors.of_input("OBJECT_NOT_FOUND", message, {
    fromObjectId = id, fromObjectType = from_name, toObjectType = to_name,
  })
  refusal.subCategory = "crm.associations.NO_ASSOCIATIONS_FOUND"
  return refusal
end

function M.read(call)
  local from, to = input.pair(call)
  local inputs = input.inputs(call.body, { id = "id", after = "text?" }, MOST_READ)
  return batch.run(call, inputs, function(wanted)
    local found = call.account.links:of(from, wanted.id, to)
    if #found == 0 then return nil, nothing_found(call.account, from, to, wanted.id) end
    local results, paging = page(call, found, wanted.after ~= json.null and wanted.after or nil, PAGE)
    return { from = { id = wanted.id }, to = results, paging = paging }
  end, 200, false, by_from)
end

--- All that associates one record with another. (From 2026-09 on it stands in HubSpot's specification of objects.)
function M.list(call)
  local from, to = input.pair(call)
  local limit = call.query.limit and tonumber(call.query.limit) or PAGE
  if limit < 1 or limit > PAGE or limit % 1 ~= 0 then
    return errors.validation(("limit must be from 1 to %d"):format(PAGE))
  end
  local found = call.account.links:of(from, input.id(call, "fromId"), to)
  local results, paging = page(call, found, call.query.after, limit)
  return { status = 200, body = { results = results, paging = paging } }
end

-- Runs a batch that gives no results: v4 answers without a body.
local function run_archival(call, inputs, try)
  local v4 = call.version == "v4"
  return batch.run(call, inputs, try, v4 and 204 or 200, v4)
end

function M.archive(call)
  local from, to = input.pair(call)
  local inputs = input.inputs(call.body, { from = ID, to = { list = ID } }, MOST_ASSOCIATED)
  local seen, count = {}, 0
  for _, wanted in ipairs(inputs) do
    if not seen[wanted.from.id] then count = count + 1 end
    seen[wanted.from.id] = true
  end
  if count > MOST_ARCHIVED_FROM then
    return errors.validation(("A request may name %d records to archive from, %d were given")
      :format(MOST_ARCHIVED_FROM, count))
  end
  return run_archival(call, inputs, function(wanted)
    for _, other in ipairs(wanted.to) do call.account.links:cut(from, wanted.from.id, to, other.id) end
  end)
end

--- Removes labels. With the unlabelled type all goes that associates the two records.
function M.archive_labels(call)
  local account = call.account
  local try = each_labelled(call, function(kinds, wanted, from, to)
    for _, kind in ipairs(kinds) do
      if not kind.label then account.links:cut(from, wanted.from.id, to, wanted.to.id) end
      account.links:remove(kind, account:inverse(kind), wanted.from.id, wanted.to.id)
    end
  end)
  return run_archival(call, input.inputs(call.body, LABELLED, MOST_ASSOCIATED), try)
end

function M.associate_one(call)
  local from, to = input.pair(call)
  local from_id, to_id = input.id(call, "fromId"), input.id(call, "toId")
  local kinds, category, message = find_types(call, from, to, input.list(call.body, TYPE))
  if kinds then category, message = associate(call.account, from, to, from_id, to_id, kinds) end
  if category then return errors.refusal(category == "OBJECT_NOT_FOUND" and 404 or 400, category, message) end
  return { status = 201, body = labelled_result(call, from, to, from_id, to_id, kinds) }
end

--- Answers like a batch of one.
function M.associate_one_default(call)
  local wanted = { from = { id = input.id(call, "fromId") }, to = { id = input.id(call, "toId") } }
  return batch.run(call, { wanted }, default_try(call), 200, false, by_from)
end

function M.archive_one(call)
  local from, to = input.pair(call)
  call.account.links:cut(from, input.id(call, "fromId"), to, input.id(call, "toId"))
  return { status = 204 }
end

function M.request_usage_report(call)
  local id = input.id(call, "userId")
  return { status = 200, body = {
    enqueueTime = batch.timestamp(call.now()), userId = json.number(id), userEmail = ("user-%s@example.com"):format(id),
  } }
end

return M
