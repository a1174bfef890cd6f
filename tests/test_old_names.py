"""Configs written with the former names of arguments load, and say so."""

import pytest
import small_detector

from padre3d.backbone import VoxelBackbone
from padre3d.head import PADReTransFusionHead

MODEL = small_detector.MODEL
BACKBONE = {key: value for key, value in MODEL["backbone"].items() if key != "type"}
HEAD = {key: value for key, value in MODEL["head"].items() if key != "type"}


@pytest.mark.parametrize("value", ["sequence", "set"])
def test_tokens_is_layout(value):
    with pytest.warns(FutureWarning, match="'tokens' is now named 'layout'"):
        backbone = VoxelBackbone(MODEL["grid"], **BACKBONE, tokens=value)
    assert backbone.planner.layout == value


@pytest.mark.parametrize("value", [False, True])
def test_reference_is_dsvt_compat(value):
    with pytest.warns(FutureWarning, match="'reference' is now named 'dsvt_compat'"):
        head = PADReTransFusionHead(MODEL["grid"], **HEAD, reference=value)
    present = PADReTransFusionHead(MODEL["grid"], **HEAD, dsvt_compat=value)
    assert str(head) == str(present)
    assert head.dsvt_compat is present.dsvt_compat is value


@pytest.mark.parametrize("value", [False, True])
def test_reference_of_a_backbone(value):
    with pytest.warns(FutureWarning, match="'reference' is now named 'dsvt_compat'"):
        backbone = VoxelBackbone(MODEL["grid"], **BACKBONE, reference=value)
    present = VoxelBackbone(MODEL["grid"], **BACKBONE, dsvt_compat=value)
    assert backbone.position_shift == present.position_shift


@pytest.mark.parametrize("part", [VoxelBackbone, PADReTransFusionHead])
def test_names_that_never_were_are_errors(part):
    arguments = BACKBONE if part is VoxelBackbone else HEAD
    with pytest.raises(TypeError, match="unexpected keyword argument 'token'"):
        part(MODEL["grid"], **arguments, token="set")
