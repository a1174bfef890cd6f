"""The whole detector, points to boxes, in every form that runs here: one table of one run.

    python benchmarks/whole.py --points FRAME.bin --threads 1 --work work_dirs/whole
    python benchmarks/whole.py --quick --json -

Detectors in the nuScenes models' size with random weights: set attention as its authors wrote it,
and ours; PADRe-2 in torch, in 32 bit and in bfloat16; exported graphs in 32 and 8 bit on the CPU
backends that are installed; the fast config likewise. ``--work`` keeps the exported folders for
the next run; an 8-bit one takes minutes. Ratios are against the published form. Needs the
detection and deploy extras.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from benchmarks.detector import build  # noqa: E402
from benchmarks.published import PublishedBackbone  # noqa: E402

ATTENTION = "dsvt_nuscenes.py"
EXPORTED = {"PADRe-2": "dsvt_padre2_nuscenes.py", "fast": "dsvt_padre2_fast_nuscenes.py"}
BACKENDS = ["onnxruntime", "openvino", "openvino-bf16"]
PUBLISHED = "attention as published, eager"
# Random weights of random norms lose more than trained ones; their error is in the result.
TOLERANCE = 5.0


def eager_cases(points: Tensor, quick: bool) -> tuple[dict[str, Callable[[], Any]], float]:
    """Detectors in torch, and the largest error of the published form against ours."""
    from padre3d.bev import scatter_to_map

    attention = build(ATTENTION, quick)
    published = PublishedBackbone(attention.backbone)

    def as_published() -> Any:
        pillars = attention.pillar_encoder([points])
        mixed = pillars.replace(published(pillars))
        bev = scatter_to_map(mixed, attention.grid.ny, attention.grid.nx)
        return attention.head.predict(attention.head(attention.bev_backbone(bev)))

    pillars = attention.pillar_encoder([points])
    error = common.gate(PUBLISHED, published(pillars), attention.backbone(pillars).features, 1e-4)
    model = build(EXPORTED["PADRe-2"], quick)

    def in_bfloat16() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model.predict_points([points])

    cases = {
        PUBLISHED: as_published,
        "attention, eager": lambda: attention.predict_points([points]),
        "PADRe-2, eager": lambda: model.predict_points([points]),
        "PADRe-2, eager, bfloat16": in_bfloat16,
    }
    return cases, error


def exported_folder(work: Path, name: str, precision: str, points: Tensor, quick: bool) -> Path:
    """A detector with the weights of seed 0 as a folder, made when it is not there."""
    from padre3d.export.export import ExportConfig, export_detector

    folder = work / f"{name}_{precision}"
    if not (folder / "manifest.json").exists():
        config = ExportConfig(precision, tolerance=None if precision == "fp32" else TOLERANCE)
        calibration = [points] if precision.startswith("int8") else []
        export_detector(
            build(EXPORTED[name], quick), {"frame": points}, folder, config, calibration
        )
    return folder


def runtime_cases(
    args: argparse.Namespace, work: Path, points: Tensor
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """Exported detectors on the backends, and the largest error of a raw output of each."""
    from padre3d.backends.base import BackendError
    from padre3d.deploy import Runtime

    array = points.numpy()
    cases: dict[str, Callable[[], Any]] = {}
    errors = {}
    for name in EXPORTED:
        for precision in ("fp32", "int8-cpu"):
            folder = exported_folder(work, name, precision, points, args.quick)
            for backend in args.backends:
                if backend == "openvino-bf16" and precision != "fp32":
                    continue
                try:
                    runtime = Runtime(folder, backend, threads=args.threads)
                except BackendError as error:
                    sys.stderr.write(f"left out: {error}\n")
                    continue
                label = f"{name}, {precision}, {backend}"
                cases[label] = lambda r=runtime: r(array)  # type: ignore[misc]
                errors[label] = float(runtime.manifest.parity["max_relative_rms"])
    return cases, errors


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    points, frame = load_cloud(args.points, args.quick)
    with torch.no_grad(), tempfile.TemporaryDirectory() as temporary:
        cases, error = eager_cases(points, args.quick)
        more, errors = runtime_cases(args, args.work or Path(temporary), points)
        times = common.interleaved({**cases, **more}, device, args.repeats, warm_up=1)
    published = times[PUBLISHED]
    return {
        "benchmark": "whole",
        "conditions": common.conditions(device, dtype),
        "frame": frame,
        "points": len(points),
        "gate": {PUBLISHED: error},
        "relative_rms": errors,
        "times": {name: t.as_dict() for name, t in times.items()},
        "ratio_vs_published": {
            n: round(published.median_ms / t.median_ms, 2) for n, t in times.items()
        },
        "cpu_ratio_vs_published": {
            n: round(published.cpu_ms / t.cpu_ms, 2) for n, t in times.items()
        },
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=5)
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the exported detectors")
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}")
    result = measure(args)
    folder = common.device_folder(torch.device("cpu"))
    common.write_json("whole", result, args.json, folder)


if __name__ == "__main__":
    main()
