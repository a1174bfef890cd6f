"""From the fp32 file to the file of another precision, in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from padre3d.deploy.backends import Arrays

PRECISIONS = ("fp32", "fp16", "int8-trt", "int8-qnn")


def convert(path: Path, precision: str, calibration: Sequence[Arrays]) -> list[dict[str, Any]]:
    """Replace a model file by one of another precision.

    Args:
        path: the fp32 file.
        precision: one of :data:`PRECISIONS`.
        calibration: inputs of the calibration frames; read for 8 bit only.

    Returns:
        The error of each layer that was quantised, worst first; nothing for 32 and 16 bit.
    """
    if precision == "fp32":
        return []
    raise ValueError(f"precision: only fp32 is there yet, got {precision!r}")
