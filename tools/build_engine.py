"""Build TensorRT engines of an exported folder: ``python tools/build_engine.py DIR``.

The number of pillars may change between frames; an engine is built for a minimum, an optimum and
a maximum. They are given, or measured on a data set with --shapes-from. The engines go to
DIR/engines, where padre3d.deploy.Runtime finds them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from padre3d.backends.tensorrt import MODULES, build_engine, command_line, engine_path
from padre3d.backends.tensorrt_profile import Profile
from padre3d.cli import add_debug_argument, check_used, run_tool
from padre3d.io.files import write_atomic
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import TABLES, Manifest, read_manifest
from padre3d.runtime.pillar_counts import choose_profile, count_pillars, distribution
from padre3d.runtime.tables import load_tables
from padre3d.runtime.token_layouts import most_sets

MOST_FRAMES = 200


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="what tools/export.py wrote")
    add("--backend", choices=sorted(MODULES), default="tensorrt", help="which TensorRT")
    for name in ("min", "opt", "max"):
        default = getattr(Profile, name)
        add(f"--{name}", type=int, metavar="PILLARS", help=f"default {default}")
    add(
        "--shapes-from",
        type=Path,
        metavar="ANN_FILE",
        help="measure the pillars of this info file's frames, and choose by them",
    )
    add("--config", help="of the data set, for its sweeps (with --shapes-from)")
    add("--frames", type=int, help=f"most frames to measure ({MOST_FRAMES})")
    add("--dry-run", action="store_true", help="print the trtexec lines, build nothing")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def measured_counts(ann_file: Path, config: str | None, grid: Grid, most: int) -> list[int]:
    """Pillars of frames spread over an info file, with the sweeps of the config's test pipeline.

    Raises:
        ValueError: if the file is no info file, or there is no config to load sweeps with.
    """
    if config is None:
        raise ValueError("--shapes-from: expected --config too, which says how sweeps are loaded")
    if not ann_file.is_file():
        raise ValueError(f"{ann_file}: expected an info file of tools/create_data.py, found none")
    from mmdet3d.registry import DATASETS
    from mmengine.registry import init_default_scope

    import padre3d.plugin  # noqa: F401
    from padre3d.training.config import read_config

    cfg = read_config(config)
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    dataset = {
        **cfg.test_dataloader.dataset,
        "data_root": str(ann_file.parent),
        "ann_file": ann_file.name,
    }
    frames = DATASETS.build(dataset)
    rows = np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)
    console = Console(stderr=True)
    return [
        count_pillars(frames[int(row)]["inputs"]["points"].numpy(), grid)
        for row in track(rows, "counting pillars", console=console)
    ]


def profile_of(args: argparse.Namespace, grid: Grid, console: Console) -> Profile:
    """The given numbers, else the measured ones, else the defaults.

    Raises:
        ValueError: unless 0 < min <= opt <= max.
    """
    base = Profile()
    if args.shapes_from:
        counts = measured_counts(args.shapes_from, args.config, grid, args.frames or MOST_FRAMES)
        console.print(f"pillars of {len(counts)} frames: {distribution(counts)}")
        base = choose_profile(counts)
    given = ((getattr(args, f), getattr(base, f)) for f in ("min", "opt", "max"))
    return Profile(*(usual if count is None else count for count, usual in given))


def with_sets(profile: Profile, manifest: Manifest, folder: Path) -> Profile:
    """The profile with the numbers of sets that follow from it."""
    if manifest.set_size is None:
        return profile
    _, tables = load_tables(folder / TABLES, manifest)
    windows = int(tables["windows"].max()) + 1
    usual, high = (
        most_sets(count, manifest.set_size, windows) for count in (profile.opt, profile.max)
    )
    # Frames below the minimum are padded with pillars, which are in no set.
    return Profile(*profile.pillars, sets=(1, usual, high))


def check_args(args: argparse.Namespace, dynamic: bool) -> None:
    """Refuse options without effect; ``dynamic`` is whether a model takes any number of pillars."""
    from_frames = args.shapes_from is not None
    wanted = "a model with any number of pillars, got fixed ones"
    check_used(
        [
            *((f"--{n}", getattr(args, n), dynamic, wanted) for n in ("min", "opt", "max")),
            ("--shapes-from", args.shapes_from, dynamic, wanted),
            ("--config", args.config, from_frames, "--shapes-from too"),
            ("--frames", args.frames, from_frames, "--shapes-from too"),
        ]
    )
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames: expected 1 or more, got {args.frames}")


def run(args: argparse.Namespace) -> None:
    """Build an engine for each file."""
    console = Console(soft_wrap=True, markup=False, highlight=False)  # as a shell reads it
    manifest = read_manifest(args.folder)
    check_args(args, any(not model.pillars for model in manifest.models))
    for model in manifest.models:
        if model.pillars:
            profile = Profile(*[model.pillars] * 3)
        else:
            profile = profile_of(args, manifest.grid, console)
        profile = with_sets(profile, manifest, args.folder)
        for part in model.parts:
            path = args.folder / part.file
            if args.dry_run:
                engine_file = path.with_suffix(".engine")
                console.print(command_line(args.backend, path, engine_file, profile))
                continue
            out = engine_path(args.backend, path, profile)
            console.print(command_line(args.backend, path, out, profile))
            with console.status(f"building {out.name}"):
                engine = build_engine(args.backend, path, profile)
            write_atomic(out, engine)
            console.print(f"{out}: {len(engine) / 2**20:.1f} MiB, pillars {profile.pillars}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
