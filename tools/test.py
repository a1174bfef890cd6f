"""Evaluate NDS and mAP: ``python tools/test.py CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.fileio import dump
from mmengine.runner import Runner

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.deploy import Runtime
from padre3d.export.evaluate import use_runtime
from padre3d.io.files import write_atomic
from padre3d.runtime.manifest import is_exported
from padre3d.training.checkpoint import load_checkpoint_file, load_state
from padre3d.training.config import naming_config, read_config
from padre3d.training.consistency import nuscenes_evaluators, override
from padre3d.training.distributed import prepare_processes
from padre3d.training.hooks import naming_config_until_first_step


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """OpenMMLab's test arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or a folder of tools/export.py")
    parser.add_argument(
        "--backend", help="of an exported folder (onnxruntime), auto for the fastest"
    )
    parser.add_argument("--work-dir", help="where the log goes")
    parser.add_argument("--metrics-out", help="write the metrics to this JSON file")
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=0,
        metavar="N",
        help="95 %% intervals of NDS and mAP from N resamples of the frames",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def run(args: argparse.Namespace) -> None:
    """Evaluate, and write the metrics."""
    exported = is_exported(args.checkpoint)
    check_used([("--backend", args.backend, exported, "an exported folder, got a checkpoint")])
    check_targets([("--metrics-out", args.metrics_out)], [args.config, args.checkpoint])
    # Before the minutes that a data set may take.
    weights = None if exported else load_checkpoint_file(args.checkpoint)
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    with naming_config(f"{args.config}, --cfg-options"):
        override(cfg, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    if args.bootstrap:
        set_bootstrap(cfg, args.bootstrap)
    # runner.test() would load these over the weights that are tested.
    cfg.load_from, cfg.resume = None, False
    prepare_processes(cfg)
    with naming_config(args.config):
        runner = Runner.from_cfg(cfg)
    if weights is None:
        use_runtime(runner.model, Runtime(args.checkpoint, args.backend or "onnxruntime"))
    else:
        load_state(runner.model, weights, args.checkpoint)
    with naming_config_until_first_step(runner, args.config):
        metrics = runner.test()
    if args.metrics_out and runner.rank == 0:
        metrics = {**metrics, "data": data_name(runner.test_dataloader.dataset)}
        write_atomic(args.metrics_out, dump(metrics, file_format="json", indent=2))


def set_bootstrap(cfg: Config, resamples: int) -> None:
    """``--bootstrap``.

    Raises:
        ValueError: if no evaluator of the test has intervals.
    """
    found = list(nuscenes_evaluators(cfg, ("test_evaluator",)))
    if not found:
        raise ValueError(
            "--bootstrap: expected a NuScenesDetectionMetric in test_evaluator, "
            f"got {cfg.get('test_evaluator')}"
        )
    for evaluator in found:
        evaluator["bootstrap"] = resamples


def data_name(dataset: Any) -> str | None:
    """What tells one data set from another: the hash of its info file; None without one."""
    path = Path(getattr(dataset, "ann_file", ""))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
