"""Point files in: every format becomes (P, 5) float32 x, y, z in m, intensity, time lag in s."""

from padre3d.io.columns import drop_invalid
from padre3d.io.load import SUFFIXES, load_points, point_files

__all__ = ["SUFFIXES", "drop_invalid", "load_points", "point_files"]
