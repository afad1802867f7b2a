# hubspot_assoc: GNU make. `make` builds the module for LUA into build/$(LUA)/.
#   make LUA=lua5.1|lua5.2|lua5.3|lua5.4|lua5.5|luajit   CC=clang   WERROR=-Werror   V=1 (whole command lines)
#   make demo | test | nginx | hosts | lint | asan | tsan | valgrind | coverage | fuzz | torture | soak | bench | bench-openresty | bench-rate |
#        simulator | openresty | embed | env | deps | install | install-lib | install-cli | clean
#   make test SPEC=spec/codec_spec.lua BUSTED_ARGS='--filter=null' JOBS=1 (spec files at a time)

.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# --- what to build for ------------------------------------------------------------------------

# The Lua that was asked for, if any: scripts/install-missing must not pick another one then.
LUA_WANTED := $(or $(LUA),$(addprefix lua,$(LUA_VERSION)))
# Without a wish: the newest Lua here that has lua-cjson (Ubuntu 22.04 has it for 5.1 and 5.2 only).
ifeq ($(LUA_WANTED),)
LUA := $(shell for l in lua5.5 lua5.4 lua5.3 lua5.2 lua5.1 luajit; do \
         $$l -e 'require "cjson"' >/dev/null 2>&1 && { echo $$l; exit; }; done; echo lua5.4)
else
override LUA := $(LUA_WANTED)
endif
# Directory name of this Lua's modules: X.Y.
LUA_VERSION ?= $(if $(findstring luajit,$(LUA)),5.1,$(patsubst lua%,%,$(LUA)))
# Where lua.h is: Debian's place for $(LUA), then what others use, OpenResty's own LuaJIT among them. Give LUA_INCDIR= for
# any other.
LUA_INCDIR ?= $(patsubst %/,%,$(dir $(firstword $(wildcard $(addsuffix /lua.h, \
                $(if $(findstring luajit,$(LUA)),$(addsuffix /luajit-2.1, \
                  /usr/include /usr/local/include /usr/local/openresty/luajit/include), \
                  /usr/include/$(LUA) /usr/local/include/$(LUA)) \
                /usr/include/lua$(LUA_VERSION) /usr/include/lua/$(LUA_VERSION) \
                /usr/local/include /usr/include)))))

# --- flags ------------------------------------------------------------------------------------

BUILD   ?= build/$(LUA)
LOGS    ?= $(BUILD)/test-logs
CFLAGS  ?= -O2 -g
# CI's is -Werror; ours too, before a change lands. A newer compiler's new warning, or a newer library's deprecation, must
# not stop a user.
WERROR  ?=
LIBFLAG ?= -shared
PREFIX  ?= /usr/local
PORT    ?= 8080

comma := ,
define newline


endef

