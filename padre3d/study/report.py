"""Results as a terminal table, Markdown or JSON rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from padre3d.study.environment import short_commit
from padre3d.study.seeds import Summary, by_seed, mean_cost, paired, summarize
from padre3d.study.spec import Study
from padre3d.study.store import Row

NONE = "-"


def json_rows(study: Study, variants: Sequence[str], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One ``{name, metric, mean, spread, seeds}`` per variant and metric that has a result.

    ``spread`` is the sample standard deviation, None for one seed; ``seeds`` their number.
    """
    found = []
    for variant in variants:
        for metric in study.metrics:
            summary = summarize(by_seed(rows, variant, metric).values())
            if summary is not None:
                found.append({"name": variant, "metric": metric, **summary._asdict()})
    return found


def header(study: Study) -> list[str]:
    """Columns of the report."""
    columns = ["variant", "seeds"]
    for metric in study.metrics:
        columns.append(metric)
        if study.baseline is not None:
            columns.append(f"{metric} - {study.baseline}")
    return [*columns, "parameters", "MACs", "seconds"]


def text_rows(study: Study, variants: Iterable[str], rows: Sequence[Row]) -> list[list[str]]:
    """Cells of the report, one list per variant."""
    return [_text_row(study, variant, rows) for variant in variants]


def markdown(study: Study, variants: Iterable[str], rows: Sequence[Row]) -> str:
    """The report as a Markdown table, with a line that says what the figures are."""
    columns = header(study)
    align = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, align, *text_rows(study, variants, rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{caption(study, rows)}"


def terminal_table(study: Study, variants: Iterable[str], rows: Sequence[Row]) -> Table:
    """The report for a terminal."""
    table = Table(title=study.name, caption=caption(study, rows), caption_justify="left")
    for number, column in enumerate(header(study)):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for cells in text_rows(study, variants, rows):
        table.add_row(*cells)
    return table


def caption(study: Study, rows: Sequence[Row]) -> str:
    """What the figures are and where they come from."""
    text = "Mean ± sample standard deviation over seeds."
    if study.baseline is not None:
        text += (
            f" Differences to {study.baseline} are paired by seed, over the seeds that both have "
            "(their number in parentheses)."
        )
    lost = sum(value is None for row in rows for value in row["metrics"].values())
    if lost:
        text += f" {lost} values were not finite and are left out."
    for label, key in (("Device", "device"), ("Threads", "threads"), ("Torch", "torch")):
        values = sorted({str(row[key]) for row in rows})
        if values:
            text += f" {label}: {', '.join(values)}."
    commits = sorted({name for row in rows for name in _commits(row)})
    if commits:
        text += f" Commit: {', '.join(commits)}."
    shared = sorted({row["shared_from"] for row in rows if "shared_from" in row})
    if shared:
        text += f" Runs of other studies: {', '.join(shared)}."
    if len({row["data"] for row in rows if row.get("data")}) > 1:
        text += " The rows are of DIFFERENT DATA."
    return text


def _commits(row: Row) -> list[str]:
    """Of all attempts; rows of earlier versions name the last one's."""
    return row.get("commits") or [short_commit(row["commit"], row["dirty"])]


def _text_row(study: Study, variant: str, rows: Sequence[Row]) -> list[str]:
    seeds = sum(row["name"] == variant for row in rows)
    cells = [variant, str(seeds)]
    for metric in study.metrics:
        values = by_seed(rows, variant, metric)
        cells.append(_value(summarize(values.values())))
        if study.baseline is not None:
            cells.append(_difference(study, variant, values, by_seed(rows, study.baseline, metric)))
    params, macs = (mean_cost(rows, variant, key) for key in ("params", "macs"))
    seconds = mean_cost(rows, variant, "seconds")
    whole = [NONE if cost is None else f"{cost:,.0f}" for cost in (params, macs)]
    return [*cells, *whole, NONE if seconds is None else f"{seconds:,.1f}"]


def _value(summary: Summary | None) -> str:
    if summary is None:
        return NONE
    return f"{summary.mean:.4f}" + ("" if summary.spread is None else f" ± {summary.spread:.4f}")


def _difference(
    study: Study, variant: str, values: dict[int, float], baseline: dict[int, float]
) -> str:
    difference = None if variant == study.baseline else paired(values, baseline)
    if difference is None:
        return NONE
    spread = "" if difference.spread is None else f" ± {difference.spread:.4f}"
    return f"{difference.mean:+.4f}{spread} ({difference.seeds})"
