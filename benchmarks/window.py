"""Fewer keys in the window of the head's decoder: what is lost, and what it saves.

    python benchmarks/window.py CONFIG CHECKPOINT --points FRAMES/ --calib OTHER_FRAMES/ --threads 2
    python benchmarks/window.py CONFIG CHECKPOINT --backends onnxruntime openvino \\
        --frames 16 --nds       # of every row as well, on the config's test set

The offsets are scored on the frames of --calib (default: those of --points) and the errors measured
on those of --points; --frames N takes N of the config's training and validation set. Errors are
relative to the whole window: RMS of the cross-attention's output, of the decoder's and of the class
logits, and the mean distance between the centres of the boxes.
Milliseconds are of the whole head, its convolutions included, and in torch of the decoder alone;
they depend on K and not on the score. Of the NPU's emulator (--backends qnn) the table has how far
the class logits are off (largest difference by the largest logit), not the time. Needs the
detection extras.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common  # noqa: E402
from benchmarks.clouds import load_cloud  # noqa: E402
from benchmarks.window_nds import FrameScores, bev_of  # noqa: E402
from padre3d.backends.base import Options  # noqa: E402
from padre3d.backends.registry import load_model  # noqa: E402
from padre3d.cli import check_used  # noqa: E402
from padre3d.export.graph import DetectorGraph  # noqa: E402
from padre3d.export.onnx_model import export_graph  # noqa: E402
from padre3d.head.eviction import (  # noqa: E402
    MEASURED,
    SCORES,
    WindowStatistics,
    best_offsets,
    check_keep,
    static_scores,
    window_statistics,
)
from padre3d.head.outputs import HeadOutputs  # noqa: E402
from padre3d.inference import init_model  # noqa: E402
from padre3d.training.clouds import dataset_clouds, read_clouds  # noqa: E402

COUNTS = (841, 441, 225, 121)
# Computes in 16 bit, and here in an emulator, whose time says nothing of the device's.
EMULATED = ("qnn",)


class HeadPart(nn.Module):
    """The head of a graph as a graph of its own."""

    outputs = HeadOutputs._fields

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.head = DetectorGraph(detector).head

    def forward(self, bev: Tensor) -> HeadOutputs:
        """A map (1, C, y, x) to raw predictions."""
        return self.head(bev)


class Frames:
    """What the decoder reads in every frame, and what it gives with the whole window."""

    def __init__(self, model: Any, clouds: Iterable[Tensor]) -> None:
        self.head = model.head
        self.maps = [bev_of(model, model.pillar_encoder([cloud])) for cloud in clouds]
        self.inputs: list[tuple[Tensor, ...]] = []
        hook = self.head.decoder.register_forward_pre_hook(lambda _, x: self.inputs.append(x))
        for bev in self.maps:
            self.head(bev)
        hook.remove()
        self.whole = [self.outputs(x) for x in self.inputs]

    def outputs(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Outputs of the attention, the decoder and the branches."""
        seen: list[Tensor] = []
        attention = self.head.decoder.cross_attention
        hook = attention.register_forward_hook(lambda _, x, y: seen.append(y))
        decoded = self.head.decoder(*inputs)
        hook.remove()
        branches = self.head.branches(decoded)
        return {
            "attention": seen[0],
            "decoder": decoded,
            "class": branches["heatmap"],
            "center": branches["center"],
        }

    def errors(self) -> dict[str, float]:
        """The window as it is now against the whole one."""
        found = [self.outputs(x) for x in self.inputs]
        errors = {}
        for name in ("attention", "decoder", "class"):
            pairs = zip(found, self.whole, strict=True)
            off = sum(float((a[name] - b[name]).double().square().sum()) for a, b in pairs)
            size = sum(float(b[name].double().square().sum()) for b in self.whole)
            errors[f"{name}_error"] = (off / size) ** 0.5
        cell_m = torch.tensor(self.head.grid.cell_m)
        pairs = zip(found, self.whole, strict=True)
        moved = [((a["center"] - b["center"]) * cell_m).norm(dim=2).mean() for a, b in pairs]
        return errors | {"centre_m": float(torch.stack(moved).mean())}


def scores_of(window: Any, seen: WindowStatistics, score: str, fewest: int) -> Tensor:
    """Scores of the whole window's offsets, good for as few as ``fewest``."""
    return seen.scores(score, fewest) if score in MEASURED else static_scores(window, score)


