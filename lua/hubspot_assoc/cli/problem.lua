--- What goes wrong in a command: a message, what to do next, an exit status. A command raises it; main.lua tells it.

local problem = {}

local Problem = { __name = "hubspot_assoc.cli.problem" }
Problem.__index = Problem

function Problem.__tostring(self)
  return self.message
end

--- Exit statuses, as the manual lists them.
problem.status = {
  done = 0, failed = 1, differs = 2, usage = 64, bug = 70,
  interrupted = 130, closed = 141, -- 128 + SIGINT, 128 + SIGPIPE, as a shell counts
}

--- Raises a problem.
-- @param message string: what is wrong
-- @param advice string or nil: what to do next, a sentence or more
-- @param status exit status, default 1
function problem.raise(message, advice, status)
  error(setmetatable({ message = message, advice = advice, status = status or problem.status.failed }, Problem), 0)
end

function problem.is(value)
  return getmetatable(value) == Problem
end

--- The end of a run of which there is nothing more to say: help was shown, or all has been told already.
-- @param status exit status
function problem.leave(status)
  error(setmetatable({ status = status }, Problem), 0)
end

-- ---- HubSpot's errors ----

local NO_TOKEN = "Set HUBSPOT_ACCESS_TOKEN, or give --token-file FILE or --profile NAME."
local LATER = "Nothing is lost by trying again later."

local by_category = {
  EXPIRED_AUTHENTICATION = "The access token has expired: get a new one, or give OAuth's file with --token-file, "
    .. "which renews it.",
  INVALID_AUTHENTICATION = "HubSpot does not know this access token: copy it anew from HubSpot's settings, and look "
    .. "whether --profile or HUBSPOT_ACCESS_TOKEN is the one you mean.",
  MISSING_SCOPES = "Give the service key or app of this token the scopes that are named, in HubSpot's settings.",
  OBJECT_NOT_FOUND = "'hubspot-assoc labels get FROM TO' lists what a pair has.",
}

local by_kind = {
  timeout = "HubSpot did not answer in time. " .. LATER,
  transport = "Is the network up, and is HUBSPOT_BASE_URL (or the profile's base_url) right?",
  protocol = "That was no answer of HubSpot's API: look at HUBSPOT_BASE_URL, and at what stands between (a proxy?).",
  canceled = LATER,
}

local function in_words(seconds)
  if seconds < 120 then return ("%d s"):format(math.ceil(seconds)) end
  return ("%d minutes"):format(math.ceil(seconds / 60))
end

--- What to do about an error list of the library.
-- @param errors as calls return it
-- @return string or nil
function problem.advice(errors)
  local first = errors[1] or {}
  local text = tostring(first.message or "")
  if first.ambiguous then
    return "It may have been applied all the same: look before you repeat it."
  elseif text:find("invalid_grant", 1, true) then
    return "Authorize the app anew, and put the refresh token that you get into the token file."
  elseif text:find("invalid_client", 1, true) then
    return "Look at client_id and client_secret in the token file."
  elseif first.retry_after then
    return ("Try again in %s."):format(in_words(first.retry_after))
  elseif first.code == "tls" then
    return "Where a proxy opens TLS, CURL_CA_BUNDLE=FILE names the authorities to trust."
  elseif text:find("environment's HUBSPOT_", 1, true) then
    return "Correct that variable, or unset it."
  elseif first.kind == "config" and text:find("token", 1, true) then
    return NO_TOKEN
  elseif first.label and first.kind == "config" then
    return by_category.OBJECT_NOT_FOUND
  elseif first.label and first.category == "VALIDATION_ERROR" then
    return "'hubspot-assoc limits get FROM TO' shows the limits. A label's must not exceed the pair's (unlabelled=…): "
      .. "'limits set' takes both at once."
  elseif first.kind == "throttled" then
    return "HubSpot's rate or daily limit is used up. " .. LATER
  elseif by_category[first.category] then
    return by_category[first.category]
  elseif first.http_status == 401 then
    return by_category.INVALID_AUTHENTICATION
  elseif first.http_status == 403 then
    return by_category.MISSING_SCOPES
  elseif first.http_status == 400 and text:lower():find("object type", 1, true) then
    return "Object types are names (contacts, companies, deals, tickets, p_thing) or ids (0-1, 2-1234567)."
  elseif first.kind == "api" and (first.http_status or 0) >= 500 then
    return "HubSpot is in trouble. " .. LATER
  elseif first.kind == "api" then
    return "HubSpot refuses this as it is: change what it names, then run it again."
  end
  return by_kind[first.kind] or "Nothing of this was done. 'hubspot-assoc -v …' shows the requests."
end

--- An error list of the library in words. What only says what is wrong with a label's name needs no call around it.
function problem.describe(errors)
  local messages = {}
  for i, failure in ipairs(errors) do
    if failure.kind ~= "config" then return tostring(errors) end
    messages[i] = failure.message
  end
  return table.concat(messages, "\n")
end

--- Returns results and response, or raises the errors as a problem.
function problem.check(results, errors, response)
  if errors then
    problem.raise(problem.describe(errors), problem.advice(errors))
  end
  return results, response
end

return problem
