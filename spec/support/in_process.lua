-- The simulator's handlers in the spec's own process, as a client's transport: the same rules, without a network. What
-- an account has can be looked at, and set, directly.
local in_process = {}

-- The simulator requires its files as simulator.NAME; here they are under simulator/lua.
local function simulator_require(name)
  local file = name:match "^simulator%.([%w_]+)$"
  if not file then return "\n\tno file of the simulator's" end
  return assert(loadfile("simulator/lua/" .. file .. ".lua"))
end
table.insert(package.searchers or package.loaders, 2, simulator_require) -- luacheck: ignore

local accounts = require "simulator.account"
local json = require "simulator.json"
local routes = require "simulator.routes"
local schema = require "simulator.schema"

local function split(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    parts[#parts + 1] = part:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return parts
end

local function decode_query(text)
  local query = {}
  for name, value in (text or ""):gmatch "([^&=]+)=([^&]*)" do query[name] = value end
  return query
end

-- Carries a request out: what a transport returns.
function in_process.answer(account, request)
  local path, query = request.url:match "^%w+://[^/]+([^?]*)%??(.*)$"
  local handler, segments = routes.find(request.method, split(path))
  local answer = segments
  if handler then
    local _
    _, answer = pcall(handler, { account = account, version = segments.version, segments = segments,
      query = decode_query(query), body = request.body, arrived = 0, now = function() return 0 end })
  end
  assert(type(answer) == "table", answer)
  local body = answer.body
  return { status = answer.status, body = type(body) == "table" and json.encode(body) or body or "" }
end

-- A new account, without labels of its own and without limits.
function in_process.account()
  in_process.count = (in_process.count or 0) + 1
  local token = "pat-in-process-" .. in_process.count
  accounts.reset(token, true)
  local account = accounts.of(token)
  for i = #account.types, 1, -1 do
    if account.types[i].category == "USER_DEFINED" then table.remove(account.types, i) end
  end
  return account
end

-- Leaves it only the types of these pairs, { from =, to = } each: that is faster.
function in_process.keep_pairs(account, list)
  local kept = {}
  for _, pair in ipairs(list) do
    kept[schema.object_type(pair.from) .. schema.object_type(pair.to)] = true
    kept[schema.object_type(pair.to) .. schema.object_type(pair.from)] = true
  end
  for i = #account.types, 1, -1 do
    if not kept[account.types[i].from .. account.types[i].to] then table.remove(account.types, i) end
  end
end

-- A client of it. `before(request, number)` may return what is to be returned in place of an answer, as a table.
function in_process.client(account, before, changes)
  local number = 0
  local options = { access_token = "pat-in-process", base_url = "https://hubspot.example", rate = false,
    max_attempts = 1, io_thread = false, transport = function(request)
      number = number + 1
      local instead = before and before(request, number)
      if instead then return instead[1], instead[2] end
      return in_process.answer(account, request)
    end }
  for name, value in pairs(changes or {}) do options[name] = value end
  return require "hubspot_assoc".new(options)
end

-- Adds a label: both directions, as create_label does.
function in_process.add_label(account, from, to, label, inverse_label)
  local from_id, to_id = schema.object_type(from), schema.object_type(to)
  local name = ("%s %s %s %s"):format(from_id, to_id, label, inverse_label or label)
  local function add(a, b, text)
    return account:add_type { from = a, to = b, category = "USER_DEFINED", name = name, type_id = account:new_type_id(),
      label = text }
  end
  local kind = add(from_id, to_id, label)
  if inverse_label or from_id ~= to_id then return kind, add(to_id, from_id, inverse_label or label) end
  return kind
end

-- The type with this label (nil: the unlabelled one) of a pair.
function in_process.kind(account, from, to, label)
  for _, kind in ipairs(account:types_of(schema.object_type(from), schema.object_type(to))) do
    if kind.label == label then return kind end
  end
end

-- What a direction has, without ids: { "label=Employee USER_DEFINED limit=5", ... } sorted.
function in_process.direction(account, from, to)
  local list = {}
  for _, kind in ipairs(account:types_of(schema.object_type(from), schema.object_type(to))) do
    local limit = account.limits[kind]
    list[#list + 1] = ("%s %s %s"):format(kind.category, tostring(kind.label), limit and ("%d"):format(limit) or "none")
  end
  table.sort(list)
  return list
end

return in_process
