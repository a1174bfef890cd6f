"""The closed form is the least-squares solution, for every mixer that ends in a dense map."""

import numpy as np
import pytest
import torch
from mixers.test_interface import CONFIGS, DIM, make

from padre3d.distill.least_squares import LeastSquares, read_features, write_map
from padre3d.mixers import build_mixer

WIDE = dict(type="mamba", state=4, expand=3)


def problem(rows=200, features=7, outputs=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, features)), rng.normal(size=(rows, outputs)) + 3.0


def solved(x, y, ridge, pieces=3):
    system = LeastSquares(x.shape[1], y.shape[1])
    for rows in np.array_split(np.arange(len(x)), pieces):
        system.add(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    return [part.numpy() for part in system.solve(ridge)]


def test_without_ridge_it_is_lstsq():
    x, y = problem()
    weight, bias = solved(x, y, 0.0)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    np.testing.assert_allclose(weight, expected[:-1], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(bias, expected[-1], rtol=1e-9)


def test_ridge_is_rows_of_zeros_that_leave_the_bias_free():
    x, y = problem()
    weight, bias = solved(x, y, 0.3)
    scale = np.sqrt(0.3 * np.square(x).sum(0).mean())
    rows = np.column_stack([np.vstack([x, scale * np.eye(7)]), np.r_[np.ones(200), np.zeros(7)]])
    expected = np.linalg.lstsq(rows, np.vstack([y, np.zeros((7, 5))]), rcond=None)[0]
    np.testing.assert_allclose(weight, expected[:-1], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(bias, expected[-1], rtol=1e-9)


def test_a_feature_twice_gives_the_smallest_weights():
    x, y = problem()
    weight, _ = solved(np.column_stack([x, x[:, :1]]), y, 0.0)
    np.testing.assert_allclose(weight[0], weight[-1], rtol=1e-6)


@pytest.mark.parametrize("cfg", [*CONFIGS, WIDE], ids=str)
def test_output_map_is_what_the_mixer_ends_in(cfg):
    mixer = make(cfg)
    last = mixer.output_map
    ends_dense = not (cfg["type"] == "padre" and cfg.get("preset", "sequence") != "sequence")
    assert (last is not None) == ends_dense
    kept = [p.clone() for p in mixer.parameters()]
    x, pos = torch.randn(2, 2, 23, DIM)
    mask = torch.rand(2, 23) < 0.8
    found = [read_features(m, lambda: mixer(x, pos, mask)) for m in [last] if m is not None]
    assert all(torch.equal(a, b) for a, b in zip(kept, mixer.parameters(), strict=True))
    expected = [features @ last.weight + last.bias for features in found]
    got = [mixer(x, pos, mask)] * len(found)
    torch.testing.assert_close(
        [g[mask] for g in got], [e[mask] for e in expected], rtol=1e-4, atol=1e-5
    )


def test_a_wide_map_is_read_whole_and_recovered():
    """Targets that a mixer can meet by its last map alone: the closed form finds them."""
    mixer, wanted = make(WIDE), make(WIDE)
    with torch.no_grad():
        wanted.project_out.weight.normal_()
        wanted.project_out.bias.normal_()
    system = LeastSquares(*mixer.output_map.weight.shape)
    for _ in range(3):
        x = torch.randn(4, 50, DIM)
        features = read_features(mixer.output_map, lambda x=x: mixer(x))
        assert features.shape == (4, 50, 3 * DIM)
        system.add(features.flatten(0, 1), wanted(x).flatten(0, 1).detach())
    write_map(mixer.output_map, *system.solve())
    torch.testing.assert_close(mixer(x), wanted(x), rtol=1e-3, atol=1e-3)


def test_a_low_rank_map_at_the_end_has_no_closed_form():
    from padre3d.mixers import PADRe, PadreStructure
    from padre3d.mixers.structure import Conv, Linear, LowRank

    maps = dict(a=(None, None), b=(Linear(), Linear()), c=(Conv(3),), d=(None,))
    for end in (dict(v=LowRank(4)), dict(v=Linear(), u=Conv(3)), dict()):
        assert PADRe(DIM, structure=PadreStructure(**maps, **end)).output_map is None
    assert build_mixer(dict(type="padre"), DIM).output_map.weight.shape == (DIM, DIM)
