# The two commands: `make demo` and `make test`. Everything is built in the release profile, so that librdkafka
# is compiled once and what is tested is what runs.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where two targets run side by side, cargo would take their number for the number of its own jobs.
cargo := env -u MAKEFLAGS cargo

# Integration tests wait for servers most of the time, so more of them run than the machine has cores.
test_threads := $(or $(RUST_TEST_THREADS),4)

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Relay events from MySQL to Kafka while the relay is killed again and again
	@$(MAKE) --jobs=2 demo-servers demo-build
	cargo run --release --example demo

# The servers are downloaded while the compiler works.
.PHONY: test
test: ## Format, lints, documentation, and all tests against real servers
	@$(MAKE) --jobs=2 servers checks
	RUST_TEST_THREADS=$(test_threads) cargo test --release --workspace

# A seed is a story: SEEDS names the first one and the one behind the last.
.PHONY: simulate
simulate: ## Simulate relays that are stopped at every point, for as many seeds as wanted (SEEDS=1000..2000)
	SEEDS=$(or $(SEEDS),100000..200000) $(cargo) test --release --lib -- --nocapture simulation::tests::every_row

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

.PHONY: demo-build bench-build
demo-build bench-build: %-build:
	$(cargo) build --release --bin binlog-relay --example $*

.PHONY: bench-peers-fetch
bench-peers-fetch:
	examples/bench_peers/fetch

.PHONY: bench-peers-build
bench-peers-build:
	$(cargo) build --release --bin binlog-relay --example bench_peers

.PHONY: checks
checks:
	$(cargo) fmt --all --check
	$(cargo) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --release --workspace --no-deps
	$(cargo) test --release --workspace --no-run
	@$(MAKE) failpoints
