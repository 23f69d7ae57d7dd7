# Ledge. The two commands to start with: make demo, make test.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export LEDGE_VM_CACHE ?= $(abspath $(TARGET_DIR))/vm-cache

.PHONY: help build man deb test-package demo demo-needs-root test test-md test-vm check fmt lint unit sim sim-planted deny cargo-fuzz fuzz fuzz-corpus bench bench-raid clean packages-build packages-test packages-bench packages-image image image-clean test-appliance

help:
	@echo 'make build   release binaries into $(TARGET_DIR)/release'
	@echo 'make man     manual pages and shell completions into $(TARGET_DIR)/manual'
	@echo 'make deb     a package for Debian 12 and 13 into $(TARGET_DIR)/deb'
	@echo 'make demo    a shelf on this machine, from nothing to a verified LUN (CI=1: without the console at the end)'
	@echo 'make test    everything that CI runs (as root: namespaces, XDP, a virtual machine)'
	@echo 'make test-md all arrays in all states, judged by Linux md of two kernels (as root; about 15 minutes)'
	@echo 'make test-vm long tests with virtual machines, under two kernels: bad wires, restarts, growth, mirrors, hot plug (as root; about 40 minutes)'
	@echo 'make image   a disk image that boots a machine into a shelf, its update file, and the same for a start over the network, into $(IMAGE_DIR) (as root)'
	@echo 'make test-appliance  the package in both Debians; the image in virtual machines: first start, pulled disks, power cuts, updates, wrong inputs (as root; hours)'
	@echo 'make check   what needs no root: format, lints, unit and property tests'
	@echo 'make sim     the simulator for an hour (SIM_SECONDS=60: a minute; SEED=N: one seed, with what happened in it)'
	@echo 'make bench   the shelf beside vblade, iSCSI, NBD and the bare disk, into bench/results (as root; 25 minutes; BENCH=--quick: whether it works)'
	@echo 'make bench-raid  parity, redo log and kernels beside what they are to be measured by, into bench/results/raid.md'
	@echo 'make deny    licences and sources of the dependencies (needs cargo-deny)'
	@echo 'make fuzz    the fuzz targets for a minute each (FUZZ_SECONDS=3600: an hour), on any toolchain'

packages-build:
	@deploy/packages.sh build

packages-test:
	@deploy/packages.sh test

packages-bench:
	@deploy/packages.sh bench

packages-image:
	@deploy/packages.sh image

build: packages-build
	$(CARGO) build --release --locked --workspace --bins

man:
	$(CARGO) run --locked -p manual -- $(TARGET_DIR)/manual

# From the release binaries.
deb: build packages-test
	$(CARGO) run --release --locked -p manual -- $(TARGET_DIR)/manual
	deploy/deb.sh $(TARGET_DIR)/release $(TARGET_DIR)/manual $(TARGET_DIR)/deb

# What the package promises, as far as it can be seen without systemd running.
test-package: deb
	deploy/package-test.sh short $(TARGET_DIR)/deb/ledge_*_amd64.deb

test-appliance: test-appliance-package

# The package installed, upgraded and removed in Debian, with systemd (in a container, as root).
.PHONY: test-appliance-package
test-appliance-package: export LEDGE_PACKAGE_CACHE ?= $(abspath $(TARGET_DIR))/package-cache
test-appliance-package: deb
	deploy/package-test.sh long $(TARGET_DIR)/deb/ledge_*_amd64.deb

demo-needs-root:
	@[ "$$(id -u)" -eq 0 ] || command -v sudo >/dev/null || { echo "error: the demonstration needs root for namespaces and XDP: run it as root, or install sudo" >&2; exit 1; }

demo: demo-needs-root build
	@CI=$(CI) deploy/demo.sh $(TARGET_DIR)/release

fmt:
	$(CARGO) fmt --all --check

lint: packages-build
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Crates whose tests need neither root nor other programs.
unit:
	$(CARGO) test --locked -p aoe -p ata -p cec -p shelf -p console -p engine -p initiator -p sim -p fuzzing -p tidy
	$(CARGO) test --locked -p raid --lib

check: fmt lint unit

SIM_SECONDS ?= 3600
# With a level the same seed is another run.
SIM_LEVEL ?=

sim:
	$(CARGO) run --locked --profile sim -p sim --bin sim -- $(if $(SEED),--seed $(SEED),--seconds $(SIM_SECONDS)) $(if $(SIM_LEVEL),--level $(SIM_LEVEL)) $(if $(SIM_WORKERS),--workers $(SIM_WORKERS)) $(if $(SIM_PACE),--pace $(SIM_PACE)) $(if $(SIM_BLOCKS),--blocks)

# The core with known bugs built in: the simulator has to find each of them, but for one that a test of the
# data path finds, and the fuzzer's corpus some.
sim-planted:
	$(CARGO) test --locked -p sim --features planted --test planted
	$(CARGO) test --locked -p shelf --features planted --lib the_planted_bug_is_found
	$(CARGO) test --locked -p fuzzing --features planted --test planted

