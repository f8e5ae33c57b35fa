# `make ask` and `make test` do all the set-up; `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
Q      ?= Why is the sky blue?
BIN    := $(VENV)/bin
# As it was written: a $ in a question is a $, and nothing in it is run.
override Q := $(value Q)
export Q

# Inspect changes asyncio for its whole process: its tests have one of their own.
INSPECT := tests/evals tests/selection tests/reports

.PHONY: ask test check soak bench lock help clean

ask: $(VENV)/.use ## Ask a question: make ask Q="..."
	@$(BIN)/mixtura ask -- "$$Q"

test: $(VENV)/.test $(VENV)/.clients ## Run the whole test suite
	@$(BIN)/mixtura pull smollm2-135m
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak" $(INSPECT) > $(VENV)/evals.log 2>&1 & evals=$$!; \
	trap 'kill $$evals 2> /dev/null' EXIT; \
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak" $(addprefix --ignore=,$(INSPECT)); rest=$$?; \
	echo "The tests of evaluations, which ran beside these:"; \
	wait $$evals; status=$$?; cat $(VENV)/evals.log; exit $$((rest + status > 0))

check: $(VENV)/.test ## Lint, types, the layer rule
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

soak: $(VENV)/.test ## The long tests
	@$(BIN)/python -m pytest -m soak

bench: $(VENV)/.test ## What Mixtura adds to its models' own time, and what it costs (about three minutes)
	@$(BIN)/python bench/run.py

lock: $(VENV)/.test ## Pin the dependencies anew, with hashes and no index line
	@$(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --no-header -c requirements/limits.in --extra local --extra serve -o requirements/use.txt pyproject.toml requirements/build.in
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --no-header -c requirements/use.txt -o requirements/test.txt requirements/test.in
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --no-header -o requirements/clients.txt requirements/clients.in

help: ## What there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

clean: ## Remove the environment
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Mixtura needs Python 3.11 or newer: make PYTHON=python3.12 ask"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "This Python cannot make environments (on Debian: apt install python3-venv)"; rm -rf $(VENV); exit 1; }

$(VENV)/.use: $(VENV)/bin/python requirements/use.txt pyproject.toml
	@echo "Setting up (once, about half a minute) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/use.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.use requirements/test.txt
	@echo "Setting up the test tools (once) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@

# Other people's clients, which the server is tried with: some want other versions than ours.
$(VENV)/.clients: $(VENV)/.use requirements/clients.txt
	@echo "Setting up the clients that the server is tried with (once) ..."
	@$(PYTHON) -m venv $(VENV)/clients
	@$(VENV)/clients/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/clients.txt
	@touch $@
