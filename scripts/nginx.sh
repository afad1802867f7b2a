# Sourced by scripts that run an nginx of their own.
# shellcheck shell=sh

# Sets $nginx, or returns 1. It lies outside an ordinary user's PATH on Debian.
find_nginx() {
  nginx=$(PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/local/openresty/nginx/sbin" command -v nginx)
}

# Prints the load_module lines that $nginx needs to speak Lua: none where it is built in, as in OpenResty. Returns 1 if it
# has no Lua module.
lua_modules() {
  built=$("$nginx" -V 2>&1)
  case $built in *add-module=*ngx_lua* | *add-module=*lua-nginx-module*) return ;; esac
  modules=$(printf '%s\n' "$built" | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
  for place in "$modules" /usr/lib/nginx/modules /usr/lib64/nginx/modules; do
    [ -e "$place/ngx_http_lua_module.so" ] || continue
    [ ! -e "$place/ndk_http_module.so" ] || echo "load_module $place/ndk_http_module.so;"
    echo "load_module $place/ngx_http_lua_module.so;"
    return
  done
  return 1
}

# Below the range that systems hand out to outgoing connections.
random_port() { echo $((10000 + $(od -An -N2 -tu2 /dev/urandom) % 22000)); }
