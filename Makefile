# make demo shows dbbalance, make test proves it, make help lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup tools program demo test test-unit test-contract test-testbed test-api test-e2e test-convergence test-chart lint crds image image-check sim hunt testbed-up testbed-down soak chaos test-chaos failovers bench bench-list bench-page structure tape clean deny

# Network namespaces, containers and Debian packages need root.
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo -E env PATH="$$PATH")
CARGO ?= cargo
TESTBED := target/debug/testbed
# One build of the operator for all tests: the crash tests need its kill points.
TEST = $(SUDO) $(CARGO) test --locked -p dbbalance --features failpoints
CACHE := $(or $(DBBALANCE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dbbalance)
IMAGE := target/image/dbbalance.tar
OPERATOR ?= target/release/dbbalance
TESTBED_NAME ?= dbb
export DBBALANCE_CACHE := $(CACHE)

help: ## Show this help
	@echo "make demo    show it: real databases that scale and fail over, and an app's pools that follow"
	@echo "make test    prove it: every test, as CI runs them"
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup:
	@for program in cargo go python3 cc; do command -v $$program >/dev/null || { \
	  case $$program in \
	    cargo) how="Rust 1.95 or newer by rustup" ;; \
	    go) how="Go 1.26 or newer" ;; \
	    python3) how="apt-get install python3 python3-venv" ;; \
	    cc) how="apt-get install build-essential" ;; \
	  esac; echo "$$program is missing: install $$how" >&2; exit 1; }; done
	@[ -x $(TESTBED) ] || echo "--- building the testbed's program (a minute or two)"
	@$(CARGO) build --quiet --locked -p dbbalance-testbed

tools: setup ## Build or install the pinned tools into the cache (about 11 minutes cold, a second warm)
	@$(SUDO) $(TESTBED) tools

demo: tools $(if $(filter file,$(origin OPERATOR)),program) ## Show dbbalance on this machine; KEEP=1 leaves it running (OPERATOR=path of a built binary)
	@$(SUDO) $(TESTBED) demo --operator $(OPERATOR)

test: lint test-unit test-api test-e2e ## Run every test (CI runs this)

lint: tools ## Check format, clippy, shellcheck, chart lint and unit tests, and rendered manifests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features failpoints --quiet -- -D warnings
	shellcheck .ci/run $$(git ls-files '*.sh')
	HELM=$(CACHE)/helm-v4.3.1/helm UNTT=$(CACHE)/helm-unittest-v1.1.2/untt charts/test.sh
	HELM=$(CACHE)/helm-v4.3.1/helm deploy/render.sh --check

test-unit: tools ## Run unit and property tests, and the RDS API's contract against moto with faults
	$(TEST) --lib --bins --test dns --test rds_batches --test hostile_tables --test dockerfile --test docs
	$(CARGO) test --locked -p dbbalance-api -p dbbalance-core -p dbbalance-planner -p dbbalance-kube -p dbbalance-terminal -p kubectl-dbbalance
	$(CARGO) test --locked -p dbbalance-simulator -p dbbalance-figures -p dbbalance-testkit
	$(CARGO) test --locked -p dbbalance-structure
	$(TEST) --no-run --test rds_contract --test rds_truncation
	$(SUDO) $(CARGO) test --locked -p dbbalance-testbed --no-run
	@# Both wait for real servers most of the time.
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-contract test-testbed

# Without MAKEFLAGS, because Cargo would use the jobserver of the make above.
test-contract:
	MAKEFLAGS= $(TEST) --test rds_contract --test rds_truncation

test-testbed:
	MAKEFLAGS= $(SUDO) $(CARGO) test --locked -p dbbalance-testbed

test-api: tools program ## Test the CRD and its rules, and a small fleet, on a real API server
	$(TEST) --test api
	$(TEST) --test soak

test-e2e: tools image ## Test every method and safety rule on a real Kubernetes, with the Helm chart
	$(TEST) --no-run --test e2e --test convergence --test chart --test chaos
	$(TEST) --test e2e
	@# All three wait for DNS, pods and leases most of the time.
	$(MAKE) --no-print-directory --jobs=3 --output-sync=target test-convergence test-chart test-chaos

test-convergence:
	MAKEFLAGS= $(TEST) --test convergence

test-chart:
	MAKEFLAGS= IMAGE=$(abspath $(IMAGE)) $(TEST) --test chart

soak: tools program ## Run long tests: throttling for minutes, 1,000 policies on 100 clusters with 10,000 pods (an hour)
	DBBALANCE_SOAK_BINARY=$(abspath target/release/dbbalance) $(SUDO) $(CARGO) test --locked -p dbbalance --test soak -- --include-ignored --nocapture

