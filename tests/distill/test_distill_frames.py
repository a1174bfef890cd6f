"""Which frames a fit sees, and that no label is read for them."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import padre3d.plugin  # noqa: F401
from padre3d.distill.frames import split_frames, unlabelled_frames


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
