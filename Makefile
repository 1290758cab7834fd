# Development of the relay and its operator. The work is done by the scripts in dev/; this names it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up down test e2e unit fuzz lint fmt build plugin relay apiserver scale bench bench-directory compare soak cgroup2 image crds rocksdb packages

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  VERBOSE=1 shows the output of every step; it is always kept in .dev/log/'

up: ## a real one-node Kubernetes cluster with PLC directory, two PDSes, the operator, and a relay
	@dev/up.sh

down: ## end all that `make up` started
	@dev/down.sh

test: lint unit fuzz apiserver e2e ## every test of the project

e2e: packages ## the end-to-end suites on the cluster; SUITE=firehose for one; LENGTH=1800 for a longer crowd in memory
	@dev/e2e.sh $(SUITE)

unit: packages rocksdb ## the tests that need no cluster
	@. dev/lib.sh && step unit 'Testing (the first time usually 15 minutes)' dev/cargo.sh test --release --locked --workspace && tally unit

apiserver: build ## the operator on a real API server that schedules nothing: leases, its end, bad objects, its rules of access
	@. dev/lib.sh && step apiserver 'Testing the operator on an API server (usually 2 minutes)' dev/apiserver/run.sh \
	  dev/cargo.sh test --release --locked --workspace --test apiserver -- --test-threads=1 && tally apiserver

scale: build ## what 50, 100, 200 and 500 Relays cost there, in a quarter of an hour; SCALE_RELAYS='1000' SCALE_REST_SECONDS=600
	@dev/apiserver/run.sh dev/cargo.sh test --quiet --release --locked --workspace --test apiserver -- --ignored --nocapture scale

fuzz: packages rocksdb ## the fuzz targets, for a minute; TARGET=frame RUNS=10000000 for one of them and longer
	@dev/fuzz.sh $(TARGET)

lint: packages rocksdb ## format, clippy, scripts, licences
	@dev/lint.sh

fmt: ## format the source
	@cargo fmt --all

build: packages rocksdb ## the programs; of the whole workspace, since a part of it would compile dependencies anew
	@. dev/lib.sh && step build 'Building the programs (the first time usually 10 minutes)' dev/cargo.sh build --release --locked --workspace --bins

plugin: build ## `kubectl relay`: a link to the operator's program in ~/.local/bin, or BIN=FOLDER, which is to be in your PATH
	@. dev/lib.sh && bin=$${BIN:-$$HOME/.local/bin} && mkdir -p "$$bin" && \
	  ln -sfn "$$CARGO_TARGET_DIR/release/relay-operator" "$$bin/kubectl-relay" && say "kubectl relay is $$bin/kubectl-relay"

relay: build ## the relay alone, with its embedded defaults; ARGS='--host pds.example.com'
	@. dev/lib.sh && RELAY_DATA_DIR=$${RELAY_DATA_DIR:-.dev/relay} exec "$$CARGO_TARGET_DIR/release/relay" serve $(ARGS)

bench: build ## how fast the relay takes one host's backlog; ARGS='--events 50000'
	@. dev/lib.sh && exec "$$CARGO_TARGET_DIR/release/bench" $(ARGS)

bench-directory: build ## the directory of collections by itself: import, size, pages, events; ARGS='--pairs 1000000'
	@. dev/lib.sh && exec "$$CARGO_TARGET_DIR/release/directory" $(ARGS)

compare: build ## our figures beside those of indigo's relay, in about half an hour; ARGS='--scale 0.1 --rounds 1'
	@dev/tools/build.sh indigo-relay
	@. dev/lib.sh && exec "$$CARGO_TARGET_DIR/release/compare" --indigo "$$STATE/bin/indigo-relay" $(ARGS)

soak: build ## the relay's memory under hours of load with churn, and a graph of it; ARGS='--hours 0.5'
	@dev/soak/run.sh $(ARGS)

cgroup2: build ## the relay's memory under cgroup version 2, in a user-mode kernel, in some minutes
	@dev/cgroup2/run.sh

image: build ## OCI images of relay and operator, in .dev/images
	@dev/image/images.sh

crds: packages rocksdb ## the custom resource definitions, from the operator's types
	@UPDATE_GENERATED=1 dev/cargo.sh test --quiet --release --locked --workspace --test generated

rocksdb: packages ## the static RocksDB that the relay links, once into the cache
	@. dev/lib.sh && step rocksdb 'Finding RocksDB (to build it, once, takes 13 minutes)' dev/rocksdb/build.sh

packages: ## what the build needs of Debian, by apt
	@dev/packages.sh
