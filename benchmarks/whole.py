"""The whole detector, points to boxes, in every form that runs here: one table of one run.

    make cpp
    OPENBLAS_NUM_THREADS=1 python benchmarks/whole.py --points FRAME.bin --threads 1 --work DIR
    python benchmarks/whole.py --quick --json -

Detectors in the nuScenes models' size with random weights: set attention as its authors wrote it,
and ours; PADRe-2 in torch, in 32 bit and in bfloat16; exported graphs in 32 and 8 bit on the CPU
backends that are installed, and on OpenVINO in C++ where ``make cpp`` has built it; the fast config
likewise. ``--work`` keeps the exported folders for the next run; an 8-bit one takes minutes. Ratios
are against the published form. OpenBLAS would share the products of the numpy encoder among all
cores, whatever --threads says. Needs the detection and deploy extras.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from benchmarks.cpp_process import BUILD, TOOL, CppDetector, CppError  # noqa: E402
from benchmarks.detector import build  # noqa: E402
from benchmarks.published import PublishedBackbone  # noqa: E402

ATTENTION = "dsvt_nuscenes.py"
EXPORTED = {"PADRe-2": "dsvt_padre2_nuscenes.py", "fast": "dsvt_padre2_fast_nuscenes.py"}
BACKENDS = ["onnxruntime", "openvino", "openvino-bf16"]
PUBLISHED = "attention as published, eager"
# Random weights of random norms lose more than trained ones; their error is in the result.
TOLERANCE = 5.0


class Limits(NamedTuple):
    """How far boxes of one folder in C++ and in Python may differ.

    Attributes:
        centre_m, score: of a box and its partner.
        alone: share of the boxes that need no partner.
    """

    centre_m: float
    score: float
    alone: float


# Random weights find many proposals almost equally good. In 8 bit the last digit of a feature then
# decides which of them are boxes: on the real frame an eighth of the boxes are others.
LIMITS = {"fp32": Limits(1e-3, 1e-4, 0.0), "int8-cpu": Limits(0.2, 0.03, 0.25)}


@dataclass
class Cases:
    """What is timed.

    Attributes:
        calls: by name.
        clocks: processor seconds of those that another process computes.
        gate: errors against an independent form.
        relative_rms: largest error of a raw output against eager torch, where it was compared.
        left_out: why what does not run here does not.
    """

    calls: dict[str, Callable[[], Any]] = field(default_factory=dict)
    clocks: dict[str, Callable[[], float]] = field(default_factory=dict)
    gate: dict[str, float] = field(default_factory=dict)
    relative_rms: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, why: object) -> None:
        """Say so, now and in the result."""
        self.left_out[name] = str(why)
        sys.stderr.write(f"left out: {name}: {why}\n")


def add_eager(cases: Cases, points: Tensor, quick: bool) -> None:
    """Detectors in torch; the published form has the features of ours."""
    from padre3d.bev import scatter_to_map

    attention = build(ATTENTION, quick)
    published = PublishedBackbone(attention.backbone)

    def as_published() -> Any:
        pillars = attention.pillar_encoder([points])
        mixed = pillars.replace(published(pillars))
        bev = scatter_to_map(mixed, attention.grid.ny, attention.grid.nx)
        return attention.head.predict(attention.head(attention.bev_backbone(bev)))

    pillars = attention.pillar_encoder([points])
    expected = attention.backbone(pillars).features
    cases.gate[PUBLISHED] = common.gate(PUBLISHED, published(pillars), expected, 1e-4)
    model = build(EXPORTED["PADRe-2"], quick)

    def in_bfloat16() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model.predict_points([points])

    cases.calls |= {
        PUBLISHED: as_published,
        "attention, eager": lambda: attention.predict_points([points]),
        "PADRe-2, eager": lambda: model.predict_points([points]),
        "PADRe-2, eager, bfloat16": in_bfloat16,
    }


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


def add_exported(
    cases: Cases,
    args: argparse.Namespace,
    work: Path,
    points: Tensor,
    opened: contextlib.ExitStack,
) -> None:
    """Exported detectors on the backends."""
    from padre3d.backends.base import BackendError
    from padre3d.deploy import Runtime

    array, threads = points.numpy(), torch.get_num_threads()
    for name in EXPORTED:
        for precision in ("fp32", "int8-cpu"):
            folder = exported_folder(work, name, precision, points, args.quick)
            for backend in args.backends:
                if backend == "openvino-bf16" and precision != "fp32":
                    continue
                label = f"{name}, {precision}, {backend}"
                try:
                    runtime = opened.enter_context(Runtime(folder, backend, threads=threads))
                except BackendError as error:
                    cases.leave_out(label, error)
                    continue
                cases.calls[label] = lambda r=runtime: r(array)  # type: ignore[misc]
                if backend == "onnxruntime":
                    # The export compares its raw outputs on this backend alone.
                    rms = runtime.manifest.parity["max_relative_rms"]
                    cases.relative_rms[label] = float(rms)
                if backend == "openvino" and args.build:
                    limits = LIMITS[precision]
                    add_cpp(cases, label, (args.build, folder), array, limits, opened)


def add_cpp(
    cases: Cases,
    twin: str,
    where: tuple[Path, Path],
    points: np.ndarray,
    limits: Limits,
    opened: contextlib.ExitStack,
) -> None:
    """The C++ program beside its twin in Python, whose boxes it finds.

    Raises:
        GateError: if it finds others.
    """
    label = f"{twin}, C++"
    made = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    cloud, boxes = made / "cloud.npy", made / "boxes.npy"
    np.save(cloud, points)
    cpp = CppDetector(*where, cloud, boxes, torch.get_num_threads())
    opened.callback(cpp.close)
    try:
        cpp()
    except CppError as error:
        cases.leave_out(label, error)
        return
    cases.gate[label] = share_alone(label, np.load(boxes), cases.calls[twin](), limits)
    cases.calls[label] = cpp
    cases.clocks[label] = lambda: cpp.processor_s


def share_alone(label: str, found: np.ndarray, expected: Any, limits: Limits) -> float:
    """Largest share, of those found or those expected, of boxes without a partner.

    Args:
        label: for the error.
        found: (K, 11) box, score, label.
        expected: Detections.
        limits: that make two boxes of one label partners.

    Raises:
        GateError: if it is above the limit, or there is no box.
    """
    wanted = np.c_[expected.labels, expected.scores, expected.boxes[:, :3]]
    if len(found) == 0 or len(wanted) == 0:
        raise common.GateError(f"{label}: expected {len(wanted)} boxes, got {len(found)}")
    apart = np.abs(found[:, None, [10, 9, 0, 1, 2]] - wanted)
    partners = (apart <= [0, limits.score, *[limits.centre_m] * 3]).all(2)
    alone = float(1 - min(partners.any(0).mean(), partners.any(1).mean()))
    if alone > limits.alone:
        raise common.GateError(
            f"{label}: expected the boxes of Python but for {limits.alone:.0%}, got {alone:.0%} "
            "that are others"
        )
    return alone


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    points, frame = load_cloud(args.points, args.quick)
    cases = Cases()
    if args.build is None:
        cases.leave_out("C++", f"expected {TOOL} in {BUILD.relative_to(common.ROOT)}: make cpp")
    with torch.no_grad(), contextlib.ExitStack() as opened:
        work = args.work or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        add_eager(cases, points, args.quick)
        add_exported(cases, args, work, points, opened)
        times = common.interleaved(
            cases.calls, device, args.repeats, warm_up=1, clocks=cases.clocks
        )
    published = times[PUBLISHED]
    return {
        "benchmark": "whole",
        "conditions": common.conditions(device, dtype),
        "frame": frame,
        "points": len(points),
        "gate": cases.gate,
        "relative_rms": cases.relative_rms,
        "left_out": cases.left_out,
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
    parser.add_argument(
        "--build",
        type=Path,
        default=BUILD if (BUILD / TOOL).is_file() else None,
        help="of CMake, with the test tool: the rows in C++; default build/cpp where it is there",
    )
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}")
    if args.build and not (args.build / TOOL).is_file():
        parser.error(f"--build: expected {TOOL} in {args.build}: make cpp")
    result = measure(args)
    folder = common.device_folder(torch.device("cpu"))
    common.write_json("whole", result, args.json, folder)


if __name__ == "__main__":
    main()
