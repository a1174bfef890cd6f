#!/usr/bin/env bash
# What docker/cpu.Dockerfile does, for hosts without a container engine: Debian or Ubuntu, as root.
# With --no-apt the system's packages are taken as they are, and no root is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != "" ] && [ "$1" != --no-apt ]; then
    echo "error: expected --no-apt or nothing, got $1" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
export PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL-https://download.pytorch.org/whl/cpu}
if [ "${1:-}" != --no-apt ]; then
    apt-get update --quiet
    # A compiler for mmcv; libraries of OpenCV's windows; a browser for the tests of the 3-D page.
    apt-get install --yes --quiet --no-install-recommends \
        build-essential git make python3-dev python3-venv libgl1 libglib2.0-0 chromium
fi
make install
make quick
