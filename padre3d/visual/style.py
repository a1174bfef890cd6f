"""Colours of the pictures: bright boxes over a dim, dark cloud."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BACKGROUND = "#0d1117"
INK = "#e6edf3"
MUTED = "#8b949e"
GRID = "#3a4350"

# Ground dim, tall things light: the cloud stays behind the boxes.
HEIGHT_RAMP = ("#33445a", "#4a6580", "#6f8aa5", "#a9bac9", "#dfe6ec")
HEIGHT_RANGE_M = (-2.5, 4.0)

# Chosen so that any two stay apart (CIE76 distance above 25) for normal, protan and deutan vision
# after Machado et al. 2009; for tritan vision the least distance is 23.
CLASS_COLOURS = {
    "car": "#88aaff",
    "truck": "#dd8800",
    "construction_vehicle": "#aa7788",
    "bus": "#00ffff",
    "trailer": "#8855ff",
    "barrier": "#aabb88",
    "motorcycle": "#bb44aa",
    "bicycle": "#bbff00",
    "pedestrian": "#cc4433",
    "traffic_cone": "#eedd77",
}
OTHER_COLOURS = tuple(CLASS_COLOURS.values())
GROUND_TRUTH_INK = "#ffffff"
# nuScenes scores no heading of cones and none but the line of barriers.
WITHOUT_HEADING = ("barrier", "traffic_cone")


def class_colours(class_names: Sequence[str]) -> list[str]:
    """One colour per class: fixed for the ten of nuScenes, else by position."""
    return [
        CLASS_COLOURS.get(name, OTHER_COLOURS[index % len(OTHER_COLOURS)])
        for index, name in enumerate(class_names)
    ]


def ramp_rgb(values: np.ndarray) -> np.ndarray:
    """Colours (..., 3) in 0 to 1 of values (...) in 0 to 1 on the height ramp."""
    stops = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in HEIGHT_RAMP])
    position = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, position, stops[:, i]) for i in range(3)], axis=-1)
