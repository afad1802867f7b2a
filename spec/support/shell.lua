-- Runs a Lua 5.4 program beside the spec, whatever Lua the spec itself runs in.
local shell = {}

function shell.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

-- The command line for the program `file` of this folder. The search paths of the spec's own Lua would lead Lua 5.4 to
-- modules of another version, and a sanitizer preloaded for the spec has no business in a helper.
function shell.helper(file, ...)
  local words = { os.getenv "HELPER_LUA" or "lua5.4", shell.quote(shell.folder .. file) }
  for _, argument in ipairs { ... } do -- up to the first nil
    words[#words + 1] = shell.quote(argument)
  end
  return "unset LUA_PATH LUA_CPATH LUA_INIT LD_PRELOAD; exec " .. table.concat(words, " ") .. " </dev/null"
end

shell.folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"

return shell
