# SPDX-License-Identifier: Apache-2.0
#
# make            build everything into build/
# make check      all tests (as root; installs what it needs)
# make demo       the main job, shown end to end (as root; installs what it needs)
# make install    DESTDIR= PREFIX= ; make deps ; make asan ; make valgrind ; make torture ; make clean
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
broker_objs  := $(patsubst %.c,%,$(filter-out broker/keyfob-fetch.c broker/fetch-%.c broker/keyfob-request-key.c,$(wildcard broker/*.c))) \
                keyring/keyctl keyring/store keyring/store-copy $(patsubst %.c,%,$(wildcard verify/federation*.c)) common/buffer common/wire common/log common/config common/sandbox common/service
# keyfob-admin has the verbs that read configuration or JSON: keyfob itself starts faster without those libraries.
admin_only   := $(filter cli/admin%,$(patsubst %.c,%,$(wildcard cli/*.c)))
cli_shared   := cli/args cli/verbs cli/output cli/json cli/tool cli/reload keyring/keyctl keyring/lookup keyring/client keyring/keyfob common/buffer common/wire common/log
cli_objs     := $(filter-out $(admin_only),$(patsubst %.c,%,$(wildcard cli/*.c))) $(cli_shared)
admin_objs   := $(admin_only) $(cli_shared) common/config \
                $(patsubst %.c,%,$(wildcard verify/federation*.c verify/claims.c verify/verdict.c verify/jw*.c verify/json.c verify/reason.c))
verify_objs  := $(patsubst %.c,%,$(wildcard verify/*.c)) keyring/client keyring/keyctl common/buffer common/wire common/log common/config common/sandbox common/service
pam_objs     := $(patsubst %.c,%,$(wildcard pam/*.c)) keyring/keyctl keyring/client common/buffer common/wire
emulator_objs:= $(patsubst %.c,%,$(wildcard emulator/*.c))
module_names := azure gcp callback-exec oauth2 file k8s jwks
module_names := $(filter $(module_names),$(basename $(notdir $(wildcard modules/*.c))))
module_shared:= modules/expiry modules/json modules/report common/buffer

programs := $(O)/bin/keyfobd $(O)/bin/keyfob-fetch $(O)/bin/keyfob $(O)/bin/keyfob-emulator \
            $(if $(wildcard cli/admin.c),$(O)/bin/keyfob-admin) $(if $(wildcard verify/keyfob-verifyd.c),$(O)/bin/keyfob-verifyd)
pam      := $(if $(wildcard pam/pam_keyfob.c),$(O)/lib/security/pam_keyfob.so)
modules  := $(module_names:%=$(O)/lib/keyfob/modules/%.so)
library  := $(O)/lib/libkeyfob.so

all: $(programs) $(modules) $(library) $(pam) $(O)/lib/pkgconfig/keyfob.pc

# --- flags -----------------------------------------------------------------

probe = $(shell $(CC) -Werror $(1) -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
probe_ld = $(shell echo 'int main(void){return 0;}' | $(CC) -Werror $(1) -x c - -o /dev/null 2>/dev/null && echo $(1))

ifeq ($(filter clean deps check demo asan valgrind torture,$(MAKECMDGOALS)),)
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

$(O)/bin/keyfobd: $(call obj,$(broker_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libevent_core libkeyutils libseccomp)

$(O)/bin/keyfob: $(call obj,$(cli_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,libkeyutils)

$(O)/bin/keyfob-admin: $(call obj,$(admin_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libcrypto jansson libkeyutils)

$(O)/bin/keyfob-verifyd: $(call obj,$(verify_objs))
	$(link) -pie -pthread -o $@ $^ $(call pc,ini_config libevent_core libcrypto jansson libkeyutils libseccomp)

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

$(O)/lib/pkgconfig/keyfob.pc: packaging/keyfob.pc.in Makefile
	$(Q)mkdir -p $(@D) && sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCDIR@|$(INCDIR)|' -e 's|@VERSION@|$(VERSION)|' $< >$@

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
tests-built: all $(unit) $(helpers) $(doors) $(test_modules)

check: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/run $(O)

demo:
	$(Q)packaging/deps.sh --if-missing demo
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)examples/demo.sh $(O)

# --- other targets ---------------------------------------------------------

deps:
	$(Q)packaging/deps.sh
ready:
	$(Q)packaging/deps.sh --if-missing

asan:
	$(Q)$(MAKE) --no-print-directory check O=build/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' \
		CFLAGS='-O1 -g' fortify= fetch_mode=0755 LDFLAGS=tests/asan-options.c

# The kills of tests/system/torture.sh, a thousand of them; and the unit tests under valgrind.
torture: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/torture.sh $(O)
valgrind: ready
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) tests-built
	$(Q)tests/valgrind.sh $(O)

install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(SBINDIR) $(LIBDIR)/pkgconfig $(LIBEXEC) $(MODDIR) $(INCDIR) $(MANDIR)/man1 $(MANDIR)/man3 $(MANDIR)/man5 $(MANDIR)/man8)
	install -m 0755 $(O)/bin/keyfob $(O)/bin/keyfob-emulator $(DESTDIR)$(BINDIR)
	install -m 0755 $(O)/bin/keyfobd $(filter %/keyfob-verifyd,$(programs)) $(DESTDIR)$(SBINDIR)
	[ -z "$(filter %/keyfob-admin,$(programs))" ] || install -m 0755 $(O)/bin/keyfob-admin $(DESTDIR)$(LIBEXEC)
	[ -z "$(pam)" ] || install -D -m 0644 -t $(DESTDIR)$(PAMDIR) $(pam)
	install -m $(fetch_mode) $(O)/bin/keyfob-fetch $(DESTDIR)$(LIBEXEC)
	install -m 0644 $(modules) $(DESTDIR)$(MODDIR)
	install -m 0644 $(O)/lib/$(soname).$(VERSION) $(DESTDIR)$(LIBDIR)
	ln -sf $(soname).$(VERSION) $(DESTDIR)$(LIBDIR)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(LIBDIR)/libkeyfob.so
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig
	install -m 0644 keyring/keyfob.h $(DESTDIR)$(INCDIR)
	install -D -m 0644 packaging/keyfob.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/keyfob.conf
	install -D -m 0644 modules/module.h $(DESTDIR)$(INCDIR)/keyfob/module.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCDIR@|$(INCDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		packaging/keyfob.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/keyfob.pc
	for page in $(wildcard doc/man/*.[1358]); do install -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}; done

clean:
	rm -rf $(O)

.PHONY: all check demo deps ready asan valgrind torture install clean tests-built
.DELETE_ON_ERROR:
.SECONDARY:
