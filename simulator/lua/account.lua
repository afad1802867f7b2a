-- What the simulator keeps for each access token: its HubSpot data, its rate limits, its faults, its log.
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
    limits = without_limits and {} or schema.limits(types), -- association type → limit
    rate = rate.new(),
    faults = {}, -- a queue, see faults.lua
    seen_headers = {}, -- fault header → times seen
    log = { count = 0, calls = {} },
  }, Account)
end

--- The account of a token; "" is that of the calls without one. A token is known from its first call on.
function M.of(token)
  local account = accounts[token] or new()
  accounts[token] = account
  return account
end

--- Forgets all about a token. Without limits: the account starts with none set.
function M.reset(token, without_limits)
  accounts[token] = new(without_limits)
end

--- The association types of a pair of object type ids, as a list.
function Account:types_of(from, to)
  local found = {}
  for _, kind in ipairs(self.types) do
    if kind.from == from and kind.to == to then found[#found + 1] = kind end
  end
  return found
end

return M
