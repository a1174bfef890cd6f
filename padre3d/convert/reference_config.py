"""The YAML of a reference model (OpenPCDet style) as the settings of our detector.

Every setting of MODEL is understood or refused by name. Settings of the data and the training that
do not change the model are passed over and listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from padre3d.convert.reference_head import read_head
from padre3d.convert.reference_stages import (
    POINT_FEATURES,
    read_backbone,
    read_bev_backbone,
    read_pillar_encoder,
    read_scatter,
)
from padre3d.convert.settings_reader import Settings
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.structures.decode_settings import DecodeSettings
from padre3d.structures.grid import PillarGrid

DEFAULT_SWEEPS = 10
DEFAULT_RANGE_M = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
# Range, point columns and sweeps shape the model's input; the rest of DATA_CONFIG does not.
_DATA_ONLY = (
    "DATASET",
    "DATA_PATH",
    "VERSION",
    "PRED_VELOCITY",
    "SET_NAN_VELOCITY_TO_ZEROS",
    "FILTER_MIN_POINTS_IN_GT",
    "DATA_SPLIT",
    "INFO_PATH",
    "BALANCED_RESAMPLING",
    "DATA_AUGMENTOR",
    "SAMPLED_INTERVAL",
    "GET_ITEM_LIST",
)
# The last also makes voxels with a limited number of points, which no pillar encoder here reads.
_VOXELS = (
    "transform_points_to_voxels_placeholder",
    "calculate_grid_size",
    "transform_points_to_voxels",
)


@dataclass(frozen=True)
class ReferenceModel:
    """What a reference YAML says, in our terms.

    Attributes:
        name: of the YAML file.
        model: config of our detector, with the reference's behaviour switched on.
        class_names: in label order.
        grid: range and cells.
        num_sweeps: sweeps in a cloud, the key frame included.
        notes: what was assumed or not carried over.
    """

    name: str
    model: dict[str, Any]
    class_names: tuple[str, ...]
    grid: PillarGrid
    num_sweeps: int
    notes: tuple[str, ...]


def read_reference_config(path: str | Path) -> ReferenceModel:
    """Read a YAML file; a ``_BASE_CONFIG_`` of the data is read where it can be found.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such YAML; or naming every setting that is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"reference config {path}: expected a file, found none")
    try:
        return _read(_with_base(_load(path), path), path.name)
    except ValueError as error:
        raise ValueError(f"reference config {path}: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected YAML of plain values, got: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"expected settings by name, got {type(loaded).__name__}")
    return loaded


def _with_base(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Put the file that DATA_CONFIG builds on under it, if it lies in a folder above the YAML."""
    data = config.get("DATA_CONFIG")
    base = data.get("_BASE_CONFIG_") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(base, str):
        return config
    for folder in path.resolve().parents:
        if (folder / base).is_file():
            own = {key: value for key, value in data.items() if key != "_BASE_CONFIG_"}
            return {**config, "DATA_CONFIG": {**_load(folder / base), **own}}
    return config


def _read(config: dict[str, Any], name: str) -> ReferenceModel:
    top = Settings(config)
    class_names = tuple(top.take("CLASS_NAMES"))
    if len(set(class_names)) != len(class_names) or not all(map(_is_text, class_names)):
        raise ValueError(f"CLASS_NAMES: expected different names, got {class_names}")
    data = top.part("DATA_CONFIG")
    notes: list[str] = []
    grid, num_sweeps = _read_data(data, notes)
    model = top.part("MODEL")
    model.only("NAME", "TransFusion")
    bev, stride = read_bev_backbone(model.part("BACKBONE_2D"))
    backbone = read_backbone(model.part("BACKBONE_3D"), grid, notes)
    bev["in_channels"] = backbone["dim"]
    encoder = read_pillar_encoder(model.part("VFE"), backbone["dim"])
    read_scatter(model.part("MAP_TO_BEV"), grid, backbone["dim"])
    channels = sum(bev["up_channels"] or bev["channels"])
    head = read_head(model.part("DENSE_HEAD"), len(class_names), channels, stride, notes)
    if class_names != NUSCENES_CLASSES or grid.range_m != DEFAULT_RANGE_M:
        # Ours would follow the names and the range; the reference's are numbers in its code.
        fixed = {k: getattr(DecodeSettings(), k) for k in ("nms_classes", "centre_range_m")}
        head["decode"] = {**fixed, **head.get("decode", {})}
    # The reference reads these for a recall figure only.
    unused = model.ignore("POST_PROCESSING")
    unused += top.ignore("OPTIMIZATION", "HOOK")
    model.finish()
    top.finish()
    if top.problems:
        raise ValueError(
            f"{len(top.problems)} settings are not supported:\n  " + "\n  ".join(top.problems)
        )
    if unused:
        notes.append(f"not carried over, no influence on the boxes: {', '.join(unused)}")
    detector = dict(
        type="PADReDetector",
        data_preprocessor=dict(type="Det3DDataPreprocessor"),
        grid=dict(range_m=grid.range_m, cell_m=grid.cell_m),
        class_names=class_names,
        pillar_encoder=encoder,
        backbone=backbone,
        bev_backbone=bev,
        head=head,
    )
    return ReferenceModel(name, detector, class_names, grid, num_sweeps, tuple(notes))


def _read_data(data: Settings, notes: list[str]) -> tuple[PillarGrid, int]:
    """Range, voxel size and sweeps."""
    range_m = data.numbers("POINT_CLOUD_RANGE", 6)
    size = _voxel_size(data, notes)
    if abs(size[2] - (range_m[5] - range_m[2])) > 1e-4:
        data.problem(
            "VOXEL_SIZE", f"only pillars as high as the range are supported, got {size[2]} m"
        )
    sweeps = data.take("MAX_SWEEPS", None)
    if sweeps is None:
        notes.append(f"DATA_CONFIG.MAX_SWEEPS: not given, {DEFAULT_SWEEPS} sweeps assumed")
    if "POINT_FEATURE_ENCODING" in data.values:
        encoding = data.part("POINT_FEATURE_ENCODING")
        encoding.only("encoding_type", "absolute_coordinates_encoding")
        encoding.only("used_feature_list", POINT_FEATURES)
        encoding.only("src_feature_list", POINT_FEATURES)
        # MAX_SWEEPS says the same without looking at time stamps.
        encoding.only("filter_sweeps", False)
        encoding.ignore("max_sweeps")
        encoding.finish()
    if data.ignore("_BASE_CONFIG_"):
        notes.append(f"DATA_CONFIG._BASE_CONFIG_: {data.values['_BASE_CONFIG_']} not found")
    unused = data.ignore(*_DATA_ONLY)
    if unused:
        notes.append(f"data and training settings not carried over: {', '.join(unused)}")
    data.finish()
    grid = PillarGrid.of({"range_m": range_m, "cell_m": size[:2]})
    return grid, DEFAULT_SWEEPS if sweeps is None else int(sweeps)


def _voxel_size(data: Settings, notes: list[str]) -> list[float]:
    steps = data.take("DATA_PROCESSOR", [])
    sizes = [data.numbers("VOXEL_SIZE", 3)] if "VOXEL_SIZE" in data.values else []
    for i, values in enumerate(steps):
        step = Settings(values, data.name(f"DATA_PROCESSOR[{i}]"), data.problems)
        kind = step.take("NAME")
        if kind == "mask_points_and_boxes_outside_range":
            step.only("MASK_Z", True)
            if "MASK_Z" not in step.values:
                notes.append(
                    f"{step.name('MASK_Z')}: not given; ours always cuts at the range in z"
                )
            step.ignore("REMOVE_OUTSIDE_BOXES")
        elif kind == "shuffle_points":
            step.ignore("SHUFFLE_ENABLED")
        elif kind in _VOXELS:
            sizes.append(step.numbers("VOXEL_SIZE", 3))
            step.ignore("MAX_POINTS_PER_VOXEL", "MAX_NUMBER_OF_VOXELS")
        else:
            step.problem("NAME", f"{kind!r} is not supported")
            continue
        step.finish()
    if not sizes or any(size != sizes[0] for size in sizes):
        raise ValueError(f"DATA_CONFIG: expected one VOXEL_SIZE, got {sizes or 'none'}")
    return sizes[0]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
