"""Two sets of arrays: the reference's own, and one of other choices that tests/golden makes."""

import pytest

from .slow_head import write_head
from .slow_stages import write_backbone, write_bev, write_input_layer, write_vfe


@pytest.fixture(scope="session")
def self_made(tmp_path_factory):
    """Arrays of other choices than the published ones, from loops and torch's own layers."""
    folder = tmp_path_factory.mktemp("arrays")
    write_vfe(folder / "vfe.npz")
    write_input_layer(folder / "input_layer.npz")
    write_backbone(folder / "backbone_small.npz")
    write_bev(folder / "bev_backbone_small.npz")
    write_head(folder / "head_small.npz")
    return folder


@pytest.fixture(scope="module", params=["reference", "other choices"])
def arrays_dir(request):
    """A folder of arrays; the reference's is skipped where it is not there."""
    name = "golden_dir" if request.param == "reference" else "self_made"
    return request.getfixturevalue(name)
