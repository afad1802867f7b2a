--- What a command writes to: people at a terminal, or programs. Colour, width, progress, tables, JSON.

local draw_table = require "hubspot_assoc.cli.table"
local to_json = require "hubspot_assoc.json"
local output = require "hubspot_assoc.output"
local problem = require "hubspot_assoc.cli.problem"
local system = require "hubspot_assoc.cli.system"
local text = require "hubspot_assoc.cli.text"

local NARROWEST, WIDTH_UNKNOWN = 40, 80 -- columns

local Terminal = {}
Terminal.__index = Terminal

local terminal = {}

local SGR = { red = "31", green = "32", yellow = "33", cyan = "36", bold = "1", dim = "2" }

local function environment_forbids_colour()
  local no_color = os.getenv "NO_COLOR"
  return (no_color and no_color ~= "") or os.getenv "TERM" == "dumb"
end

--- Makes one for this process.
-- @param options { color = "auto" | "always" | "never", quiet = boolean }
function terminal.new(options)
  local is_in, is_out, is_err = system.terminals()
  local self = setmetatable({
    is_in = is_in, is_out = is_out, is_err = is_err,
    quiet = options.quiet, verbose = options.verbose or 0,
  }, Terminal)
  local color = options.color or "auto"
  local may = color == "always" or (color == "auto" and not environment_forbids_colour())
  self.color_out = may and (color == "always" or is_out)
  self.color_err = may and (color == "always" or is_err)
  if not is_out then io.stdout:setvbuf("full") end
  return self
end

--- Columns of the terminal: COLUMNS, or what the terminal says, or 80.
function Terminal:width()
  if not self.columns then
    local columns = tonumber(os.getenv "COLUMNS" or "") or (self.is_out or self.is_err) and system.columns()
    self.columns = math.max(NARROWEST, columns or WIDTH_UNKNOWN)
  end
  return self.columns
end

-- ---- standard output ----

local lost -- why something that was written has not arrived; it is told in the end

local function check(self, ok, reason)
  if ok then return end
  if self.goes_on then
    lost = lost or reason
    return
  end
  reason = tostring(reason)
  -- Who reads has gone: there is nobody to tell.
  if reason:find("Broken pipe", 1, true) then problem.leave(problem.status.closed) end
  local is_closed = reason:find("Bad file descriptor", 1, true)
  problem.raise("cannot write the output: " .. reason, (self.has_changed and "What was to be done is done. " or "")
    .. (is_closed and "It is closed: if nobody is to read it, write >/dev/null." or "Is the disk full?"))
end

--- Writes lines to the standard output. They must hold no control characters but our own colours: see text.escape.
function Terminal:print(line)
  self:clear_progress()
  local ok, reason = output.write(io.stdout, line, "\n")
  check(self, ok, reason)
end

--- What has been written has arrived, or this raises.
function Terminal:flush()
  local ok, reason = output.flush(io.stdout)
  check(self, ok and not lost, reason or lost)
end

--- What is under way from now on goes on whether its output arrives or not: finish tells.
function Terminal:go_on()
  require("hubspot_assoc.core").ignore_write_signals()
  self.goes_on, self.has_changed = true, true
end

--- The end: all that was written has arrived, or this raises; but not where something else has failed, which counts.
function Terminal:finish(has_failed)
  self.goes_on = has_failed
  self:flush()
end

function Terminal:json(value)
  self:print(to_json(value))
end

--- Writes a table; cut to the terminal's width, if it is one.
-- @param columns, rows as cli/table.lua takes them
function Terminal:table(columns, rows)
  local lines = draw_table(columns, rows, self.is_out and self:width() or nil)
  for i, line in ipairs(lines) do
    self:print(i == 1 and self:paint("bold", line) or line)
  end
end

--- A piece of text in a colour, if the standard output has colours.
function Terminal:paint(color, piece)
  return self.color_out and ("\27[%sm%s\27[0m"):format(SGR[color], piece) or piece
end

-- ---- standard error ----

-- Where both outputs are the same place, they come in order.
local function write_error(line)
  local ok, reason = output.flush(io.stdout)
  if not ok then lost = lost or reason end -- the C library has dropped it, and will not fail again
  io.stderr:write(line, "\n")
end

local function paint_error(self, color, piece)
  return self.color_err and ("\27[%sm%s\27[0m"):format(SGR[color], piece) or piece
end

--- Tells people what goes on; not with --quiet.
function Terminal:note(line)
  if self.quiet then return end
  self:clear_progress()
  write_error(line)
end

function Terminal:warn(message)
  self:clear_progress()
  write_error(paint_error(self, "yellow", "warning:") .. " " .. text.escape_lines(message))
end

--- Tells of a place in a file.
-- @param place "FILE:LINE:COLUMN"
-- @param severity "error" or "warning"
function Terminal:point(place, severity, message)
  self:clear_progress()
  write_error(("%s: %s %s"):format(text.escape(place),
    paint_error(self, severity == "warning" and "yellow" or "red", severity .. ":"), text.escape_lines(message)))
end

--- Tells what went wrong, and what to do next.
function Terminal:complain(message, advice)
  self:clear_progress()
  write_error(paint_error(self, "red", "hubspot-assoc:") .. " " .. text.escape_lines(message))
  if advice then write_error(text.wrap(advice, self:width())) end
end

--- With -v only.
function Terminal:trace(line)
  if self.verbose == 0 then return end
  self:clear_progress()
  write_error(paint_error(self, "dim", text.escape(line)))
end

-- ---- progress ----

--- Is anybody looking at progress?
function Terminal:shows_progress()
  return self.is_err and not self.quiet and os.getenv "TERM" ~= "dumb"
end

--- Shows a line in place of the last such one.
function Terminal:progress(line)
  if not self:shows_progress() then return end
  io.stderr:write("\r", text.cut(line, self:width() - 1), "\27[K")
  io.stderr:flush()
  self.has_progress = true
end

function Terminal:clear_progress()
  if self.has_progress then
    io.stderr:write("\r\27[K")
    self.has_progress = false
  end
end

--- Asks on the terminal.
-- @return what was typed, or nil where nobody can be asked or the input has ended
function Terminal:ask(question)
  if not self.is_in then return nil end
  self:clear_progress()
  self:flush()
  io.stderr:write(question, " ")
  io.stderr:flush()
  local answer = system.read_line()
  if not answer then io.stderr:write("\n") end
  return answer
end

return terminal
