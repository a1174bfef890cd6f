"""Whatever a file holds, reading it gives points or the one documented error, soon and in memory.

``make fuzz`` runs more inputs (PADRE3D_FUZZ_INPUTS for each reader).
"""

import os
import resource
import sys
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("lzf")
from point_inputs import options, point_input  # noqa: E402

from padre3d.io import drop_unusable, load_points, read_cloud  # noqa: E402
from padre3d.io.poses import read_poses  # noqa: E402
from padre3d.io.report import examine  # noqa: E402

INPUTS = int(os.environ.get("PADRE3D_FUZZ_INPUTS", "1000"))
SEED = int(os.environ.get("PADRE3D_FUZZ_SEED", "0"))
MOST_CPU_S = 5.0
MOST_BYTES = 2**30
READERS = ("bin", "npy", "pcd", "ply")


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.mark.parametrize("reader", READERS)
def test_only_documented_errors(tmp_path, reader):
    before, loaded = peak_bytes(), 0
    for number in range(INPUTS):
        rng = np.random.default_rng([SEED, READERS.index(reader), number])
        names = {"bin": ("a.bin", "a.pcd.bin", "a_float16.bin")}.get(reader, (f"a.{reader}",))
        path = tmp_path / names[number % len(names)]
        path.write_bytes(point_input(reader, rng))
        start = time.process_time()
        loaded += _loads(path, options(reader, rng), f"{reader} input {number} of seed {SEED}")
        assert time.process_time() - start < MOST_CPU_S, f"{reader} input {number} of seed {SEED}"
    # Otherwise the generators have come to make nothing but noise.
    assert loaded > INPUTS / 40, f"{reader}: {loaded}"
    assert peak_bytes() - before < MOST_BYTES


def _loads(path, given, name) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            points = load_points(path, given.pop("columns", None), **given)
            examine(read_cloud(path)) if not given else None
    except ValueError as error:
        _check_names(error, path, name)
        return False
    except Exception as error:
        raise AssertionError(f"{name}: {error!r} escaped") from error
    assert points.dtype == np.float32, name
    assert points.ndim == 2, name
    assert points.shape[1] == 5, name
    drop_unusable(points)
    return True


def _check_names(error, path, name):
    """Every error names its file, or the impossible option."""
    text = str(error)
    assert path.name in text or text.startswith("--"), f"{name}: {text}"


def pose_or_refusal(path, name):
    """The first pose of a table, or zeros where the table is refused as documented."""
    try:
        return read_poses(path).row(0)
    except ValueError as error:
        _check_names(error, path, name)
        return np.zeros(1)


def test_only_documented_errors_of_pose_tables(tmp_path):
    good = b"stamp,x,y,z,qw,qx,qy,qz\n" + b"".join(
        b"%d,1,2,3,1,0,0,%d\n" % (i, i) for i in range(9)
    )
    path = tmp_path / "p.csv"
    for number in range(INPUTS):
        rng = np.random.default_rng([SEED, 9, number])
        content = bytearray(good)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(content)))
            content[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        path.write_bytes(bytes(content))
        pose = pose_or_refusal(path, f"pose table {number} of seed {SEED}")
        assert np.isfinite(pose).all(), number