def backend_cases(
    model: Any, bev: Tensor, args: argparse.Namespace, folder: Path
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """The head as it is now in every backend, which gives torch's values, and how far it is off.

    Raises:
        GateError: if it does not.
    """
    path = folder / f"{len(model.head.decoder.window.cells())}.onnx"
    export_graph(HeadPart(model), {"bev": bev}, path, fixed=True)
    expected, inputs = model.head(bev)._asdict(), {"bev": bev.numpy()}
    cases: dict[str, Callable[[], Any]] = {}
    off: dict[str, float] = {}
    for name in args.backends:
        run = load_model(name, path, Options(threads=args.threads)).run
        found = {key: torch.from_numpy(value) for key, value in run(inputs).items()}
        dtype = torch.float16 if name in EMULATED else torch.float32
        pair = of_same_proposals(found, expected)
        off[name] = common.gate(name, *pair, common.tolerance_of(dtype))
        cases[name] = lambda run=run: run(inputs)
    return cases, off


def of_same_proposals(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Class logits (M, classes) of the proposals that both have, by cell and class.

    Which cells become the last proposals is a matter of rounding.

    Raises:
        GateError: if fewer than nine tenths are.
    """
    places = []
    for outputs in (found, expected):
        cells = outputs["query_pos"][0].floor()  # of their centres, to the last digit or not
        rows = torch.cat([cells, outputs["query_labels"][0, :, None]], 1)
        places.append({tuple(row): place for place, row in enumerate(rows.tolist())})
    both = sorted(places[0].keys() & places[1].keys())
    if len(both) < 0.9 * len(places[1]):
        raise common.GateError(f"expected {len(places[1])} proposals, got {len(both)} of them")
    chosen = ([place[row] for row in both] for place in places)
    logits = (outputs["heatmap"][0] for outputs in (found, expected))
    a, b = (of[rows] for of, rows in zip(logits, chosen, strict=True))
    return a, b


def torch_cases(frames: Frames) -> dict[str, Callable[[], Any]]:
    """The head as it is now in torch, and its decoder."""
    head = copy.deepcopy(frames.head)
    return {
        "torch": lambda: head(frames.maps[0]),
        "torch, decoder": lambda: head.decoder(*frames.inputs[0]),
    }


def clouds_of(args: argparse.Namespace) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Clouds to measure on and clouds to score on, by name."""
    if not args.frames:
        clouds = read_clouds(args.points) or dict([load_cloud(None, args.quick)[::-1]])
        return clouds, read_clouds(args.calib) or clouds
    check_used((("--points", args.points, False, "no --frames"),))
    check_used((("--calib", args.calib, False, "no --frames"),))
    sets = []
    for name in ("val", "train"):
        found = dataset_clouds(args.config, f"{name}_dataloader", args.frames, "--points")
        sets.append({f"{name} {row}": cloud for row, cloud in enumerate(found)})
    return sets[0], sets[1]


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures as a dictionary."""
    device, dtype = common.setup(args)
    model: Any = init_model(args.config, args.checkpoint)
    window = model.head.decoder.window
    whole = window.cells()
    counts = [len(whole), *args.keep]
    for keep in counts:
        check_keep(window, keep)
    clouds, calibration = clouds_of(args)
    seen = window_statistics(model, calibration.values())
    frames = Frames(model, clouds.values())
    scores = {score: scores_of(window, seen, score, min(counts)) for score in args.scores}
    chosen = {
        (keep, score): best_offsets(window, scores[score], keep)
        for keep in counts
        for score in (args.scores if keep < len(whole) else args.scores[:1])
    }
    rows, cases = compare(args, model, frames, chosen)
    whole_error = check_whole(rows[0]["attention_error"])
    times = common.interleaved(cases, device, args.repeats)
    return {
        "benchmark": "window",
        "conditions": common.conditions(device, dtype),
        "config": Path(args.config).name,
        "frames": sorted(clouds),
        "calibration": sorted(calibration),
        "window": len(whole),
        "gate": {"whole window": whole_error},
        "rows": rows,
        "times": {name: t.as_dict() for name, t in times.items()},
    }


def compare(
    args: argparse.Namespace, model: Any, frames: Frames, chosen: dict[tuple[int, str], Tensor]
) -> tuple[list[dict[str, Any]], dict[str, Callable[[], Any]]]:
    """Errors of every choice of offsets, and what is timed for every number of them."""
    rows: list[dict[str, Any]] = []
    cases: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scored = FrameScores(args.config, model, name) if args.nds else None
        for (keep, score), kept in chosen.items():
            model.head.decoder.window.keep(kept)
            rows.append({"keep": keep, "score": score, **frames.errors()})
            if scored is not None:
                rows[-1]["nds"] = scored.nds()
            if score == args.scores[0]:
                made, rows[-1]["backend_errors"] = backend_cases(
                    model, frames.maps[0], args, folder
                )
                made = torch_cases(frames) | made
                timed = {what: case for what, case in made.items() if what not in EMULATED}
                cases |= {f"{keep}/{what}": case for what, case in timed.items()}
    return rows, cases


def check_whole(error: float) -> float:
    """The gate: all offsets as a list are the whole window.

    Raises:
        GateError: if they are not.
    """
    if not error <= common.tolerance_of(torch.float32):
        raise common.GateError(f"all offsets: expected the whole window, got an error of {error:g}")
    return error


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = common.parser(__doc__, repeats=10)
    add = parser.add_argument
    add("config")
    add("checkpoint")
    add("--points", type=Path, nargs="+", default=[], help="point files or folders to measure on")
    add("--calib", type=Path, nargs="+", default=[], help="to score on, default: --points")
    add("--frames", type=int, help="instead: as many of the config's validation and training set")
    add("--keep", type=int, nargs="+", default=COUNTS, help=f"numbers of offsets {COUNTS}")
    add("--scores", nargs="+", choices=SCORES, default=SCORES)
    add("--backends", nargs="*", default=["onnxruntime"], help="besides torch (onnxruntime)")
    add(
        "--nds",
        action="store_true",
        help="NDS of every row on the config's test set, whose maps stay in memory",
    )
    args = parser.parse_args(argv)
    if args.device != "cpu":
        parser.error(f"--device: expected cpu, got {args.device}")
    result = measure(args)
    name = f"window_{Path(args.config).stem}"
    common.write_json(name, result, args.json, common.device_folder(torch.device("cpu")))


if __name__ == "__main__":
    main()
