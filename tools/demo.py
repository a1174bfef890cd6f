"""The main job end to end on synthetic nuScenes: ``make demo``.

Every step is one of the project's own commands; a finished step is not repeated, so an
interrupted demo continues. ``--fresh`` starts over.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from demo_summary import (
    backbone_parameters,
    comparison,
    count_frames,
    detection_scores,
    onnx_error,
    read_json,
)
from rich.console import Console

from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import write_atomic
from padre3d.models import model_folder, model_names

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/dsvt_padre2_synthetic.py"
DATA, WORK = Path("data/synthetic"), Path("work_dirs/demo")
STATISTICS = DATA / "statistics.json"
INFOS = DATA / "nuscenes_infos_val.pkl"
CHECKPOINT, METRICS = WORK / "epoch_10.pth", WORK / "metrics.json"
ONNX, SUMMARY = WORK / "onnx/model.onnx", WORK / "summary.json"
PICTURE, PAGE = WORK / "bev.png", WORK / "view.html"
FIRST, FIRST_PAGE = WORK / "first.png", WORK / "first.html"
PACKAGED_METRICS = WORK / "packaged_metrics.json"
# No layer of the demo's detector is sparse, and the import of spconv is most of a program's start.
NO_SPCONV = {"PADRE3D_SPCONV": "0"}
SCENES = 10
FRAME, PAGE_FRAMES = 25, 8  # of the 80 unseen ones


class Step(NamedTuple):
    """A command, what it is for, and the minutes it takes on two cores."""

    command: list[str]
    what: str
    minutes: float


def draw(checkpoint: str, picture: Path, page: Path, frames: int) -> list[str]:
    """The command that draws with a checkpoint or an exported folder."""
    outputs = ["--out", str(picture), "--html", str(page), "--count", str(frames)]
    return ["tools/draw.py", CONFIG, checkpoint, "--frame", str(FRAME), *outputs]


def score(checkpoint: str, metrics: Path) -> list[str]:
    """The command that scores a checkpoint or an exported folder on the unseen frames."""
    outputs = ["--work-dir", str(WORK), "--metrics-out", str(metrics)]
    return ["tools/test.py", CONFIG, checkpoint, *outputs]


def steps(seed: int, packaged: Path | None) -> dict[Path, Step]:
    """Result of each step and what makes it.

    Args:
        seed: of the data set.
        packaged: exported folder of the model that came with the package, None without one.
    """
    data, checkpoint = str(DATA), str(CHECKPOINT)
    scenes = ["--out", data, "--scenes", str(SCENES), "--seed", str(seed), "--workers", "2"]
    prepare = ["nuscenes", "--root-path", data, "--version", "v1.0-mini"]
    train = ["tools/train.py", CONFIG, "--work-dir", str(WORK), "--resume"]
    first, other = {}, {}
    if packaged is not None:
        folder, name = str(packaged), packaged.name
        look = draw(folder, FIRST, FIRST_PAGE, 1)
        first = {FIRST: Step(look, f"a first picture, by the packaged model {name}", 0.2)}
        rate = score(folder, PACKAGED_METRICS)
        other = {PACKAGED_METRICS: Step(rate, f"NDS and mAP of the packaged model {name}", 2)}
    return {
        STATISTICS: Step(["tools/make_synthetic.py", *scenes], "driving scenes", 1.5),
        INFOS: Step(["tools/create_data.py", *prepare], "their frames, sweeps and objects", 0.3),
        **first,
        CHECKPOINT: Step(train, "a model of your own, from scratch", 13),
        METRICS: Step(score(checkpoint, METRICS), "its NDS and mAP on unseen frames", 1),
        **other,
        ONNX: Step(["tools/export.py", CONFIG, checkpoint, "--out", str(ONNX.parent)], "ONNX", 0.5),
        PICTURE: Step(draw(checkpoint, PICTURE, PAGE, PAGE_FRAMES), "pictures", 0.5),
    }


def check_data(seed: int) -> None:
    """Refuse scenes that are not the demo's: a training on others would say something else.

    Data sets that were made before they told their seed are judged by their scenes.

    Raises:
        ValueError: if there is a data set of another seed or number of scenes.
    """
    if not (ROOT / STATISTICS).exists():
        return
    said = read_json(ROOT / STATISTICS)
    wanted, found = (seed, SCENES), (said.get("seed", seed), said.get("scenes"))
    if found != wanted:
        raise ValueError(
            f"{DATA}: expected {SCENES} scenes of seed {seed}, got {found[1]} of seed {found[0]}; "
            "move it away, or --fresh deletes it and the demo's results"
        )


def do_step(result: Path, step: Step, left: float, seconds: dict[str, float]) -> None:
    """Run a command unless its result is there; say what it is, and note the seconds it took."""
    command = step.command
    print(f"\n{step.what}: about {step.minutes:g} of the {left:.0f} minutes left", flush=True)
    print(f"$ python {shlex.join(command)}", flush=True)
    if (ROOT / result).exists():
        print(f"{result} is there already", flush=True)
        return
    start = time.monotonic()
    env = {**NO_SPCONV, **os.environ}
    status = subprocess.run([sys.executable, *command], cwd=ROOT, env=env).returncode
    if status:
        raise ChildProcessError(f"{command[0]} ended with status {status}; its message is above")
    seconds[result.name] = seconds.get(result.name, 0.0) + time.monotonic() - start
    write_atomic(ROOT / WORK / "seconds.json", json.dumps(seconds, indent=2))


def summary(seconds: dict[str, float]) -> dict:
    """What the demo measured, paths relative to the repository."""
    return {
        **detection_scores(read_json(ROOT / METRICS)),
        "train_seconds": round(seconds.get(CHECKPOINT.name, 0.0), 1),
        "total_seconds": round(sum(seconds.values()), 1),
        "frames_train": count_frames(ROOT / DATA / "nuscenes_infos_train.pkl"),
        "frames_val": count_frames(ROOT / INFOS),
        "onnx_max_abs_err": onnx_error(ROOT / ONNX.parent / "manifest.json"),
        "params_backbone": backbone_parameters(ROOT / CHECKPOINT),
        "config": CONFIG,
        "checkpoint": str(CHECKPOINT),
        "onnx": str(ONNX),
        "picture": str(PICTURE),
        "page": str(PAGE),
    }


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="delete earlier results first")
    # Not 0: the packaged model was trained on scenes of that seed.
    parser.add_argument("--seed", type=int, default=1, help="seed of the data set (%(default)s)")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Every step, then the summary."""
    if args.fresh:
        for folder in (DATA, WORK):
            shutil.rmtree(ROOT / folder, ignore_errors=True)
    check_data(args.seed)
    (ROOT / WORK).mkdir(parents=True, exist_ok=True)
    timing = ROOT / WORK / "seconds.json"
    seconds = read_json(timing) if timing.exists() else {}
    packaged = model_folder() if model_names() else None
    planned = steps(args.seed, packaged)
    left = sum(step.minutes for step in planned.values())
    for result, step in planned.items():
        do_step(result, step, left, seconds)
        left -= step.minutes
    text = json.dumps(summary(seconds), indent=2)
    write_atomic(ROOT / SUMMARY, text)
    print(f"\n{SUMMARY}:\n{text}\n")
    rows = {"this demo's": read_json(ROOT / METRICS)}
    if packaged is not None:
        rows["packaged"] = read_json(ROOT / PACKAGED_METRICS)
    Console().print(comparison(rows, f"packaged: {packaged.name}" if packaged else ""))
    print(f"look at {PICTURE}, and at {PAGE} in a browser")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
