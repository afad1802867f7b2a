--- docs/as-code.md and the README: their files and their sessions with the program are what happens.

local cli = require "spec.support.cli"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)
local lua = os.getenv "LUA" or "lua5.4"

-- The document's yaml and console blocks: list of { kind, text }.
local function blocks_of(document)
  local blocks = {}
  for kind, text in document:gmatch "\n```(%l+)\n(.-)```" do
    if kind == "yaml" or kind == "console" then blocks[#blocks + 1] = { kind, text } end
  end
  return blocks
end

-- A shell script that writes the files and runs the commands, and says each before what it prints.
local function script_of(blocks)
  local lines = { ('hubspot-assoc() { LD_PRELOAD=%s %s "$repository/bin/hubspot-assoc" "$@"; }'):format(
    cli.preload or "", lua), "exec 2>&1" }
  for _, block in ipairs(blocks) do
    if block[1] == "yaml" then
      lines[#lines + 1] = "cat >associations.yaml <<'END'\n" .. block[2] .. "END"
    else
      for command in block[2]:gmatch "%$ ([^\n]*)" do
        -- A status must stay for a command that shows it.
        lines[#lines + 1] = ("status=$?; echo %s; (exit $status)"):format(shell.quote("$ " .. command))
        lines[#lines + 1] = command
      end
    end
  end
  return table.concat(lines, "\n")
end

describe("a session with hubspot-assoc", function()
  local folder
  before_each(function() folder = cli.folder() end)
  after_each(function() cli.remove(folder) end)

  -- least: how many blocks of console there must be
  local function check(path, least)
    local blocks = blocks_of(cli.read(path))
    local told = {}
    for _, block in ipairs(blocks) do
      if block[1] == "console" then told[#told + 1] = block[2] end
    end
    assert.is_true(#told >= least)
    cli.write(folder .. "/session", script_of(blocks))
    local output = cli.sh(('repository="$PWD" HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s '
      .. 'LUA_PATH="$PWD/lua/?.lua;;" LUA_CPATH="$PWD/$BUILD/?.so;;" bash -c "cd %s && . ./session"'):format(
      simulator.token(), simulator.url, folder))
    assert.equal(table.concat(told), output)
  end

  it("is as docs/as-code.md shows it", function() check("docs/as-code.md", 5) end)
  it("is as the README shows it", function() check("README.md", 1) end)

  it("goes from Lua as docs/as-code.md shows it", function()
    local document = cli.read "docs/as-code.md"
    local script, output = document:match "\n```lua\n(.-)\n```\n\n```text\n(.-)```\n"
    cli.write(folder .. "/script.lua", script)
    assert.equal(output, (cli.sh(("HUBSPOT_ACCESS_TOKEN=%s HUBSPOT_BASE_URL=%s LD_PRELOAD=%s %s %s/script.lua"):format(
      simulator.token(), simulator.url, cli.preload or "", lua, folder))))
  end)
end)
