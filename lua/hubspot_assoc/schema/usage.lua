--- Who exceeds a new limit already. HubSpot: Limits tracking.
-- A limit is not retroactive: what exceeds it stays, and nobody is told. HubSpot tells of records at 80 % of the limit
-- there is and more, and of the pair's limit only, not of a label's.

local concat, ipairs, tostring = table.concat, ipairs, tostring

local NEAR = 0.8 -- of the limit: what HubSpot calls near
local MOST_SAMPLES = 3

local usage = {}

local function key(step)
  return step.from .. " " .. step.to
end

-- Does the step lower a pair's limit, or set one where there is none of one's own?
local function is_asked(step)
  return step.kind == "set_limit" and not step.label and (not step.old or step.new < step.old)
end

--- Asks HubSpot about the pairs whose limits a plan lowers or sets. Only reads.
-- @return usage: direction -> HubSpot's answer (get_records_at_limit), and a list of notes, { message = } each, about
--   what could not be read
function usage.read(client, plan)
  local asked, found, notes = {}, {}, {}
  for _, step in ipairs(plan.steps) do
    if is_asked(step) then
      asked[#asked + 1] = { step = step, future = client.async:get_records_at_limit(step.from, step.to) }
    end
  end
  for _, one in ipairs(asked) do
    local records, errors = one.future:wait()
    if errors then
      notes[#notes + 1] = { message = ("Which records of %s have more than %d %s could not be read: %s"):format(
        one.step.from, one.step.new, one.step.to, tostring(errors[1])) }
    else
      found[key(one.step)] = records
    end
  end
  return found, notes
end

-- The samples of a list whose usage is above the limit; all of them where the answer does not say it.
local function above(samples, limit)
  local found = {}
  for _, sample in ipairs(samples or {}) do
    if not sample.usage or sample.usage > limit then
      found[#found + 1] = sample
    end
  end
  return found
end

-- How many records have surely more than `new`, and samples of them.
local function count(records, new)
  local limit = records.limit
  if not limit or new >= limit then
    return 0, {}
  end
  local samples = above(records.atLimitFromRecordSamples, new)
  local near = above(records.nearLimitFromRecordSamples, new)
  local total = (records.totalRecordsAtLimit or 0)
    + (new < NEAR * limit and (records.totalRecordsNearLimit or 0) or #near)
  for _, sample in ipairs(near) do
    samples[#samples + 1] = sample
  end
  return total, samples
end

local function names(samples)
  local found = {}
  for i = 1, #samples do
    if i > MOST_SAMPLES then
      found[i] = "…"
      break
    end
    found[i] = samples[i].label and ("%s (%s)"):format(samples[i].label, samples[i].objectId) or samples[i].objectId
  end
  return concat(found, ", ")
end

--- The warnings of a plan.
-- @param plan
-- @param found what read has found
-- @return list of { message =, line =, column = }
function usage.warnings(plan, found)
  local warnings = {}
  for _, step in ipairs(plan.steps) do
    local records = is_asked(step) and found[key(step)]
    local total, samples = 0, nil
    if records then
      total, samples = count(records, step.new)
    end
    if total > 0 then
      warnings[#warnings + 1] = { line = step.line, column = step.column, step = step,
        message = ("%s to %s: at least %d %s more than %d already: %s. They stay so: a limit is not retroactive")
          :format(step.from, step.to, total, total == 1 and "record has" or "records have", step.new, names(samples)) }
    end
  end
  return warnings
end

return usage
