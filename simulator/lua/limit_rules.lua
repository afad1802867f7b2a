-- HubSpot's rules for association limits. Pure. Each rule returns nil, or the category and message of an error.
local M = {}

-- What the account's subscription allows; a limit of one's own must be below it.
M.SUBSCRIPTION_LIMIT = 10000

local function named(kind)
  return kind.label and ("label '%s'"):format(kind.label) or "unlabelled type"
end

-- A label's limit must not exceed that of the unlabelled type, whichever of the two is being set.
local function within_pair(account, kind, limit)
  for _, other in ipairs(account:types_of(kind.from, kind.to)) do
    local other_limit = account.limits[other]
    if other_limit and kind.label and not other.label and limit > other_limit then
      return ("The limit %d of the %s must not exceed the limit %d of the object pair")
        :format(limit, named(kind), other_limit)
    elseif other_limit and not kind.label and other.label and limit < other_limit then
      return ("The limit %d of the object pair must not be below the limit %d of the %s")
        :format(limit, other_limit, named(other))
    end
  end
end

--- May the limit of an association type be set to this?
function M.allowed(account, kind, limit)
  local problem
  if limit < 1 then
    problem = ("maxToObjectIds must be at least 1, was %d"):format(limit)
  elseif limit >= M.SUBSCRIPTION_LIMIT then
    problem = ("maxToObjectIds must be below the limit %d of your subscription, was %d")
      :format(M.SUBSCRIPTION_LIMIT, limit)
  else
    problem = within_pair(account, kind, limit)
  end
  if problem then return "VALIDATION_ERROR", problem end
end

--- May a limit be created, that is: is there none?
function M.creatable(account, kind)
  if not account.limits[kind] then return end
  return "CONFLICT", ("The %s has a limit already: %d"):format(named(kind), account.limits[kind])
end

--- May a limit be updated, that is: is there one?
function M.updatable(account, kind)
  if account.limits[kind] then return end
  return "OBJECT_NOT_FOUND", ("The %s has no limit that could be updated"):format(named(kind))
end

--- May a record that has `used` associations of a type have one more?
function M.room(account, kind, used)
  local limit = account.limits[kind]
  if not limit or used < limit then return end
  return "VALIDATION_ERROR", ("The %s allows %d records, and as many are associated already"):format(named(kind), limit)
end

return M
