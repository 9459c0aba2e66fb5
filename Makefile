# `make help` prints what is here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := target/release/studio-webhooks
MINUTES ?= 60

.PHONY: help run test test-tools lint bench bench-micro bench-retention soak clean-tests

help: ## Print this list
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-16s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

run: ## Build, start everything in one process, show one event's way, go on serving
	cargo build --release --bin studio-webhooks
	@exec $(BIN) demo

test: test-tools ## Install RabbitMQ and PostgreSQL where missing, start private ones, run all tests
	cargo build --bins
	cargo test --workspace --lib --bins --tests -- --test-threads 4
	cargo test --workspace --doc

test-tools: ## Install what the tests need: RabbitMQ, PostgreSQL, Python's pika, Node's amqplib
	@docs/examples/install-test-tools.sh

lint: ## Formatting, clippy with warnings denied, and the rules for files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@bash -n .ci/run docs/examples/install-test-tools.sh

bench: test-tools ## Measure deliveries and latency beside the bare limit; prints the table of docs/benchmarks.md
	cargo build --release --bins
	target/release/bench run --runs 3

bench-micro: ## Measure parsing, matching, signing and building a request (criterion)
	cargo bench --workspace --bench events --bench request

bench-retention: test-tools ## Remove old deliveries of 5 million while events are delivered
	cargo build --release --bins
	target/release/bench retention

soak: test-tools ## Steady load, the memory of each process each minute: make soak MINUTES=60
	cargo build --release --bins
	target/release/bench soak --minutes $(MINUTES)

clean-tests: ## Remove what tests and benches left under target/
	rm -rf target/servers target/bench target/python target/node
