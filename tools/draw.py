"""Draw a frame of a config's test set, detections beside ground truth.

``--html`` writes a page in three dimensions, of several frames with ``--count``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.detector import to_gravity_boxes
from padre3d.inference import detect, init_model
from padre3d.runtime import Runtime
from padre3d.runtime.manifest import is_exported
from padre3d.structures.boxes import Detections
from padre3d.training.config import read_config
from padre3d.visual import Page, draw_bev_pair

LEAST = 0.05  # score of boxes that the page's slider can show


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or a folder of tools/export.py")
    parser.add_argument("--out", help="picture to write (PNG)")
    parser.add_argument("--html", help="page in three dimensions to write")
    parser.add_argument("--count", type=int, help="frames of the page, the next ones (1)")
    parser.add_argument("--frame", type=int, default=0, help="number of the frame in the test set")
    parser.add_argument("--score-thr", type=float, default=0.2, help="least score drawn")
    parser.add_argument("--device", help="cpu (default), cuda, ...; not for exported folders")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def load_frames(cfg: Config, frames: range) -> Iterator[tuple[np.ndarray, Detections]]:
    """Points (P, 5) and annotated boxes of frames of the test set."""
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    for frame in (frames[0], frames[-1]):
        if not 0 <= frame < len(dataset):
            raise ValueError(f"--frame: expected 0..{len(dataset) - 1}, got {frame}")
    for frame in frames:
        points = dataset[frame]["inputs"]["points"].numpy()
        truth = dataset.get_data_info(frame)["eval_ann_info"]
        boxes = to_gravity_boxes(truth["gt_bboxes_3d"]).numpy()
        labels = np.asarray(truth["gt_labels_3d"])
        annotated = Detections(boxes, np.ones(len(boxes)), labels)
        yield points, annotated.select(labels >= 0)  # the others are of no class of the model


def load_model(args: argparse.Namespace) -> tuple[Any, Callable[[np.ndarray], Detections]]:
    """The model and how it finds boxes."""
    if is_exported(args.checkpoint):
        runtime = Runtime(args.checkpoint)
        return runtime, runtime
    model = init_model(args.config, args.checkpoint, args.device or "cpu", args.cfg_options)
    return model, partial(detect, model)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options without effect, and what would be written over."""
    exported = is_exported(args.checkpoint)
    check_used(
        [
            ("--device", args.device, not exported, "a checkpoint, got an exported folder"),
            ("--count", args.count, args.html, "--html"),
        ]
    )
    targets = [("--out", args.out), ("--html", args.html)]
    check_targets(targets, [args.config, args.checkpoint])
    if args.out is None and args.html is None:
        raise ValueError("expected --out or --html, for nothing would be written")
    if not 0 <= args.score_thr <= 1:
        raise ValueError(f"--score-thr: expected a number from 0 to 1, got {args.score_thr}")
    if args.count is not None and args.count < 1:
        raise ValueError(f"--count: expected 1 or more, got {args.count}")


def run(args: argparse.Namespace) -> None:
    """Draw the first frame, and put all of them on the page."""
    check_args(args)
    model, find = load_model(args)
    cfg = read_config(args.config, args.cfg_options)
    grid_m = model.grid.range_m
    range_m = float(max(map(abs, (*grid_m[:2], *grid_m[3:5]))))
    page = Page(model.class_names, range_m=range_m, score_thr=args.score_thr)
    frames = range(args.frame, args.frame + (args.count or 1))
    for frame, (points, truth) in zip(frames, load_frames(cfg, frames), strict=True):
        found = find(points)
        if args.html is not None:
            page.add(f"frame {frame}", points, found.select(found.scores >= LEAST), truth)
        if args.out is not None and frame == args.frame:
            found = found.select(found.scores >= args.score_thr)
            names = model.class_names
            draw_bev_pair(points, found, truth, names, path=args.out, range_m=range_m)
            counts = f"{len(found.scores)} detections, {len(truth.scores)} annotated boxes"
            print(f"{args.out}: {counts}")
    if args.html is not None:
        page.save(args.html)
        print(f"{args.html}: {len(frames)} frames in three dimensions")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
