"""A packaged model of the tests' own: what tools/package_model.py makes of the small detector."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from small_detector import MODEL, cloud

from padre3d import models
from padre3d.io.boxes_json import write_boxes_json

SWEEPS = dict(type="LoadSweeps", num_sweeps=3, stride=4)
COMMIT = "0" * 40
METRICS = {"NDS": 0.1, "mAP": 0.05, "NDS_low": 0.08, "NDS_high": 0.12}
SAID = {
    "--trained-on": "nothing",
    "--scored-on": "no frame",
    "--not-for": "anything",
    "--command": "none",
    "--hours": "0.5",
}


def training_files(detector: torch.nn.Module, folder: Path, **meta: object) -> tuple[Path, Path]:
    """Config and training checkpoint of the small detector."""
    config, checkpoint = folder / "small.py", folder / "epoch_2.pth"
    loader = dict(dataset=dict(pipeline=[SWEEPS]))
    Config(dict(model=MODEL, test_dataloader=loader)).dump(config)
    said = dict(epoch=2, iter=6, seed=0, mmengine_version=f"0.10.7{COMMIT}")
    state = dict(state_dict=detector.state_dict(), meta=said | meta, optimizer={})
    torch.save(state, checkpoint)
    return config, checkpoint


def write_cloud(path: Path) -> Path:
    """A cloud of the small detector's as the packaged sample is kept."""
    cloud(1500).numpy()[:, :5].astype("<f2").tofile(path)
    return path


def package(
    tools: Path,
    files: tuple[Path, Path],
    name: str,
    into: Path,
    metrics: dict[str, float] | None = None,
) -> None:
    """Run the tool on config and checkpoint."""
    tool = load_tool(tools, "package_model")
    path = files[0].with_name("metrics.json")
    found = METRICS if metrics is None else metrics
    path.write_text(json.dumps({f"NuScenes metric/{k}": v for k, v in found.items()}))
    points = write_cloud(files[0].with_name("sample_float16.bin"))
    options = [word for pair in SAID.items() for word in pair]
    options += ["--metrics", str(path), "--into", str(into), "--points", str(points)]
    tool.main([*map(str, files), name, *options])


def package_precision(tools: Path, folder: Path, name: str, metrics: Path) -> None:
    """Run the other tool on an exported folder."""
    said = {"--scored-on": "no frame", "--calibrated-on": "nothing", "--command": "none"}
    options = [word for pair in said.items() for word in pair]
    tool = load_tool(tools, "package_precision")
    tool.main([str(folder), name, "--metrics", str(metrics), *options])


def load_tool(tools: Path, name: str):
    """A module of tools/."""
    sys.path.insert(0, str(tools))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(tools))


def rename(folder: Path, target: Path, **card: object) -> None:
    """A copy of a packaged model with another card."""
    shutil.copytree(folder, target)
    said = json.loads((folder / models.INFO).read_text())
    (target / models.INFO).write_text(json.dumps(said | card))


def write_sample(root: Path, truth, class_names) -> None:
    """The packaged cloud with its boxes."""
    write_cloud(root / models.SAMPLE)
    write_boxes_json(root / models.SAMPLE_BOXES, truth, class_names)
