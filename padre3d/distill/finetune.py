"""The fine-tuning: the student's own training config, shortened, with the teacher beside it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from padre3d.distill.schedule import shorten_schedule
from padre3d.io.files import remove_parts
from padre3d.training.checkpoint import check_resumable, latest_checkpoint
from padre3d.training.config import naming_config, read_config
from padre3d.training.distributed import prepare_processes

# Settings of our, mmengine's and mmdet3d's hooks that are epochs or iterations of a training.
_HOOK_TIMES = (
    *("last_epochs", "begin_epoch", "begin_iter"),
    *("switch_epoch", "disable_after_epoch", "num_last_epochs"),
)


def finetune_config(
    cfg: Config,
    teacher: Mapping[str, Any],
    teacher_checkpoint: Path,
    fitted: Path,
    epochs: int,
    rate: float,
    seed: int,
) -> Config:
    """The training config of the student from its fitted weights.

    Args:
        cfg: the student's.
        teacher: model config of the teacher.
        teacher_checkpoint, fitted: weights of the teacher and of the fitted student.
        epochs: length; the schedule is that of the config, shortened.
        rate: factor of the learning rates.
        seed: of the order of the frames and their augmentation.

    Raises:
        ValueError: if the config has no training by epochs, or a schedule that is not understood,
            or length or rate are not positive.
    """
    if epochs < 1 or not 0 < rate < math.inf:
        raise ValueError(
            "--finetune-epochs, --finetune-rate: expected an epoch or more at a positive rate, "
            f"got {epochs} and {rate}"
        )
    planned = (cfg.get("train_cfg") or {}).get("max_epochs")
    if not planned or not cfg.get("optim_wrapper"):
        raise ValueError("student's config: expected train_cfg.max_epochs and an optim_wrapper")
    cfg = copy.deepcopy(cfg)
    cfg.model.update(
        type="DistilledDetector",
        teacher=dict(copy.deepcopy(dict(teacher))),
        teacher_checkpoint=str(Path(teacher_checkpoint).resolve()),
    )
    cfg.load_from, cfg.resume = str(Path(fitted).resolve()), False
    shorten_schedule(cfg, planned, epochs, rate)
    cfg.custom_hooks = [_sooner(hook, epochs / planned) for hook in cfg.get("custom_hooks") or []]
    # The last epoch's checkpoint is the result, and each is one to go on from.
    hooks = cfg.get("default_hooks") or {}
    if hooks.get("checkpoint"):
        hooks["checkpoint"].update(by_epoch=True, interval=1, save_last=True)
    cfg.train_cfg.max_epochs = epochs
    # tools/test.py evaluates.
    cfg.train_cfg.val_begin = epochs + 1
    cfg.randomness = {**(cfg.get("randomness") or {}), "seed": seed}
    return cfg


def _sooner(hook: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A hook whose epochs and iterations lie as far in a training of another length."""
    found = {name: round(hook[name] * factor) for name in _HOOK_TIMES if hook.get(name)}
    return {**hook, **found}


def finetune(config: Path, work_dir: Path, epochs: int) -> Path:
    """Train, or go on with a training that was stopped; hold a lock on the folder.

    Args:
        config: file of :func:`finetune_config`.
        work_dir: of logs and checkpoints.
        epochs: of the config.

    Returns:
        The last checkpoint, in the layout of the plain student.
    """
    remove_parts(work_dir, "*.pth.*")
    last = work_dir / f"epoch_{epochs}.pth"
    found = latest_checkpoint(work_dir, lambda text: print(f"fine-tuning: {text}"))
    if found == last:
        return last
    cfg = read_config(config)
    cfg.work_dir, cfg.launcher = str(work_dir), "none"
    if found is not None:
        cfg.resume, cfg.load_from = True, str(found)
    prepare_processes(cfg)
    with naming_config(config):
        runner = Runner.from_cfg(cfg)
    if found is not None:
        check_resumable(runner.model, found)
    runner.train()
    return last
