# `make ask` and `make test` do all the set-up; `make install` puts `mixtura` on your PATH;
# `make help` lists the rest.
VENV   ?= .venv
Q      ?= Why is the sky blue?
BIN    := $(VENV)/bin
# As it was written: a $ in a question is a $, and nothing in it is run.
override Q := $(value Q)
export Q
# The first Python on the PATH that is new enough; `make PYTHON=python3.13 ask` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $$python && break; done)

# At a terminal, a dot every two seconds shows that what takes minutes still goes on.
DOTS   := if [ -t 2 ]; then (while sleep 2; do printf .; done) >&2 & trap "kill $$!; echo >&2" EXIT; fi;
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check
NO_WHEEL := { echo; echo "The packages could not be installed: pip says why above."; \
  echo "If it could not reach the package index: check your network, or set a mirror in pip.conf."; \
  echo "If it looked for a compiler: there is no ready-made package for this machine. Install one"; \
  echo "  Debian, Ubuntu: sudo apt install build-essential python3-dev"; \
  echo "  Fedora:         sudo dnf install gcc gcc-c++ make python3-devel"; \
  echo "  macOS:          xcode-select --install"; \
  echo "or use another version of Python: make clean; make PYTHON=python3.12 ask"; exit 1; }
# All platforms and Pythons in one lock, with hashes; it names no package index.
LOCK   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11.0 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate --no-strip-extras
# What the installed commands need; scripts/install.py has the same list.
INSTALLED := $(addprefix --extra ,local serve eval report providers pdf mcp privacy telemetry)

.PHONY: ask test install uninstall check soak bench docs lock dist sbom help clean

ask: $(VENV)/.use ## Ask a question: make ask Q="..."
	@$(BIN)/mixtura ask -- "$$Q"
	@command -v mixtura > /dev/null \
	  || echo "To use the command mixtura from any folder: make install" >&2

test: $(VENV)/.test $(VENV)/.clients ## Run the whole test suite
	@$(BIN)/mixtura pull smollm2-135m
	@$(BIN)/python -m tests.support.browser
	@$(BIN)/python scripts/run_tests.py $(BIN)/python $(VENV)/test-logs

install: ## Put the command mixtura on your PATH (uv, pipx, or a link in ~/.local/bin)
	$(require-python)
	@"$(PYTHON)" scripts/install.py install $(if $(WITH),--with $(WITH))

uninstall: ## Remove what make install installed
	$(require-python)
	@"$(PYTHON)" scripts/install.py uninstall

check: $(VENV)/.test ## Lint, types, the layer rule
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

soak: $(VENV)/.test ## The long tests
	@$(BIN)/python -m pytest -m soak

bench: $(VENV)/.test ## What Mixtura adds to its models' own time, and what it costs (about three minutes)
	@$(BIN)/python bench/run.py

lock: $(VENV)/.test ## Update the pinned requirements (UPGRADE=1 takes newer versions)
	@$(PIP) uv
	@$(LOCK) $(UPGRADED) -c requirements/limits.in --extra local --extra serve -o requirements/use.txt pyproject.toml requirements/build.in
	@$(LOCK) $(UPGRADED) -c requirements/use.txt -o requirements/test.txt requirements/test.in
	@$(LOCK) $(UPGRADED) -c requirements/use.txt -c requirements/test.txt $(INSTALLED) -o requirements/install.txt pyproject.toml requirements/build.in
	@$(LOCK) $(UPGRADED) -o requirements/clients.txt requirements/clients.in
	@$(LOCK) $(UPGRADED) -o requirements/release.txt requirements/release.in
	@if [ -e requirements/docs.in ]; then $(LOCK) $(UPGRADED) -c requirements/use.txt -o requirements/docs.txt requirements/docs.in; fi
UPGRADED = $(if $(UPGRADE),--upgrade)

dist: $(VENV)/.release ## Build the wheel and the source archive in dist/
	@rm -rf dist
	@$(VENV)/release/bin/python -m build --outdir dist .

