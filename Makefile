VENV ?= .venv
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

.PHONY: install demo test lint fuzz

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements/test.txt setup.py tools/install.sh
	tools/install.sh $(VENV)

# Synthetic nuScenes -> training -> NDS/mAP -> ONNX -> picture, on the CPU, in about 20 minutes.
demo: $(INSTALLED)
	$(PY) tools/demo.py

test: $(INSTALLED)
	$(PY) -m pytest

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m mypy

# Damaged and hostile files against every reader; INPUTS for each.
INPUTS ?= 100000
fuzz: $(INSTALLED)
	PADRE3D_FUZZ_INPUTS=$(INPUTS) $(PY) -m pytest tests/fuzz --timeout 0
