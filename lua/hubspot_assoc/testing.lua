--- Tests of your own code, without HubSpot: a fake in place of the network, and recordings of it.
--
--     local testing = require "hubspot_assoc.testing"
--     local fake = testing.new {
--       get_limits = { results = { { category = "HUBSPOT_DEFINED", typeId = 279 } } },
--       batch_update = { { status = 429 }, "timeout", { results = { ... } } }, -- one after the other
--     }
--     code_under_test(fake:client())
--     assert.equal(279, fake.requests[2].inputs[1].typeId)
--     fake:check()
--
-- Checks of arguments, retries, rate, decoding and errors are the library's own, as with HubSpot (option transport);
-- but nothing is waited for (option skip_waits). testing.record writes down what HubSpot answers, testing.replay
-- answers from that.

local ask = require "hubspot_assoc.pcall".ask
local assoc = require "hubspot_assoc"
local core = require "hubspot_assoc.core"
local names_of = require "hubspot_assoc.names"
local nearest = require "hubspot_assoc.nearest"
local output = require "hubspot_assoc.output"
local to_json = require "hubspot_assoc.json"

local error, getmetatable, ipairs, pairs, pcall = error, getmetatable, ipairs, pairs, pcall
local setmetatable, tostring, type = setmetatable, tostring, type
local concat = table.concat
local loaded, open, getenv = package.loaded, io.open, os.getenv

---@type hubspot_assoc.testing
local testing = {}

-- ---- answers ----

--- What may go wrong instead of an answer: as in the option transport.
local FAULTS = { "timeout", "resolve", "connect", "tls", "proxy", "send", "receive", "other" }
local FIELDS = { "status", "headers", "body", "results", "errors" }

local function is_among(list, value)
  for i = 1, #list do
    if list[i] == value then
      return true
    end
  end
  return false
end

--- "unknown field; did you mean 'status'?"
local function unknown(what, name, names)
  local like = nearest(name, names)[1]
  return "unknown " .. what .. (like and ("; did you mean '%s'?"):format(like) or "")
end

local function copy(from, to)
  for name, value in pairs(from) do
    to[name] = value
  end
  return to
end

local function check_field(answer, name, expected, place)
  local value = answer[name]
  if value ~= nil and not expected[type(value)] then
    error(("%s.%s: %s expected, got %s"):format(place, name, expected.text, type(value)), 0)
  end
end

local TABLE = { table = true, text = "table" }
local BODY = { table = true, string = true, text = "table or string" }

local function check_response(answer, place)
  for name in pairs(answer) do
    if not is_among(FIELDS, name) then
      error(("%s.%s: %s"):format(place, tostring(name), unknown("field", tostring(name), FIELDS)), 0)
    end
  end
  local status = answer.status
  if status ~= nil and not (type(status) == "number" and status >= 200 and status <= 599 and status % 1 == 0) then
    error(("%s.status: integer from 200 to 599 expected, got %s"):format(place, tostring(status)), 0)
  end
  check_field(answer, "headers", TABLE, place)
  check_field(answer, "body", BODY, place)
  check_field(answer, "results", TABLE, place)
  check_field(answer, "errors", TABLE, place)
  if answer.body ~= nil and (answer.results or answer.errors) then
    error(place .. ".body: give this, or results and errors", 0)
  end
end

--- Raises unless it is an answer: a response or a fault.
local function check_answer(answer, place)
  if type(answer) == "string" then
    if not is_among(FAULTS, answer) then
      error(("%s: %s"):format(place, unknown(('fault "%s"'):format(answer), answer, FAULTS)), 0)
    end
  elseif type(answer) == "table" then
    check_response(answer, place)
  else
    error(("%s: answer expected (a table with any of %s, or a fault's name), got %s"):format(place,
      concat(FIELDS, ", "), type(answer)), 0)
  end
end

--- HubSpot's envelope of a batch.
local function envelope(answer)
  local errors = answer.errors
  return {
    status = "COMPLETE", startedAt = "2026-01-01T00:00:00Z", completedAt = "2026-01-01T00:00:00Z",
    results = answer.results or {}, errors = errors, numErrors = errors and #errors,
  }
end

--- What the option transport returns for an answer.
local function to_response(answer, place)
  if type(answer) == "string" then
    return nil, answer
  end
  local body = answer.body
  if answer.results or answer.errors then
    body = envelope(answer)
  end
  if type(body) == "table" then
    local ok, text = pcall(to_json, body)
    if not ok then
      error(("%s.body: %s cannot be JSON"):format(place, text), 0)
    end
    body = text
  end
  return { status = answer.status or (answer.errors and 207 or 200), headers = answer.headers, body = body }
