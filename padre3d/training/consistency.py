"""One range and one class list: the model's, which data and metric follow or contradict.

``model.grid.range_m`` and ``model.class_names`` are the values that count. What the pipelines and
the metric hold is set to them where it is the value of our base configs, or was the model's before
the command line changed that; another value is a contradiction.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from padre3d.structures.classes import NUSCENES_CLASSES

BASE_RANGE_M = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
EVALUATORS = ("val_evaluator", "test_evaluator")
NAMES = ("model.grid.range_m", "model.class_names")
# What mmengine and tools/train.py read where a config has it, beside what all of ours have.
OPTIONAL = frozenset(
    [
        *LOADERS,
        *EVALUATORS,
        *("train_cfg", "val_cfg", "test_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"),
        *("default_hooks", "custom_hooks", "data_preprocessor", "visualizer", "log_processor"),
        *("work_dir", "load_from", "resume", "launcher", "env_cfg", "log_level", "randomness"),
        *("default_scope", "custom_imports", "experiment_name", "sync_bn", "compile"),
        *("find_unused_parameters", "model_wrapper_cfg", "activation_checkpointing"),
        "efficient_conv_bn_eval",
    ]
)


def override(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Apply options of the command line; data and metric follow the model.

    Args:
        cfg: the config, changed in place.
        options: of ``--cfg-options``, or None.

    Raises:
        ValueError: if the config has no such key, or data and model contradict each other.
    """
    before = _values(cfg)
    if options is not None:
        check_names(options, {*cfg.keys(), *OPTIONAL})
        cfg.merge_from_dict(options)
    after = _values(cfg)
    if after is None:
        return
    earlier = before or after
    changed = {place.kind for place in _places(cfg) if place.set(_followed(place, earlier, after))}
    for kind in sorted(changed):
        print(f"{NAMES[kind]}: the data follow, {list(after[kind])}")
    for evaluator in nuscenes_evaluators(cfg):
        evaluator["range_m"] = list(after[0])


def check_names(options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse options that nothing reads, as one with a slip of the pen.

    Args:
        options: keys with dots and their values.
        known: the first parts of keys that there are.

    Raises:
        ValueError: names the option and the known name that is nearest.
    """
    for option in options:
        name = option.split(".")[0]
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{option}: expected a key that the config has, got {name!r}{hint}")


def check_consistent(cfg: Config) -> None:
    """Refuse a config whose data do not have the range and the classes of its model.

    Raises:
        ValueError: names the setting, its value and the model's.
    """
    values = _values(cfg)
    if values is None:
        return
    for place in _places(cfg):
        if place.value != values[place.kind]:
            raise ValueError(_contradiction(place, values[place.kind]))


class _Place:
    """A setting of the data that repeats one of the model: kind 0 the range, 1 the classes."""

    def __init__(self, name: str, kind: int, holder: Any, key: str) -> None:
        self.name, self.kind, self.holder, self.key = name, kind, holder, key
        convert: Callable = float if kind == 0 else str
        self.value = tuple(convert(v) for v in holder[key])

    def set(self, value: tuple) -> bool:
        """Change the setting; whether it had another value."""
        changed = value != self.value
        if changed:
            self.holder[self.key], self.value = list(value), value
        return changed


def _followed(place: _Place, earlier: tuple, after: tuple) -> tuple:
    usual = (BASE_RANGE_M, NUSCENES_CLASSES)[place.kind]
    if place.value in (after[place.kind], earlier[place.kind], usual):
        return after[place.kind]
    raise ValueError(_contradiction(place, after[place.kind]))


def _contradiction(place: _Place, wanted: tuple) -> str:
    name = NAMES[place.kind]
    return (
        f"{place.name}: expected {list(wanted)} as {name} says, got {list(place.value)}; "
        f"set {name} alone and the rest follows"
    )


def _values(cfg: Config) -> tuple[tuple, tuple] | None:
    """Range and class names of the model; None for a model of another kind."""
    model = cfg.get("model") or {}
    range_m = (model.get("grid") or {}).get("range_m")
    if range_m is None:
        return None
    return tuple(map(float, range_m)), tuple(model.get("class_names", NUSCENES_CLASSES))


def _places(cfg: Config) -> Iterator[_Place]:
    for loader in LOADERS:
        if cfg.get(loader):
            yield from _walk(cfg[loader], loader)


def _walk(node: Any, name: str) -> Iterator[_Place]:
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _walk(item, f"{name}.{index}")
    if not isinstance(node, dict):
        return
    kind = str(node.get("type")).rpartition(".")[2]
    if kind in ("PointsRangeFilter", "ObjectRangeFilter") and "point_cloud_range" in node:
        yield _Place(f"{name} ({kind}).point_cloud_range", 0, node, "point_cloud_range")
    classes = node.get("classes")
    if isinstance(classes, (list, tuple)):
        yield _Place(f"{name}.classes", 1, node, "classes")
    for key, item in node.items():
        yield from _walk(item, f"{name}.{key}")


def nuscenes_evaluators(cfg: Config, names: Sequence[str] = EVALUATORS) -> Iterator[dict]:
    """Configs of the NuScenesDetectionMetric in a config's evaluators, each one or a list."""
    for name in names:
        found = cfg.get(name) or []
        for evaluator in found if isinstance(found, (list, tuple)) else [found]:
            if str(evaluator.get("type")).endswith("NuScenesDetectionMetric"):
                yield evaluator
