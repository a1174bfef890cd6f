"""The gate of the probe: a task that needs no context tells no mixers apart.

The mixer "none" is PADRe with kernels of one token: every pillar on its own. It has to stay below
attention by more than five times the spread over seeds, or the task must be made harder.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

SPREADS = 5.0


class Verdict(NamedTuple):
    """What the gate says.

    Attributes:
        gap: mean of attention minus mean of none.
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
        word = "passed" if self.passed else "NOT passed: make the task harder"
        return (
            f"gate {word}: attention - none = {self.gap:.3f} {self.metric}, "
            f"{SPREADS:g} spreads = {SPREADS * self.spread:.3f} (seeds: {self.seeds[0]} of none, "
            f"{self.seeds[1]} of attention)"
        )


def check_gate(
    results: str | Path,
    metric: str = "mean_iou",
    low: str = "none",
    high: str = "attention",
) -> Verdict:
    """The verdict on a study's results file; of several rows of one seed the last counts.

    Args:
        results: lines of JSON with name, seed and metrics.
        metric: metric to compare; more is better.
        low: name of the mixer that sees one pillar.
        high: name of attention.

    Raises:
        ValueError: without at least two seeds of both.
    """
    lines = Path(results).read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    found = {name: _by_seed(rows, name, metric) for name in (low, high)}
    for name, values in found.items():
        if len(values) < 2:
            raise ValueError(
                f"{results}: expected at least two seeds of {name!r} with {metric}, "
                f"got {len(values)}"
            )
    none, attention = (list(found[name].values()) for name in (low, high))
    return Verdict(
        gap=statistics.fmean(attention) - statistics.fmean(none),
        spread=max(statistics.stdev(none), statistics.stdev(attention)),
        seeds=(len(none), len(attention)),
        metric=metric,
    )


def _by_seed(rows: list[Mapping[str, Any]], name: str, metric: str) -> dict[int, float]:
    return {
        row["seed"]: row["metrics"][metric]
        for row in rows
        if row["name"] == name and row["metrics"].get(metric) is not None
    }
