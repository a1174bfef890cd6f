"""What an exported folder says about itself, and the check that it is still what was exported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MANIFEST, TABLES = "manifest.json", "tables.npz"
FORMAT = 2
KEYS = (
    *("format", "precision", "classes", "grid", "head_grid", "decode", "point_columns", "tokens"),
    *("set_size", "models", "sha256"),
)


def is_exported(folder: str | Path) -> bool:
    """Whether a path is a folder with a manifest."""
    return (Path(folder) / MANIFEST).is_file()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read a folder's manifest and check every file against its checksum.

    Raises:
        FileNotFoundError: if the folder, the manifest or a file it names is missing.
        ValueError: if the manifest is no manifest of this format, or a file is not the exported
            one any more.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: expected a folder that tools/export.py wrote, found no {MANIFEST} in it"
        )
    try:
        manifest = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path}: expected a manifest of format {FORMAT}, got {found!r}; export the model again"
        )
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        raise ValueError(f"{path}: expected the entries {', '.join(KEYS)}, {missing} are missing")
    _check_files(folder, manifest)
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any]) -> None:
    used = {part["file"] for model in manifest["models"] for part in model["parts"]} | {TABLES}
    unknown = sorted(used - set(manifest["sha256"]))
    if unknown:
        raise ValueError(f"{folder / MANIFEST}: expected checksums of all files, none of {unknown}")
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: named in the manifest, but there is none")
        got = sha256(folder / name)
        if got != expected:
            raise ValueError(
                f"{folder / name}: expected the exported file with sha256 {expected[:12]}..., "
                f"got {got[:12]}...: the file is damaged or belongs to another export"
            )


def sha256(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
