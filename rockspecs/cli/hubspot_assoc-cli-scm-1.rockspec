rockspec_format = "3.0"
package = "hubspot_assoc-cli"
version = "scm-1"
source = {
  url = "git+https://github.com/hubspot-assoc/hubspot_assoc.git",
}
description = {
  summary = "hubspot-assoc: HubSpot's association limits and labels from the command line, and as a file",
  detailed = [[
    Reads and sets association limits and labels; exports an account's as a file, plans and applies it;
    associates records from CSV or NDJSON.]],
  homepage = "https://github.com/hubspot-assoc/hubspot_assoc",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.1, < 5.6",
  "hubspot_assoc",
  "argparse >= 0.7.1",
  "lyaml >= 6.2",
}
build = {
  -- The Makefile, as for the library: it knows which Lua files belong to which rock.
  type = "make",
  build_pass = false,
  install_target = "install-cli-files",
  install_variables = {
    LUADIR = "$(LUADIR)",
    BINDIR = "$(BINDIR)",
  },
}
