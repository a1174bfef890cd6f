"""What a stage costs at least: its products at the machine's measured rate, its bytes likewise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DIM, FFN, LAYERS, TAPS, SET_SIZE = 128, 256, 8, 11, 90


def backbone_bounds(pillars: int, slots: float, conditions: Mapping[str, Any]) -> list[dict]:
    """Stages of all layers of the PADRe-2 and of the attention backbone.

    Args:
        pillars: N.
        slots: mean number of slots of DSVT's sets.
        conditions: with ``product_gflops``, ``copy_gb_per_s`` and ``dtype``.

    Returns:
        One row per stage: gflop, mb (every tensor read or written once per layer), and the larger
        of the two times as ``bound_ms``. Rows of the stages in both forms are equal.
    """
    size = 4 if conditions["dtype"] == "float32" else 2
    row_mb = pillars * DIM * size / 1e6
    slot_mb = slots * DIM * size / 1e6
    product = 2e-9 * DIM * DIM
    stages = [
        ("padre2", "gather and positions", 0.0, 2 * row_mb),
        ("padre2", "3 pointwise maps", 3 * pillars * product, 0.0),
        ("padre2", "convolution over tokens", 2e-9 * TAPS * pillars * DIM, 0.0),
        ("sdpa", "gather and positions", 0.0, row_mb + slot_mb),
        ("sdpa", "q, k, v and output maps", 4 * slots * product, 0.0),
        ("sdpa", "attention in sets", 4e-9 * slots * SET_SIZE * DIM, 0.0),
        ("both", "feed-forward", 4e-9 * pillars * DIM * FFN, 0.0),
        ("both", "norms, residuals, scatter", 0.0, row_mb),
    ]
    return [_row(*stage, conditions) for stage in stages]


def _row(
    form: str, stage: str, gflop: float, mb: float, conditions: Mapping[str, Any]
) -> dict[str, Any]:
    gflop, mb = gflop * LAYERS, mb * LAYERS
    bound = max(gflop / conditions["product_gflops"] * 1e3, mb / conditions["copy_gb_per_s"])
    return {
        "form": form,
        "stage": stage,
        "gflop": round(gflop, 3),
        "mb": round(mb, 1),
        "bound_ms": round(bound, 4),
    }
