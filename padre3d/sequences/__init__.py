"""Pillars to token orders and back: constant permutations, DSVT sets, in-window coordinates."""

from padre3d.sequences.orders import ORDERS, permutation
from padre3d.sequences.planner import TokenPlanner
from padre3d.sequences.serial import SerialOrders
from padre3d.sequences.sets import WindowSets
from padre3d.sequences.windows import WindowPartition
from padre3d.structures.tokens import TokenPlan

__all__ = [
    "ORDERS",
    "SerialOrders",
    "TokenPlan",
    "TokenPlanner",
    "WindowPartition",
    "WindowSets",
    "permutation",
]
