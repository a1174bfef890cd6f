"""An exported detector from points to boxes, with numpy, msgspec and a backend; no torch."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.backends.base import Arrays, Loaded, Options, run_parts
from padre3d.backends.registry import DEFAULT, load_model
from padre3d.models import PRECISION, model_folder
from padre3d.runtime.compiled_encoder import NUMPY, make_encoder
from padre3d.runtime.decode import decode
from padre3d.runtime.fastest import (
    CANDIDATES,
    TRIAL_PILLARS,
    UNUSABLE,
    fastest_backend,
    fastest_run,
)
from padre3d.runtime.manifest import TABLES, Model, read_manifest
from padre3d.runtime.tables import load_tables
from padre3d.runtime.token_layouts import index_inputs
from padre3d.structures.boxes import Detections, box_arrays

logger = logging.getLogger(__name__)
AUTO = "auto"


@dataclass(frozen=True)
class FrameReport:
    """What happened to the points and pillars of the last frame.

    Attributes:
        pillars: occupied ones.
        dropped: those farthest from the sensor that the largest model had no place for.
        size: pillars the graph ran on, padding included.
        unusable_points: points with NaN, infinity or a number beyond
            :func:`padre3d.structures.points.point_limits`; they did not count.
    """

    pillars: int
    dropped: int
    size: int
    unusable_points: int = 0


@dataclass(frozen=True)
class _OpenModel:
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

    ``with Runtime(folder) as runtime`` or :meth:`close` frees what the backend holds on a device.
    Several threads may call one runtime; :attr:`last` is then the report of any of them.

    Args:
        folder: what tools/export.py wrote.
        backend: see :mod:`padre3d.backends.registry`; "auto" takes the fastest of the installed
            ones, see :mod:`padre3d.runtime.fastest`.
        threads: threads on the CPU, of the pillar encoder too; None leaves it to the backend, and
            the encoder takes as many as the process may use, 8 at most.
        cache: folder for engines, None for one beside the model.
        encoder: of the pillars: "numpy", or the path of the library that ``make cpp`` builds, see
            :mod:`padre3d.runtime.compiled_encoder`.

    Attributes:
        manifest: of the folder.
        class_names: in label order.
        columns: of a point.
        grid: range and cell size of the pillars.
        backend: the name of the one that runs.
        last: :class:`FrameReport` of the last frame, None before it.

    Raises:
        FileNotFoundError: if the folder, one of its files or the encoder's library is missing.
        ValueError: if a file is damaged or not what the manifest names, on an unknown backend, or
            on less than one thread.
        BackendError: if the backend is not installed or has no device, or the encoder's library is
            none or of another version.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str = DEFAULT,
        *,
        threads: int | None = None,
        cache: str | Path | None = None,
        qnn: dict[str, str] | None = None,
        encoder: str | Path = NUMPY,
    ) -> None:
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected 1 or more, or None, got {threads}")
        self.manifest = read_manifest(folder)
        self.class_names = self.manifest.classes
        self.grid = self.manifest.grid
        self.columns = self.manifest.point_columns
        self.last: FrameReport | None = None
        weights, self._tables = load_tables(folder / TABLES, self.manifest)
        self._encoder = make_encoder(encoder, self.grid, weights, threads)
        options = Options(threads, Path(cache) if cache else None, qnn)
        if backend == AUTO:
            self.backend = self._open_fastest(folder, options)
        else:
            self.backend = backend
            self._open(folder, backend, options)

    def _open_fastest(self, folder: Path, options: Options) -> str:
        timers = {name: partial(self._time, folder, name, options) for name in CANDIDATES}
        name = fastest_backend(timers, self.manifest.sha256, options.threads)
        try:
            self._open(folder, name, options)
        except UNUSABLE as error:
            logger.info("backend auto: %s does not run any more: %s", name, error)
            name = fastest_backend(timers, self.manifest.sha256, options.threads, anew=True)
            self._open(folder, name, options)
        return name

    def _open(self, folder: Path, backend: str, options: Options) -> None:
        with contextlib.ExitStack() as opened:  # a model that fails closes those before it
            models = [_open(folder, m, backend, options, opened) for m in self.manifest.models]
            self._opened = opened.pop_all()
        self._models = sorted(models, key=lambda model: model.max_pillars or np.inf)

    def _time(self, folder: Path, backend: str, options: Options) -> float:
        """Seconds that a backend takes for the graph of a frame of made-up pillars."""
        self._open(folder, backend, options)
        try:
            largest = self._models[-1]
            count = min(TRIAL_PILLARS, self.grid.num_cells, largest.max_pillars or TRIAL_PILLARS)
            cells = np.linspace(0, self.grid.num_cells - 1, count).astype(np.int64)
            shape = (len(cells), self._encoder.channels)
            features = np.random.default_rng(0).random(shape, np.float32)
            return fastest_run(lambda: self.outputs(features, cells))
        finally:
            self._close_models()

    @classmethod
    def from_package(
        cls, name: str = "", backend: str = DEFAULT, *, precision: str = PRECISION, **options: Any
    ) -> Runtime:
        """A model that comes with the package.

        Args:
            name: of :func:`padre3d.models.model_names`; empty for the first of them.
            backend, options: as of the class.
            precision: of :func:`padre3d.models.model_precisions`; all have "fp16".

        Raises:
            ValueError: on a name or a precision that did not come, with those that did.
        """
        return cls(model_folder(name, precision), backend, **options)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the models and the encoder; a closed runtime finds no boxes any more."""
        self._close_models()
        self._encoder.close()

    def _close_models(self) -> None:
        self._models = []
        self._opened.close()

    def __call__(self, points: np.ndarray) -> Detections:
        """Find the boxes of one cloud.

        Args:
            points: (P, columns) x, y, z in m, intensity, time lag in s; rows with NaN, infinity or
                an absurd number do not count, :attr:`last` has how many.

        Returns:
            Boxes (K, 9), scores (K,) and labels (K,), best first; none for a cloud without a point
            in the range.

        Raises:
            ValueError: if the points have another shape or are no numbers, the model gives numbers
                that are not finite, or the runtime is closed.
        """
        features, cells, unusable = self._encoder(self._checked(points))
        if len(cells) == 0:
            self.last = FrameReport(0, 0, 0, unusable)
            return Detections.empty()
        outputs, report = self._run(features, cells)
        self.last = replace(report, unusable_points=unusable)
        detections = decode(outputs, self.manifest.head_grid, self.manifest.decode)
        return box_arrays(detections, self.class_names)

    def encode(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pillar features (N, C) and ascending cell ids (N,) of one cloud."""
        return self._encoder(self._checked(points))[:2]

    def outputs(self, features: np.ndarray, cells: np.ndarray) -> Arrays:
        """Raw head outputs of at least one pillar, by name."""
        outputs, self.last = self._run(features, cells)
        return outputs

    def _run(self, features: np.ndarray, cells: np.ndarray) -> tuple[Arrays, FrameReport]:
        model = self._choose(len(cells))
        count = len(cells)
        if model.max_pillars is not None and count > model.max_pillars:
            kept = self.grid.nearest(cells, model.max_pillars)
            features, cells = features[kept], cells[kept]
            logger.warning(
                "frame of %d pillars: the largest graph takes %d, the %d farthest were dropped",
                count,
                model.max_pillars,
                count - model.max_pillars,
            )
        inputs = self.inputs(features, cells, model.min_pillars, model.sets)
        report = FrameReport(count, count - len(cells), len(inputs["features"]))
        logger.debug("%s", report)
        unmasked = self.manifest.layout == "sequence" and "valid" not in model.inputs
        if report.size > len(cells) and unmasked:
            raise ValueError(
                f"frame of {len(cells)} pillars: expected at least {model.min_pillars}, and the "
                "graph has no mask to pad with; export with --masked, or build an engine with "
                "--min 1"
            )
        inputs.update({old: inputs[name] for name, old in self.manifest.old_names.items()})
        return run_parts(model.parts, inputs), report

    def inputs(
        self, features: np.ndarray, cells: np.ndarray, min_pillars: int = 1, sets: int | None = None
    ) -> Arrays:
        """The graph's inputs by name, padded to ``min_pillars`` pillars."""
        size = max(min_pillars, len(cells))
        index = index_inputs(
            cells, self._tables, self.manifest.set_size, self.grid.shape, size, sets
        )
        if size > len(cells):
            features = np.pad(features, ((0, size - len(cells)), (0, 0)))
        return {"features": features, **index}

    def _choose(self, pillars: int) -> _OpenModel:
        """The smallest graph that takes so many, or else the largest."""
        if not self._models:
            raise ValueError("runtime: expected an open one, got one that was closed")
        fitting = (m for m in self._models if m.max_pillars is None or m.max_pillars >= pillars)
        return next(fitting, self._models[-1])

    def _checked(self, points: np.ndarray) -> np.ndarray:
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise ValueError(f"points: expected shape (P, {self.columns}), got {points.shape}")
        if points.dtype.kind not in "fiu":
            raise ValueError(f"points: expected numbers, got dtype {points.dtype}")
        with np.errstate(over="ignore"):  # what 32 bits do not hold is infinite, and does not count
            return np.ascontiguousarray(points, np.float32)


def _open(
    folder: Path, model: Model, backend: str, options: Options, opened: contextlib.ExitStack
) -> _OpenModel:
    parts = []
    for part in model.parts:
        parts.append(load_model(backend, folder / part.file, options))
        opened.callback(parts[-1].close)
    limits = [part.limits for part in parts if part.limits]
    min_pillars = model.pillars or max([1, *(low for low, _ in limits)])
    max_pillars = model.pillars or min((high for _, high in limits), default=None)
    return _OpenModel(tuple(parts), min_pillars, max_pillars, model.sets, model.input_names)
