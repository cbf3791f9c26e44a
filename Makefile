# Everything that a newcomer needs: `make demo`, `make test`, `make dev`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test dev lint check bench lock clean

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed; name it with make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing (about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)  ## the whole flow once, on a made-up Prima and Emarsys; FAULT=lost-replies switches a fault on
	@$(BIN)/prima-emarsys demo $(if $(FAULT),--fault $(FAULT))

test: $(STAMP)  ## all tests, on every core and one more (a third of their time they wait), with a real PostgreSQL from a wheel
	@$(BIN)/pytest -n $$($(BIN)/python -c "import os; print(min(os.cpu_count() + 1, 5))") --dist worksteal

dev: $(STAMP)  ## the sandbox with a ticking world, and the Dagster UI on the loopback
	@$(BIN)/prima-emarsys dev

lint: $(STAMP)  ## format, lint, types, imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: $(STAMP)  ## ratios against floors measured in the same run; builds a world of a million customers once
	@$(BIN)/python -m benchmarks

lock:  ## pin anew what pyproject.toml asks for (needs uv); no registry address goes into the file
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:
	rm -rf $(VENV) .local
