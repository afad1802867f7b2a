--- The manual page, in roff's man macros, of what the commands say of themselves. Pure.

local parser = require "hubspot_assoc.cli.parser"

-- Text as roff takes it.
local function roff(s)
  s = s:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("…", "\\&...")
  return (s:gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"))
end

local function option_words(option)
  local words = {}
  for alias in option.name:gmatch("%S+") do words[#words + 1] = "\\fB" .. roff(alias) .. "\\fR" end
  local head = table.concat(words, ", ")
  if not option.flag then head = head .. " \\fI" .. roff(option.argname or "VALUE") .. "\\fR" end
  return head
end

local function argument_words(argument)
  local word = "\\fI" .. roff(argument.argname or argument.name) .. "\\fR"
  if argument.args == "?" then return "[" .. word .. "]" end
  if argument.args == "*" then return "[" .. word .. " \\&...]" end
  if argument.args == "+" then return word .. " \\&..." end
  return word
end

local function add_elements(lines, command)
  for _, argument in ipairs(command.arguments or {}) do
    lines[#lines + 1] = ".TP\n" .. "\\fI" .. roff(argument.argname or argument.name) .. "\\fR"
    lines[#lines + 1] = roff(argument.description)
  end
  for _, option in ipairs(command.options or {}) do
    lines[#lines + 1] = ".TP\n" .. option_words(option)
    lines[#lines + 1] = roff(option.description)
  end
end

local function add_examples(lines, command)
  local examples = parser.example_lines(command)
  if #examples == 0 then return end
  lines[#lines + 1] = ".PP\n.nf\n.RS 4"
  for _, line in ipairs(examples) do lines[#lines + 1] = roff(line) end
  lines[#lines + 1] = ".RE\n.fi"
end

local function add_leaf(lines, name, command)
  local words = { "\\fB" .. roff(name) .. "\\fR" }
  for _, option in ipairs(command.options or {}) do
    words[#words + 1] = "[" .. option_words(option):gsub("^.*, ", "") .. "]"
  end
  for _, argument in ipairs(command.arguments or {}) do words[#words + 1] = argument_words(argument) end
  lines[#lines + 1] = ".SS " .. table.concat(words, " ")
  lines[#lines + 1] = roff(command.description or command.summary)
  add_elements(lines, command)
  for _, status in ipairs(command.statuses or {}) do
    lines[#lines + 1] = (".TP\nExit status %d\n%s"):format(status[1], roff(status[2]))
  end
  add_examples(lines, command)
end

local function add_commands(lines)
  lines[#lines + 1] = ".SH COMMANDS"
  for _, command in ipairs(parser.commands()) do
    if not command.commands then add_leaf(lines, command.name, command) end
    for _, child in ipairs(command.commands or {}) do
      add_leaf(lines, command.name .. " " .. child.name, child)
    end
  end
end

local FILES = [=[
.SH ENVIRONMENT
.TP
\fBHUBSPOT_ACCESS_TOKEN\fR
The access token: of a service key, a private app, or OAuth.
.TP
\fBHUBSPOT_BASE_URL\fR, \fBHUBSPOT_API_VERSION\fR
Where HubSpot is, and which version of its API to use.
.TP
\fBHUBSPOT_ASSOC_PROFILE\fR
The profile to use where \fB\-\-profile\fR is not given.
.TP
\fBNO_COLOR\fR, \fBCOLUMNS\fR, \fBTERM\fR
No colours; columns of the terminal; \fBdumb\fR for neither colours nor progress.
.SH FILES
.TP
\fI$XDG_CONFIG_HOME/hubspot\-assoc/config\fR (\fI~/.config\fR if that is not set)
Profiles. One that holds a token must not be readable by everybody.
.PP
.nf
.RS 4
[default]
token_file = production.token

[sandbox]
token_file = ~/secrets/sandbox.json
api_version = 2026\-09
.RE
.fi
.PP
Each has \fBtoken_file\fR (a path; a relative one begins at the folder of this file) or \fBtoken\fR, and may have
\fBbase_url\fR and \fBapi_version\fR.
.TP
A token file
The token and nothing else; or OAuth's: a JSON object with \fBclient_id\fR, \fBclient_secret\fR and
\fBrefresh_token\fR, which is written anew when HubSpot gives another refresh token.
Everybody else must not be able to read it: chmod 600.]=]

--- @param version of the program
-- @return string
return function(version)
  local lines = {
    '.TH HUBSPOT\\-ASSOC 1 "" "hubspot_assoc ' .. roff(version) .. '" "HubSpot associations"',
    ".SH NAME", "hubspot\\-assoc \\- HubSpot's association limits, labels and associated records",
    ".SH SYNOPSIS", "\\fBhubspot\\-assoc\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR \\&...",
    ".SH DESCRIPTION", roff(parser.about), ".PP", roff(parser.token_text),
    ".SH OPTIONS",
  }
  add_elements(lines, { options = parser.common })
  add_commands(lines)
  lines[#lines + 1] = ".SH EXIT STATUS"
  for _, status in ipairs(parser.statuses) do
    lines[#lines + 1] = (".TP\n\\fB%d\\fR\n%s"):format(status[1], roff(status[2]))
  end
  lines[#lines + 1] = FILES
  return table.concat(lines, "\n") .. "\n"
end
