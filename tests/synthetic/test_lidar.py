import numpy as np
import pytest

pytest.importorskip("embreex")

from padre3d.synthetic import lidar as lidar_module
from padre3d.synthetic.lidar import NUM_BEAMS, NUM_COLUMNS, Hits, Lidar, Target, beam_directions
from padre3d.synthetic.meshes import box, merge, rotation

UPRIGHT = (np.eye(3), np.array([0.0, 0.0, 1.84]))
# The ego body seen from the LiDAR: far below, so that it is out of the way.
NO_EGO = (np.eye(3), np.array([0.0, 0.0, -500.0]))
GROUND = box((0, 0, -0.5), (400, 400, 1.0), "stone")


def scan(static, moving=(), poses=(UPRIGHT, UPRIGHT), seed=0):
    sensor = Lidar(static, np.random.default_rng(9), NO_EGO)
    return sensor.sweep(poses, list(moving), np.random.default_rng(seed))


def inside(points, centre, size):
    return (np.abs(points[:, :3] - centre) <= np.array(size) / 2 + 0.08).all(1).sum()


def test_beam_pattern():
    beams = beam_directions()
    assert beams.shape == (1084, 32, 3)
    np.testing.assert_allclose(np.linalg.norm(beams, axis=-1), 1.0)
    elevation = np.degrees(np.arcsin(beams[..., 2]))
    np.testing.assert_allclose(elevation[:, 0], -30.67)
    np.testing.assert_allclose(elevation[:, -1], 10.67)
    np.testing.assert_allclose(np.diff(elevation, axis=1), 41.34 / 31)
    azimuth = np.degrees(np.unwrap(np.arctan2(beams[:, 0, 1], beams[:, 0, 0])))
    np.testing.assert_allclose(np.diff(azimuth), -360 / 1084)  # clockwise seen from above
    assert azimuth[0] == pytest.approx(180)


def test_flat_ground_gives_the_range_of_each_beam_with_two_centimetres_of_noise():
    points = scan(GROUND)
    assert points.dtype == np.float32
    assert points.shape == (NUM_COLUMNS * NUM_BEAMS, 5)
    np.testing.assert_array_equal(points[:64, 4], np.tile(np.arange(32), 2))
    for beam in (0, 8, 16):
        elevation = np.radians(-30.67 + beam * 41.34 / 31)
        measured = np.linalg.norm(points[points[:, 4] == beam, :3], axis=1)
        measured = measured[measured > 0.5] - 1.84 / -np.sin(elevation)
        assert len(measured) > 0.95 * NUM_COLUMNS
        assert abs(measured.mean()) < 0.003
        assert measured.std() == pytest.approx(0.02, rel=0.12)


def test_beams_into_the_sky_return_nothing():
    points = scan(GROUND)
    up = points[points[:, 4] > 24]
    np.testing.assert_allclose(up[:, :3], 0.0, atol=1e-6)
    assert ((points[:, 3] >= 0) & (points[:, 3] <= 255)).all()


def test_a_box_behind_a_wall_gets_no_point():
    centre, size = np.array([20.0, 0.0, 1.0]), (4.0, 2.0, 2.0)
    car = box(centre, size, "metal")
    wall = box((12, 0, 2.5), (0.4, 12, 5), "concrete")
    at = centre - UPRIGHT[1]
    assert inside(scan(GROUND, [car]), at, size) > 60
    assert inside(scan(merge([GROUND, wall]), [car]), at, size) == 0
    assert inside(scan(GROUND, [car, wall]), at, size) == 0


def test_only_the_near_side_of_a_box_is_seen():
    points = scan(box((15, 0, 2), (4, 6, 4), "concrete"))
    hit = points[np.linalg.norm(points[:, :3], axis=1) > 1]
    assert len(hit) > 200
    np.testing.assert_allclose(hit[:, 0], 13.0, atol=0.1)


@pytest.mark.parametrize("near", [False, True])
def test_casting_only_rays_near_moving_meshes_loses_no_hit(near):
    rng = np.random.default_rng(4)
    meshes = [
        box((away * np.cos(angle), away * np.sin(angle), 1.5), rng.uniform(0.4, 9, 3), "metal")
        for away, angle in zip(rng.uniform(8, 70, 14), rng.uniform(0, 6.3, 14), strict=True)
    ]
    if near:
        meshes.append(box((0.6, 1.7, 1.0), (1, 1, 2), "metal"))
    start = (rotation(0.3), np.array([0.4, -0.5, 1.8]))
    end = (rotation(0.305), np.array([0.8, -0.3, 1.84]))
    sensor = Lidar(GROUND, rng, NO_EGO)
    origin, direction = sensor._rays((start, end))
    rays = sensor._rays_towards(meshes, end)
    target = Target(merge(meshes))
    every, some = Hits(len(origin)), Hits(len(origin))
    target.cast(every, origin, direction)
    target.cast(some, origin, direction, rays)
    assert np.isfinite(every.range_m).sum() > 1500
    assert len(rays) <= (1.0 if near else 0.7) * len(origin)
    np.testing.assert_allclose(some.range_m, every.range_m, rtol=1e-5)


def test_points_of_a_still_wall_do_not_smear_while_the_vehicle_drives_and_turns():
    wall = box((0, 30, 5), (80, 0.4, 10), "stone")
    start = (rotation(0.02), np.array([-0.1, 3.0, 1.84]))
    end = (rotation(0.05), np.array([0.0, 3.7, 1.84]))
    points = scan(wall, poses=(start, end))
    hit = points[np.linalg.norm(points[:, :3], axis=1) > 2, :3]
    in_global = hit @ end[0].T + end[1]
    front = in_global[np.abs(in_global[:, 0]) < 20]
    assert len(front) > 1000
    np.testing.assert_allclose(front[:, 1], 29.8, atol=0.12)
    # What is lost lies where it was fired: the path of the sensor during the turn.
    lost = points[np.linalg.norm(points[:, :3], axis=1) < 1, :3] @ end[0].T + end[1]
    np.testing.assert_allclose(lost[[0, -1], 1], [3.0, 3.7], atol=0.01)


def test_intensity_grows_with_reflectivity_and_falls_with_the_angle():
    def median(material, yaw=0.0):
        plate = box((0, 0, 0), (0.1, 8, 4), material).moved((15, 0, 2), yaw)
        points = scan(plate)
        return np.median(points[np.linalg.norm(points[:, :3], axis=1) > 2, 3])

    assert median("reflector") > 4 * median("concrete") > 8 * median("paint_dark")
    assert median("concrete", yaw=1.3) < 0.6 * median("concrete")


def test_weak_echoes_are_lost_more_often_far_away():
    def share(x):
        plate = box((x, 0, 1.84), (0.1, 0.4 * x, 0.2 * x), "paint_dark")
        points = scan(plate)
        rays = Hits(NUM_COLUMNS * NUM_BEAMS)
        flat = beam_directions().reshape(-1, 3).astype(np.float32)
        Target(plate).cast(rays, np.zeros_like(flat) + np.float32([0, 0, 1.84]), flat)
        return (np.linalg.norm(points[:, :3], axis=1) > 2).sum() / np.isfinite(rays.range_m).sum()

    assert share(10.0) > 0.88
    assert share(80.0) < 0.6


def test_missing_embree_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "embreex.mesh_construction", None)
    with pytest.raises(ImportError, match="pip install embreex"):
        lidar_module._embree_scene(GROUND.vertices, GROUND.faces)
