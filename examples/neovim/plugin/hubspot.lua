--- Neovim (0.7 or newer): a command that updates an association limit, and says in the message area what came of it.
-- The editor goes on meanwhile.
--
--     make LUA=luajit && eval "$(make -s env LUA=luajit)"
--     HUBSPOT_ACCESS_TOKEN=pat-... nvim --cmd 'set runtimepath+=examples/neovim'
--     :HubSpotLimit contacts companies HUBSPOT_DEFINED 279 200

local vim = assert(rawget(_G, "vim"), "this runs inside Neovim")
local client

local function complain(message)
  vim.notify(tostring(message), vim.log.levels.ERROR)
end

local function update_limit(from, to, category, type_id, limit)
  client = client or require "hubspot_assoc".new { loop = "luv" }
  local results, errors = client:batch_update(from, to, {
    { category = category, typeId = tonumber(type_id) or type_id, maxToObjectIds = tonumber(limit) or limit },
  })
  if errors then
    complain(errors)
  else
    vim.notify(("%s -> %s: the limit is %d now"):format(from, to, results[1].userEnforcedMaxToObjectIds))
  end
end

vim.api.nvim_create_user_command("HubSpotLimit", function(command)
  if #command.fargs ~= 5 then
    return complain("HubSpotLimit FROM TO CATEGORY TYPE_ID LIMIT")
  end
  -- In a coroutine the call yields to the editor.
  coroutine.wrap(function()
    local ok, message = pcall(update_limit, unpack(command.fargs))
    if not ok then
      complain(message)
    end
  end)()
end, { nargs = "+", desc = "Update a limit on HubSpot associations: from, to, category, typeId, limit" })
