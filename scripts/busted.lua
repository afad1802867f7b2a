-- busted under any Lua: $(LUA) scripts/busted.lua [busted's arguments]. Debian's own `busted` knows one Lua only.
require "busted.runner" { standalone = false }
