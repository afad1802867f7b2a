rockspec_format = "3.0"
package = "hubspot_assoc"
version = "scm-1"
source = {
  url = "git+https://github.com/hubspot-assoc/hubspot_assoc.git",
}
description = {
  summary = "HubSpot's Associations API: batch update of association limits, labels, records",
  detailed = [[
    A C module on libcurl and lua-cjson with pacing, retries and deadlines,
    for plain scripts, event loops and OpenResty. Lua 5.1 to 5.5 and LuaJIT.]],
  homepage = "https://github.com/hubspot-assoc/hubspot_assoc",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "lua-cjson >= 2.1.0",
}
external_dependencies = {
  -- No header: Debian keeps curl.h in a multiarch folder, where LuaRocks does not look but the compiler does.
  CURL = { library = "curl" },
}
build = {
  -- The Makefile, not "builtin": that one can pass neither -fvisibility=hidden nor -Wl,-z,nodelete, without which
  -- lua_close unloads libcurl under its resolver thread. No WERROR: a newer compiler's warnings must not stop a user.
  type = "make",
  build_target = "module",
  install_target = "install-lib", -- the program is a rock of its own, for it needs more
  variables = {
    BUILD = "build/luarocks",
    LUA_INCDIR = "$(LUA_INCDIR)",
    CFLAGS = "$(CFLAGS)",
    LIBFLAG = "$(LIBFLAG)",
    WERROR = "",
    CURL_INCDIR = "$(CURL_INCDIR)",
    CURL_LIBDIR = "$(CURL_LIBDIR)",
  },
  install_variables = {
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
    DOCDIR = "$(PREFIX)/doc",
    BINDIR = "$(BINDIR)",
    SIMDIR = "$(PREFIX)",
  },
}
test = {
  type = "command",
  command = "make test", -- luarocks test -- LUA=lua5.3 SPEC=spec/codec_spec.lua
}
