-- A HubSpot for the specs of bulk jobs, in place of the network (option transport): it remembers how often each input
-- was applied, and does what a spec wants with requests and inputs.
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local to_json = require "hubspot_assoc.json"

local bulk_server = {}

local function key_of(input)
  return input.from and input.from.id .. ">" .. (input.to.id or #input.to) or input.category .. input.typeId
end

local function result_of(call, input)
  if call == "associate/default" then return { from = input.from, to = input.to, associationSpec = {} } end
  if call == "batch/create" and input.from then
    return { fromObjectId = input.from.id, toObjectId = input.to.id, labels = {} }
  end
  return { category = input.category, typeId = input.typeId, userEnforcedMaxToObjectIds = input.maxToObjectIds }
end

local function context_of(input)
  if input.from then
    return { fromObjectId = { input.from.id }, toObjectId = input.to.id and { input.to.id } or nil }
  end
  return { category = { input.category }, typeId = { tostring(input.typeId) } }
end

local function refusal(status, fields)
  return { status = status, headers = {}, body = to_json(fields) }
end

-- what: on_request(inputs, number) → a response in place of ours, or nil; fails(input) → the input's message in a 207;
-- names (default true): do these errors say of which input they are?; refuses(input) → the message of a 400 for the
-- whole request.
function bulk_server.new(what)
  local server = { applied = {}, sizes = {}, order = {} }
  what = what or {}

  local function answer(call, inputs)
    for _, input in ipairs(inputs) do
      local message = what.refuses and what.refuses(input)
      if message then return refusal(400, { status = "error", category = "VALIDATION_ERROR", message = message }) end
    end
    local results, errors = {}, {}
    for i = #inputs, 1, -1 do -- results come in no order of ours
      local input = inputs[i]
      local message = what.fails and what.fails(input)
      if message then
        errors[#errors + 1] = { status = "error", category = "VALIDATION_ERROR", message = message,
          context = what.names ~= false and context_of(input) or nil }
      else
        server.applied[key_of(input)] = (server.applied[key_of(input)] or 0) + 1
        results[#results + 1] = result_of(call, input)
      end
    end
    local gives_results = not call:find "archive" and not call:find "purge"
    if not gives_results and #errors == 0 then return { status = 204, headers = {}, body = "" } end
    return refusal(#errors > 0 and 207 or 200, { status = "COMPLETE", results = gives_results and results or {},
      numErrors = #errors > 0 and #errors or nil, errors = #errors > 0 and errors or nil })
  end

  local function respond(request)
    local inputs = core.decode(request.body).inputs
    server.sizes[#server.sizes + 1] = #inputs
    for i = 1, #inputs do server.order[#server.order + 1] = inputs[i] end
    local call = request.url:match "batch/(.*)$"
    call = (call == "associate/default" or call == "archive" or call == "labels/archive") and call or "batch/" .. call
    local response, problem = nil, nil
    if what.on_request then response, problem = what.on_request(inputs, #server.sizes) end
    if response == "apply" then -- and lose the answer
      answer(call, inputs)
      return nil, problem
    elseif response ~= nil or problem then
      return response or nil, problem
    end
    return answer(call, inputs)
  end

  function server.transport(request)
    bulk_server.is_answering = true -- an error in a transport is an answer, of a kind
    local response, problem = respond(request)
    bulk_server.is_answering = false
    return response, problem
  end

  function server.client(options)
    local all = { access_token = "pat-x", base_url = "http://127.0.0.1:1", transport = server.transport, rate = false,
      max_attempts = 1, io_thread = false, skip_waits = true }
    for name, value in pairs(options or {}) do all[name] = value end
    return assoc.new(all)
  end

  return server
end

-- A pair as associate_default takes it.
function bulk_server.pair(from, to)
  return { from = { id = from }, to = { id = to or 7 } }
end

-- So many pairs.
function bulk_server.pairs(n)
  local list = {}
  for i = 1, n do list[i] = bulk_server.pair(i) end
  return list
end

-- A response with an error body.
bulk_server.refusal = refusal

-- A status without anything.
function bulk_server.status(status, headers)
  return { status = status, headers = headers or {}, body = "" }
end

return bulk_server