# Recipes put these into quotes, and Lua's search paths have signs of their own.
PATHS := $(CURDIR)$(PREFIX)$(DESTDIR)
UNFIT := $(strip $(if $(findstring $(newline),$(PATHS)),line-break) \
           $(foreach sign,' " ` \ ; ? $$,$(findstring $(sign),$(PATHS))))
ifneq ($(UNFIT),)
$(error $(firstword $(UNFIT)) in the path of this folder, in PREFIX or DESTDIR: make cannot deal with it; choose another path)
endif

# curl: given by LuaRocks as folders; Debian's compiler finds its own.
CURL_FLAGS := $(addprefix -I,$(CURL_INCDIR))
CURL_LIBS  := $(addprefix -L,$(CURL_LIBDIR)) -lcurl
# A libcurl outside the system's folders must be found at run time too.
CURL_LIBS  += $(addprefix -Wl$(comma)-rpath$(comma),$(filter-out /usr/lib% /lib%,$(CURL_LIBDIR)))

# nodelete: lua_close would otherwise unload the module, and libcurl with it, under a resolver
# thread of libcurl that still hangs in a name lookup.
NODELETE := -Wl,-z,nodelete

# address,undefined for `make asan`
SANITIZE ?=
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined -fno-omit-frame-pointer)

ALL_CFLAGS = $(CFLAGS) $(SAN_FLAGS) -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread \
             -Wall -Wextra -Wpedantic -Isrc/core $(CURL_FLAGS)
LUA_CFLAGS = -isystem $(LUA_INCDIR)
ALL_LDFLAGS = $(LDFLAGS) $(SAN_FLAGS)

Q := $(if $(V),,@)
SAY = $(if $(V),,@printf '  %-5s %s\n')

# --- the module -------------------------------------------------------------------------------

CORE_OBJ    := $(patsubst src/%.c,$(BUILD)/%.o,$(sort $(wildcard src/core/*.c src/core/curl/*.c)))
BINDING_OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(sort $(wildcard src/lua/*.c)))
MODULE      := $(BUILD)/hubspot_assoc/core.so
UNIT_TESTS  := $(patsubst spec/core/%.c,$(BUILD)/unit/%,$(sort $(wildcard spec/core/test_*.c)))
EMBED       := $(BUILD)/embed
FRAME_LOOP  := $(BUILD)/frame_loop
SHIMS       := $(patsubst spec/support/%.c,$(BUILD)/support/%.so,$(sort $(wildcard spec/support/*.c)))
TORTURE     := $(BUILD)/torture
FUZZERS     := $(patsubst fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard fuzz/*.c)))
TYPES       := $(BUILD)/types.lua
BENCHES     := $(patsubst bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard bench/*.c)))

.PHONY: module
module: $(MODULE)

$(MODULE): $(CORE_OBJ) $(BINDING_OBJ)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LIBFLAG) $(NODELETE) -o $@ $^ $(CURL_LIBS) -lpthread

$(CORE_OBJ): $(BUILD)/%.o: src/%.c $(BUILD)/flags
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(BINDING_OBJ): $(BUILD)/%.o: src/%.c $(BUILD)/flags
	$(SAY) CC $<
	@test -n "$(LUA_INCDIR)" || { echo "lua.h of $(LUA) not found: run 'make deps', or give LUA_INCDIR="; exit 1; }
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(LUA_CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# Changes when the compiler or a flag does, so that nothing built the old way is kept. (Not with WERROR, which changes
# no object: `make test` need not build anew what `make demo` built.)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(CPPFLAGS) $(ALL_LDFLAGS) $(LIBFLAG) $(CURL_LIBS)' | cmp -s - $@ || \
	 echo '$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(CPPFLAGS) $(ALL_LDFLAGS) $(LIBFLAG) $(CURL_LIBS)' > $@
FORCE:

-include $(BUILD)/generate_types.d $(CORE_OBJ:.o=.d) $(BINDING_OBJ:.o=.d) $(UNIT_TESTS:=.d) $(EMBED).d $(FRAME_LOOP).d $(BENCHES:=.d) $(FUZZERS:=.d) $(TORTURE).d

# --- types ------------------------------------------------------------------------------------

# What editors and checkers know of the library: the hand-written part, and what the endpoint table has.
.PHONY: types
types: $(TYPES)

$(BUILD)/generate_types: types/generate.c $(BUILD)/lua/endpoint.o $(BUILD)/lua/fields.o
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(LUA_CFLAGS) $(CPPFLAGS) -Isrc/lua -MMD -MP -MF $@.d -o $@ $^ $(ALL_LDFLAGS)

$(TYPES): types/types.lua.in $(BUILD)/generate_types
	$(SAY) GEN $@
	$(Q)$(BUILD)/generate_types $< >$@

# --- programs around it -----------------------------------------------------------------------

# One cmocka program per file, each with the whole engine.
$(UNIT_TESTS): $(BUILD)/unit/%: spec/core/%.c $(CORE_OBJ)
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(CPPFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE_OBJ) $(ALL_LDFLAGS) -lcmocka $(CURL_LIBS) -lpthread

# What specs preload, or load themselves: no sanitizer, no header of any Lua.
$(SHIMS): $(BUILD)/support/%.so: spec/support/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O1 -fPIC -shared -o $@ $< -ldl

# Hosts that link engine, binding, Lua and lua-cjson statically (Debian: liblua5.x-dev, lua-cjson-dev).
STATIC_LUA = $(if $(findstring luajit,$(LUA)),-l:libluajit-5.1.a,-l:liblua$(LUA_VERSION).a)
$(EMBED) $(FRAME_LOOP): $(BUILD)/%: examples/%.c $(CORE_OBJ) $(BINDING_OBJ)
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(LUA_CFLAGS) $(CPPFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE_OBJ) $(BINDING_OBJ) \
	   $(ALL_LDFLAGS) -l:liblua$(LUA_VERSION)-cjson.a $(STATIC_LUA) $(CURL_LIBS) -lpthread -lm -ldl

$(BENCHES): $(BUILD)/bench/%: bench/%.c $(CORE_OBJ)
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(CPPFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE_OBJ) $(ALL_LDFLAGS) $(CURL_LIBS) -lpthread -lm

# What libFuzzer calls, with engine, binding, Lua and lua-cjson in it.
$(FUZZERS): $(BUILD)/fuzz/%: fuzz/%.c $(CORE_OBJ) $(BINDING_OBJ)
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) -fsanitize=fuzzer $(ALL_CFLAGS) $(WERROR) $(LUA_CFLAGS) $(CPPFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE_OBJ) $(BINDING_OBJ) \
	   $(ALL_LDFLAGS) -l:liblua$(LUA_VERSION)-cjson.a $(STATIC_LUA) $(CURL_LIBS) -lpthread -lm -ldl

$(TORTURE): torture/host.c $(CORE_OBJ) $(BINDING_OBJ)
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(WERROR) $(LUA_CFLAGS) $(CPPFLAGS) -MMD -MP -MF $@.d -o $@ $< $(CORE_OBJ) $(BINDING_OBJ) \
	   -Wl,--export-dynamic,--wrap=curl_global_init,--wrap=strbuf_init,--wrap=strbuf_new,--wrap=strbuf_free \
	   $(ALL_LDFLAGS) -l:liblua$(LUA_VERSION)-cjson.a $(STATIC_LUA) $(CURL_LIBS) -lpthread -lm -ldl

.PHONY: embed frame_loop
embed: $(EMBED)
frame_loop: $(FRAME_LOOP)

# --- using the tree as built ------------------------------------------------------------------

# The closing ;; keeps Lua's own default path.
TREE_LUA_PATH  = $(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;
TREE_LUA_CPATH = $(CURDIR)/$(BUILD)/?.so;;
# nginx has LuaJIT inside.
LUAJIT_BUILD = $(if $(findstring luajit,$(LUA)),$(BUILD),$(BUILD)/luajit)
# A user's LUA_PATH_5_4 or LUA_INIT would go before ours.
IN_TREE = env -u LUA_INIT $(foreach name,LUA_INIT LUA_PATH LUA_CPATH,$(foreach n,2 3 4 5,-u $(name)_5_$n)) \
              LUA_PATH='$(TREE_LUA_PATH)' LUA_CPATH='$(TREE_LUA_CPATH)' \
              LUA='$(LUA)' BUILD='$(BUILD)' LUAJIT_BUILD='$(LUAJIT_BUILD)' CC='$(CC)' LOGS='$(LOGS)' \
              SPEC='$(SPEC)' BUSTED_ARGS='$(BUSTED_ARGS)' $(addprefix JOBS=,$(JOBS))
INSTALL_MISSING = env LUA='$(LUA_WANTED)' LUA_INCDIR='$(LUA_INCDIR)' CURL_INCDIR='$(CURL_INCDIR)' CURL_LIBDIR='$(CURL_LIBDIR)' \
                  CC='$(CC)' scripts/install-missing

# eval "$(make -s env)"
.PHONY: env
env:
	@printf "export LUA_PATH='%s' LUA_CPATH='%s'\n" '$(TREE_LUA_PATH)' '$(TREE_LUA_CPATH)'

# These first install what is missing, then call make again: which Lua there is, and where its headers are, may have
# changed meanwhile. `make run-test` is `make test` without installing; so it is with the others.
NEEDS_demo            := build simulator
NEEDS_test            := build simulator test
NEEDS_specs           := build simulator test
NEEDS_nginx           := build simulator test
NEEDS_hosts           := build simulator test examples
NEEDS_asan            := build simulator test sanitizers
NEEDS_tsan            := build test sanitizers
NEEDS_valgrind        := build simulator test valgrind
NEEDS_coverage        := build simulator test
NEEDS_fuzz            := build fuzz
NEEDS_torture         := build simulator test
NEEDS_soak            := build simulator test
NEEDS_lint            := build lint
NEEDS_bench           := build simulator test bench
NEEDS_bench-openresty := build simulator test bench
NEEDS_bench-rate      := build simulator test
NEEDS_simulator       := simulator
NEEDS_openresty       := build simulator openresty
# What make is called with then.
ARGS_asan = BUILD=build/asan/$(LUA) SANITIZE=address,undefined CFLAGS='-O1 -g'
ARGS_tsan = BUILD=build/tsan SANITIZE=thread CFLAGS='-O1 -g'
ARGS_coverage = BUILD=build/coverage CC=gcc LUA=lua5.4 CFLAGS='-O0 -g --coverage' LDFLAGS=--coverage
ARGS_fuzz = BUILD=build/fuzz CC=clang SANITIZE=address,undefined CFLAGS='-O1 -g -fsanitize=fuzzer-no-link'

INSTALLING := $(patsubst NEEDS_%,%,$(filter NEEDS_%,$(.VARIABLES)))
.PHONY: $(INSTALLING)
run-%:
	@$(MAKE) $* INSTALLED=1 $(ARGS_$*)
ifndef INSTALLED
$(INSTALLING):
	@$(INSTALL_MISSING) $(NEEDS_$@)
	@$(MAKE) $@ INSTALLED=1 $(ARGS_$@)
else

demo: $(MODULE)
	@$(IN_TREE) simulator/simulator exec $(LUA) examples/batch_update.lua

test: $(MODULE) $(TYPES) $(UNIT_TESTS) $(EMBED) luajit $(SHIMS)
	@$(IN_TREE) scripts/run-tests $(if $(SPEC),busted,unit embed busted)

# For one more Lua on the same machine: without the engine's unit tests, which know no Lua, the specs in nginx, which has a
# Lua of its own, and those of what is the same for all Luas.
specs: $(MODULE) $(TYPES) $(EMBED) $(SHIMS)
	@$(IN_TREE) BUSTED_ARGS='--exclude-tags=nginx,once $(BUSTED_ARGS)' scripts/run-tests embed busted

# All specs in a real nginx, also those that take long.
nginx: $(MODULE) luajit $(SHIMS)
	@$(IN_TREE) SLOW=1 SPEC='$(or $(SPEC),spec/nginx)' scripts/run-tests busted

# The examples in their real hosts: C, LÖVE, Neovim, event loops.
hosts: $(MODULE) $(FRAME_LOOP) $(SHIMS)
	@$(MAKE) module LUA=luajit BUILD=build/luajit
	@$(IN_TREE) HOSTS=1 SPEC=spec/host_spec.lua scripts/run-tests busted

asan: $(MODULE) $(TYPES) $(UNIT_TESTS) $(SHIMS)
	@$(IN_TREE) BUSTED_ARGS='--exclude-tags=nginx,cjson_leaks $(BUSTED_ARGS)' scripts/run-tests --asan $(if $(SPEC),,unit) busted

# Races in the engine: its unit tests, with a thread sanitizer in the engine (libcurl and OpenSSL have none). Some of them
# start threads in a forked child, which it would refuse.
tsan: $(UNIT_TESTS)
	@$(IN_TREE) TSAN_OPTIONS=die_after_fork=0 scripts/run-tests unit

valgrind: $(MODULE) $(TYPES) $(SHIMS)
	@$(IN_TREE) scripts/run-tests --valgrind busted

# Which lines all tests run, of C (gcc's notes) and of Lua (a hook in each Lua that specs start).
LINE_COVERAGE := $(BUILD)/line_coverage.so
$(LINE_COVERAGE): scripts/line_coverage.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -Wall -Wextra $(WERROR) $(LUA_CFLAGS) -fPIC -shared -o $@ $<
coverage: $(MODULE) $(UNIT_TESTS) $(EMBED) luajit $(SHIMS) $(TYPES) $(LINE_COVERAGE)
	@find $(BUILD) -name '*.gcda' -delete; rm -rf $(BUILD)/lines; mkdir $(BUILD)/lines
	@$(IN_TREE) HSA_LINES='$(CURDIR)/$(BUILD)/lines' \
	   LUA_INIT='if _VERSION == "Lua 5.4" then package.loadlib("$(CURDIR)/$(LINE_COVERAGE)", "luaopen_line_coverage")() end' \
	   scripts/run-tests unit embed busted >$(BUILD)/tests.log 2>&1 || \
	   echo 'some tests failed, which is not what this tells of (they are slower here): $(BUILD)/tests.log'
	@lua5.4 scripts/coverage $(BUILD) $(BUILD)/lines

# Memory that runs out, and interruptions, at every point of every scenario (Lua 5.4).
torture: $(TORTURE)
	@$(IN_TREE) scripts/torture $(TORTURE)

# Everything at once, with faults, for MINUTES; SEED= draws the same calls and faults again, SOAK=luv runs one part.
MINUTES ?= 10
soak: $(MODULE) $(SHIMS)
	@$(IN_TREE) KEEPALIVE_REQUESTS=60 MINUTES='$(MINUTES)' SEED='$(SEED)' simulator/simulator exec $(LUA) soak/run $(SOAK)

# SECONDS for each target; what it finds is kept in build/fuzz. REPLAY=order: of that target only the corpus is run.
SECONDS ?= 60
fuzz: $(FUZZERS)
	@$(MAKE) module BUILD=$(BUILD)/lua CC=cc SANITIZE= CFLAGS='-O2 -g'
	@$(IN_TREE) LUA_CPATH='$(CURDIR)/$(BUILD)/lua/?.so;;' REPLAY='$(REPLAY)' scripts/fuzz $(SECONDS) $(FUZZERS) fuzz/journal.lua fuzz/schema.lua

lint: $(MODULE)
	@LUA_INCDIR='$(LUA_INCDIR)' MODULE='$(MODULE)' scripts/lint

# RESTY_HTTP=FOLDER, with the lib/ of lua-resty-http and of lua-resty-string, measures the former in nginx beside ours.
bench: $(MODULE) $(BENCHES) luajit
	@$(IN_TREE) RESTY_HTTP='$(RESTY_HTTP)' bench/run

# How close a client comes to the rate, against a true rolling window; takes ten minutes.
bench-rate: $(MODULE)
	@$(IN_TREE) simulator/simulator exec $(LUA) bench/rate

# What calls cost an nginx worker.
bench-openresty: $(MODULE) $(BENCHES) luajit
	@$(IN_TREE) RESTY_HTTP='$(RESTY_HTTP)' $(LUA) bench/openresty/run.lua

# In the foreground, until Ctrl-C.
simulator:
	@PORT='$(PORT)' exec simulator/simulator run

# The example service, against a simulator of its own; in the foreground, until Ctrl-C.
openresty: luajit
	@$(IN_TREE) PORT='$(PORT)' simulator/simulator exec examples/openresty/run

endif

# Compiles all, and links nothing: for another machine, whose libraries are not here.
.PHONY: objects
objects: $(CORE_OBJ) $(BINDING_OBJ)

.PHONY: check-core
check-core: $(UNIT_TESTS)
	@$(IN_TREE) scripts/run-tests unit

.PHONY: luajit
luajit: $(if $(findstring luajit,$(LUA)),$(MODULE))
	$(if $(findstring luajit,$(LUA)),,@$(MAKE) module LUA=luajit BUILD=$(LUAJIT_BUILD) SANITIZE=)

# Everything that demo and test need, and nothing else.
.PHONY: deps
deps:
	@$(INSTALL_MISSING) $(NEEDS_test)

# --- installing -------------------------------------------------------------------------------

LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
LUADIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)
DOCDIR ?= $(PREFIX)/share/doc/hubspot_assoc

BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man/man1

# The program hubspot-assoc is a rock of its own, for it needs argparse and lyaml, which the library does not.
OF_CLI := -path './hubspot_assoc/cli/*' -o -path './hubspot_assoc/schema*'

# copy_lua WHICH: the Lua files that find is told of
copy_lua = @cd lua && find . -name '*.lua' $(1) | while read -r file; do \
	   mkdir -p "$(DESTDIR)$(LUADIR)/$${file%/*}" && \
	   cp "$$file" "$(DESTDIR)$(LUADIR)/$$file" && chmod 644 "$(DESTDIR)$(LUADIR)/$$file" || exit 1; done

# The simulator's own files; bin/hubspot-assoc-simulator is told where they are.
SIMDIR ?= $(DATADIR)/hubspot_assoc

.PHONY: install install-lib install-simulator install-cli install-cli-files
install: install-lib install-cli

install-simulator:
	@mkdir -p '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(SIMDIR)/simulator' '$(DESTDIR)$(SIMDIR)/scripts'
	cp -R simulator/simulator simulator/nginx.conf simulator/certificate.cnf simulator/lua '$(DESTDIR)$(SIMDIR)/simulator'
	cp scripts/nginx.sh '$(DESTDIR)$(SIMDIR)/scripts'
	@sed 's|@SIMDIR@|$(subst |,\|,$(subst &,\&,$(SIMDIR)))|' bin/hubspot-assoc-simulator >'$(DESTDIR)$(BINDIR)/hubspot-assoc-simulator'
	@chmod 755 '$(DESTDIR)$(BINDIR)/hubspot-assoc-simulator'
	@echo "installed hubspot-assoc-simulator into $(DESTDIR)$(BINDIR)"

install-lib: install-simulator $(MODULE) $(TYPES)
	@mkdir -p '$(DESTDIR)$(LIBDIR)/hubspot_assoc'
	cp $(MODULE) '$(DESTDIR)$(LIBDIR)/hubspot_assoc/core.so'
	$(call copy_lua,! \( $(OF_CLI) \))
	cp $(TYPES) '$(DESTDIR)$(LUADIR)/hubspot_assoc/types.lua'
	@mkdir -p '$(DESTDIR)$(DOCDIR)/simulator'
	cp -R README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE docs examples '$(DESTDIR)$(DOCDIR)' # all that the README links to
	cp simulator/README.md '$(DESTDIR)$(DOCDIR)/simulator'
	@echo "installed into $(DESTDIR)$(LIBDIR), $(DESTDIR)$(LUADIR) and $(DESTDIR)$(DOCDIR)"

# What its rock has. LuaRocks wraps the program, so that it finds its modules.
install-cli-files:
	$(call copy_lua,\( $(OF_CLI) \))
	@cp schema/associations.schema.json '$(DESTDIR)$(LUADIR)/hubspot_assoc/schema' && \
	 chmod 644 '$(DESTDIR)$(LUADIR)/hubspot_assoc/schema/associations.schema.json'
	@mkdir -p '$(DESTDIR)$(BINDIR)'
	cp bin/hubspot-assoc '$(DESTDIR)$(BINDIR)/hubspot-assoc'
	@chmod 755 '$(DESTDIR)$(BINDIR)/hubspot-assoc'

# Outside of LuaRocks it is told its Lua, and where its modules are. Its manual page and completions are made of what it
# says of itself.
install-cli: install-cli-files $(MODULE)
	@{ echo '#!/usr/bin/env $(LUA)'; \
	   echo 'package.path = "$(LUADIR)/?.lua;" .. package.path'; \
	   echo 'package.cpath = "$(LIBDIR)/?.so;" .. package.cpath'; \
	   sed 1d bin/hubspot-assoc; } >'$(DESTDIR)$(BINDIR)/hubspot-assoc'
	@if $(LUA) -e 'require "argparse"' >/dev/null 2>&1; then $(MAKE) install-cli-pages; \
	 else echo "hubspot-assoc needs argparse and lyaml for $(LUA) (Debian: lua-argparse, lua-yaml);" \
	           "without them it has neither manual page nor completions"; fi
	@echo "installed hubspot-assoc into $(DESTDIR)$(BINDIR)"

COMPLETIONS := bash:bash-completion/completions/hubspot-assoc zsh:zsh/site-functions/_hubspot-assoc \
               fish:fish/vendor_completions.d/hubspot-assoc.fish

.PHONY: install-cli-pages
install-cli-pages:
	@mkdir -p '$(DESTDIR)$(MANDIR)'
	@$(IN_TREE) $(LUA) bin/hubspot-assoc man >'$(DESTDIR)$(MANDIR)/hubspot-assoc.1'
	@for pair in $(COMPLETIONS); do \
	   file='$(DESTDIR)$(DATADIR)'/"$${pair#*:}" && mkdir -p "$${file%/*}" && \
	   $(IN_TREE) $(LUA) bin/hubspot-assoc completion "$${pair%%:*}" >"$$file" || exit 1; done

.PHONY: clean
clean:
	rm -rf build
