"""Eviction errors in closed form against dropping the key for real, and a window of kept cells."""

import pytest
import torch
from torch import nn

from padre3d.head.decoder import LocalCrossAttention, LocalDecoderLayer
from padre3d.head.eviction import (
    BLOCK,
    WindowStatistics,
    best_offsets,
    dropped_key_shifts,
    head_shifts,
    joint_scores,
    output_shifts,
    static_scores,
)
from padre3d.head.windows import LocalWindow
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((0.0, 0.0, -3, 9.0, 6.0, 1), (1.0, 1.0))  # 9 x 6 cells
KEPT = [(0, 0), (2, -1), (-2, 2), (1, 1), (-1, 0)]


def attention_case(queries=6, keys=10):
    torch.manual_seed(0)
    attention = LocalCrossAttention(16, 4).double()
    nn.init.normal_(attention.in_proj_weight)
    nn.init.normal_(attention.in_proj_bias)
    bias = (torch.rand(queries, keys) < 0.2) * -1e4
    query = torch.randn(queries, 16).double()
    return attention, query, torch.randn(queries, keys, 16).double(), bias.double()


def shifts_by_dropping(logits, values):
    output = (torch.softmax(logits, -1)[..., None] * values).sum(-2)
    shifts = torch.empty_like(values)
    for j in range(logits.shape[-1]):
        rest = [k for k in range(logits.shape[-1]) if k != j]
        weights = torch.softmax(logits[..., rest], -1)[..., None]
        shifts[..., j, :] = (weights * values[..., rest, :]).sum(-2) - output
    return shifts


def test_shifts_are_those_of_really_dropping_the_key():
    torch.manual_seed(0)
    logits, values = 3 * torch.randn(7, 3, 9).double(), torch.randn(7, 3, 9, 4).double()
    expected = shifts_by_dropping(logits, values)
    torch.testing.assert_close(dropped_key_shifts(logits, values), expected)
    # The paper's form of it: a_j / (1 - a_j) |v_j - o|.
    a = torch.softmax(logits, -1)
    distance = (values - (a[..., None] * values).sum(-2, keepdim=True)).norm(dim=-1)
    torch.testing.assert_close(expected.norm(dim=-1), a / (1 - a) * distance)


@pytest.mark.parametrize("gap", [20.0, 40.0, 800.0])
def test_a_key_with_all_the_weight(gap):
    """In single precision 1 - a_j is 0 or has lost its digits; the error is still the real one."""
    torch.manual_seed(0)
    logits, values = torch.randn(5, 8), torch.randn(5, 8, 4)
    logits[:, 3] += gap
    actual = dropped_key_shifts(logits, values)
    expected = shifts_by_dropping(logits.double(), values.double())
    torch.testing.assert_close(actual, expected.float(), atol=1e-6, rtol=1e-5)
    assert actual[:, 3].norm(dim=1).min() > 0.1


def test_a_single_key_cannot_be_dropped():
    with pytest.raises(ValueError, match="expected at least 2 keys, got 1"):
        dropped_key_shifts(torch.zeros(2, 1), torch.zeros(2, 1, 3))


def test_shifts_of_the_head_are_those_of_its_attention():
    """Per head, with the values that the moved projections never compute."""
    attention, query, keys, bias = attention_case()
    values = keys @ attention.in_proj_weight[32:].T + attention.in_proj_bias[32:]
    values = values.view(6, 10, 4, 4).transpose(1, 2)
    with torch.no_grad():
        expected = shifts_by_dropping(attention.logits(query, keys, bias), values)
        torch.testing.assert_close(head_shifts(attention, query, keys, bias), expected)


def test_shifts_behind_the_output_projection():
    attention, query, keys, bias = attention_case()
    with torch.no_grad():
        shifts = output_shifts(attention, query, keys, bias)
        whole = attention(query, keys, bias)
        for j in range(10):
            rest = [k for k in range(10) if k != j]
            without = attention(query, keys[:, rest], bias[:, rest])
            torch.testing.assert_close(shifts[:, j], without - whole)
    assert shifts[bias < 0].abs().max() == 0


