"""Give a trained detector other mixers: copy, fit, fine-tune.

    python tools/distill.py configs/dsvt_nuscenes.py dsvt.pth configs/dsvt_padre2_nuscenes.py \\
        --out work_dirs/distilled
    python tools/distill.py TEACHER TEACHER.pth STUDENT --out DIR --finetune-epochs 0   # no labels

DIR/student.pth is a checkpoint of the student's config; DIR/errors.json has the errors of every
layer. The same call goes on where an earlier one was killed. See docs/distillation.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.distill.detector import check_teacher
from padre3d.distill.errors import plain_errors
from padre3d.distill.finetune import finetune, finetune_config
from padre3d.distill.fitting import Fitting
from padre3d.distill.frames import unlabelled_frames
from padre3d.distill.pair import Pair
from padre3d.distill.phases import FitSettings
from padre3d.distill.show import ShowProgress, error_table, print_copied
from padre3d.inference import check_device, init_model
from padre3d.io.files import remove_parts, write_atomic
from padre3d.io.lock import lock
from padre3d.plugin import MODELS
from padre3d.training.checkpoint import load_checkpoint_file, state_of
from padre3d.training.config import naming_config, read_config
from padre3d.training.consistency import override
from padre3d.training.memory import keep_freed_memory

STUDENT, FITTED, ERRORS = "student.pth", "fitted.pth", "errors.json"
PLAIN_WIDTH = 160


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    settings = FitSettings()
    add("teacher", help="config file of the trained detector")
    add("checkpoint", help="its weights")
    add("student", help="config file of the detector to make")
    add("--out", type=Path, required=True, help="folder of the results")
    add("--frames", type=int, default=200, help="training frames to fit on, without labels")
    add("--unseen-frames", type=int, default=20, help="training frames to measure errors on")
    add("--layer-steps", type=int, default=settings.layer_steps, help="on each layer's mixer")
    add("--stack-steps", type=int, default=settings.stack_steps, help="on all layers together")
    add("--layer-rate", type=float, default=settings.layer_rate, help="their learning rate")
    add("--stack-rate", type=float, default=settings.stack_rate, help="their learning rate")
    add(
        "--finetune-epochs",
        type=int,
        help="with labels and the teacher's outputs; 0: none (default: a tenth of the config's)",
    )
    add("--finetune-rate", type=float, help="factor of the config's learning rate (default: 0.25)")
    add("--write-config", action="store_true", help="only write the fine-tuning's config file")
    add("--seed", type=int, default=0, help="of new weights, the order of frames, augmentation")
    add("--cfg-options", nargs="+", action=DictAction, help="overrides of the student's config")
    add("--teacher-options", nargs="+", action=DictAction, help="overrides of the teacher's")
    add("--device", default="cpu", help="where to fit")
    add("--threads", type=int, help="threads of torch")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def student_config(args: argparse.Namespace) -> Config:
    """The student's config with the command line applied."""
    cfg = read_config(args.student)
    if "model" not in cfg:
        raise ValueError(f"config {args.student}: expected a model in it, got {sorted(cfg)[:3]}")
    with naming_config(f"{args.student}, --cfg-options"):
        override(cfg, args.cfg_options)
    return cfg


def build_pair(args: argparse.Namespace, cfg: Config) -> Pair:
    """Both detectors, what they share copied."""
    teacher = init_model(args.teacher, args.checkpoint, args.device, args.teacher_options)
    init_default_scope("mmdet3d")
    torch.manual_seed(args.seed)
    # Of the fine-tuning's model alone.
    settings = {key: value for key, value in cfg.model.items() if key != "distill_weights"}
    with naming_config(args.student):
        student = MODELS.build(settings)
    return Pair(teacher, student.to(args.device))


