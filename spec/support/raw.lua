-- lua5.4 raw.lua PORT FILE: sends the file's bytes to 127.0.0.1:PORT and prints what comes back, up to its end.
local socket = require "socket"

local file = assert(io.open(arg[2], "rb"))
local connection = assert(socket.connect("127.0.0.1", tonumber(arg[1])))
connection:settimeout(10)
connection:send(file:read "*a") -- whoever answers early may close before it has read all
local text, _, part = connection:receive "*a"
io.write(text or part)