def test_statistics_are_means_over_all_queries():
    attention, query, keys, bias = attention_case(queries=BLOCK + 3)
    layer = LocalDecoderLayer(GRID, 16, 4, 16, 1).double()
    layer.cross_attention = attention
    with torch.no_grad(), WindowStatistics(layer) as seen:
        for rows in (slice(0, 2), slice(2, None)):
            attention(query[rows], keys[rows], bias[rows])
    attention(query, keys, bias)
    assert (seen.queries, seen.frames) == (BLOCK + 3, 2)
    with torch.no_grad():
        errors = output_shifts(attention, query, keys, bias).norm(dim=2).mean(0)
        weights = torch.softmax(attention.logits(query, keys, bias), -1).mean((0, 1))
    torch.testing.assert_close(seen.scores("caote"), errors)
    torch.testing.assert_close(seen.scores("attention"), weights)
    assert seen._kept == []
    assert seen.scores("attention").sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="expected a frame with a point in range"):
        WindowStatistics(layer).scores("caote")


def outputs_of(attention, case, keys):
    query, key, bias = case
    return attention(query, key[:, keys], bias[:, keys])


def test_joint_scores_drop_what_is_least_missed_in_every_round():
    """Against dropping each key that is left and computing the attention anew."""
    attention, *case = attention_case(keys=7)
    own = torch.arange(7) == 2
    with torch.no_grad():
        whole = outputs_of(attention, case, list(range(7)))
        left, dropped = list(range(7)), []
        while len(left) > 2:
            errors = {}
            for j in left:
                rest = [k for k in left if k != j]
                moved = outputs_of(attention, case, rest) - whole
                errors[j] = float(moved.square().sum()) if j != 2 else float("inf")
            dropped.append(min(errors, key=errors.get))
            left.remove(dropped[-1])
        scores = joint_scores(attention, tuple(case), own, fewest=2)
    assert scores[dropped].tolist() == [0, 1, 2, 3, 4]
    assert scores[left].tolist() == [5, 5]


def test_of_two_equal_keys_one_is_enough():
    """Single errors keep both of the two large keys; jointly one stands for the other."""
    attention, query, keys, _ = attention_case(queries=40, keys=5)
    attention.in_proj_weight.data[:16] = 0  # the same weight for every key
    attention.in_proj_bias.data[:16] = 0
    keys[:, 3] = keys[:, 1] = 5 * keys[:, 1]
    bias = torch.zeros(40, 5).double()
    with torch.no_grad():
        single = output_shifts(attention, query, keys, bias).norm(dim=2).mean(0)
        joint = joint_scores(attention, (query, keys, bias), torch.arange(5) == 0, fewest=2)
    assert set(single.argsort(descending=True)[:2].tolist()) == {1, 3}
    assert (joint[[1, 3]] == joint.max()).sum() == 1


