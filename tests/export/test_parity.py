"""The comparison itself: matched by class and cell, ties excused, losses not."""

import json
from types import SimpleNamespace

import pytest
import torch

from padre3d.command.export_info import _parity
from padre3d.export import export
from padre3d.export.parity import compare_outputs
from padre3d.head.outputs import HeadOutputs
from padre3d.structures.grid import PillarGrid

HEAD = SimpleNamespace(
    grid=PillarGrid((-4, -4, -5, 4, 4, 3), (1, 1)), selector=SimpleNamespace(kernel=3)
)
CELLS = [(0, 1, 1), (1, 5, 5), (0, 6, 2)]  # class, y, x


def outputs(cells=CELLS, values=(3.0, 2.0, 1.0)):
    """Proposals in given cells of a heatmap that is low everywhere else."""
    torch.manual_seed(0)
    dense = torch.full((1, 2, 8, 8), -5.0)
    for (label, y, x), value in zip(CELLS, values, strict=True):
        dense[0, label, y, x] = value
    labels, y, x = torch.tensor(cells).unbind(1)
    scores = dense.sigmoid()[0, :, y, x].t()[None]
    by_cell = {
        name: torch.stack(
            [
                torch.randn(16, generator=torch.Generator().manual_seed(hash(cell) % 1000))
                for cell in cells
            ]
        )[None]
        for name in "a"
    }["a"]
    position = torch.stack([x, y], 1)[None] + 0.5
    return HeadOutputs(
        center=position + 0.1,
        height=by_cell[..., :1],
        dim=by_cell[..., 1:4],
        rot=by_cell[..., 4:6],
        vel=by_cell[..., 6:8],
        iou=by_cell[..., 8:9],
        heatmap=by_cell[..., 9:11],
        query_heatmap_score=scores,
        dense_heatmap=dense,
        query_labels=labels[None],
        query_pos=position,
    )


def test_another_order_is_no_difference():
    result = compare_outputs("f", 9, outputs(), outputs([CELLS[i] for i in (2, 0, 1)]), HEAD)
    assert result.worst == 0
    assert (result.matched, result.ties, result.lost) == (3, 0, 0)


@pytest.mark.parametrize(("name", "size"), [("dim", 0.5), ("center", 0.25), ("iou", 0.125)])
def test_a_difference_is_measured(name, size):
    wrong = getattr(outputs(), name).clone()
    wrong[0, 1, 0] += size
    result = compare_outputs("f", 9, outputs(), outputs()._replace(**{name: wrong}), HEAD)
    assert result.errors[name] == pytest.approx(size)
    assert result.worst == pytest.approx(size)
    values = getattr(outputs(), name)
    relative = size / values.numel() ** 0.5 / values.square().mean().sqrt()
    assert result.relative[name] == pytest.approx(float(relative))
    assert result.worst_relative == pytest.approx(float(relative))
    assert result.centre_m == pytest.approx(0.25 if name == "center" else 0, abs=1e-6)


def test_nan_is_an_infinite_difference():
    wrong = outputs().vel.clone()
    wrong[0, 2, 1] = float("nan")
    assert compare_outputs("f", 9, outputs(), outputs()._replace(vel=wrong), HEAD).worst == float(
        "inf"
    )


def test_another_proposal_is_lost_unless_it_ties():
    elsewhere = [*CELLS[:2], (1, 3, 3)]
    result = compare_outputs("f", 9, outputs(), outputs(elsewhere), HEAD)
    assert (result.matched, result.lost) == (2, 1)
    assert result.worst == float("inf")
    # (1, 3, 3) has the value of the whole background, so nothing distinguishes it from a proposal
    # of that value; the strong (0, 6, 2) that it displaced is the loss.
    assert result.ties == 1


def test_a_tie_with_the_last_proposal_is_excused():
    values = (3.0, 1.0, 1.0)
    result = compare_outputs(
        "f", 9, outputs(CELLS[:2], values), outputs([CELLS[0], CELLS[2]], values), HEAD
    )
    assert (result.matched, result.ties, result.lost) == (1, 2, 0)
    assert result.worst == 0


def test_a_lost_proposal_has_a_manifest_in_16_bit(tmp_path, monkeypatch):
    """It passes the tolerance: what is written is finite, and says how many are lost."""
    lossy = compare_outputs("f", 9, outputs(), outputs([*CELLS[:2], (1, 3, 3)]), HEAD)
    wrong = outputs().vel + 0.25
    results = [lossy, compare_outputs("g", 9, outputs(), outputs()._replace(vel=wrong), HEAD)]
    config = export.ExportConfig("fp16", tolerance=2)
    export._refuse(results, config)
    said = export._summary(results, config)
    assert (said["max_abs_err"], said["lost"]) == (pytest.approx(0.25), 1)
    assert _parity(said) == "0.25, lost proposals: 1"
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    with pytest.raises(export.ParityError, match="a difference of inf"):
        export._refuse(results, export.ExportConfig())
    monkeypatch.setattr(export, "describe_detector", lambda _: {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        export._write_manifest(tmp_path, None, config, {"parity": {"max_abs_err": float("inf")}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tolerance", [float("inf"), float("nan"), -1])
def test_a_tolerance_is_a_finite_number(tolerance):
    """Others could not be in the manifest, or nothing would pass."""
    with pytest.raises(ValueError, match="tolerance: expected a number of 0 or more, got"):
        export.ExportConfig("fp16", tolerance=tolerance)
