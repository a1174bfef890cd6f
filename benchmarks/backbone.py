"""The 3-D backbone on one frame: serialisation and layers, PADRe against set attention.

    python benchmarks/backbone.py --points FRAME.bin            # DSVT as published, SDPA, PADRe
    python benchmarks/backbone.py --points FRAME.bin --compile  # the layers compiled as well
    python benchmarks/backbone.py --quick --json -

``ratio_vs_published``, ``ratio_vs_published_sdpa`` (the published form with fused attention) and
``ratio_vs_sdpa`` (fused attention with everything of ours but PADRe) divide the median of the
baseline by that of PADRe-2 in sequence form, all eager; the ``cpu_`` ratios are those of processor
time; ``ratio_vs_best_sdpa`` takes the fastest form of each, compiled or in Triton kernels. Without
--points the cloud is synthetic.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import GRID, SMALL_GRID, load_cloud, pillars_of  # noqa: E402
from benchmarks.published import PublishedBackbone  # noqa: E402
from benchmarks.roofline_bounds import backbone_bounds  # noqa: E402
from padre3d.backbone import VoxelBackbone  # noqa: E402
from padre3d.structures.pillars import Pillars  # noqa: E402
from padre3d.structures.tokens import (
    TokenLayout,  # noqa: E402
    TokenPlan,  # noqa: E402
)

DIM = 128
MIXERS: dict[str, dict[str, Any]] = {
    "sdpa": dict(type="set_attention", num_heads=8),
    "padre2": dict(type="padre", degree=2, preset="sequence"),
    "padre3": dict(type="padre", degree=3, preset="sequence"),
    "padre2_sets": dict(type="padre", degree=2, preset="paper"),
}
FUSED = {"padre2_triton": dict(type="padre", degree=2, preset="sequence", impl="triton")}
Case = Callable[[], Tensor]


class Layers(nn.Module):
    """The layers as a function of tensors, which a compiler sees as one graph."""

    def __init__(self, backbone: VoxelBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self,
        x: Tensor,
        index: tuple[Tensor, ...],
        valid: tuple[Tensor | None, ...],
        slot: tuple[Tensor, ...],
        window_index: tuple[Tensor, ...],
    ) -> Tensor:
        """Features (N, D) and the tensors of a plan -> (N, D)."""
        layouts = tuple(TokenLayout(*parts) for parts in zip(index, valid, slot, strict=True))
        return self.backbone.run(x, TokenPlan(layouts, window_index))


def build(mixer: dict[str, Any], pillars: Pillars, grid: Any) -> VoxelBackbone:
    """A backbone of the nuScenes model's size, in evaluation mode, where the features are."""
    torch.manual_seed(0)
    backbone = VoxelBackbone(grid, dim=DIM, mixer=mixer)
    common.randomise_norms(backbone)
    return backbone.to(pillars.features.device, pillars.features.dtype).eval()


def make_cases(backbones: dict[str, VoxelBackbone], pillars: Pillars) -> dict[str, Case]:
    """Eager cases by name: serialisation and layers."""
    published = PublishedBackbone(backbones["sdpa"])
    fused = PublishedBackbone(backbones["sdpa"], sdpa=True)
    cases: dict[str, Case] = {
        "published": lambda: published(pillars),
        "published_sdpa": lambda: fused(pillars),
    }
    for name, backbone in backbones.items():
        cases[name] = lambda b=backbone: b(pillars).features
    return cases


def compiled_case(backbone: VoxelBackbone, pillars: Pillars) -> Case:
    """Eager serialisation and compiled layers (CUDA graphs on a GPU)."""
    cuda = pillars.features.is_cuda
    layers = torch.compile(Layers(backbone), mode="max-autotune" if cuda else "default")

    def case() -> Tensor:
        plan = backbone.plan(pillars)
        parts = [tuple(getattr(x, f) for x in plan.layouts) for f in ("index", "valid", "slot")]
        return layers(pillars.features, *parts, plan.window_index).clone()

    return case


def check(cases: dict[str, Case], backbones: dict[str, VoxelBackbone], pillars: Pillars) -> dict:
    """The gate: attention forms agree; PADRe is its literal reference's value in float64.

    Raises:
        GateError: if one does not.
    """
    tolerance = common.tolerance_of(pillars.features.dtype)
    sdpa = cases["sdpa"]()
    errors = {
        name: common.gate(name, cases[name](), sdpa, tolerance)
        for name in ("published", "published_sdpa")
    }
    for name, backbone in backbones.items():
        if name == "sdpa":
            continue
        errors[name] = common.gate(name, cases[name](), oracle(backbone, pillars), tolerance)
    return errors


