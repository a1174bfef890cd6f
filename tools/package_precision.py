"""Put another precision of a packaged model beside it: ``tools/package_precision.py DIR NAME ...``.

DIR is what tools/export.py made of ``padre3d/models/NAME/weights.pth``. It is copied into the
model's folder, under the name of its precision, with a card ``info.json``: what it was calibrated
on, what it scored, and what made it. ``Runtime.from_package(NAME, precision=...)`` opens it;
tools/models_page.py puts the card into docs/models.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from package_model import scores

from padre3d import models
from padre3d.cli import add_debug_argument, run_tool
from padre3d.export.describe import write_card
from padre3d.runtime.manifest import TABLES, read_manifest

# What holds for the model in every precision.
SHARED = ("num_sweeps", "stride", "licence", "not_for")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="folder of tools/export.py")
    add("name", help="of the packaged model")
    add("--metrics", type=Path, required=True, help="file of tools/test.py --metrics-out")
    add("--scored-on", required=True, help="frames, backend and processor, in words")
    add("--calibrated-on", required=True, help="frames that set the ranges, in words")
    add("--command", required=True, help="what made the folder")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the folder beside its place, then move it there in one step."""
    model = models.model_folder(args.name)
    manifest = read_manifest(args.folder)
    if manifest.precision == models.PRECISION:
        raise ValueError(f"{args.folder}: expected another precision than {models.PRECISION}")
    if not same_arrays(args.folder / TABLES, model / TABLES):
        raise ValueError(f"{args.folder / TABLES}: expected that of {model.name}, got others")
    card = {**scores(args.metrics), "scored_on": args.scored_on, "command": args.command}
    card |= {"calibrated_on": args.calibrated_on, **exporter(args.folder)}
    card |= {key: models.folder_info(model)[key] for key in SHARED}
    target = model / manifest.precision
    with tempfile.TemporaryDirectory(dir=model) as made:
        folder = Path(made) / target.name
        folder.mkdir()
        for name in (models.MANIFEST, *manifest.sha256):
            shutil.copy(args.folder / name, folder)
        card["bytes"] = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        write_card(folder, card)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    print(f"{target}: {sum(card['bytes'].values()) / 1e6:.1f} MB, NDS {card['nds']}")


def exporter(folder: Path) -> dict[str, Any]:
    """Commit of the code that exported a folder, and the config it was given."""
    said = json.loads((folder / models.MANIFEST).read_text())
    return {key: said.get(key) for key in ("config", "commit")}


def same_arrays(one: Path, other: Path) -> bool:
    """Whether two .npz files hold the same arrays."""
    with np.load(one) as a, np.load(other) as b:
        return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
