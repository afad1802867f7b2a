-- What the simulator keeps for each access token: its HubSpot data, its rate limits, its faults, its log.
local links = require "simulator.links"
local log = require "simulator.log"
local schema = require "simulator.schema"
local rate = require "simulator.rate"

local M = {}
local accounts = {} -- token → account

local Account = {}
Account.__index = Account

local function new(without_limits)
  local types = schema.association_types()
  return setmetatable({
    types = types,
    object_types = schema.object_types(), -- ids
    custom = {}, -- custom objects, by id and by name
    limits = without_limits and {} or schema.limits(types), -- association type → limit
    links = links.new(), -- which records are associated, and how
    rate = rate.new(),
    faults = {}, -- a queue, see faults.lua
    seen_headers = {}, -- fault header → times seen
    log = log.new(),
    app = { expires_in = 1800, rotate = false, dead = {} }, -- as an OAuth app: oauth.lua
  }, Account)
end

-- The unlabelled types of custom objects are not HubSpot's own, but the account's.
local function add_custom_objects(account, words)
  local ids = {}
  for i, id in ipairs(schema.object_types()) do ids[i] = id end
  for n, word in ipairs(words) do
    local object = schema.custom_object(word, n)
    account.custom[object.id], account.custom[object.name] = object, object
    ids[#ids + 1] = object.id
    for _, other in ipairs(ids) do
      account:add_type { from = object.id, to = other, category = "USER_DEFINED", type_id = account:new_type_id() }
      if other ~= object.id then
        account:add_type { from = other, to = object.id, category = "USER_DEFINED", type_id = account:new_type_id() }
      end
    end
  end
  account.object_types = ids
end

--- The account of a token; "" is that of the calls without one. A token is known from its first call on.
function M.of(token)
  local account = accounts[token] or new()
  accounts[token] = account
  return account
end

--- Forgets all about a token. Without limits: the account starts with none set. custom_objects: words, or nil.
function M.reset(token, without_limits, custom_objects)
  accounts[token] = new(without_limits)
  add_custom_objects(accounts[token], custom_objects or {})
end

--- The id of an object type given by name or id, or nil.
function Account:object_type(name)
  local custom = self.custom[name]
  return custom and custom.id or schema.object_type(name)
end

--- "contact" for "0-1".
function Account:singular(object_type)
  local custom = self.custom[object_type]
  return custom and custom.singular or schema.singular(object_type)
end

--- "contacts" for "0-1".
function Account:plural(object_type)
  local custom = self.custom[object_type]
  return custom and custom.plural or schema.plural(object_type)
end

--- The association types of a pair of object type ids, as a list.
function Account:types_of(from, to)
  local found = {}
  for _, kind in ipairs(self.types) do
    if kind.from == from and kind.to == to then found[#found + 1] = kind end
  end
  return found
end

--- The association type of a pair that has this category and type id, or nil.
function Account:type_of(from, to, category, type_id)
  for _, kind in ipairs(self:types_of(from, to)) do
    if kind.category == category and kind.type_id == type_id then return kind end
  end
end

--- The pair's unlabelled type.
function Account:unlabelled(from, to)
  for _, kind in ipairs(self:types_of(from, to)) do
    if not kind.label then return kind end
  end
end

--- What an association of this type is in the other direction: a type of its own, or itself.
function Account:inverse(kind)
  for _, other in ipairs(self:types_of(kind.to, kind.from)) do
    if other ~= kind and other.category == kind.category and other.name == kind.name then return other end
  end
  return kind
end

--- A type id that no association type has.
function Account:new_type_id()
  self.last_type_id = (self.last_type_id or 1000) + 1
  return self.last_type_id
end

--- Adds an association type: { from, to, category, type_id, label, name }.
function Account:add_type(kind)
  self.types[#self.types + 1] = kind
  return kind
end

--- Forgets an association type, its limit, and where it was used.
function Account:remove_type(kind)
  for i, other in ipairs(self.types) do
    if other == kind then
      table.remove(self.types, i)
      break
    end
  end
  self.limits[kind] = nil
  self.links:forget(kind)
end

return M
