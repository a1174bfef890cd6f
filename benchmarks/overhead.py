"""What padre3d.runtime computes around the graph: pillars, orders and boxes, without torch.

    OPENBLAS_NUM_THREADS=1 python benchmarks/overhead.py --points FRAME.bin --threads 2
    git worktree add ../before COMMIT
    OPENBLAS_NUM_THREADS=1 python benchmarks/overhead.py ... --before ../before    # beside it
    OPENBLAS_NUM_THREADS=1 python benchmarks/overhead.py ... --encoder LIBRARY     # of make cpp

The weights are random. Every second proposal is a pedestrian, for whom boxes are suppressed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from padre3d.export.runtime_tables import runtime_tables  # noqa: E402
from padre3d.inference import build_model  # noqa: E402
from padre3d.runtime import decode, pillar_encoder, token_layouts  # noqa: E402
from padre3d.runtime.compiled_encoder import CompiledPillarEncoder  # noqa: E402
from padre3d.runtime.grid import Grid  # noqa: E402
from padre3d.runtime.tables import EncoderTables  # noqa: E402
from padre3d.training.config import read_config  # noqa: E402

CONFIG = common.ROOT / "configs" / "dsvt_padre2_nuscenes.py"
PARTS = ("pillar_encoder", "token_layouts", "decode")
TOLERANCE = 2e-6  # of the largest feature


class Frame(NamedTuple):
    """What the parts get, and what is known about the model."""

    points: np.ndarray
    tables: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    grid: Grid
    head_grid: Grid
    settings: Any
    set_size: int | None


class Parts(NamedTuple):
    """The three computations, and all of them."""

    pillars: Callable[[], Any]
    orders: Callable[[], Any]
    boxes: Callable[[], Any]
    all: Callable[[], Any]


def prepare(config: Path, points: np.ndarray) -> Frame:
    """Random weights, the raw outputs they give, and every second proposal a pedestrian."""
    model = build_model(read_config(config), config).eval()
    common.randomise_norms(model)
    with torch.no_grad():
        outputs = model.forward_points([torch.from_numpy(points)])._asdict()
    raw = {name: value.numpy().copy() for name, value in outputs.items()}
    raw["query_labels"][:, ::2] = model.class_names.index("pedestrian")
    grids = (Grid(tuple(g.range_m), tuple(g.cell_m)) for g in (model.grid, model.head.grid))
    tables = {name: np.asarray(table) for name, table in runtime_tables(model).items()}
    planner = model.backbone.planner
    set_size = planner.sets[0].set_size if planner.layout == "set" else None
    return Frame(points, tables, raw, *grids, model.head.decode_settings, set_size)


def parts_of(
    modules: dict[str, ModuleType], frame: Frame, encoder: Callable[[np.ndarray], Any]
) -> Parts:
    """The computations by one version of the modules and one pillar encoder."""
    cells = encoder(frame.points).cells

    def orders() -> Any:
        index = modules["token_layouts"].index_inputs
        return index(cells, frame.tables, frame.set_size, frame.grid.shape)

    def boxes() -> Any:
        return modules["decode"].decode(frame.outputs, frame.head_grid, frame.settings)

    def pillars() -> Any:
        return encoder(frame.points)

    return Parts(pillars, orders, boxes, lambda: (pillars(), orders(), boxes()))


def modules_before(checkout: Path) -> dict[str, ModuleType]:
    """The same modules of another checkout; what they import is today's."""
    found = {}
    for name in PARTS:
        path = checkout / "padre3d" / "runtime" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"before_{name}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"--before: expected {path}")
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module
    return found


def check(expected: Parts, found: Parts) -> dict[str, float]:
    """The gate: equal cells and orders, features and boxes up to rounding."""
    (a, cells, _), (b, expected_cells, _) = found.pillars(), expected.pillars()
    if not np.array_equal(cells, expected_cells):
        raise common.GateError("pillars: expected equal cells of both versions, got others")
    for name, array in expected.orders().items():
        if not np.array_equal(found.orders()[name], array):
            raise common.GateError(f"orders: expected equal {name} of both versions, got another")
    pairs = {"pillars": (a, b), "boxes": (found.boxes().boxes, expected.boxes().boxes)}
    return {
        name: common.gate(name, *map(torch.from_numpy, pair), TOLERANCE)
        for name, pair in pairs.items()
    }


def versions_of(args: argparse.Namespace, frame: Frame) -> tuple[dict[str, Parts], dict]:
    """Today's computations and those beside them, and how far they are from each other."""
    today = dict(zip(PARTS, (pillar_encoder, token_layouts, decode), strict=True))
    threads = torch.get_num_threads()
    weights = (frame.grid, EncoderTables.of(frame.tables, frame.points.shape[1]))
    versions = {"now": parts_of(today, frame, pillar_encoder.PillarEncoder(*weights, threads))}
    errors = {}
    if args.before is not None:
        before = modules_before(args.before)
        encoder = before["pillar_encoder"].PillarEncoder(*weights)
        versions["before"] = parts_of(before, frame, encoder)
        errors = check(versions["before"], versions["now"])
    if args.encoder is not None:
        encoder = CompiledPillarEncoder(args.encoder, *weights, threads)
        versions["compiled"] = parts_of(today, frame, encoder)
        errors["compiled"] = check(versions["now"], versions["compiled"])["pillars"]
    return versions, errors


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    cloud, name = load_cloud(args.points, args.quick)
    frame = prepare(args.config, np.ascontiguousarray(cloud.numpy(), np.float32))
    versions, errors = versions_of(args, frame)
    cases = {
        f"{part}, {version}": getattr(parts, part)
        for part in Parts._fields
        for version, parts in versions.items()
    }
    times = common.interleaved(cases, device, args.repeats)
    return {
        "benchmark": "overhead",
        "conditions": common.conditions(device, dtype),
        "config": args.config.name,
        "frame": name,
        "pillars": len(versions["now"].pillars().cells),
        "gate": errors,
        "times": {case: t.as_dict() for case, t in times.items()},
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=30)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--before", type=Path, metavar="DIR", help="checkout of another commit")
    parser.add_argument("--encoder", type=Path, metavar="LIBRARY", help="of make cpp, beside numpy")
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}: numpy runs on a CPU")
    result = measure(args)
    common.write_json("overhead", result, args.json, common.device_folder(torch.device("cpu")))


if __name__ == "__main__":
    main()
