--- file:write and file:flush, whose failure counts. Where LuaJIT has compiled such a call and it fails, the interpreter
-- repeats it, and takes the second result; but the C library has dropped what it could not write, and does not fail
-- again. So here they are not compiled.

local jit = rawget(_G, "jit")

local output = {}

--- As file:write.
function output.write(file, ...)
  return file:write(...)
end

--- As file:flush.
function output.flush(file)
  return file:flush()
end

if jit then
  jit.off(output.write)
  jit.off(output.flush)
end

return output
