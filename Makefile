# make demo    set up, and run the main job
# make test    set up, and run all tests on all backends against the installed wheels
# make check   the fast path: lint, types, tests on TensorFlow
# make test-nightly   what rests on Keras most, with the Keras of tomorrow
#
# Everything lives in .venv; `make clean` forgets it.

PYTHON ?= python3
# pip's CPU build of this version is what the project is developed with.
TORCH ?= torch==2.13.0
BACKENDS ?= tensorflow jax torch
OLDEST_KERAS := 3.12.0
JOBS ?= 2

BIN := .venv/bin
PLUGINS := $(wildcard plugins/*)
SOURCES := $(shell find kcells kcells_command.py $(PLUGINS:%=%/src) -name '*.py' -o -name '*.template' 2>/dev/null) \
           pyproject.toml $(wildcard plugins/*/pyproject.toml)
# One thread for PyTorch: several test processes share the cores.
QUIET := TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0 OMP_NUM_THREADS=1
# Most tests compile more than they compute: of the time that XLA takes on JAX, four fifths go into making code
# fast, into kernels by way of MLIR, and into 32 modules of LLVM for each program.
UNOPTIMIZED := XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
                          --xla_cpu_parallel_codegen_split_count=1"

.PHONY: setup demo test check lint types test-oldest test-nightly benchmarks clean

setup: .venv/.installed

.venv/.dependencies: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/python tools/requirements.py tensorflow jax torch examples bench export test docs > .venv/requirements.txt
	$(BIN)/pip install --quiet --requirement .venv/requirements.txt
	touch $@

# The wheels are built and installed, not the checkout: a file that the build forgets
# is then missing in the tests too.
.venv/.installed: .venv/.dependencies $(SOURCES)
	rm -rf dist build plugins/*/build
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . $(PLUGINS:%=./%)
	rm -rf build plugins/*/build *.egg-info plugins/*/src/*.egg-info
	$(BIN)/pip install --quiet --no-deps --force-reinstall dist/*.whl
	touch $@

demo: setup
	$(QUIET) $(BIN)/python examples/motion.py

# On TensorFlow in parts, each in processes of its own: it keeps every program that XLA has made, until
# its process ends, and all tests in one take more than 20 GiB.
PARTS := "tests/engine tests/layers" "tests --ignore=tests/engine --ignore=tests/layers" plugins

test: setup lint types
	for backend in $(BACKENDS); do \
	  if [ $$backend = tensorflow ]; then set -- $(PARTS); else set -- "tests plugins"; fi; \
	  for part in "$$@"; do \
	    echo "== $$backend: $$part"; \
	    $(QUIET) $(UNOPTIMIZED) KERAS_BACKEND=$$backend \
	      $(BIN)/pytest -n $(JOBS) --dist loadgroup $$part || exit 1; \
	  done; \
	done

check: setup lint types
	for part in $(PARTS); do \
	  $(QUIET) $(UNOPTIMIZED) KERAS_BACKEND=tensorflow \
	    $(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not slow" $$part || exit 1; \
	done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy kcells kcells_command.py $(filter-out %.egg-info,$(wildcard plugins/*/src/*))

# What rests on Keras most: layers, files, what stands in for what; and the cells of two plugins.
WITH_OLDEST := tests/layers tests/golden tests/engine/test_exports.py tests/engine/test_plan.py \
               tests/dispatch/test_to_builtin.py tests/dispatch/test_corner_cases.py \
               tests/test_build.py tests/test_explain.py tests/test_saving.py tests/test_tripwires.py \
               plugins/kcells-plugin-nested plugins/kcells-plugin-layernorm

# The oldest Keras that pyproject.toml admits, put in front of the installed one.
test-oldest: setup
	test -d .venv/oldest || $(BIN)/pip install --quiet --no-deps --target .venv/oldest keras==$(OLDEST_KERAS)
	$(QUIET) $(UNOPTIMIZED) KERAS_BACKEND=tensorflow PYTHONPATH=.venv/oldest \
	  $(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not slow and not newest_keras" $(WITH_OLDEST)

# The next Keras, as it is today, put in front in the same way: what breaks here breaks for users soon. Fetched anew
# when it is older than a day.
NIGHTLY := tests/layers/test_rnn.py tests/layers/test_matrix.py tests/layers/test_keras_own_tests.py \
           tests/dispatch/test_to_builtin.py tests/test_saving.py tests/test_keras_private.py \
           tests/test_tripwires.py

test-nightly: setup
	find .venv/nightly -maxdepth 0 -mtime 0 2>/dev/null | grep -q . || { rm -rf .venv/nightly; \
	  $(BIN)/pip install --quiet --no-deps --pre --target .venv/nightly keras-nightly; }
	ls -d .venv/nightly/keras_nightly-*
	$(QUIET) $(UNOPTIMIZED) KERAS_BACKEND=tensorflow PYTHONPATH=.venv/nightly \
	  $(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not slow" $(NIGHTLY)

# All cells at their usual sizes; `make benchmarks CELLS_OPTIONS="--sweep --memory"` for more, and to resume.
# Without --again, rows that benchmarks/results/ holds already stay as they are.
CELLS_OPTIONS ?= --rounds 9 --again

benchmarks: setup
	$(QUIET) $(BIN)/python benchmarks/startup.py
	for backend in $(BACKENDS); do \
	  $(BIN)/python benchmarks/dispatch.py --backend $$backend || exit 1; \
	  $(BIN)/python benchmarks/cells.py --backend $$backend $(CELLS_OPTIONS) \
	    --json benchmarks/results/cells-$$backend.json \
	    --picture benchmarks/results/cells-$$backend.png || exit 1; \
	done

clean:
	rm -rf .venv dist build plugins/*/build plugins/*/src/*.egg-info *.egg-info out
