#!/usr/bin/env bash
# Install padre3d and all it needs into a virtual environment: tools/install.sh [VENV]
#   TORCH=torch==2.6.0 tools/install.sh   another torch (add PIP_INDEX_URL for a CUDA build of choice)
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

pip --upgrade pip 'setuptools<81' wheel ninja
pip "${TORCH:-torch==2.13.0}" 'numpy<2'
# mmcv compiles against the torch just installed unless a built wheel is found (10 to 20 minutes).
echo "installing mmcv 2.1.0 (compiles when pip finds no wheel for this torch)"
MMCV_WITH_OPS=1 CFLAGS="${CFLAGS:--g0}" CXXFLAGS="${CXXFLAGS:--g0}" \
    pip --no-build-isolation 'mmcv==2.1.0' 'numpy<2' 'opencv-python<4.12'
# Without its dependencies: Open3D, 400 MB, serves only its viewer and needs system libraries.
pip --no-deps 'mmdet3d==1.4.0'
grep -Ev '^(#|torch|mmcv|mmdet3d)' requirements.txt > "$venv/requirements.txt"
pip -r "$venv/requirements.txt" -r requirements/test.txt
pip --no-build-isolation --no-deps --editable .
touch "$venv/.installed"
