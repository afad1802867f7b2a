-- Which tokens are good. Nothing is checked against a list: the token's own text says how it shall be received.
local errors = require "simulator.errors"

local M = {}

--- The token of an Authorization header, or "".
function M.token(header)
  return header and header:match "^[Bb]earer%s+(%S+)$" or ""
end

--- nil if the token is good, else the answer that refuses it.
function M.refusal(token)
  if token == "" then return errors.no_token() end
  if token:find("expired", 1, true) then return errors.expired_token() end
  if token:find("noscope", 1, true) then return errors.missing_scopes() end
  if not (token:find "^pat%-" or token:find("simulator", 1, true)) then return errors.unknown_token() end
end

return M
