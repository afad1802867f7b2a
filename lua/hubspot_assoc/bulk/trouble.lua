--- Trouble that may pass: how long a bulk job holds still, and when it gives up. Pure: time is a parameter.
--
-- A request that met it is put off for a while of its own, and the whole job holds still: then one request goes first,
-- and only when it was answered do the others follow. While others are answered, trouble is the request's own.

local max, min = math.max, math.min

local FIRST, LONGEST = 1, 60 -- s

local trouble = {}

--- The pause after the n-th try that failed, a random part of it at least a half: those that failed together do not
-- come back together.
-- @param random from 0 to 1
local function pause_after(n, random)
  return min(LONGEST, FIRST * 2 ^ min(n - 1, 10)) * (0.5 + random / 2)
end

--- The time to try again, or nil if it is not worth waiting for.
-- @param named s, what HubSpot asks for, or nil
-- @param give_up_at a wait is not begun that would last longer
local function next_try(now, pause, named, give_up_at)
  if now >= give_up_at or named and now + named > give_up_at then
    return nil
  end
  return min(now + max(pause, named or 0), give_up_at)
end

--- A request has met trouble.
-- @param state the job's since it met trouble first, nil before: { since =, tries =, resume_at =, error = }
-- @param request { sent_at =, since = when it met trouble first, tries =, is_probe = it went alone }
-- @param error that it met
-- @param patience s, after which what has not passed is given up
-- @return the job's new state, and the request's { since =, tries =, not_before = }; nil in place of either gives it up
function trouble.meet(state, request, error, now, patience, random)
  local whole = state or { since = request.sent_at, tries = 0, resume_at = now }
  local tries = whole.tries + ((not state or request.is_probe) and 1 or 0)
  local resume_at = next_try(now, pause_after(tries, random), error.retry_after, whole.since + patience)
  local since, own_tries = request.since or request.sent_at, (request.tries or 0) + 1
  local not_before = next_try(now, pause_after(own_tries, random), error.retry_after, since + patience)
  if resume_at and tries == whole.tries then -- it had left before the others knew
    resume_at = max(whole.resume_at, error.retry_after and resume_at or 0)
  end
  return resume_at and { since = whole.since, tries = tries, resume_at = resume_at, error = error },
    not_before and { since = since, tries = own_tries, not_before = not_before }
end

return trouble
