# The two commands: `make demo` and `make test`. Everything is built in the release profile, so that librdkafka
# is compiled once and what is tested is what runs. `make test` is `make check`, which starts no server, and then
# `make test-integration`.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where two targets run side by side, cargo would take their number for the number of its own jobs.
cargo := env -u MAKEFLAGS cargo

# The version of cargo-deny that deny.toml was written for. We run it once, so it is compiled without optimisation: its
# own profile takes ten times as long.
deny_version := 0.20.2
deny := target/tools/cargo-deny-$(deny_version)/bin/cargo-deny
deny_profile := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

# Integration tests wait for servers most of the time, so more of them run than the machine has cores.
test_threads := $(or $(RUST_TEST_THREADS),4)

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Relay events from MySQL to Kafka while the relay is killed again and again
	@$(MAKE) --jobs=2 demo-servers demo-build
	$${CARGO_TARGET_DIR:-target}/release/demo

# The servers are downloaded while the compiler works.
.PHONY: test
test: ## Everything that CI tests: make check, then make test-integration
	@$(MAKE) --jobs=2 servers check
	@$(MAKE) test-integration

# One step after the other, as cargo uses all cores itself.
.PHONY: check
check: ## The part without servers: format, lints, documentation, unit tests
	@set -e; for step in format lint document unit; do $(MAKE) $$step; done

.PHONY: format
format:
	$(cargo) fmt --all --check

# Clippy sees the examples and the benches too. `make test` builds none of them but the failpoints.
.PHONY: lint
lint:
	$(cargo) clippy --release --workspace --all-targets -- -D warnings

.PHONY: document
document: ## Build the documentation of our own crates (target/doc)
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --release --workspace --no-deps

# The integration tests are compiled here as well, so that their errors show before the first test runs.
.PHONY: unit
unit: ## Unit tests, and the tests that need no server
	$(cargo) test --release --workspace --tests --no-run
	$(cargo) test --release --workspace --lib --bins --test allocations --test fuzz
	$(cargo) test --release --workspace --doc

.PHONY: test-integration
test-integration: ## The tests against real servers (TESTS='storm' runs those with storm in their names)
	@$(MAKE) --jobs=2 servers failpoints
	RUST_TEST_THREADS=$(test_threads) $(cargo) test --release --test integration -- $(TESTS)

# No part of make test: the first time, it downloads and compiles cargo-deny, and keeps it in target/tools/.
.PHONY: deny
deny: $(deny) ## Check the dependencies against deny.toml: licences, duplicates, bans, sources
	$(deny) --locked check licenses bans sources

# No part of make test either: each time, it fetches the database of advisories.
.PHONY: advisories
advisories: $(deny) ## Look for known vulnerabilities and yanked versions of dependencies (needs the network)
	$(deny) --locked check advisories

$(deny):
	$(deny_profile) $(cargo) install --locked --version $(deny_version) --root target/tools/cargo-deny-$(deny_version) \
		cargo-deny

# A seed is a story: SEEDS names the first one and the one behind the last.
.PHONY: simulate
simulate: ## Simulate relays that are stopped at every point, for as many seeds as wanted (SEEDS=1000..2000)
	SEEDS=$(or $(SEEDS),100000..200000) $(cargo) test --release --lib -- --nocapture simulation::tests::every_row

# The sources are changed in place, and are as before at the end. MUTANTS are further options of cargo-mutants.
mutants_needs := "make mutants needs cargo-mutants: cargo install cargo-mutants --locked"

.PHONY: mutants
mutants: ## Show that tests notice each wrong operator in ledger and batch (needs cargo-mutants)
	@cargo mutants --version >/dev/null 2>&1 || { echo $(mutants_needs); exit 1; }
	SEEDS=$(or $(SEEDS),0..200) CARGO_INCREMENTAL=1 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 \
		$(cargo) mutants --in-place --output target $(MUTANTS)

.PHONY: stock-clients
stock-clients: ## Eventuate's own clients read what the relay writes (a part of make test)
	servers/fetch mysql-8.0 kafka
	integration-tests/stock-clients/fetch tram local
	$(cargo) test --release --test integration stock_clients

# DELIVERY=exactly-once or idempotent is that of the relay.
.PHONY: eventuate
eventuate: ## Hand over from the real Eventuate CDC to the relay and back, stopped and killed
	servers/fetch mysql-8.0 kafka
	integration-tests/stock-clients/fetch cdc
	$(cargo) build --release --bin binlog-relay --example eventuate_cdc
	$(cargo) run --release --example eventuate_cdc -- $(or $(DELIVERY),exactly-once)

