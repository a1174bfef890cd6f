"""Accuracy against cost; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from padre3d.study.seeds import by_seed, mean_cost, summarize
from padre3d.study.spec import Study
from padre3d.study.store import Row

LABELS = {"params": "parameters", "macs": "MACs", "seconds": "seconds"}
LOG_SCALE_FROM = 10.0


def plot(
    study: Study, variants: Sequence[str], rows: Sequence[Row], metric: str, cost: str, path: Path
) -> list[str]:
    """Draw a metric's mean with its spread against a cost, one point per variant.

    Args:
        study: the study.
        variants: those to draw.
        rows: results.
        metric: what goes up.
        cost: ``params``, ``macs`` or ``seconds``.
        path: the picture.

    Returns:
        Variants that are not in the picture: no result, or the cost is unknown or not positive.

    Raises:
        ImportError: without matplotlib.
        ValueError: if no variant can be drawn.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    points = {}
    for variant in variants:
        summary = summarize(by_seed(rows, variant, metric).values())
        price = mean_cost(rows, variant, cost)
        if summary is not None and price:
            points[variant] = (price, summary)
    if not points:
        raise ValueError(f"plot: no variant has both {metric} and {LABELS[cost]}")
    figure, axis = pyplot.subplots(figsize=(6.5, 4.5))
    for variant, (price, summary) in points.items():
        axis.errorbar(price, summary.mean, yerr=summary.spread or 0.0, fmt="o", capsize=3)
        axis.annotate(variant, (price, summary.mean), (5, 5), textcoords="offset points", size=8)
    prices = [price for price, _ in points.values()]
    if max(prices) / min(prices) >= LOG_SCALE_FROM:
        axis.set_xscale("log")
    axis.set(xlabel=LABELS[cost], ylabel=metric, title=study.name)
    axis.margins(x=0.15)
    axis.grid(alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return [variant for variant in variants if variant not in points]
