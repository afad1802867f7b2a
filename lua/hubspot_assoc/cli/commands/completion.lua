--- completion SHELL

-- argparse completes values by files; of --profile they are the sections of the file that account.lua reads.
local SECTIONS = [=[sed -n 's/^[[:space:]]*\[[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*\][[:space:]]*$/\1/p' ]=]

local IN_SH = "__hubspot_assoc_profiles() {\n  " .. SECTIONS
  .. '"${XDG_CONFIG_HOME:-$HOME/.config}/hubspot-assoc/config" 2>/dev/null\n}\n\n'

local IN_FISH = 'function __hubspot_assoc_profiles\n  set -l folder "$XDG_CONFIG_HOME"\n'
  .. '  test -n "$folder"; or set folder "$HOME/.config"\n  ' .. SECTIONS
  .. '"$folder/hubspot-assoc/config" 2>/dev/null\nend\n\n'

-- Shell -> what makes its script complete profiles.
local with_profiles = {
  bash = function(script)
    return IN_SH .. script:gsub("(%-%-profile%)%s+COMPREPLY=%(%$%(compgen) %-f", '%1 -W "$(__hubspot_assoc_profiles)"')
  end,
  zsh = function(script)
    local first, rest = script:match "^(#compdef [^\n]*\n+)(.*)$"
    return first .. IN_SH
      .. rest:gsub('("%-%-profile%[[^%]]*%]: :)_files"', "%1($(__hubspot_assoc_profiles | tr '\\n' ' '))\"")
  end,
  fish = function(script)
    return IN_FISH .. script:gsub("(%-l profile) %-r", "%1 -xa '(__hubspot_assoc_profiles)'")
  end,
}

local function run_completion(run, args)
  local script = run.build.root["get_" .. args.shell .. "_complete"](run.build.root)
  run.terminal:print((with_profiles[args.shell](script):gsub("\n$", "")))
end

return {
  name = "completion", summary = "Print a completion script for a shell.",
  description = "Prints a completion script. 'make install' has put them where the shells look already.",
  arguments = { { name = "shell", argname = "SHELL", choices = { "bash", "zsh", "fish" },
    description = "bash, zsh or fish." } },
  examples = {
    { 'eval "$(hubspot-assoc completion bash)"', "in ~/.bashrc" },
    { "hubspot-assoc completion zsh >~/.zfunc/_hubspot-assoc", "a folder of $fpath" },
    "hubspot-assoc completion fish >~/.config/fish/completions/hubspot-assoc.fish",
  },
  run = run_completion,
}
