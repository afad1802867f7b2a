--- Object types: HubSpot's names and ids for them, and the order in which people expect them. Pure.
-- HubSpot: Understanding the CRM > Object type IDs.

local ipairs = ipairs

local objects = {}

-- Id and names; the first one is used in what is written. From the most usual to the rarest.
local KNOWN = {
  { "0-1", "contacts", "contact" }, { "0-2", "companies", "company" }, { "0-3", "deals", "deal" },
  { "0-5", "tickets", "ticket" },
  { "0-136", "leads", "lead" }, { "0-7", "products", "product" }, { "0-8", "line_items", "line_item" },
  { "0-14", "quotes", "quote" }, { "0-53", "invoices", "invoice" }, { "0-69", "subscriptions", "subscription" },
  { "0-101", "commerce_payments", "commerce_payment" }, { "0-123", "orders", "order" }, { "0-142", "carts", "cart" },
  { "0-84", "discounts", "discount" }, { "0-85", "fees", "fee" }, { "0-86", "taxes", "tax" },
  { "0-162", "services", "service" }, { "0-410", "courses", "course" }, { "0-420", "listings", "listing" },
  { "0-421", "appointments", "appointment" }, { "0-970", "projects", "project" },
  { "0-27", "tasks", "task" }, { "0-46", "notes", "note" }, { "0-47", "meetings", "meeting" },
  { "0-48", "calls", "call" }, { "0-49", "emails", "email" }, { "0-18", "communications", "communication" },
  { "0-116", "postal_mail" }, { "0-54", "marketing_events", "marketing_event" },
  { "0-19", "feedback_submissions", "feedback_submission" }, { "0-115", "users", "user" },
}
local USUAL = 4 -- of these: those that can have labels of one's own, and that every account has

local id_of, name_of, rank_of = {}, {}, {}
objects.names = {} -- the first name of each

for rank, known in ipairs(KNOWN) do
  name_of[known[1]], rank_of[known[1]] = known[2], rank
  for _, name in ipairs(known) do
    id_of[name] = known[1]
  end
  objects.names[rank] = known[2]
end

--- The same for all names of an object type: HubSpot's own ones' id. Of a custom object only the account knows that its
-- name and its id are one, so each stands for itself.
function objects.id(name)
  return id_of[name] or name
end

--- The name to write for an object type.
-- @param given names of the caller's for custom objects, id -> name, or nil
function objects.name(id, given)
  id = objects.id(id)
  return given and given[id] or name_of[id] or id
end

--- Is it an id that only one account knows? Custom objects have such ones; HubSpot's are the same everywhere.
function objects.is_of_account(id)
  return id:find("^2%-%d+$") ~= nil
end

--- Is the name or id of an object type one that HubSpot could have? Not: does it exist.
function objects.is_name(text)
  return text:find("^[A-Za-z][A-Za-z0-9_]*$") ~= nil or text:find("^%d+%-%d+$") ~= nil
end

--- Is it a name that is neither one of HubSpot's known to us nor a custom object's (p_thing, p1234_thing)?
function objects.is_unknown(name)
  return not id_of[name] and not name:find("^p%d*_") and not name:find("^%d+%-%d+$")
end

--- Does the object type `a` come before `b`? HubSpot's come first, in their usual order.
function objects.is_before(a, b)
  local rank_a, rank_b = rank_of[objects.id(a)], rank_of[objects.id(b)]
  if rank_a and rank_b then
    return rank_a < rank_b
  elseif rank_a or rank_b then
    return rank_a ~= nil
  end
  return a < b
end

--- What tells a pair of object types from all others, whichever of them is named first.
function objects.pair_key(from, to)
  from, to = objects.id(from), objects.id(to)
  if from > to then
    from, to = to, from
  end
  return from .. " " .. to
end

--- The pairs of these object types and others: { from =, to = } each, once, the more usual type first.
-- @param seen pair_key -> true: pairs that are left out; those that are returned are added
function objects.pairs_of(list, others, seen)
  local found = {}
  for _, one in ipairs(list) do
    for _, other in ipairs(others) do
      local key = objects.pair_key(one, other)
      if not seen[key] then
        seen[key] = true
        local is_turned = objects.is_before(other, one)
        found[#found + 1] = { from = is_turned and other or one, to = is_turned and one or other }
      end
    end
  end
  return found
end

--- The object types that every account has, and that can have labels of the account's own.
function objects.usual()
  local usual = {}
  for i = 1, USUAL do
    usual[i] = objects.names[i]
  end
  return usual
end

return objects
