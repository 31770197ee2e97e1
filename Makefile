# Everything a checkout needs, from a machine with Python 3.11-3.13 and make. `make` alone lists the targets.
#   make test ARGS="-k drift"      ARGS goes to the program behind the target
#   make demo PYTHON=python3.12    another interpreter than the first that fits

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := $(or $(UV_PROJECT_ENVIRONMENT),.venv)
CACHE := $(or $(INFERWATCH_CACHE),$(HOME)/.cache/inferwatch)
READY := $(VENV)/.inferwatch-ready
BIN := $(VENV)/bin
export PYTHON
# Images that forbid Python to keep its byte code are built once; here hundreds of processes would each compile the same libraries.
unexport PYTHONDONTWRITEBYTECODE
# More threads for matrices as small as ours mostly wait for each other: where the other cores have work, for four times the CPU.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS
# Two at a time, each one's output in one piece where make can do that.
PAIRS := -j2 $(if $(filter output-sync,$(.FEATURES)),-Otarget)

.PHONY: help demo test check lint format docs types imports kernels bench faults fuzz drill setup kafka tools clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

# In a terminal, and with no ARGS, it ends by serving its six views until Ctrl-C; in a log (CI) it just ends.
demo: $(READY) kafka  ## watch a model being served, drifting and being attacked, on this machine
	@if [ -t 1 ]; then ui="$(if $(ARGS),,--ui)"; fi; $(BIN)/inferwatch demo $(ARGS) $$ui

# Without Kafka the tests still run, and say loudly which were skipped.
test: $(READY)  ## everything: check, then the tests with warnings as errors, doctests too
	@$(MAKE) $(PAIRS) kernels check
	@$(MAKE) kafka || true
	@.ci/tests.sh $(BIN)/pytest $(ARGS)

check: lint types docs imports  ## lint, the site, types, who may import whom

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

# A minute of one core in a new checkout, which each process of the tests would take again; nothing later.
kernels: $(READY)
	@$(BIN)/python -c 'from streams.settings import load; from streams.warmup import warm_up; warm_up(load(None, {}))'

lint: $(READY)  ## ruff, and its formatting
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(READY)  ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# -W: a link to nowhere, or a page that no list holds, is an error.
docs: $(READY)  ## build the documentation site into site/
	@$(BIN)/sphinx-build -W --keep-going -q -b html -c docs/site -d .cache/docs . site

bench: $(READY) kafka  ## measure throughput and latency
	@$(BIN)/python -m bench $(ARGS)

fuzz: $(READY)  ## damage a million inputs of everything that reads foreign bytes; ARGS="--seed 7 --inputs 100000"
	@$(BIN)/python -m tests.fuzz --inputs 1000000 --seed 1 $(ARGS)

faults: $(READY) kafka tools  ## kill, stall and cut off everything for half an hour, and compare every count
	@$(BIN)/python -m tests.faults $(ARGS)

# Needs a machine that has nothing else to do: the services share it with the worker.
drill: $(READY) kafka tools  ## make every failure happen and see what fires; ARGS=--short for one of each of the ten
	@$(BIN)/inferwatch drill $(ARGS)

setup: $(READY) kafka  ## only the set-up that demo and test do by themselves

# Fetches Kafka once; quiet afterwards. Whoever has a Kafka (KAFKA_BOOTSTRAP_SERVERS) needs none of it.
kafka: $(READY)
	@[ -n "$$KAFKA_BOOTSTRAP_SERVERS" ] || $(BIN)/python -m streams.embedded

# One stamp in the environment: newer project files mean another sync.
$(READY): pyproject.toml sdk/pyproject.toml uv.lock
	@.ci/setup.sh $(VENV)
	@touch $@

tools: $(READY)  ## install Alertmanager, which pages need, and promtool, which tries Prometheus' rules
	@$(BIN)/python -m streams.embedded.alertmanager 2>/dev/null || { .ci/alertmanager.sh $(CACHE)/bin && $(BIN)/python -m streams.embedded.alertmanager; }
	@command -v promtool >/dev/null || [ -x $(CACHE)/bin/promtool ] || .ci/promtool.sh $(CACHE)/bin

clean:  ## remove what was made here; the cache in the home folder stays
	@rm -rf $(VENV) .uv site .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .inferwatch
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
