"""Detection takes the sweeps that a model was trained on, whichever way it is stored."""

import json
import shutil

import numpy as np
import pytest
from infer_stub import cloud, poses_csv
from mmengine.config import Config
from packaged_models import SWEEPS, load_tool, training_files, write_cloud

from padre3d.command.detect import exported_source
from padre3d.data.sweeps import trained_sweeps

STEP = dict(type="LoadSweeps")


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        ([dict(type="Pack"), SWEEPS], {"num_sweeps": 3, "stride": 4}),
        ([STEP], {"num_sweeps": 10, "stride": 1}),
        ([dict(STEP, type="padre3d.LoadSweeps", stride=2)], {"num_sweeps": 10, "stride": 2}),
        ([dict(type="Pack")], {"num_sweeps": 1, "stride": 1}),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_sweeps_of_a_config(pipeline, expected, wrapped):
    dataset = dict(pipeline=pipeline)
    dataset = dict(type="RepeatDataset", dataset=dataset) if wrapped else dataset
    assert trained_sweeps(Config(dict(test_dataloader=dict(dataset=dataset)))) == expected


def test_steps_that_load_sweeps_in_other_ways():
    def of(**step):
        return trained_sweeps({"test_dataloader": {"dataset": {"pipeline": [step]}}})

    class LoadSweeps:
        """A step named by its class."""

    assert of(type=LoadSweeps, num_sweeps=7) == {"num_sweeps": 7, "stride": 1}
    # Nobody knows here what these count: the defaults are taken.
    assert of(type="LoadPointsFromMultiSweeps", sweeps_num=9) == {}
    assert trained_sweeps({"test_dataloader": None}) == {}


def test_a_config_without_a_test_set():
    assert trained_sweeps(Config(dict(model=dict()))) == {}


def test_a_checkpoint(tmp_path, infer, stub):
    """Three sweeps, every fourth: the sensor's last nine clouds; the options go before."""
    loader = dict(dataset=dict(pipeline=[SWEEPS]))
    Config(dict(model=dict(), test_dataloader=loader)).dump(tmp_path / "c.py")
    for i in range(9):
        cloud(tmp_path / "in" / f"f{i}.bin")
    rows = [(100 + 0.05 * i, 0, 0, 0, 1, 0, 0, 0, "") for i in range(9)]
    poses = poses_csv(tmp_path / "p.csv", rows)

    def lags(*options):
        infer(tmp_path / "in", "--poses", poses, *options)
        return np.unique(stub.clouds[-1][:, 4].round(4)).tolist()

    assert lags() == pytest.approx([0, 0.2, 0.4])
    assert lags("--sweeps", 2, "--stride", 3) == pytest.approx([0, 0.15])
    with pytest.raises(SystemExit, match="--stride: expected 1 or more, got 0"):
        lags("--stride", 0)
    with pytest.raises(SystemExit, match="--stride.*--poses"):
        infer(tmp_path / "in", "--stride", 2)


def test_an_exported_folder(exported_padre, repo_root, tmp_path):
    """tools/export.py writes the card beside the manifest, and none of an older export stays."""
    config, checkpoint = training_files(exported_padre.detector, tmp_path)
    points, out = write_cloud(tmp_path / "c_float16.bin"), tmp_path / "out"
    tool = load_tool(repo_root / "tools", "export")

    def export():
        tool.main([str(config), str(checkpoint), "--out", str(out), "--points", str(points)])
        source = exported_source(out, None, None)
        return source.num_sweeps, source.stride

    assert export() == (3, 4)
    assert json.loads((out / "info.json").read_text()) == {"num_sweeps": 3, "stride": 4}
    Config(dict(model=Config.fromfile(config).model)).dump(config)
    assert export() == (10, 1)
    assert not (out / "info.json").exists()
    shutil.rmtree(out)
