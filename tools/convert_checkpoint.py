"""Checkpoints of the reference DSVT implementation (OpenPCDet layout) to ours, and back.

    python tools/convert_checkpoint.py REFERENCE.pth OUT.pth --config CONFIG
    python tools/convert_checkpoint.py REFERENCE.pth OUT.pth \
        --reference-config FILE.yaml --emit-config OUT.py
    python tools/convert_checkpoint.py OURS.pth OUT.pth --config CONFIG --reverse

The second form also writes our config of the reference's YAML; without the two checkpoints it
writes the config alone. Nothing in a checkpoint is executed.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from torch import nn

from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.convert.checkpoint import COUNTER, to_ours, to_reference
from padre3d.convert.emit import config_text
from padre3d.convert.reference_config import read_reference_config
from padre3d.io.files import write_atomic
from padre3d.plugin import MODELS
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.training.checkpoint import load_checkpoint_file
from padre3d.training.config import naming_config, read_config

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, help="checkpoint to convert")
    add("out", nargs="?", type=Path, help="converted checkpoint")
    add("--config", type=Path, help="our config of the model")
    add("--reference-config", type=Path, help="the reference's YAML of the model")
    add("--emit-config", type=Path, help="where our config of that YAML goes")
    add("--reverse", action="store_true", help="from ours to the reference's layout")
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if args.source and not args.out:
        parser.error("OUT.pth is missing")
    if args.emit_config and not args.reference_config:
        parser.error("--emit-config needs --reference-config")
    if not args.config and not args.reference_config:
        parser.error("--config or --reference-config is needed")
    if not args.source and not args.emit_config:
        parser.error("nothing to do: give checkpoints, or --emit-config")
    return args


def run(args: argparse.Namespace) -> None:
    """Write the config, then the checkpoint; each is written whole or not at all."""
    check_used(
        [
            ("--reverse", args.reverse, args.source, "a checkpoint to convert"),
            ("--config", args.config, args.source, "a checkpoint to convert"),
        ]
    )
    check_targets(
        [("OUT", args.out), ("--emit-config", args.emit_config)],
        [args.source, args.config, args.reference_config],
    )
    model_cfg = None
    if args.reference_config:
        ours = read_reference_config(args.reference_config)
        model_cfg = ours.model
        state = build_detector(
            model_cfg
        ).state_dict()  # Also the check that such a model can be built.
        for note in ours.notes:
            print(f"note: {note}")
        if args.emit_config:
            write_atomic(args.emit_config, config_text(ours, args.emit_config, CONFIGS))
            print(f"config written: {args.emit_config}")
    if args.source:
        if args.config:
            with naming_config(args.config):
                model_cfg = read_config(args.config).model
                state = build_detector(model_cfg).state_dict()
        convert(args, model_cfg, state)


def convert(args: argparse.Namespace, model_cfg: dict, state: dict[str, torch.Tensor]) -> None:
    """Convert one checkpoint and report every key."""
    checkpoint = load_checkpoint_file(args.source)
    try:
        converted, mapped = (to_reference if args.reverse else to_ours)(checkpoint, state)
    except ValueError as error:
        raise ValueError(f"{args.source}: {error}") from error
    if not args.reverse:
        # A training with other classes that starts from these weights finds its classes by name.
        names = list(model_cfg.get("class_names", NUSCENES_CLASSES))
        converted["meta"]["dataset_meta"] = {"classes": names}
    buffer = io.BytesIO()
    torch.save(converted, buffer)
    write_atomic(args.out, buffer.getvalue())
    for entry in mapped:
        print(f"{entry.reference} {entry.shape} {'<-' if args.reverse else '->'} {entry.ours}")
    print(f"{COUNTER} (1,): counter of the reference's trainer, kept beside the weights")
    print(f"all {len(mapped)} weights mapped, none left over; written: {args.out}")
    switches = [
        model_cfg[m].get("dsvt_compat", model_cfg[m].get("reference")) for m in ("backbone", "head")
    ]
    if not args.reverse and not all(switches):
        print(
            "note: this config lacks dsvt_compat=True in backbone and head, so the boxes will "
            "differ from the reference's; see docs/reference_differences.md"
        )


def build_detector(model_cfg: dict) -> nn.Module:
    """A new detector of a config."""
    init_default_scope("mmdet3d")
    return MODELS.build(model_cfg)


def main(argv: list[str] | None = None) -> None:
    """Entry point; a refusal is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
