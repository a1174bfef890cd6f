"""The options of a detection, and what of them contradicts itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from padre3d.cli import add_debug_argument, check_used
from padre3d.command.reading import add_reading_arguments
from padre3d.io import SUFFIXES
from padre3d.io.formats_out import FORMATS
from padre3d.io.recordings import SUFFIXES as RECORDINGS
from padre3d.io.recordings import is_recording
from padre3d.visual.video import FPS
from padre3d.visual.video import SUFFIXES as VIDEOS

SCORE_THR, DRAW_THR = 0.1, 0.3
NUM_SWEEPS = 10


def add_arguments(parser: argparse.ArgumentParser, points: str) -> None:
    """Everything but the model.

    Args:
        parser: gets the options.
        points: ``+`` if a cloud must be named, ``*`` if none may be.
    """
    parser.add_argument(
        "points",
        nargs=points,
        type=Path,
        help=f"{', '.join(SUFFIXES)} files, a folder of them, or a recording "
        f"({', '.join(RECORDINGS)})",
    )
    parser.add_argument(
        "--backend",
        help="of an exported folder (onnxruntime), auto for the fastest: docs/deployment.md",
    )
    parser.add_argument(
        "--encoder",
        metavar="LIBRARY",
        help="compiled pillar encoder of an exported folder (numpy): docs/cpp.md",
    )
    add_debug_argument(parser)
    add_reading_arguments(parser)
    _add_output_arguments(parser)
    _add_picture_arguments(parser)
    _add_sweep_arguments(parser)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that would have no effect.

    Raises:
        ValueError: naming the option.
    """
    recording = is_recording(args.points[0])
    drawn = args.png or args.html or args.video
    posed = args.poses is not None or args.pose_topic is not None
    rules = (
        ("--draw-thr", args.draw_thr, drawn, "--png, --html or --video"),
        ("--fps", args.fps, args.video, "--video"),
        ("--topic", args.topic, recording, "a recording"),
        ("--pose-topic", args.pose_topic, recording, "a recording"),
        ("--fixed-frame", args.fixed_frame, args.pose_topic, "--pose-topic"),
        ("--poses", args.poses, not recording, "files; a recording has --pose-topic"),
        ("--sweeps", args.sweeps, posed, "--poses or --pose-topic"),
        ("--stride", args.stride, posed, "--poses or --pose-topic"),
        ("--max-lag", args.max_lag, posed, "--poses or --pose-topic"),
        ("--lidar-to-ego", args.lidar_to_ego, args.poses, "--poses"),
    )
    check_used(rules)
    if args.format == "nuscenes" and not (posed and args.out):
        raise ValueError("--format nuscenes: expected --out, and poses for the global frame")
    if recording and len(args.points) > 1:
        raise ValueError(f"expected one recording at a time, got {len(args.points)} inputs")
    if any(map(is_recording, args.points[1:])):
        raise ValueError("expected point files or one recording, got both")
    for option, count in (("--sweeps", args.sweeps), ("--stride", args.stride)):
        if count is not None and count < 1:
            raise ValueError(f"{option}: expected 1 or more, got {count}")
    if args.max_lag is not None and not args.max_lag > 0:
        raise ValueError(f"--max-lag: expected more than 0 s, got {args.max_lag}")


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("boxes").add_argument
    add("--out", type=Path, help="boxes: a file, or a folder")
    add("--format", choices=FORMATS, default="json", help="of the boxes")
    add("--score-thr", type=float, default=SCORE_THR, help="least score kept (%(default)s)")
    add("--class-thr", metavar="CLASS=SCORE,...", help="other least scores of single classes")
    add("--classes", metavar="CLASS,...", help="the only classes kept")
    add("--nms-iou", type=float, metavar="IOU", help="drop boxes of any class that overlap more")


def _add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("pictures").add_argument
    add("--png", type=Path, help="bird's-eye view: a file, or a folder")
    add("--html", type=Path, help="view in three dimensions: one page with all frames")
    add("--rrd", type=Path, help="all frames for the viewer of rerun (pip install rerun-sdk)")
    add("--video", type=Path, help=f"bird's-eye views as {' or '.join(VIDEOS)}")
    add("--fps", type=float, help=f"frames a second of the video ({FPS:g})")
    add("--draw-thr", type=float, help=f"least score drawn ({DRAW_THR})")


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("sweeps and recordings").add_argument
    add("--poses", type=Path, help="CSV with stamp,x,y,z,qw,qx,qy,qz: join sweeps of the frames")
    add("--lidar-to-ego", metavar="X,Y,Z,QW,QX,QY,QZ", help="the clouds' frame in the poses'")
    add("--sweeps", type=int, help=f"sweeps in a cloud ({NUM_SWEEPS}, or the model's)")
    add("--stride", type=int, metavar="N", help="take every Nth sweep before (1, or the model's)")
    add("--max-lag", type=float, metavar="S", help="age of the oldest sweep: docs/point-files.md")
    add("--topic", help="PointCloud2 topic of a recording; default: the only one")
    add("--pose-topic", help="/tf or an Odometry topic: join sweeps of the recording")
    add("--fixed-frame", help="frame of these poses; default: odom, else the topmost")
