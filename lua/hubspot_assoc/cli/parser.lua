--- The command line, made of the commands' own descriptions: a parser (argparse), its help, its completions.
--
-- A command is a table { name =, summary =, description =, examples = { "COMMAND LINE" or { "COMMAND LINE", "why" } },
-- arguments = { … }, options = { … }, statuses = { { status, meaning } }, run = function(run, args) -> exit status },
-- or has commands of its own in place of arguments, options and run: commands = { … }. Arguments and options are tables
-- of argparse's properties; an option with `flag = true` takes no value.

local argparse = require "argparse"
local problem = require "hubspot_assoc.cli.problem"
local text = require "hubspot_assoc.cli.text"

local parser = {}

parser.program = "hubspot-assoc"

--- All commands, in the groups of the help.
parser.groups = {
  { title = "The account's associations as a file", "export", "plan", "apply", "drift", "diff", "copy", "schema" },
  { title = "Limits and labels", "limits", "labels", "usage", "graph" },
  { title = "Records", "records" },
  { title = "Around it", "simulator", "completion", "man" },
}

--- Options of every command; they may stand before it, too.
parser.common = {
  { name = "--profile", argname = "NAME", description = "The account of this profile." },
  { name = "--token-file", argname = "FILE",
    description = "The access token is in this file, or what OAuth needs to get one." },
  { name = "--color", argname = "WHEN", choices = { "auto", "always", "never" },
    description = "Colours: auto (on a terminal, unless NO_COLOR is set), always, never." },
  { name = "-q --quiet", flag = true, description = "Say nothing but results and errors; no progress." },
  { name = "-v --verbose", flag = true, count = "*", description = "Tell of each request, without the token." },
}

parser.about = "HubSpot's association limits, labels and associated records from the command line; and an account's "
  .. "limits and labels as a file that is planned and applied."

