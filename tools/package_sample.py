"""Put one synthetic frame into the package, for ``padre3d detect`` without arguments.

The frame is one of the test set of a config whose data tools/make_synthetic.py wrote, with the
sweeps of that config and the annotated boxes. It is kept as float16 within the model's range.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from draw import load_frames

from padre3d import models
from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.boxes_json import write_boxes_json
from padre3d.io.files import write_atomic
from padre3d.training.config import read_config
from padre3d.visual.bev import boxes_in_view


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of synthetic data")
    parser.add_argument("--frame", type=int, default=0, help="number of the frame in the test set")
    parser.add_argument("--into", type=Path, default=models.ROOT, help="where models are kept")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Write the cloud and its boxes."""
    cfg = read_config(args.config)
    root = Path(cfg.test_dataloader.dataset.data_root)
    if not (root / "statistics.json").is_file():
        raise ValueError(
            f"{root}: expected data of tools/make_synthetic.py, for they may be shared"
        )
    ((points, truth),) = load_frames(cfg, range(args.frame, args.frame + 1))
    low, high = np.array(cfg.model.grid.range_m[:3]), np.array(cfg.model.grid.range_m[3:])
    inside = ((points[:, :3] >= low) & (points[:, :3] <= high)).all(1)
    content = points[inside, :5].astype("<f2").tobytes()
    truth = truth.select(boxes_in_view(truth.boxes, float(high[0])))
    cloud, boxes = args.into / models.SAMPLE, args.into / models.SAMPLE_BOXES
    write_atomic(cloud, content)
    write_boxes_json(boxes, truth, cfg.test_dataloader.dataset.metainfo.classes)
    print(f"{cloud}: {inside.sum():,} points, {len(content) / 1e6:.1f} MB")
    print(f"{boxes}: {len(truth.scores)} boxes")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
