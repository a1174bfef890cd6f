"""What tools/train.py and tools/test.py do before their first step."""

import sys

import pytest
import torch

pytest.importorskip("mmdet3d")
from mmengine.config import Config
from mmengine.runner import TestLoop
from small_detector import MODEL, build

CONFIG = """
_base_ = [{base!r}]
model = dict(_delete_=True, **{model!r})
frames = dict(type="LoadSweeps", num_sweeps=1)
in_range = dict(type="PointsRangeFilter", point_cloud_range={range_m!r})
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[frames, in_range, dict(type="Pack3DDetInputs", keys=["points"])]),
)
test_dataloader = val_dataloader
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        pipeline=[
            frames,
            dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
            in_range,
            dict(type="ObjectRangeFilter", point_cloud_range={range_m!r}),
            dict(type="ObjectNameFilter", classes=_base_.class_names),
            dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
        ]
    ),
)
"""


@pytest.fixture
def config(tmp_path, repo_root, tiny_nuscenes, monkeypatch):
    """A config of the small detector on the tiny data set."""
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    # Formatting a config for the log takes seconds.
    monkeypatch.setattr(Config, "pretty_text", property(lambda cfg: ""))
    path = tmp_path / "small.py"
    base = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    range_m = list(MODEL["grid"]["range_m"])
    path.write_text(CONFIG.format(base=base, model=MODEL, range_m=range_m))
    return path


@pytest.fixture
def tool():
    """A tool's module, whatever module of that name was imported before."""

    def load(name):
        sys.modules.pop(name, None)
        __import__(name)
        return sys.modules.pop(name)

    return load


def test_the_checkpoint_of_the_command_line_is_the_one_tested(config, tool, tmp_path, monkeypatch):
    models = {}
    for seed, name in enumerate(("wanted", "other")):
        models[name] = build(seed).state_dict()
        torch.save({"state_dict": models[name], "meta": {}}, tmp_path / f"{name}.pth")
    config.write_text(f"{config.read_text()}load_from = {str(tmp_path / 'other.pth')!r}\n")
    tested = []
    monkeypatch.setattr(
        TestLoop, "run", lambda loop: tested.append(loop.runner.model.state_dict()) or {}
    )
    tool("test").main([str(config), str(tmp_path / "wanted.pth"), "--work-dir", str(tmp_path)])
    (state,) = tested
    torch.testing.assert_close(dict(state), dict(models["wanted"]), rtol=0, atol=0)
