-- Which handler answers which path. To add a call: a row here and a handler.
local errors = require "simulator.errors"
local labels = require "simulator.labels"
local limits = require "simulator.limits"
local oauth = require "simulator.oauth"
local records = require "simulator.records"
local usage = require "simulator.usage"

local M = {}

-- method, parts of the path, handler. {date} stands for a dated version, any other {name} for a segment to hand on.
local ROUTES = {}

local function route(method, path, handler)
  local parts = {}
  for part in path:gmatch "[^/]+" do parts[#parts + 1] = part end
  ROUTES[#ROUTES + 1] = { method = method, parts = parts, handler = handler }
end

for _, prefix in ipairs {
  "/crm/associations/v4/definitions/configurations", -- as documented
  "/crm/v4/associations/definitions/configurations", -- as HubSpot's own clients spell it
  "/crm/associations/{date}/definitions/configurations",
} do
  route("GET", prefix .. "/all", limits.read_all)
  route("GET", prefix .. "/{from}/{to}", limits.read_pair)
  route("POST", prefix .. "/{from}/{to}/batch/create", limits.create)
  route("POST", prefix .. "/{from}/{to}/batch/update", limits.update)
  route("POST", prefix .. "/{from}/{to}/batch/purge", limits.purge)
end

for _, prefix in ipairs {
  "/crm/associations/v4/{from}/{to}/labels", -- both are documented
  "/crm/v4/associations/{from}/{to}/labels",
  "/crm/associations/{date}/{from}/{to}/labels",
} do
  route("GET", prefix, labels.read)
  route("POST", prefix, labels.create)
  route("PUT", prefix, labels.update)
  route("DELETE", prefix .. "/{typeId}", labels.delete)
end

for _, prefix in ipairs { "/crm/v4/associations", "/crm/associations/{date}" } do
  route("POST", prefix .. "/{from}/{to}/batch/create", records.associate)
  route("POST", prefix .. "/{from}/{to}/batch/associate/default", records.associate_default)
  route("POST", prefix .. "/{from}/{to}/batch/read", records.read)
  route("POST", prefix .. "/{from}/{to}/batch/archive", records.archive)
  route("POST", prefix .. "/{from}/{to}/batch/labels/archive", records.archive_labels)
  route("POST", prefix .. "/usage/high-usage-report/{userId}", records.request_usage_report)
end

for _, prefix in ipairs { "/crm/v4/objects", "/crm/objects/{date}" } do
  route("GET", prefix .. "/{from}/{fromId}/associations/{to}", records.list)
  route("PUT", prefix .. "/{from}/{fromId}/associations/{to}/{toId}", records.associate_one)
  route("PUT", prefix .. "/{from}/{fromId}/associations/default/{to}/{toId}", records.associate_one_default)
  route("DELETE", prefix .. "/{from}/{fromId}/associations/{to}/{toId}", records.archive_one)
end

for _, prefix in ipairs { "/crm/v3/limits/associations", "/crm/limits/{date}/associations" } do
  route("GET", prefix .. "/records/from", usage.types_from)
  route("GET", prefix .. "/records/{from}/to", usage.types_to)
  route("GET", prefix .. "/records/{from}/{to}", usage.records)
  route("GET", prefix .. "/labels", usage.labels)
end

route("POST", "/oauth/{date}/token", oauth.token)

-- Dated versions begin with 2025-09; any later one is taken for granted.
local function is_date(text)
  return text:find "^%d%d%d%d%-%d%d$" and text >= "2025-09"
end

-- The segments of a route if a path's parts fit it.
local function match(parts, wanted)
  if #parts ~= #wanted then return end
  local segments = { version = "v4" }
  for i, part in ipairs(parts) do
    local name = wanted[i]:match "^{(.*)}$"
    if name == "date" then
      if not is_date(part) then return end
      segments.version = part
    elseif name then
      segments[name] = part
    elseif part ~= wanted[i] then
      return
    end
  end
  return segments
end

--- The handler of a call and its segments, or nil and the answer that refuses it.
-- `parts`: the path's segments, each percent-decoded after the path was split.
function M.find(method, parts)
  local allowed = {}
  for _, candidate in ipairs(ROUTES) do
    local segments = match(parts, candidate.parts)
    if segments and candidate.method == method then return candidate.handler, segments end
    if segments then allowed[#allowed + 1] = candidate.method end
  end
  if #allowed > 0 then return nil, errors.wrong_method(table.concat(allowed, ", ")) end
  return nil, errors.no_such_path()
end

return M
