"""Fine-tuning from a model with other classes: what has a name in both is kept."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor

from padre3d.models import MANIFEST, WEIGHTS

# Weights of the head with a row for every class, and the axis of these rows.
CLASS_AXES = (
    (re.compile(r"head\.heatmap_head\.\d+\.(weight|bias)$"), 0),
    (re.compile(r"head\.branches\.heatmap\.\w+\.(weight|bias)$"), 0),
    (re.compile(r"head\.class_embedding\.weight$"), 1),
)


class ClassTransferHook(Hook):
    """Fits the weights of ``load_from`` to another class list, by name.

    The rows of classes that both models have are copied, those of other classes stay as they were
    initialised, and the log lists both. The names come from the checkpoint, those of packaged
    weights from the manifest beside them; where they are unknown a warning says that rows are taken
    by number. A training that resumes is left alone.
    """

    # Before EMAHook, which copies what is loaded.
    priority = "VERY_HIGH"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change the checkpoint's weights in place."""
        model = getattr(runner.model, "module", runner.model)
        new = getattr(model, "class_names", None)
        if runner._resume or new is None:
            return
        old = class_names_of(checkpoint, runner._load_from)
        if old is None:
            print_log(
                f"{runner._load_from}: names of its classes unknown, so their weights are taken by "
                f"number as those of {', '.join(new)}",
                "current",
                logging.WARNING,
            )
            return
        if tuple(old) == tuple(new):
            return
        state = checkpoint.get("state_dict", checkpoint)
        state.update(transfer_classes(state, model.state_dict(), old, new))
        kept = [name for name in new if name in old]
        fresh = [name for name in new if name not in old]
        print_log(
            f"classes kept from {runner._load_from}: {', '.join(kept) or 'none'}; "
            f"starting fresh: {', '.join(fresh) or 'none'}",
            "current",
        )


def class_names_of(checkpoint: dict, path: str | Path | None) -> Sequence[str] | None:
    """Names of a checkpoint's classes in label order; None where nothing says them.

    Args:
        checkpoint: of a training, or bare weights.
        path: its file, if it is known; packaged weights lie beside a manifest.
    """
    if "state_dict" in checkpoint:
        return ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    if path is None:
        return None
    manifest = Path(path).with_name(MANIFEST)
    if Path(path).name != WEIGHTS or not manifest.is_file():
        return None
    return json.loads(manifest.read_text()).get("classes")


def transfer_classes(
    state: dict[str, Tensor], wanted: dict[str, Tensor], old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """Weights of a model with the classes ``old`` for one with the classes ``new``.

    Args:
        state: the former model's.
        wanted: the new model's, as initialised.
        old, new: class names in label order.

    Returns:
        ``state`` with the rows of the classes in the order of ``new``; those of unknown classes are
        ``wanted``'s.

    Raises:
        ValueError: if a weight has not a row for every class.
    """
    moved, old, new = dict(state), list(old), list(new)
    rows = [(new.index(name), old.index(name)) for name in new if name in old]
    for key, value in state.items():
        axis = _class_axis(key, state)
        if axis is None or key not in wanted:
            continue
        if value.shape[axis] != len(old) or wanted[key].shape[axis] != len(new):
            raise ValueError(
                f"{key}: expected {len(old)} and {len(new)} classes on axis {axis}, got shapes "
                f"{tuple(value.shape)} and {tuple(wanted[key].shape)}"
            )
        target = wanted[key].detach().clone().to(value.dtype)
        for to, source in rows:
            target.select(axis, to).copy_(value.select(axis, source))
        moved[key] = target
    return moved


def _class_axis(key: str, state: dict[str, Tensor]) -> int | None:
    """The axis of the classes; None for a weight without one."""
    axis = next((axis for pattern, axis in CLASS_AXES if pattern.match(key)), None)
    if axis != 0:
        return axis
    # Of a chain of layers the last one, its weight and its bias, has the classes.
    chain = key.rsplit(".", 2)[0] + "."
    return axis if key in [k for k in state if k.startswith(chain)][-2:] else None
