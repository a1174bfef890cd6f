"""Times in every unit, with every offset and under every name become lags of the newest point."""

import numpy as np
import pytest
from other_clouds import road, write_bin, write_pcd

from padre3d.io import load_points, options_of, read_cloud
from padre3d.io.time_field import stamp_unit

COUNT = 1001
RAMP = np.linspace(0, 0.1, COUNT)
LAG = 0.1 - RAMP


def fields(**more):
    xyz = road(COUNT)
    named = {axis: xyz[:, i].astype("f4") for i, axis in enumerate("xyz")}
    return {**named, "intensity": np.full(COUNT, 7, "f4"), **more}


@pytest.mark.parametrize("name", ["t", "time", "timestamp", "time_stamp", "offset_time"])
@pytest.mark.parametrize(
    "stamps",
    [
        RAMP,
        RAMP * 1e3,
        np.rint(RAMP * 1e6).astype("u4"),
        np.rint(RAMP * 1e9).astype("u4"),
        (RAMP * 1e9).astype("f4"),
        1820.8 + RAMP,
        (1_820_800_000_000 + np.rint(RAMP * 1e9)).astype("u8"),
        (1_532_402_927_000_000_000 + np.rint(RAMP * 1e9).astype("i8")).astype("u8"),
        (1_532_402_927_000_000 + np.rint(RAMP * 1e6)).astype("i8"),
        1_532_402_927 + RAMP,
        RAMP - 0.1,
        (RAMP - 0.1).astype("f4"),
        RAMP - 0.05,
    ],
    ids=["s", "ms", "us", "ns", "ns f4", "uptime s", "uptime ns", "epoch ns", "epoch us"]
    + ["epoch s", "negative", "negative f4", "about zero"],
)
def test_stamps(tmp_path, name, stamps):
    cloud = read_cloud(write_pcd(tmp_path / "a.pcd", fields(**{name: stamps})))
    np.testing.assert_allclose(cloud.points[:, 4], LAG, atol=2e-6)
    assert (cloud.time.source, cloud.time.kind) == (f"field {name}", "stamps")
    assert cloud.time.span_s == pytest.approx(0.1, abs=1e-5)
    assert not cloud.warnings


def test_shuffled_stamps(tmp_path):
    order = np.random.default_rng(0).permutation(COUNT)
    points = load_points(write_pcd(tmp_path / "a.pcd", fields(time=RAMP[order])))
    np.testing.assert_allclose(points[:, 4], LAG[order], atol=1e-6)


def test_lags_of_sweeps_stay(tmp_path):
    lags = np.repeat(np.arange(4) * 0.05, 400)
    xyz = road(len(lags))
    columns = {axis: xyz[:, i].astype("f4") for i, axis in enumerate("xyz")}
    cloud = read_cloud(write_pcd(tmp_path / "a.pcd", {**columns, "i": lags * 0 + 5, "time": lags}))
    np.testing.assert_allclose(cloud.points[:, 4], lags, atol=1e-6)
    assert (cloud.time.kind, cloud.time.sweeps) == ("lag", 4)
    cloud = read_cloud(write_bin(tmp_path / "b.bin", xyz, lags * 0 + 5, lags))
    np.testing.assert_allclose(cloud.points[:, 4], lags, atol=1e-6)
    assert (cloud.time.kind, cloud.time.sweeps) == ("lag", 4)


def test_a_lag_by_name_or_option(tmp_path):
    by_name = write_pcd(tmp_path / "a.pcd", fields(time_lag=RAMP))
    np.testing.assert_allclose(load_points(by_name)[:, 4], RAMP, atol=1e-6)
    stamps = write_pcd(tmp_path / "b.pcd", fields(t=RAMP * 1e3))
    forced = load_points(stamps, time_lag=True, time_unit="ms")
    np.testing.assert_allclose(forced[:, 4], RAMP, atol=1e-6)
    with pytest.raises(ValueError, match=r"b\.pcd: expected field t to be a time lag .* 0 to 100 "):
        load_points(stamps, time_lag=True)


def test_unit_by_option(tmp_path):
    path = write_pcd(tmp_path / "a.pcd", fields(t=RAMP * 50))
    assert load_points(path)[:, 4].max() == pytest.approx(5)
    assert load_points(path, time_unit="ms")[:, 4].max() == pytest.approx(0.005)


def test_texture_coordinates_are_no_time(tmp_path):
    texture = np.linspace(0, 1, COUNT)
    cloud = read_cloud(write_pcd(tmp_path / "a.pcd", fields(s=texture, t=texture)))
    assert not cloud.points[:, 4].any()
    assert cloud.time.kind == "none"


def test_epoch_seconds_without_digits(tmp_path):
    stamps = (1_532_402_927 + np.linspace(0, 200, COUNT)).astype("f4")
    with pytest.warns(UserWarning, match=r"a\.pcd: field t has too few digits"):
        points = load_points(write_pcd(tmp_path / "a.pcd", fields(t=stamps)))
    assert not points[:, 4].any()


def test_elongation_is_no_lag(tmp_path):
    """Neither a lag nor whole numbers: said, and not used."""
    elongation = np.random.default_rng(0).uniform(0, 1.5, COUNT)
    path = write_bin(tmp_path / "a.bin", road(COUNT), np.arange(COUNT) % 200, elongation)
    with pytest.warns(UserWarning, match=r"column 5 \(0.*to 1\.49.*neither .* --no-time-lag"):
        points = load_points(path)
    assert not points[:, 4].any()
    assert not read_cloud(path, options_of(time_lag=False)).warnings
    forced = load_points(path, time_lag=True)
    np.testing.assert_allclose(forced[:, 4], elongation, rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "expected", "kind"),
    [
        (RAMP, LAG, "stamps"),
        (RAMP - 0.1, LAG, "stamps"),
        (np.rint(RAMP * 1e9), LAG, "stamps"),
        (RAMP * 1e3 + 0.123, LAG, "stamps"),
        (
            -np.repeat([0, 0.05, 0.1], [401, 300, 300]),
            np.repeat([0, 0.05, 0.1], [401, 300, 300]),
            0,
        ),
        (np.arange(COUNT) % 128, 0 * LAG, "ring"),
        (np.random.default_rng(0).permutation(COUNT), 0 * LAG, "ring"),
    ],
    ids=["s", "negative s", "ns", "ms", "negative lags", "ring", "index"],
)
def test_fifth_column(tmp_path, column, expected, kind):
    path = write_bin(tmp_path / "a.bin", road(COUNT), np.arange(COUNT) % 200, column)
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud.points[:, 4], expected, atol=1e-5)
    assert cloud.time.kind == (kind or "stamps")
    assert not cloud.warnings


def test_named_columns(tmp_path):
    path = write_bin(tmp_path / "a.bin", road(COUNT), RAMP * 1e9, np.arange(COUNT) % 200)
    points = load_points(path, fields=["x", "y", "z", "t", "i"])
    np.testing.assert_allclose(points[:, 4], LAG, atol=1e-5)


@pytest.mark.parametrize(
    ("low", "high", "unit"),
    [
        (0, 0.1, "s"),
        (0, 9.5, "s"),
        (0, 100.5, "ms"),
        (0, 100_000, "us"),
        (0, 100_000_000, "ns"),
        (0, 11_000_000_000, None),
        (1_532_402_927.0, 1_532_402_927.5, "s"),
        (1_532_402_927.25, 1_532_403_927.5, None),
        (1_532_402_927_000_000, 1_532_402_927_000_001, "us"),
        (5, 5, "s"),
    ],
)
def test_units(low, high, unit):
    assert stamp_unit(np.array([low, high])) == unit
