-- HubSpot's error answers. An answer is { status, body = table or string, headers = }; a handler may also raise one.
-- The server adds the correlationId to every table body whose status is "error".
local json = require "simulator.json"

local M = {}

local function answer(status, body)
  body.status = "error"
  return { status = status, body = body }
end

--- 400 for the request as a whole. `details`: a list of { message, in }.
function M.validation(message, details)
  return answer(400, { category = "VALIDATION_ERROR", message = message, errors = details })
end

--- Any other error that names a category.
function M.refusal(status, category, message)
  return answer(status, { category = category, message = message })
end

--- One error of a 207. `context`: name → value, of what identifies the input; HubSpot gives lists of strings.
function M.of_input(category, message, context)
  local lists = {}
  for name, value in pairs(context) do lists[name] = { tostring(value) } end
  return {
    status = "error", category = category, message = message, context = lists,
    subCategory = {}, errors = json.list {}, links = {},
  }
end

function M.no_token()
  return answer(401, {
    category = "INVALID_AUTHENTICATION",
    message = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
      .. "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
  })
end

function M.unknown_token()
  return answer(401, {
    category = "INVALID_AUTHENTICATION",
    message = "The access token provided is invalid. Please check that it is complete and has not been revoked.",
  })
end

function M.expired_token()
  return answer(401, {
    category = "EXPIRED_AUTHENTICATION",
    message = "The OAuth token used to make this call expired 5 minute(s) ago.",
  })
end

function M.missing_scopes()
  local scopes = { "crm.schemas.contacts.write", "crm.schemas.companies.write" }
  local body = {
    category = "MISSING_SCOPES",
    message = "This app hasn't been granted all required scopes to make this call. "
      .. "Read more about required scopes here: https://developers.hubspot.com/scopes.",
    errors = { {
      message = "One or more of the following scopes are required.",
      context = { requiredGranularScopes = scopes },
    } },
    links = { scopes = "https://developers.hubspot.com/scopes" },
  }
  return answer(403, body)
end

-- These come from HubSpot's web layer and name no category.
function M.no_such_path()
  return answer(404, { message = "resource not found" })
end

function M.wrong_method(allowed)
  local refusal = answer(405, { message = "HTTP 405 Method Not Allowed" })
  refusal.headers = { Allow = allowed }
  return refusal
end

function M.wrong_media_type()
  return answer(415, { message = "HTTP 415 Unsupported Media Type" })
end

local LIMIT_NAMES = { TEN_SECONDLY_ROLLING = "ten_secondly_rolling", SECONDLY = "secondly", DAILY = "daily" }

function M.rate_limit(policy)
  return answer(429, {
    errorType = "RATE_LIMIT", policyName = policy, groupName = "publicapi:private-apps:calls",
    message = ("You have reached your %s limit."):format(LIMIT_NAMES[policy] or policy:lower()),
  })
end

return M
