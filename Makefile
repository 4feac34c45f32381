# make demo, make test: each sets up everything it needs (a virtual environment with pinned packages) and runs.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test slow check docs dist release clean

demo: $(READY)
	@$(VENV)/bin/reincarnate demo

test: $(READY)
	@PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest -n 2 -m "not slow"  # tests start many processes: keep bytecode

slow: $(READY)
	@$(VENV)/bin/python -m pytest -m slow

check: $(READY)
	@$(VENV)/bin/pip install -q -c constraints.txt ruff pyright
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/pyright

docs: $(READY)
	@$(VENV)/bin/pip install -q -c constraints.txt mkdocs-material "mkdocstrings[python]"
	@$(VENV)/bin/python -m mkdocs build -q && echo "open out/site/index.html"

dist: $(READY)
	@$(VENV)/bin/pip install -q -c constraints.txt build twine
	@rm -rf dist && $(VENV)/bin/python -m build -q && $(VENV)/bin/python -m twine check --strict dist/*

release: $(READY)
	@.ci/release

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reincarnate needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@echo "setting up $(VENV) (once, some minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) out runs .reincarnate
