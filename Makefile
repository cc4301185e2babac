PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-sdk test-browser js clients check bench bench-peers bench-million bench-batch-api chaos soak clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The suite starts thousands of processes: none of them should have to compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

demo: .venv/ready ## extract records from real text, kill a worker half-way, show what was paid
	$(BIN)/python examples/demo.py

test: .venv/ready ## the whole suite, on real servers and real processes
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder tests

test-fast: .venv/ready ## the unit tests but the slow ones, in less than a minute: for the inner loop
	$(BIN)/python -m pytest -q -n 2 --dist worksteal --hypothesis-profile=fast -m "not slow" tests/unit

# What a provider's answers and faults end as in a running service. In `make test` its calls go out directly; the tests of a
# transport itself run on both.
OF_BOTH_TRANSPORTS := tests/faults tests/fundamentals $(addprefix tests/contract/test_,attempts.py canary.py failure_codes.py \
  lenient_parsing_e2e.py llama.py openai_batch_input.py partial_objects.py provider_announcements.py \
  streamed_equals_plain.py streams.py succeeded_means_valid.py)

test-sdk: .venv/ready ## the tests of running services with HEADRACE_TRANSPORT=sdk
	HEADRACE_TRANSPORT=sdk $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(OF_BOTH_TRANSPORTS)

test-browser: .venv/ready ## the web page in headless Chromium (apt-get install chromium)
	$(BIN)/python -m pytest tests/browser

js: ## install the npm clients that tests/contract/test_clients.py tries (needs Node 20)
	cd tests/contract/js && npm ci --loglevel=error

clients: tests/contract/clients/.venv/ready ## install the Python clients of other projects that tests/contract/ tries
tests/contract/clients/.venv/ready: tests/contract/clients/requirements.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

check: .venv/ready ## lint, format, types, import contracts, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python docs/generate.py --check

bench: .venv/ready ## measure against budgets and beside peers, in about 12 minutes; writes bench/results/
	$(BIN)/python -m bench.run; status=$$?; $(BIN)/python docs/generate.py; exit $$status

PEERS := $(patsubst bench/peers/%.txt,bench/.peers/%/ready,$(wildcard bench/peers/*.txt))
bench-peers: $(PEERS) ## make an environment for each peer that `make bench` measures beside headrace
bench/.peers/%/ready: bench/peers/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

ITEMS := 1000000
bench-million: .venv/ready ## one large batch through one worker; ITEMS=100000 for a smaller one
	BENCH_MILLION_ITEMS=$(ITEMS) $(BIN)/python -m bench.run million; status=$$?; $(BIN)/python docs/generate.py; exit $$status

LINES := 50000
BYTES := 2000
RESULTS := 1000
bench-batch-api: .venv/ready ## one large batch over HTTP: upload, check, first result; LINES=1000000 BYTES=250 for a larger one
	$(BIN)/python -m bench.batch_api $(LINES) $(BYTES) $(RESULTS)

chaos: .venv/ready ## kill everything, for a long time, with a seed
	$(BIN)/python -m pytest tests/faults --chaos-rounds 5

COMPILE := $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade
lock: .venv/ready ## compile requirements.lock anew from pyproject.toml, and that of the clients
	$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	cd tests/contract/clients && $(abspath $(BIN))/$(COMPILE:$(BIN)/%=%) requirements.in -o requirements.txt

soak: .venv/ready ## streams for half an hour: 100 seeds of random faults on processes, ten busy minutes that leave nothing, ten of odd requests, ten of odd commands, 700,000 confused answers, 10,000 calls of each kind that goes wrong
	$(BIN)/python -m pytest -s tests/faults/test_reader_chaos.py tests/faults/test_stream_chaos.py --chaos-rounds 20
	$(BIN)/python -m pytest -s tests/faults/test_stream_soak.py --soak-minutes 10
	$(BIN)/python -m pytest -s tests/contract/test_gateway_fuzz.py --fuzz-seconds 200
	LAZY_CONNECTIONS=2000 $(BIN)/python -m pytest -s tests/contract/test_gateway_limits.py
	$(BIN)/python -m pytest -s tests/contract/test_cli_fuzz.py --soak-minutes 10
	CONFUSION_MUTANTS=700000 $(BIN)/python -m pytest tests/unit/providers/test_type_confusion.py
	TRANSPORT_CALLS=10000 $(BIN)/python -m pytest tests/contract/test_transport_leaks.py

clean: ## remove the environment, the state folder and every cache
	rm -rf .venv bench/.peers tests/contract/clients/.venv .headrace build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The mark is made last: a set-up that was interrupted is done again. A broken .venv (no pip in it) is made anew.
.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or run make PYTHON=/path/to/python" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
