# Everything is set up into .venv by uv, which itself is brought into .uv; nothing outside this folder is touched.
PYTHON ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
STAMP := .venv/.geoloc-installed
# Which optional dependencies come along (pyproject.toml).
EXTRAS ?= dev

.PHONY: setup demo test test-hostile ui stack lint format pins clean

setup: $(STAMP)

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.8"

$(STAMP): pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@# Once, here: where Python is told not to keep bytecode, each process would compile two thousand modules anew (4 s).
	@# Some packages carry files that are no Python of this version; those stay as they are.
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@

# The exact versions of everything, by name alone: no address is ever written down.
pins: | $(UV)
	$(UV) pip compile --quiet --python-version 3.11 --extra dev --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --upgrade pyproject.toml --output-file constraints.txt

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Files of tests side by side on two cores, each on one thread.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What an attacker, a slip or bad luck could hand to each reader, one bounded process each (docs/security.md), and a fuzz test.
test-hostile: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.hostile.run
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.hostile.fuzz --examples 200

demo: $(STAMP)
	$(BIN)/geoloc demo

ui: $(STAMP)
	$(BIN)/geoloc ui

# What docker/compose.yaml starts, as processes on loopback (docs/deploy.md); needs PostgreSQL on this machine.
stack: $(STAMP)
	$(BIN)/python scripts/stack.py

# Speed and scale, side by side with peers in one run: a table on the screen, the same figures in .bench/NAME.json.
bench-%: $(STAMP)
	$(BIN)/python benchmarks/$*.py $(FILE)

clean:
	rm -rf .venv .uv .geoloc .bench
