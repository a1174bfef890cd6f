"""Evaluate NDS and mAP: ``python tools/test.py CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.fileio import dump
from mmengine.runner import Runner

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.deploy import Runtime
from padre3d.export.evaluate import use_runtime
from padre3d.inference import load_weights
from padre3d.runtime.manifest import is_exported
from padre3d.training.consistency import override
from padre3d.training.distributed import prepare_processes


def parse_args() -> argparse.Namespace:
    """OpenMMLab's test arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or a folder of tools/export.py")
    parser.add_argument("--backend", default="onnxruntime", help="of an exported folder")
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
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Entry point."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    override(cfg, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    if args.bootstrap:
        cfg.test_evaluator.bootstrap = args.bootstrap
    prepare_processes(cfg)
    runner = Runner.from_cfg(cfg)
    if is_exported(args.checkpoint):
        use_runtime(runner.model, Runtime(args.checkpoint, args.backend))
    else:
        load_weights(runner.model, args.checkpoint)
    metrics = runner.test()
    if args.metrics_out and runner.rank == 0:
        Path(args.metrics_out).parent.mkdir(parents=True, exist_ok=True)
        dump(metrics, args.metrics_out, indent=2)


if __name__ == "__main__":
    main()
