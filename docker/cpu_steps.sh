#!/usr/bin/env bash
# What docker/cpu.Dockerfile does, for hosts without a container engine: Debian or Ubuntu, as root.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive
export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL:-https://download.pytorch.org/whl/cpu}
apt-get update --quiet
# A compiler for mmcv; the libraries of OpenCV's windows; a browser for the tests of the 3-D page.
apt-get install --yes --quiet --no-install-recommends \
    build-essential git make python3-dev python3-venv libgl1 libglib2.0-0 chromium
make install
make quick
