--- What an answer means for each input of its request. Pure.
--
-- It goes in two steps, either of which may be done again: sort says what belongs to which input, judge gives the
-- inputs their outcomes.

local floor, min = math.floor, math.min

local outcome = {}

-- HubSpot's refusals of a whole request that one of its inputs can be the reason of.
local REFUSALS = { [400] = true, [404] = true, [409] = true, [413] = true, [422] = true }

-- What no other request would fare better with, until somebody does something.
local DEAD_ENDS = { [401] = true, [403] = true, [405] = true, [407] = true, [415] = true }

-- So many inputs refused alone, in a row and alike, are no chance: they are spread over all that is under way (divide),
-- and if one of five were good, twenty in a row would be bad once in ninety times.
local MANY = 20

-- So few inputs go alone each: of four with a bad one that takes no more requests than halves of halves, of more bad
-- ones fewer. Where MANY in a row were refused, more of them.
local FEW, FEW_BAD = 4, 16

--- Does the error end the job? What was not applied is left for the next one.
local function ends_job(rules, error)
  local kind = error.kind
  if kind == "config" or kind == "canceled" or DEAD_ENDS[error.http_status] or error.policyName == "DAILY" then
    return true
  elseif kind == "api" or kind == "throttled" or error.retryable then
    return false
  end
  return kind == "protocol" or not (rules.is_once and error.ambiguous)
end

--- Sorts what came for a request by its inputs.
-- @param results, errors as the call returned them
-- @param n inputs
-- @return { whole = the error of the request, or results = place -> result, errors = place -> error, unplaced = list of
--   errors of nobody knows which input }
function outcome.sort(results, errors, n)
  if not results then
    return { whole = errors[1] }
  end
  local sorted = { results = {}, errors = {}, unplaced = {} }
  for i = 1, #results do
    local result = results[i]
    local place = n == 1 and 1 or result.index
    if place then
      sorted.results[place] = result
    end
  end
  for i = 1, errors and #errors or 0 do
    local error = errors[i]
    local place = n == 1 and 1 or error.index
    if place then
      sorted.errors[place] = sorted.errors[place] or error
    else
      sorted.unplaced[#sorted.unplaced + 1] = error
    end
  end
  return sorted
end

local function decide(verdict, item, status, result, error)
  item.status, item.result, item.error = status, result, error
  verdict.decided[#verdict.decided + 1] = item
end

local function decide_all(verdict, items, status, error)
  for i = 1, #items do
    decide(verdict, items[i], status, nil, error)
  end
  return verdict
end

local function part(items, first, last)
  local list = {}
  for i = first, last do
    list[#list + 1] = items[i]
  end
  return list
end

--- They are to be sent again: in halves, or each alone. While nothing has gone well one goes alone before them: is it
-- an input, or is it the request that HubSpot does not like?
local function divide(verdict, items, so_far)
  local first, n = 1, #items
  if so_far.is_bleak and n > FEW then
    verdict.again[1] = { items[1] }
    first = 2
  end
  local few = so_far.refused >= MANY and FEW_BAD or FEW
  local size = n <= few and 1 or floor((n - first + 2) / 2)
  for i = first, n, size do
    verdict.again[#verdict.again + 1] = part(items, i, min(i + size - 1, n))
  end
  return verdict
end

--- The request failed as a whole.
local function judge_whole(rules, items, error, so_far, verdict)
  local may_be_applied = rules.is_once and error.ambiguous
  error.index = #items == 1 and items[1].index or nil
  if ends_job(rules, error) then
    verdict.ends = error
    return may_be_applied and decide_all(verdict, items, "unknown", error) or verdict
  elseif error.retryable then
    verdict.trouble = error
    return verdict
  end
  verdict.is_answered = error.kind == "api" and not may_be_applied
  if may_be_applied then
    verdict.halts = error
    return decide_all(verdict, items, "unknown", error)
  elseif REFUSALS[error.http_status] and rules.isolate and #items > 1 then
    return divide(verdict, items, so_far)
  end
  verdict.refusal = verdict.is_answered and error or nil
  return decide_all(verdict, items, "failed", error)
end

--- Those that nothing was said of by name, though something failed.
local function judge_rest(rules, rest, sorted, so_far, verdict)
  local unplaced = sorted.unplaced
  local error = unplaced[1] or rules.untold
  -- As many errors as inputs without a result: they are those that failed.
  local surely_failed = rules.has_results and #unplaced == #rest and error.kind == "api"
  if rules.isolate and (surely_failed or not rules.is_once) then
    return divide(verdict, rest, so_far)
  end
  return decide_all(verdict, rest, (surely_failed or not rules.is_once) and "failed" or "unknown", error)
end

--- Gives the inputs of a request their outcomes, as far as that is certain.
-- @param rules { is_once =, has_results =, isolate =, untold = error of inputs that nothing was said of }
-- @param items { index =, input = } each; gets status, result, error
-- @param sorted as sort gives it
-- @param so_far { is_bleak = nothing has gone well yet, refused = so many in a row were refused alone, and alike }
-- @return { decided = items, again = lists of items to be sent again, trouble = error that may pass, halts = error that
--   others may meet, too, though this request is not sent again, ends = error that ends the job, is_answered = HubSpot
--   is there, refusal = the error for which all of it has failed }
function outcome.judge(rules, items, sorted, so_far)
  local verdict = { decided = {}, again = {} }
  if sorted.whole then
    return judge_whole(rules, items, sorted.whole, so_far, verdict)
  end
  verdict.is_answered = true
  local rest, has_failed = {}, #sorted.unplaced > 0
  for place = 1, #items do
    local item, result, error = items[place], sorted.results[place], sorted.errors[place]
    if error then
      error.index = item.index
      sorted.some = error
      decide(verdict, item, rules.is_once and error.ambiguous and "unknown" or "failed", nil, error)
    elseif result or not rules.has_results and not has_failed then
      if result then
        result.index = item.index
      end
      decide(verdict, item, "done", result, nil)
    else
      rest[#rest + 1] = item
    end
  end
  local only = #items == 1 and items[1]
  verdict.refusal = only and only.status == "failed" and only.error.kind == "api" and only.error or nil
  if not rest[1] then
    return verdict
  elseif not has_failed and not sorted.some then -- HubSpot tells of no error: it is done, whatever it called the result
    return decide_all(verdict, rest, "done", nil)
  end
  return judge_rest(rules, rest, sorted, so_far, verdict)
end

--- Counts the refusals in a row that were alike.
-- @param refused { n =, category =, message = } so far
-- @param verdict that is added to them
function outcome.count_refusals(refused, verdict)
  local refusal, decided = verdict.refusal, verdict.decided
  if refusal then
    local is_alike = refusal.category == refused.category and refusal.message == refused.message
    return { n = is_alike and refused.n + 1 or 1, category = refusal.category, message = refusal.message }
  end
  for i = 1, #decided do
    if decided[i].status == "done" then
      return { n = 0 }
    end
  end
  return refused
end

--- Have so many been refused that no other is to be tried, as long as nothing has gone well?
function outcome.is_hopeless(refused)
  return refused.n >= MANY
end

return outcome
