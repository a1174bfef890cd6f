"""Devices nobody measured here: what their makers say they can do, and what is only assumed.

Peaks are dense (makers print twice as much, with half of the weights zero) and at boost clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """Bytes of an activation and of a weight."""

    activation: int
    weight: int


PRECISIONS = {"fp16": Precision(2, 2), "int8": Precision(1, 1), "a16w8": Precision(2, 1)}


@dataclass(frozen=True)
class Figure:
    """One number of a device and who says so; None where nobody does."""

    value: float | None
    source: str


@dataclass(frozen=True)
class Device:
    """A device on paper.

    Attributes:
        title: full name.
        tera_ops: dense peak of matrix products by precision, 1e12 operations a second (a
            multiply-add is two).
        gb_per_s: of the memory.
        launch_us: of one kernel from Python; None where a whole graph is one call.
        graph_only: whether it runs the exported graph alone, without what comes before and after.
    """

    title: str
    tera_ops: Mapping[str, Figure]
    gb_per_s: Figure
    launch_us: Figure
    graph_only: bool = False

    def figures(self) -> dict[str, Figure]:
        """Every number with its unit in its name."""
        peaks = {f"{name}, T op/s": figure for name, figure in self.tera_ops.items()}
        return {**peaks, "memory, GB/s": self.gb_per_s, "launch, us": self.launch_us}


ORIN_BRIEF = "Jetson AGX Orin Technical Brief v1.2"
NX_SHEET = "Jetson Orin NX Series data sheet"
ADA_PAPER = "NVIDIA Ada GPU Architecture white paper, RTX 4090"
H100_SHEET = "NVIDIA H100 data sheet, SXM"
PC_LAUNCH = "assumed: eager PyTorch on a fast processor; about 1 in a CUDA graph"
ARM_LAUNCH = "assumed: twice a fast processor's"

DEVICES = {
    "orin-agx": Device(
        "Jetson AGX Orin 64 GB",
        {
            "fp16": Figure(42.5, f"{ORIN_BRIEF}: GPU 170 T op/s int8 sparse; a quarter of it"),
            "int8": Figure(85.0, f"{ORIN_BRIEF}: GPU 170 sparse, half of it; DLAs (105) not used"),
        },
        Figure(204.8, f"{ORIN_BRIEF}; shared with the CPU"),
        Figure(10.0, ARM_LAUNCH),
    ),
    "orin-nx": Device(
        "Jetson Orin NX 16 GB",
        {
            "fp16": Figure(15.0, f"{NX_SHEET}: GPU 60 of 100 T op/s sparse; a quarter of it"),
            "int8": Figure(30.0, f"{NX_SHEET}: GPU 60 sparse, half of it; DLAs (40) not used"),
        },
        Figure(102.4, f"{NX_SHEET}; shared with the CPU"),
        Figure(10.0, ARM_LAUNCH),
    ),
    "rtx-4090": Device(
        "GeForce RTX 4090",
        {
            "fp16": Figure(165.2, f"{ADA_PAPER}: with fp32 accumulation (330.3 with fp16)"),
            "int8": Figure(660.6, ADA_PAPER),
        },
        Figure(1008.0, ADA_PAPER),
        Figure(5.0, PC_LAUNCH),
    ),
    "h100": Device(
        "H100 SXM 80 GB",
        {
            "fp16": Figure(989.5, f"{H100_SHEET}: 1,979 sparse, half of it"),
            "int8": Figure(1979.0, f"{H100_SHEET}: 3,958 sparse, half of it"),
        },
        Figure(3350.0, H100_SHEET),
        Figure(5.0, PC_LAUNCH),
    ),
    "snapdragon-8-gen-3": Device(
        "Snapdragon 8 Gen 3, HTP",
        {"a16w8": Figure(None, "unknown: Qualcomm gives no operations per second for this NPU")},
        Figure(76.8, "product brief: LPDDR5X at 4,800 MHz; 64 bit, all of it, are assumed"),
        Figure(None, "none: the graph is one call; cost of an operator and VTCM traffic unknown"),
        graph_only=True,
    ),
}
