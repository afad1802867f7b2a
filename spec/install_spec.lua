-- What `make install` puts into place, as far as it can be tried at once (.ci/run installs all, with LuaRocks, too).
local shell = require "spec.support.shell"

describe("the simulator as it is installed #once", function()
  local prefix

  setup(function()
    prefix = os.tmpname()
    os.remove(prefix)
  end)
  teardown(function() os.execute("rm -rf " .. shell.quote(prefix)) end)

  local function run(command)
    local pipe = assert(io.popen(("( %s ) 2>&1"):format(command)))
    local output = pipe:read "*a"
    pipe:close()
    return output
  end

  it("runs without the clone, and leaves nothing behind", function()
    run(("env -u MAKEFLAGS make -s install-simulator PREFIX=%s"):format(shell.quote(prefix)))
    local script = 'print(#require "hubspot_assoc".get_limits("contacts", "companies"))'
    local output = run(("cd / && mkdir %s/tmp && TMPDIR=%s/tmp LUA=%s SCRIPT=%s %s/bin/hubspot-assoc-simulator exec "
      .. "sh -c 'ls \"$TMPDIR\"; $LUA -e \"$SCRIPT\"'"):format(shell.quote(prefix), shell.quote(prefix),
        os.getenv "LUA" or "lua5.4", shell.quote(script), shell.quote(prefix)))
    assert.matches("^simulator%.%w+\n4\n$", output)
    assert.equal("", run("ls " .. shell.quote(prefix .. "/tmp")))
  end)

  it("tells its use", function()
    assert.matches("simulator exec CMD", run(shell.quote(prefix .. "/bin/hubspot-assoc-simulator") .. " help"))
  end)
end)

describe("a path #once", function()
  it("that make cannot deal with is refused before anything is done, and named", function()
    local paths = { ["/tmp/it's"] = "'", ['/tmp/a"b'] = '"', ["/tmp/a;b"] = ";", ["/tmp/a\nb"] = "line-break" }
    for path, sign in pairs(paths) do
      local command = "env -u MAKEFLAGS make -n install PREFIX=" .. shell.quote(path) .. " 2>&1"
      local pipe = assert(io.popen(command))
      local output = pipe:read "*a"
      pipe:close()
      assert.matches(sign .. " in the path of this folder, in PREFIX or DESTDIR", output, 1, true)
    end
  end)
end)
