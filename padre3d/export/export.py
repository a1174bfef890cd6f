"""A trained detector to a folder that runs without torch: export, compare, and only then keep."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from padre3d.backends.base import Options, run_parts
from padre3d.backends.registry import load_model
from padre3d.export.describe import CARD, describe_detector, describe_model, write_card
from padre3d.export.graph import (
    BACKBONE_FEATURES,
    DetectorGraph,
    frame_inputs,
    set_bound,
    split_graph,
)
from padre3d.export.onnx_model import export_graph
from padre3d.export.parity import TOLERANCES, FrameParity, compare_outputs
from padre3d.export.precision import PRECISIONS, convert
from padre3d.export.runtime_tables import runtime_tables
from padre3d.head.outputs import HeadOutputs
from padre3d.runtime.folder import sha256
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import MANIFEST, TABLES, exported_files, read_manifest
from padre3d.structures.grid import PillarGrid
from padre3d.structures.grid_index import cell_ids
from padre3d.structures.pillars import Pillars

if TYPE_CHECKING:
    from padre3d.detector import PADReDetector

THINNED = 4


class ParityError(RuntimeError):
    """The exported file does not give torch's values; ``results`` says how far it is off."""

    def __init__(self, message: str, results: list[FrameParity]) -> None:
        super().__init__(message)
        self.results = results


@dataclass(frozen=True)
class ExportConfig:
    """What to export.

    Attributes:
        precision: "fp32", "fp16", "int8-trt", "int8-cpu" or "int8-qnn".
        sizes: fixed numbers of pillars, a graph for each; empty for one graph of any number.
            Of a frame with more pillars a graph sees the nearest, as in the runtime.
        parts: "whole" or "backbone,dense".
        masked: also a graph of any number gets the input ``valid``, so that padding is possible.
        tolerance: replaces the precision's one of :data:`padre3d.export.parity.TOLERANCES`.

    Raises:
        ValueError: on another precision, a size below 2 or twice, a tolerance that is negative or
            not finite, or "int8-qnn" without sizes.
    """

    precision: str = "fp32"
    sizes: tuple[int, ...] = ()
    parts: str = "whole"
    masked: bool = False
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        if min(self.sizes, default=2) < 2 or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes: expected different numbers of 2 or more, got {self.sizes}")
        if not 0 <= self.limit < math.inf:
            raise ValueError(f"tolerance: expected a number of 0 or more, got {self.limit}")
        if self.precision == "int8-qnn" and not self.sizes:
            raise ValueError(
                "int8-qnn: expected fixed numbers of pillars (NPUs know no symbol), "
                "got a dynamic one"
            )

    @property
    def limit(self) -> float:
        """The tolerance in force."""
        return TOLERANCES[self.precision] if self.tolerance is None else self.tolerance


def export_detector(
    detector: PADReDetector,
    clouds: Mapping[str, Tensor],
    out: str | Path,
    config: ExportConfig | None = None,
    calibration: Sequence[Tensor] = (),
    about: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[FrameParity]]:
    """Export, compare with torch on the clouds, and move the files to ``out`` if they agree.

    Args:
        detector: in evaluation mode, on the CPU.
        clouds: (P, 5) clouds by name; the first one is traced. Without a fixed size a thinned copy
            of it is compared as well, to prove that another number of pillars works.
        out: folder for the models, ``tables.npz`` and ``manifest.json``.
        config: what to export, default: one fp32 graph of any number of pillars.
        calibration: (P, 5) clouds whose activations set the ranges of 8-bit numbers.
        about: further entries of the manifest (config, checkpoint).
        card: of ``info.json``: ``num_sweeps`` and ``stride`` of the clouds in training, which
            ``padre3d detect`` and the C++ program follow; None: no such file.

    Returns:
        The manifest and the comparisons.

    Raises:
        ValueError: if a cloud has no pillar, the graph is not portable, 8 bit is asked for without
            a calibration cloud, or ``out`` has a manifest that is not one of an export: nothing is
            done then.
        ParityError: if the values differ; nothing is left in ``out`` that was not there before.
    """
    out, config, clouds = Path(out), config or ExportConfig(), dict(clouds)
    if config.precision.startswith("int8") and not calibration:
        raise ValueError(f"{config.precision}: expected at least one calibration cloud, got none")
    old = exported_files(out)
    first = next(iter(clouds))
    if not config.sizes:
        clouds[f"{first} / {THINNED}"] = clouds[first][::THINNED]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made = Path(folder)
        exporter = Exporter(detector, config, made)
        models: list[dict[str, Any]] = []
        layers: list[dict[str, Any]] = []
        results: list[FrameParity] = []
        for size in config.sizes or (None,):
            model, errors = exporter.write(clouds[first], calibration, size)
            models.append(model)
            layers += errors
            results += exporter.compare(model, clouds)
        _refuse(results, config)
        np.savez_compressed(made / TABLES, **runtime_tables(detector))
        entries = {"models": models, "parity": _summary(results, config), "layer_errors": layers}
        manifest = _write_manifest(made, detector, config, {**entries, **(about or {})})
        if card is not None:
            write_card(made, card)
        # The card of another model must not stay beside this one.
        _replace(made, out, old | {CARD} if old else old)
    return manifest, results