def test_many_keys_go_in_one_round():
    attention, query, keys, bias = attention_case(queries=3, keys=150)
    own = torch.arange(150) == 75
    with torch.no_grad():
        scores = joint_scores(attention, (query, keys, bias), own, fewest=140)
    assert sorted(scores.unique().tolist())[:3] == [0, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert (scores == scores.max()).sum() == 140
    assert scores[75] == scores.max()


def test_best_offsets():
    window = LocalWindow(GRID, 2)
    scores = torch.arange(25.0)
    kept = best_offsets(window, scores, 3)
    assert sorted(map(tuple, kept.tolist())) == [(0, 0), (2, 1), (2, 2)]
    near = best_offsets(window, static_scores(window, "distance"), 9)
    assert near.abs().max() == 1
    drawn = [static_scores(window, "random", seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    window.keep(near)
    assert len(best_offsets(window, torch.rand(9), 4)) == 4


@pytest.mark.parametrize("keep", [0, -1, 26])
def test_number_of_offsets_out_of_range(keep):
    with pytest.raises(
        ValueError, match=rf"keep: expected 1..25 offsets of the window, got {keep}"
    ):
        best_offsets(LocalWindow(GRID, 2), torch.rand(25), keep)


def test_scores_that_are_no_numbers():
    with pytest.raises(ValueError, match="expected finite numbers"):
        best_offsets(LocalWindow(GRID, 2), torch.full((25,), torch.nan), 3)
    with pytest.raises(ValueError, match="expected distance or random, got 'caote'"):
        static_scores(LocalWindow(GRID, 2), "caote")


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([(0, 0), (0, 3)], r"expected -2..2 cells, got \[0, 3\]"),
        ([(0, 0), (0, 1), (0, 1)], "expected different ones, .* got 2 different of 3"),
        ([(0, 1)], r"\(0, 0\) among them"),
        ([], "expected whole numbers"),
        ([(0.0, 0.0)], "expected whole numbers .* of torch.float32"),
        ([(0, 0, 0)], r"\(K, 2\) y, x, got \(1, 3\)"),
    ],
)
def test_offsets_that_are_no_window(offsets, message):
    with pytest.raises(ValueError, match=f"window offsets: .*{message}"):
        LocalWindow(GRID, 2, kept=offsets)


def test_a_window_that_wraps_has_no_offsets():
    with pytest.raises(ValueError, match="expected a head without dsvt_compat"):
        LocalDecoderLayer(GRID, 8, 2, 16, 2, dsvt_compat=True, window_offsets=KEPT)
    with pytest.raises(ValueError, match="expected a head without dsvt_compat"):
        best_offsets(LocalWindow(GRID, 2, wrap=True), torch.rand(25), 3)


def test_kept_cells_are_those_of_the_whole_window():
    cells = torch.arange(GRID.num_cells)
    whole, few = LocalWindow(GRID, 2), LocalWindow(GRID, 2, kept=KEPT)
    assert few.cells().tolist() == sorted(map(list, KEPT))
    places = [(y + 2) * 5 + x + 2 for y, x in few.cells().tolist()]
    for actual, expected in zip(few(cells), whole(cells), strict=True):
        assert torch.equal(actual, expected[:, places])


def layers(**kwargs):
    torch.manual_seed(0)
    layer = LocalDecoderLayer(GRID, 8, 2, 16, 2, **kwargs).eval()
    return layer, torch.randn(2, 5, 8), torch.randn(2, GRID.num_cells, 8)


def test_all_offsets_equal_the_whole_window():
    cells = torch.tensor([[0, 8, 53, 22, 22], [45, 1, 30, 17, 9]])
    layer, query, features = layers()
    with torch.no_grad():
        expected = layer(query, features, cells)
        layer.window.keep(layer.window.cells().flip(0))
        torch.testing.assert_close(layer(query, features, cells), expected)
        layer.window.keep(torch.tensor(KEPT))
        assert (layer(query, features, cells) - expected).abs().max() > 1e-3


def test_gradients_reach_all_parameters_of_a_pruned_layer():
    layer, query, features = layers(window_offsets=KEPT)
    layer.train()(query, features, torch.zeros(2, 5).long()).square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_state_dicts_of_both_kinds_load():
    """One without offsets leaves the window, one with them brings its own."""
    whole, few = layers()[0], layers(window_offsets=KEPT)[0]
    assert set(few.state_dict()) - set(whole.state_dict()) == {"window.kept"}
    assert not set(whole.state_dict()) - set(few.state_dict())
    few.load_state_dict(whole.state_dict())
    assert len(few.window.cells()) == len(KEPT)
    state = {**whole.state_dict(), "window.kept": torch.tensor(KEPT[:3])}
    for layer in (whole, few):
        layer.load_state_dict(state)
        assert layer.window.cells().tolist() == sorted(map(list, KEPT[:3]))
        ids, _ = layer.window(torch.tensor([20]))
        assert ids.shape == (1, 3)
    with pytest.raises(ValueError, match="window offsets: expected -2..2"):
        whole.load_state_dict({**state, "window.kept": torch.tensor([[0, 0], [9, 9]])})
