"""Mean, spread and paired differences over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from padre3d.study.spec import Run
from padre3d.study.store import Row

COSTS = ("params", "macs", "seconds")


class Summary(NamedTuple):
    """Statistics of one metric over seeds.

    Attributes:
        mean: arithmetic mean.
        spread: sample standard deviation (n - 1); None for a single seed.
        seeds: number of seeds.
    """

    mean: float
    spread: float | None
    seeds: int


def summarize(values: Iterable[float]) -> Summary | None:
    """Mean and spread; None without values."""
    values = list(values)
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), spread, len(values))


def done_rows(runs: Iterable[Run], rows: Iterable[Row]) -> dict[tuple[str, int, str], Row]:
    """Rows that are results of these runs as they are defined now, by ``Run.key``.

    A row of another configuration, or without one of the study's metrics, is none.
    """
    wanted = {run.key: run for run in runs}
    done = {}
    for row in rows:
        run = wanted.get((row.get("name"), row.get("seed"), row.get("hash")))  # type: ignore[arg-type]
        if run is not None and set(run.study.metrics) <= set(row["metrics"]):
            done[run.key] = row
    return done


def by_seed(rows: Iterable[Row], variant: str, metric: str) -> dict[int, float]:
    """A metric of a variant by seed; values that were not finite are left out."""
    return {
        row["seed"]: row["metrics"][metric]
        for row in rows
        if row["name"] == variant and row["metrics"][metric] is not None
    }


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Summary | None:
    """Mean and spread of the differences to the baseline over the seeds that both have."""
    common = sorted(values.keys() & baseline.keys())
    return summarize(values[seed] - baseline[seed] for seed in common)


def mean_cost(rows: Iterable[Row], variant: str, cost: str) -> float | None:
    """Mean of ``params``, ``macs`` or ``seconds`` over the seeds that have it."""
    found: list[Any] = [row.get(cost) for row in rows if row["name"] == variant]
    summary = summarize(value for value in found if value is not None)
    return None if summary is None else summary.mean
