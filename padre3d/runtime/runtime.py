"""An exported detector from points to boxes, with numpy and a runtime; torch is not imported."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.backends.base import Arrays, Loaded, Options
from padre3d.backends.registry import DEFAULT, load_model
from padre3d.runtime.decode import decode
from padre3d.runtime.manifest import TABLES, read_manifest
from padre3d.runtime.pillar_encoder import Grid, PillarEncoder
from padre3d.runtime.token_layouts import index_inputs
from padre3d.structures.boxes import Detections, box_arrays

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameReport:
    """What happened to the pillars of the last frame.

    Attributes:
        pillars: occupied ones.
        dropped: those farthest from the sensor that the largest model had no place for.
        size: pillars the graph ran on, padding included.
    """

    pillars: int
    dropped: int
    size: int


@dataclass(frozen=True)
class _Model:
    """One graph: its parts in turn, and the pillars it takes."""

    parts: tuple[Loaded, ...]
    min_pillars: int
    max_pillars: int | None
    sets: int | None
    inputs: frozenset[str]


class Runtime:
    """``runtime(points)`` finds boxes as :func:`padre3d.inference.detect` does.

    How many pillars a frame has decides which graph of the folder runs: the smallest one that
    holds them. Frames with more pillars than the largest graph (or engine) takes keep those
    nearest to the sensor; a warning is logged and :attr:`last` has the number dropped. Frames with
    fewer than a graph's minimum are padded with pillars that influence nothing.

    Args:
        folder: what tools/export.py wrote.
        backend: see :mod:`padre3d.backends.registry`.
        threads: threads on the CPU, None leaves it to the backend.
        cache: folder for engines, None for one beside the model.

    Attributes:
        class_names: in label order.
        grid: range and cell size of the pillars.
        last: :class:`FrameReport` of the last frame, None before it.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if a file is damaged or not what the manifest names, or on an unknown backend.
        BackendError: if the backend is not installed or has no device.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str = DEFAULT,
        *,
        threads: int | None = None,
        cache: str | Path | None = None,
        qnn: dict[str, str] | None = None,
    ) -> None:
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.class_names = tuple(self.manifest["classes"])
        self.grid = Grid(**self.manifest["grid"])
        self.columns: int = self.manifest["point_columns"]
        self.last: FrameReport | None = None
        self._head_grid = Grid(**self.manifest["head_grid"])
        with np.load(folder / TABLES) as tables:
            self._tables = dict(tables)
        self._encoder = PillarEncoder(self.grid, self._tables, self.columns)
        options = Options(threads, Path(cache) if cache else None, qnn)
        self._models = sorted(
            (_open(folder, entry, backend, options) for entry in self.manifest["models"]),
            key=lambda model: model.max_pillars or np.inf,
        )

    def __call__(self, points: np.ndarray) -> Detections:
        """Find the boxes of one cloud.

        Args:
            points: (P, columns) x, y, z in m, intensity, time lag in s; rows with NaN or infinity
                do not count.

        Returns:
            Boxes (K, 9), scores (K,) and labels (K,), best first; none for a cloud without a point
            in the range.

        Raises:
            ValueError: if the points have another shape or are no numbers.
        """
        features, cells = self._encoder(self._checked(points))
        if len(cells) == 0:
            self.last = FrameReport(0, 0, 0)
            return Detections.empty()
        outputs = self.outputs(features, cells)
        return box_arrays(
            decode(outputs, self._head_grid, self.manifest["decode"]), self.class_names
        )

    def encode(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pillar features (N, C) and ascending cell ids (N,) of one cloud."""
        return self._encoder(self._checked(points))

    def outputs(self, features: np.ndarray, cells: np.ndarray) -> Arrays:
        """Raw head outputs of at min_pillars one pillar, by name."""
        model = self._choose(len(cells))
        count = len(cells)
        if model.max_pillars is not None and count > model.max_pillars:
            features, cells = self._nearest(features, cells, model.max_pillars)
            logger.warning(
                "frame of %d pillars: the largest graph takes %d, the %d farthest were dropped",
                count,
                model.max_pillars,
                count - model.max_pillars,
            )
        inputs = self.inputs(features, cells, model.min_pillars, model.sets)
        self.last = FrameReport(count, count - len(cells), len(inputs["features"]))
        logger.debug("%s", self.last)
        unmasked = self.manifest["tokens"] == "sequence" and "valid" not in model.inputs
        if self.last.size > len(cells) and unmasked:
            raise ValueError(
                f"frame of {len(cells)} pillars: expected at least {model.min_pillars}, and the "
                "graph has no mask to pad with; export with --masked, or build an engine with "
                "--min 1"
            )
        found: Arrays = {}
        for part in model.parts:
            found = part.run({**inputs, **found})
        return found

    def inputs(
        self, features: np.ndarray, cells: np.ndarray, min_pillars: int = 1, sets: int | None = None
    ) -> Arrays:
        """The graph's inputs by name, padded to ``min_pillars`` pillars."""
        size = max(min_pillars, len(cells))
        index = index_inputs(
            cells, self._tables, self.manifest["set_size"], self.grid.shape, size, sets
        )
        return {"features": np.pad(features, ((0, size - len(cells)), (0, 0))), **index}

    def _choose(self, pillars: int) -> _Model:
        """The smallest graph that takes so many, or else the largest."""
        fitting = (m for m in self._models if m.max_pillars is None or m.max_pillars >= pillars)
        return next(fitting, self._models[-1])

    def _nearest(
        self, features: np.ndarray, cells: np.ndarray, max_pillars: int
    ) -> tuple[np.ndarray, np.ndarray]:
        distance = np.square(self.grid.centres_m(cells)).sum(1)
        kept = np.sort(np.argsort(distance, kind="stable")[:max_pillars])
        return features[kept], cells[kept]

    def _checked(self, points: np.ndarray) -> np.ndarray:
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise ValueError(f"points: expected shape (P, {self.columns}), got {points.shape}")
        if points.dtype.kind not in "fiu":
            raise ValueError(f"points: expected numbers, got dtype {points.dtype}")
        return np.ascontiguousarray(points, np.float32)


def _open(folder: Path, entry: dict[str, Any], backend: str, options: Options) -> _Model:
    parts = tuple(load_model(backend, folder / part["file"], options) for part in entry["parts"])
    names = frozenset(value["name"] for part in entry["parts"] for value in part["inputs"])
    fixed = entry["pillars"]
    limits = [part.limits for part in parts if part.limits]
    min_pillars = fixed or max([1, *(low for low, _ in limits)])
    max_pillars = fixed or min((high for _, high in limits), default=None)
    return _Model(parts, min_pillars, max_pillars, entry["sets"], names)
