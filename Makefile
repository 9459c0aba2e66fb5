# `make help` prints what is here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := target/release/studio-webhooks

.PHONY: help run test test-tools lint bench bench-gateway chaos-gateway clean-tests

help: ## Print this list
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-14s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

run: ## Build, start everything in one process, show one event's way, go on serving
	cargo build --release --bin studio-webhooks
	@exec $(BIN) demo

test: test-tools ## Install RabbitMQ and PostgreSQL where missing, start private ones, run all tests
	cargo build --bins
	cargo test --workspace --all-targets -- --test-threads 4
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
	ulimit -n $$(ulimit -Hn); target/release/bench gateway

bench-gateway: test-tools ## Measure the gateway beside nginx's nchan: fan-out, latency, memory, connections
	cargo build --release --bins
	ulimit -n $$(ulimit -Hn); target/release/bench gateway

chaos-gateway: test-tools ## Kill the gateway three times under 1,000 clients: nothing missed, nothing twice
	cargo build --release --bins
	ulimit -n $$(ulimit -Hn); target/release/bench chaos-gateway

clean-tests: ## Remove what tests and benches left under target/
	rm -rf target/servers target/bench target/python target/node
