"""What a distillation prints: copied weights, progress, the table of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from padre3d.distill.pair import Copied, Pair, layers_of

LINES_PER_PHASE = 10
_NAMED = 6


class ShowProgress:
    """A bar per phase on a terminal, elsewhere ten lines: a callback of ``Fitting.run``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(console=console, disable=not console.is_terminal)
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ShowProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, phase: str, done: int, steps: int) -> None:
        """Show that ``done`` of a phase's steps are done."""
        if not steps:
            return
        if self.console.is_terminal:
            if phase not in self.tasks:
                self.tasks[phase] = self.bars.add_task(phase, total=steps)
            self.bars.update(self.tasks[phase], completed=done)
        elif done * LINES_PER_PHASE // steps > (done - 1) * LINES_PER_PHASE // steps:
            self.console.print(f"{phase}: {done}/{steps}", highlight=False)


def print_copied(console: Console, copied: Copied) -> None:
    """How many weights went where; names of those that did not."""
    lines = [
        ("copied from the teacher", copied.copied, False),
        ("mixers, to be fitted", copied.mixers, False),
        ("the student's alone", copied.own, True),
        ("the teacher's that went nowhere", copied.left, True),
    ]
    for title, keys, named in lines:
        names = f": {_some(keys)}" if named and keys else ""
        console.print(f"{len(keys):5d} tensors {title}{names}", highlight=False, soft_wrap=True)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")


def error_table(pair: Pair, errors: Mapping[str, Mapping[str, Any]]) -> Table:
    """Relative RMS errors on unseen frames by layer and block, one column a phase."""
    table = Table(title="RMS error on unseen frames / standard deviation of the teacher's")
    table.add_column("output of")
    for phase in errors:
        table.add_column(phase, justify="right")
    teachers = layers_of(pair.teacher.backbone)
    for i, (old, new) in enumerate(zip(teachers, pair.layers, strict=True)):
        name = f"layer {i}: {type(old.mixer).__name__} -> {type(new.mixer).__name__}"
        table.add_row(name, *(f"{of['layers'][i]:.3f}" for of in errors.values()))
    table.add_section()
    for i in range(len(pair.student.backbone.blocks)):
        table.add_row(f"block {i}", *(f"{of['blocks'][i]:.3f}" for of in errors.values()))
    return table