end

-- ---- requests ----

local function path_of(url)
  return url:match("^%a+://[^/]*(/.*)$") or "/"
end

--- What a test may want to know of a request.
local function describe(request)
  local data = request.body and core.decode(request.body) or nil
  return {
    call = request.call, from = request.from, to = request.to, attempt = request.attempt,
    method = request.method, path = path_of(request.url), url = request.url,
    headers = request.headers, body = request.body, data = data,
    inputs = type(data) == "table" and data.inputs or nil,
  }
end

local function title(request)
  return ("%s (%s %s)"):format(request.call, request.method, request.path)
end

-- ---- what new, replay and record have in common ----

local Fake = { __name = "hubspot_assoc.testing" }
Fake.__index = Fake

local function expect_fake(fake, name)
  if getmetatable(fake) ~= Fake then
    error(("'%s' is a method: call it with a colon, fake:%s(...)"):format(name, name), 3)
  end
end

--- Options for assoc.new or assoc.configure.
-- @param more table or nil: options that go over these
function Fake:options(more)
  expect_fake(self, "options")
  local options = copy(more or {}, copy(self.own_options, {}))
  if options.io_thread == nil and self.own_options.skip_waits and not options.loop and not loaded.ngx then
    options.io_thread = false -- so that time goes on in the same way each time
  end
  return options
end

--- A client that asks this fake.
-- @param more as for options
function Fake:client(more)
  expect_fake(self, "client")
  return assoc.new(self:options(more))
end

--- Makes such a client the one that the module's functions use: assoc.configure(fake:options(more)).
function Fake:configure(more)
  expect_fake(self, "configure")
  return assoc.configure(self:options(more))
end

--- Raises if a request came that nothing answers, or one of several answers was never asked for.
function Fake:check()
  expect_fake(self, "check")
  local problems = copy(self.problems, {})
  self.add_unused(problems)
  if #problems > 0 then
    error(concat(problems, "\n"), 2)
  end
end

