# `make help` prints what is here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := target/release/studio-webhooks
MINUTES ?= 60
SECONDS_EACH ?= 600

.PHONY: help run test test-tools bench-tools fuzz-api openapi lint deny bench bench-gateway bench-crowd \
	bench-micro bench-retention chaos chaos-gateway soak clean-tests

help: ## Print this list
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-16s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

run: ## Build, start everything in one process, show one event's way, go on serving
	cargo build --release --bin studio-webhooks
	@exec $(BIN) demo

test: test-tools ## Install RabbitMQ and PostgreSQL where missing, start private ones, run all tests
	cargo build --bins
	cargo test --workspace --lib --bins --tests -- --test-threads 4
	cargo test --workspace --doc

test-tools: ## Install what the tests need: RabbitMQ, PostgreSQL, Chromium, Python's and Node's clients
	@docs/examples/install-test-tools.sh

bench-tools: ## Install what the benchmarks need beyond that: nginx with nchan
	@docs/examples/install-test-tools.sh bench

fuzz-api: test-tools ## Ask the API by its own description, thoroughly (schemathesis, all checks; some minutes)
	cargo build --bins
	FUZZ_EXAMPLES=300 cargo test --workspace --test system fuzzing:: -- --nocapture

openapi: ## Rewrite docs/openapi.json from the code
	cargo run --quiet --bin studio-webhooks openapi > target/openapi.json
	mv target/openapi.json docs/openapi.json

lint: deny ## Formatting, clippy with warnings denied, the rules for files, and deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@for script in .ci/run .ci/deny docs/examples/install-test-tools.sh; do bash -n $$script || exit 1; done

deny: ## What is built in: licences, sources, duplicates, known faults (deny.toml); installs cargo-deny
	@.ci/deny

bench: bench-tools ## Measure deliveries and latency beside the bare limit; prints the table of docs/benchmarks.md
	cargo build --release --bins
	target/release/bench run --runs 3
	target/release/bench spread
	target/release/bench api
	ulimit -n $$(ulimit -Hn); target/release/bench gateway
	ulimit -n $$(ulimit -Hn); target/release/bench crowd --backend both

bench-crowd: test-tools ## Crowds beside healthy users, ten minutes each, then a backlog of a million and an ordered webhook
	cargo build --release --bins
	ulimit -n $$(ulimit -Hn); target/release/bench crowd --backend both --seconds $(SECONDS_EACH)
	target/release/bench crowd --backend both --dispatchers 2 --only million --kills 5
	target/release/bench crowd --backend both --dispatchers 2 --only ordered --kills 5 --quick-retries

chaos: test-tools ## Kill and freeze everything at random for two minutes under load; SEED=N repeats a run's faults
	cargo build --release --bins
	target/release/bench chaos $(if $(SEED),--seed $(SEED))

chaos-gateway: test-tools ## Kill the gateway three times under 1,000 clients: nothing missed, nothing twice
	cargo build --release --bins
	ulimit -n $$(ulimit -Hn); target/release/bench chaos-gateway

bench-gateway: bench-tools ## Measure the gateway beside nginx's nchan: fan-out, latency, memory, connections
	cargo build --release --bins
	ulimit -n $$(ulimit -Hn); target/release/bench gateway

bench-micro: ## Measure parsing, matching, signing and building a request (criterion)
	cargo bench --workspace --bench events --bench request

bench-retention: test-tools ## Remove the old ones of 5 million deliveries while events are delivered
	cargo build --release --bins
	target/release/bench retention

soak: test-tools ## Steady load, the memory of each process each minute: make soak MINUTES=60
	cargo build --release --bins
	target/release/bench soak --minutes $(MINUTES)

clean-tests: ## Remove what tests and benches left under target/
	rm -rf target/servers target/bench target/chaos target/python target/node
