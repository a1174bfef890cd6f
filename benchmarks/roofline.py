"""What a frame costs at least on devices that are not here, from counts and the makers' figures.

    python benchmarks/roofline.py configs/dsvt_padre2_nuscenes.py --device orin-agx
    python benchmarks/roofline.py CONFIG --points FRAME.bin           # all devices of devices.py

Counted on a CPU with random weights, stage by stage: operations of products and convolutions, what
a stage must read and write (its inputs, results and weights), what its operators read and write one
by one, and their number. The bound is the products at the peak or the least bytes at the memory's
rate, whichever takes longer; "one by one" is the longest of products, all bytes and launches.
Nothing here is measured. Writes JSON for report.py and prints Markdown. Needs the detection extras.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common, paper_tables  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from benchmarks.detector import STAGES, stage_cases  # noqa: E402
from benchmarks.devices import DEVICES, PRECISIONS, Device, Precision  # noqa: E402
from padre3d.cli import run_tool  # noqa: E402

GRAPH = ("layers", "scatter", "bev_backbone", "head")
MODULES = {
    "pillars": "pillar_encoder",
    "layers": "backbone",
    "bev_backbone": "bev_backbone",
    "head": "head",
}
# They start no kernel.
FREE = {"empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view", "_local_scalar_dense"}


@dataclasses.dataclass
class Traffic:
    """Floating-point elements, whose width the precision decides, and bytes of all others."""

    elements: int = 0
    other_bytes: int = 0

    def add(self, data: Any) -> None:
        """Count all tensors in nested tuples, lists, dictionaries and dataclasses."""
        if isinstance(data, torch.Tensor):
            if data.is_floating_point():
                self.elements += data.numel()
            else:
                self.other_bytes += data.numel() * data.element_size()
            return
        if dataclasses.is_dataclass(data):
            data = [getattr(data, field.name) for field in dataclasses.fields(data)]
        if isinstance(data, dict):
            data = list(data.values())
        if isinstance(data, tuple | list):
            for inner in data:
                self.add(inner)


class OperatorCount(TorchDispatchMode):
    """Number and traffic of the operators that do more than look at a tensor differently."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.traffic = 0, Traffic()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        returns = [r.alias_info for r in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        if not is_view and func._schema.name.split("::")[-1] not in FREE:
            self.launches += 1
            for data in (args, kwargs, out):
                self.traffic.add(data)
        return out


def build(config: str) -> nn.Module:
    """The detector of a config with random weights.

    Raises:
        ImportError: without mmdet3d.
        ValueError, FileNotFoundError: if the config cannot be read.
    """
    from mmengine.registry import init_default_scope

    from padre3d.plugin import MODELS
    from padre3d.training.config import naming_config, read_config

    cfg = read_config(config)
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    torch.manual_seed(0)
    with naming_config(config):
        model = MODELS.build(cfg.model).eval()
    common.randomise_norms(model)
    return model


def count(case: Callable[[], Any], data: Any, weights: int) -> dict[str, float]:
    """Operations, elements, bytes and launches of a stage."""
    # The fused attention of a CPU is not known to the counter; its two products are.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        case()
    with OperatorCount() as operators:
        case()
    least = Traffic()
    least.add(data)
    return {
        "gflop": flops.get_total_flops() / 1e9,
        "launches": operators.launches,
        "weights": weights,
        "elements": least.elements,
        "other_bytes": least.other_bytes,
        "all_elements": operators.traffic.elements,
        "all_other_bytes": operators.traffic.other_bytes,
    }


@torch.no_grad()
def count_stages(model: Any, points: torch.Tensor) -> tuple[dict[str, dict[str, float]], int]:
    """The counts of every stage, and the number of pillars."""
    cases, data = stage_cases(model, points)
    stages = {}
    for stage in STAGES:
        module = getattr(model, MODULES.get(stage, ""), None)
        weights = 0 if module is None else sum(p.numel() for p in module.parameters())
        stages[stage] = count(cases[stage], data[stage], weights)
    return stages, len(data["pillars"][1].coords)


def bounds(work: dict[str, float], device: Device, name: str) -> dict[str, Any]:
    """Milliseconds of a stage by what could bound it; None where a figure is unknown.

    Args:
        work: of :func:`count`.
        device: where.
        name: of the precision.
    """
    precision: Precision = PRECISIONS[name]
    weight_bytes = work["weights"] * precision.weight
    least = work["elements"] * precision.activation + work["other_bytes"] + weight_bytes
    # Operators read their weights themselves, at the width of an activation.
    every = work["all_elements"] * precision.activation + work["all_other_bytes"]
    peak, rate = device.tera_ops[name].value, device.gb_per_s.value
    launch = device.launch_us.value
    assert rate is not None
    products = None if peak is None else work["gflop"] / peak
    memory, one_by_one = least / rate / 1e6, every / rate / 1e6
    launches = None if launch is None else work["launches"] * launch / 1e3
    return {
        "products_ms": products,
        "memory_ms": memory,
        "operators_memory_ms": one_by_one,
        "launches_ms": launches,
        "bound_ms": max(products or 0.0, memory),
        "bounded_by": "products" if (products or 0.0) > memory else "memory",
        "one_by_one_ms": max(products or 0.0, one_by_one, launches or 0.0),
    }


def on_paper(stages: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The bounds of every device, precision and stage."""
    return {
        name: {
            precision: {
                stage: bounds(work, device, precision)
                for stage, work in stages.items()
                if stage in GRAPH or not device.graph_only
            }
            for precision in device.tera_ops
        }
        for name, device in DEVICES.items()
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    points, frame = load_cloud(args.points, quick=False)
    stages, pillars = count_stages(build(args.config), points)
    return {
        "benchmark": "roofline",
        "config": Path(args.config).name,
        "frame": frame,
        "points": len(points),
        "pillars": pillars,
        "commit": common.commit(),
        "date": time.strftime("%Y-%m-%d"),
        "stages": stages,
        "devices": on_paper(stages),
        "figures": {
            name: {key: dataclasses.asdict(f) for key, f in device.figures().items()}
            for name, device in DEVICES.items()
        },
    }


def run(args: argparse.Namespace) -> None:
    """Write the JSON, print the tables."""
    result = measure(args)
    common.write_json(f"roofline_{Path(args.config).stem}", result, args.json, "on-paper")
    if args.json != "-":
        chosen = None if args.device == "all" else args.device
        print(paper_tables.roofline([result], chosen))


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config")
    add("--device", choices=[*DEVICES, "all"], default="all", help="whose table is printed")
    add("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply); default: a synthetic street")
    add("--json", metavar="FILE", help="'-' prints; default benchmarks/results/on-paper/...json")
    add("--debug", action="store_true", help="show the traceback of an error")
    run_tool(run, parser.parse_args(argv))


if __name__ == "__main__":
    main()
