"""Probe a token mixer: ``python tools/probe.py configs/probe_synthetic.py --out work_dirs/probe``.

    python tools/probe.py CONFIG --out DIR --seed 1 --mixer '{"type": "set_attention"}'
    python tools/probe.py CONFIG --out DIR --cfg-options backbone.mixer.kernel_size=31
    python tools/probe.py --gate studies/results/probe_mixers.jsonl

Writes DIR/metrics.json. The same call goes on where an earlier one was killed. See docs/probe.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.training.memory import keep_freed_memory

METRICS = "metrics.json"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", nargs="?", help="config file of a probe")
    add("--out", type=Path, help="folder of metrics.json and the checkpoint")
    add("--seed", type=int, default=0, help="of weights, data order and augmentation")
    add("--steps", type=int, help="training steps")
    add("--data-root", help="prepared data set (default: the config's)")
    add("--train-frames", type=int, help="at most so many training frames, evenly spaced")
    add("--val-frames", type=int, help="at most so many validation frames, evenly spaced")
    add("--cache-dir", type=Path, default=Path("work_dirs/probe_cache"), help="cached frames")
    add("--mixer", type=json.loads, metavar="JSON", help="mixer in place of the config's")
    add("--backbone", type=json.loads, metavar="JSON", help="settings of the backbone to change")
    add("--cfg-options", nargs="+", action=DictAction, help="key=value overrides")
    add("--device", default="cpu")
    add("--amp", choices=["fp16", "bf16"], help="mixed precision")
    add("--threads", type=int, help="threads of torch")
    add(
        "--gate",
        type=Path,
        metavar="RESULTS",
        help="only say which metrics of a study tell mixers apart",
    )
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if args.gate is None and (args.config is None or args.out is None):
        parser.error("expected CONFIG and --out, or --gate RESULTS")
    return args


def configure(args: argparse.Namespace) -> Any:
    """The config with the command line applied.

    Raises:
        ValueError: if it is no config of a probe, or an override is of something that none reads.
    """
    from padre3d.probe.settings import ProbeSettings, change_backbone
    from padre3d.training.config import read_config
    from padre3d.training.consistency import check_names

    cfg = read_config(args.config)
    ProbeSettings.check_config(cfg)
    change_backbone(cfg, args.backbone, args.mixer)
    if args.cfg_options is not None:
        check_names(args.cfg_options, ProbeSettings.config_names())
        cfg.merge_from_dict(args.cfg_options)
    for name in ("steps", "train_frames", "val_frames"):
        if getattr(args, name) is not None:
            cfg[name] = getattr(args, name)
    return cfg


def open_frames(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Caches of the training and validation frames."""
    from mmengine.logging import MMLogger

    from padre3d.probe.cache import open_cache
    from padre3d.probe.frames import probe_frames

    # mmdet3d logs a table of classes for every data set; without annotations it is all zeros.
    MMLogger.get_current_instance().setLevel("WARNING")
    caches = {}
    both = probe_frames(cfg.to_dict(), args.data_root)
    for split, frames in zip(("train", "val"), both, strict=True):
        key = frames.key()
        path = args.cache_dir / f"{split}_{key}.npz"
        caches[split] = open_cache(path, key, lambda frames=frames: frames)
    return caches


def probe(args: argparse.Namespace) -> dict[str, Any]:
    """Train, validate and write metrics.json."""
    from padre3d.io.files import write_atomic
    from padre3d.probe.evaluate import backbone_costs, validate
    from padre3d.probe.settings import ProbeSettings
    from padre3d.probe.training import CHECKPOINT, Training

    be_deterministic(args)
    cfg = configure(args)
    settings = ProbeSettings.from_config(cfg, args.seed, args.amp)
    caches = open_frames(cfg, args)
    fingerprint = settings.fingerprint(caches["train"].key, args.device)
    training = Training(settings, caches["train"], fingerprint, args.device)
    if training.load(args.out / CHECKPOINT):
        print(f"going on after step {training.step}", flush=True)
    training.run(args.out, show_progress)
    metrics = {
        **validate(training, caches["val"]),
        "train_loss": training.train_loss,
        "nonfinite_share": training.nonfinite_steps / settings.steps,
        "nonfinite_loss_share": training.nonfinite_losses / settings.steps,
        **backbone_costs(training, caches["val"]),
        "seconds": training.seconds,
        "ms_per_step": 1000 * training.seconds / settings.steps,
        "seed": args.seed,
        "steps": settings.steps,
        "train_frames": len(caches["train"]),
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "settings": fingerprint,
        "data": {split: cache.key for split, cache in caches.items()},
    }
    write_atomic(args.out / METRICS, json.dumps(metrics, indent=1) + "\n")
    return metrics


def be_deterministic(args: argparse.Namespace) -> None:
    """Make a run on a CPU repeatable; on a GPU atomic additions leave a remainder."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if args.device == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Only guards reads of unwritten memory.
        torch.utils.deterministic.fill_uninitialized_memory = False
        keep_freed_memory()


def device_name(device: str) -> str:
    """The name of the GPU or of the processor."""
    from padre3d.study.environment import cpu_model

    is_cuda = torch.device(device).type == "cuda"
    return torch.cuda.get_device_name(device) if is_cuda else cpu_model()


def show_progress(training: Any) -> None:
    """A line every 50 steps."""
    if training.step % 50 == 0 or training.step == training.settings.steps:
        each = 1000 * training.seconds / training.step
        print(
            f"step {training.step}/{training.settings.steps}  loss {training.losses[-1]:.3f}  "
            f"{each:.0f} ms/step",
            flush=True,
        )


def report(metrics: dict[str, Any]) -> None:
    """The main metrics on one screen."""
    for name, interval in metrics["intervals"].items():
        print(f"{name:26} {metrics[name]:8.3f}   95 % {interval[0]:.3f} .. {interval[1]:.3f}")
    if metrics["absent_classes"]:
        print(f"not in the validation frames: {', '.join(metrics['absent_classes'])}")
    for name in ("train_loss", "nonfinite_share", "ms_per_step", "parameters", "macs"):
        print(f"{name:26} {metrics[name]:,.6g}")


def run(args: argparse.Namespace) -> int:
    """Probe or judge; returns the exit status."""
    if args.gate is not None:
        from padre3d.probe.gate import check_gates

        check_used(
            [(o, v, False, "no --gate") for o, v in (("CONFIG", args.config), ("--out", args.out))]
        )
        verdicts = check_gates(args.gate)
        print("\n".join(map(str, verdicts)))
        if any(verdict.passed for verdict in verdicts):
            return 0
        print("the gate is NOT passed by any metric: make the task harder")
        return 1
    from padre3d.inference import check_device
    from padre3d.io.lock import lock

    check_device(args.device)
    check_targets([("--out", args.out), ("--out", args.out / METRICS)], [args.config])
    with lock(args.out / ".lock", f"another probe is at work in {args.out}"):
        report(probe(args))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_tool(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
