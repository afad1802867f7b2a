-- Faults on demand: an answer that is not HubSpot's usual one. See README.md for the fields of a fault.
local ngx = ngx
local errors = require "simulator.errors"
local json = require "simulator.json"

local M = {}

--- What a fault may say, and of which Lua type each field is.
M.FIELDS = {
  status = "number", body = "any", headers = "table", delay = "number", close = "boolean", after = "boolean",
  retry_after = "any", policy = "string", times = "number", skip = "number",
}

--- Queues a fault: the account's next `skip` calls pass, then `times` calls meet it.
function M.add(account, fault)
  fault.times, fault.skip = fault.times or 1, fault.skip or 0
  if fault.times > 0 then table.insert(account.faults, fault) end
end

local function take_queued(account)
  local fault = account.faults[1]
  if not fault then return end
  if fault.skip > 0 then
    fault.skip = fault.skip - 1
    return
  end
  fault.times = fault.times - 1
  if fault.times <= 0 then table.remove(account.faults, 1) end
  return fault
end

-- "status=503; times=2; close" → { status = 503, times = 2, close = true }; raises a 400 for what it does not know.
local function parse(header)
  local fault = {}
  for item in header:gmatch "[^;]+" do
    local name, value = item:match "^%s*([%w_]+)%s*=?%s*(.-)%s*$"
    local kind = name == "date_in" and "number" or M.FIELDS[name]
    if kind == "number" then value = tonumber(value) elseif kind == "boolean" then value = true end
    if not kind or kind == "table" or value == nil then
      error(errors.validation("X-Simulator-Fault: what is " .. item))
    end
    fault[name] = value
  end
  if fault.date_in then fault.retry_after = { date_in = fault.date_in } end
  return fault
end

-- The fault that a request brings along. With `times`, only that many requests with the same header meet it:
-- a client that sends the header with each of its attempts gets through in the end.
local function take_header(account, header)
  local fault = parse(header)
  local seen = (account.seen_headers[header] or 0) + 1
  account.seen_headers[header] = seen
  if seen <= (fault.skip or 0) then return end
  if fault.times and seen > (fault.skip or 0) + fault.times then return end
  return fault
end

--- The fault that this call meets, or nil.
function M.take(account, header)
  return header and take_header(account, header) or take_queued(account)
end

local PAGE = "<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr></body></html>\n"

-- What is answered where a fault names a status but no body. An edge answers with a page, HubSpot with JSON.
local function usual_answer(status, policy)
  if status < 300 then return { status = status } end
  if status == 401 then return errors.expired_token() end
  if status == 403 then return errors.missing_scopes() end
  if status == 404 then return errors.no_such_path() end
  if status == 429 then return errors.rate_limit(policy or "TEN_SECONDLY_ROLLING") end
  if status > 500 then return { status = status, body = PAGE:format(status, status) } end
  return { status = status, body = { status = "error", message = ("HTTP %d (simulated)"):format(status) } }
end

local function retry_after(wanted)
  if type(wanted) ~= "table" then return wanted end
  return ngx.http_time(math.ceil(ngx.now() + wanted.date_in))
end

--- The answer under a fault. `serve()` carries the call out and returns its proper answer: before the fault if it says
-- `after`, else only if the fault leaves the answer as it is. nil: close without any answer.
function M.answer(fault, serve)
  local answer = fault.after and serve()
  if fault.delay then ngx.sleep(fault.delay) end
  if fault.close then return nil end
  if fault.status then answer = usual_answer(fault.status, fault.policy) end
  answer = answer or serve()
  if fault.body ~= nil and fault.body ~= json.null then answer.body = fault.body end
  answer.headers = answer.headers or {}
  for name, value in pairs(fault.headers or {}) do answer.headers[name] = tostring(value) end
  if fault.retry_after then answer.headers["Retry-After"] = retry_after(fault.retry_after) end
  return answer
end

return M
