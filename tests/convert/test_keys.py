"""Every key of the full-size reference model has a place in ours, and the way back."""

import json

import pytest

from padre3d.backbone import VoxelBackbone
from padre3d.bev import ResidualBEVBackbone
from padre3d.convert.keys import MODULES, rename
from padre3d.pillars import DynamicPillarEncoder
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((-54, -54, -5, 54, 54, 3), (0.3, 0.3))
BUILD = {
    "vfe.": lambda: DynamicPillarEncoder(GRID),
    "backbone_3d.": lambda: VoxelBackbone(GRID, mixer=dict(type="set_attention")),
    "backbone_2d.": lambda: ResidualBEVBackbone(),
}


@pytest.fixture(scope="module")
def shapes(golden_dir):
    entries = json.loads((golden_dir / "full_keys.json").read_text())["keys"]
    return {key: tuple(entry["shape"]) for key, entry in entries.items()}


@pytest.mark.parametrize("prefix", BUILD)
def test_names_and_shapes_both_ways(shapes, prefix):
    keys = MODULES[prefix]
    theirs = {k: s for k, s in shapes.items() if k.startswith(prefix)}
    state = BUILD[prefix]().state_dict()
    ours = {key: tuple(value.shape) for key, value in state.items()}
    assert rename(theirs, keys, prefix) == ours
    assert {prefix + keys.to_reference(key): s for key, s in ours.items()} == theirs


def test_unknown_key_is_an_error():
    with pytest.raises(ValueError, match=r"unknown reference key 'vfe.pfn.0.weight'"):
        rename({"vfe.pfn.0.weight": 0}, MODULES["vfe."], "vfe.")
    assert MODULES["vfe."].to_reference("pfn_layers.0.linear.weight") is None
