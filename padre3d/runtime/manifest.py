"""What an exported folder says about itself, validated once, when it is read.

A folder may come from anywhere. So only files with plain names inside of it are ever read, and what
is not as expected is one ValueError.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta

from padre3d.runtime.decode import DECODED
from padre3d.runtime.folder import check_hash, file_inside, is_plain_name
from padre3d.runtime.grid import Grid
from padre3d.runtime.onnx_external import external_files
from padre3d.structures.decode_settings import LATER_SETTINGS, DecodeSettings

MANIFEST, TABLES = "manifest.json", "tables.npz"
FORMAT = 3
# Format 2 is still read: its graphs and tables have other names for two inputs.
READ_FORMATS = (2, FORMAT)
OLD_NAMES = {"window_index": "places", "cell_to_pillar": "inverse"}
LAYOUT_NAMES = ("sequence", "set", "grid")

Count = Annotated[int, Meta(ge=1, le=1 << 24)]
Word = Annotated[str, Meta(min_length=1, max_length=200)]


@dataclass(frozen=True)
class Value:
    """An input or output of a graph; a word in its shape is a symbol."""

    name: Word
    dtype: Word
    shape: tuple[Annotated[int, Meta(ge=0, le=1 << 40)] | Word, ...]
    meaning: str = ""


@dataclass(frozen=True)
class Part:
    """One ONNX file."""

    file: str
    inputs: Annotated[tuple[Value, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[Value, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        _check_file_names([self.file])
        for values in (self.inputs, self.outputs):
            _check_unique("names of inputs and of outputs", [value.name for value in values])


@dataclass(frozen=True)
class Model:
    """A graph in one or several parts.

    Attributes:
        pillars: the fixed number it takes, None for any.
        sets: the fixed number of sets, None in sequence form or for any.
        parts: in the order they run.
    """

    pillars: Count | None
    sets: Count | None
    parts: Annotated[tuple[Part, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        missing = set(DECODED) - {value.name for value in self.parts[-1].outputs}
        if missing:
            raise ValueError(
                f"model: expected the outputs {', '.join(DECODED)}, got no {sorted(missing)}"
            )

    @property
    def input_names(self) -> frozenset[str]:
        """Of all parts."""
        return frozenset(value.name for part in self.parts for value in part.inputs)


@dataclass(frozen=True)
class Manifest:
    """An exported detector.

    Attributes:
        format: of the file.
        precision: of weights and activations.
        classes: names in label order.
        grid, head_grid: of the pillars and of the head's map.
        decode: settings of the box decoding.
        point_columns: of a point.
        layout: how pillars become tokens.
        set_size: slots of a set, None in sequence form.
        models: graphs for different numbers of pillars.
        sha256: checksum of every file beside the manifest, by name.
        parity: torch against the files, as the export measured it; plain data.
    """

    format: int
    precision: Word
    classes: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=1000)]
    grid: Grid
    head_grid: Grid
    decode: DecodeSettings
    point_columns: Annotated[int, Meta(ge=3, le=64)]
    layout: str
    set_size: Count | None
    models: Annotated[tuple[Model, ...], Meta(min_length=1)]
    sha256: dict[str, str]
    parity: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_unique("classes", self.classes)
        unprintable = [name for name in self.classes if not name.isprintable()]
        if unprintable:
            raise ValueError(f"classes: expected printable names, got {unprintable[0]!a:.80}")
        self.decode.alphas(len(self.classes))
        if self.layout not in LAYOUT_NAMES:
            raise ValueError(
                f"layout: expected one of {', '.join(LAYOUT_NAMES)}, got {self.layout!r}"
            )
        if (self.layout == "set") != (self.set_size is not None):
            raise ValueError(
                "set_size: expected a number in set form and null otherwise, got "
                f"{self.set_size} with layout {self.layout!r}"
            )
        files = [part.file for model in self.models for part in model.parts]
        _check_unique("files of the models", files)
        _check_file_names(self.sha256)
        unknown = sorted({*files, TABLES} - set(self.sha256))
        if unknown:
            raise ValueError(f"sha256: expected checksums of all files, none of {unknown}")
        for name, digest in self.sha256.items():
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise ValueError(f"sha256: expected 64 hexadecimal digits for {name}")

    @property
    def old_names(self) -> Mapping[str, str]:
        """Names of graph inputs and tables that this folder calls otherwise: today's -> its own."""
        return OLD_NAMES if self.format == 2 else {}


