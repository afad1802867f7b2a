-- luacheck reads this. Globals of every supported Lua are known; `make test LUA=...` finds what one of them lacks.
std = "max"
max_line_length = 120
-- Only the ngx loop may use nginx's globals (a layer rule); the simulator, an example and a bench run inside nginx.
files["lua/hubspot_assoc/loop/ngx.lua"] = { std = "max+ngx_lua" }
files["examples/openresty"] = { std = "max+ngx_lua" }
files["bench/openresty"] = { std = "max+ngx_lua" }
files["simulator"] = { std = "max+ngx_lua" }
files["examples/testing"] = { std = "max+busted" }
files["spec"] = { std = "max+busted" }
