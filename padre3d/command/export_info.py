"""What an exported folder is: ``padre3d export-info``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from padre3d.cli import add_debug_argument
from padre3d.models import PRECISION, folder_info, model_folder
from padre3d.runtime.manifest import Manifest, Value, read_manifest

MODEL_HELP = "folder of tools/export.py, or name of a packaged model (default: the best of them)"
PRECISION_HELP = f"of a packaged model ({PRECISION}); docs/models.md lists what there is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder."""
    parser.add_argument("model", nargs="?", default="", help=MODEL_HELP)
    parser.add_argument("--precision", help=PRECISION_HELP)
    add_debug_argument(parser)


def resolve(model: str, precision: str | None) -> Path:
    """A folder, or the packaged model of that name in a precision, None for 16 bit.

    Raises:
        ValueError: if it is neither, the model does not come in the precision, or one is asked for
            of a folder, which has its own.
    """
    if not (model and Path(model).is_dir()):
        return model_folder(model, PRECISION if precision is None else precision)
    if precision is not None:
        raise ValueError(f"--precision: expected a packaged model, got the folder {model}")
    return Path(model)


def run(args: argparse.Namespace) -> None:
    """Check every file against the manifest and print what it says."""
    folder = resolve(args.model, args.precision)
    manifest = read_manifest(folder)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for name, value in _about(folder, manifest).items():
        console.print(f"{name.replace('_', ' '):<20}{value}")
    for model in manifest.models:
        for part in model.parts:
            table = Table(title=f"{part.file}, {_size(folder / part.file)}", title_justify="left")
            for column in ("", "name", "type", "shape"):
                table.add_column(column)
            for kind, values in (("in", part.inputs), ("out", part.outputs)):
                for value in values:
                    table.add_row(kind, value.name, value.dtype, _shape(value))
            console.print(table)


def _about(folder: Path, manifest: Manifest) -> dict[str, Any]:
    grid = manifest.grid
    return {
        "folder": folder,
        "precision": manifest.precision,
        "classes": ", ".join(manifest.classes),
        "range": " ".join(f"{v:g}" for v in grid.range_m) + " m",
        "point": f"{manifest.point_columns} columns: x, y, z (m), intensity, time lag (s), ...",
        "tokens": manifest.layout,
        "pillars": ", ".join(str(m.pillars or "any number") for m in manifest.models),
        "torch against file": _parity(manifest.parity),
        "checksums": f"{len(manifest.sha256)} files, all as exported",
        **{name: _plain(value) for name, value in folder_info(folder).items()},
    }


def _parity(said: dict[str, Any]) -> str:
    lost = f", lost proposals: {said['lost']}" if said.get("lost") else ""
    return f"{said.get('max_abs_err', math.nan):.2g}{lost}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shape(value: Value) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
