"""Markdown tables of what is computed on paper and of the pruned window; see report.py."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import Result, device, number, of, table

STAGE = {"bev_backbone": "BEV backbone"}


def roofline(results: list[Result], chosen: str | None = None) -> str:
    """Counts of the stages, bounds by device, and the figure behind every bound."""
    parts = []
    for result in of("roofline", results):
        where = f"`{result['config']}`, {result['frame']}, {result['pillars']:,} pillars"
        parts += [
            f"{where}, counted at {result['commit']}:",
            _counts(result),
            "Milliseconds at least, and what bounds them (p: products, m: memory):",
            _bounds(result, chosen),
        ]
    if not parts:
        return "No result is stored."
    newest = of("roofline", results)[-1]
    parts += ["What these figures assume:", _assumptions(newest, chosen)]
    return "\n\n".join(parts)


def _counts(result: Result) -> str:
    rows = []
    for stage, work in result["stages"].items():
        least = (work["elements"] + work["weights"]) * 2 + work["other_bytes"]
        every = work["all_elements"] * 2 + work["all_other_bytes"]
        rows.append(
            (
                STAGE.get(stage, stage),
                f"{work['gflop']:.1f}",
                f"{least / 1e6:.1f}",
                f"{every / 1e6:.0f}",
                str(work["launches"]),
            )
        )
    head = ("stage", "GFLOP", "MB at least, fp16", "MB operator by operator, fp16", "launches")
    return table(head, rows)


def _bounds(result: Result, chosen: str | None) -> str:
    stages = list(result["stages"])
    rows = []
    for name, precisions in _chosen(result["devices"], chosen).items():
        for precision, found in precisions.items():
            rows.append(
                (
                    name,
                    precision,
                    *(_bound(found.get(stage)) for stage in stages),
                    _total(found, "bound_ms"),
                    _total(found, "one_by_one_ms"),
                )
            )
    names = [STAGE.get(stage, stage) for stage in stages]
    return table(("device", "precision", *names, "sum", "operator by operator"), rows)


def _bound(found: dict[str, Any] | None) -> str:
    """Milliseconds and what bounds them; what is not known makes it a bound of the memory alone."""
    if found is None:
        return "on the CPU"
    unknown = " only" if found["products_ms"] is None else ""
    return f"{number(found['bound_ms'])} {found['bounded_by'][0]}{unknown}"


def _total(found: dict[str, dict[str, Any]], key: str) -> str:
    return number(sum(stage[key] for stage in found.values()))


def _assumptions(result: Result, chosen: str | None) -> str:
    rows = [
        (
            name,
            figure,
            "unknown" if entry["value"] is None else f"{entry['value']:g}",
            entry["source"],
        )
        for name, figures in _chosen(result["figures"], chosen).items()
        for figure, entry in figures.items()
    ]
    return table(("device", "figure", "value", "source"), rows)


def _chosen(by_device: dict[str, Any], chosen: str | None) -> dict[str, Any]:
    return {name: found for name, found in by_device.items() if chosen in (None, name)}


def window(results: list[Result]) -> str:
    """What fewer keys of the decoder lose by each score, and the milliseconds of the head."""
    rows = []
    for result in of("window", results):
        for row in result["rows"]:
            keep = row["keep"]
            times = {
                name.split("/", 1)[1]: number(t["median_ms"])
                for name, t in result["times"].items()
                if name.split("/", 1)[0] == str(keep)
            }
            first = row["score"] == result["rows"][0]["score"]
            spent = [f"{name} {ms}" for name, ms in times.items()] if first else []
            off = row.get("backend_errors", {})
            spent += [f"{name} {off[name]:.2%} off" for name in off if name not in times]
            rows.append(
                (
                    device(result),
                    result["config"],
                    str(keep),
                    "all" if keep == result["window"] else row["score"],
                    *(f"{row[f'{name}_error']:.2%}" for name in ("attention", "decoder", "class")),
                    f"{row['centre_m'] * 100:.2g}",
                    f"{row['nds']:.4f}" if "nds" in row else "",
                    ", ".join(spent),
                )
            )
    head = ("device", "config", "keys", "kept by", "attention", "decoder", "class logits")
    return table((*head, "centres, cm", "NDS", "head, median ms"), rows)
