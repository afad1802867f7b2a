--- Event loop: libuv, by the module luv, or inside Neovim by its vim.uv (once vim.loop).
--
--     local client = assoc.new { loop = "luv" }
--     coroutine.wrap(function() limits = client:get_limits("contacts", "companies") end)()
--     uv.run()

local vim = rawget(_G, "vim")
local is_neovim = type(vim) == "table" and type(vim.schedule) == "function"
local uv = is_neovim and (vim.uv or vim.loop) or require "luv"

local assert, error, tostring, traceback = assert, error, tostring, debug.traceback
local coroutine_resume, running, status, yield = coroutine.resume, coroutine.running, coroutine.status, coroutine.yield
local ceil = math.ceil

local loop = {}

--- Calls fn soon. In Neovim a callback of libuv may not use most of vim.api; what is scheduled may.
local function schedule(fn)
  if is_neovim then
    vim.schedule(fn)
  else
    fn()
  end
end

--- Has on_readable called whenever the descriptor is readable.
-- @return a function that ends this
function loop.watch(fd, on_readable)
  local poll = assert(uv.new_poll(fd))
  local watch_once

  local function look()
    if not poll:is_closing() then
      watch_once() -- first, for on_readable may raise
      on_readable()
    end
  end

  function watch_once()
    assert(poll:start("r", function()
      poll:stop() -- it stays readable until on_readable is called
      schedule(look)
    end))
  end

  local function stop()
    if not poll:is_closing() then
      poll:close()
    end
  end

  watch_once() -- last: an error before this leaves nothing that keeps the loop from ending
  return stop
end

--- Suspends the running coroutine, after it has called start with a function that resumes it; nil or so many seconds
-- at most.
function loop.suspend(start, seconds)
  local thread, is_resumed, timer = running(), false, nil
  local function resume()
    if is_resumed or status(thread) ~= "suspended" then
      return false -- the time was up, or it has died meanwhile
    end
    is_resumed = true
    local ok, message = coroutine_resume(thread)
    if not ok then
      error(traceback(thread, tostring(message)), 0)
    end
  end
  start(resume)
  if seconds then
    timer = assert(uv.new_timer())
    timer:start(ceil(seconds * 1000), 0, function() schedule(resume) end)
  end
  repeat
    yield()
  until is_resumed
  if timer then
    timer:close()
  end
end

return loop
