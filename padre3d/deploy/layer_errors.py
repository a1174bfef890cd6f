"""Which layers lose what in 8 bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHOWN = 15


def layer_table(errors: Sequence[dict[str, Any]]) -> object:
    """The worst layers as a table for a rich console."""
    from rich.table import Table

    table = Table(title="layers that lose most, relative RMS")
    for column in ("layer", "operator", "own", "in the whole", "bits"):
        table.add_column(column)
    for error in errors[:SHOWN]:
        table.add_row(error["layer"], error["operator"], f"{error['own']:.1e}",
                      f"{error['total']:.1e}", str(error["bits"]))  # fmt: skip
    return table
