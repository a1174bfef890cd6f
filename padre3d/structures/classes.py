"""Class names, in label order, and the sets of classes that settings name."""

from __future__ import annotations

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

# Classes about as small as a cell of the map (pedestrian, traffic cone): their heatmap peaks have
# no neighbourhood, and rotated suppression is for them alone.
POINT_CLASSES = (NUSCENES_CLASSES.index("pedestrian"), NUSCENES_CLASSES.index("traffic_cone"))
