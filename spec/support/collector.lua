-- Sets a parameter of the garbage collector, "pause" or "stepmul", and returns the one before: Lua 5.5 has another name
-- for that.
return function(name, value)
  if _VERSION >= "Lua 5.5" then return collectgarbage("param", name, value) end
  return collectgarbage("set" .. name, value)
end
