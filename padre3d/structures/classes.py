"""Class names, in label order, and the classes that settings name."""

from __future__ import annotations

from collections.abc import Sequence

NUSCENES_CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)

# Classes about as small as a cell of the map: their heatmap peaks have no neighbourhood, and
# rotated suppression is for them alone. Names in capitals (KITTI's) count too.
POINT_CLASS_NAMES = ("pedestrian", "traffic_cone")


def labels_of(
    wanted: Sequence[int | str], class_names: Sequence[str], what: str
) -> tuple[int, ...]:
    """Labels of classes given by name or label.

    Args:
        wanted: names, labels, or both.
        class_names: names in label order.
        what: the setting, for the message.

    Raises:
        ValueError: if a name is unknown or a label out of range.
    """
    names = list(class_names)
    unknown = [c for c in wanted if not (c in names if isinstance(c, str) else 0 <= c < len(names))]
    if unknown:
        raise ValueError(
            f"{what}: expected names among {names} or labels in 0..{len(names) - 1}, got {unknown}"
        )
    return tuple(names.index(c) if isinstance(c, str) else int(c) for c in wanted)


def point_labels(class_names: Sequence[str]) -> tuple[int, ...]:
    """Labels of the point classes that a class list has."""
    return tuple(i for i, name in enumerate(class_names) if name.lower() in POINT_CLASS_NAMES)


POINT_CLASSES = point_labels(NUSCENES_CLASSES)
