"""What the C++ runtime computes around the graph, beside padre3d.runtime: pillars, orders, boxes.

    make cpp
    OPENBLAS_NUM_THREADS=1 python benchmarks/cpp_runtime.py DIR --points FRAME.bin --threads 2

DIR is what tools/export.py wrote; random weights will do. The graph runs once, in OpenVINO, for
raw outputs; then every second proposal is a pedestrian, for whom boxes are suppressed. Both
runtimes take turns, frame by frame; threads of OpenBLAS that wait for work would disturb both. With
--realtime (Linux, root) the other jobs of the machine wait, some seconds in all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from benchmarks.cpp_process import BUILD, TOOL, CppProcess  # noqa: E402
from padre3d.deploy import Runtime  # noqa: E402
from padre3d.io import drop_unusable  # noqa: E402
from padre3d.runtime.decode import decode  # noqa: E402
from padre3d.runtime.manifest import MANIFEST  # noqa: E402
from padre3d.structures.boxes import Detections  # noqa: E402

PARTS = ("pillars", "orders", "boxes")
TOLERANCE = 2e-5  # of the largest feature
CENTRE_M, SCORE = 1e-3, 1e-4
WARM_UP = 3


class CppRuntime(CppProcess):
    """What the C++ runtime computes around the graph, frame by frame.

    Args:
        build: CMake's build folder.
        folder: exported.
        cloud, outputs: a .npy file with points, an .npz file with raw outputs.
        threads: of the pillar encoder.
    """

    def __init__(self, build: Path, folder: Path, cloud: Path, outputs: Path, threads: int) -> None:
        super().__init__(build, "times", folder, cloud, outputs, threads)

    def frame(self) -> dict[str, tuple[float, float]]:
        """Milliseconds and processor milliseconds of each part of a frame."""
        numbers = self.numbers()
        return {part: (numbers[2 * i], numbers[2 * i + 1]) for i, part in enumerate(PARTS)}


def tool(build: Path, *words: object) -> None:
    """Run a command of the tool.

    Raises:
        GateError: if it fails.
    """
    done = subprocess.run([build / TOOL, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise common.GateError(f"{TOOL} {words[0]}: {done.stderr.strip()}")


def check_inputs(build: Path, runtime: Runtime, points: np.ndarray, made: Path) -> float:
    """The gate of pillars and orders: equal index inputs, features up to rounding."""
    tool(build, "stages", made / "folder", made / "cloud.npy", made, 1, 0, 0, 1)
    expected = runtime.inputs(*runtime.encode(points))
    features = expected.pop("features")
    for name, array in expected.items():
        if not np.array_equal(np.load(made / f"{name}.npy"), array):
            raise common.GateError(f"orders: expected {name} of padre3d.runtime, got another")
    found = torch.from_numpy(np.load(made / "features.npy"))
    return common.gate("features", found, torch.from_numpy(features), TOLERANCE)


def check_boxes(build: Path, expected: Detections, made: Path) -> dict[str, float]:
    """The gate of the boxes: as many, centres to 1 mm and scores to 1e-4."""
    tool(build, "decode", made / "folder", made / "outputs.npz", made / "boxes.npy")
    found = np.load(made / "boxes.npy")
    if len(found) != len(expected.scores):
        raise common.GateError(f"boxes: expected {len(expected.scores)}, got {len(found)}")
    errors = {
        "centres_m": float(np.abs(found[:, :3] - expected.boxes[:, :3]).max()),
        "scores": float(np.abs(found[:, 9] - expected.scores).max()),
    }
    if errors["centres_m"] > CENTRE_M or errors["scores"] > SCORE:
        raise common.GateError(f"boxes: expected those of padre3d.runtime, off by {errors}")
    return errors


def python_parts(
    runtime: Runtime, points: np.ndarray, outputs: dict[str, np.ndarray]
) -> dict[str, Callable[[], Any]]:
    """The same parts in numpy."""
    features, cells = runtime.encode(points)
    manifest = runtime.manifest
    return {
        "pillars": lambda: runtime.encode(points),
        "orders": lambda: runtime.inputs(features, cells),
        "boxes": lambda: decode(outputs, manifest.head_grid, manifest.decode),
    }


@contextlib.contextmanager
def realtime(wanted: bool) -> Iterator[None]:
    """This process and those that it starts run before all others, while this lasts."""
    if not wanted:
        yield
        return
    _schedule(os.SCHED_FIFO, 1)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)


def _schedule(policy: int, priority: int) -> None:
    for task in os.listdir("/proc/self/task"):
        os.sched_setscheduler(int(task), policy, os.sched_param(priority))


def take_turns(
    cpp: CppRuntime, parts: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, common.Timing]:
    """Times of all parts of both, and of their sums, frame by frame in turn."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for number in range(WARM_UP + repeats):
        frames = {"C++": cpp.frame(), "Python": {n: timed(part) for n, part in parts.items()}}
        for language, frame in frames.items():
            frame["all"] = tuple(np.sum(list(frame.values()), axis=0))
            for part, values in frame.items() if number >= WARM_UP else ():
                seen.setdefault(f"{part}, {language}", []).append(values)
    return {name: common.timing(*zip(*values, strict=True)) for name, values in seen.items()}


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds and processor milliseconds of a call."""
    before = time.process_time()
    elapsed = common.once_ms(call, torch.device("cpu"))
    return elapsed, (time.process_time() - before) * 1e3


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    cloud, name = load_cloud(args.points, args.quick)
    points, _ = drop_unusable(np.ascontiguousarray(cloud.numpy(), np.float32))
    threads = torch.get_num_threads()
    with (
        tempfile.TemporaryDirectory() as made,
        Runtime(args.folder, "openvino", threads=threads) as runtime,
    ):
        folder = Path(made)
        (folder / "folder").symlink_to(args.folder.resolve())
        outputs = runtime.outputs(*runtime.encode(points))
        outputs["query_labels"][:, ::2] = runtime.class_names.index("pedestrian")
        np.save(folder / "cloud.npy", points)
        np.savez(folder / "outputs.npz", **outputs)
        manifest = runtime.manifest
        expected = decode(outputs, manifest.head_grid, manifest.decode)
        errors = {"features": check_inputs(args.build, runtime, points, folder)}
        errors |= check_boxes(args.build, expected, folder)
        files = (args.folder, folder / "cloud.npy", folder / "outputs.npz")
        with realtime(args.realtime), closing(CppRuntime(args.build, *files, threads)) as cpp:
            times = take_turns(cpp, python_parts(runtime, points, outputs), args.repeats)
        pillars = len(runtime.encode(points)[1])
    all_ms = {language: times[f"all, {language}"] for language in ("C++", "Python")}
    ratio = all_ms["Python"].cpu_ms / all_ms["C++"].cpu_ms
    return {
        "benchmark": "cpp_runtime",
        "conditions": common.conditions(device, dtype) | {"realtime": args.realtime},
        "config": json.loads((args.folder / MANIFEST).read_text()).get("config", ""),
        "frame": name,
        "pillars": pillars,
        "gate": errors,
        "times": {case: t.as_dict() for case, t in times.items()},
        "cpu_ratio_vs_python": round(ratio, 3),
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=30)
    parser.add_argument("folder", type=Path, metavar="DIR", help="exported")
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--build", type=Path, default=BUILD, help="of CMake, with the test tool")
    parser.add_argument("--realtime", action="store_true", help="before all other processes")
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}: this is what a CPU computes")
    if not (args.build / TOOL).is_file():
        parser.error(f"--build: expected {TOOL} in {args.build}: make cpp")
    result = measure(args)
    common.write_json("cpp_runtime", result, args.json, common.device_folder(torch.device("cpu")))


if __name__ == "__main__":
    main()
