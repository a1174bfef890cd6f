import numpy as np
import pytest

pytest.importorskip("embreex")

from padre3d.synthetic.scene import build_world, count_points, visibility_token
from padre3d.synthetic.street import KERB_M, Street
from padre3d.synthetic.traffic import Lane, deal, follow


@pytest.fixture(scope="module")
def street() -> Street:
    return Street(np.random.default_rng(2), 150.0)


def lane_with(u, lengths, wish, stops=()):
    lane = Lane(1, 0.0, list(stops))
    for at, length in zip(u, lengths, strict=True):
        lane.add("car", [(length, 1.9, 1.6)], at, wish)
    return lane


def test_slope_is_the_gradient_of_the_terrain(street):
    xy = np.random.default_rng(0).uniform(200, 400, (50, 2))
    step = 1e-4
    for axis in (0, 1):
        ahead = np.eye(2)[axis] * step
        numeric = (street.terrain_m(xy + ahead) - street.terrain_m(xy - ahead)) / (2 * step)
        np.testing.assert_allclose(street.slope(xy)[:, axis], numeric, atol=1e-6)


def test_ground_is_hilly_but_drivable(street):
    heights = street.terrain_m(np.random.default_rng(0).uniform(150, 500, (2000, 2)))
    assert np.ptp(heights) > 0.5
    slope = street.slope(np.random.default_rng(1).uniform(150, 500, (500, 2)))
    assert np.linalg.norm(slope, axis=1).max() < 0.05


def test_kerbs_stand_above_the_road(street):
    s = next(v for v in np.arange(0, 100.0) if not street.near_crossing(v, 2))
    edge = street.half_width_m
    bare = street.terrain_m(street.xy([s, s], [edge - 0.2, edge + 0.2]))
    np.testing.assert_allclose(
        street.ground_m([s, s], [edge - 0.2, edge + 0.2]) - bare, [0.0, KERB_M], atol=1e-9
    )


def test_d_is_the_distance_to_the_left_of_the_centre_line(street):
    s = 20.0
    ahead = street.xy(s + 0.5, 0.0) - street.xy(s - 0.5, 0.0)
    left = street.xy(s, 10.0) - street.xy(s, 0.0)
    assert np.linalg.norm(left) == pytest.approx(10.0)
    assert ahead[0] * left[1] - ahead[1] * left[0] > 0
    assert abs(ahead @ left) < 0.3


def test_followers_keep_apart_and_reach_their_speed():
    lane = lane_with([60, 40, 25], [4.5, 10, 4.5], 10.0)
    u = follow(lane, 1200, 0.05)
    gaps = u[:, :-1] - u[:, 1:] - [7.25, 7.25]
    assert gaps.min() > 1.0
    np.testing.assert_allclose(np.diff(u[-20:, 0]) / 0.05, 10.0, rtol=0.01)
    assert (np.diff(u, axis=0) >= 0).all()


def test_a_queue_stops_at_a_red_light():
    u = follow(lane_with([0, -20, -40], [4.5, 4.5, 4.5], 10.0, stops=[60.0]), 1000, 0.05)
    front = u + 2.25
    assert 57 < front[-1, 0] <= 60.3
    assert front[-1, 1] < u[-1, 0] - 2.25 - 1.0
    np.testing.assert_allclose(u[-1], u[-20], atol=0.05)


def test_every_pack_holds_the_rare_kinds():
    kinds = deal(np.random.default_rng(0), {"car": 3, "bus": 1})
    for _ in range(5):
        assert sorted(next(kinds) for _ in range(4)) == ["bus", "car", "car", "car"]


def test_count_points_uses_the_turned_box():
    points = np.array([[1.9, 0, 0], [0, 0.9, 0], [0, 1.1, 0], [0, 0, 0.6], [2.1, 0, 0]])
    assert count_points(points, np.zeros(3), 0.0, (4, 2, 1)) == 2
    assert count_points(points, np.zeros(3), np.pi / 2, (4, 2, 1)) == 2
    turned = np.array([[0, 1.9, 0], [0.9, 0, 0], [1.1, 0, 0]])
    assert count_points(turned, np.zeros(3), np.pi / 2, (4, 2, 1)) == 2
    assert count_points(turned, np.zeros(3), 0.0, (4, 2, 1)) == 2


def test_visibility_grows_with_the_share_of_points():
    tokens = [visibility_token(n, 20.0, (4.6, 1.9, 1.7)) for n in (0, 20, 50, 400)]
    assert tokens == sorted(tokens)
    assert (tokens[0], tokens[-1]) == ("1", "4")


def test_worlds_differ_and_hold_all_classes():
    first, again, other = (build_world(1, n, 200) for n in (0, 0, 1))
    np.testing.assert_array_equal(first.clutter.vertices, again.clutter.vertices)
    assert first.clutter.vertices.shape != other.clutter.vertices.shape
    for world in (first, other):
        names = {actor.class_name for actor in world.actors}
        assert len(names) >= 9
        roles = {actor.role for actor in world.actors}
        assert {"lane", "parked", "rider", "walker", "thing"} <= roles


def test_attributes_follow_the_motion():
    world = build_world(1, 0, 40)
    things = [a for a in world.actors if a.class_name in ("barrier", "traffic_cone")]
    roles = {
        role: [a for a in world.actors if a.role == role and a not in things]
        for role in ("parked", "lane", "rider", "riderless")
    }
    assert things
    assert all(roles.values())
    assert {a.attribute(20, 0.05) for a in things} == {None}
    assert {a.attribute(20, 0.05) for a in roles["rider"]} == {"cycle.with_rider"}
    assert {a.attribute(20, 0.05) for a in roles["riderless"]} == {"cycle.without_rider"}
    assert {a.attribute(20, 0.05) for a in roles["parked"]} == {"vehicle.parked"}
    assert {a.speed_mps(20, 0.05) for a in roles["parked"]} == {0.0}
    for actor in roles["lane"]:
        moves = actor.speed_mps(20, 0.05) > 0.3
        assert actor.attribute(20, 0.05) == ("vehicle.moving" if moves else "vehicle.stopped")
