# On a fresh machine: `make study` answers the founding question, `make test` tests everything that needs no emulator.
# Both need Python 3.11 or newer with its headers, a C compiler and make; each makes .venv and installs what it uses.

PYTHON ?= python3
# Seed of everything random in the tests.  Each test derives its own from it, so that order and processes do not matter.
SEED ?= 2007
JOBS ?= 2
# How much `make conformance` compares: cases for unicorn and Bochs, cases for QEMU, programs of 80 operations for Xen.
CASES ?= 100000
BULK ?= 1000000
PROGRAMS ?= 4000
# More arguments: make study ARGS="--design kept --json", make pytest ARGS="-k walk".
ARGS ?=

BIN := .venv/bin
C_SOURCES := $(shell find csrc -name '*.c')
C_FILES := $(shell find csrc tests -name '*.[ch]')
CORE := $(shell find csrc -name '*.[ch]') setup.py setup_cffi.py pyproject.toml
STRICT := -std=gnu11 -Wall -Wextra -Wshadow -Werror
SANITIZE := -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
PYTEST := $(BIN)/python -P -m pytest -n $(JOBS) --hypothesis-seed=$(SEED)
# Where the C core is exercised; the other tests read files, start processes, or spend their time in other people's code.
FLOORS := $(wildcard tests/machine tests/x86 tests/xen tests/netbsd tests/check tests/advisories)
ELSEWHERE := $(patsubst %,--ignore=%,$(wildcard tests/x86/test_proof.py tests/x86/test_cpu_models.py tests/x86/test_cpu_qemu.py tests/x86/test_cpu_cet.py tests/x86/test_matrix.py))

export PIP_DISABLE_PIP_VERSION_CHECK = 1
.NOTPARALLEL:
.PHONY: study test lint pytest asan conformance docs clean core

study: .venv/.stamp-core .venv/.stamp-cli
	$(BIN)/xenmmu study $(ARGS)

test: lint pytest asan

core: .venv/.stamp-core

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "xenmmu needs Python 3.11 or newer: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Editable, so that the package beside the tests is the installed one, compiled core included.
.venv/.stamp-core: $(CORE) | $(BIN)/python
	rm -f xenmmu/_core*.so
	$(BIN)/pip install -q -e .
	@touch $@

.venv/.stamp-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*p["optional-dependencies"]["$*"], sep="\n")' | $(BIN)/pip install -q -r /dev/stdin
	@touch $@

lint: .venv/.stamp-core .venv/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/clang-format --style=file:csrc/.clang-format --dry-run -Werror $(C_FILES)
	@echo "C is formatted as csrc/.clang-format says"
	@for f in $(C_SOURCES); do $(CC) $(STRICT) -O2 -Icsrc -c -o /dev/null $$f || exit 1; done
	@echo "C compiles with $(STRICT)"
	@wc -l $(C_FILES) $$(find xenmmu -name '*.py') | awk '$$1 > 600 && $$2 != "total" { print "long file:", $$2, $$1 }'

pytest: .venv/.stamp-core .venv/.stamp-test
	$(PYTEST) $(ARGS)

# The same core under ASan and UBSan: from Python (whose own leaks would drown ours), then by a C program with leak check.
asan: .venv/.stamp-core .venv/.stamp-test build/asan/test_core
	CFLAGS="$(SANITIZE)" $(BIN)/python setup.py -q build --build-base build/asan --build-lib build/asan/lib
	export LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" PYTHONPATH=build/asan/lib PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 HYPOTHESIS_PROFILE=asan && \
	$(BIN)/python -P -c 'import xenmmu._core as c; assert "build/asan/lib" in c.__file__, c.__file__' && \
	$(PYTEST) -q -m "not slow" $(ELSEWHERE) $(FLOORS)
	ASAN_OPTIONS=detect_leaks=1 build/asan/test_core

build/asan/test_core: tests/c/test_core.c $(CORE)
	@mkdir -p build/asan
	@$(CC) $(STRICT) $(SANITIZE) -O1 -Icsrc -o $@ tests/c/test_core.c $(C_SOURCES)

# Live: two models of the processor in process, QEMU's in a guest without an operating system, and real Xen under QEMU (its package is downloaded and unpacked below
# build/, not installed).  Each prints what it compared and fails on a difference that is not explained.
conformance: .venv/.stamp-core .venv/.stamp-test
	@command -v qemu-system-x86_64 >/dev/null || { echo "make conformance needs qemu-system-x86_64" >&2; exit 1; }
	$(BIN)/python tests/oracles/cpu/compare.py unicorn --cases $(CASES) --seed $(SEED)
	$(BIN)/python tests/oracles/cpu/compare.py bochs --cases $(CASES) --seed $(SEED)
	$(BIN)/python tests/oracles/qemu/run.py --cases $(BULK) --seed $(SEED)
	@if command -v bochs-bin >/dev/null; then $(BIN)/python tests/oracles/bochs/run.py --cases $(CASES) --seed $(SEED); \
	else echo "no bochs-bin: shadow stacks are not compared"; fi
	$(BIN)/python tests/oracles/xen/conform.py --programs $(PROGRAMS) --seed $(SEED) --jobs 2
	$(BIN)/python tests/oracles/xen/conform.py --programs $$(($(PROGRAMS) / 10)) --seed $(SEED) --jobs 2 --no-linear

docs: .venv/.stamp-core .venv/.stamp-docs
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf .venv build dist *.egg-info docs/_build xenmmu/_core.c xenmmu/_core*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} + ; find csrc xenmmu -name '*.o' -delete
