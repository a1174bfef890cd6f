"""Intensities of another scale are said, with the option that mends them."""

import numpy as np
import pytest
from other_clouds import road, write_bin, write_pcd

from padre3d.io import load_points

COUNT = 500


def named(name, values):
    xyz = road(COUNT)
    return {**{axis: xyz[:, i] for i, axis in enumerate("xyz")}, name: values}


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(0, 900, "0.283"), (0, 5600, "0.0455"), (-3590, 235, "0.071"), (0, 65535, "0.00389")],
)
def test_other_scales_warn(tmp_path, low, high, scale):
    values = np.linspace(low, high, COUNT)
    path = write_pcd(tmp_path / "a.pcd", named("intensity", values))
    message = rf"a\.pcd: intensity is {low} to {high}, the model expects 0 to 255: "
    with pytest.warns(UserWarning, match=message + f"try --intensity-scale {scale}$"):
        load_points(path)


@pytest.mark.filterwarnings("error")
def test_the_scale_named_is_enough(tmp_path):
    path = write_pcd(tmp_path / "a.pcd", named("intensity", np.linspace(0, 900, COUNT)))
    assert load_points(path, intensity_scale=0.283)[:, 3].max() == pytest.approx(254.7)
    load_points(write_pcd(tmp_path / "b.pcd", named("intensity", np.full(COUNT, 255.0))))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name",
    ["intensity", "Intensity", "i", "reflectivity", "remission", "reflectance"]
    + ["scalar_Intensity", "scalar_reflectance", "scalar_Remission"],
)
def test_known_names(tmp_path, name):
    values = np.arange(COUNT, dtype="f4") % 200
    np.testing.assert_array_equal(
        load_points(write_pcd(tmp_path / "a.pcd", named(name, values)))[:, 3], values
    )


@pytest.mark.filterwarnings("error")
def test_intensity_field(tmp_path):
    fields = {**named("intensity", np.full(COUNT, 5000.0)), "near_ir": np.full(COUNT, 12.0)}
    path = write_pcd(tmp_path / "a.pcd", fields)
    assert (load_points(path, intensity_field="near_ir")[:, 3] == 12).all()
    with pytest.raises(
        ValueError, match=r"a\.pcd: --intensity-field echo: got fields x, y, z, int"
    ):
        load_points(path, intensity_field="echo")
    path = write_bin(tmp_path / "a.bin", road(COUNT), np.full(COUNT, 9))
    with pytest.raises(
        ValueError, match=r"a\.bin: --intensity-field near_ir: expected columns with"
    ):
        load_points(path, 4, intensity_field="near_ir")


@pytest.mark.filterwarnings("error")
def test_presets(tmp_path):
    unit = np.linspace(0, 1, COUNT)
    kitti = load_points(write_bin(tmp_path / "k.bin", road(COUNT), unit), preset="kitti")
    np.testing.assert_allclose(kitti[:, 3], unit * 255, rtol=1e-5)
    waymo = write_bin(tmp_path / "w.bin", road(COUNT), unit * 40, unit, unit * 0 - 1)
    np.testing.assert_allclose(
        load_points(waymo, preset="waymo")[:, 3], 255 * np.tanh(unit * 40), rtol=1e-5
    )
    ouster = {**named("intensity", unit * 5000), "reflectivity": unit * 200}
    points = load_points(write_pcd(tmp_path / "o.pcd", ouster), preset="ouster")
    np.testing.assert_allclose(points[:, 3], unit * 200, rtol=1e-5)


def test_one_absurd_intensity_does_not_set_the_scale(tmp_path):
    values = np.linspace(0, 900, COUNT)
    values[7] = 1e30
    path = write_pcd(tmp_path / "a.pcd", named("intensity", values))
    with pytest.warns(UserWarning, match="intensity is 0 to 900"):
        load_points(path)
