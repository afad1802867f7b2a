--- hubspot-assoc where the machine runs short: a full disk, no descriptors; and SIGPIPE, under its default action, in
-- the middle of what it does. (One command of each kind: manners_spec.lua.)

local cjson = require("cjson").new()
local cli = require "spec.support.cli"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"
local to_json = require "hubspot_assoc.json"

local describe = cli.describe(describe, pending)
local unpack = table.unpack or unpack -- luacheck: ignore

describe("hubspot-assoc", function()
  local token, folder, environment
  before_each(function()
    token, folder = simulator.token(), cli.folder()
    environment = { HUBSPOT_ACCESS_TOKEN = token }
  end)
  after_each(function() cli.remove(folder) end)

  local function write(name, content, mode)
    local path = cli.write(folder .. "/" .. name, content)
    cli.sh(("chmod %s %s"):format(mode or "644", path))
    return path
  end

  -- A limit on the size of files is as good as a full disk. (Outputs are pipes.)
  local function without_disk(...)
    return cli.sh("sh -c " .. shell.quote("ulimit -f 0; trap '' XFSZ; exec " .. cli.command(environment, ...))
      .. " </dev/null 2>&1 | cat; exit ${PIPESTATUS:-0}")
  end

  it("takes a full disk for success in no command that writes", function()
    local file = write("associations.yaml", "version: 1\npairs: [{from: contacts, to: companies, limit: 70}]\n")
    local ids = write("ids.txt", "1\n")
    for _, words in ipairs { { "export" }, { "graph" }, { "schema" }, { "man" }, { "usage" }, { "--help" },
      { "plan", file }, { "plan", file, "--json" }, { "limits", "get", "--json" }, { "completion", "bash" },
      { "labels", "get", "contacts", "companies" }, { "records", "export", "contacts", "companies", ids } } do
      local output, status = cli.sh(cli.command(environment, unpack(words)) .. " 2>&1 >/dev/full </dev/null")
      assert.same({ table.concat(words, " "), 1 }, { table.concat(words, " "), status }, output)
      assert.matches("cannot write the output: No space left on device", output, 1, true)
    end
  end)

  it("notices a disk that gets full in the middle, also where LuaJIT has compiled what writes", function()
    local script = write("lines.lua", [[
      local terminal = require "hubspot_assoc.cli.terminal".new {}
      terminal:go_on()
      for i = 1, 300 do
        terminal:print("line " .. i)
        terminal:flush()
      end
      local _, problem = pcall(terminal.finish, terminal, false)
      io.stderr:write(tostring(problem and problem.message)) ]])
    local command = ("ulimit -f 2; exec env LD_PRELOAD=%s %s %s 2>&1 >%s/out"):format(
      shell.quote(cli.preload or ""), os.getenv "LUA", script, folder)
    assert.equal("cannot write the output: File too large", (cli.sh("sh -c " .. shell.quote(command))))
    assert.is_true(#cli.read(folder .. "/out") > 0)
  end)

  it("keeps the old refresh token whole where the disk has no room for a new one, and says so", function()
    local app = simulator.token()
    simulator.control("oauth", { token = app, rotate = true })
    local tokens = to_json { client_id = app, client_secret = "simulator-secret", refresh_token = "simulator-first" }
    local path = write("oauth.json", tokens, "600")
    environment = {}
    local output = without_disk("limits", "get", "contacts", "companies", "--token-file", path)
    assert.matches("could not be kept", output, 1, true)
    assert.matches("File too large", output, 1, true)
    assert.is_nil(output:find("simulator-secret", 1, true))
    assert.equal(tokens, cli.read(path))
    assert.equal("oauth.json\n", (cli.sh("ls " .. folder)))
  end)

  it("says where what failed cannot be kept", function()
    local rows = write("rows.csv", "from,to\nx y,1\n1,2\n")
    local result = cli.run(environment, "records", "associate", "contacts", "companies", rows,
      "--failures", "/dev/full")
    assert.equal(1, result.status)
    assert.matches("cannot write /dev/full: No space left on device", (result.err:gsub("\n", " ")), 1, true)
  end)

  it("ends a job whose journal finds no room, and goes on with it when there is some", function()
    local lines = { "from,to" }
    for i = 1, 100 do lines[i + 1] = ("%d,%d"):format(i, i + 100000) end
    local rows = write("rows.csv", table.concat(lines, "\n") .. "\n")
    local output = without_disk("records", "associate", "contacts", "companies", rows)
    assert.matches("rows.csv.journal: File too large", (output:gsub("\n", " ")), 1, true)
    assert.matches("--resume", output, 1, true)
    local again = cli.run(environment, "records", "associate", "contacts", "companies", rows, "--resume", "--json")
    assert.equal(0, again.status, again.err)
    local told = cjson.decode(again.out)
    assert.equal(100, told.done + told.skipped)
  end)

  it("never ends with a traceback for want of descriptors", function()
    for descriptors = 4, 10 do
      local output, status = cli.sh("sh -c " .. shell.quote(("ulimit -n %d; exec %s"):format(descriptors,
        cli.command(environment, "limits", "get", "contacts", "companies"))))
      assert.is_nil(output:find("this should not have happened", 1, true), output)
      -- Programs that cannot even be loaded, the shell among them, say that by 126 and 127.
      assert.is_true(status <= 1 or status >= 126, descriptors .. ": " .. status)
      if status == 1 then assert.matches("descriptors are left", output, 1, true) end
    end
  end)

  -- "DONE\nSTATUS\n" of a command whose outputs nobody reads after the first line; `others`: for its line.
  local function unread(others, ...)
    local script = ("%s %s | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}"):format(cli.command(environment, ...), others)
    return (cli.sh("bash -c " .. shell.quote(script)))
  end

  it("goes on with a job of which nobody reads on", function()
    local lines = { "from,to" }
    for i = 1, 5000 do lines[i + 1] = ("%d,%d"):format(i, i + 100000) end
    local rows = write("rows.csv", table.concat(lines, "\n") .. "\n")
    simulator.control("rate", { token = token, max = 10000, latency_ms = 100 })
    assert.equal("0\n", unread("2>&1", "-v", "records", "associate", "contacts", "companies", rows))
    assert.equal("rows.csv\n", (cli.sh("ls " .. folder))) -- no journal: nothing was left, nothing failed
    assert.equal("141\n", unread("2>&1", "-v", "records", "associate", "contacts", "companies", rows, "--json"))
    assert.equal("rows.csv\n", (cli.sh("ls " .. folder)))
  end)

  it("applies all that was agreed upon, though nobody reads on, and says what came of it by its status", function()
    local lines = { "version: 1", "pairs:", "  - {from: contacts, to: deals, labels: [" }
    for i = 1, 9 do lines[#lines + 1] = ("    {label: Label %d, limit: %d},"):format(i, i) end
    local file = write("associations.yaml", table.concat(lines, "\n") .. "\n  ]}\n")
    simulator.control("rate", { token = token, max = 10000, latency_ms = 100 })
    assert.equal("141\n", unread("2>&1", "apply", file, "--yes"))
    assert.equal(0, cli.run(environment, "plan", file).status)
    write("associations.yaml",
      "version: 1\npairs: [{from: contacts, to: deals, labels: [{label: A, name: label_1}]}]\n")
    assert.equal("1\n", unread("2>&1", "apply", file, "--yes")) -- HubSpot has that name already
    assert.equal(2, cli.run(environment, "plan", file).status)
  end)

  it("says that what was to be done is done where the disk is full for its report", function()
    local file = write("associations.yaml", "version: 1\npairs: [{from: contacts, to: companies, limit: 70}]\n")
    local output, status = cli.sh(cli.command(environment, "apply", file, "--yes") .. " 2>&1 >/dev/full")
    assert.equal(1, status)
    assert.matches("cannot write the output: No space left on device\nWhat was to be done is done. ", output, 1, true)
    assert.equal(0, cli.run(environment, "plan", file).status)
  end)

  it("writes into no connection where an output is closed", function()
    local command = cli.command(environment, "limits", "get", "contacts", "companies", "--json")
    for _, closed in ipairs { ">&-", "<&- >&-" } do
      local output, status = cli.sh(("{ %s 2>&3 %s; } 3>&1"):format(command, closed))
      assert.equal(1, status)
      assert.matches("cannot write the output: Bad file descriptor\nIt is closed", output, 1, true)
    end
    assert.equal(1, select(2, cli.sh(command .. " >&- 2>&-")))
    local output, status = cli.sh(command .. " <&- 2>&-")
    assert.equal(0, status)
    assert.equal(4, #cjson.decode(output).results)
  end)
end)
