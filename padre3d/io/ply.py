"""Stanford .ply point clouds, read with plyfile."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """Read the scalar properties of the ``vertex`` element, ascii or binary.

    Returns:
        One (P,) array per property.

    Raises:
        ValueError: if it is no complete .ply file with vertices.
        ImportError: if plyfile is not installed.
    """
    try:
        from plyfile import PlyData, PlyParseError
    except ImportError as error:
        raise ImportError(".ply files need plyfile: pip install plyfile") from error
    try:
        ply = PlyData.read(str(path))
    except (PlyParseError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: expected a complete .ply file: {error}") from error
    if "vertex" not in ply:
        raise ValueError(
            f"{path}: expected an element vertex, got {', '.join(e.name for e in ply.elements)}"
        )
    vertices = ply["vertex"].data
    return {n: vertices[n] for n in vertices.dtype.names if vertices.dtype[n].kind in "fiu"}
