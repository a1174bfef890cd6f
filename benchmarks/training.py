"""A training step of the 3-D backbone, PADRe against attention: samples per second, peak memory.

    python benchmarks/training.py --points FRAME.bin --batch 1
    python benchmarks/training.py --quick --json -

A step is forward, backward and AdamW on a batch of copies of the frame with a squared-error loss.
The stages around the backbone are the same for all mixers and are not part of it. ``published`` is
DSVT's attention as its authors wrote it (see published.py).
"""

from __future__ import annotations

import argparse
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
from padre3d.backbone import VoxelBackbone  # noqa: E402
from padre3d.structures.pillars import Pillars  # noqa: E402

DIM = 128
MIXERS: dict[str, dict[str, Any]] = {
    "published": dict(type="set_attention", num_heads=8),
    "sdpa": dict(type="set_attention", num_heads=8),
    "padre2": dict(type="padre", degree=2, preset="sequence"),
    "padre3": dict(type="padre", degree=3, preset="sequence"),
    "padre2_sets": dict(type="padre", degree=2, preset="paper"),
}


class Trainer:
    """A backbone, its optimizer and one batch."""

    def __init__(self, name: str, grid: Any, batch: Pillars, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        device = batch.features.device
        self.backbone = VoxelBackbone(grid, dim=DIM, mixer=MIXERS[name]).to(device).train()
        run = PublishedBackbone(self.backbone) if name == "published" else self.backbone
        self.run: nn.Module = run
        fused = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.backbone.parameters(), lr=1e-4, fused=fused)
        self.batch, self.dtype = batch, dtype
        generator = torch.Generator().manual_seed(1)
        target = torch.randn(batch.features.shape, generator=generator)
        self.target = target.to(device)

    def features(self) -> Tensor:
        """One forward pass, (N, D) in single precision."""
        mixed = torch.autocast(
            self.batch.features.device.type, self.dtype, enabled=self.dtype != torch.float32
        )
        with mixed:
            out = self.run(self.batch)
        return (out.features if isinstance(out, Pillars) else out).float()

    def loss(self) -> Tensor:
        """Squared error of one forward pass."""
        return (self.features() - self.target).square().mean()

    def step(self) -> Tensor:
        """One step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def repeat(pillars: Pillars, copies: int) -> Pillars:
    """A batch of the same frame with different features."""
    coords = pillars.coords.repeat(copies, 1)
    coords[:, 0] = torch.arange(copies, device=coords.device).repeat_interleave(len(pillars.coords))
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((len(coords), DIM), generator=generator)
    return Pillars(features.to(coords.device), coords, copies)


def check(trainers: dict[str, Trainer]) -> dict[str, float]:
    """The gate: published and fused attention give the same; the loss falls over three steps.

    Raises:
        GateError: if not.
    """
    errors = {}
    if {"published", "sdpa"} <= trainers.keys():
        with torch.no_grad():
            published, fused = (trainers[name].features() for name in ("published", "sdpa"))
        tolerance = common.tolerance_of(trainers["sdpa"].dtype)
        errors["published"] = common.gate("published", published, fused, tolerance)
    for name, trainer in trainers.items():
        losses = [float(trainer.step()) for _ in range(4)]
        if not losses[-1] < losses[0]:
            raise common.GateError(f"{name}: expected a falling loss, got {losses}")
    return errors


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    grid = SMALL_GRID if args.quick else GRID
    points, frame = load_cloud(args.points, args.quick)
    batch = repeat(pillars_of(points, grid, DIM, device), args.batch)
    trainers = {name: Trainer(name, grid, batch, dtype) for name in args.mixers}
    errors = check(trainers)
    cases: dict[str, Callable[[], Any]] = {name: t.step for name, t in trainers.items()}
    times = common.interleaved(cases, device, args.repeats, warm_up=1)
    rows = {
        name: times[name].as_dict()
        | {
            "samples_per_s": round(1e3 * args.batch / times[name].median_ms, 4),
            "peak_mb": round(common.peak_mb(case, device), 1),
        }
        for name, case in cases.items()
    }
    ratios = {
        f"{figure}_ratio_vs_{slow}": round(rows[fast][key] / rows[slow][key], 3)
        for slow in ("published", "sdpa")
        for fast in ("padre2",)
        for figure, key in (("speed", "samples_per_s"), ("memory", "peak_mb"))
        if slow in rows and fast in rows
    }
    return {
        "benchmark": "training",
        "conditions": common.conditions(device, dtype),
        "frame": frame,
        "batch": args.batch,
        "pillars": len(batch.coords),
        "gate": errors,
        "steps": rows,
    } | ratios


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=10)
    parser.add_argument("--points", type=Path, help="a cloud (.bin, .npy, .pcd, .ply)")
    parser.add_argument("--batch", type=int, default=1, help="samples of a step")
    parser.add_argument("--mixers", nargs="+", choices=list(MIXERS), default=list(MIXERS))
    args = parser.parse_args(argv)
    if args.quick:
        args.mixers = ["published", "sdpa", "padre2"]
    result = measure(args)
    folder = common.device_folder(torch.device(args.device))
    common.write_json("training", result, args.json, folder)


if __name__ == "__main__":
    main()
