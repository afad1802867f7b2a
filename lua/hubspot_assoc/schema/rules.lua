--- HubSpot's rules, as far as a file alone can break them. Pure.
-- HubSpot: Associations v4 > Understand association definitions, configurations, and labels; > Set limits.

local nearest = require "hubspot_assoc.nearest"
local objects = require "hubspot_assoc.schema.objects"

local ipairs, type = ipairs, type

local MOST_LABELS = 50 -- of one's own that a pair may have, in the highest subscription
local MOST_USUAL = 10 -- in the others
local HIGHEST_LIMIT = 10000 -- that a subscription allows

local rules = {}

-- ---- a pair's limits ----

local function check_limit(report, entry, field, most, what)
  local limit = entry[field]
  if type(limit) ~= "number" then
    return
  end
  if limit > HIGHEST_LIMIT then
    report(entry.at[field], ("%s: HubSpot's limits end at %d as a rule"):format(field, HIGHEST_LIMIT), "warning")
  end
  if type(most) == "number" and limit > most then
    report(entry.at[field], ("%s: %d is more than %d, the %s of the pair: HubSpot refuses that"):format(field, limit,
      most, what))
  end
end

local function check_limits(report, pair)
  check_limit(report, pair, "limit")
  check_limit(report, pair, "inverse_limit")
  -- Of contacts to contacts, say, both sides of a label are in one direction.
  local inverse_most = pair.is_same and pair.limit or pair.inverse_limit
  local inverse_name = pair.is_same and "limit" or "inverse_limit"
  for _, label in ipairs(pair.labels) do
    check_limit(report, label, "limit", pair.limit, "limit")
    check_limit(report, label, "inverse_limit", inverse_most, inverse_name)
  end
end

-- One object type with itself: both directions share the unlabelled type and the labels that have one text.
local function check_same(report, pair)
  if pair.inverse_limit then
    report(pair.at.inverse_limit, ("inverse_limit: %s to %s is one direction: its limit is 'limit'"):format(pair.from,
      pair.to))
  end
  for _, label in ipairs(pair.labels) do
    local is_one = not label.inverse_label or label.inverse_label == label.label
    if is_one and label.inverse_limit then
      report(label.at.inverse_limit, "inverse_limit: both directions of this label are one, with one 'limit'; "
        .. "a label with two sides has an 'inverse_label'")
    end
  end
end

-- ---- a pair's labels ----

-- Tells of a text that the labels of one direction have twice; returns whether that is so.
local function check_text(report, seen, label, field, text)
  local key = ("%s %s"):format(label.category or "", text)
  if seen[key] then
    report(label.at[field] or label.at, ("%s: the label '%s' is here already, in line %d"):format(field, text,
      seen[key].line))
    return true
  end
  seen[key] = label.at[field] or label.at
  return false
end

local function check_labels(report, pair)
  local forward, own = {}, 0
  local inverse = pair.is_same and forward or {}
  for _, label in ipairs(pair.labels) do
    local is_double = check_text(report, forward, label, "label", label.label)
    local other = label.inverse_label or (not pair.is_same and label.label or nil)
    if other and not is_double and not (pair.is_same and other == label.label) then
      check_text(report, inverse, label, label.inverse_label and "inverse_label" or "label", other)
    end
    if not label.category or label.category == "USER_DEFINED" then
      own = own + 1
    end
  end
  return own
end

-- What only labels of one's own can have.
local function check_fields(report, label)
  local is_own = not label.category or label.category == "USER_DEFINED"
  for _, field in ipairs { "was", "name" } do
    if label[field] and not is_own then
      report(label.at[field], ("%s: only a USER_DEFINED label can be renamed or made"):format(field))
    end
  end
  if label.was and label.was == label.label then
    report(label.at.was, "was: this is the label's text already")
  end
end

-- ---- all ----

local function check_names(report, pair)
  for _, field in ipairs { "from", "to" } do
    local name = pair[field]
    local near = objects.is_unknown(name) and nearest(name, objects.names)[1]
    if near then
      report(pair.at[field], ("%s: '%s' is no object type of HubSpot's that this release knows; did you mean '%s'?")
        :format(field, name, near), "warning")
    end
  end
end

local function check_count(report, pair, own)
  if own > MOST_LABELS then
    report(pair.at.labels, ("labels: %d of one's own; HubSpot allows %d at most"):format(own, MOST_LABELS))
  elseif own > MOST_USUAL then
    report(pair.at.labels, ("labels: %d of one's own; only the highest subscriptions allow more than %d"):format(own,
      MOST_USUAL), "warning")
  end
end

local function check_pair(report, pair)
  check_names(report, pair)
  if pair.is_same then
    check_same(report, pair)
  end
  for _, label in ipairs(pair.labels) do
    check_fields(report, label)
  end
  check_count(report, pair, check_labels(report, pair))
  check_limits(report, pair)
end

--- Tells what is wrong with what is wanted; sets is_same in each pair: one object type with itself.
-- @param wanted as reader.lua describes it
-- @param report function(place, message, severity) that is called for each problem
function rules.check(wanted, report)
  local seen = {}
  for _, pair in ipairs(wanted.pairs) do
    local key = objects.pair_key(pair.from, pair.to)
    pair.is_same = objects.id(pair.from) == objects.id(pair.to)
    local first = seen[key]
    if first then
      local is_turned = objects.id(first.from) ~= objects.id(pair.from)
      report(pair.at, ("%s to %s is here already, in line %d%s"):format(pair.from, pair.to, first.at.line,
        is_turned and ", named from the other side: its fields inverse_… are this direction's" or ""))
    else
      seen[key] = pair
    end
    check_pair(report, pair)
  end
end

return rules
