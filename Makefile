# make demo    set up, hear the model that ships beside other codecs, train a small one, and write a report (two CPU cores)
# make test    set up and run every test
# make lint    ruff and mypy
# make bench   speeds beside the naive twins, on this machine (on a quiet one: about a quarter of an hour)

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.installed
ACTIVATE := . $(VENV)/bin/activate

.PHONY: demo test lint bench clean

demo: $(READY)
	$(ACTIVATE) && egs/mini/run.sh

test: $(READY)
	$(ACTIVATE) && OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python -m pytest -n auto --dist loadfile

lint: $(READY)
	$(ACTIVATE) && ruff check . && ruff format --check . && mypy

bench: $(READY)
	$(ACTIVATE) && python benchmarks/speed.py --quick --speech egs/mini/corpus -o exp/bench/cpu/quick.json

# Installed again when the dependencies change.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) exp