--- The call fails with this text (kind "config"), and so does check.
local function refuse(fake, problem)
  fake.problems[#fake.problems + 1] = problem
  error(problem, 0)
end

local function new_fake(own_options, answer, add_unused)
  local fake = setmetatable({ requests = {}, problems = {}, own_options = own_options, add_unused = add_unused }, Fake)
  own_options.transport = function(request)
    local described = describe(request)
    fake.requests[#fake.requests + 1] = described
    return answer(fake, described, request)
  end
  return fake
end

local function offline_options(api_version)
  return { access_token = "testing", base_url = "https://api.hubapi.com", api_version = api_version, skip_waits = true }
end

-- ---- new ----

--- Checks what a name in answers stands for: a list of answers, a function or one answer.
local function check_entry(name, entry)
  if type(name) ~= "string" then
    error(("[%s]: name of a call or \"METHOD /path\" expected"):format(tostring(name)), 0)
  elseif not core.calls[name] and not name:find "^%u+ /" then
    error(("['%s']: %s; a name or \"METHOD /path\" expected"):format(name,
      unknown("call", name, names_of(core.calls))), 0)
  end
  local place = name:find "^[%a_]+$" and "." .. name or ("['%s']"):format(name)
  if type(entry) == "table" and entry[1] ~= nil then
    for i, answer in ipairs(entry) do
      if type(answer) ~= "function" then
        check_answer(answer, ("%s[%d]"):format(place, i))
      end
    end
  elseif type(entry) ~= "function" then
    check_answer(entry, place)
  end
end

local function check_answers(answers)
  if type(answers) ~= "table" then
    error(": table expected, got " .. type(answers), 0)
  end
  for name, entry in pairs(answers) do
    check_entry(name, entry)
  end
end

--- The name in answers that a request is answered by.
local function find_name(answers, request)
  for _, name in ipairs {
    request.method .. " " .. request.path, request.method .. " " .. request.path:match "^[^?]*", request.call,
  } do
    if answers[name] ~= nil then
      return name
    end
  end
end

local function unexpected(answers, request)
  local names = names_of(answers)
  local asked = request.method .. " " .. request.path
  local like = nearest(request.call, names)[1] or nearest(asked, names)[1]
  local advice = like and ("did you mean '%s'?"):format(like)
    or #names > 0 and "there are answers for " .. concat(names, ", ") or "there are no answers at all"
  return ("unexpected request: %s has no answer; %s"):format(title(request), advice)
end

--- Makes a fake.
-- @param answers table: name of a call, or "METHOD /path" as HubSpot's documentation has it -> what answers it:
--   an answer, for each such request; a list of answers, one after the other; or function(request) -> answer, or nil
--   and a fault. An answer is a table with any of status (default 200), headers, body (string, or table that becomes
--   JSON), results and errors (in place of body: HubSpot's envelope with these; with errors the default status is 207);
--   or a fault: "timeout", "resolve", "connect", "tls", "proxy", "send", "receive", "other".
-- @return fake: fake:client([options]), fake:configure([options]), fake:options([options]), fake:check(), and
--   fake.requests, a list of what was asked so far: call, from, to, attempt, method, path, url, headers, body, data
--   (the body decoded), inputs. Raises if answers are wrong.
function testing.new(answers)
  local ok, problem = pcall(check_answers, answers)
  if not ok then
    error(("bad argument #1 to 'new' (answers%s)"):format(tostring(problem)), 2)
  end
  answers = copy(answers, {})
  local given = {} -- name -> how many of its list

  local function answer(fake, request)
    local name = find_name(answers, request)
    if not name then
      return refuse(fake, unexpected(answers, request))
    end
    local found = answers[name]
    if type(found) == "table" and found[1] ~= nil then
      given[name] = (given[name] or 0) + 1
      found = found[given[name]]
      if found == nil then
        return refuse(fake, ("unexpected request: %s has got all %d answers"):format(title(request), #answers[name]))
      end
    end
    local fault
    if type(found) == "function" then
      found, fault = found(request)
      found = found == nil and fault or found
    end
    local checked, why = ask(check_answer, found, "the answer to " .. request.call)
    if not checked then
      return refuse(fake, why)
    end
    return to_response(found, "the answer to " .. request.call)
  end

  return new_fake(offline_options(), answer, function(problems)
    for name, entry in pairs(answers) do
      local n = given[name] or 0
      if type(entry) == "table" and #entry > n then
        problems[#problems + 1] = ("%s: of %d answers only %d were asked for"):format(name, #entry, n)
      end
    end
  end)
end

-- ---- recordings ----
--
-- A text file of JSON, one object a line. The first tells what it is; each other one is a request and what came of it
-- in the end (the attempts before that are not there): { answer =, request = { method =, path =, data = } }. The token
-- is in neither.

local TITLE = "hubspot_assoc recording"

local function in_words(value)
  if type(value) == "table" then
    return "a table"
  end
  return type(value) == "string" and ('"%s"'):format(value) or tostring(value)
end

--- Where two values differ: "inputs[2].typeId: recorded 279, now 280"; nil if they do not.
local function difference(recorded, now, place)
  if type(recorded) ~= "table" or type(now) ~= "table" then
    return recorded ~= now and ("%s: recorded %s, now %s"):format(place, in_words(recorded), in_words(now)) or nil
  end
  for _, names in ipairs { recorded, now } do
    for name in pairs(names) do
      local inner = type(name) == "number" and ("%s[%d]"):format(place, name) or place .. "." .. name
      local found = difference(recorded[name], now[name], inner)
      if found then
        return found
      end
    end
  end
end

local function read_recording(path)
  local file, problem = open(path, "rb")
  if not file then
    return nil, problem
  end
  local head, entries, n = nil, {}, 0
  for line in file:lines() do
    n = n + 1
    local entry = core.decode(line)
    if type(entry) ~= "table" or (not head and entry.what ~= TITLE)
      or (head and not (type(entry.request) == "table" and entry.answer ~= nil)) then
      file:close()
      return nil, ("%s:%d: not of a recording that record made"):format(path, n)
    end
    if head then
      entries[#entries + 1] = entry
    else
      head = entry
    end
  end
  file:close()
  if not head then
    return nil, path .. ": empty, not a recording that record made"
  end
  return { api_version = head.api_version, entries = entries }
end

--- What of a request is compared.
local function essence(request)
  return { method = request.method, path = request.path, data = request.data }
end

--- The next entry that is about this request; or nil and what differs from the one that is most like it.
local function find_entry(entries, request)
  local now, like = essence(request), nil
  for i, entry in ipairs(entries) do
    if not entry.is_used then
      local where = difference(entry.request, now, "request")
      if not where then
        return entry
      end
      local is_like = entry.request.method == now.method and entry.request.path == now.path
      if not like or (is_like and not like.is_like) then
        like = { is_like = is_like, number = i, text = where }
      end
    end
  end
  if not like then
    return nil, ("all %d recorded requests have been made"):format(#entries)
  end
  return nil, ("request %d of the recording differs: %s"):format(like.number, like.text)
end

--- Answers from a recording, without the network. Requests may come in another order than they were recorded in, but
-- each recorded answer is given once.
-- @param path of the file
-- @return fake, as testing.new; or nil and why there is none
function testing.replay(path)
  local recording, problem = read_recording(path)
  if not recording then
    return nil, problem
  end
  local entries = recording.entries

  local last = {} -- a request as JSON -> what answered it: its retries are answered by the same

  local function answer(fake, request)
    local key = to_json(essence(request))
    local entry, why = request.attempt > 1 and last[key], nil
    if not entry then
      entry, why = find_entry(entries, request)
    end
    if not entry then
      return refuse(fake, ("%s is not in %s: %s"):format(title(request), path, why))
    end
    entry.is_used, last[key] = true, entry
    return to_response(entry.answer, "the recorded answer")
  end

  return new_fake(offline_options(recording.api_version), answer, function(problems)
    for i, entry in ipairs(entries) do
      if not entry.is_used then
        problems[#problems + 1] = ("%s: request %d, %s %s, was not made"):format(path, i, entry.request.method,
          entry.request.path)
      end
    end
  end)
end

-- ---- recording ----

local Recorder = { __name = "hubspot_assoc.testing.recorder" }
Recorder.__index = Recorder

local function expect_recorder(recorder, name)
  if getmetatable(recorder) ~= Recorder then
    error(("'%s' is a method: call it with a colon, recorder:%s(...)"):format(name, name), 3)
  end
end

local function write(recorder, line)
  if recorder.file and not recorder.problem then
    local ok, problem = output.write(recorder.file, line, "\n")
    if ok then
      ok, problem = output.flush(recorder.file)
    end
    recorder.problem = not ok and ("%s: %s"):format(recorder.path, problem) or nil
  end
end

local function record_exchange(recorder, event)
  local request = describe { method = event.request.method, url = event.request.url, body = event.request.body }
  local line = to_json { request = essence(request), answer = event.answer }
  if core.decode(line) == nil then
    recorder.problem = ("%s %s: its answer is not UTF-8 and cannot be recorded"):format(request.method, request.path)
  else
    write(recorder, line)
  end
end

local function recording_options(recorder, more)
  local options = copy(more or {}, copy(recorder.own_options, {}))
  local on_event = options.on_event
  options.on_event = function(event)
    if event.type == "done" and event.request then
      record_exchange(recorder, event)
      event.request, event.answer = nil, nil
    end
    if on_event then
      on_event(event)
    end
  end
  return options
end

--- A client that asks HubSpot, whose requests are recorded.
-- @param more table or nil: options that go over those of record
function Recorder:client(more)
  expect_recorder(self, "client")
  local client = assoc.new(recording_options(self, more))
  client.core:keep_exchanges()
  return client
end

--- Makes such a client the one that the module's functions use.
function Recorder:configure(more)
  expect_recorder(self, "configure")
  local client = assoc.configure(recording_options(self, more))
  client.core:keep_exchanges()
  return client
end

--- Ends the recording.
-- @return true; or nil and why it is not whole
function Recorder:close()
  expect_recorder(self, "close")
  local file = self.file
  self.file = nil
  if file then
    local ok, problem = file:close()
    self.problem = self.problem or (not ok and ("%s: %s"):format(self.path, problem) or nil)
  end
  if self.problem then
    return nil, self.problem
  end
  return true
end

--- Writes down what HubSpot answers, for replay. What is in your account is then in the file, the token is not.
-- @param path of the file, which is written anew
-- @param options of the clients, as for assoc.new; nil: as the environment says
-- @return recorder: recorder:client([options]), recorder:configure([options]), recorder:close(); or nil and why the
--   file cannot be written
function testing.record(path, options)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'record' (path: string expected, got %s)"):format(type(path)), 2)
  elseif options ~= nil and type(options) ~= "table" then
    error(("bad argument #2 to 'record' (options: table expected, got %s)"):format(type(options)), 2)
  end
  local file, problem = open(path, "wb")
  if not file then
    return nil, problem
  end
  local recorder = setmetatable({ path = path, file = file, own_options = copy(options or {}, {}) }, Recorder)
  write(recorder, to_json { what = TITLE, api_version = recorder.own_options.api_version
    or getenv "HUBSPOT_API_VERSION" or "v4" })
  return recorder
end

return testing
