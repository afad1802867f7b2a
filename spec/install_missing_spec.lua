-- scripts/install-missing where the system's libcurl is too old: told before anything is installed. Debian's tools and
-- the headers are played by files of the spec's own, first in PATH.
local shell = require "spec.support.shell"

local folder

local function output_of(command)
  -- A sanitizer preloaded for the spec has no business in compilers.
  local pipe = assert(io.popen("unset LD_PRELOAD; " .. command .. " 2>&1 </dev/null; echo $?"))
  local output = pipe:read "*a"
  pipe:close()
  return (output:gsub("\n$", ""))
end

local function write(name, text)
  local path = folder .. "/" .. name
  assert(os.execute("mkdir -p " .. shell.quote(path:match "^(.*)/")))
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  assert(os.execute("chmod 755 " .. shell.quote(path)))
end

-- A compiler that has these libcurl headers: none where `version` is nil.
local function has_headers(version)
  if version then
    local major, minor = version:match "^(%d+)%.(%d+)"
    write("include/curl/curlver.h", ('#define LIBCURL_VERSION "%s"\n#define LIBCURL_VERSION_NUM 0x%02x%02x00\n')
      :format(version, major, minor))
    write("include/curl/curl.h", '#include "curlver.h"\n')
  end
  write("compiler", ([[#!/bin/sh
    case " $* " in *' -lcurl '*) %s ;; esac
    exec cc "$@"]]):format(version and "" or "exit 1"))
end

-- What Debian's archive has, and an apt-get that leaves a mark instead of installing.
local function offers(version)
  write("bin/apt-cache", version and "#!/bin/sh\necho 'Version: " .. version .. "'\n" or "#!/bin/sh\n")
  write("bin/id", "#!/bin/sh\necho 0\n") -- root: no sudo is asked
  write("bin/apt-get", ([[#!/bin/sh
    case " $* " in *' -s '*) exit 0 ;; esac
    echo "$*" >>%s/installed]]):format(folder))
end

local function install()
  return output_of(("PATH=%s/bin:$PATH LUA=%s CC=%s/compiler CURL_INCDIR=%s/include scripts/install-missing build")
    :format(folder, shell.quote(os.getenv "LUA"), folder, folder))
end

local function installed()
  local file = io.open(folder .. "/installed")
  return file and file:close()
end

describe("where libcurl is older than 7.80 #once", function()
  before_each(function() folder = output_of("mktemp -d"):match "^[^\n]+" end)
  after_each(function() os.execute("rm -rf " .. shell.quote(folder)) end)

  it("nothing is installed, and it is said, if it is here", function()
    has_headers "7.74.0"
    offers "7.74.0-1.3+deb11u13"
    local output = install()
    assert.matches("needs libcurl 7%.80 or newer; here it is 7%.74%.0, and nothing was installed", output)
    assert.matches("\n1$", output)
    assert.is_falsy(installed())
  end)

  it("nothing is installed, and it is said, if apt-get would install it", function()
    has_headers(nil)
    offers "7.74.0-1.3+deb11u13"
    local output = install()
    assert.matches("needs libcurl 7%.80 or newer; here it is 7%.74%.0%-1%.3%+deb11u13, and nothing", output)
    assert.matches("\n1$", output)
    assert.is_falsy(installed())
  end)

  it("a newer one is taken, here or from apt-get", function()
    has_headers "7.80.0"
    offers "7.74.0-1"
    assert.equal("0", install())
    has_headers(nil)
    offers "7.81.0-1ubuntu1.20"
    assert.matches("libcurl's headers: the engine is built on libcurl\nInstalling with apt%-get", install())
    assert.is_truthy(installed())
  end)
end)