def oracle(backbone: VoxelBackbone, pillars: Pillars) -> Tensor:
    """The backbone in float64 on the CPU, in its plain form."""
    exact = copy.deepcopy(backbone).double().cpu().requires_grad_(False)
    for module in exact.modules():
        if getattr(module, "impl", None) == "triton":
            module.impl = "eager"
    plain = Pillars(pillars.features.double().cpu(), pillars.coords.cpu(), pillars.batch_size)
    with torch.enable_grad():  # a CPU evaluates in blocks of rows only without gradients
        return exact(plain).features.to(pillars.features.device)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    grid = SMALL_GRID if args.quick else GRID
    points, frame = load_cloud(args.points, args.quick)
    raw = pillars_of(points, grid, DIM, device)
    pillars = raw.replace(raw.features.to(dtype))
    mixers = MIXERS | (FUSED if device.type == "cuda" else {})
    backbones = {name: build(mixer, pillars, grid) for name, mixer in mixers.items()}
    with torch.no_grad():
        cases = make_cases(backbones, pillars)
        errors = check(cases, backbones, pillars)
        if args.compile:
            errors |= add_compiled(cases, backbones, pillars)
        plans = {f"plan_{n}": lambda b=b: b.plan(pillars) for n, b in backbones.items()}
        published = PublishedBackbone(backbones["sdpa"])
        plans["plan_published"] = lambda: published.plan(pillars)
        times = common.interleaved(cases | plans, device, args.repeats)
        memory = {name: round(common.peak_mb(case, device), 2) for name, case in cases.items()}
        profiles = {name: common.top_operators(cases[name]) for name in ("padre2", "sdpa")}
    result = {
        "benchmark": "backbone",
        "conditions": common.conditions(device, dtype),
        "frame": frame,
        "pillars": len(pillars.coords),
        "gate": errors,
        "times": {name: t.as_dict() for name, t in times.items()},
        "peak_mb": memory,
        "profiles": profiles,
    }
    return result | summary(result, backbones["sdpa"], pillars)


def add_compiled(
    cases: dict[str, Case], backbones: dict[str, VoxelBackbone], pillars: Pillars
) -> dict[str, float]:
    """Add the compiled forms of attention and PADRe-2; returns their errors against eager."""
    errors = {}
    for name in ("sdpa", "padre2"):
        case = compiled_case(backbones[name], pillars)
        tolerance = common.tolerance_of(pillars.features.dtype)
        errors[f"{name}_compiled"] = common.gate(
            f"{name} compiled", case(), cases[name](), tolerance
        )
        cases[f"{name}_compiled"] = case
    return errors


def summary(result: dict[str, Any], attention: VoxelBackbone, pillars: Pillars) -> dict[str, Any]:
    """Ratios and roofline bounds."""
    median = {name: t["median_ms"] for name, t in result["times"].items()}
    cpu = {name: t["cpu_ms"] for name, t in result["times"].items()}
    best = {
        name: min(
            median[form] for form in (name, f"{name}_compiled", f"{name}_triton") if form in median
        )
        for name in ("sdpa", "padre2")
    }
    slots = [layout.index.numel() for layout in attention.plan(pillars).layouts]
    bound = backbone_bounds(len(pillars.coords), sum(slots) / len(slots), result["conditions"])
    return {
        "slots": slots,
        **{
            f"{kind}ratio_vs_{name}": round(times[name] / times["padre2"], 3)
            for kind, times in (("", median), ("cpu_", cpu))
            for name in ("published", "published_sdpa", "sdpa")
        },
        "ratio_vs_best_sdpa": round(best["sdpa"] / best["padre2"], 3),
        "plan_share": round(median["plan_padre2"] / median["padre2"], 4),
        "memory_ratio_vs_sdpa": round(result["peak_mb"]["padre2"] / result["peak_mb"]["sdpa"], 3),
        "memory_ratio_vs_published": round(
            result["peak_mb"]["padre2"] / result["peak_mb"]["published"], 3
        ),
        "roofline_bound": bound,
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--compile", action="store_true", help="time compiled layers as well")
    args = parser.parse_args(argv)
    result = measure(args)
    folder = common.device_folder(torch.device(args.device))
    common.write_json("backbone", result, args.json, folder)


if __name__ == "__main__":
    main()
