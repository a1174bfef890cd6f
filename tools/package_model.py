"""Put an exported detector into the package: ``python tools/package_model.py EXPORTED NAME ...``.

The files that its manifest names are copied to padre3d/models/NAME, with an ``info.json`` that says
where the model comes from. ``padre3d export-info NAME`` shows both.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from padre3d import models
from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import write_atomic
from padre3d.runtime import Runtime
from padre3d.runtime.manifest import MANIFEST, exported_files
from padre3d.study.environment import commit

SHOWN = {"NDS": "nds", "mAP": "map", "mATE": "mate_m", "mASE": "mase", "mAOE": "maoe_rad"}
SHOWN |= {"mAVE": "mave_mps"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("exported", type=Path, help="folder of tools/export.py")
    add("name", help="of the model: letters, digits, _ and -")
    add("--metrics", type=Path, required=True, help="file of tools/test.py --metrics-out")
    add("--trained-on", required=True, help="data and length of the training, in words")
    add("--scored-on", required=True, help="frames of the metrics, in words")
    add("--not-for", required=True, help="what the model is not good for, in words")
    add("--command", required=True, help="what made the checkpoint")
    add("--num-sweeps", type=int, default=10, help="sweeps in a cloud (%(default)s)")
    add("--stride", type=int, default=1, help="every how many sweeps one is taken (%(default)s)")
    add("--licence", default="Apache-2.0", help="of the weights (%(default)s)")
    add("--commit", help="of the code that trained it; default: the one checked out")
    add("--into", type=Path, default=models.ROOT, help="where models are kept")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def scores(path: Path) -> dict[str, float]:
    """NDS, mAP and the mean errors of a metrics file.

    Raises:
        ValueError: if NDS or mAP is missing.
    """
    found = {key.rsplit("/", 1)[-1]: value for key, value in json.loads(path.read_text()).items()}
    missing = [key for key in ("NDS", "mAP") if key not in found]
    if missing:
        raise ValueError(f"{path}: expected {missing[0]} in it, got {', '.join(found)[:80]}")
    return {name: round(float(found[key]), 4) for key, name in SHOWN.items() if key in found}


def info(args: argparse.Namespace) -> dict[str, Any]:
    """What is said about the model."""
    if min(args.num_sweeps, args.stride) < 1:
        raise ValueError(
            f"--num-sweeps, --stride: expected 1 or more, got {args.num_sweeps}, {args.stride}"
        )
    return {
        **scores(args.metrics),
        "scored_on": args.scored_on,
        "trained_on": args.trained_on,
        "command": args.command,
        "commit": args.commit or head(),
        "num_sweeps": args.num_sweeps,
        "stride": args.stride,
        "licence": args.licence,
        "not_for": args.not_for,
    }


def head() -> str:
    """The commit checked out."""
    found, _ = commit(Path(__file__).resolve().parent)
    if found is None:
        raise ValueError("--commit: expected one, for this is no git checkout")
    return found


def run(args: argparse.Namespace) -> None:
    """Check the model, then copy it in one step."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", args.name) is None:
        raise ValueError(f"name: expected letters, digits, _ and -, got {args.name!r}")
    said = info(args)
    with Runtime(args.exported):  # opens every file
        names = exported_files(args.exported)
    target = args.into / args.name
    with tempfile.TemporaryDirectory(dir=args.into) as made:
        folder = Path(made) / args.name
        folder.mkdir()
        for name in (MANIFEST, *names):
            shutil.copyfile(args.exported / name, folder / name)
        write_atomic(folder / models.INFO, json.dumps(said, indent=1) + "\n")
        size = sum(path.stat().st_size for path in folder.iterdir())
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    print(f"{target}: {size / 1e6:.1f} MB, NDS {said['nds']}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
