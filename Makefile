# SPDX-License-Identifier: GPL-2.0
#
# Two ways in. With KDIR, the module alone, the conventional way, against any
# Rust-enabled 7.3 build tree. Without, the laboratory: it brings the compilers,
# the stock kernel and QEMU, and needs only git, make and a shell of this machine.

ifneq ($(KDIR),)

# The kernel's own compiler where it was gcc: another name for it is a warning.
kernel-cc := $(shell sed -nE 's/^CONFIG_CC_VERSION_TEXT="([^ ]*gcc[^ ]*) .*/\1/p' $(KDIR)/.config 2>/dev/null)
ifeq ($(origin CC),default)
ifneq ($(shell command -v $(kernel-cc) 2>/dev/null),)
cc := CC=$(kernel-cc)
endif
endif

modules modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(cc) $@

.DEFAULT_GOAL := modules
.PHONY: modules modules_install clean

else

lab := qemu/enter qemu/inside

help: ## show this list
	@echo 'userdma: zero-copy access to the DMA buffers of a PCI device'
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 28
	@echo
	@echo '  make KDIR=/path [modules|modules_install|clean]'
	@echo '                            the module alone, against a 7.3 build tree with Rust'
	@echo
	@echo 'SUITE=name (qemu/suites.toml), FILTER=pattern and SEED=number narrow and repeat tests;'
	@echo 'GUEST=name (qemu/guests.toml) chooses the machine of run and shell; DEVICE=edu-daq, or'
	@echo 'another card as guests.toml has it, takes the place of its cards.'

run: ## boot Debian's stock kernel in QEMU, load the module, show what it does
	@$(lab) run

shell: ## the same guest, with a prompt
	@$(lab) shell

test: ## every check and every test; ends in "N passed, N failed"
	@$(lab) test

soak: ## the big counts: all of them, or make soak SUITE=name
	@$(lab) soak

bench: ## count instructions, beside VFIO's; judge what is promised and what has become worse
	@$(lab) bench

mutants: ## break the module in known ways, and show that tests notice; FILTER=name
	@$(lab) mutants

lint: ## rustfmt, clippy and shellcheck over everything
	@$(lab) lint

fmt: ## format all Rust sources
	@$(lab) fmt

build: ## build all, boot nothing
	@$(lab) build

update: ## look for a newer kernel of the 7.3 series
	@$(lab) update

kselftest-install: ## install the suites for run_kselftest.sh: INSTALL_PATH=directory
	@[ -n "$(INSTALL_PATH)" ] || { echo 'say where: make $@ INSTALL_PATH=directory'; exit 2; }
	@mkdir -p '$(INSTALL_PATH)'
	@USERDMA_OUT='$(abspath $(INSTALL_PATH))' $(lab) kselftest-install /out

clean: ## remove what was built from this tree; downloads, root and kernel stay
	@qemu/forget tree

distclean: ## remove the laboratory's whole cache
	@qemu/forget cache

.DEFAULT_GOAL := help
.PHONY: help run shell test soak bench mutants lint fmt build update kselftest-install clean distclean

endif
