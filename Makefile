# SPDX-License-Identifier: Apache-2.0
#
# make            build everything into build/
# make check      all tests (as root; installs what it needs)
# make demo       the main job, shown end to end (as root; installs what it needs)
# make deb        Debian packages into build/deb/
# make docs       the picture and the sessions of README.md, from running programs (as root)
# make install    DESTDIR= PREFIX= ; make deps ; make asan ; make valgrind ; make torture ; make clean
# make bench      what it costs beside what people use instead (as root; make bench-deps installs the others)
# make fuzz       SECONDS=60 of each parser under libFuzzer ; make lint ; make sbom
#
# V=1 shows the commands. CC=clang works too. O= names another build directory.

comma    := ,
VERSION  := 0.1.0
O        ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
BINDIR   ?= $(PREFIX)/bin
SBINDIR  ?= $(PREFIX)/sbin
LIBDIR   ?= $(PREFIX)/lib
LIBEXEC  ?= $(PREFIX)/libexec/keyfob
PAMDIR   ?= $(PREFIX)/lib/security
MODDIR   ?= $(PREFIX)/lib/keyfob/modules
MANDIR   ?= $(PREFIX)/share/man
INCDIR   ?= $(PREFIX)/include
SYSCONFDIR ?= $(PREFIX)/etc
UNITDIR  ?= $(PREFIX)/lib/systemd/system
WERROR   ?= -Werror
CFLAGS   ?= -O2 -g

ifneq ($(V),1)
Q := @
say = @printf '  %-4s %s\n' $(1) $(patsubst $(O)/%,%,$@)
endif

# --- what is built of what -------------------------------------------------

common_objs  := buffer wire log
lookup_objs  := keyring/keyctl keyring/lookup keyring/client keyring/keyfob
fetch_objs   := broker/keyfob-fetch $(patsubst %.c,%,$(wildcard broker/fetch-*.c)) common/sandbox modules/expiry common/buffer common/wire
broker_objs  := $(patsubst %.c,%,$(filter-out broker/keyfob-fetch.c broker/fetch-%.c broker/keyfob-request-key.c broker/request-key-%.c,$(wildcard broker/*.c))) \
                keyring/keyctl keyring/store keyring/store-copy keyring/store-own $(patsubst %.c,%,$(wildcard verify/federation*.c)) common/buffer common/wire common/log common/config common/sandbox common/service
request_key_objs := broker/keyfob-request-key broker/request-key-who keyring/keyctl keyring/client common/sandbox common/buffer common/wire common/log
# keyfob-admin has the verbs that read configuration or JSON: keyfob itself starts faster without those libraries.
admin_only   := $(filter cli/admin%,$(patsubst %.c,%,$(wildcard cli/*.c)))
cli_shared   := cli/args cli/verbs cli/output cli/progress cli/json cli/tool cli/reload cli/status-list keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire common/log
cli_objs     := $(filter-out $(admin_only),$(patsubst %.c,%,$(wildcard cli/*.c))) $(cli_shared)
admin_objs   := $(admin_only) $(cli_shared) common/config \
                $(patsubst %.c,%,$(wildcard verify/federation*.c verify/claims.c verify/verdict.c verify/jw*.c verify/json.c verify/reason.c))
verify_objs  := $(patsubst %.c,%,$(wildcard verify/*.c)) keyring/client keyring/keyctl common/buffer common/wire common/log common/config common/sandbox common/service
metadata_objs:= $(patsubst %.c,%,$(wildcard metadata/*.c)) common/buffer common/wire common/log common/sandbox common/service
pam_objs     := $(patsubst %.c,%,$(wildcard pam/*.c)) keyring/keyctl keyring/client common/buffer common/wire
emulator_objs:= $(patsubst %.c,%,$(wildcard emulator/*.c))
module_names := azure gcp callback-exec oauth2 file k8s jwks
module_names := $(filter $(module_names),$(basename $(notdir $(wildcard modules/*.c))))
module_shared:= modules/expiry modules/json modules/report common/buffer

programs := $(O)/bin/keyfobd $(O)/bin/keyfob-fetch $(O)/bin/keyfob-request-key $(O)/bin/keyfob $(O)/bin/keyfob-emulator \
            $(if $(wildcard cli/admin.c),$(O)/bin/keyfob-admin) $(if $(wildcard verify/keyfob-verifyd.c),$(O)/bin/keyfob-verifyd) $(O)/bin/keyfob-metadata
pam      := $(if $(wildcard pam/pam_keyfob.c),$(O)/lib/security/pam_keyfob.so)
modules  := $(module_names:%=$(O)/lib/keyfob/modules/%.so)
library  := $(O)/lib/libkeyfob.so

all: $(programs) $(modules) $(library) $(pam) $(O)/lib/pkgconfig/keyfob.pc

# --- flags -----------------------------------------------------------------

probe = $(shell $(CC) -Werror $(1) -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
probe_ld = $(shell echo 'int main(void){return 0;}' | $(CC) -Werror $(1) -x c - -o /dev/null 2>/dev/null && echo $(1))

ifeq ($(filter clean deps check demo docs asan valgrind torture deb bench bench-deps,$(MAKECMDGOALS)),)
harden   := $(call probe,-fstack-protector-strong) $(call probe,-fstack-clash-protection) $(call probe,-fcf-protection) \
            $(call probe,-ftrivial-auto-var-init=zero) $(call probe,-fno-strict-overflow) $(call probe,-fzero-call-used-regs=used-gpr)
harden_ld:= $(call probe_ld,-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) $(call probe_ld,-Wl$(comma)-z$(comma)noexecstack) \
            $(call probe_ld,-Wl$(comma)--as-needed)
endif

fortify  ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
warn     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wformat=2 -Wconversion -Wvla $(WERROR)
KF_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. -DKEYFOB_VERSION='"$(VERSION)"' $(warn) $(harden) $(fortify) -fPIC -fvisibility=hidden $(SANITIZE)
KF_LDFLAGS= $(harden_ld) $(SANITIZE)

pc = $(shell pkg-config --libs $(1) 2>/dev/null)

# --- rules -----------------------------------------------------------------

obj = $(patsubst %,$(O)/obj/%.o,$(1))
link = $(Q)$(if $(Q),printf '  %-4s %s\n' LD $(patsubst $(O)/%,%,$@) &&) mkdir -p $(@D) && $(CC) $(CFLAGS) $(KF_CFLAGS) $(KF_LDFLAGS) $(LDFLAGS)

$(O)/obj/%.o: %.c
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(CFLAGS) $(KF_CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# A program nobody may read is undumpable from birth for the users who may only run it (execve(2)).
fetch_mode ?= 0711
$(O)/bin/keyfob-fetch: $(call obj,$(fetch_objs))
	$(link) -pie -o $@ $^ $(call pc,libseccomp jansson libmd) -ldl
	$(Q)chmod $(fetch_mode) $@

$(O)/bin/keyfob-request-key: $(call obj,$(request_key_objs))
	$(link) -pie -o $@ $^ $(call pc,libkeyutils libseccomp)

$(O)/bin/keyfobd: $(call obj,$(broker_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libevent_core libkeyutils libseccomp)

$(O)/bin/keyfob: $(call obj,$(cli_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,libkeyutils)

$(O)/bin/keyfob-admin: $(call obj,$(admin_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libcrypto jansson libkeyutils)

$(O)/bin/keyfob-verifyd: $(call obj,$(verify_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libevent_core libcrypto jansson libkeyutils libseccomp)

$(O)/bin/keyfob-metadata: $(call obj,$(metadata_objs))
	$(link) -pie -o $@ $^ $(call pc,libevent_core libseccomp)

# In a stranger's process: nothing but libc and libpam, and nothing to be seen but pam_sm_*.
$(O)/lib/security/pam_keyfob.so: $(call obj,$(pam_objs)) pam/pam_keyfob.map
	$(link) -shared -Wl,-Bsymbolic -Wl,-z,defs -Wl,--version-script=pam/pam_keyfob.map -o $@ $(filter %.o,$^) -lpam

$(O)/bin/keyfob-emulator: $(call obj,$(emulator_objs))
	$(link) -pie -o $@ $^ $(call pc,libevent_extra libevent_core libcrypto jansson)

# What only some of the modules need.
$(O)/lib/keyfob/modules/azure.so: $(call obj,$(basename $(wildcard modules/azure-*.c)))
$(O)/lib/keyfob/modules/gcp.so: $(call obj,$(basename $(wildcard modules/gcp-*.c)))
$(O)/lib/keyfob/modules/azure.so $(O)/lib/keyfob/modules/gcp.so $(O)/lib/keyfob/modules/oauth2.so: \
	$(call obj,modules/http $(basename $(wildcard modules/assertion.c modules/token-endpoint.c)))
$(O)/lib/keyfob/modules/azure.so: $(call obj,$(basename $(wildcard modules/token-file.c)))
$(O)/lib/keyfob/modules/k8s.so: $(call obj,$(basename $(wildcard modules/token-file.c)))
$(O)/lib/keyfob/modules/jwks.so: $(call obj,modules/http)
$(O)/lib/keyfob/modules/jwks.so $(O)/lib/keyfob/modules/oauth2.so: $(call obj,modules/discovery)
$(O)/lib/keyfob/modules/file.so: $(call obj,$(basename $(wildcard modules/token-file.c)))
$(O)/lib/keyfob/modules/callback-exec.so: $(call obj,modules/exec-output modules/exec-input)

$(O)/lib/keyfob/modules/%.so: $(O)/obj/modules/%.o $(call obj,$(module_shared)) modules/module.map
	$(link) -shared -Wl,-Bsymbolic -Wl,--version-script=modules/module.map -o $@ $(filter %.o,$^) $(call pc,libcurl libcrypto jansson)

soname := libkeyfob.so.0
$(library): $(call obj,$(lookup_objs) common/buffer common/wire) keyring/libkeyfob.map
	$(link) -shared -pthread -Wl,-Bsymbolic -Wl,-soname,$(soname) -Wl,--version-script=keyring/libkeyfob.map \
		-o $(O)/lib/$(soname).$(VERSION) $(filter %.o,$^) $(call pc,libkeyutils)
	$(Q)ln -sf $(soname).$(VERSION) $(O)/lib/$(soname) && ln -sf $(soname) $@

fill_in = sed $(foreach name,PREFIX BINDIR SBINDIR LIBDIR LIBEXEC INCDIR VERSION,-e 's|@$(name)@|$($(name))|')
$(O)/lib/pkgconfig/keyfob.pc: packaging/keyfob.pc.in Makefile
	$(Q)mkdir -p $(@D) && $(fill_in) $< >$@

-include $(shell find $(O)/obj $(O)/tests -name '*.d' 2>/dev/null)

# --- tests -----------------------------------------------------------------

# A unit test names what it links in a line "links: a b c" of its source, and libraries in "libs: x y".
unit := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/*.c))
helpers := $(patsubst tests/helpers/%.c,$(O)/tests/helpers/%,$(wildcard tests/helpers/*.c))
names_in = $(shell sed -n 's/^.*\b$(2): \(.*[a-z0-9]\).*$$/\1/p' $(1))

.SECONDEXPANSION:
$(O)/tests/%: tests/%.c $$(call obj,$$(call names_in,tests/$$*.c,links))
	$(link) -MMD -MP -pthread -o $@ $(filter %.c %.o,$^) $(call pc,$(call names_in,$<,libs) $(if $(findstring unit/,$@),cmocka))

$(O)/tests/modules/%.so: tests/modules/%.c
	$(link) -shared -MMD -MP -o $@ $< -Wno-unused

test_modules := $(patsubst tests/modules/%.c,$(O)/tests/modules/%.so,$(wildcard tests/modules/*.c))
# The doors by which public conformance sets reach the code that ships.
doors := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/*-check.c tests/jws-verify.c))
tests-built: all $(unit) $(helpers) $(doors) $(test_modules) fuzz-replay faults-built

# Fuzz harnesses are built apart, with sanitizers: into O/fuzz-replay for make check, by this compiler, and into O/fuzz
# with libFuzzer for make fuzz, by clang. fuzz_main is what drives them.
harnesses  := $(filter-out driver libfuzzer,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
fuzz_main  ?= driver
sanitizers := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
$(harnesses:%=$(O)/tests/fuzz/%): $(O)/tests/fuzz/%: $$(call obj,tests/fuzz/$$* tests/fuzz/$(fuzz_main) $$(call names_in,tests/fuzz/$$*.c,links))
	$(link) $(fuzz_engine) -pthread -o $@ $^ $(addprefix -Wl$(comma)--wrap=,$(call names_in,tests/fuzz/$*.c,wrap)) \
		$(call pc,$(call names_in,tests/fuzz/$*.c,libs))
fuzz-built: $(harnesses:%=$(O)/tests/fuzz/%)

# Where the compiler has no sanitizers, tests/system/fuzz.sh says so.
fuzz-replay:
	$(Q)[ -z "$(call probe_ld,$(sanitizers))" ] || $(MAKE) --no-print-directory O=$(O)/fuzz-replay SANITIZE='$(sanitizers)' CFLAGS='-O1 -g' \
		fortify= LDFLAGS= fuzz-built
# The programs, with sanitizers, in O/faults: calls of theirs fail when tests/system/faults.sh wants them to (tests/faults/faults.c).
wrapped_calls = close free realloc reallocarray asprintf $(shell sed -n 's/^CALL.[^,]*, \([A-Za-z0-9_]*\),.*/\1/p' tests/faults/calls.def)
faults_programs := keyfobd keyfob-fetch keyfob-verifyd keyfob-metadata keyfob
$(programs) $(modules) $(library) $(pam): $(call obj,$(linked_too))
faults-programs: $(faults_programs:%=$(O)/bin/%) $(modules) $(pam)
faults-built:
	$(Q)[ -z "$(call probe_ld,$(sanitizers))" ] || $(MAKE) --no-print-directory O=$(O)/faults SANITIZE='$(sanitizers)' CFLAGS='-O1 -g' \
		fortify= fetch_mode=0755 linked_too=tests/faults/faults LDFLAGS='tests/asan-options.c -Wl,--no-as-needed -Wl,--export-dynamic-symbol=keyfob_faults_page \
		$(wrapped_calls:%=-Wl,--wrap=%)' faults-programs
fuzz:
	$(Q)packaging/deps.sh --if-missing fuzz
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) O=$(O)/fuzz CC=clang SANITIZE='-fsanitize=fuzzer-no-link $(sanitizers) -fprofile-instr-generate -fcoverage-mapping' \
		CFLAGS='-O1 -g' fortify= LDFLAGS= fuzz_main=libfuzzer fuzz_engine=-fsanitize=fuzzer fuzz-built
	$(Q)tests/fuzz/run.sh $(O)/fuzz $(or $(SECONDS),60)

check: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/run $(O)

demo:
	$(Q)packaging/deps.sh --if-missing demo
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)examples/demo.sh $(O)

docs:
	$(Q)packaging/deps.sh --if-missing
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)doc/make-docs.sh $(O)

