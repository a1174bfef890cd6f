"""Draw a frame of a config's test set, detections beside ground truth."""

from __future__ import annotations

import argparse

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.config import Config, DictAction

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.cli import add_debug_argument, check_targets, run_tool
from padre3d.detector import to_gravity_boxes
from padre3d.inference import detect, init_model
from padre3d.structures.boxes import Detections
from padre3d.training.config import read_config
from padre3d.visual import draw_bev_pair


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", required=True, help="picture to write (PNG)")
    parser.add_argument("--frame", type=int, default=0, help="number of the frame in the test set")
    parser.add_argument("--score-thr", type=float, default=0.2, help="least score drawn")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def load_frame(cfg: Config, frame: int) -> tuple[np.ndarray, Detections]:
    """Points (P, 5) and annotated boxes of a frame of the test set."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not 0 <= frame < len(dataset):
        raise ValueError(f"--frame: expected 0..{len(dataset) - 1}, got {frame}")
    points = dataset[frame]["inputs"]["points"].numpy()
    truth = dataset.get_data_info(frame)["eval_ann_info"]
    boxes = to_gravity_boxes(truth["gt_bboxes_3d"]).numpy()
    labels = np.asarray(truth["gt_labels_3d"])
    return points, Detections(boxes, np.ones(len(boxes)), labels)


def run(args: argparse.Namespace) -> None:
    """Draw the frame."""
    check_targets([("--out", args.out)], [args.config, args.checkpoint])
    if not 0 <= args.score_thr <= 1:
        raise ValueError(f"--score-thr: expected a number from 0 to 1, got {args.score_thr}")
    model = init_model(args.config, args.checkpoint, args.device, args.cfg_options)
    cfg = read_config(args.config, args.cfg_options)
    points, truth = load_frame(cfg, args.frame)
    found = detect(model, points)
    found = found.select(found.scores >= args.score_thr)
    draw_bev_pair(points, found, truth, model.class_names, path=args.out)
    print(f"{args.out}: {len(found.scores)} detections, {len(truth.scores)} annotated boxes")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
