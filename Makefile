VENV ?= .venv
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

QUICK ?= .venv-quick

.DEFAULT_GOAL := install
.PHONY: quick install demo test test-avx2 test-gpu gpu cpp lint fuzz fuzz-guided

# The detector that comes with the package on the cloud that comes with it: no torch, no compiler.
quick: $(QUICK)/.installed
	$(QUICK)/bin/padre3d detect

$(QUICK)/.installed: setup.py requirements/runtime.txt $(shell find padre3d -type f -not -name '*.pyc')
	$(or $(PYTHON),python3) -m venv $(QUICK)
	$(QUICK)/bin/python -m pip install --quiet --disable-pip-version-check '.[runtime]'
	touch $@

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements/test.txt setup.py tools/install.sh
	tools/install.sh $(VENV)

# Synthetic nuScenes -> training -> NDS/mAP -> ONNX -> picture, on the CPU, in about 20 minutes.
demo: $(INSTALLED)
	$(PY) tools/demo.py

test: $(INSTALLED)
	$(PY) -m pytest

# The tests that rounding could break, with the products that the libraries compute on a processor
# which has AVX2 alone, on one thread.
test-avx2: export OMP_NUM_THREADS = 1
test-avx2: export ONEDNN_MAX_CPU_ISA = AVX2
test-avx2: export ATEN_CPU_CAPABILITY = avx2
test-avx2: export MKL_CBWR = AVX2
test-avx2: export OPENBLAS_CORETYPE = Haswell
test-avx2: $(INSTALLED)
	$(PY) -m pytest tests/test_detector.py tests/ops tests/backbone tests/mixers tests/head tests/golden

# What runs on a CUDA device: native Triton kernels, graph capture, AMP, engines, and every test with
# a device.
test-gpu: $(INSTALLED)
	$(PY) -m pytest -m "gpu and not slow"

# All that needs a GPU, in pieces of at most nine minutes, with results in benchmarks/results.
gpu: $(INSTALLED)
	$(PY) tools/gpu_suite.py

# The C++ runtime in build/cpp, with the OpenVINO of the environment (requirements/deploy.txt), and
# its tests. CPP_FLAGS are CMake's: CPP_FLAGS=-DPADRE3D_OPENVINO=OFF builds without a backend.
CPP_FLAGS ?= -DPADRE3D_OPENVINO=ON -DOpenVINO_DIR=$(shell $(PY) -c "import openvino; print(openvino.__path__[0])")/cmake
cpp: $(INSTALLED)
	cmake -S cpp -B build/cpp -DPADRE3D_TESTS=ON $(CPP_FLAGS)
	cmake --build build/cpp --parallel
	PADRE3D_CPP_BUILD=$(CURDIR)/build/cpp $(PY) -m pytest tests/cpp

lint: $(INSTALLED)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Damaged and hostile files against every reader; INPUTS for each.
INPUTS ?= 100000
fuzz: $(INSTALLED)
	PADRE3D_FUZZ_INPUTS=$(INPUTS) $(PY) -m pytest tests/fuzz --timeout 0

# The same guided by coverage, on one reader (npy, pcd, ply); needs pip install atheris.
READER ?= pcd
SECONDS ?= 600
fuzz-guided: $(INSTALLED)
	$(PY) tests/fuzz/coverage_guided.py $(READER) -max_total_time=$(SECONDS)
