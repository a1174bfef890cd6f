"""Put a trained detector into the package: ``tools/package_model.py CONFIG CHECKPOINT NAME ...``.

padre3d/models/NAME gets ``weights.pth`` and ``model.json`` for ``padre3d.create_model``, the graph
of tools/export.py for ``Runtime.from_package``, and the card ``info.json``: what the model was
trained on, what it scored, what it is not good for. The weights are the checkpoint's, to the bit;
the graph is in 16 bit. docs/models.md gets its tables from the cards: tools/models_page.py.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from padre3d import models
from padre3d.cli import add_debug_argument, run_tool
from padre3d.data.sweeps import trained_sweeps
from padre3d.export.describe import write_card
from padre3d.export.export import ExportConfig, ParityError, export_detector
from padre3d.inference import init_model
from padre3d.io.files import write_atomic
from padre3d.runtime.folder import sha256
from padre3d.training.checkpoint import fit_state, training_checkpoint
from padre3d.training.clouds import read_clouds
from padre3d.training.config import read_config

SHOWN = {"NDS": "nds", "mAP": "map", "mATE": "mate_m", "mASE": "mase", "mAOE": "maoe_rad"}
SHOWN |= {"mAVE": "mave_mps", "mAAE": "maae"}
COMMIT = re.compile(r"[0-9a-f]{40}$")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", type=Path, help="training checkpoint of that config")
    add("name", help="of the model: letters, digits, _ and -")
    add("--metrics", type=Path, required=True, help="file of tools/test.py --metrics-out")
    add("--trained-on", required=True, help="frames, scenes and seed of the data, in words")
    add("--scored-on", required=True, help="frames of the metrics, in words")
    add("--not-for", required=True, help="what the model is not good for, in words")
    add("--command", required=True, help="what made the checkpoint")
    add("--hours", type=float, required=True, help="that it took")
    add("--points", type=Path, nargs="+", help="clouds to compare on; default: the sample")
    add("--licence", default="Apache-2.0", help="of the weights (%(default)s)")
    add("--commit", help="of the code that trained it; default: what the checkpoint says")
    add("--into", type=Path, default=models.ROOT, help="where models are kept")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def scores(path: Path) -> dict[str, Any]:
    """NDS, mAP and the mean errors of a metrics file, and their intervals if it has them.

    Raises:
        ValueError: if NDS or mAP is missing.
    """
    found = {key.rsplit("/", 1)[-1]: value for key, value in json.loads(path.read_text()).items()}
    missing = [key for key in ("NDS", "mAP") if key not in found]
    if missing:
        raise ValueError(f"{path}: expected {missing[0]} in it, got {', '.join(found)[:80]}")
    values = {name: round(float(found[key]), 4) for key, name in SHOWN.items() if key in found}
    intervals = {
        name: [round(float(found[f"{key}_{end}"]), 4) for end in ("low", "high")]
        for key, name in SHOWN.items()
        if f"{key}_low" in found
    }
    return {**values, "intervals_95": intervals}


def training(loaded: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """What a checkpoint says about its training."""
    meta = loaded["meta"]
    said = COMMIT.search(str(meta.get("mmengine_version", "")))
    commit = args.commit or (said and said[0])
    if commit is None:
        raise ValueError("--commit: expected one, for the checkpoint names none")
    return {
        "seed": meta.get("seed"),
        "epochs": meta["epoch"],
        "steps": meta["iter"],
        "hours": args.hours,
        "command": args.command,
        "commit": commit,
    }


def write_model(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Weights, settings, graph and card of a model; the card."""
    cfg = read_config(args.config)
    loaded = training_checkpoint(args.checkpoint)
    card = {**scores(args.metrics), "scored_on": args.scored_on, "trained_on": args.trained_on}
    card |= {"config": Path(args.config).name, **training(loaded, args), **trained_sweeps(cfg)}
    clouds = read_clouds(args.points or [models.sample_cloud()[0]])
    model = init_model(args.config, args.checkpoint)
    torch.save(fit_state(model, loaded, args.checkpoint), folder / models.WEIGHTS)
    settings = json.dumps(cfg.model.to_dict(), indent=1) + "\n"
    write_atomic(folder / models.SETTINGS, settings)
    made = sorted(folder.iterdir())
    about = {"config": Path(args.config).name, "checkpoint": models.WEIGHTS}
    try:
        export_detector(model, clouds, folder, ExportConfig(models.PRECISION), about=about)
    except ParityError as error:
        raise ValueError(str(error)) from error
    card |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        "sha256": {path.name: sha256(path) for path in made},
        "licence": args.licence,
        "not_for": args.not_for,
    }
    write_card(folder, card)
    return card


def run(args: argparse.Namespace) -> None:
    """Make the model beside its place, then move it there in one step."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", args.name) is None:
        raise ValueError(f"name: expected letters, digits, _ and -, got {args.name!r}")
    target = args.into / args.name
    with tempfile.TemporaryDirectory(dir=args.into) as made:
        folder = Path(made) / args.name
        folder.mkdir()
        card = write_model(args, folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    print(f"{target}: {size / 1e6:.1f} MB, NDS {card['nds']}")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
