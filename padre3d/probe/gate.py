"""The gate of the probe: a metric that needs no context tells no mixers apart.

The mixer "none" is PADRe with kernels of one token: every pillar on its own. By a metric that
mixers are compared by, it has to be worse than attention by more than five times the spread over
seeds; if no metric says so, the task must be made harder.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SPREADS = 5.0
# Whether more is better.
METRICS = {
    "mean_iou": True,
    "car_iou": True,
    "far_mean_iou": True,
    "long_recall": True,
    "centre_m": False,
    "long_centre_m": False,
    "heading_rad": False,
    "size_log": False,
}


class Verdict(NamedTuple):
    """What the gate says.

    Attributes:
        gap: by how much the mean of attention is better than the mean of none.
        spread: the larger of both sample standard deviations over seeds.
        seeds: number of seeds of none and of attention.
        metric: the metric compared.
    """

    gap: float
    spread: float
    seeds: tuple[int, int]
    metric: str

    @property
    def passed(self) -> bool:
        """Whether none is far enough below attention."""
        return self.gap > SPREADS * self.spread

    def __str__(self) -> str:
        word = "passed" if self.passed else "NOT passed"
        return (
            f"{self.metric:13} {word}: attention is better than none by {self.gap:.3f}, "
            f"{SPREADS:g} spreads are {SPREADS * self.spread:.3f} (seeds: {self.seeds[0]} of none, "
            f"{self.seeds[1]} of attention)"
        )


def check_gates(results: str | Path) -> list[Verdict]:
    """The verdict on every metric that the results hold; see :func:`check_gate`.

    Raises:
        ValueError: without at least two seeds of both with any metric.
    """
    rows = _rows(results)
    held = [m for m in METRICS if all(len(_by_seed(rows, n, m)) > 1 for n in ("none", "attention"))]
    return [check_gate(results, metric) for metric in held or ["mean_iou"]]


def check_gate(
    results: str | Path,
    metric: str = "mean_iou",
    low: str = "none",
    high: str = "attention",
) -> Verdict:
    """The verdict on a study's results file; of several rows of one seed the last counts.

    Args:
        results: lines of JSON with name, seed and metrics.
        metric: metric to compare, one of :data:`METRICS`.
        low: name of the mixer that sees one pillar.
        high: name of attention.

    Raises:
        ValueError: without at least two seeds of both.
    """
    rows = _rows(results)
    found = {name: _by_seed(rows, name, metric) for name in (low, high)}
    for name, values in found.items():
        if len(values) < 2:
            raise ValueError(
                f"{results}: expected at least two seeds of {name!r} with {metric}, "
                f"got {len(values)}"
            )
    none, attention = (list(found[name].values()) for name in (low, high))
    gap = statistics.fmean(attention) - statistics.fmean(none)
    return Verdict(
        gap=gap if METRICS[metric] else -gap,
        spread=max(statistics.stdev(none), statistics.stdev(attention)),
        seeds=(len(none), len(attention)),
        metric=metric,
    )


def _rows(results: str | Path) -> list[dict[str, Any]]:
    lines = Path(results).read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _by_seed(rows: Sequence[Mapping[str, Any]], name: str, metric: str) -> dict[int, float]:
    return {
        row["seed"]: row["metrics"][metric]
        for row in rows
        if row["name"] == name and row["metrics"].get(metric) is not None
    }