# --- other targets ---------------------------------------------------------

deps:
	$(Q)packaging/deps.sh
ready:
	$(Q)packaging/deps.sh --if-missing

asan:
	$(Q)$(MAKE) --no-print-directory check O=build/asan SANITIZE='$(sanitizers)' \
		CFLAGS='-O1 -g' fortify= fetch_mode=0755 LDFLAGS=tests/asan-options.c

# From a copy of the tree, without what was built in it. Whoever builds packages for others is their maintainer, and says so
# by Debian's variables; without them it is nobody's address (RFC 2606).
deb:
	$(Q)rm -rf $(O)/deb && mkdir -p $(O)/deb/source
	$(Q)tar -c --exclude=./.git --exclude=./build --exclude='./$(O)' --exclude=node_modules . | tar -x -C $(O)/deb/source
	$(Q)cd $(O)/deb/source && cp -r packaging/debian . && sed -i "s|@VERSION@|$(VERSION)|; \
			s|@MAINTAINER@|$${DEBFULLNAME:-keyfob maintainers} <$${DEBEMAIL:-maintainers@keyfob.invalid}>|" debian/changelog debian/control && \
		DEB_BUILD_OPTIONS="$${DEB_BUILD_OPTIONS-noautodbgsym}" dpkg-buildpackage -b -us -uc -j$$(nproc) >../build.log 2>&1 || \
		{ tail -n 20 ../build.log; exit 1; }
	$(Q)rm -rf $(O)/deb/source && ls $(O)/deb/*.deb

# The tests that kill and stop, the long way; and the unit tests under valgrind.
torture: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/torture.sh $(O)
valgrind: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/valgrind.sh $(O)

# A benchmark is a program or a script of bench/; a program names what it links as a unit test does. One whose libraries
# are not there is not built, and its rows are skipped by name.
bench_programs := $(filter-out bench/bench.c bench/peer-%.c,$(wildcard bench/*.c))
bench-built: all $(helpers) $(foreach source,$(bench_programs),$(if $(call names_in,$(source),libs),$(shell pkg-config --exists $(call names_in,$(source),libs) 2>/dev/null && \
	echo $(source:%.c=$(O)/%)),$(source:%.c=$(O)/%)))
$(O)/bench/%: bench/%.c $(call obj,bench/bench) $$(call obj,$$(call names_in,bench/$$*.c,links))
	$(link) $(shell pkg-config --cflags $(call names_in,$<,libs) 2>/dev/null) -MMD -MP -pthread -o $@ $(filter %.c %.o,$^) $(call pc,$(call names_in,$<,libs)) -lm
bench-deps:
	$(Q)packaging/deps.sh bench
bench: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) bench-built
	$(Q)bench/run $(O)

lint:
	$(Q)packaging/deps.sh --if-missing lint
	$(Q)tests/lint.sh
# What each program links, by Debian package and version; it must be what that program has a right to.
sbom: all
	$(Q)packaging/sbom.sh $(O)

units := $(patsubst packaging/systemd/%.in,%,$(wildcard packaging/systemd/*.in))
install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(SBINDIR) $(LIBDIR)/pkgconfig $(LIBEXEC) $(MODDIR) $(INCDIR) $(MANDIR)/man1 $(MANDIR)/man3 $(MANDIR)/man5 $(MANDIR)/man8)
	install -m 0755 $(O)/bin/keyfob $(O)/bin/keyfob-emulator $(DESTDIR)$(BINDIR)
	install -m 0755 $(O)/bin/keyfobd $(filter %/keyfob-verifyd,$(programs)) $(O)/bin/keyfob-metadata $(DESTDIR)$(SBINDIR)
	[ -z "$(filter %/keyfob-admin,$(programs))" ] || install -m 0755 $(O)/bin/keyfob-admin $(DESTDIR)$(LIBEXEC)
	[ -z "$(pam)" ] || install -D -m 0644 -t $(DESTDIR)$(PAMDIR) $(pam)
	install -m $(fetch_mode) $(O)/bin/keyfob-fetch $(DESTDIR)$(LIBEXEC)
	install -m 0755 $(O)/bin/keyfob-request-key $(DESTDIR)$(LIBEXEC)
	install -d $(DESTDIR)$(SYSCONFDIR)/request-key.d
	$(fill_in) packaging/request-key.conf.in >$(DESTDIR)$(SYSCONFDIR)/request-key.d/keyfob.conf
	install -m 0644 $(modules) $(DESTDIR)$(MODDIR)
	install -m 0644 $(O)/lib/$(soname).$(VERSION) $(DESTDIR)$(LIBDIR)
	ln -sf $(soname).$(VERSION) $(DESTDIR)$(LIBDIR)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(LIBDIR)/libkeyfob.so
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig
	install -m 0644 keyring/keyfob.h $(DESTDIR)$(INCDIR)
	install -D -m 0644 packaging/keyfob.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/keyfob.conf
	install -D -m 0644 packaging/keyfob.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/keyfob.conf
	install -D -m 0644 modules/module.h $(DESTDIR)$(INCDIR)/keyfob/module.h
	$(fill_in) packaging/keyfob.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/keyfob.pc
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(PREFIX)/lib/systemd/user
	for unit in $(units); do $(fill_in) packaging/systemd/$$unit.in >$(DESTDIR)$(UNITDIR)/$$unit; done
	$(fill_in) packaging/systemd/user/keyfobd.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/user/keyfobd.service
	install -D -m 0644 packaging/completions/keyfob $(DESTDIR)$(PREFIX)/share/bash-completion/completions/keyfob
	for page in $(wildcard doc/man/*.[1358]); do install -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}; done

clean:
	rm -rf $(O)

.PHONY: all check demo docs deps ready asan valgrind torture deb install clean tests-built fuzz fuzz-built fuzz-replay faults-built faults-programs lint sbom bench bench-deps bench-built
.DELETE_ON_ERROR:
.SECONDARY:
