"""Point files in: every format becomes (P, 5) float32 x, y, z in m, intensity, time lag in s."""

from padre3d.io.cloud import Cloud, drop_invalid, drop_unusable
from padre3d.io.load import SUFFIXES, load_points, point_files, read_cloud
from padre3d.io.options import PRESETS, ReadOptions, options_of

__all__ = [
    "PRESETS",
    "SUFFIXES",
    "Cloud",
    "ReadOptions",
    "drop_invalid",
    "drop_unusable",
    "load_points",
    "options_of",
    "point_files",
    "read_cloud",
]
