"""Files that one run takes over from another instead of computing them again."""

from __future__ import annotations

from pathlib import Path

from padre3d.io.files import write_atomic
from padre3d.study.spec import Reuse, Run, Study


def take_over(run: Run, reuse: Reuse, root: Path, work_dir: Path) -> Run | None:
    """Copy the files of ``reuse`` from a run that has all of them, if this one has none.

    Args:
        run: about to start a step.
        reuse: what may be taken over, and from which runs.
        root: the repository, where files of ``Study.inputs`` and relative folders are.
        work_dir: folder of all runs.

    Returns:
        The run they are from; None if nothing was copied.
    """
    out = root / run.out
    if any((out / name).exists() for name in reuse.files):
        return None
    for other in lenders(run, reuse, root, work_dir):
        folder = root / other.out
        if all((folder / name).is_file() for name in reuse.files):
            for name in reuse.files:
                write_atomic(out / name, (folder / name).read_bytes())
            return other
    return None


def lenders(run: Run, reuse: Reuse, root: Path, work_dir: Path) -> list[Run]:
    """The runs of the same seed whose overrides differ in nothing but ``reuse.apart_from``."""
    wanted = _compared(run.study, run.variant, reuse)
    return [
        other
        for other in run.study.runs(root, work_dir)
        if other.seed == run.seed
        and other.variant != run.variant
        and _compared(run.study, other.variant, reuse) == wanted
    ]


def _compared(study: Study, variant: str, reuse: Reuse) -> dict[str, object]:
    overrides = study.overrides(variant)
    return {key: value for key, value in overrides.items() if key not in reuse.apart_from}
