--- hubspot-assoc: how it behaves on terminals, in pipes, and when it is stopped.

local cli = require "spec.support.cli"
local shell = require "spec.support.shell"
local simulator = require "spec.support.simulator"

local describe = cli.describe(describe, pending)

local GET = { "limits", "get", "contacts", "companies" }
local unpack = table.unpack or unpack -- luacheck: ignore

describe("hubspot-assoc", function()
  local token, environment
  before_each(function()
    token = simulator.token()
    environment = { HUBSPOT_ACCESS_TOKEN = token }
  end)

  local function with(changes)
    local all = { HUBSPOT_ACCESS_TOKEN = token }
    for name, value in pairs(changes) do all[name] = value end
    return all
  end

  local function has_colour(result)
    return result.out:find("\27%[%d") ~= nil
  end

  it("has colours on a terminal only, and not where they are unwanted", function()
    assert.is_true(has_colour(cli.on_terminal("", environment, unpack(GET))))
    assert.is_false(has_colour(cli.on_terminal("", with { NO_COLOR = "1" }, unpack(GET))))
    assert.is_false(has_colour(cli.on_terminal("", with { TERM = "dumb" }, unpack(GET))))
    assert.is_false(has_colour(cli.on_terminal("", environment, "--color=never", unpack(GET))))
    assert.is_true(has_colour(cli.on_terminal("", with { NO_COLOR = "" }, unpack(GET))))
    assert.is_false(has_colour(cli.run(environment, unpack(GET))))
    assert.is_true(has_colour(cli.run(with { NO_COLOR = "1" }, "--color=always", unpack(GET))))
  end)

  it("cuts tables to the terminal, and leaves them whole elsewhere", function()
    local label = ("long "):rep(12) .. "label"
    assert.equal(0, cli.run(environment, "labels", "create", "contacts", "companies", label).status)
    local shown = cli.on_terminal("", environment, unpack(GET))
    assert.matches("long.?…", shown.out)
    for line in shown.out:gmatch "[^\n]+" do
      assert.is_true(#line:gsub("\27%[%d*m", ""):gsub("…", ".") <= 80, line)
    end
    shown = cli.on_terminal("", with { COLUMNS = "200" }, unpack(GET))
    assert.matches(label, shown.out, 1, true)
    assert.matches(label, cli.run(with { COLUMNS = "60" }, unpack(GET)).out, 1, true)
  end)

  it("shows nothing that a terminal would obey", function()
    local evil = "\27]0;evil\7 \194\155 \226\128\174 \226\129\166"
    assert.equal(0, cli.run(environment, "labels", "create", "contacts", "companies", evil, "--name", "x").status)
    local exported = cli.run(environment, "export")
    for _, result in ipairs {
      cli.run(environment, "labels", "get", "contacts", "companies"),
      cli.run(environment, "labels", "get", "contacts", "companies", "--json"),
      cli.run(environment, "limits", "set", "contacts", "companies", "\27[2J=5"),
      exported, cli.feed(exported.out, environment, "plan", "-"),
      cli.run(environment, "export", "--format", "json"), cli.run(environment, "graph"),
      cli.feed((exported.out:gsub("unmanaged: keep", "unmanaged: remove"):gsub("\n +%- label: \"[^\n]*", "")),
        environment, "plan", "-"),
      cli.feed("version: 1\n" .. evil .. ": 5\n", environment, "plan", "-"),
      cli.run(environment, "labels", "delete", "contacts", "companies", evil, "--yes"),
    } do
      local shown = result.out .. result.err
      assert.is_true(#shown > 0)
      for _, dangerous in ipairs { "[%z\1-\9\11-\31\127]", "\194[\128-\159]", "\226\128[\142\143\168-\174]",
        "\226\129[\166-\169]" } do
        assert.is_nil(shown:find(dangerous), shown)
      end
    end
  end)

  it("ends quietly where who reads it has gone", function()
    for _, words in ipairs { GET, { "--help" }, { "limits", "get", "--json" }, { "man" } } do
      local by_signal = cli.command(environment, unpack(words))
      local by_error = by_signal:gsub("%-%-default%-signal=%S+", "--ignore-signal=PIPE")
      for _, command in ipairs { by_signal, by_error } do
        local gone = os.tmpname()
        os.remove(gone)
        local script = ("(until [ -e %s ]; do sleep 0.02; done; exec %s) | { exec <&-; : >%s; }; echo ${PIPESTATUS[0]}")
          :format(gone, command, gone)
        local output = cli.sh("bash -c " .. shell.quote(script))
        os.remove(gone)
        assert.equal("141\n", output)
      end
    end
  end)

  it("does not take a full disk for success", function()
    local output, status = cli.sh(cli.command(environment, unpack(GET)) .. " 2>&1 >/dev/full")
    assert.equal(1, status)
    assert.matches("cannot write the output", output)
  end)

  it("is quiet with -q", function()
    local result = cli.run(environment, "-q", "limits", "set", "contacts", "companies", "100")
    assert.same({ 0, "", "" }, { result.status, result.out, result.err })
  end)

  it("ends with 130 after Ctrl-C", function()
    simulator.fault(token, { delay = 30 })
    local result = cli.stop("INT", function() return simulator.log(token).count > 0 end, environment, unpack(GET))
    assert.same({ status = 130, out = "hubspot-assoc: interrupted\n" }, result)
  end)

  it("shows help for everything, with examples", function()
    local help = cli.run({}, "--help")
    assert.equal(0, help.status)
    assert.equal("", help.err)
    assert.equal(help.out, cli.run({}).out)
    assert.equal(help.out, cli.run({}, "help").out)
    assert.equal(cli.run({}, "limits", "set", "--help").out, cli.run({}, "help", "limits", "set").out)
    for _, command in ipairs((require "hubspot_assoc.cli.parser").commands()) do
      assert.matches("\n   " .. command.name .. " ", help.out, 1, true)
      for _, child in ipairs(command.commands or { command }) do
        local words = child == command and { command.name } or { command.name, child.name }
        words[#words + 1] = "--help"
        local result = cli.run({}, unpack(words))
        assert.equal(0, result.status)
        assert.matches("Usage: hubspot-assoc " .. command.name, result.out, 1, true)
        assert.matches("Examples:\n   ", result.out, 1, true)
      end
    end
  end)

  it("says what is wrong with a command line", function()
    for expected, words in pairs {
      ["unknown command 'limit'"] = { "limit" }, ["unknown command 'gte'. Did you mean 'get'?"] = { "limits", "gte" },
      ["missing argument 'TO'"] = { "labels", "get", "contacts" }, ["unknown option '--jsn'"] = { "usage", "--jsn" },
      ["must be one of"] = { "--color=blue", "usage" },
    } do
      local result = cli.run(environment, unpack(words))
      assert.equal(64, result.status)
      assert.matches(expected, result.err, 1, true)
      assert.matches("--help", result.err, 1, true)
    end
    assert.equal(0, simulator.log(token).count)
  end)

  it("says what is missing where argparse is", function()
    local result = cli.run({ LUA_PATH = cli.sh("pwd"):match "^[^\n]+" .. "/lua/?.lua" }, "--help")
    assert.equal(1, result.status)
    assert.matches("argparse is missing", result.err)
    assert.matches("lua-argparse", result.err, 1, true)
  end)

  it("runs a command against a simulator of its own, and ends as that ends", function()
    local its_own = { HUBSPOT_ASSOC_SIMULATOR = cli.sh("pwd"):match "^[^\n]+" .. "/simulator/simulator",
      HUBSPOT_BASE_URL = false }
    local result = cli.run(its_own, "simulator", "--", "sh", "-c", 'echo "$HUBSPOT_BASE_URL"; exit 7')
    assert.equal(7, result.status)
    assert.matches("^http://127.0.0.1:%d+\n$", result.out)
    assert.is_true(result.out ~= simulator.url .. "\n")
  end)

  it("leaves no simulator behind where a signal ends it alone", function()
    local its_own = { HUBSPOT_ASSOC_SIMULATOR = cli.sh("pwd"):match "^[^\n]+" .. "/simulator/simulator" }
    local said = os.tmpname()
    local output = cli.sh(([[%s >%s 2>/dev/null & program=$!
      until grep -q '^https' %s; do sleep 0.05; done
      url=$(head -n 1 %s); kill -KILL $program
      tries=0; while lua5.4 spec/support/http.lua GET $url/simulator/health >/dev/null 2>&1; do
        tries=$((tries + 1)); [ $tries -lt 300 ] || { echo "still there"; exit; }; sleep 0.1
      done; echo gone]]):format(cli.command(its_own, "simulator"), said, said, said))
    os.remove(said)
    assert.equal("gone\n", output)
  end)

  it("tells its version", function()
    assert.equal("hubspot-assoc " .. require "hubspot_assoc"._VERSION .. "\n", cli.run({}, "--version").out)
  end)

  it("writes completions that the shells take", function()
    for shell_name, check in pairs { bash = "bash -n", zsh = "zsh -n", fish = "fish -n" } do
      local result = cli.run({}, "completion", shell_name)
      assert.equal(0, result.status)
      assert.matches("hubspot-assoc", result.out, 1, true)
      if select(2, cli.sh("command -v " .. shell_name)) == 0 then
        local path = cli.write(os.tmpname(), result.out)
        local output, status = cli.sh(check .. " " .. path)
        os.remove(path)
        assert.equal(0, status, output)
      end
    end
    local completed = cli.sh("bash -c " .. shell.quote([[
      source <(]] .. cli.command({}, "completion", "bash") .. [[)
      COMP_WORDS=(hubspot-assoc limits s) COMP_CWORD=2; _hubspot-assoc; echo "${COMPREPLY[@]}"]]))
    assert.equal("set\n", completed)
  end)

  it("completes the names of profiles", function()
    local folder = cli.folder()
    cli.sh("mkdir " .. folder .. "/hubspot-assoc")
    finally(function() cli.sh("rm -r " .. folder) end)
    cli.write(folder .. "/hubspot-assoc/config", "# [no]\n[sandbox]\ntoken_file = a\n [ production ] \ntoken = [x]\n")
    local function complete(shell_name, script)
      if select(2, cli.sh("command -v " .. shell_name)) ~= 0 then return "production sandbox\n" end
      -- (fish leaves files in the home folder.)
      return (cli.sh(("HOME=%s XDG_CONFIG_HOME=%s %s -c %s"):format(folder, folder, shell_name,
        shell.quote(script:format(cli.command({}, "completion", shell_name))))))
    end
    local bash = [[source <(%s); COMP_WORDS=(hubspot-assoc limits get --profile '') COMP_CWORD=4; _hubspot-assoc
      printf '%%s\n' "${COMPREPLY[@]}" | sort | xargs]]
    local zsh = [[_arguments() { print -l -- $@ | grep -F -m 1 -- --profile; return 0 }; compdef() { }
      words=(x); source <(%s) >/dev/null
      _hubspot-assoc | grep -o '(.*)' | tr -d '()' | xargs -n 1 | sort | xargs]]
    local fish = [[%s | source; complete -C 'hubspot-assoc limits get --profile ' | cut -f 1 | sort | xargs]]
    for name, script in pairs { bash = bash, zsh = zsh, fish = fish } do
      assert.equal("production sandbox\n", complete(name, script), name)
    end
  end)

  it("writes a manual page with every command and exit status", function()
    local result = cli.run({}, "man")
    assert.equal(0, result.status)
    for _, part in ipairs { ".TH HUBSPOT", ".SH EXIT STATUS", "\\fBlabels delete\\fR", ".SH FILES", "\\fB130\\fR" } do
      assert.matches(part, result.out, 1, true)
    end
  end)
end)
