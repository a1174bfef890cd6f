"""Our config file of a reference model: the model in full, data and schedule by reference."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from padre3d.convert.reference_config import DEFAULT_SWEEPS, ReferenceModel
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.structures.grid import PillarGrid

BASES = (
    "_base_/datasets/nuscenes.py",
    "_base_/schedules/onecycle_20e.py",
    "_base_/default_runtime.py",
)
# Range of the data set configs in BASES.
DATA_RANGE_M = PillarGrid((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), (0.3, 0.3)).range_m
WIDTH = 100

_HEADER = '''"""{name} of the reference with its behaviour, see docs/reference_differences.md.

    python tools/infer.py {config} CHECKPOINT POINTS
    python tools/test.py {config} CHECKPOINT

Written by tools/convert_checkpoint.py.
"""

'''

_DATA = """
# As the base data set's pipelines, for this model's input.
_settings = dict(
    LoadSweeps=dict(num_sweeps={sweeps}),
    PointsRangeFilter=dict(point_cloud_range=model["grid"]["range_m"]),
    ObjectRangeFilter=dict(point_cloud_range=model["grid"]["range_m"]),
    ObjectNameFilter=dict(classes=model["class_names"]),
)
{train_steps}
train_pipeline = [dict(step, **_settings.get(step["type"], {{}})) for step in _steps]
test_pipeline = [dict(step, **_settings.get(step["type"], {{}})) for step in _base_.test_pipeline]
class_names = model["class_names"]
_train = dict(metainfo=dict(classes=class_names), pipeline=[_base_.load_points, *train_pipeline])
_test = dict(metainfo=dict(classes=class_names), pipeline=[_base_.load_points, *test_pipeline])
train_dataloader = dict(dataset=dict(dataset=_train))
val_dataloader = dict(dataset=_test)
test_dataloader = val_dataloader
"""
_ALL_STEPS = "_steps = _base_.train_pipeline"
_NO_SAMPLING = """# The base samples objects of nuScenes' own classes.
_steps = [step for step in _base_.train_pipeline if step["type"] != "SampleGroundTruth"]"""


def config_text(reference: ReferenceModel, path: Path, configs: Path) -> str:
    """The text of the config file.

    Args:
        reference: the model.
        path: where the file will be.
        configs: the project's folder of configs. A file inside the project names its bases by a
            relative path, one elsewhere by an absolute one.
    """
    model = dict(reference.model)
    usual_classes = reference.class_names == NUSCENES_CLASSES
    usual_data = usual_classes and reference.num_sweeps == DEFAULT_SWEEPS
    usual_data = usual_data and reference.grid.range_m == DATA_RANGE_M
    if usual_data:
        del model["class_names"]
    folder, project = path.resolve().parent, configs.resolve().parent
    inside = folder == project or project in folder.parents
    root = Path(os.path.relpath(configs.resolve(), folder)) if inside else configs.resolve()
    bases = ",\n    ".join(_literal((root / base).as_posix()) for base in BASES)
    text = _HEADER.format(name=reference.name, config=path.name)
    text += f"_base_ = [\n    {bases},\n]\n\nmodel = {_literal(model)}\n"
    if not usual_data:
        known = set(reference.class_names) >= set(NUSCENES_CLASSES)
        steps = _ALL_STEPS if known else _NO_SAMPLING
        text += _DATA.format(sweeps=reference.num_sweeps, train_steps=steps)
    return text


def _literal(value: Any, indent: int = 0, taken: int = 8) -> str:
    """Python source of a setting, on one line if it fits.

    Args:
        value: a dict with plain keys, a sequence, a number, a text, None.
        indent: columns of indentation of the line that the value starts on.
        taken: columns before the value on that line, the indentation not counted.
    """
    items = _items(value)
    if items is None:
        # JSON's quotes are double, and what it escapes reads the same in Python.
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    opening, closing = ("dict(", ")") if isinstance(value, Mapping) else ("(", ")")
    flat = [name + _literal(item, 0, -WIDTH) for name, item in items]
    line = opening + ", ".join(flat) + ("," if opening == "(" and len(flat) == 1 else "") + closing
    if taken < 0 or indent + taken + len(line) < WIDTH:
        return line
    inner = " " * (indent + 4)
    body = [inner + name + _literal(item, indent + 4, len(name)) + ",\n" for name, item in items]
    return f"{opening}\n{''.join(body)}{' ' * indent}{closing}"


def _items(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return [(f"{key}=", item) for key, item in value.items()]
    return [("", item) for item in value] if isinstance(value, (list, tuple)) else None
