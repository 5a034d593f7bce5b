# make study sets everything up and runs the main job; make test sets everything up and passes the tests.
PYTHON ?= python3
# A plain "torch" may bring a CUDA build of several gigabytes; TORCH= says which one to take.
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quick

NATIVE := setup.py pyproject.toml $(wildcard csrc/*.cpp csrc/*/*.cpp csrc/*/*.h csrc/*/*.cu csrc/*/*.cuh)

# What clang-format looks at.
CPP := $(foreach folder,csrc csrc/* tests/* tests/*/*,$(wildcard $(addprefix $(folder)/*.,cpp h cu cuh)))

.PHONY: study test test-slow gpu wheel lint docs format clean
.DELETE_ON_ERROR:

study: $(VENV)/.built
	$(BIN)/pyprof study quick -o $(RUN) $(if $(wildcard $(RUN)/records.jsonl),--resume)

test: $(VENV)/.built-test
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.built-test
	$(BIN)/python -m pytest -m 'slow and not training' -n 2

# On a machine with a GPU: build for that card in place, test, measure, and write bench/results/CARD.md to be committed.
# With PYTHON= that Python's packages are used as they are, and nothing is downloaded; so too with VENV= (empty).
GPU_VENV := $(if $(filter file,$(origin PYTHON)),$(VENV))
gpu: $(if $(GPU_VENV),$(VENV)/.built-test)
	$(if $(GPU_VENV),$(BIN)/python,$(PYTHON)) bench/gpu.py

# A wheel for the torch that is installed, to be shared among machines that have the same; its version says which.
# With VENV= (empty) the torch of $(PYTHON) is built for.
wheel: $(if $(VENV),$(VENV)/.built)
	PYPROF_WHEEL=1 $(if $(VENV),$(BIN)/python,$(PYTHON)) -m pip wheel -q --no-build-isolation --no-deps -w dist .
	@ls dist/*.whl

lint: $(VENV)/.built-test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	rm -rf build/types && mkdir -p build/types/pyprof && ln -s $(CURDIR)/pyprof/* build/types/pyprof/ && ln -s $(CURDIR)/models build/types/pyprof/models
	cd build/types && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p pyprof

# The site of docs/ in build/site; once its packages are there it needs no network.
docs: $(VENV)/.built-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

format: $(VENV)/.lint
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf build $(VENV) *.egg-info pyprof/*.so

# The packages of an extra, so that nothing is built anew for them; quoted, since < and > are the shell's too.
extra = $(shell $(BIN)/python -c 'import tomllib; print(*(f"\"{one}\"" for one in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(1)"]))')

# The virtual environment with the wanted torch: everything else is installed against it.
$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pyprof needs Python 3.11 or newer and $(PYTHON) is older: run make with PYTHON=python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian: apt-get install python3-venv)." >&2; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || \
	  { echo "pyprof needs a C++ compiler and found none: install g++ (on Debian: apt-get install g++)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q '$(TORCH)'
	touch $@

$(VENV)/.built: $(VENV)/.torch $(NATIVE)
	$(BIN)/python -m pip install -q 'setuptools>=77' wheel ninja 'pybind11>=2.13'
	@# Headers alone, of NVTX; where the wheel cannot be had, pyprof is built without.
	-$(BIN)/python -m pip install -q --no-deps 'nvidia-nvtx>=13'
	@# What draws the page of a report; where it cannot be had, the report in the terminal is all.
	-$(BIN)/python -m pip install -q $(call extra,page)
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	touch $@

$(VENV)/.built-test: $(VENV)/.built
	$(BIN)/python -m pip install -q $(call extra,test) $(call extra,export) $(call extra,docs) $(call extra,browser) $(call extra,quality) $(call extra,fairseq-needs)
	$(BIN)/python -m pip install -q --no-deps $(call extra,fairseq)
	touch $@

$(VENV)/.lint: pyproject.toml
	$(BIN)/python -m pip install -q $(call extra,lint)
	touch $@
