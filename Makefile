VENV ?= .venv
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

.PHONY: install demo test lint

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
	$(PY) -m ruff format --check .
	$(PY) -m mypy