def _write_manifest(
    made: Path, detector: PADReDetector, config: ExportConfig, entries: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the files of a folder in its manifest, and read it as the runtime will."""
    manifest = {
        **describe_detector(detector),
        "precision": config.precision,
        "pillars": list(config.sizes) or "dynamic",
        "sha256": {path.name: sha256(path) for path in sorted(made.iterdir())},
        **entries,
    }
    (made / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    read_manifest(made)
    return manifest


class Exporter:
    """Writes the graphs of one detector and compares them with it.

    Pillars and torch's answer of a cloud are computed once, however many graphs are written.

    Args:
        detector: in evaluation mode.
        config: what to export.
        folder: where to.
    """

    def __init__(self, detector: PADReDetector, config: ExportConfig, folder: Path) -> None:
        self.detector, self.config, self.folder = detector, config, folder
        self.graph = DetectorGraph(detector)
        # By identity; the clouds are held, so that no other gets the number of one that is gone.
        self._pillars: dict[int, tuple[Tensor, Pillars]] = {}
        # By the number of pillars too: a graph with a fixed number may not take all of a cloud's.
        self._outputs: dict[tuple[int, int], HeadOutputs] = {}

    def write(
        self, cloud: Tensor, calibration: Sequence[Tensor], size: int | None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Write one graph in its parts: its entry of the manifest, and its layers' errors."""
        parts: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        inputs = self.part_inputs(cloud, size)
        frames = [self.part_inputs(c, size) for c in calibration]
        for stem, module in split_graph(self.graph, self.config.parts).items():
            name = f"{stem}_{size}.onnx" if len(self.config.sizes) > 1 else f"{stem}.onnx"
            path = self.folder / name
            taken = _taken(module, inputs)
            export_graph(module, {key: inputs[key] for key in taken}, path, size is not None)
            arrays = [{key: frame[key].numpy() for key in taken} for frame in frames]
            errors += convert(path, self.config.precision, arrays)
            parts.append({"file": name, **describe_model(path)})
        entry = {"pillars": size, "sets": set_bound(self.graph, size), "parts": parts}
        return entry, errors

    @torch.no_grad()
    def pillars(self, cloud: Tensor, size: int | None = None) -> Pillars:
        """The pillars of a cloud, encoded when first asked for; the nearest if more than size."""
        if id(cloud) not in self._pillars:
            self._pillars[id(cloud)] = cloud, self.detector.pillar_encoder([cloud])
        pillars = self._pillars[id(cloud)][1]
        return pillars if size is None else nearest_pillars(pillars, self.detector.grid, size)

    @torch.no_grad()
    def expected(self, cloud: Tensor, size: int | None = None) -> HeadOutputs:
        """Torch's raw outputs of these pillars, computed when first asked for."""
        pillars = self.pillars(cloud, size)
        key = id(cloud), len(pillars.coords)
        if key not in self._outputs:
            self._outputs[key] = self.detector.forward_pillars(pillars)
        return self._outputs[key]

    def inputs(self, cloud: Tensor, size: int | None) -> dict[str, Tensor]:
        """Inputs of the whole graph for one cloud."""
        masked = self.config.masked or size is not None
        return frame_inputs(self.graph, self.pillars(cloud, size), size, masked)

    @torch.no_grad()
    def part_inputs(self, cloud: Tensor, size: int | None) -> dict[str, Tensor]:
        """Inputs of all parts for one cloud: also what one part hands to the next."""
        inputs = self.inputs(cloud, size)
        if self.config.parts != "whole":
            backbone = split_graph(self.graph, self.config.parts)["backbone"]
            inputs[BACKBONE_FEATURES] = backbone(
                **{key: inputs[key] for key in _taken(backbone, inputs)}
            )
        return inputs

    def compare(self, model: dict[str, Any], clouds: Mapping[str, Tensor]) -> list[FrameParity]:
        """The files in onnxruntime against the whole eager detector, frame by frame."""
        files = [self.folder / part["file"] for part in model["parts"]]
        parts = [load_model("onnxruntime", path, Options()) for path in files]
        results = []
        for name, cloud in clouds.items():
            size = model["pillars"]
            inputs = self.inputs(cloud, size)
            exported = run_parts(parts, {key: value.numpy() for key, value in inputs.items()})
            outputs = HeadOutputs(*(torch.from_numpy(exported[key]) for key in HeadOutputs._fields))
            count = len(self.pillars(cloud, size).coords)
            cut = count < len(self.pillars(cloud).coords)
            frame = f"{name}, nearest {count}" if cut else name
            expected = self.expected(cloud, size)
            results.append(compare_outputs(frame, count, expected, outputs, self.detector.head))
        return results


def nearest_pillars(pillars: Pillars, grid: PillarGrid, most: int) -> Pillars:
    """What the runtime hands a graph that takes ``most``: the nearest pillars of one sample."""
    if len(pillars.coords) <= most:
        return pillars
    cells = cell_ids(pillars.coords, grid.ny, grid.nx).cpu().numpy()
    rows = torch.from_numpy(Grid(grid.range_m, grid.cell_m).nearest(cells, most))
    return Pillars(pillars.features[rows], pillars.coords[rows], pillars.batch_size)


def _taken(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[str]:
    """The inputs of a part, in the order of its signature."""
    names = module.forward.__code__.co_varnames[1 : module.forward.__code__.co_argcount]
    return [name for name in names if name in inputs]


def _refuse(results: list[FrameParity], config: ExportConfig) -> None:
    """Raise :class:`ParityError` unless every frame is within the tolerance."""
    worst = max(result.distance(config.precision) for result in results)
    if not worst <= config.limit:
        kind = "difference" if config.precision == "fp32" else "relative difference"
        raise ParityError(
            f"{config.precision}: expected torch's values within {config.limit:g}, got a {kind} of "
            f"{worst:g}; nothing was kept",
            results,
        )


def _summary(results: list[FrameParity], config: ExportConfig) -> dict[str, Any]:
    return {
        "max_abs_err": max(result.difference for result in results),
        "lost": sum(result.lost for result in results),
        "max_relative_rms": max(result.worst_relative for result in results),
        "tolerance": config.limit,
        "frames": [result.as_dict() for result in results],
    }


def _replace(made: Path, out: Path, old: frozenset[str]) -> None:
    """Move new files over old ones, the manifest last: it vouches for the others."""
    out.mkdir(exist_ok=True)
    new = {path.name for path in made.iterdir()}
    folders = sorted(name for name in new | old if (out / name).is_dir())
    if folders:
        raise ValueError(f"{out / folders[0]}: expected a file or nothing, got a folder")
    (out / MANIFEST).unlink(missing_ok=True)
    for name in old - new:
        (out / name).unlink(missing_ok=True)
    for name in sorted(new - {MANIFEST}):
        os.replace(made / name, out / name)
    os.replace(made / MANIFEST, out / MANIFEST)