def digest(*parts: Any) -> str:
    """Hash of plain data, configs and files."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else None
        total.update(data or json.dumps(part, sort_keys=True, default=str).encode())
    return total.hexdigest()[:16]


def save_weights(
    path: Path,
    state: dict[str, torch.Tensor],
    classes: Sequence[str],
    args: argparse.Namespace,
    key: str,
) -> None:
    """Write a checkpoint that holds weights and where they come from; ``key`` is what made them.

    The classes are where mmengine keeps them, so that a training takes their weights over by name.
    """
    made = {name: str(getattr(args, name)) for name in ("teacher", "checkpoint", "student", "seed")}
    buffer = io.BytesIO()
    meta = {"dataset_meta": {"classes": tuple(classes)}, "distilled": {**made, "key": key}}
    torch.save({"state_dict": state, "meta": meta}, buffer)
    write_atomic(path, buffer.getvalue())


def discard_others(path: Path, key: str) -> None:
    """Remove a checkpoint of :func:`save_weights` that something else made."""
    try:
        found = load_checkpoint_file(path)["meta"]["distilled"].get("key")
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        found = None
    if found != key:
        path.unlink(missing_ok=True)


def fit(args: argparse.Namespace, cfg: Config, pair: Pair, console: Console) -> str:
    """Fit; writes fitted.pth and errors.json. Returns the fit's fingerprint."""
    print_copied(console, pair.copied)
    clouds, unseen = unlabelled_frames(cfg, args.frames, args.unseen_frames)
    console.print(f"fitting on {len(clouds)} frames, errors on {len(unseen)}", highlight=False)
    names = ("layer_steps", "stack_steps", "layer_rate", "stack_rate", "seed")
    settings = FitSettings(**{name: getattr(args, name) for name in names})
    models = [cfg.model.to_dict(), read_config(args.teacher, args.teacher_options).model.to_dict()]
    key = digest(Path(args.checkpoint), models, clouds.key(), unseen.key(), args.device)
    fitting = Fitting(pair, clouds, unseen, settings, key)
    if fitting.load(args.out):
        console.print(f"going on after {', '.join(fitting.errors) or 'copying'}", highlight=False)
    else:  # a call that ends early should not leave the result of another one
        for name in (STUDENT, FITTED, ERRORS):
            (args.out / name).unlink(missing_ok=True)
    with ShowProgress(console) as progress:
        fitting.run(args.out, progress)
    console.print(error_table(pair, fitting.errors))
    report = {
        "teacher": str(args.teacher),
        "student": str(args.student),
        "frames": len(clouds),
        "unseen_frames": len(unseen),
        "weights": {name: len(keys) for name, keys in vars(pair.copied).items()},
        "own": pair.copied.own,
        "left": pair.copied.left,
        "errors": plain_errors(fitting.errors),
    }
    write_atomic(args.out / ERRORS, json.dumps(report, indent=1, allow_nan=False) + "\n")
    state = {name: value.cpu() for name, value in pair.student.state_dict().items()}
    classes = pair.student.class_names
    save_weights(args.out / FITTED, state, classes, args, fitting.fingerprint)
    return fitting.fingerprint


def tuning_config(args: argparse.Namespace, cfg: Config, epochs: int) -> Config:
    """The config of the fine-tuning."""
    teacher = read_config(args.teacher, args.teacher_options).model.to_dict()
    weights = Path(args.checkpoint), args.out / FITTED
    return finetune_config(cfg, teacher, *weights, epochs, args.finetune_rate, args.seed)


def write_config(args: argparse.Namespace, cfg: Config, epochs: int, fingerprint: str) -> Path:
    """The config file of the fine-tuning, in the folder of its checkpoints."""
    # Another fit or another config is not continued; neither depends on where the files lie.
    key = digest(cfg.to_dict(), args.finetune_rate, fingerprint)[:8]
    folder = args.out / f"finetune-{epochs}-{key}"
    folder.mkdir(exist_ok=True)
    tuning_config(args, cfg, epochs).dump(folder / "config.py")
    return folder / "config.py"


def distill(args: argparse.Namespace) -> None:
    """All stages."""
    console = Console()
    console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
    cfg = student_config(args)
    epochs = args.finetune_epochs
    if epochs is None:
        epochs = max(1, round(0.1 * (cfg.get("train_cfg") or {}).get("max_epochs", 0)))
    if args.finetune_rate is None:
        args.finetune_rate = 0.25
    MMLogger.get_current_instance().setLevel("WARNING")
    pair = build_pair(args, cfg)
    if epochs:  # what the fine-tuning refuses should not come out after the fit
        check_teacher(pair.teacher, pair.student)
        tuning_config(args, cfg, epochs)
    fingerprint = fit(args, cfg, pair, console)
    config = write_config(args, cfg, epochs, fingerprint) if epochs else None
    key = f"{fingerprint} {config.parent.name}" if config else fingerprint
    discard_others(args.out / STUDENT, key)
    if config and args.write_config:
        print(config)
        return
    last = finetune(config, config.parent, epochs) if config else args.out / FITTED
    state = state_of(load_checkpoint_file(last), last)
    save_weights(args.out / STUDENT, state, pair.student.class_names, args, key)
    print(args.out / STUDENT)


def run(args: argparse.Namespace) -> None:
    """Check the command line and distil."""
    tunes = args.finetune_epochs != 0
    options = [("--finetune-rate", args.finetune_rate), ("--write-config", args.write_config)]
    check_used([(*option, tunes, "--finetune-epochs of 1 or more") for option in options])
    if args.finetune_epochs is not None and args.finetune_epochs < 0:
        raise ValueError(f"--finetune-epochs: expected 0 or more, got {args.finetune_epochs}")
    check_device(args.device)
    inputs = [args.teacher, args.checkpoint, args.student]
    files = [("--out", args.out / name) for name in (STUDENT, FITTED, ERRORS)]
    check_targets([("--out", args.out), *files], inputs)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(args.device == "cpu", warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    if args.device == "cpu":
        keep_freed_memory()
    with lock(args.out / ".lock", f"another distillation is at work in {args.out}"):
        remove_parts(args.out)
        distill(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_tool(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
