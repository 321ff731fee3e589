# Every target sets up what it needs (scripts/setup.sh); a set-up that is done costs nothing.
#   ARGS      options handed to the command, as in: make demo ARGS="--help"
#   PYTHON    the interpreter to use, when the one found is not the one wanted
#   WORKERS   test processes
SHELL := bash
WORKERS ?= 2
ARGS ?=

export PYTHON
# Without a screen; osmesa and glfw work where they are installed.
export MUJOCO_GL ?= egl

.PHONY: help setup demo test lint format bench lerobot aloha lift

help:
	@echo "make setup    build .venv with everything for work on ikp"
	@echo "make demo     demonstrations, training, evaluation and a report in outputs/demo"
	@echo "make test     lint, then every test"
	@echo "make lint     ruff, pyright and the layers"
	@echo "make format   let ruff rewrite the code"
	@echo "make lerobot  the real LeRobot in .venv-lerobot, and the tests of ikp beside it"
	@echo "make aloha    ALOHA's simulated tasks in .venv-aloha, their tests, and demonstrations in outputs/aloha"
	@echo "make bench    every benchmark beside its peers; results/bench and the README's table"
	@echo "make lift     robosuite's Lift in an environment of its own: make lift ARGS='--method ikp --seed 0'"

setup:
	@scripts/setup.sh dev

demo:
	@scripts/setup.sh base
	.venv/bin/ikp demo $(ARGS)

test: lint
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --durations=15 $(ARGS)

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright
	.venv/bin/lint-imports

format: setup
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

bench:
	@scripts/setup.sh bench
	@benchmarks/peers/diengine.sh || echo "DI-engine's rows will read 'not run'"
	@for file in benchmarks/bench_*.py; do \
	  echo "$$file"; .venv/bin/python "$$file" $(ARGS) || exit 1; \
	done
	.venv/bin/python tools/tables.py

# Status 77: LeRobot cannot be installed here, and the script said why.
lerobot:
	@scripts/lerobot.sh && .venv-lerobot/bin/python -m pytest tests/lerobot $(ARGS) || \
	  { status=$$?; test $$status -eq 77 && echo "skipped: the tests with LeRobot"; }

# 50 demonstrations of each task; one that is complete is left alone.
aloha:
	@benchmarks/peers/aloha.sh
	.venv-aloha/bin/python -m pytest tests/aloha
	@for task in transfer insertion; do \
	  .venv-aloha/bin/python benchmarks/aloha/record.py $$task outputs/aloha/$$task $(ARGS) || exit 1; \
	done

lift:
	@benchmarks/peers/robosuite.sh
	.venv-robosuite/bin/python benchmarks/lift.py $(ARGS)
