#!/usr/bin/env bash
# Install padre3d and all it needs into a virtual environment: tools/install.sh [VENV]
#   TORCH=torch==2.6.0 tools/install.sh   another torch (add PIP_INDEX_URL for a CUDA build of choice)
#   MMCV_WHEELS=DIR tools/install.sh      a folder or page with a wheel of mmcv for this torch
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

pip --upgrade pip 'setuptools<81' wheel ninja
pip "${TORCH:-torch==2.13.0}" 'numpy<2'
mmcv=('mmcv==2.1.0' 'numpy<2' 'opencv-python<4.12' ${MMCV_WHEELS:+--find-links "$MMCV_WHEELS"})
if pip --only-binary mmcv "${mmcv[@]}" 2> /dev/null; then
    echo "mmcv: took a built wheel"
else
    cat << 'TEXT'
mmcv: pip finds no built wheel for this Python and torch, so its C++ operators, which mmdet3d imports,
are compiled now. That takes 7 to 19 minutes on 2 cores, once; `make quick` needs none of it.
TEXT
    MMCV_WITH_OPS=1 CFLAGS="${CFLAGS:--g0}" CXXFLAGS="${CXXFLAGS:--g0}" \
        pip --no-build-isolation "${mmcv[@]}"
fi
# Without its dependencies: Open3D, 400 MB, serves only its viewer and needs system libraries.
# An empty package of its name answers for it; `pip install --upgrade open3d` replaces that.
pip --no-deps 'mmdet3d==1.4.0'
"$venv/bin/python" -m pip show --quiet open3d 2> /dev/null || pip --no-deps ./requirements/open3d
grep -Ev '^(#|torch|mmcv|mmdet3d)' requirements.txt > "$venv/requirements.txt"
pip -r "$venv/requirements.txt" -r requirements/test.txt
pip --no-build-isolation --no-deps --editable .
"$venv/bin/python" -m pip check || echo "pip check: see above; the tests tell whether it matters"
touch "$venv/.installed"
