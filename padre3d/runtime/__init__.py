"""An exported detector from points to boxes, with numpy, msgspec and a backend; no torch."""

from padre3d.runtime.runtime import FrameReport, Runtime

__all__ = ["FrameReport", "Runtime"]
