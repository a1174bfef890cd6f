import numpy as np
import pytest

from padre3d.synthetic.actor_shapes import build_shape
from padre3d.synthetic.catalog import CLASS_TO_CATEGORY, SIZES
from padre3d.synthetic.meshes import box, cylinder, fit_to_box, merge, prism, rotation

# What the real training set has, metres.
REAL_MEAN_LWH = {
    "car": (4.6, 1.95, 1.73),
    "bus": (11.1, 2.93, 3.46),
    "pedestrian": (0.73, 0.67, 1.77),
    "barrier": (0.5, 2.53, 0.98),
}


def test_rotation_turns_left_and_pitches_the_nose_down():
    np.testing.assert_allclose(rotation(np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation(0.0, np.pi / 2) @ [1, 0, 0], [0, 0, -1], atol=1e-12)


def test_primitives_have_the_asked_extent():
    for mesh, size in (
        (box((1, 2, 3), (2, 4, 6), "metal"), (2, 4, 6)),
        (cylinder((0, 0, 0), 1.0, 5.0, "metal", axis="x"), (5, 2, 2)),
        (cylinder((0, 0, 0), 1.0, 5.0, "metal", axis="y"), (2, 5, 2)),
        (prism([(0, 0), (3, 0), (3, 2), (0, 2)], 1.5, "metal"), (3, 1.5, 2)),
    ):
        np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), size, atol=1e-12)


def test_merge_keeps_each_part_apart():
    both = merge([box((0, 0, 0), (1, 1, 1), "metal"), box((9, 0, 0), (1, 1, 1), "glass")])
    x = both.vertices[both.faces][:, :, 0]
    assert (np.ptp(x, axis=1) <= 1).all()
    assert set(both.material[x.min(1) > 5]).isdisjoint(both.material[x.max(1) < 5])


@pytest.mark.parametrize(
    "kind", [*CLASS_TO_CATEGORY, "tractor", "bicycle+rider", "motorcycle+rider"]
)
def test_shapes_fill_their_box_and_no_more(kind: str):
    name = {"tractor": "truck"}.get(kind, kind.removesuffix("+rider"))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        size = np.array(SIZES[name].draw(rng))
        mesh = build_shape(kind, size, rng)
        extent = np.abs(mesh.vertices)
        extent[:, 0] += np.abs(mesh.swing)
        assert (extent <= size / 2 + 1e-6).all()
        assert mesh.vertices[:, 2].max() > 0.45 * size[2]
        assert len(mesh.faces) > 24, "a shape is more than a box"


def test_a_car_is_narrower_and_shorter_above_its_waist():
    rng = np.random.default_rng(3)
    mesh = build_shape("car", (4.6, 1.95, 1.7), rng)
    roof = mesh.vertices[mesh.vertices[:, 2] > 0.8 * 0.85]
    assert np.ptp(roof[:, 0]) < 0.75 * 4.6
    assert np.ptp(roof[:, 1]) < 0.9 * 1.95


def test_fit_to_box_centres():
    mesh = fit_to_box(box((5, 5, 5), (1, 2, 3), "metal"), (4, 4, 4), fill=1.0)
    np.testing.assert_allclose(mesh.vertices.max(0), [2, 2, 2])
    np.testing.assert_allclose(mesh.vertices.min(0), [-2, -2, -2])


def test_sizes_follow_the_real_means_with_spread():
    for name, mean in REAL_MEAN_LWH.items():
        rng = np.random.default_rng(0)
        drawn = np.array([SIZES[name].draw(rng) for _ in range(3000)])
        np.testing.assert_allclose(drawn.mean(0), mean, rtol=0.02)
        assert (drawn.std(0) / drawn.mean(0) > 0.03).all()


def test_unknown_shape_is_named():
    with pytest.raises(ValueError, match=r"expected one of .*, got 'tram'"):
        build_shape("tram", (1, 1, 1), np.random.default_rng(0))
