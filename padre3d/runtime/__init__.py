"""An exported detector from points to boxes, with numpy, msgspec and a backend; no torch."""

from padre3d.runtime.runtime import FrameReport, Runtime
from padre3d.runtime.sweep_buffer import SweepBuffer

__all__ = ["FrameReport", "Runtime", "SweepBuffer"]
