# One command per task. `make demo` and `make test` need Python, a C compiler and a package index.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALL = -m pip install --quiet --disable-pip-version-check
SOURCES := $(wildcard harmony/*.pyx harmony/*.pxd harmony/*.h harmony/data/*.z) \
	harmony/rank_tables.py harmony/table_file.py setup.py pyproject.toml scripts/make_rank_tables.py

.PHONY: demo test test-release test-debug develop debug coverage-build coverage lint types annotate bench dist clean

demo: $(VENV)/.installed
	$(PY) examples/demo.py

test: test-release test-debug

test-release: $(VENV)/.tests
	HARMONY_REQUIRE_ORACLE=1 $(PY) -m pytest

# Bounds checks on, steps counted; fewer random examples, because it is an order slower.
test-debug: debug
	cd build/debug-tree && HARMONY_BUILD=debug HARMONY_REQUIRE_ORACLE=1 HARMONY_EXAMPLES=0.05 \
		$(CURDIR)/.venv-debug/bin/python -m pytest

# The package, compiled in place, so that an edit of a .py file is seen at once.
develop: $(VENV)/.tests

# pip compiles all modules anew each time, so nothing is installed in two steps.
$(VENV)/.installed: EXTRAS := cli,datasets
$(VENV)/.tests: EXTRAS := cli,test,oracle
$(VENV)/.bench: EXTRAS := cli,test,oracle,bench
$(VENV)/.installed $(VENV)/.tests $(VENV)/.bench: $(SOURCES)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) $(INSTALL) --upgrade pip
	$(PY) $(INSTALL) --editable '.[$(EXTRAS)]'
	touch $(VENV)/.installed $@

# One folder cannot hold two builds of a module: each mode has a copy of the sources of its own,
# and an environment to go with it.
debug coverage-build: MODE = $(@:-build=)
debug coverage-build:
	test -x .venv-$(MODE)/bin/python || $(PYTHON) -m venv .venv-$(MODE)
	rm -rf build/$(MODE)-tree && mkdir -p build/$(MODE)-tree
	git ls-files --cached --others --exclude-standard -z | tar --create --null --files-from=- \
		--ignore-failed-read --warning=no-failed-read | tar --extract --directory=build/$(MODE)-tree
	.venv-$(MODE)/bin/python $(INSTALL) --upgrade pip
	cd build/$(MODE)-tree && HARMONY_BUILD=$(MODE) $(CURDIR)/.venv-$(MODE)/bin/python $(INSTALL) \
		--editable '.[cli,test,oracle]'

coverage: coverage-build
	.venv-coverage/bin/python $(INSTALL) coverage cython
	cd build/coverage-tree && COVERAGE_CORE=ctrace HARMONY_EXAMPLES=0.05 \
		$(CURDIR)/.venv-coverage/bin/python -m coverage run -m pytest
	cd build/coverage-tree && $(CURDIR)/.venv-coverage/bin/python -m coverage report

lint: $(VENV)/.tests
	$(PY) $(INSTALL) 'ruff>=0.8' 'cython-lint>=0.16' 'codespell>=2.3'
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint harmony
	$(VENV)/bin/codespell harmony scripts docs README.md CHANGELOG.md CONTRIBUTING.md

types: $(VENV)/.tests
	$(PY) -m mypy
	$(PY) -m pytest tests/test_package.py -k stubs

annotate: $(VENV)/.tests
	HARMONY_ANNOTATE=1 $(PY) setup.py build_ext --inplace --force
	@echo "see build/cython-release/harmony/*.html"

bench: $(VENV)/.bench
	$(PY) -m benchmarks.bench_encode
	$(PY) -m benchmarks.bench_decode
	$(PY) -m benchmarks.report

dist: $(VENV)/.installed
	$(PY) $(INSTALL) build
	$(PY) -m build

clean:
	rm -rf build dist *.egg-info .venv .venv-debug .venv-coverage harmony/*.so harmony/*.c \
		harmony/data/o200k.tables
