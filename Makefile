# The commands of a working day. ARGS="…" is passed on: make demo ARGS="--speed 600 --duration 2m".
# CARGO_TARGET_DIR is honoured. Everything downloaded goes to .work/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
ARGS ?=
SEEDS ?= 50

WASTESTREAM = cargo run --quiet -p ws-cli --bin wastestream --

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: setup ## the simulated city from sensors to page; nothing to install or start
	@cargo build -p ws-cli --bin wastestream
	@$(WASTESTREAM) demo $(ARGS)

.PHONY: test
test: ## all tests, with the real servers they need (SERVERS=no: skip those tests, visibly)
	@scripts/test $(ARGS)

.PHONY: sim
sim: setup ## the simulator: SEEDS=n runs with faults, nothing lost, twice or reordered
	@cargo build -p ws-cli --bin wastestream
	@$(WASTESTREAM) sim --seeds $(SEEDS) $(ARGS)

.PHONY: effect
effect: setup ## simulated: fixed rounds, threshold, pipeline, clairvoyant at equal overflow; about an hour, goes on where it was
	@cargo build -p ws-cli --bin wastestream
	@$(WASTESTREAM) effect --markdown docs/effect.md $(ARGS)

.PHONY: bench
bench: bench-peers ## the benchmarks there are: bench-peers

.PHONY: bench-peers
bench-peers: setup ## against other engines on one broker: N=, REPS=, PEERS_LIST=, PEERS=path of their harness
	@benches/peers/run $(ARGS)

.PHONY: fmt
fmt: ## format the code
	@cargo fmt --all

.PHONY: clippy
clippy: setup ## lints, warnings are errors
	@cargo clippy --workspace --all-targets $(ARGS) -- -D warnings

.PHONY: doc
doc: setup ## the crates' documentation, warnings are errors
	@RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace $(ARGS)

.PHONY: check
check: ## what CI checks beside the tests: formatting, lints, documentation, dependencies
	@cargo fmt --all -- --check
	@$(MAKE) --no-print-directory clippy doc
	@scripts/deny
	@scripts/features

.PHONY: clean-work
clean-work: ## remove .work/: servers, tools, benchmark data, the demo's state
	@rm -rf .work

.PHONY: setup
setup: ## what the build needs: installed as root, otherwise named
	@scripts/setup
