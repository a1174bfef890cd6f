"""An exported detector in padre3d.deploy.Runtime against the eager one, points to boxes.

    python benchmarks/runtime.py CONFIG CHECKPOINT DIR --points FRAME.bin --threads 2
    python benchmarks/runtime.py CONFIG CHECKPOINT DIR --backends onnxruntime openvino

DIR is what tools/export.py wrote from the same checkpoint, in fp32. Needs the detection extras.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from padre3d.deploy import Runtime  # noqa: E402
from padre3d.inference import detect, init_model  # noqa: E402
from padre3d.structures.boxes import Detections  # noqa: E402


def check(name: str, found: Detections, expected: Detections) -> float:
    """The gate: as many boxes with the same scores as eager torch.

    Raises:
        GateError: if they are others.
    """
    scores = (torch.from_numpy(np.sort(boxes.scores)) for boxes in (found, expected))
    return common.gate(name, *scores, common.tolerance_of(torch.float32))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    cloud, frame = load_cloud(args.points, args.quick)
    points = cloud.numpy()
    model = init_model(args.config, args.checkpoint)
    runtimes = {name: Runtime(args.folder, name, threads=args.threads) for name in args.backends}
    expected = detect(model, points)
    errors = {name: check(name, run(points), expected) for name, run in runtimes.items()}
    first = next(iter(runtimes.values()))
    features, cells = first.encode(points)
    cases = {
        "eager torch": lambda: detect(model, points),
        **{name: (lambda r=run: r(points)) for name, run in runtimes.items()},
        "its pillars": lambda: first.encode(points),
        "its orders": lambda: first.inputs(features, cells),
    }
    times = common.interleaved(cases, device, args.repeats)
    eager = times["eager torch"].median_ms
    return {
        "benchmark": "runtime",
        "conditions": common.conditions(device, dtype),
        "config": Path(args.config).name,
        "frame": frame,
        "pillars": len(cells),
        "gate": errors,
        "times": {name: t.as_dict() for name, t in times.items()},
        "ratio_vs_eager": {n: round(eager / times[n].median_ms, 3) for n in runtimes},
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=10)
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path, metavar="DIR", help="exported in fp32")
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--backends", nargs="+", default=["onnxruntime"])
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}: Runtime's backend names a device")
    result = measure(args)
    name = f"runtime_{Path(args.config).stem}"
    common.write_json(name, result, args.json, common.device_folder(torch.device("cpu")))


if __name__ == "__main__":
    main()
