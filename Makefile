# Everything a fresh machine with Python 3.11 or 3.12 needs: `make run` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
ADDRESS ?= localhost

.PHONY: run test check accuracy bench screenshots clean

run: $(VENV)/.app
	$(BIN)/streamlit run app.py --server.port $(PORT) --server.address $(ADDRESS)

test: check
	$(BIN)/python -m pytest -n auto

check: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/mypy

accuracy: $(VENV)/.app
	$(BIN)/python -m core.accuracy

bench: $(VENV)/.tests
	$(BIN)/python -m tests.bench

screenshots: $(VENV)/.tests
	$(BIN)/python -m tests.screenshots --readme

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.tests: requirements.txt tests/requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
