"""Export a detector: ``python tools/export.py CONFIG CHECKPOINT --out DIR``.

Writes the graph (pillars in, raw head outputs out), tables.npz and manifest.json for
padre3d.deploy.Runtime, and info.json with the sweeps of the config's test set. Prints how far
onnxruntime is from torch on the point files, or else on a frame of the config's validation set.
Files that fail this comparison are not kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.data.sweeps import trained_sweeps
from padre3d.export.export import ExportConfig, ParityError, export_detector
from padre3d.export.graph import PARTS
from padre3d.export.layer_errors import layer_table
from padre3d.export.parity import parity_table
from padre3d.export.precision import PRECISIONS
from padre3d.inference import init_model
from padre3d.training.clouds import dataset_clouds, read_clouds
from padre3d.training.config import read_config

MOST_FRAMES = 16


def pillar_counts(text: str) -> tuple[int, ...]:
    """``dynamic``, or numbers of pillars with commas between them."""
    if text == "dynamic":
        return ()
    counts = text.split(",")
    if not all(count.isdigit() and int(count) >= 2 for count in counts):
        raise argparse.ArgumentTypeError(f"expected 'dynamic' or at least 2, got {text!r}")
    return tuple(sorted({int(count) for count in counts}))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", help="checkpoint file of that config")
    add("--out", type=Path, required=True, help="folder for the files")
    add("--precision", choices=PRECISIONS, default="fp32", help="of weights and activations")
    add(
        "--pillars",
        type=pillar_counts,
        default=(),
        metavar="dynamic|N[,N...]",
        help="any number (default), or fixed ones; smaller frames are padded, larger ones cut",
    )
    add("--parts", choices=sorted(PARTS), default="whole", help="one file, or one for each part")
    add(
        "--masked",
        action="store_true",
        help="dynamic: pads possible, for engines with a minimum above 1",
    )
    add("--points", type=Path, nargs="+", default=[], help="point files to compare on")
    add(
        "--calib",
        type=Path,
        nargs="+",
        default=[],
        help="8 bit: point files or folders to calibrate on, or training frames",
    )
    add("--calib-frames", type=int, help=f"most frames to calibrate on ({MOST_FRAMES})")
    add("--tolerance", type=float, help="largest difference (fp32) or relative RMS of an output")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace, eight_bit: bool) -> None:
    """Refuse options without effect, and a folder that is one of the inputs."""
    check_used(
        [
            ("--calib", args.calib, eight_bit, "an 8-bit --precision"),
            ("--calib-frames", args.calib_frames, eight_bit, "an 8-bit --precision"),
            ("--masked", args.masked, not args.pillars, "--pillars dynamic"),
        ]
    )
    if args.calib_frames is not None and args.calib_frames < 1:
        raise ValueError(f"--calib-frames: expected 1 or more, got {args.calib_frames}")
    inputs = [args.config, args.checkpoint, *args.points, *args.calib]
    check_targets([("--out", args.out)], inputs)
    files = [("--out", args.out / name) for name in ("model.onnx", "manifest.json", "tables.npz")]
    check_targets(files, inputs)


def run(args: argparse.Namespace) -> None:
    """Export and print the comparison."""
    eight_bit = args.precision.startswith("int8")
    check_args(args, eight_bit)
    most = args.calib_frames or MOST_FRAMES
    console = Console(soft_wrap=True, markup=False)  # paths and names may have brackets
    config = ExportConfig(args.precision, args.pillars, args.parts, args.masked, args.tolerance)
    with console.status("loading"):
        clouds = read_clouds(args.points)
        calibration = [*read_clouds(args.calib, most).values()]
        model = init_model(args.config, args.checkpoint)
        if not clouds:
            cloud = dataset_clouds(args.config, "val_dataloader", 1, "--points")[0]
            clouds = {"validation frame": cloud}
        if eight_bit and not calibration:
            calibration = dataset_clouds(args.config, "train_dataloader", most, "--calib")
    card = trained_sweeps(read_config(args.config)) or None
    about = {"config": Path(args.config).name, "checkpoint": Path(args.checkpoint).name}
    try:
        with console.status("exporting and comparing, about a minute"):
            manifest, results = export_detector(
                model, clouds, args.out, config, calibration, about, card
            )
    except ParityError as error:
        console.print(parity_table(error.results, args.precision, config.limit))
        raise ValueError(str(error)) from error
    if manifest["layer_errors"]:
        console.print(layer_table(manifest["layer_errors"]))
    console.print(parity_table(results, args.precision, config.limit))
    parity = manifest["parity"]
    lost = f", lost proposals: {parity['lost']}" if parity["lost"] else ""
    console.print(f"{args.out}: largest difference {parity['max_abs_err']:.2e}{lost}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
