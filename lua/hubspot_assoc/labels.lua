--- Labels by their names: what associate and archive_labels need for them.

local core = require "hubspot_assoc.core"
local label_index = require "hubspot_assoc.label_index"
local room = require "hubspot_assoc.room"

local error, getmetatable, ipairs = error, getmetatable, ipairs
local select, setmetatable, type = select, setmetatable, type

local ANY_TIME = -1 -- s on core.now's clock

local LabelTypes = { __name = "hubspot_assoc.label_types" }
LabelTypes.__index = LabelTypes

function LabelTypes:__tostring()
  return ("hubspot_assoc.label_types: %s -> %s"):format(self.from, self.to)
end

local function expect_types(self, name)
  if getmetatable(self) ~= LabelTypes then
    error(("'%s' is a method of label types: call it with a colon, types:%s(...)"):format(name, name), 3)
  end
end

local KEPT = {} -- the key of a client's field

--- What is kept of a client. Each table's keys are pairs, "from\0to".
local function kept_of(client)
  local kept = client[KEPT]
  if not kept then
    kept = { types = {}, reads = {} } -- label types; reads under way: { future =, began = }
    client[KEPT] = kept
  end
  return kept
end

--- The label types of a direction if they have been read, by a request that began at this time or later.
local function find_kept(client, from, to, since)
  local types = kept_of(client).types[from .. "\0" .. to]
  return types and types.began >= since and types or nil
end

--- Keeps what was read. Each direction has one object, whatever it is read for and how often.
local function keep(client, from, to, rows, response, began)
  local types, key = kept_of(client).types, from .. "\0" .. to
  local kept = types[key] or setmetatable({ client = client, from = from, to = to }, LabelTypes)
  kept.index, kept.response, kept.began = label_index.new(rows), response, began
  types[key] = kept
  return kept
end

--- Has a request for the labels of a direction begun, unless there is one that is new enough.
local function begin_read(client, from, to, options, since)
  local reads, key = kept_of(client).reads, from .. "\0" .. to
  local read = reads[key]
  if not read or read.began < since then
    local call = room.make_call(client, 1, "label_types", "get_labels", from, to, options)
    read = { began = core.now(), future = room.begin(client, 1, "label_types", call) }
    reads[key] = read
  end
  return read
end

--- The label types of a direction. Coroutines that want the same at the same time share one request.
-- @param since the time before which it must not have begun
-- @return label types, nil, response; or nil, errors, response
local function read_direction(client, from, to, options, since)
  local kept = find_kept(client, from, to, since)
  if kept then
    return kept, nil, kept.response
  end
  local reads, key = kept_of(client).reads, from .. "\0" .. to
  local read = begin_read(client, from, to, options, since)
  local rows, errors, response = read.future:wait()
  if reads[key] == read then
    reads[key] = nil
  end
  if errors then
    return nil, errors, response
  end
  return find_kept(client, from, to, read.began) or keep(client, from, to, rows, response, read.began), nil, response
end

--- May one of these be one side of a paired label, whose other side has a text of its own?
local function has_own_labels(types)
  for _, row in ipairs(types.index.rows) do
    if row.label and row.category == "USER_DEFINED" then
      return true
    end
  end
  return false
end

--- The label types of a pair of object types; those of the other direction are read, too, if there may be paired
-- labels. (HubSpot does not say which are.)
-- @return label types, nil, response; or nil, errors, response
local function read_pair(client, from, to, options, since)
  local types, errors, response = read_direction(client, from, to, options, since)
  if types and from ~= to and has_own_labels(types) then
    local others, other_errors, other_response = read_direction(client, to, from, options, since)
    if not others then
      return nil, other_errors, other_response
    end
  end
  return types, errors, response
end

local function check_names(...)
  local n = select("#", ...)
  for i = 1, n > 0 and n or 1 do
    local name = select(i, ...)
    if type(name) ~= "string" then
      error(('bad argument #%d to \'of\' (the name of a label expected, or "unlabelled", got %s)')
        :format(i, n > 0 and type(name) or "no value"), 3)
    end
  end
  return n
end

--- The association type of this name.
-- @param hint what else to know where there is none, or nil
-- @return row, or nil and an error
local function find_row(types, name)
  local row, problem = label_index.find(types.index, name,
    "; of labels made since these were read types:refresh() tells")
  local inverse = not row and find_kept(types.client, types.to, types.from, ANY_TIME)
  if inverse and not types.index.by_name[name] and inverse.index.by_name[name] then
    problem = ('"%s" is its name in the other direction, %s -> %s: associate from there, with types:inverse():of("%s")')
      :format(name, types.to, types.from, name)
  end
  return row, problem and room.new_error { kind = "config", message = problem, call = "label_types",
    from = types.from, to = types.to, label = name }
end

--- Turns names of labels into the `types` of an input for associate and archive_labels, or of associate_one.
-- @param ... one name or more: a label's text, exactly as HubSpot has it; "unlabelled"; or, where several have the same
--   text, category and type id: "USER_DEFINED:38"
-- @return list of { associationCategory =, associationTypeId = }, a new one each time; or nil and errors of kind
--   "config", one for each name that nothing or more than one thing has, with the field `label`. Raises if a name is no
--   string.
function LabelTypes:of(...)
  expect_types(self, "of")
  local types, problems, seen = {}, {}, {}
  for i = 1, check_names(...) do
    local row, problem = find_row(self, (select(i, ...)))
    if problem then
      problems[#problems + 1] = problem
    elseif not seen[row] then
      seen[row] = true
      types[#types + 1] = { associationCategory = row.category, associationTypeId = row.typeId }
    end
  end
  if problems[1] then
    return nil, core.errors(problems)
  end
  return types
end

--- What `of` has names for: a list of them, in HubSpot's order.
function LabelTypes:names()
  expect_types(self, "names")
  local names = {}
  for i, name in ipairs(self.index.names) do
    names[i] = name
  end
  return names
end

local methods = {}

--- The label types of the other direction, where the other side of a paired label has its own name and type.
-- @return as client:label_types(to, from) does
function LabelTypes:inverse()
  expect_types(self, "inverse")
  local types, errors, response = methods.label_types(self.client, 2, self.to, self.from)
  return types, errors, response
end

--- Reads the labels anew; the other direction's, too, where they had been read.
-- @return the label types, nil, response; or nil, errors, response, and they stay as they were
function LabelTypes:refresh()
  expect_types(self, "refresh")
  local types, errors, response = read_pair(self.client, self.from, self.to, nil, core.now())
  return types, errors, response
end

--- The labels of a pair of object types by name (HubSpot: Associations v4 > Retrieve association types). They are read
-- once for each client, in both directions if there are labels of one's own, and kept; `refresh` reads them anew.
--
--     local types = assoc.check(client:label_types("contacts", "companies"))
--     local employee = assoc.check(types:of("Employee"))
--     client:associate_one("contacts", 101, "companies", 201, employee)
--
-- @param from, to object types
-- @param options call options, for each of the requests
-- @return an object with the methods of(name, ...), names(), inverse() and refresh(), nil, the response of get_labels;
--   or nil, errors, response
function methods.label_types(client, level, from, to, options)
  room.check_call(client, level, "label_types", "get_labels", from, to, options)
  if not find_kept(client, from, to, ANY_TIME) then
    room.check_wait(client, level, "label_types")
  end
  return read_pair(client, from, to, options, ANY_TIME)
end

return methods
