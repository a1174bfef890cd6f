"""A live sensor: every sweep into a buffer, boxes whenever they are wanted.

python examples/runtime_loop.py [MODEL]   # a folder of tools/export.py, or a packaged model's name

The sensor here is a made-up one that drives forward past a standing car; replace ``sensor()``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from padre3d.deploy import Runtime, SweepBuffer
from padre3d.models import folder_info, model_folder

SWEEP_S, SPEED_MPS = 0.05, 8.0


def sensor(sweeps: int) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Time in s, pose (x, y, z, quaternion w x y z) of the vehicle, points (P, 4) around it."""
    random = np.random.default_rng(0)
    car = (random.random((300, 3)) - 0.5) * (1.9, 4.5, 1.6) + (3.0, 8.0, -1.0)
    for number in range(sweeps):
        moved = SPEED_MPS * SWEEP_S * number
        ground = np.c_[random.uniform(-50, 50, (2000, 2)), random.normal(-1.84, 0.02, 2000)]
        xyz = np.concatenate([ground, car - (0, moved, 0)])
        points = np.c_[xyz, random.uniform(0, 60, len(xyz))].astype(np.float32)
        yield SWEEP_S * number, np.array([0, moved, 0, 1, 0, 0, 0]), points


def main(model: str, sweeps: int = 20, every: int = 5) -> list[int]:
    """Numbers of boxes found, one for every ``every``-th sweep."""
    counts = []
    folder = Path(model) if model and Path(model).is_dir() else model_folder(model)
    card = folder_info(folder)  # the sweeps that the model learnt from
    with Runtime(folder) as runtime:
        buffer = SweepBuffer(card.get("num_sweeps", 10), stride=card.get("stride", 1))
        for number, (stamp_s, pose, points) in enumerate(sensor(sweeps)):
            buffer.push(points, stamp_s, pose)
            if number % every == every - 1:
                start = time.perf_counter()
                found = runtime(buffer.cloud())
                counts.append(len(found.select(found.scores >= 0.1).scores))
                milliseconds = 1000 * (time.perf_counter() - start)
                print(f"{stamp_s:.2f} s: {counts[-1]} boxes, {milliseconds:.0f} ms")
    return counts


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
