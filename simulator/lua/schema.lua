-- The object types and association types that every account starts with. HubSpot's own ids, as in its documentation.
local M = {
  MOST_LABELS = 10, -- of one's own, a pair of object types
}

-- name in a path → object type id
local OBJECT_TYPES = {
  contact = "0-1", company = "0-2", deal = "0-3", ticket = "0-5",
  contacts = "0-1", companies = "0-2", deals = "0-3", tickets = "0-5",
  ["0-1"] = "0-1", ["0-2"] = "0-2", ["0-3"] = "0-3", ["0-5"] = "0-5",
}

local IDS = { "0-1", "0-2", "0-3", "0-5" }
local PLURAL = { ["0-1"] = "contacts", ["0-2"] = "companies", ["0-3"] = "deals", ["0-5"] = "tickets" }
local SINGULAR = { ["0-1"] = "contact", ["0-2"] = "company", ["0-3"] = "deal", ["0-5"] = "ticket" }

-- from, to, category, type id, label and name (none: the pair's unlabelled type). Types of the same category and name
-- are the two directions of one association.
local H, U = "HUBSPOT_DEFINED", "USER_DEFINED"
local ASSOCIATION_TYPES = {
  { "contacts", "contacts", H, 449 },
  { "contacts", "companies", H, 279 },
  { "contacts", "companies", H, 1, "Primary", "primary" },
  { "contacts", "companies", U, 36, "Consultant", "consultant" }, -- one label for both directions
  { "contacts", "companies", U, 38, "Employee", "employee_employer" }, -- a paired label: each direction has its own
  { "contacts", "deals", H, 4 },
  { "contacts", "tickets", H, 15 },
  { "companies", "contacts", H, 280 },
  { "companies", "contacts", H, 2, "Primary", "primary" },
  { "companies", "contacts", U, 37, "Consultant", "consultant" },
  { "companies", "contacts", U, 39, "Employer", "employee_employer" },
  { "companies", "companies", H, 450 },
  { "companies", "companies", H, 13, "Parent Company", "parent_child" },
  { "companies", "companies", H, 14, "Child Company", "parent_child" },
  { "companies", "deals", H, 342 },
  { "companies", "deals", H, 6, "Primary", "primary" },
  { "companies", "tickets", H, 340 },
  { "companies", "tickets", H, 25, "Primary", "primary" },
  { "deals", "contacts", H, 3 },
  { "deals", "companies", H, 341 },
  { "deals", "companies", H, 5, "Primary", "primary" },
  { "deals", "deals", H, 451 },
  { "deals", "tickets", H, 27 },
  { "tickets", "contacts", H, 16 },
  { "tickets", "companies", H, 339 },
  { "tickets", "companies", H, 26, "Primary", "primary" },
  { "tickets", "deals", H, 28 },
  { "tickets", "tickets", H, 452 },
}

-- type id → the limit that somebody has set already: an update needs something to update
local LIMITS = { [279] = 100, [36] = 20, [38] = 50, [280] = 500, [37] = 20, [39] = 50, [3] = 10 }

--- The id of an object type given by name or id, or nil.
function M.object_type(name)
  return OBJECT_TYPES[name]
end

--- A custom object of an account, the n-th: { id, name, singular, plural } for "car". Only its account knows it.
function M.custom_object(word, n)
  return { id = ("2-%d"):format(1000000 + n), name = "p_" .. word, singular = word, plural = word .. "s" }
end

--- "contact" for "0-1".
function M.singular(object_type)
  return SINGULAR[object_type]
end

--- "contacts" for "0-1".
function M.plural(object_type)
  return PLURAL[object_type]
end

--- The ids of all object types.
function M.object_types()
  return IDS
end

--- A new account's association types: a list of { from, to, category, type_id, label, name }.
function M.association_types()
  local types = {}
  for i, row in ipairs(ASSOCIATION_TYPES) do
    types[i] = {
      from = OBJECT_TYPES[row[1]], to = OBJECT_TYPES[row[2]],
      category = row[3], type_id = row[4], label = row[5], name = row[6],
    }
  end
  return types
end

--- The limits set at the start: association type (one of `types`) → limit.
function M.limits(types)
  local limits = {}
  for _, kind in ipairs(types) do limits[kind] = LIMITS[kind.type_id] end
  return limits
end

return M
