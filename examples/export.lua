--- Exports what records are associated with as NDJSON, a line a record, in the order of the ids, however many they are:
--
--     lua examples/export.lua contacts companies <ids.txt >companies.ndjson
--
-- ids.txt has a record id a line. The export's: {"id":"101","to":[{"toObjectId":"201","associationTypes":[...]}]}
-- What could not be read is told on standard error, and the exit status is 1 then. HUBSPOT_ACCESS_TOKEN has to be set.

local assoc = require "hubspot_assoc"
local cjson = require "cjson"

local from, to = arg[1], arg[2]
if not (from and to) then
  io.stderr:write("usage: lua export.lua FROM TO <ids >ndjson, as in: lua export.lua contacts companies\n")
  os.exit(2)
end

--- An empty table would become an object.
local function encode_list(list)
  return list[1] == nil and "[]" or cjson.encode(list)
end

local client = assoc.new()
local done, failed = 0, 0

--- Ends the program with a message.
local function give_up(message)
  io.stderr:write("export.lua: ", tostring(message), "\n")
  os.exit(1)
end

--- A full disk must not go unnoticed.
local function check(is_written, problem)
  return is_written or give_up(problem)
end

--- The next id; spaces, empty lines and Windows' line ends are no part of any.
local function next_id()
  local line, problem
  repeat
    line, problem = io.read "*l"
    if problem then
      give_up(problem)
    end
    line = line and line:match "^%s*(.-)%s*$"
  until line ~= ""
  return line
end

local it = client:read_all(from, to, next_id)
for id, records, errors in it do
  if errors then
    failed = failed + 1
    io.stderr:write(("%s: %s\n"):format(id, tostring(errors)))
  else
    done = done + 1
    check(io.write(('{"id":"%s","to":%s}\n'):format(id, encode_list(records))))
  end
end
check(io.stdout:flush())
if it.errors then
  io.stderr:write(tostring(it.errors), "\n")
end
io.stderr:write(("%d records exported, %d failed\n"):format(done, failed))
os.exit(failed == 0 and not it.errors and 0 or 1)