# The binaries first: integration tests start them.
test: packages-test fmt lint
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace
	$(MAKE) --no-print-directory sim-planted
	$(MAKE) --no-print-directory demo CI=1
	$(MAKE) --no-print-directory test-package
	bench/instructions.py $(TARGET_DIR)/release
	python3 bench/matrix/selfcheck.py

# Linux md and the shelf about each other's arrays, with the kernels of Debian 12 and 13. Images of up to
# 4 GB, made and removed by the hundred: best in memory.
test-md: export TMPDIR ?= /dev/shm
test-md: packages-test
	$(CARGO) build --locked --workspace --bins
	for series in 6.1 6.12; do \
		LEDGE_VM_KERNEL=$$series $(CARGO) test --locked -p testbed --test md_short --test md_full -- --nocapture --test-threads=1 || exit 1; \
	done

# What Linux makes of a shelf, or of two, in stories of minutes, with the kernels of Debian 12 and 13: its
# aoe driver on bad wires and with a shelf that comes and goes, and gateways. Disks in memory: what is slow
# is to be the wire. And what a shelf makes of the disks of Linux, which are pulled and inserted: with the
# newer kernel, as jumbo frames need it in a machine.
test-vm: export TMPDIR ?= /dev/shm
test-vm: packages-test
	$(CARGO) build --locked --workspace --bins
	for series in 6.1 6.12; do \
		LEDGE_VM_KERNEL=$$series $(CARGO) test --locked -p testbed --test linux_short --test linux_full --test gateways --test nvme \
			-- --nocapture --test-threads=1 || exit 1; \
	done
	LEDGE_VM_KERNEL=6.12 $(CARGO) test --locked -p testbed --test plug_short --test plug_full -- --nocapture --test-threads=1

# The appliance; deploy/image/README.md tells what it is made of, and build.sh what can be set. What Debian gives is kept
# between runs; `make image-clean` fetches it anew.
IMAGE_DIR := $(TARGET_DIR)/image

image: build packages-image
	deploy/image/build.sh $(TARGET_DIR)/release $(IMAGE_DIR)

image-clean:
	rm -rf $(IMAGE_DIR)/debian.tar $(IMAGE_DIR)/debian.wanted

# The version after this one, to which the test updates.
NEXT_VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1.1/p' Cargo.toml | head -n 1)

test-appliance: packages-test image
	VERSION=$(NEXT_VERSION) deploy/image/build.sh $(TARGET_DIR)/release $(IMAGE_DIR)
	$(CARGO) build --locked --workspace --bins
	LEDGE_IMAGE_DIR=$(abspath $(IMAGE_DIR)) $(CARGO) test --locked -p testbed --test appliance -- --nocapture --test-threads=1

deny:
	$(CARGO) deny check licenses bans sources

# Fuzzing with libFuzzer, through cargo-fuzz of this version. No nightly toolchain is needed. Without a
# sanitizer: all but the parity kernels is safe Rust, in which a read beyond a frame is a panic, and ten times
# as many inputs are tried; FUZZ_SANITIZER=address asks for one. What is found lies in fuzz/artifacts, what
# was new on the way in fuzz/work; `make fuzz-corpus` takes the least of that into the corpus that is kept.
CARGO_FUZZ_VERSION := 0.12.0
FUZZ_TARGETS := shelf superblock bitmap log cec lines logins
FUZZ_SECONDS ?= 60
FUZZ_SANITIZER ?= none
# Sanitizers are not for stable compilers, unless they are told so.
FUZZ := $(if $(filter none,$(FUZZ_SANITIZER)),,RUSTC_BOOTSTRAP=1 )$(CARGO) fuzz
FUZZ_BUILD := --sanitizer $(FUZZ_SANITIZER) --no-trace-compares
FUZZ_LIMITS := -max_len=2048 -timeout=60

cargo-fuzz: packages-build
	@$(CARGO) fuzz --version 2>/dev/null | grep -qx 'cargo-fuzz $(CARGO_FUZZ_VERSION)' \
		|| $(CARGO) install cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION)

fuzz: cargo-fuzz
	cd fuzz && for target in $(FUZZ_TARGETS); do \
		mkdir -p work/$$target && \
		$(FUZZ) run $(FUZZ_BUILD) $$target work/$$target corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) $(FUZZ_LIMITS) || exit 1; \
	done

fuzz-corpus: cargo-fuzz
	cd fuzz && for target in $(FUZZ_TARGETS); do \
		mkdir -p work/$$target least && \
		$(FUZZ) run $(FUZZ_BUILD) $$target least corpus/$$target work/$$target -- -merge=1 -use_counters=0 $(FUZZ_LIMITS) && \
		rm -rf corpus/$$target && mv least corpus/$$target || exit 1; \
	done

# Debian's own interpreter: that is the one that has its matplotlib.
bench: build packages-bench
	/usr/bin/python3 -u bench/matrix $(TARGET_DIR)/release $(BENCH)

bench-raid: build packages-bench
	bench/raid.py $(TARGET_DIR)/release --out bench/results

clean:
	$(CARGO) clean
