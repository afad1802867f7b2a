-- Files as Lua's io does not give them (src/lua/file.c): what journals and locks are built on.
local child = require "spec.support.child"
local core = require "hubspot_assoc.core"

describe("a file of the core", function()
  local path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)

  after_each(function() os.remove(path) end)

  local function content()
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("is made for its owner alone", function()
    assert(core.open_file(path)):close()
    local pipe = assert(io.popen("stat -c %a '" .. path .. "'"))
    assert.equal("600", pipe:read "*l")
    pipe:close()
  end)

  it("keeps what was there, and its mode", function()
    local file = assert(io.open(path, "wb"))
    file:write "abc"
    file:close()
    os.execute("chmod 640 '" .. path .. "'")
    file = assert(core.open_file(path))
    assert.equal(3, file:size())
    assert.equal("bc", file:read(1, 100))
    assert.equal("", file:read(3, 100))
    file:close()
    local pipe = assert(io.popen("stat -c %a '" .. path .. "'"))
    assert.equal("640", pipe:read "*l")
    pipe:close()
  end)

  it("is written at a place, twice without harm, and cut", function()
    local file = assert(core.open_file(path))
    assert.is_true(file:write("one\n", 0))
    assert.is_true(file:write("two\n", 4))
    assert.is_true(file:write("two\n", 4))
    assert.equal("one\ntwo\n", content())
    assert.is_true(file:truncate(4))
    assert.is_true(file:sync())
    assert.equal("one\n", content())
    file:close()
  end)

  it("says what the system says where that fails", function()
    assert.same({ nil, "No such file or directory" }, { core.open_file(path .. "/no/such") })
    local full = assert(core.open_file "/dev/full")
    assert.same({ nil, "No space left on device" }, { full:write("x", 0) })
    full:close()
    assert.same({ nil, "Bad file descriptor" }, { full:write("x", 0) })
    assert.same({ nil, "Bad file descriptor" }, { full:lock() })
    assert.same({ nil, "Bad file descriptor" }, { full:size() })
    assert.same({ nil, "Bad file descriptor" }, { full:read(0, 1) })
    full:close()
  end)

  it("has one holder of its lock, in this process and others", function()
    local first, second = assert(core.open_file(path)), assert(core.open_file(path))
    assert.is_true(first:lock())
    assert.is_true(first:lock())
    assert.is_false(second:lock())
    local report = child.run({}, [[ return require "hubspot_assoc.core".open_file(...):lock() ]], path)
    assert.equal("false", report[1])
    assert.is_true(first:unlock())
    assert.is_true(second:lock())
    second:close()
    assert.is_true(first:lock())
    first:close()
  end)

  it("loses its lock with its holder, however that ends", function()
    local report = child.run({}, [[
      local file = require "hubspot_assoc.core".open_file(...)
      assert(file:lock())
      os.execute "kill -9 $PPID" ]], path)
    assert.equal("137", report.status)
    local file = assert(core.open_file(path))
    assert.is_true(file:lock())
    file = nil -- luacheck: ignore
    collectgarbage()
    file = assert(core.open_file(path))
    assert.is_true(file:lock())
    file:close()
  end)

  it("refuses what is no offset", function()
    local file = assert(core.open_file(path))
    for _, offset in ipairs { -1, 0 / 0, 1e300 } do
      assert.is_false(pcall(file.write, file, "x", offset))
      assert.is_false(pcall(file.truncate, file, offset))
      assert.is_false(pcall(file.read, file, offset, 1))
    end
    assert.is_false(pcall(file.read, file, 0, 1e9))
    assert.is_false(pcall(file.write, io.stdout, "x", 0))
    file:close()
  end)
end)
