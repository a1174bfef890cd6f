"""The whole detector, points to boxes, in every form that runs here: one table of one run.

    make cpp
    OPENBLAS_NUM_THREADS=1 python benchmarks/whole.py --points FRAME.bin --threads 1 --work DIR
    python benchmarks/whole.py --quick --json -

Detectors in the nuScenes models' size with random weights: set attention as its authors wrote it,
and ours; PADRe-2 in torch, in 32 bit and, where the processor computes with it, in bfloat16;
exported graphs in 32 and 8 bit on the CPU backends that are installed, and on OpenVINO in C++ where
``make cpp`` has built it; the fast config likewise. In 8 bit further rows have what a deployment
adds: 225 keys in the decoder's window, and the compiled pillar encoder of ``make cpp`` in place of
numpy's. ``--work`` keeps the exported folders for the next run; an 8-bit one takes minutes. Ratios
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
from padre3d.head.eviction import best_offsets, static_scores  # noqa: E402

ATTENTION = "dsvt_nuscenes.py"
EXPORTED = {"PADRe-2": "dsvt_padre2_nuscenes.py", "fast": "dsvt_padre2_fast_nuscenes.py"}
BACKENDS = ["onnxruntime", "openvino", "openvino-bf16"]
PUBLISHED = "attention as published, eager"
# Random weights of random norms lose more than trained ones; their error is in the result.
TOLERANCE = 5.0
ENCODER = "libpadre3d_encoder.so"
# So many lose no NDS if they are chosen well (docs/performance.md); the time is that of any others.
KEYS = 225


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


class Form(NamedTuple):
    """An exported detector and how it is run.

    Attributes:
        name: of its config.
        precision: of its graph.
        keys: of the decoder's window; None: all.
        encoder: library of the compiled pillar encoder, None: numpy's.
    """

    name: str
    precision: str
    keys: int | None = None
    encoder: Path | None = None

    def label(self, backend: str) -> str:
        """Name of its row."""
        keys = f", {self.keys} keys" if self.keys else ""
        encoder = ", compiled encoder" if self.encoder else ""
        return f"{self.name}, {self.precision}{keys}{encoder}, {backend}"


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
    }
    label = "PADRe-2, eager, bfloat16"
    able = common.instructions()
    if able and "bf16" not in able:
        cases.leave_out(label, "the processor has no instructions for it: ten times the time")
    else:
        cases.calls[label] = in_bfloat16


def exported_folder(work: Path, form: Form, points: Tensor, quick: bool) -> Path:
    """A detector with the weights of seed 0 as a folder, made when it is not there."""
    from padre3d.export.export import ExportConfig, export_detector

    precision = form.precision
    folder = work / f"{form.name}_{precision}{f'_{form.keys}' if form.keys else ''}"
    if not (folder / "manifest.json").exists():
        model: Any = build(EXPORTED[form.name], quick)
        if form.keys:
            window = model.head.decoder.window
            window.keep(best_offsets(window, static_scores(window, "random"), form.keys))
        config = ExportConfig(precision, tolerance=None if precision == "fp32" else TOLERANCE)
        calibration = [points] if precision.startswith("int8") else []
        export_detector(model, {"frame": points}, folder, config, calibration)
    return folder


def forms_of(encoder: Path | None) -> list[Form]:
    """What is exported: both precisions as they are, and 8 bit with fewer keys."""
    return [
        form
        for name in EXPORTED
        for form in (
            Form(name, "fp32"),
            Form(name, "int8-cpu"),
            Form(name, "int8-cpu", KEYS, encoder),
        )
    ]


def add_exported(
    cases: Cases,
    args: argparse.Namespace,
    work: Path,
    points: Tensor,
    opened: contextlib.ExitStack,
) -> None:
    """Exported detectors on the backends."""
    for form in forms_of(args.build and args.build / ENCODER):
        folder = exported_folder(work, form, points, args.quick)
        for backend in args.backends:
            if backend != "openvino-bf16" or form.precision == "fp32":
                add_runtime(cases, form, (folder, backend), points.numpy(), opened)
        if args.build and form.label("openvino") in cases.calls:
            twin = form.label("openvino")
            limits = LIMITS[form.precision]
            add_cpp(cases, twin, (args.build, folder), points.numpy(), limits, opened)


def add_runtime(
    cases: Cases,
    form: Form,
    where: tuple[Path, str],
    points: np.ndarray,
    opened: contextlib.ExitStack,
) -> None:
    """One folder on one backend."""
    from padre3d.backends.base import BackendError
    from padre3d.deploy import Runtime

    folder, backend = where
    label = form.label(backend)
    threads, encoder = torch.get_num_threads(), form.encoder or "numpy"
    try:
        runtime = opened.enter_context(Runtime(folder, backend, threads=threads, encoder=encoder))
    except BackendError as error:
        cases.leave_out(label, error)
        return
    cases.calls[label] = lambda: runtime(points)
    if backend == "onnxruntime":
        # The export compares its raw outputs on this backend alone.
        cases.relative_rms[label] = float(runtime.manifest.parity["max_relative_rms"])


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