chaos: tools program ## Play a random bad night on real databases and pools (DBBALANCE_CHAOS_SECONDS=1800, DBBALANCE_CHAOS_SEED)
	DBBALANCE_CHAOS_BINARY=$(abspath target/release/dbbalance) $(SUDO) $(CARGO) test --locked -p dbbalance --test chaos -- a_bad_night --nocapture

# The same in five minutes, with a seed that stays.
test-chaos:
	MAKEFLAGS= DBBALANCE_CHAOS_SECONDS=$(or $(DBBALANCE_CHAOS_SECONDS),300) DBBALANCE_CHAOS_SEED=$(or $(DBBALANCE_CHAOS_SEED),1) $(TEST) --test chaos -- a_bad_night

failovers: tools program ## Count connections on the wrong role after failovers with the defaults (N=10, POOL=activerecord or hikaricp)
	DBBALANCE_FAILOVERS=$(N) DBBALANCE_FAILOVERS_POOL=$(POOL) DBBALANCE_CHAOS_BINARY=$(abspath target/release/dbbalance) $(SUDO) $(CARGO) test --locked -p dbbalance --test chaos -- failovers --nocapture

bench: tools program ## Measure against doing nothing and a restart, on real databases; resumes earlier runs (BENCH_RUNS=10, BENCH_ONLY=CASE/)
	DBBALANCE_BENCH_BINARY=$(abspath target/release/dbbalance) $(SUDO) $(CARGO) test --locked -p dbbalance --test bench

# The keys that BENCH_ONLY takes, each with the number of its runs.
bench-list:
	$(CARGO) test --quiet --locked -p dbbalance --test bench -- list

bench-page: ## Write the benchmark's page, chart and README section from docs/bench/results.json
	$(CARGO) test --quiet --locked -p dbbalance --test bench -- page

sim: ## Simulate the rule that steers connections, and the alternatives: a table, and target/sim.json (RUNS=1000)
	@$(CARGO) run --quiet --locked -p dbbalance-simulator -- --runs $(or $(RUNS),1000) --json target/sim.json

hunt: setup ## Search random stories for one that breaks a safety rule of the plan (CASES=5000, about 8 minutes)
	PROPTEST_CASES=$(or $(CASES),5000) $(CARGO) test --locked -p dbbalance-planner whatever_befalls -- --nocapture

structure: ## Measure the code's structure: names, types, import cycles (BASE=commit to compare with; JSON=1)
	@base=target/structure-base; flags="$(if $(JSON),--json)"; \
	if [ -n "$(BASE)" ]; then \
	  git worktree remove --force $$base 2>/dev/null || rm -rf $$base; \
	  git worktree add --quiet --force --detach $$base "$(BASE)"; \
	  trap 'git worktree remove --force '$$base EXIT; \
	  flags="$$flags --base $$base"; \
	fi; \
	$(CARGO) run --quiet --locked -p dbbalance-structure -- $$flags .

tape: setup ## Compare the planner's plans with the recorded ones (DBBALANCE_TAPE=write records them again)
	$(CARGO) test --quiet --locked -p dbbalance-planner --lib tests::tape:: -- --nocapture

crds: ## Write the CRD from the types to crds/, the chart and deploy/
	$(CARGO) run --quiet --locked -- crd > crds/dbbalancepolicies.yaml
	cp crds/dbbalancepolicies.yaml charts/dbbalance/files/dbbalancepolicies.yaml
	@[ ! -x $(CACHE)/helm-v4.3.1/helm ] || HELM=$(CACHE)/helm-v4.3.1/helm deploy/render.sh

program: setup
	@echo "--- building the operator and the kubectl plugin (about 9 minutes cold)"
	@$(CARGO) build --quiet --locked --release -p dbbalance -p kubectl-dbbalance

image: program ## Build the operator's image from the release binary, as an OCI archive
	@mkdir -p $(dir $(IMAGE))
	@$(TESTBED) image build operator target/release/dbbalance --out $(IMAGE)

image-check: setup ## Run the steps of the Dockerfile on this machine, without a container engine (10 to 20 minutes cold)
	$(CARGO) test --locked -p dbbalance --test dockerfile -- --ignored --nocapture

testbed-up: tools ## Start a testbed (TESTBED_NAME=dbb) and moto
	$(SUDO) $(TESTBED) up --name $(TESTBED_NAME)
	$(SUDO) $(TESTBED) rds up --name $(TESTBED_NAME)

testbed-down: setup ## Delete the testbed (TESTBED_NAME=dbb)
	$(SUDO) $(TESTBED) down --name $(TESTBED_NAME)

deny: ## Check licences and advisories of the dependencies (needs cargo-deny)
	cargo deny check

clean: ## Remove build output; the tool cache stays
	$(CARGO) clean
