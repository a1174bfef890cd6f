"""Rows of other studies whose runs are the same: one run serves every study that asks for it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from padre3d.study.seeds import done_rows
from padre3d.study.spec import Run
from padre3d.study.store import Row, read_rows

FAILURES = ".failed.jsonl"


def shared_rows(runs: Sequence[Run], results: Path) -> list[Row]:
    """Rows of the results files beside ``results`` that answer runs of this study.

    A run is the same if its hash (overrides, commands, inputs) and seed are, and if nothing of it
    depends on the variant's name. The rows come back under this study's names; ``shared_from``
    says whose they are. A file that cannot be read is left out with a warning: it is another
    study's.

    Args:
        runs: the runs of this study.
        results: this study's own results file.
    """
    wanted: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        if not _names_itself(run):
            wanted.setdefault((run.hash, run.seed), []).append(run)
    found = []
    for path in sorted(results.parent.glob("*.jsonl")):
        if path == results or path.name.endswith(FAILURES):
            continue
        try:
            rows = read_rows(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path}: left out: {error}", stacklevel=2)
            continue
        for row in rows:
            for run in wanted.get((row.get("hash", ""), row.get("seed", -1)), ()):
                origin = f"{path.stem}: {row.get('name')}"
                found.append({**row, "name": run.variant, "shared_from": origin})
    return list(done_rows(runs, found).values())


def all_rows(runs: Sequence[Run], results: Path) -> list[Row]:
    """Shared rows, then the study's own, which win where there are both."""
    return [*shared_rows(runs, results), *read_rows(results)]


def _names_itself(run: Run) -> bool:
    """Whether the variant's name is part of what the run does."""
    overrides = json.dumps(run.study.overrides(run.variant))
    return "variant" in run.study.placeholders(run.variant) or "{variant}" in overrides
