--- hubspot-assoc export, plan, apply, drift, diff, copy: the account as a file.

local cjson = require("cjson").new()
local cli = require "spec.support.cli"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)
local lua = os.getenv "LUA" or "lua5.4"
local unpack = table.unpack or unpack -- luacheck: ignore

local WANTED = [[
version: 1
pairs:
  - from: contacts
    to: companies
    limit: 200
    labels:
      - label: Employee
        inverse_label: Employer
        limit: 60
      - label: Adviser
        limit: 3
]]

describe("hubspot-assoc with a file", function()
  local token, folder
  before_each(function()
    token, folder = simulator.token(), cli.folder()
    simulator.control("rate", { token = token, max = 10000 }) -- many runs, of which none knows of the others
  end)
  after_each(function() cli.remove(folder) end)

  local function write(content, name)
    return cli.write(folder .. "/" .. (name or "associations.yaml"), content)
  end

  local function run(...)
    return cli.run({ HUBSPOT_ACCESS_TOKEN = token }, ...)
  end

  local function is(status, result)
    assert.equal(status, result.status, result.out .. result.err)
    return result
  end

  -- How many requests have changed something.
  local function count_changes()
    local n = 0
    for _, call in ipairs(simulator.log(token)) do
      if call.method ~= "GET" then n = n + 1 end
    end
    return n
  end

  -- Many labels: `count` steps and more.
  local function many(count)
    local lines = { "version: 1", "pairs:" }
    local left = count
    for _, pair in ipairs { { "contacts", "deals" }, { "contacts", "tickets" }, { "companies", "deals" },
      { "companies", "tickets" }, { "deals", "tickets" } } do
      lines[#lines + 1] = ("  - from: %s\n    to: %s\n    labels:"):format(pair[1], pair[2])
      for i = 1, math.min(9, left) do
        lines[#lines + 1] = ("      - label: Label %d\n        limit: %d"):format(i, i)
        left = left - 1
      end
      if left == 0 then break end
    end
    return table.concat(lines, "\n") .. "\n"
  end

  it("exports what it then finds nothing to do for", function()
    local exported = is(0, run "export")
    assert.equal("", exported.err)
    assert.matches("inverse_label: Employer", exported.out, 1, true)
    local path = write(exported.out)
    local planned = is(0, run("plan", path))
    assert.same({ "", "nothing to do: the account is as the file says\n" }, { planned.out, planned.err })
    local twice = is(0, run("export", "contacts:companies", "companies:contacts", "0-1:0-2")) -- one pair
    is(0, run("plan", write(twice.out, "twice.yaml")))
    local as_json = is(0, run("export", "--format", "json", "contacts:companies"))
    assert.equal(1, #cjson.decode(as_json.out).pairs)
    assert.equal(0, run("plan", write(as_json.out, "associations.json")).status)
    assert.equal(0, count_changes())
  end)

  it("plans, applies, and then has nothing to do", function()
    local path = write(WANTED)
    local planned = is(2, run("plan", path))
    assert.equal("contacts -> companies\n", planned.out:match "^[^\n]*\n")
    assert.matches("  ~ limit: 100 -> 200", planned.out, 1, true)
    assert.matches("  + label 'Adviser'", planned.out, 1, true)
    local digest = cjson.decode(is(2, run("plan", path, "--json")).out).digest
    assert.matches(digest, planned.err, 1, true)
    assert.equal(0, count_changes())

    local refused = is(1, run("apply", path))
    assert.matches("nothing was sent: there is nobody to ask", refused.err, 1, true)
    assert.equal(0, count_changes())
    local applied = is(0, run("apply", path, "--yes"))
    assert.matches("done    ~ contacts -> companies: limit: 100 -> 200", applied.out, 1, true)
    assert.matches("applied 4 changes", applied.err, 1, true)
    is(0, run("plan", path))
    local again = is(0, run("apply", path))
    assert.matches("nothing to do", again.err)
  end)

  it("asks on a terminal, in colour", function()
    local path = write(WANTED)
    local environment = { HUBSPOT_ACCESS_TOKEN = token }
    local refused = is(1, cli.on_terminal("n\n", environment, "apply", path))
    assert.matches("Apply 4 changes? [y/N]", refused.out, 1, true)
    assert.matches("\27[32m  + label 'Adviser'", refused.out, 1, true)
    assert.equal(0, count_changes())
    is(0, cli.on_terminal("y\n", environment, "apply", path))
    is(0, run("plan", path))
  end)

  it("ends with 130 after Ctrl-C where it asks", function()
    local result = cli.on_terminal({ "\3", after = "[y/N]" }, { HUBSPOT_ACCESS_TOKEN = token }, "apply", write(WANTED))
    assert.equal(130, result.status)
    assert.matches("interrupted", result.out)
    assert.equal(0, count_changes())
  end)

  it("applies what it has shown, and nothing where the account has changed since", function()
    local environment = { HUBSPOT_ACCESS_TOKEN = token }
    local path = write(WANTED)
    local result = cli.on_terminal({ "y\n", after = "[y/N]",
      meanwhile = cli.command(environment, "limits", "set", "contacts", "companies", "Employee=7") }, environment,
      "apply", path)
    is(1, result)
    assert.matches("changed", result.out)
    assert.matches("~ limit of 'Employee': 7 -> 60", result.out, 1, true)
    assert.equal(1, count_changes()) -- the other one's
    is(0, run("apply", path, "--yes"))
  end)

  it("wants the digest of a plan that deletes a label", function()
    local path = write((WANTED:gsub("    limit: 200", "    unmanaged: remove\n    limit: 200")))
    local refused = is(1, run("apply", path, "--yes"))
    assert.matches("it deletes 1 label", refused.err)
    local digest = refused.err:match "%-%-confirm (%x+)"
    local wrong = is(1, run("apply", path, "--confirm", "0123456789ab"))
    assert.matches("another plan was confirmed", wrong.err)
    assert.equal(0, count_changes())
    local environment = { HUBSPOT_ACCESS_TOKEN = token }
    is(1, cli.on_terminal("y\n", environment, "apply", path))
    assert.equal(0, count_changes())
    is(0, cli.on_terminal(digest .. "\n", environment, "apply", path))
    is(0, run("plan", path))
    assert.is_nil(is(0, run("labels", "get", "contacts", "companies")).out:find "Consultant")
  end)

  it("wants the digest of a plan of more than 50 changes, and applies that", function()
    local path = write(many(26)) -- each with a limit in one direction
    local refused = is(1, run("apply", path, "--yes"))
    assert.matches("it has 52 changes", refused.err)
    local digest = cjson.decode(run("plan", path, "--json").out).digest
    is(0, run("apply", path, "-q", "--confirm", digest))
    is(0, run("plan", path))
  end)

  it("tells programs what it did", function()
    local path = write(WANTED)
    local report = cjson.decode(is(0, run("apply", path, "--yes", "--json")).out)
    assert.same({ "done", 4, 0, 0 }, { report.status, #report.done, #report.failed, #report.left })
    report = cjson.decode(is(0, run("apply", path, "--json")).out)
    is(0, run("limits", "set", "contacts", "companies", "Employee=7"))
    local shown = is(1, cli.on_terminal("y\n", { HUBSPOT_ACCESS_TOKEN = token }, "apply", path, "--json"))
    assert.matches("there is nobody to ask", shown.out) -- to whom no plan has been shown
    assert.same({ "done", 0 }, { report.status, #report.done })
  end)

  it("points to what is wrong in a file before anything is sent", function()
    local path = write "version: 1\npairs:\n  - from: contacts\n    to: companies\n    limt: 5\n"
    for _, command in ipairs { "plan", "apply", "drift" } do
      local result = is(1, run(command, path))
      assert.equal("", result.out)
      assert.matches(path .. ":5:5: error: 'limt' is not known here; did you mean 'limit'?", result.err, 1, true)
      assert.matches("nothing was sent", result.err)
    end
    local told = is(1, run("plan", write("version: 1\npairs:\n" .. ("  - x\n"):rep(150)))).err
    assert.equal(100, select(2, told:gsub(": error: ", "")))
    assert.matches("and 50 more\n.*: 150 mistakes; nothing was sent", told)
    assert.matches("hubspot%-assoc export", is(1, run("plan", folder .. "/none.yaml")).err)
    assert.matches("cannot read " .. folder .. ": Is a directory", is(1, run("plan", folder)).err, 1, true)
    assert.matches("no pair", is(64, run("export", "contacts")).err)
    assert.equal(0, simulator.log(token).count)
  end)

  it("says something in drift only where there is some", function()
    local path = write(is(0, run "export").out)
    local quiet = is(0, run("drift", path))
    assert.same({ "", "" }, { quiet.out, quiet.err })
    is(0, run("limits", "set", "contacts", "companies", "Employee=10"))
    local drifted = is(2, run("drift", path))
    assert.matches("~ limit of 'Employee': 10 -> 50", drifted.out, 1, true)
  end)

  it("reads a file from a pipe", function()
    local result = cli.feed(WANTED, { HUBSPOT_ACCESS_TOKEN = token }, "plan", "-")
    is(2, result)
  end)

  it("says what is done and what is not where HubSpot refuses something", function()
    local path = write((WANTED:gsub("limit: 200", "limit: 20000")))
    local result = is(1, run("apply", path, "--yes"))
    assert.matches("done    + contacts -> companies: label 'Adviser'", result.out, 1, true)
    assert.matches("failed  ~ contacts -> companies: limit: 100 -> 20000", result.out, 1, true)
    assert.matches("VALIDATION_ERROR", result.err)
    assert.matches("%d done, 1 failed", result.err)
    assert.matches("run the same command again", (result.err:gsub("\n", " ")))
    is(0, run("apply", write(WANTED), "--yes"))
    is(0, run("plan", path))
  end)

  it("shows an error without what a terminal would obey", function()
    simulator.fault(token, { status = 400, times = 1,
      body = '{"status":"error","category":"VALIDATION_ERROR","message":"no \\u001b[31mway"}' })
    local result = is(1, run("plan", write(WANTED)))
    assert.matches("[31mway", result.err, 1, true)
    assert.is_nil(result.err:find("\27", 1, true))
  end)

  for signal, expected in pairs {
    KILL = { 137, "" }, INT = { 130, "interrupted\nWhat is done is done: run the same command again" },
  } do
    it("reaches the same file after SIG" .. signal .. " while it applies", function()
      local path = write(many(12))
      simulator.control("rate", { token = token, latency_ms = 100 })
      local environment = { HUBSPOT_ACCESS_TOKEN = token }
      local result = cli.stop(signal, function() return count_changes() >= 3 end, environment, "apply", path, "--yes")
      assert.equal(expected[1], result.status)
      assert.matches(expected[2], result.out, 1, true)
      local left = cjson.decode(is(2, run("plan", path, "--json")).out).count
      assert.is_true(left > 0 and left < 24, tostring(left))
      is(0, run("apply", path, "--yes"))
      is(0, run("plan", path))
    end)
  end

  describe("and two accounts", function()
    local other

    before_each(function()
      other = simulator.token()
      cli.sh("mkdir -p " .. folder .. "/hubspot-assoc")
      cli.write(folder .. "/hubspot-assoc/config",
        ("[sandbox]\ntoken = %s\n[production]\ntoken = %s\n"):format(token, other))
      cli.sh("chmod 600 " .. folder .. "/hubspot-assoc/config")
    end)

    local function with_profiles(...)
      return cli.run({ XDG_CONFIG_HOME = folder }, ...)
    end

    it("shows how they differ, and copies one to the other", function()
      assert.matches("are alike", is(0, with_profiles("diff", "sandbox", "production")).err)
      is(0, with_profiles("apply", write(WANTED), "--yes", "--profile", "sandbox"))
      local result = is(2, with_profiles("diff", "production", "sandbox"))
      assert.matches("+ label 'Adviser'", result.out, 1, true)
      assert.matches("~ limit: 100 -> 200\n", result.out, 1, true) -- no reason: there is no file, and no change
      local from_other_side = is(2, with_profiles("diff", "sandbox", "production"))
      assert.matches("- label 'Adviser'\n", from_other_side.out, 1, true) -- no record loses it
      is(0, with_profiles("copy", "sandbox", "production", "--yes"))
      is(0, with_profiles("diff", "sandbox", "production"))
      is(64, with_profiles("copy", "sandbox", "sandbox"))
      assert.matches("there is no profile 'sandbx'", is(1, with_profiles("diff", "sandbx", "production")).err)
    end)

    it("knows custom objects by names that hold in both", function()
      simulator.request("POST", "/simulator/reset",
        ('{"token":"%s","limits":false,"custom_objects":["boat","car"]}'):format(token))
      simulator.request("POST", "/simulator/reset",
        ('{"token":"%s","limits":false,"custom_objects":["car"]}'):format(other))
      for _, one in ipairs { token, other } do simulator.control("rate", { token = one, max = 10000 }) end
      local path = write "version: 1\npairs: [{from: contacts, to: p_car, limit: 5, labels: [{label: Driver}]}]\n"
      is(0, with_profiles("apply", path, "--yes", "--profile", "sandbox"))
      local names = { "--name", "2-1000002=p_car", "--name", "2-1000001=p_car" }
      local plain = is(0, with_profiles("export", "--profile", "sandbox"))
      assert.matches("to: 2-1000002", plain.out, 1, true)
      assert.matches("2-1000002 (cars) is this account's own number of an object", plain.err, 1, true)
      local named = is(0, with_profiles("export", "--profile", "sandbox", unpack(names)))
      assert.matches("to: p_car", named.out, 1, true)
      local differences = is(2, with_profiles("diff", "production", "sandbox", unpack(names, 1, 2))).out
      assert.matches("+ label 'Driver'", differences, 1, true)
      is(0, with_profiles("copy", "sandbox", "production", "--yes", unpack(names, 1, 2)))
      is(0, with_profiles("diff", "production", "sandbox", unpack(names, 1, 2)))
      local refused = is(64, with_profiles("export", "--name", "car"))
      assert.matches("'car' is no name of a custom object", refused.err, 1, true)
    end)

    it("compares files with them, and with one another", function()
      local path = write(is(0, with_profiles("export", "contacts:companies", "--profile", "sandbox")).out)
      is(0, with_profiles("diff", path, "sandbox"))
      is(0, with_profiles("diff", "sandbox", path))
      is(0, with_profiles("limits", "set", "contacts", "companies", "Primary=1", "--profile", "sandbox"))
      assert.matches("+ limit of 'Primary': 1", is(2, with_profiles("diff", path, "sandbox")).out, 1, true)
      assert.matches("- limit of 'Primary': 1", is(2, with_profiles("diff", "sandbox", path)).out, 1, true)
      local newer = write(is(0, with_profiles("export", "--profile", "sandbox")).out, "newer.yaml")
      local result = is(2, with_profiles("diff", path, newer))
      assert.equal("contacts -> companies\n  + limit of 'Primary': 1\n"
        .. "deals -> contacts\n  + limit: 10\n", result.out)
      is(0, with_profiles("diff", newer, newer))
    end)
  end)

  it("writes the JSON Schema of the file", function()
    local schema = cjson.decode(is(0, run "schema").out)
    assert.is_table(schema.properties.pairs)
    assert.matches("associations.schema.json\n$", is(0, run("schema", "--path")).out)
  end)

  it("draws the account", function()
    local client = require "hubspot_assoc".new { base_url = simulator.url, access_token = token, rate = false }
    local inputs = {}
    for i = 1, 10 do inputs[i] = { from = { id = "7" }, to = { id = tostring(i) } } end
    assert(client:associate_default("deals", "contacts", inputs))
    is(0, run("labels", "create", "contacts", "companies", 'A "quoted" \\ <label>', "--name", "x"))
    local dot = is(0, run "graph").out
    assert.matches('"contacts" -> "companies" [label="Employee: 50", style=dashed];', dot, 1, true)
    assert.matches('"deals" -> "contacts" [label="10 (1 at the limit)", color="#c0392b"', dot, 1, true)
    assert.matches([["A \"quoted\" \\ <label>"]], dot, 1, true)
    simulator.fault(token, { skip = 4, status = 403, times = 1 }) -- behind what a pair is read by
    local unmarked = is(0, run("graph", "contacts:deals"))
    assert.matches("is not marked", unmarked.err)
    assert.matches("deals", unmarked.out)
    local mermaid = is(0, run("graph", "--format", "mermaid")).out
    assert.matches("^flowchart LR\n", mermaid)
    assert.matches('"A #34;quoted#34; \\ #60;label#62;"', mermaid, 1, true)
    assert.matches("linkStyle %d+ stroke:#c0392b", mermaid)
    local svg = run("graph", "--format", "svg", "contacts:companies")
    if select(2, cli.sh "command -v dot") == 0 then
      assert.matches("<svg", is(0, svg).out, 1, true)
    else
      assert.matches("Graphviz is not installed", is(1, svg).err, 1, true)
    end
    local path = folder .. "/none"
    cli.sh(("mkdir %s && ln -s \"$(command -v %s)\" %s"):format(path, lua, path))
    svg = is(1, cli.run({ HUBSPOT_ACCESS_TOKEN = token, PATH = path }, "graph", "--format", "svg"))
    assert.matches("Graphviz is not installed", svg.err, 1, true)
  end)
end)
