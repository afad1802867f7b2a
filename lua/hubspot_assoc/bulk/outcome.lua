--- What an answer means for each input of its request. Pure.
--
-- It goes in two steps, either of which may be done again: sort says what belongs to which input, judge gives the
-- inputs their outcomes.

local floor = math.floor

local outcome = {}

-- HubSpot's refusals of a whole request that one of its inputs can be the reason of.
local REFUSALS = { [400] = true, [409] = true, [413] = true, [422] = true }

-- What no other request would fare better with, until somebody does something.
local DEAD_ENDS = { [401] = true, [403] = true, [407] = true }

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

--- They are to be sent again in two requests, or alone.
local function halve(verdict, items)
  local middle = floor((#items + 1) / 2)
  local first, second = {}, {}
  for i = 1, #items do
    local half = i <= middle and first or second
    half[#half + 1] = items[i]
  end
  verdict.again[1] = first
  verdict.again[2] = second[1] and second or nil
  return verdict
end

--- The request failed as a whole.
local function judge_whole(rules, items, error, verdict)
  local may_be_applied = rules.is_once and error.ambiguous
  error.index = #items == 1 and items[1].index or nil
  if ends_job(rules, error) then
    verdict.ends = error
    return may_be_applied and decide_all(verdict, items, "unknown", error) or verdict
  elseif error.retryable then
    verdict.trouble = error
    return verdict
  end
  verdict.is_answered = error.kind == "api"
  if may_be_applied then
    return decide_all(verdict, items, "unknown", error)
  elseif REFUSALS[error.http_status] and rules.isolate and #items > 1 then
    return halve(verdict, items)
  end
  verdict.refusal = REFUSALS[error.http_status] and #items == 1 and error or nil
  return decide_all(verdict, items, "failed", error)
end

--- Those that nothing was said of by name, though something failed.
local function judge_rest(rules, rest, sorted, verdict)
  local unplaced = sorted.unplaced
  local error = unplaced[1] or rules.untold
  -- As many errors as inputs without a result: they are those that failed.
  local surely_failed = rules.has_results and #unplaced == #rest and error.kind == "api"
  if rules.isolate and (surely_failed or not rules.is_once) then
    return halve(verdict, rest)
  end
  return decide_all(verdict, rest, (surely_failed or not rules.is_once) and "failed" or "unknown", error)
end

--- Gives the inputs of a request their outcomes, as far as that is certain.
-- @param rules { is_once =, has_results =, isolate =, untold = error of inputs that nothing was said of }
-- @param items { index =, input = } each; gets status, result, error
-- @param sorted as sort gives it
-- @return { decided = items, again = lists of items to be sent again, trouble = error that may pass, ends = error that
--   ends the job, is_answered = HubSpot is there, refusal = error of an input that was refused alone }
function outcome.judge(rules, items, sorted)
  local verdict = { decided = {}, again = {} }
  if sorted.whole then
    return judge_whole(rules, items, sorted.whole, verdict)
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
  if not rest[1] then
    return verdict
  elseif not has_failed and not sorted.some then -- HubSpot tells of no error: it is done, whatever it called the result
    return decide_all(verdict, rest, "done", nil)
  end
  return judge_rest(rules, rest, sorted, verdict)
end

return outcome
