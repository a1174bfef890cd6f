"""Train a detector: ``python tools/train.py configs/dsvt_padre2_nuscenes.py``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import Runner

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import remove_parts
from padre3d.io.lock import lock
from padre3d.training.checkpoint import check_resumable, latest_checkpoint, training_checkpoint
from padre3d.training.config import naming_config, read_config
from padre3d.training.consistency import override
from padre3d.training.distributed import prepare_processes
from padre3d.training.hooks import naming_config_until_first_step


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """OpenMMLab's training arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where logs and checkpoints go")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument("--sync_bn", "--sync-bn", choices=["none", "torch"], default="none")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale lr with the batch")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="resume from this checkpoint, or from the newest intact one in the work dir",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value overrides")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def configure(args: argparse.Namespace) -> Config:
    """The config with the command line applied."""
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    with naming_config(f"{args.config}, --cfg-options"):
        override(cfg, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    if args.amp and cfg.optim_wrapper.type != "AmpOptimWrapper":
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.sync_bn != "none":
        cfg.sync_bn = args.sync_bn
    if args.auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise ValueError(f"--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size")
        cfg.auto_scale_lr.enable = True
    return cfg


def set_resume(cfg: Config, resume: str) -> None:
    """Continue from a checkpoint of a training that was seen to load.

    Where there is none yet, the config's ``load_from`` stands: a fine-tuning that is always
    started with ``--resume`` begins from the weights that it names.
    """
    if resume == "auto":
        found = latest_checkpoint(cfg.work_dir, lambda text: print(f"--resume: {text}"))
        if found is None:
            start = f"from {cfg.load_from}" if cfg.get("load_from") else "anew"
            print(f"--resume: no intact checkpoint in {cfg.work_dir}, starting {start}")
            cfg.resume = False
            return
        print(f"--resume: {found}")
        resume = str(found)
    else:
        training_checkpoint(resume)
    cfg.resume, cfg.load_from = True, resume


def is_first_process(launcher: str) -> bool:
    """Whether this is the process of a training that writes; before there is a group."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"))
    return launcher == "none" or next(filter(None, ranks), "0") == "0"


def run(args: argparse.Namespace) -> None:
    """Train, alone in the work dir."""
    if args.amp and get_device() == "cpu":
        raise ValueError("--amp: expected a GPU, this machine has none that torch can use")
    cfg = configure(args)
    if not is_first_process(args.launcher):
        train(args, cfg)
        return
    with lock(Path(cfg.work_dir) / ".lock", f"another training is at work in {cfg.work_dir}"):
        remove_parts(cfg.work_dir, "*.pth.*")
        train(args, cfg)


def train(args: argparse.Namespace, cfg: Config) -> None:
    """Train as the config says."""
    if args.resume is not None:
        set_resume(cfg, args.resume)
    prepare_processes(cfg)
    # Deterministic runs fill every new tensor too, which only guards reads of unwritten memory.
    torch.utils.deterministic.fill_uninitialized_memory = False
    with naming_config(args.config):
        runner = Runner.from_cfg(cfg)
    if cfg.get("resume") and cfg.get("load_from"):
        check_resumable(runner.model, cfg.load_from)
    with naming_config_until_first_step(runner, args.config):
        runner.train()


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
