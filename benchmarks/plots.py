"""One picture per result; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Result = dict[str, Any]


def draw(result: Result, folder: Path) -> Path:
    """Draw a result into ``folder / BENCHMARK.png``.

    Raises:
        ImportError: without matplotlib.
        ValueError: for a benchmark without a picture.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    if result["benchmark"] not in DRAWERS:
        expected = sorted(DRAWERS)
        raise ValueError(f"benchmark: expected one of {expected}, got {result['benchmark']!r}")
    figure = DRAWERS[result["benchmark"]](result, pyplot)
    c = result["conditions"]
    note = f"{c['device']}, {c['dtype']}, {c['threads']} threads, torch {c['torch']}, {c['commit']}"
    figure.text(0.99, 0.005, note, ha="right", size=6)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['benchmark']}.png"
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _mixers(result: Result, pyplot: Any) -> Any:
    """Figure 2: latency and memory over the number of tokens."""
    dims = result["dims"]
    figure, axes = pyplot.subplots(len(dims), 2, figsize=(11, 4.5 * len(dims)), squeeze=False)
    for (dim, found), row in zip(dims.items(), axes, strict=True):
        pairs = (("median_ms", "ms"), ("peak_mb", "peak MB"))
        for axis, (key, label) in zip(row, pairs, strict=True):
            for name, cells in found["rows"].items():
                style = "-" if name.startswith("padre") else "--"
                sizes = sorted(map(int, cells))
                axis.plot(sizes, [cells[str(n)][key] for n in sizes], style, marker=".", label=name)
            axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label, title=f"D = {dim}")
            axis.grid(alpha=0.3)
        row[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _backbone(result: Result, pyplot: Any) -> Any:
    times = {n: t for n, t in result["times"].items() if not n.startswith("plan")}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    _bars(left, times, "ms")
    right.barh(list(times), [result["peak_mb"][name] for name in times], color="tab:gray")
    right.set(xlabel="peak MB")
    left.set(title=f"{result['pillars']:,} pillars: {result['frame']}")
    return figure


def _detector(result: Result, pyplot: Any) -> Any:
    figure, axes = pyplot.subplots(1, len(result["detectors"]), figsize=(11, 4), sharex=True)
    for axis, (name, found) in zip(axes, result["detectors"].items(), strict=True):
        _bars(axis, found["stages"], "ms")
        axis.set(title=f"{name}: {found['fps']:.2f} frames/s")
    return figure


def _steps(result: Result, pyplot: Any) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    _bars(left, result["steps"], "ms per step")
    names = list(result["steps"])
    right.barh(names, [result["steps"][n]["peak_mb"] for n in names], color="tab:gray")
    right.set(xlabel="peak MB")
    return figure


def _bars(axis: Any, times: dict[str, dict[str, float]], label: str) -> None:
    """Medians with their quartiles."""
    median = [t["median_ms"] for t in times.values()]
    low = [t["median_ms"] - t["q1_ms"] for t in times.values()]
    high = [t["q3_ms"] - t["median_ms"] for t in times.values()]
    axis.barh(list(times), median, xerr=[low, high], color="tab:blue")
    axis.set(xlabel=label)
    axis.invert_yaxis()


DRAWERS = {"mixers": _mixers, "backbone": _backbone, "detector": _detector, "training": _steps}
