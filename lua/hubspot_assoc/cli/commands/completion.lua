--- completion SHELL

local function run_completion(run, args)
  local script = run.build.root["get_" .. args.shell .. "_complete"](run.build.root)
  run.terminal:print((script:gsub("\n$", "")))
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
