"""Weights of spconv's layers, saved and loaded where mmdet3d has changed how they are read."""

import pytest
import torch
from small_detector import build
from torch import nn

from padre3d.training.checkpoint import load_checkpoint_file, load_state, state_of

spconv = pytest.importorskip("spconv.pytorch")
pytest.importorskip("mmdet3d.models")  # moves the axes of weights without a version

NAME = "local_descriptor.conv.weight"


@pytest.fixture
def detectors():
    """Two of other weights."""
    return [build(seed, local_descriptor="submconv_each") for seed in (0, 1)]


@pytest.mark.parametrize("kind", ["state dict", "plain dict", "of a wrapper"])
def test_a_checkpoint_with_a_local_descriptor_is_loaded(detectors, kind, tmp_path):
    saved, other = detectors
    state = nn.DataParallel(saved).state_dict() if kind == "of a wrapper" else saved.state_dict()
    torch.save({"state_dict": dict(state) if kind == "plain dict" else state}, tmp_path / "a.pth")
    load_state(other, load_checkpoint_file(tmp_path / "a.pth"), tmp_path / "a.pth")
    expected, found = saved.state_dict(), other.state_dict()
    assert any(key.endswith(NAME) for key in expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_of_spconv_itself_keep_their_version(wrapped, tmp_path):
    """As of a sparse encoder of mmdet3d in one's own detector."""
    model = nn.Sequential(spconv.SubMConv2d(4, 6, 3, algo=spconv.ConvAlgo.Native))
    torch.save((nn.DataParallel(model) if wrapped else model).state_dict(), tmp_path / "a.pth")
    state = state_of(load_checkpoint_file(tmp_path / "a.pth"), tmp_path / "a.pth")
    other = nn.Sequential(spconv.SubMConv2d(4, 6, 3, algo=spconv.ConvAlgo.Native))
    other.load_state_dict(state)
    assert torch.equal(other[0].weight, model[0].weight)
