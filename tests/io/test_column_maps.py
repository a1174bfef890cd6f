"""Columns: by number, by name, by preset; and never guessed into garbage."""

import numpy as np
import pytest
from other_clouds import road, write_bin

from padre3d.io import load_points, options_of
from padre3d.io.options import parse_fields

COUNT = 2000
XYZ = road(COUNT)
INTENSITY = np.arange(COUNT) % 250
RING = np.arange(COUNT) % 16
TIME = np.linspace(0, 0.1, COUNT)


def expected(lag=None):
    zero = np.zeros(COUNT) if lag is None else lag
    return np.column_stack([XYZ, INTENSITY, zero]).astype("f4")


@pytest.mark.parametrize("columns", [6, 7, 9])
def test_more_columns_with_a_map(tmp_path, columns):
    rest = [np.random.default_rng(c).uniform(-9, 9, COUNT) for c in range(columns - 5)]
    path = write_bin(tmp_path / "a.bin", XYZ, INTENSITY, *rest, TIME)
    names = f"x,y,z,i{',_' * len(rest)},t"
    points = load_points(path, columns, fields=parse_fields(names))
    np.testing.assert_allclose(points, expected(0.1 - TIME), atol=1e-6)
    np.save(tmp_path / "b.npy", np.fromfile(path, "<f4").reshape(COUNT, columns))
    np.testing.assert_array_equal(
        load_points(tmp_path / "b.npy", fields=parse_fields(names)), points
    )
    for name in ("a.bin", "b.npy"):
        with pytest.raises(ValueError, match=rf"{name}: expected .*--fields"):
            load_points(tmp_path / name, columns if name == "a.bin" else None)


def test_columns_in_another_order(tmp_path):
    path = write_bin(tmp_path / "a.bin", INTENSITY, XYZ[:, ::-1])
    points = load_points(path, fields=parse_fields("i, z, y, x"))
    np.testing.assert_array_equal(points, expected())


@pytest.mark.parametrize(
    ("preset", "columns", "lag"),
    [
        ("hesai", (TIME + 1_532_402_927, RING), True),
        ("livox", (RING, RING, TIME * 1e9), True),
        ("velodyne", (RING, TIME), True),
        ("ouster", (TIME * 1e9,), True),
    ],
)
def test_presets(tmp_path, preset, columns, lag):
    path = write_bin(tmp_path / "a.bin", XYZ, INTENSITY, *columns, dtype="<f8")
    points = load_points(path, 4 + len(columns), preset=preset, dtype="float64")
    np.testing.assert_allclose(points, expected(0.1 - TIME), atol=1e-6)


def test_six_columns_are_refused_until_named(tmp_path):
    path = write_bin(tmp_path / "a.bin", XYZ, INTENSITY, RING, TIME)
    message = r"a\.bin: expected 4 or 5 columns of float32, got what reads as 6: .*--preset velo"
    with pytest.raises(ValueError, match=message):
        load_points(path)
    np.testing.assert_allclose(
        load_points(path, preset="velodyne"), expected(0.1 - TIME), atol=1e-6
    )
    # Hesai's come in the other order; Waymo's are elongation and a flag.
    for preset, last in (
        ("hesai", (TIME, RING)),
        ("waymo", (1.5 * TIME / TIME.max(), np.where(RING, 1, -1))),
    ):
        table = np.column_stack([XYZ, INTENSITY, *last]).astype("<f4")
        table.tofile(tmp_path / "c.bin")
        np.save(tmp_path / "c.npy", table)
        for name in ("c.bin", "c.npy"):
            with pytest.raises(ValueError, match=rf"{name}: expected .* --preset {preset}$"):
                load_points(tmp_path / name)
            assert len(load_points(tmp_path / name, preset=preset)) == COUNT
    # Values that fit every width: all three are named.
    with pytest.raises(ValueError, match="of 4 and 5 and 6 columns all read plausibly"):
        load_points(write_bin(tmp_path / "b.bin", np.ones(60)))


@pytest.mark.parametrize(("name", "columns"), [("a.pcd.bin", None), ("a.bin", 5)])
def test_a_hint_never_leads_to_garbage(tmp_path, name, columns):
    """2,000 points of 4 columns are 1,600 of 5 as well."""
    path = write_bin(tmp_path / name, XYZ[:1800], INTENSITY[:1800])
    with pytest.raises(ValueError, match=r"expected 5 columns, got values that read as 4; --co"):
        load_points(path, columns)
    points = load_points(path, 4)
    np.testing.assert_array_equal(points, expected()[:1800])


def test_exactly_two_thousand_points(tmp_path):
    path = write_bin(tmp_path / "a.pcd.bin", XYZ, INTENSITY)
    for columns in (None, 5):
        with pytest.raises(ValueError, match=r"expected 5 columns, got values that read as 4"):
            load_points(path, columns)
    assert len(load_points(path, 4)) == 2000
    # Who names every column is believed.
    assert len(load_points(path, fields=parse_fields("x,y,z,i,_"))) == 1600


def test_float64(tmp_path):
    path = write_bin(tmp_path / "a.bin", XYZ, INTENSITY, dtype="<f8")
    np.testing.assert_array_equal(load_points(path, dtype="float64"), expected())
    with pytest.raises(ValueError, match="--dtype, one of float32, float16, float64"):
        load_points(path)


def test_units_and_origin(tmp_path):
    far = np.array([451_230.25, 5_411_007.5, 112.0])
    path = tmp_path / "a.npy"
    np.save(path, np.column_stack([(XYZ + far) * 1000, INTENSITY]))
    points = load_points(path, unit="mm", origin=tuple(far * 1000))
    np.testing.assert_allclose(points, expected(), atol=1e-5)
    np.save(path, np.column_stack([XYZ * 100, INTENSITY]))
    np.testing.assert_allclose(load_points(path, unit="cm"), expected(), atol=1e-5)


def test_structured_npy(tmp_path):
    table = np.zeros(COUNT, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("remission", "u1")])
    for axis, name in enumerate("xyz"):
        table[name] = XYZ[:, axis]
    table["remission"] = INTENSITY
    np.save(tmp_path / "a.npy", table)
    np.testing.assert_array_equal(load_points(tmp_path / "a.npy"), expected())


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"fields": ("x", "y", "i")}, "--fields: expected x, y and z once each, got x,y,i"),
        ({"fields": ("x", "y", "z", "t", "t")}, "different names, got t twice"),
        ({"fields": ("x", "y", "z"), "columns": 4}, "as many names as --columns 4, got 3"),
        ({"preset": "robosense"}, "--preset: expected one of kitti, waymo, .*, got 'robosense'"),
        ({"unit": "ft"}, "--unit: expected one of m, cm, mm, got 'ft'"),
        ({"time_unit": "h"}, "--time-unit: expected one of s, ms, us, ns, got 'h'"),
        ({"intensity_scale": float("nan")}, "--intensity-scale: expected a finite number"),
        ({"origin": (1, 2)}, "--origin: expected three finite numbers"),
    ],
)
def test_impossible_options(given, match):
    with pytest.raises(ValueError, match=match):
        options_of(**given)
