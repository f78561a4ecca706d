# Everything a fresh Debian 12 or 13 with Rust needs: 'make demo' and 'make test', both as root.

PREFIX ?= /usr/local
DESTDIR ?=
TARGET ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
NEXTEST_PROFILE ?= default
UPDATER ?= $(TARGET)/release/edge-ota
ARCH = $(shell dpkg --print-architecture)
BOARD ?= x86_64

RPM_ARCH ?= $(shell uname -m)

STEP = .ci/step
BOARD_ARCH = $(shell sed -n 's/^debian = "\(.*\)"$$/\1/p' boards/$(BOARD).toml)
with_mirror = .ci/mirror $(1) "$(TARGET)"

.PHONY: help setup build deb rpm updater firmware pykickstart demo test test-all test-board bench audit fmt lint install install-builder \
	install-updater uninstall clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

setup: ## Install what is missing (.ci/packages.txt)
	@$(STEP) "install what is missing" .ci/setup

build: setup ## Build edge-build and edge-ota
	@$(STEP) "build" cargo build --release --locked

deb: build ## Pack the updater as target/deb/edge-ota_*.deb
	@$(STEP) "pack the updater" .ci/deb "$(TARGET)" $(ARCH) "$(UPDATER)"

rpm: build ## Pack the updater as target/rpm/edge-ota-*.rpm, for trees of RPMs
	@$(STEP) "pack the updater as an RPM" .ci/rpm "$(TARGET)" $(RPM_ARCH) "$(UPDATER)"

firmware: setup
	@.ci/firmware "$(TARGET)"

pykickstart: setup
	@.ci/pykickstart "$(TARGET)"

updater: setup ## Build and pack the updater for the architecture of BOARD
	@$(STEP) "updater for $(BOARD)" .ci/updater $(BOARD) "$(TARGET)"

demo: deb firmware ## Compose, image, boot, upgrade, break and roll back a machine
	@$(STEP) "build the demo" cargo build --release --locked -p qemu-tests --bin demo
	@$(STEP) "demo" "$(TARGET)/release/demo"

test: deb firmware pykickstart ## Run the units, the integration tests and the machine tests
	@$(call with_mirror,armhf) $(STEP) "updater for armhf" .ci/updater armhf "$(TARGET)"
	@$(STEP) "build the tests" cargo build --workspace --all-targets --locked
	@$(call with_mirror,armhf) cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE)

# The boards whose machines are emulated at a fraction of the speed run the cases that tell boards apart.
OTHER_BOARDS = aarch64 armhf
BOARD_TESTS = test(slots_take_turns) or test(failing_health) or test(garbage_initramfs) \
	or test(damaged_records) or test(cuts_during_the_upgrade) or test(initramfs_is_the_same)

test-all: fmt lint audit deb rpm firmware pykickstart ## All checks, all tests, every machine
	@$(STEP) "build the tests" cargo build --workspace --all-targets --locked
	@$(call with_mirror,armhf) $(STEP) "updater for armhf" .ci/updater armhf "$(TARGET)"
	@$(call with_mirror,armhf) cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE) --ignore-default-filter
	@for board in $(OTHER_BOARDS); do $(MAKE) --no-print-directory test-board BOARD=$$board || exit 1; done

test-board: build firmware ## Run the machine tests that tell boards apart on BOARD
	@$(call with_mirror,$(BOARD_ARCH)) $(STEP) "updater for $(BOARD)" .ci/updater $(BOARD) "$(TARGET)"
	@EDGE_TEST_BOARD=$(BOARD) $(call with_mirror,$(BOARD_ARCH)) cargo nextest run -p qemu-tests --locked --profile $(NEXTEST_PROFILE) \
		--ignore-default-filter -E '$(BOARD_TESTS)'

bench: deb firmware ## Compose, boot and upgrade a node on every architecture and keep the measures in docs/figures.md
	@$(STEP) "build the benchmark" cargo build --release --locked -p qemu-tests --bin bench
	@$(STEP) "updater for aarch64" .ci/updater aarch64 "$(TARGET)"
	@$(call with_mirror,armhf) $(STEP) "updater for armhf" .ci/updater armhf "$(TARGET)"
	@$(call with_mirror,armhf) "$(TARGET)/release/bench" --figures docs/figures.md

audit: ## Check licences, duplicates, sources and advisories of the dependencies
	@cargo deny --version >/dev/null 2>&1 || $(STEP) "install cargo-deny" cargo install --locked cargo-deny
	@$(STEP) "audit" .ci/audit

fmt: ## Check the format
	@$(STEP) "format" cargo fmt --all --check

lint: ## Run clippy, warnings are errors
	@$(STEP) "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings

install: install-builder ## Install edge-build with its boards and treefiles (DESTDIR, PREFIX)

install-builder:
	install -Dm755 "$(TARGET)/release/edge-build" "$(DESTDIR)$(PREFIX)/bin/edge-build"
	install -Dm644 -t "$(DESTDIR)$(PREFIX)/share/edge-build/boards" boards/*.toml
	install -Dm644 -t "$(DESTDIR)$(PREFIX)/share/edge-build/kickstart" kickstart/*.ks
	cp -r treefiles "$(DESTDIR)$(PREFIX)/share/edge-build/"

# Into a package or a device's tree, with PREFIX=/usr: the units and the program name those paths.
install-updater:
	install -Dm755 "$(UPDATER)" "$(DESTDIR)$(PREFIX)/bin/edge-ota"
	for unit in $(wildcard updater/systemd/*.service updater/systemd/*.timer updater/systemd/*.mount); do \
		install -Dm644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$$unit" || exit 1; done
	install -Dm644 -t "$(DESTDIR)$(PREFIX)/lib/edge-ota/config.d" updater/config.d/*.toml
	install -Dm644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/system.conf.d" updater/system.conf.d/*.conf
	for kind in required wanted; do \
		install -d "$(DESTDIR)$(PREFIX)/lib/edge-ota/health.d/$$kind.d"; \
		for check in updater/health.d/$$kind.d/*; do [ ! -f "$$check" ] || \
			install -m755 -t "$(DESTDIR)$(PREFIX)/lib/edge-ota/health.d/$$kind.d" "$$check" || exit 1; done; done

uninstall: ## Remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/edge-build"
	rm -rf "$(DESTDIR)$(PREFIX)/share/edge-build"

clean: ## Remove everything built
	cargo clean
