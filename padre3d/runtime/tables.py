"""The arrays of an exported folder: shapes, types and ranges are checked when they are loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from padre3d.runtime.manifest import Manifest

MOST_BYTES = 2**30
DESCRIBED = 6  # columns that the encoder adds to a point: offsets to the pillar's mean and centre
# ... and then, in some models, the point's distance to the sensor.


@dataclass(frozen=True)
class EncoderLayer:
    """One layer of the pillar encoder, normalisation folded in.

    Attributes:
        point: (columns of a point, out) float32.
        pillar: (columns its pillar shares, out) float32.
        shift: (out,) float32.
    """

    point: np.ndarray
    pillar: np.ndarray
    shift: np.ndarray

    def __post_init__(self) -> None:
        out = self.shift.shape[-1] if self.shift.ndim else 0
        for name, shape in (
            ("point", (len(self.point), out)),
            ("pillar", (len(self.pillar), out)),
            ("shift", (out,)),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or out == 0:
                raise ValueError(
                    f"encoder layer: expected {name} of shape {shape} in float32, "
                    f"got {array.shape} in {array.dtype}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"encoder layer: expected finite numbers in {name}, got others")


@dataclass(frozen=True)
class EncoderTables:
    """Weights of the pillar encoder.

    Attributes:
        columns: of a point.
        layers: first to last.

    Raises:
        ValueError: if there is no layer, or one does not take what the one before it gives.
    """

    columns: int
    layers: tuple[EncoderLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("pillar encoder: expected at least one layer in the tables, got none")
        wanted = (self.columns + DESCRIBED + self.with_distance, 0)
        for i, layer in enumerate(self.layers):
            if (len(layer.point), len(layer.pillar)) != wanted:
                raise ValueError(
                    f"pillar encoder: expected layer {i} to take {wanted[0]} columns of a point "
                    f"and {wanted[1]} of its pillar, got {len(layer.point)} and {len(layer.pillar)}"
                )
            wanted = (len(layer.shift), len(layer.shift))

    @property
    def with_distance(self) -> bool:
        """Whether the first layer reads the point's distance to the sensor."""
        return len(self.layers[0].point) == self.columns + DESCRIBED + 1

    @property
    def channels(self) -> int:
        """Of a pillar's features."""
        return len(self.layers[-1].shift)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], columns: int) -> EncoderTables:
        """Build from arrays by name, see :func:`padre3d.export.runtime_tables.runtime_tables`.

        Raises:
            ValueError: if an array is missing or not as it must be.
        """
        layers = []
        for i in range(sum(name.startswith("weight") for name in arrays)):
            weight, shift, split = (
                _named(arrays, f"{kind}{i}") for kind in ("weight", "shift", "point_channels")
            )
            if split.shape != () or split.dtype.kind != "i" or weight.ndim != 2:
                raise ValueError(
                    f"encoder layer {i}: expected a matrix and the number of its rows for a point, "
                    f"got shapes {weight.shape} and {split.shape}"
                )
            rows = max(0, int(split))
            layers.append(EncoderLayer(weight[:rows], weight[rows:], shift))
        return cls(columns, tuple(layers))


def load_tables(path: Path, manifest: Manifest) -> tuple[EncoderTables, dict[str, np.ndarray]]:
    """Read ``tables.npz``: the encoder's weights, and the token tables by name.

    Raises:
        ValueError: if the file holds no arrays, or one of them is missing or out of its range.
    """
    try:
        arrays = _read_arrays(path)
    # numpy has many ways to say that a file is damaged; tokenize.TokenError is one.
    except Exception as error:
        raise ValueError(f"{path}: expected the arrays of an export, got {error}") from error
    for name, old in manifest.old_names.items():
        if old in arrays:
            arrays[name] = arrays.pop(old)
    try:
        _check_token_tables(arrays, manifest.grid.num_cells, manifest.layout)
        return EncoderTables.of(arrays, manifest.point_columns), arrays
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        promised = sum(member.file_size for member in archive.infolist())
    if promised > MOST_BYTES:
        raise ValueError(f"{promised} bytes unpacked, more than {MOST_BYTES}")
    with np.load(path) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if foreign:
        raise ValueError(f"no array in {foreign[0]!r:.80}")
    return arrays


def _check_token_tables(arrays: Mapping[str, np.ndarray], num_cells: int, layout: str) -> None:
    """Look-up tables: whole numbers that are cells, windows or shifts of this grid."""
    shifts = len(np.atleast_1d(_named(arrays, "windows")))
    orders = len(np.atleast_1d(_named(arrays, "cells")))
    if shifts == 0 or (orders == 0) != (layout == "grid"):
        raise ValueError(
            f"tables: expected windows, and orders unless all layers are on the grid, got {shifts} "
            f"shifts and {orders} orders with layout {layout!r}"
        )
    for name, shape, most in (
        ("cells", (orders, num_cells), num_cells),
        ("windows", (shifts, num_cells), num_cells),
        ("window_index", (shifts, num_cells), num_cells),
        ("layout_shift", (orders,), shifts),
    ):
        array = _named(arrays, name)
        if array.shape != shape or array.dtype != np.int32:
            raise ValueError(
                f"table {name}: expected shape {shape} in int32, got {array.shape} in {array.dtype}"
            )
        if array.size and (array.min() < 0 or array.max() >= most):
            raise ValueError(
                f"table {name}: expected 0 to {most - 1}, got {array.min()} to {array.max()}"
            )
    for order in arrays["cells"]:
        if (np.bincount(order, minlength=num_cells) != 1).any():
            raise ValueError("table cells: expected every cell once in each order")


def _named(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"tables: expected the arrays {name}, ..., got {sorted(arrays)[:12]}")
    return arrays[name]