def is_exported(folder: str | Path) -> bool:
    """Whether a path is a folder with a manifest."""
    return (Path(folder) / MANIFEST).is_file()


def read_manifest(folder: str | Path) -> Manifest:
    """Read a folder's manifest and check every file against its checksum.

    Raises:
        FileNotFoundError: if the folder, the manifest or a file it names is missing.
        ValueError: if the manifest is no manifest of a known format, names anything but files
            inside the folder, or a file is not the exported one any more.
    """
    folder = Path(folder)
    manifest = parse_manifest(folder)
    for name, expected in manifest.sha256.items():
        check_hash(folder, name, expected)
    for model in manifest.models:
        for part in model.parts:
            _check_external(folder / part.file, manifest.sha256)
    return manifest


def parse_manifest(folder: str | Path) -> Manifest:
    """Read a folder's manifest without looking at the files it names.

    Raises:
        FileNotFoundError: if the folder or the manifest is missing.
        ValueError: as :func:`read_manifest`.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise FileNotFoundError(
            f"{folder}: expected a folder that tools/export.py wrote, found no {MANIFEST} in it"
        )
    content = file_inside(Path(folder), MANIFEST).read_bytes()
    try:
        raw = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_not_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    version = raw.get("format") if isinstance(raw, dict) else None
    if version not in READ_FORMATS or isinstance(version, (bool, float)):
        raise ValueError(
            f"{path}: expected a manifest of format {' or '.join(map(str, READ_FORMATS))}, got "
            f"{version!r:.40}; export the model again"
        )
    if version == 2 and "tokens" in raw:
        raw["layout"] = raw.pop("tokens")
    try:
        _check_decode(raw.get("decode"))
        return msgspec.convert(raw, Manifest)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def exported_files(folder: str | Path) -> frozenset[str]:
    """Names of the files that an earlier export left in a folder: what a new one may remove.

    Raises:
        ValueError: if the path is no folder, or its manifest is not one whose files can be removed.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder or nothing, got a file")
    if not (folder / MANIFEST).exists():
        return frozenset()
    names = frozenset(parse_manifest(folder).sha256)
    for name in names:
        if (folder / name).exists():
            file_inside(folder, name)
    return names


def _check_decode(settings: Any) -> None:
    """A setting that is missing must not become a default: the boxes would be others."""
    names = [f.name for f in fields(DecodeSettings) if f.name not in LATER_SETTINGS]
    missing = [name for name in names if name not in settings] if isinstance(settings, dict) else []
    if missing:
        raise ValueError(f"decode: expected {', '.join(names)}, {', '.join(missing)} missing")


def _check_external(path: Path, listed: Mapping[str, str]) -> None:
    """Weights outside of an ONNX file must be files that the manifest vouches for."""
    foreign = sorted({*external_files(path)} - set(listed))
    if foreign:
        raise ValueError(
            f"{path}: expected external weights in files of the manifest, got {foreign[0]!r:.80}"
        )


def _check_file_names(names: Iterable[str]) -> None:
    for name in names:
        if not is_plain_name(name) or name == MANIFEST:
            raise ValueError(f"expected the plain name of a file in the folder, got {name!r:.80}")


def _check_unique(what: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"expected different {what}, got {twice[0]!r:.80} twice")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_unique("keys in an object", [key for key, _ in pairs])
    return dict(pairs)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"the number {text}")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text[:40])