--- The command tables, in order.
function parser.commands()
  local list = {}
  for _, group in ipairs(parser.groups) do
    for _, name in ipairs(group) do
      list[#list + 1] = require("hubspot_assoc.cli.commands." .. name)
    end
  end
  return list
end

-- argparse's properties of an argument or option: all but ours.
local function properties(element)
  local copy = {}
  for key, value in pairs(element) do
    if key ~= "flag" then copy[key] = value end
  end
  return copy
end

local function add_option(target, option, changes)
  local made = properties(option)
  for key, value in pairs(changes or {}) do made[key] = value end
  return option.flag and target:flag(made) or target:option(made)
end

-- The name under which argparse keeps an option's value.
local function target_of(option)
  return (option.name:match("%-%-(%S+)"):gsub("-", "_"))
end

--- The examples of a command as lines of text.
function parser.example_lines(command)
  local lines = {}
  for _, example in ipairs(command.examples or {}) do
    local line, what = example, nil
    if type(example) == "table" then line, what = example[1], example[2] end
    if what then lines[#lines + 1] = "# " .. what end
    lines[#lines + 1] = line
  end
  return lines
end

local function status_lines(statuses)
  local lines = { "Exit status:" }
  for _, status in ipairs(statuses) do lines[#lines + 1] = ("   %-3d  %s"):format(status[1], status[2]) end
  return table.concat(lines, "\n")
end

local function epilog_of(command)
  local lines = {}
  if command.examples then
    lines[1] = "Examples:"
    for _, line in ipairs(parser.example_lines(command)) do lines[#lines + 1] = "   " .. line end
    lines[#lines + 1] = ""
  end
  if command.statuses then lines[#lines + 1] = status_lines(command.statuses) .. "\n" end
  lines[#lines + 1] = "Options of every command, and exit statuses: " .. parser.program .. " --help"
  return table.concat(lines, "\n")
end

-- ---- building ----

-- Build: what has been made, by argparse's parsers, and what was asked for beside a command.
local function new_build(width) -- epilogs: by argparse's parsers; they are not wrapped as argparse would
  return { width = width, epilogs = {}, wanted = nil }
end

local function add_help(build, target)
  target:flag {
    name = "-h --help", description = "Show this help.",
    action = function() build.wanted = target; error "help is wanted" end,
  }
end

local function add_leaf(build, target, command)
  for _, argument in ipairs(command.arguments or {}) do
    local made = properties(argument)
    made.name, made.target = argument.argname, argument.name -- argparse shows the name
    target:argument(made)
  end
  add_help(build, target)
  for _, option in ipairs(command.options or {}) do add_option(target, option) end
  for _, option in ipairs(parser.common) do add_option(target, option, { hidden = true }) end
  build.epilogs[target] = epilog_of(command)
end

local function add_command(build, parent, command)
  local target = parent:command(command.name):add_help(false)
  target:summary(command.summary):description(command.description or command.summary)
  if not command.commands then
    add_leaf(build, target, command)
    return target
  end
  target:command_target "subcommand"
  add_help(build, target)
  build.epilogs[target] = ("'%s %s COMMAND --help' tells more, with examples."):format(parser.program, command.name)
  for _, child in ipairs(command.commands) do add_command(build, target, child) end
  return target
end

parser.statuses = {
  { 0, "done, or nothing to do" },
  { 1, "an error, which says what to do about it" },
  { 2, "plan, drift, diff: there are differences" },
  { 64, "the command line is wrong" },
  { 70, "a mistake in this program: please report it" },
  { 130, "ended by Ctrl-C" },
  { 141, "who read the output has stopped reading; what was begun to be changed is done all the same" },
}

parser.token_text = "The access token comes from --token-file, from --profile (the file "
  .. "$XDG_CONFIG_HOME/hubspot-assoc/config), or from the variable HUBSPOT_ACCESS_TOKEN; never from an argument. "
  .. "HUBSPOT_BASE_URL and HUBSPOT_API_VERSION are heeded, too."

local function epilog_of_all(width)
  return table.concat({ text.wrap(parser.token_text, width), status_lines(parser.statuses),
    ("'%s COMMAND --help' tells more, with examples."):format(parser.program) }, "\n\n")
end

--- Makes the parser.
-- @param width of the help, in columns
-- @return build: { root = argparse's parser, … }
function parser.build(width)
  local build = new_build(width)
  local root = argparse(parser.program, parser.about):add_help(false):require_command(false)
  build.root = root
  build.epilogs[root] = epilog_of_all(width)
  root:command_target "command"
  root:help_max_width(width):usage_max_width(width)
  add_help(build, root)
  root:flag { name = "--version", description = "Show the version.",
    action = function() build.wanted = "version"; error "version is wanted" end }
  for _, option in ipairs(parser.common) do
    add_option(root, option, { target = "before_" .. target_of(option) })
  end
  for _, group in ipairs(parser.groups) do
    local made = {}
    for _, name in ipairs(group) do
      made[#made + 1] = add_command(build, root, require("hubspot_assoc.cli.commands." .. name))
    end
    root:group(group.title, (table.unpack or unpack)(made)) -- luacheck: ignore
  end
  return build
end

-- ---- parsing ----

local function find_command(args)
  for _, command in ipairs(parser.commands()) do
    if command.name == args.command then
      for _, child in ipairs(command.commands or {}) do
        if child.name == args.subcommand then return child, command.name .. " " .. child.name end
      end
      return command, command.name
    end
  end
end

-- The words of a wrong command line that name a command, as far as they do.
local function named_command(arguments)
  local words = {}
  local list = parser.commands()
  for _, argument in ipairs(arguments) do
    for _, command in ipairs(list) do
      if command.name == argument then
        words[#words + 1] = argument
        list = command.commands or {}
        break
      end
    end
  end
  return table.concat(words, " ")
end

local function refuse_token(arguments)
  for _, argument in ipairs(arguments) do
    if argument == "--" then return end
    if argument == "--token" or argument:find("^%-%-token=") or argument:find("^%-%-access%-token") then
      problem.raise("a token is no argument: every user of this machine could read it, and the shell would remember it",
        "Set HUBSPOT_ACCESS_TOKEN, or put the token into a file and give --token-file FILE, or use --profile NAME. "
        .. "If this token was a real one, replace it now: it may be in your shell's history.", problem.status.usage)
    end
  end
end

local function merge_common(args)
  for _, option in ipairs(parser.common) do
    local name = target_of(option)
    local before = args["before_" .. name]
    if option.count then
      args[name] = (args[name] or 0) + (before or 0)
    elseif args[name] == nil then
      args[name] = before
    end
  end
end

-- "help limits set" is "limits set --help".
local function take_help(arguments)
  if arguments[1] ~= "help" then return arguments end
  local words = {}
  for i = 2, #arguments do words[#words + 1] = arguments[i] end
  words[#words + 1] = "--help"
  return words
end

--- Reads a command line.
-- @param build as parser.build made it
-- @param arguments list of strings
-- @return args, command; or nil, and what was asked for instead: "version", or an argparse parser whose help is wanted
function parser.parse(build, arguments)
  refuse_token(arguments)
  arguments = take_help(arguments)
  local ok, is_right, args = pcall(build.root.pparse, build.root, arguments)
  if not ok then
    if build.wanted then return nil, build.wanted end
    error(is_right, 0)
  elseif not is_right then
    local words = named_command(arguments)
    problem.raise(tostring(args):gsub("\n", ". ") .. "", ("'%s%s --help' shows what there is."):format(parser.program,
      words == "" and "" or " " .. words), problem.status.usage)
  elseif not args.command then
    return nil, build.root
  end
  merge_common(args)
  local command, name = find_command(args)
  args.command_name = name
  return args, command
end

--- The help of a parser of a build.
function parser.help(build, target)
  return target:get_help() .. "\n\n" .. build.epilogs[target]
end

--- The width at which help is best read.
function parser.help_width(columns)
  return math.min(columns, 100)
end

return parser
