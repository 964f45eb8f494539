# Everything this project asks of a change, one word each. `make quickstart` and `make test` need Python >= 3.11
# and nothing else that a fresh Debian or Ubuntu machine lacks.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEDS ?= 300

.PHONY: quickstart test check fmt lint types layers unit cluster sim bench bench-paper bench-peers pages clean

quickstart: $(VENV)/.video
	$(BIN)/python examples/video_stabilization.py --out outputs/video
	@echo "The stabilised video and the trajectory picture are in outputs/video/"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests

check: lint types layers unit

fmt: $(VENV)/.dev
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not cluster" tests

cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m cluster tests

sim: $(VENV)/.dev
	$(BIN)/python -m zfut.sim --seeds $(SEEDS)

bench: $(VENV)/.video
	$(BIN)/python -m benchmarks.micro --out outputs/benchmarks

bench-paper: $(VENV)/.video
	$(BIN)/python -m benchmarks.paper --out outputs/benchmarks/paper.json

bench-peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q -r benchmarks/peers.txt

pages: $(VENV)/.dev
	$(BIN)/python -m zfut.wire.page > docs/protocol.md
	$(BIN)/python -m zfut.errors_page > docs/guides/errors.md

clean:
	rm -rf $(VENV) .venv-peers outputs build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.dev: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install -q -e ".[dev,test]"
	@touch $@

$(VENV)/.video: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install -q -e ".[video,bench]"
	@touch $@
