"""Export a detector: ``python tools/export.py CONFIG CHECKPOINT --out DIR``.

Writes model.onnx (pillars in, raw head outputs out), tables.npz and manifest.json, and prints how
far onnxruntime is from torch on the point files, or else on a frame of the config's validation set.
A file that fails this comparison is not kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console

from padre3d.deploy.export import TOLERANCE, ParityError, export_detector
from padre3d.deploy.parity import parity_table
from padre3d.inference import init_model
from padre3d.io import drop_invalid, load_points


def pillar_count(text: str) -> int | None:
    """``dynamic`` or a number of pillars."""
    if text == "dynamic":
        return None
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected 'dynamic' or at least 2, got {text!r}")
    return int(text)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", help="checkpoint file of that config")
    add("--out", type=Path, required=True, help="folder for the files")
    add("--points", type=Path, nargs="+", default=[], help="point files to compare on")
    add("--pillars", type=pillar_count, metavar="dynamic|N",
        help="any number (default), or a fixed one that smaller frames are padded to")  # fmt: skip
    add("--tolerance", type=float, default=TOLERANCE, help="largest difference of a raw output")
    return parser.parse_args(argv)


def validation_cloud(config: str) -> torch.Tensor:
    """The points of the first frame of a config's validation set."""
    from mmdet3d.registry import DATASETS
    from mmengine.config import Config

    dataset = Config.fromfile(config).val_dataloader.dataset
    annotations = Path(dataset.data_root) / dataset.ann_file
    if not annotations.is_file():
        raise ValueError(
            f"no frame to compare on: expected --points FILE, or the validation set of {config}, "
            f"whose {annotations} does not exist"
        )
    return DATASETS.build(dataset)[0]["inputs"]["points"]


def run(args: argparse.Namespace) -> None:
    """Export and print the comparison."""
    console = Console(soft_wrap=True)
    with console.status("loading"):
        model = init_model(args.config, args.checkpoint)
        clouds = {
            path.name[-30:]: torch.from_numpy(drop_invalid(load_points(path))[0])
            for path in args.points
        }
        clouds = clouds or {"validation frame": validation_cloud(args.config)}
    about = {"config": Path(args.config).name, "checkpoint": Path(args.checkpoint).name}
    try:
        with console.status("exporting and comparing, about a minute"):
            manifest, results = export_detector(
                model, clouds, args.out, args.pillars, args.tolerance, about
            )
    except ParityError as error:
        console.print(parity_table(error.results, args.tolerance))
        raise ValueError(str(error)) from error
    console.print(parity_table(results, args.tolerance))
    console.print(f"{args.out}: largest difference {manifest['onnx_max_abs_err']:.2e}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    try:
        run(parse_args(argv))
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
