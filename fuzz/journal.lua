--- Journals of bulk jobs: whatever a file holds, opening it never raises. It is refused with an error that names the
-- line, or gone on with; then what it knows is what an independent reader finds in the file's whole lines, and what is
-- written behind them is read again.

package.path = "./?.lua;" .. package.path
local core = require "hubspot_assoc.core"
local fuzz = require "fuzz.lua"
local judge_json = require "fuzz.strict_json"

local JOB = { call = "associate", from = "contacts", to = "companies" }

-- ---- a file in memory: no disk is worn out ----

local File = {}
File.__index = File

local content -- of the one file there is

function File:lock() self.is_locked = true return true end
function File.size() return #content end
function File.read(_, offset, n) return content:sub(offset + 1, offset + math.min(n, 1 + #content % 97)) end
function File.truncate(_, size) content = content:sub(1, size) return true end
function File.write(_, text, offset)
  content = content:sub(1, offset) .. text .. content:sub(offset + #text + 1)
  return true
end
function File.sync() return true end
function File:close() self.is_closed = true end

local opened
core.open_file = function()
  opened = setmetatable({}, File)
  return opened
end
local journal_module = require "hubspot_assoc.journal"

-- ---- the oracle ----

local OUTCOMES = { done = true, failed = true, unknown = true }
local BEGINNING = '{"index":'

--- What a line says: { index =, tag =, status = }; nil if it is none; "open" where readers may differ.
local function read_line(line, number)
  local value, is_open = judge_json(line)
  if not is_open and type(value) ~= "table" then return nil end
  if is_open or line:find '"tag":null' then return "open" end -- the oracle's null is a table, ours is absent
  local index, status, tag = value.index, value.status, value.tag
  if type(index) ~= "number" or index < 1 or index % 1 ~= 0
    or not (OUTCOMES[status] or status == "sent" or status == "unsent")
    or not (tag == nil or type(tag) == "string" or type(tag) == "number") then
    return nil
  end
  if index > 1e9 or type(tag) == "number" and math.abs(tag) > 1e9 then return "open" end
  local job = type(value.job) == "table" and value.job or {}
  if number == 1 and (job.call ~= JOB.call or job.from ~= JOB.from or job.to ~= JOB.to) then return nil end
  return { index = index, tag = tag, status = status }
end

local function is_cut(rest)
  return BEGINNING:sub(1, #rest) == rest:sub(1, #BEGINNING) or not rest:find "[^%z]"
end

--- "open", or the number of the first bad line, or nil; whole lines' bytes; and what is known: key -> an outcome or
-- "sent", and a list of what the lines say.
local function read_all(text)
  local known, at, number = {}, 1, 0
  for line, after in text:gmatch "([^\n]*)\n()" do
    number = number + 1
    local said = read_line(line, number)
    if not said then return number end
    if said == "open" then return "open" end
    local key = said.tag ~= nil and "tag " .. type(said.tag) .. said.tag or "index " .. said.index
    if not OUTCOMES[known[key]] then known[key] = said.status ~= "unsent" and said.status or nil end
    known[#known + 1] = said
    at = after
  end
  if not is_cut(text:sub(at)) then return number + 1 end
  return nil, at - 1, known
end

-- ---- what must hold ----

local function check_one(known, status, problem)
  assert(status == known, "another status is known")
  assert(not problem or tostring(problem) ~= "" and (status == "failed" or status == "unknown"), "its error")
end

local function check_known(journal, known)
  local most = 0
  for _, said in ipairs(known) do
    local key = said.tag ~= nil and "tag " .. type(said.tag) .. said.tag or "index " .. said.index
    if said.tag ~= nil then check_one(known[key], journal:look_up(1, said.tag)) end
    if said.tag == nil and said.index < 1000 then most = math.max(most, said.index) end
  end
  for index = 1, most + 1 do check_one(known["index " .. index], journal:look_up(index)) end
end

local function check_refused(problem, bad)
  assert(type(problem) == "string" and not problem:find "\n", "no message")
  assert(opened.is_closed, "the file stays open")
  if bad == "open" then return end
  local is_first = bad == 1
    and (problem:find("no journal of a bulk job", 1, true) or problem:find("of another job", 1, true))
  assert(is_first or problem:find("line " .. bad .. " is damaged", 1, true), problem)
end

local function check(text)
  content = text
  local bad, whole, known = read_all(text)
  local journal, problem = journal_module.open("the-journal", JOB)
  if not journal then
    assert(content == text, "what was refused was changed")
    assert(bad, "a good journal was refused: " .. problem)
    return check_refused(problem, bad)
  end
  if bad == "open" then return end
  assert(not bad, "a bad journal was taken: line " .. tostring(bad))
  assert(journal.size == whole and content == text:sub(1, whole), "what is whole is another part")
  check_known(journal, known)
  local line = journal.line({ index = 999, tag = known[1] and known[1].tag }, "done")
  assert(journal:write(line, journal.size, true) == #content, "a line is written elsewhere")
  journal:close()
  assert(opened.is_closed)
  journal = assert(journal_module.open("the-journal", JOB))
  assert(OUTCOMES[journal:look_up(999, known[1] and known[1].tag)], "what was written is not known")
end

-- ---- journals as they may be ----

local STATUSES = { "done", "done", "done", "failed", "unknown", "sent", "unsent" }
local TAGS = { '"row %d"', '"%d"', "%d", '"\\u00e4 %d"', '"\195\164 %d"', "-%d" }
local ERRORS = { '', ',"error":{"kind":"nonsense","message":{},"http_status":"x"}',
  ',"error":{"kind":"api","message":"x","http_status":{},"attempts":"1","index":[],"call":5,"correlationId":[1]}',
  ',"error":{"kind":"api","message":"no \\"x\\"","ambiguous":false}', ',"error":null' }

local function generate()
  local lines, index, tag = {}, 0, fuzz.random(2) == 1 and fuzz.pick(TAGS)
  for i = 1, fuzz.random(12) do
    index = fuzz.random(4) > 1 and index + 1 or fuzz.random(15)
    local status = fuzz.pick(STATUSES)
    lines[i] = ('{"index":%d%s,"status":"%s"%s'):format(index, tag and ',"tag":' .. tag:format(index) or "", status,
      status == "failed" and fuzz.pick(ERRORS) or "")
      .. (i == 1 and ',"job":{"call":"associate","from":"contacts","to":"companies"}' or "") .. "}\n"
  end
  return table.concat(lines) .. (fuzz.random(3) == 1 and lines[1]:sub(1, fuzz.random(#lines[1])) or "")
end

local WORDS = { '{"index":', '"tag":', '"status":"done"', '"status":"sent"', "\0", "\0\0\0\0", "\n", "\r\n", "}", "{",
  "[", '"', "\\", "\\u0000", "\\ud800", "null", "1e3", "-1", "0", "1.5", "\255", "\195\164", " ", "1",
  '{"index":3,"status":"done"}\n', '{"index":3,"status":"unsent"}\n', '{"index":3,"tag":"a","status":"sent"}\n',
  ',"job":{"call":"associate","from":"contacts","to":"companies"}' }

fuzz.main { check = check, generate = generate, words = WORDS }
