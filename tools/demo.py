"""The main job end to end on synthetic nuScenes: ``make demo``.

Every step is one of the project's own commands; a finished step is not repeated, so an
interrupted demo continues. ``--fresh`` starts over.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/dsvt_padre2_synthetic.py"
DATA = Path("data/synthetic")
WORK = Path("work_dirs/demo")


def step(title: str, done: Path, *command: str) -> float:
    """Run a command unless its result exists; returns the seconds it took."""
    if done.exists():
        print(f"\n{title}: {done} is there already", flush=True)
        return 0.0
    print(f"\n{title}: python {' '.join(command)}", flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return time.monotonic() - start


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="delete earlier results first")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set")
    args = parser.parse_args()
    if args.fresh:
        for folder in (DATA, WORK):
            shutil.rmtree(ROOT / folder, ignore_errors=True)
    checkpoint, onnx = WORK / "final.pth", WORK / "onnx" / "model.onnx"
    metrics, picture = WORK / "metrics.json", WORK / "bev.png"
    step("1/7 data", ROOT / DATA / "statistics.json", "tools/make_synthetic.py",
         "--out", str(DATA), "--scenes", "10", "--seed", str(args.seed), "--workers", "2")  # fmt: skip
    step("2/7 infos", ROOT / DATA / "nuscenes_infos_val.pkl", "tools/create_data.py", "nuscenes",
         "--root-path", str(DATA), "--version", "v1.0-mini")  # fmt: skip
    step("3/7 training", ROOT / checkpoint, "tools/train.py", CONFIG,
         "--work-dir", str(WORK), "--resume")  # fmt: skip
    step("4/7 NDS and mAP", ROOT / metrics, "tools/test.py", CONFIG, str(checkpoint),
         "--work-dir", str(WORK), "--metrics-out", str(metrics))  # fmt: skip
    step("5/7 ONNX", ROOT / onnx, "tools/export.py", CONFIG, str(checkpoint),
         "--out", str(onnx.parent))  # fmt: skip
    step("6/7 picture", ROOT / picture, "tools/draw.py", CONFIG, str(checkpoint),
         "--out", str(picture))  # fmt: skip


if __name__ == "__main__":
    main()
