"""The main job end to end on synthetic nuScenes: ``make demo``.

Every step is one of the project's own commands; a finished step is not repeated, so an
interrupted demo continues. ``--fresh`` starts over.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo_summary import (
    backbone_parameters,
    count_frames,
    detection_scores,
    onnx_error,
    read_json,
)

from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/dsvt_padre2_synthetic.py"
DATA, WORK = Path("data/synthetic"), Path("work_dirs/demo")
INFOS = DATA / "nuscenes_infos_val.pkl"
CHECKPOINT, METRICS = WORK / "epoch_10.pth", WORK / "metrics.json"
ONNX, PICTURE, SUMMARY = WORK / "onnx/model.onnx", WORK / "bev.png", WORK / "summary.json"
# glibc returns large tensors to the system and gets cleared pages back at every step, which is a
# tenth of a training step on a CPU; other allocators ignore these.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
FRAME = 25  # of the 80 unseen ones, for the picture


def steps(seed: int) -> dict[Path, list[str]]:
    """Result of each step and the command that makes it."""
    data, checkpoint = str(DATA), str(CHECKPOINT)
    return {
        DATA / "statistics.json": [
            "tools/make_synthetic.py",
            "--out",
            data,
            "--scenes",
            "10",
            "--seed",
            str(seed),
            "--workers",
            "2",
        ],
        INFOS: ["tools/create_data.py", "nuscenes", "--root-path", data, "--version", "v1.0-mini"],
        CHECKPOINT: ["tools/train.py", CONFIG, "--work-dir", str(WORK), "--resume"],
        METRICS: [
            "tools/test.py",
            CONFIG,
            checkpoint,
            "--work-dir",
            str(WORK),
            "--metrics-out",
            str(METRICS),
        ],
        ONNX: ["tools/export.py", CONFIG, checkpoint, "--out", str(ONNX.parent)],
        PICTURE: [
            "tools/draw.py",
            CONFIG,
            checkpoint,
            "--out",
            str(PICTURE),
            "--frame",
            str(FRAME),
        ],
    }


def do_step(result: Path, command: list[str], seconds: dict[str, float]) -> None:
    """Run a command unless its result is there; note the seconds it took."""
    print(f"\n$ python {' '.join(command)}", flush=True)
    if (ROOT / result).exists():
        print(f"{result} is there already", flush=True)
        return
    start = time.monotonic()
    env = {**ALLOCATOR, **os.environ}
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
    }


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="delete earlier results first")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Every step, then the summary."""
    if args.fresh:
        for folder in (DATA, WORK):
            shutil.rmtree(ROOT / folder, ignore_errors=True)
    (ROOT / WORK).mkdir(parents=True, exist_ok=True)
    timing = ROOT / WORK / "seconds.json"
    seconds = read_json(timing) if timing.exists() else {}
    for result, command in steps(args.seed).items():
        do_step(result, command, seconds)
    text = json.dumps(summary(seconds), indent=2)
    write_atomic(ROOT / SUMMARY, text)
    print(f"\n{SUMMARY}:\n{text}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
