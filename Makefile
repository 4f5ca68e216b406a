# `make demo` and `make test` need Python >= 3.10 with venv, make and git; everything else goes into .venv.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

# MLflow and the Hub have nothing to fetch or to report here, and the demo's MLflow is its own, not the user's.
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE := 1
# Tests start hundreds of interpreters: each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE
unexport MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME MLFLOW_EXPERIMENT_ID MLFLOW_RUN_ID

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench fuzz lint clean

help:
	@echo "make demo    a real LoRA run: recorded, audited, compressed, verified, shown in a local MLflow (a minute, once its environment is there)"
	@echo "make test    the whole test suite"
	@echo "make faults  the fault matrix alone, with its table (KILLS=100: so many of each kind of process)"
	@echo "make bench   the benchmarks, each with what it is compared to"
	@echo "make fuzz    20,000 broken adapters through the auditor (FUZZ='--count N --seed N'), compared with a dense reference"
	@echo "make lint    ruff and mypy"
	@echo "make clean   remove environments, caches and the demo's output"

# Show a command as one would type it, then run it with the environment's programs.
run = @printf '\n$$ %s\n' '$(1)'; export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; $(1)

demo: $(VENV)/installed-demo
	$(call run,python examples/vnext/toy_lora_run.py --out runs/toy_run --device cpu)
	$(call run,gradience check --task sst2 --peft-dir runs/toy_run/peft --training-dir runs/toy_run/training)
	$(call run,gradience monitor runs/toy_run/run.jsonl --verbose)
	$(call run,gradience audit --peft-dir runs/toy_run/peft --top-wasteful 10 --append runs/toy_run/run.jsonl)
	@rm -rf runs/toy_run/compressed
	$(call run,gradience compress --peft-dir runs/toy_run/peft --out runs/toy_run/compressed)
	$(call run,cd runs && gradience verify --original toy_run/peft --compressed toy_run/compressed --command "python ../examples/vnext/toy_eval.py --adapter {adapter}" --log-to mlflow)
	$(call run,gradience monitor runs/toy_run/run.jsonl)
	@printf '\nThe run is in MLflow. To see it: (cd runs && ../$(VENV)/bin/mlflow ui), then open the address above.\n'

test: $(VENV)/installed-test
	$(VENV)/bin/pytest -n auto

faults: $(VENV)/installed-test
	KILLS=$(or $(KILLS),10) $(VENV)/bin/pytest -n auto tests/integrations/test_fault_*.py

bench: $(VENV)/installed-test
	@$(PIP) -e ".[bench]" || echo "the neighbour of the auditor could not be installed: it is left out"
	@missed=0; for bench in tests/benchmarks/bench_*.py; do echo; echo "== $$bench"; \
		$(VENV)/bin/python -m tests.benchmarks.$$(basename $$bench .py) || missed=1; done; exit $$missed

fuzz: $(VENV)/installed-test
	$(VENV)/bin/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .venv-core runs/toy_run runs/mlflow.db runs/mlruns build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Gradience needs Python >= 3.10: install one and say: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install -y python3-venv" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)

# A stamp per set of extras: repeated calls install nothing until the requirements change.
$(VENV)/installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing gradience with MLflow and the Hugging Face stack into $(VENV) (once, some minutes) ..."
	@$(PIP) -e ".[mlflow,hf]"
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing gradience with everything its tests need into $(VENV) (once, some minutes) ..."
	@$(PIP) -e ".[dev,mlflow,wandb,hf]"
	@touch $@ $(VENV)/installed-demo
