"""The whole detector, points to boxes: latency and memory of every stage, frames per second.

    python benchmarks/detector.py --points FRAME.bin
    python benchmarks/detector.py --quick --json -
    python benchmarks/detector.py --points FRAME.bin --profile-only     # any version of the package

PADRe-2 and the attention baseline in the nuScenes model's size with random weights: stages in the
order the data flows, each on what the stage before gave; ``total`` is the whole call.
--profile-only times the whole call of PADRe-2 and its operators, from what every version of the
package has: copy this folder beside an older one to compare. Needs the detection extras (mmdet3d).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import TINY_GRID, load_cloud  # noqa: E402

CONFIGS = {"padre2": "dsvt_padre2_nuscenes.py", "sdpa": "dsvt_nuscenes.py"}
STAGES = ("pillars", "serialisation", "layers", "scatter", "bev_backbone", "head", "decode")


def build(config: str, quick: bool) -> nn.Module:
    """The detector of a config with random weights; a small range if ``quick``.

    Raises:
        ImportError: without mmdet3d.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from padre3d.plugin import MODELS

    cfg = Config.fromfile(common.ROOT / "configs" / config)
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    if quick:
        cfg.model.grid = dict(range_m=TINY_GRID.range_m, cell_m=TINY_GRID.cell_m)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    common.randomise_norms(model)
    return model


def stage_cases(
    model: nn.Module, points: torch.Tensor
) -> tuple[dict[str, Callable[[], Any]], dict[str, tuple[Any, Any]]]:
    """One case per stage, fed with what the stages before it give, and the whole call.

    Returns:
        The cases, and what each stage reads and gives.
    """
    from padre3d.bev import scatter_to_map

    grid, backbone = model.grid, model.backbone
    pillars = model.pillar_encoder([points])
    plan = backbone.plan(pillars)
    mixed = pillars.replace(backbone.run(pillars.features, plan))
    bev = scatter_to_map(mixed, grid.ny, grid.nx)
    features = model.bev_backbone(bev)
    outputs = model.head(features)
    data = {
        "pillars": (points, pillars),
        "serialisation": (pillars.coords, plan),
        "layers": ((pillars.features, plan), mixed.features),
        "scatter": (mixed, bev),
        "bev_backbone": (bev, features),
        "head": (features, outputs),
        "decode": (outputs, ()),
    }
    cases = {
        "pillars": lambda: model.pillar_encoder([points]),
        "serialisation": lambda: backbone.plan(pillars),
        "layers": lambda: backbone.run(pillars.features, plan),
        "scatter": lambda: scatter_to_map(mixed, grid.ny, grid.nx),
        "bev_backbone": lambda: model.bev_backbone(bev),
        "head": lambda: model.head(features),
        "decode": lambda: model.head.predict(outputs),
        "total": lambda: model.predict_points([points]),
    }
    return cases, data


def work_of(case: Callable[[], Any], data: tuple[Any, Any]) -> dict[str, float]:
    """GFLOP of the products and convolutions of a stage, and MB that it must read and write."""
    with FlopCounterMode(display=False) as counter:
        case()
    return {"gflop": counter.get_total_flops() / 1e9, "mb": tensor_bytes(data) / 1e6}


def tensor_bytes(data: Any) -> int:
    """Bytes of all tensors in nested tuples, lists and dataclasses."""
    if isinstance(data, torch.Tensor):
        return data.numel() * data.element_size()
    if dataclasses.is_dataclass(data):
        data = [getattr(data, field.name) for field in dataclasses.fields(data)]
    return sum(map(tensor_bytes, data)) if isinstance(data, (tuple, list)) else 0


def bound_ms(work: dict[str, float], conditions: dict[str, Any]) -> float:
    """What a stage costs at least: its arithmetic or its traffic at the rates measured here."""
    products = work["gflop"] / conditions["product_gflops"]
    return 1e3 * max(products, work["mb"] / 1e3 / conditions["copy_gb_per_s"])


def check(name: str, model: nn.Module, points: torch.Tensor, tolerance: float) -> float:
    """The gate: the stages one by one give what the whole call gives.

    Raises:
        GateError: if they do not.
    """
    from padre3d.bev import scatter_to_map

    grid = model.grid
    pillars = model.backbone(model.pillar_encoder([points]))
    bev = model.bev_backbone(scatter_to_map(pillars, grid.ny, grid.nx))
    whole = model.forward_points([points])
    return common.gate(name, model.head(bev).dense_heatmap, whole.dense_heatmap, tolerance)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    points, frame = load_cloud(args.points, args.quick)
    points = points.to(device)
    half = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    cases: dict[str, Callable[[], Any]] = {}
    work: dict[str, dict[str, float]] = {}
    errors = {}
    with torch.no_grad(), half:
        for name, config in CONFIGS.items():
            model = build(config, args.quick).to(device)
            errors[name] = check(name, model, points, common.tolerance_of(dtype))
            stages, data = stage_cases(model, points)
            cases |= {f"{name}/{stage}": case for stage, case in stages.items()}
            work |= {f"{name}/{stage}": work_of(stages[stage], data[stage]) for stage in STAGES}
        times = common.interleaved(cases, device, args.repeats, warm_up=1)
        memory = {n: round(common.peak_mb(case, device), 2) for n, case in cases.items()}
        top = {name: common.top_operators(cases[f"{name}/total"]) for name in CONFIGS}
    conditions = common.conditions(device, dtype)
    detectors = {}
    for name in CONFIGS:
        stages = {
            stage: times[f"{name}/{stage}"].as_dict() | {"peak_mb": memory[f"{name}/{stage}"]}
            for stage in (*STAGES, "total")
        }
        for stage in STAGES:
            stages[stage] |= work[f"{name}/{stage}"]
            stages[stage]["bound_ms"] = bound_ms(work[f"{name}/{stage}"], conditions)
        fps = 1e3 / stages["total"]["median_ms"]
        detectors[name] = {"stages": stages, "fps": round(fps, 3), "profile": top[name]}
    return {
        "benchmark": "detector",
        "conditions": conditions,
        "frame": frame,
        "points": len(points),
        "gate": errors,
        "detectors": detectors,
        "ratio_vs_sdpa": round(times["sdpa/total"].median_ms / times["padre2/total"].median_ms, 3),
    }


def measure_operators(args: argparse.Namespace) -> dict[str, Any]:
    """The whole call of PADRe-2 and its top ten operators."""
    device, dtype = common.setup(args)
    points, frame = load_cloud(args.points, args.quick)
    points = points.to(device)
    half = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    with torch.no_grad(), half:
        model = build(CONFIGS["padre2"], args.quick).to(device)
        cases = {"total": lambda: model.predict_points([points])}
        times = common.interleaved(cases, device, args.repeats)
        top = common.top_operators(cases["total"])
    return {
        "benchmark": "operators",
        "conditions": common.conditions(device, dtype),
        "frame": frame,
        "total": times["total"].as_dict(),
        "profile": top,
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=10)
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--profile-only", action="store_true", help="PADRe-2's operators alone")
    args = parser.parse_args(argv)
    result = measure_operators(args) if args.profile_only else measure(args)
    folder = common.device_folder(torch.device(args.device))
    name = "operators" if args.profile_only else "detector"
    common.write_json(name, result, args.json, folder)


if __name__ == "__main__":
    main()
