"""Trained detectors that come with the package, and one cloud to try them on.

Every folder here with a manifest is a model, exported for the runtime in 16 bit. ``weights.pth``
and ``model.json`` beside it are the same model for :func:`padre3d.create_model`. The card
``info.json`` says what it was trained on, what it scored, what it is not good for, and the
checksums of both; beside any other export it says how many sweeps the model was trained on. A
folder in it, such as ``int8-cpu``, is the model exported in the precision it is named after, with a
card of its own. tools/package_model.py, tools/package_precision.py and tools/package_sample.py
write them.
"""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
PRECISION = "fp16"
MANIFEST, INFO = "manifest.json", "info.json"
WEIGHTS, SETTINGS = "weights.pth", "model.json"
SAMPLE, SAMPLE_BOXES = "sample_float16.bin", "sample_boxes.json"
MOST_SWEEPS = 1_000_000


def model_names() -> tuple[str, ...]:
    """Names of the models here, the best of what they measured first."""
    names = sorted(path.parent.name for path in ROOT.glob(f"*/{MANIFEST}"))
    return tuple(sorted(names, key=lambda name: -float(model_info(name).get("nds", 0))))


def list_models(pattern: str = "*") -> list[str]:
    """Names of the packaged models, the best of what they measured first.

    Args:
        pattern: shell pattern that the names match, such as ``"padre2*"``.
    """
    return fnmatch.filter(model_names(), pattern)


def model_precisions(name: str = "") -> tuple[str, ...]:
    """The precisions that a model comes in: 16 bit, then all others.

    Args:
        name: of :func:`model_names`; empty for the first of them.

    Raises:
        ValueError: as :func:`model_folder`.
    """
    others = model_folder(name).glob(f"*/{MANIFEST}")
    return PRECISION, *sorted(path.parent.name for path in others)


def model_folder(name: str = "", precision: str = PRECISION) -> Path:
    """The exported folder of a model.

    Args:
        name: of :func:`model_names`; empty for the first of them.
        precision: of :func:`model_precisions`.

    Raises:
        ValueError: on an unknown name, on a precision that the model does not come in, or where no
            model came with the package.
    """
    names = model_names()
    if not names:
        raise ValueError(
            f"{ROOT}: no model came with this package; name an exported folder (tools/export.py)"
        )
    if name and name not in names:
        raise ValueError(f"model: expected one of {', '.join(names)}, got {name!r}")
    folder = ROOT / (name or names[0])
    if precision == PRECISION:
        return folder
    known = model_precisions(folder.name)
    if precision not in known:
        raise ValueError(
            f"precision: expected one of {', '.join(known)}, which {folder.name} comes in, got "
            f"{precision!r}; tools/export.py makes others"
        )
    return folder / precision


def model_info(name: str) -> dict[str, Any]:
    """What a model's ``info.json`` says; empty without one."""
    return folder_info(ROOT / name)


def folder_info(folder: Path) -> dict[str, Any]:
    """What the ``info.json`` of an exported folder says; empty without one.

    Raises:
        ValueError: if it is no JSON object with whole numbers of sweeps and checksums by name.
    """
    path = folder / INFO
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text())
        if not isinstance(said, dict):
            raise ValueError("expected an object")
        counts = [said.get(key, 1) for key in ("num_sweeps", "stride")]
        if not all(type(n) is int and 1 <= n <= MOST_SWEEPS for n in counts):
            raise ValueError(f"expected whole num_sweeps and stride of 1 to {MOST_SWEEPS}")
        if not isinstance(said.get("sha256", {}), dict):
            raise ValueError("expected checksums by name")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected what tools/export.py or package_model.py wrote: {error}"
        ) from error
    return said


def sample_cloud() -> tuple[Path, Path]:
    """A synthetic cloud of three sweeps (x, y, z, intensity, time lag), and its annotated boxes.

    Raises:
        FileNotFoundError: if none came with the package.
    """
    for name in (SAMPLE, SAMPLE_BOXES):
        if not (ROOT / name).is_file():
            raise FileNotFoundError(f"{ROOT / name}: no sample came with this package")
    return ROOT / SAMPLE, ROOT / SAMPLE_BOXES