# By file and position, by GTIDs, and inside of compressed transactions. It fetches Debezium, as make bench-peers does.
.PHONY: debezium
debezium: ## Hand over from the real Debezium to the relay, stopped and killed
	servers/fetch mysql-8.0 kafka
	$(cargo) build --release --bin binlog-relay --example debezium
	$(cargo) run --release --example debezium -- hand-over

.PHONY: debezium-records
debezium-records: ## Capture anew the records of the real Debezium (integration-tests/golden/debezium)
	servers/fetch mysql-8.0 kafka
	$(cargo) run --release --example debezium -- capture

# What is measured with arguments is not written into docs/benchmarks.md unless --write is among them.
.PHONY: bench
bench: ## Measure all of docs/benchmarks.md, or a part (BENCH='drain --scenario single --rounds 1')
	@$(MAKE) --jobs=2 demo-servers bench-build
	cargo run --release --example bench -- $(or $(BENCH),--write)

# With KEEP=yes they become those that later ones are held against.
.PHONY: callgrind
callgrind: ## Count the instructions a row takes, and compare them to those before (needs valgrind)
	$(cargo) run --release --example instructions -- $(if $(KEEP),--keep)

.PHONY: recordings
recordings: ## Record anew what the benches replay (benches/recordings)
	servers/fetch mysql-8.0
	$(cargo) run --release --example record

# In PEERS, --help shows what can be chosen. Without --write nothing is written.
.PHONY: bench-peers
bench-peers: ## Measure the relay beside Debezium (PEERS='--part drain --rounds 1')
	@$(MAKE) --jobs=3 demo-servers bench-peers-fetch bench-peers-build
	cargo run --release --example bench_peers -- $(or $(PEERS),--write)

# In TORTURE, --help shows what can be chosen.
.PHONY: torture
torture: ## Run a server's regression tests while a relay follows (TORTURE='--files 50 --seed 1')
	servers/fetch mysql-8.0 kafka
	examples/torture/fetch
	$(cargo) build --release --bin binlog-relay --example torture
	$(cargo) run --release --example torture -- $(TORTURE)

# libFuzzer ends a run of more than 10 seconds on one input as a finding.
fuzz_targets := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz_needs := "make fuzz needs a nightly compiler and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz"

.PHONY: fuzz
fuzz: ## Fuzz what takes bytes from outside (TARGET=json FUZZ_SECONDS=600; needs nightly and cargo-fuzz)
	@cargo fuzz --version >/dev/null 2>&1 && cargo +nightly --version >/dev/null 2>&1 || { echo $(fuzz_needs); exit 1; }
	@set -e; for target in $(or $(TARGET),$(fuzz_targets)); do \
		case $$target in checkpoint|envelope|relay_sequence) features=relay ;; *) features= ;; esac; \
		mkdir -p fuzz/corpus/$$target; \
		FUZZ_SEEDS=$(CURDIR)/fuzz/corpus/$$target $(cargo) +nightly fuzz run --features "$$features" $$target -- \
			-max_total_time=$(or $(FUZZ_SECONDS),60) -timeout=10 -max_len=65536; \
	done

.PHONY: build
build: ## Build target/release/binlog-relay
	cargo build --release

.PHONY: failpoints
failpoints: ## Build the relay with its failpoints, for the tests (see CONTRIBUTING.md)
	$(cargo) build --release --features failpoints --example failpoints \
		--config 'profile.release.package.binlog-relay.opt-level = 0'

.PHONY: servers
servers: ## Fetch MySQL and Kafka into .servers/ (see servers/README.md)
	servers/fetch

.PHONY: clean-servers
clean-servers: ## Remove what was fetched
	rm -rf "$${BINLOG_RELAY_SERVERS_DIR:-.servers}"

.PHONY: demo-servers
demo-servers:
	servers/fetch mysql-8.0 kafka

# One command for both programs: cargo chooses the features of their dependencies together, and compiles none twice.
.PHONY: demo-build
demo-build:
	$(cargo) build --release --package binlog-relay --bin binlog-relay --package demo --bin demo

.PHONY: bench-build
bench-build:
	$(cargo) build --release --bin binlog-relay --example bench

.PHONY: bench-peers-fetch
bench-peers-fetch:
	examples/bench_peers/fetch

.PHONY: bench-peers-build
bench-peers-build:
	$(cargo) build --release --bin binlog-relay --example bench_peers
