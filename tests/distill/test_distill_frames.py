"""Which frames a fit sees, and that no label is read for them."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import padre3d.plugin  # noqa: F401
from padre3d.distill.frames import FrameClouds, split_frames, unlabelled_frames


@pytest.fixture
def config(repo_root, tiny_nuscenes, monkeypatch):
    init_default_scope("mmdet3d")
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    monkeypatch.setenv("NUSCENES_ROOT", str(tiny_nuscenes))

    def read(name="dsvt_padre2_synthetic"):
        return Config.fromfile(repo_root / f"configs/{name}.py")

    return read


@pytest.mark.parametrize(
    ("total", "count", "unseen", "sizes"),
    [(100, 8, 2, (8, 2)), (10, 200, 20, (9, 1)), (2, 5, 5, (1, 1)), (4, 1, 1, (1, 1))],
)
def test_frames_are_spread_and_never_both(total, count, unseen, sizes):
    fit, rest = split_frames(total, count, unseen)
    assert (len(fit), len(rest)) == sizes
    assert len({*fit, *rest}) == len(fit) + len(rest)
    assert min(*fit, *rest) >= 0
    assert max(*fit, *rest) < total


def test_both_kinds_lie_among_each_other():
    fit, rest = split_frames(1000, 30, 10)
    assert max(rest) - min(rest) > 600
    assert max(fit) - min(fit) > 900


def test_clouds_of_the_training_frames(config):
    fit, unseen = unlabelled_frames(config(), 2, 1)
    assert (len(fit), len(unseen)) == (2, 1)
    points = fit[0]
    assert points.dtype == torch.float32
    assert points.shape[1] == 5
    assert len(points) > 100
    assert torch.equal(points, fit[0])
    assert fit.key() != unseen.key()
    assert fit.key() == unlabelled_frames(config(), 2, 1)[0].key()


class Drive:
    """Two frames of one sweep each in a folder, as a data set hands them out."""

    def __init__(self, root, lag=0.1, shift=0.0, folder="key"):
        self.data_root, self.folder = str(root), folder
        self.lag, self.shift = lag, shift

    def get_data_info(self, index):
        pose = np.eye(4)
        pose[0, 3] = self.shift
        points = dict(lidar_path=f"{self.data_root}/{self.folder}/{index}.bin", num_pts_feats=5)
        past = dict(lidar_path=f"{self.data_root}/past/{index}.bin", lidar2sensor=pose)
        sweeps = [dict(lidar_points=past, timestamp=1.0 - self.lag)]
        return dict(lidar_points=points, timestamp=1.0, lidar_sweeps=sweeps)


@pytest.fixture
def drive(tmp_path):
    for number, place in enumerate(("key/0", "key/1", "past/0", "past/1")):
        path = tmp_path / f"drive/{place}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.full(20, number, np.float32).tofile(path)
    return tmp_path / "drive"


def key(root, **settings):
    return FrameClouds(Drive(root, **settings), [0, 1], []).key()


def test_the_key_of_frames_goes_with_them(drive, tmp_path):
    before = key(drive)
    shutil.copytree(drive, tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("place", ["key/1.bin", "past/1.bin"])
def test_other_points_of_the_same_name_and_size_have_another_key(drive, place):
    before = key(drive)
    (drive / place).write_bytes(np.full(20, 7, np.float32).tobytes())
    assert key(drive) != before


def test_other_sweeps_have_another_key(drive):
    keys = {key(drive), key(drive, lag=0.2), key(drive, shift=1.0)}
    (drive / "past/0.bin").unlink()
    keys.add(key(drive))
    assert len(keys) == 4


def test_files_of_one_name_in_two_folders_have_two_keys(drive):
    shutil.copytree(drive / "key", drive / "other")
    assert key(drive, folder="other") != key(drive)


def test_wrappers_of_the_data_set_and_labels_do_not_matter(config, monkeypatch):
    """Class-balanced sampling and pasted objects belong to the training alone."""
    from padre3d.data.datasets import SeededCBGSDataset
    from padre3d.data.gt_sampling import SampleGroundTruth

    def never(*_, **__):
        pytest.fail("was asked for labels")

    monkeypatch.setattr(SeededCBGSDataset, "__init__", never)
    monkeypatch.setattr(SampleGroundTruth, "__init__", never)
    fit, _ = unlabelled_frames(config("dsvt_padre2_nuscenes"), 3, 1)
    assert len(fit) == 3
    assert len(fit[1]) > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cfg: cfg.pop("train_dataloader"), "expected a train_dataloader in it, got none"),
        (lambda cfg: cfg.train_dataloader.dataset.update(indices=1), "at least 2 .*, got 1"),
    ],
)
def test_configs_without_frames_are_refused(config, change, message):
    cfg = config()
    change(cfg)
    with pytest.raises(ValueError, match=message):
        unlabelled_frames(cfg, 2, 1)


def test_numbers_of_frames_are_checked(config):
    with pytest.raises(ValueError, match="at least 1 of each kind, got 2 and 0"):
        unlabelled_frames(config(), 2, 0)
