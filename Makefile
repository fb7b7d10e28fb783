# One command per task. `make demo` and `make test` need Python, a C compiler and a package index.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# A debug build lives in an environment and a copy of the sources of its own: one folder cannot
# hold both builds of a module.
DEBUG_DIR := build/debug-tree
DEBUG_VENV := .venv-debug
DEBUG_PY := $(CURDIR)/$(DEBUG_VENV)/bin/python
SOURCES := $(wildcard harmony/*.pyx harmony/*.pxd harmony/*.h harmony/data/*.z) \
	harmony/rank_tables.py harmony/table_file.py setup.py pyproject.toml scripts/make_rank_tables.py
INSTALL = -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-release test-debug develop debug coverage lint types annotate bench dist clean

demo: $(VENV)/.installed
	$(PY) examples/demo.py

test: test-release test-debug

test-release: $(VENV)/.tests
	HARMONY_REQUIRE_ORACLE=1 $(PY) -m pytest

test-debug: debug
	cd $(DEBUG_DIR) && HARMONY_BUILD=debug HARMONY_REQUIRE_ORACLE=1 HARMONY_EXAMPLES=0.05 \
		$(DEBUG_PY) -m pytest

# The package, compiled in place, so that an edit of a .py file is seen at once.
develop: $(VENV)/.tests

$(VENV)/.installed: $(SOURCES)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) $(INSTALL) --upgrade pip
	$(PY) $(INSTALL) --editable '.[cli]'
	touch $@

$(VENV)/.tests: $(VENV)/.installed
	$(PY) $(INSTALL) --editable '.[cli,test,oracle]'
	touch $@

debug:
	test -x $(DEBUG_VENV)/bin/python || $(PYTHON) -m venv $(DEBUG_VENV)
	mkdir -p $(DEBUG_DIR)
	git ls-files --cached --others --exclude-standard -z | tar --create --null --files-from=- \
		--ignore-failed-read --warning=no-failed-read | tar --extract --directory=$(DEBUG_DIR)
	$(DEBUG_PY) $(INSTALL) --upgrade pip
	cd $(DEBUG_DIR) && HARMONY_BUILD=debug $(DEBUG_PY) $(INSTALL) --editable '.[cli,test,oracle]'

coverage: $(VENV)/.tests
	scripts/coverage.sh $(PYTHON)

lint: $(VENV)/.tests
	$(PY) $(INSTALL) 'ruff>=0.8' 'cython-lint>=0.16' 'codespell>=2.3'
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/cython-lint harmony
	$(VENV)/bin/codespell harmony scripts docs README.md CHANGELOG.md CONTRIBUTING.md

types: $(VENV)/.tests
	$(PY) -m mypy
	$(PY) -m mypy.stubtest harmony._bpe harmony._pretokenize

annotate: $(VENV)/.tests
	HARMONY_ANNOTATE=1 $(PY) setup.py build_ext --inplace --force
	@echo "see build/cython-release/harmony/*.html"

bench: $(VENV)/.tests
	$(PY) $(INSTALL) --editable '.[bench]'
	$(PY) -m benchmarks.bench_encode
	$(PY) -m benchmarks.bench_decode
	$(PY) -m benchmarks.report

dist: $(VENV)/.installed
	$(PY) $(INSTALL) build
	$(PY) -m build

clean:
	rm -rf build dist *.egg-info .venv .venv-debug .venv-coverage harmony/*.so harmony/*.c \
		harmony/data/o200k.tables
