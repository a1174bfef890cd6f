"""The nuScenes v1.0 tables: tokens, fixed rows and the order in which they are written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from padre3d.synthetic.catalog import ATTRIBUTES, CATEGORIES, VISIBILITY

Row = dict[str, Any]

TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)


def token(seed: int, *names: object) -> str:
    """A row's 32 hexadecimal digits, the same for the same seed and names."""
    text = "/".join(str(name) for name in (seed, *names))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def fixed_tables(seed: int) -> dict[str, list[Row]]:
    """All tables, with the rows that do not depend on a scene."""
    tables: dict[str, list[Row]] = {name: [] for name in TABLES}
    tables["category"] = [
        {"token": token(seed, "category", name), "name": name, "description": ""}
        for name in CATEGORIES
    ]
    tables["attribute"] = [
        {"token": token(seed, "attribute", name), "name": name, "description": ""}
        for name in ATTRIBUTES
    ]
    tables["visibility"] = [
        {"token": key, "level": level, "description": f"visibility between {level[1:]} %"}
        for key, level in VISIBILITY.items()
    ]
    tables["sensor"] = [
        {"token": token(seed, "sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}
    ]
    return tables


def link(rows: list[Row]) -> list[Row]:
    """Chain rows that are in order of time by their ``prev`` and ``next`` tokens."""
    for before, after in zip(rows[:-1], rows[1:], strict=True):
        before["next"], after["prev"] = after["token"], before["token"]
    return rows


def write_tables(tables: dict[str, list[Row]], folder: Path) -> None:
    """Write one JSON file for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        (folder / f"{name}.json").write_text(json.dumps(tables[name], indent=0))


def scene_names(count: int, version: str) -> list[str]:
    """Names of real scenes, so that both the training and the validation split get some.

    Raises:
        ValueError: if the version is unknown or has fewer scenes than asked for.
    """
    from nuscenes.utils import splits

    if version == "v1.0-mini":
        train, val = splits.mini_train, splits.mini_val
    elif version == "v1.0-trainval":
        train, val = splits.train, splits.val
    else:
        raise ValueError(f"version: expected 'v1.0-mini' or 'v1.0-trainval', got {version!r}")
    share = len(val) / (len(train) + len(val)) if version == "v1.0-mini" else 0.15
    num_val = 0 if count < 2 else max(1, round(share * count))
    num_val = max(min(num_val, len(val)), count - len(train))
    if not 1 <= count <= len(train) + len(val):
        raise ValueError(
            f"num_scenes: expected 1 to {len(train) + len(val)} for {version}, got {count}"
        )
    return list(train[: count - num_val]) + list(val[:num_val])
