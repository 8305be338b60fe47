# The habits of this project. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
UV := .tools/bin/uv
NODE_DIR := src/evpower/devstack/supabase/lite
BROWSER_DIR := tests/browser
BROWSER := $(BROWSER_DIR)/node_modules/.chromium/.unpacked
FOREIGN_DIR := tests/foreign
FOREIGN := $(FOREIGN_DIR)/node_modules/.installed
SNAPSHOTS := tests/snapshots
export UV_PYTHON_DOWNLOADS := never
# Every process of the tests would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup browser demo dev test check format snapshots golden supabase-migrations bench lock clean

help: ## list the habits
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1	\2/' | expand -t 28

setup: .venv/.installed $(NODE_DIR)/node_modules/.installed ## install everything into this checkout

.tools/bin/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("EvPower needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "EvPower needs pip for $(PYTHON) (Debian: apt-get install python3-pip)"; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-script-location --require-hashes --upgrade --target .tools -r requirements/uv.txt
	@touch $@

.venv/.installed: .tools/bin/uv requirements/dev.txt pyproject.toml
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(NODE_DIR)/node_modules/.installed: .venv/.installed $(NODE_DIR)/package-lock.json
	@$(BIN)/python -m evpower.devstack.supabase.install
	@touch $@

browser: setup $(BROWSER) $(FOREIGN) ## the headless Chromium and the foreign charge point of the tests

$(BROWSER): .venv/.installed $(BROWSER_DIR)/package-lock.json $(BROWSER_DIR)/install.py
	@$(BIN)/python -m tests.browser.install
	@touch $@

$(FOREIGN): .venv/.installed $(FOREIGN_DIR)/package-lock.json
	@$(BIN)/python -m tests.foreign.install
	@touch $@

demo: setup ## the main job, done for real in front of you
	@$(BIN)/evpower demo

dev: setup ## the whole stack on this machine
	@$(BIN)/evpower dev

test: setup browser ## every test
	@$(BIN)/pytest

check: setup ## format, lint, types, import layers, snapshots
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(if $(SNAPSHOTS),$(BIN)/pytest -q $(SNAPSHOTS))

format: setup ## let ruff write it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

snapshots: setup ## write schema.sql, openapi.json and supabase/migrations anew
	@$(BIN)/python -m tests.snapshots

golden: setup ## write the stored answers of the old API anew, to be read before they are committed
	@rm -rf tests/old_api/golden
	@EVPOWER_TEST_WRITE_GOLDEN=1 $(BIN)/pytest -q $$(grep -rlE 'golden_answers import (assert_golden|compare)|old_api.whole' tests --include=test_*.py)

supabase-migrations: setup ## write supabase/migrations from supabase/source
	@$(BIN)/python -m evpower.devstack.supabase.migrations

bench: setup ## measure against the named baselines; ONLY=name for one
	@$(BIN)/python -m bench $(ONLY)

lock: .tools/bin/uv ## pin the dependencies anew
	$(UV) pip compile --quiet --generate-hashes --universal --no-header --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(UV) pip compile --quiet --generate-hashes --universal --no-header --python-version 3.11 pyproject.toml --extra dev --group test --group check --group build --group bench -o requirements/dev.txt
	$(UV) pip compile --quiet --generate-hashes --universal --no-header --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/production.txt
	$(UV) pip compile --quiet --generate-hashes --universal --no-header --python-version 3.11 --group build -c requirements/dev.txt -o requirements/build.txt

clean: ## remove what setup and the stack made here
	rm -rf .venv .tools .evpower $(NODE_DIR)/node_modules $(BROWSER_DIR)/node_modules $(FOREIGN_DIR)/node_modules
