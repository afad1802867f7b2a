--- The program hubspot-assoc: from its arguments to its exit status.

local account = require "hubspot_assoc.cli.account"
local problem = require "hubspot_assoc.cli.problem"
local terminal = require "hubspot_assoc.cli.terminal"

local main = {}

-- A run: what a command gets beside its arguments.
local Run = {}
Run.__index = Run

--- The client of the account that the command line names; made once. Raises a problem.
function Run:client()
  self.the_client = self.the_client or account.client(self.args, self.terminal)
  return self.the_client
end

--- From now on the account is changed: nobody ends that by not reading what is told of it, and Ctrl-C is told with this
-- advice.
function Run:begin_changes(advice)
  self.interrupted_advice = advice
  self.terminal:go_on()
end

-- What is wanted of the terminal is known before the command line is parsed: for errors in it.
local function early_options(arguments)
  local options = {}
  for i, argument in ipairs(arguments) do
    local color = argument:match("^%-%-color=(.*)$") or (argument == "--color" and arguments[i + 1])
    if color then options.color = color end
  end
  return options
end

local function load_parser()
  local ok, parser = pcall(require, "hubspot_assoc.cli.parser")
  if ok then return parser end
  if tostring(parser):find("module 'argparse' not found", 1, true) then
    problem.raise("argparse is missing, which reads command lines",
      "Install it for this Lua: luarocks install argparse, or Debian's lua-argparse.")
  end
  error(parser, 0)
end

local function show_instead(self, parser, build, wanted)
  if wanted == "version" then
    self.terminal:print(parser.program .. " " .. require("hubspot_assoc")._VERSION)
  else
    self.terminal:print(parser.help(build, wanted))
  end
end

local function perform(self, arguments)
  local parser = load_parser()
  local build = parser.build(parser.help_width(self.terminal:width()))
  local args, command = parser.parse(build, arguments)
  local status
  if args then
    self.args, self.build = args, build
    self.terminal = terminal.new { color = args.color, quiet = args.quiet, verbose = args.verbose }
    status = command.run(self, args)
  else
    show_instead(self, parser, build, command)
  end
  self.terminal:finish(status == problem.status.failed)
  return status or problem.status.done
end

local function is_interrupt(reason)
  return type(reason) == "string" and reason:find("interrupted!", 1, true)
end

-- With a traceback, unless it is nothing unforeseen.
local function on_error(reason)
  if problem.is(reason) or is_interrupt(reason) then return reason end
  return tostring(reason) .. "\n" .. debug.traceback("", 2)
end

local function tell(self, reason)
  if is_interrupt(reason) or (problem.is(reason) and is_interrupt(reason.message)) then
    self.terminal:complain("interrupted", self.interrupted_advice)
    return problem.status.interrupted
  elseif problem.is(reason) then
    if reason.message then self.terminal:complain(reason.message, reason.advice) end
    return reason.status
  end
  self.terminal:complain("this should not have happened: " .. tostring(reason),
    "Please report it with what you did: https://github.com/hubspot-assoc/hubspot_assoc/issues")
  return problem.status.bug
end

--- Runs a command line.
-- @param arguments list of strings
-- @return exit status
function main.run(arguments)
  local self = setmetatable({ terminal = terminal.new(early_options(arguments)) }, Run)
  local ok, status = xpcall(function() return perform(self, arguments) end, on_error)
  if ok then return status end
  status = tell(self, status)
  io.stdout:flush() -- what there was to tell before
  return status
end

return main
