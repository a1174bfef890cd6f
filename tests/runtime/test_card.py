"""The card beside an exported model: what may stand in it, as in the C++ program."""

import json

import pytest

from padre3d.models import folder_info
from padre3d.runtime import SweepBuffer


@pytest.mark.parametrize("key", ["num_sweeps", "stride"])
@pytest.mark.parametrize("value", [2.5, 3.0, "1", True, None, [3], 0, -1, 1_000_001])
def test_sweeps_are_whole_numbers(tmp_path, key, value):
    (tmp_path / "info.json").write_text(json.dumps({key: value}))
    with pytest.raises(ValueError, match=r"info\.json: .*: expected whole num_sweeps"):
        folder_info(tmp_path)


@pytest.mark.parametrize("text", ["[]", '[["num_sweeps", 3]]', "3", "null", "{", "[" * 100_000])
def test_a_card_is_an_object(tmp_path, text):
    (tmp_path / "info.json").write_text(text)
    with pytest.raises(ValueError, match=r"info\.json: expected what tools/export\.py"):
        folder_info(tmp_path)


def test_what_a_card_says(tmp_path):
    assert folder_info(tmp_path) == {}
    said = {"num_sweeps": 3, "stride": 1_000_000, "nds": 0.5}
    (tmp_path / "info.json").write_text(json.dumps(said))
    assert folder_info(tmp_path) == said


@pytest.mark.parametrize("given", [{"num_sweeps": 2.5}, {"stride": 2.0}, {"num_sweeps": "3"}])
def test_a_buffer_of_half_a_sweep(given):
    with pytest.raises(ValueError, match="SweepBuffer expected a whole"):
        SweepBuffer(**given)