sbom: $(VENV)/.release ## List the packages that `mixtura[serve,local]` brings as an SBOM: dist/sbom.json
	@rm -rf $(VENV)/sbom && "$(PYTHON)" -m venv $(VENV)/sbom
	@$(VENV)/sbom/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/use.txt
	@$(VENV)/sbom/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation .
	@$(VENV)/sbom/bin/python -m pip uninstall -qq --yes pip hatchling editables pathspec pluggy tomlkit trove-classifiers
	@mkdir -p dist
	@$(VENV)/release/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --of JSON -o dist/sbom.json $(VENV)/sbom/bin/python

man: $(VENV)/.test ## Write the man page anew, from the commands' help
	@$(BIN)/python -m tests.support.man_page > $(VENV)/mixtura.1 && mv $(VENV)/mixtura.1 src/mixtura/texts/mixtura.1

help: ## What there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Built apart from everything else: nothing that runs needs its tools.
docs: $(VENV)/.docs ## Build the documentation as a site: build/docs/index.html
	@$(VENV)/docs/bin/python -m sphinx --builder html --fresh-env --fail-on-warning --keep-going --nitpicky --quiet \
	  --doctree-dir $(VENV)/docs/doctrees docs build/docs
	@echo "The documentation is in build/docs/index.html"

$(VENV)/.docs: $(VENV)/bin/python requirements/docs.txt pyproject.toml
	@echo "Setting up the tools for the documentation (once) ..."
	@$(BIN)/python -m venv $(VENV)/docs
	@$(DOTS) $(VENV)/docs/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/docs.txt || $(NO_WHEEL)
	@$(VENV)/docs/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean: ## Remove the environment
	rm -rf $(VENV)

define require-python
@[ -n "$(PYTHON)" ] || { echo "Mixtura needs Python 3.11 or newer, and none is on your PATH."; \
  echo "  Debian 12 or newer, Ubuntu: sudo apt install python3 python3-venv"; \
  echo "  Fedora:                     sudo dnf install python3"; \
  echo "  macOS:                      brew install python"; \
  echo "If you have one elsewhere: make PYTHON=/path/to/python3 $(or $(firstword $(MAKECMDGOALS)),ask)"; exit 1; }
@"$(PYTHON)" -c '' || { echo "$(PYTHON) does not run as Python: it says why above."; \
  echo "Name another: make PYTHON=/path/to/python3 $(or $(firstword $(MAKECMDGOALS)),ask)"; exit 1; }
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "Mixtura needs Python 3.11 or newer, and $(PYTHON) is older."; \
  echo "Name a newer one: make PYTHON=/path/to/python3.12 $(or $(firstword $(MAKECMDGOALS)),ask)"; exit 1; }
endef

$(VENV)/bin/python:
	$(require-python)
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || { \
	  version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "This Python cannot create environments: its venv module is missing."; \
	  echo "  Debian, Ubuntu: sudo apt install python$$version-venv"; \
	  echo "  elsewhere:      install Python with venv and ensurepip, then make PYTHON=/path/to/it ask"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); echo "The environment $(VENV) could not be created: Python says why above."; exit 1; }

$(VENV)/.use: $(VENV)/bin/python requirements/use.txt pyproject.toml
	@echo "Setting up (once; half a minute on a fast machine) ..."
	@$(DOTS) $(PIP) --require-hashes -r requirements/use.txt || $(NO_WHEEL)
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.use requirements/test.txt
	@echo "Setting up the test tools (once, a few minutes) ..."
	@$(DOTS) $(PIP) --require-hashes -r requirements/test.txt || $(NO_WHEEL)
	@touch $@

# Other people's clients, which the server is tried with: some want other versions than ours.
$(VENV)/.clients: $(VENV)/.use requirements/clients.txt
	@echo "Setting up the clients that the server is tried with (once) ..."
	@$(BIN)/python -m venv $(VENV)/clients
	@$(DOTS) $(VENV)/clients/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/clients.txt || $(NO_WHEEL)
	@touch $@

# What builds a release.
$(VENV)/.release: $(VENV)/bin/python requirements/release.txt
	@$(BIN)/python -m venv $(VENV)/release
	@$(DOTS) $(VENV)/release/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/release.txt || $(NO_WHEEL)
	@touch $@
