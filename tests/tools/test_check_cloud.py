"""The verdict on other people's clouds: what is wrong, and the option that mends it."""

import numpy as np
import pytest
from other_clouds import forward_x, road, write_bin, write_pcd

from padre3d.io import Cloud, read_cloud
from padre3d.io.report import Expected, examine, why_no_boxes

COUNT = 8000
STEPS = np.arange(COUNT)


@pytest.fixture
def check(repo_root, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import check_cloud

    def run(path, *options):
        check_cloud.main([str(path), *options])
        return capsys.readouterr().out

    return run


def advice(text):
    return [line.removeprefix("  ! ") for line in text.splitlines() if line.startswith("  ! ")]


def kitti(folder):
    front = forward_x(road(COUNT, height_m=1.2))
    front = front[front[:, 0] > np.abs(front[:, 1])]
    return write_bin(folder / "kitti.bin", front, np.linspace(0, 1, len(front)))


def ouster(folder):
    xyz = forward_x(road(COUNT, height_m=0.9))
    xyz[::4] = 0
    fields = {axis: xyz[:, i].astype("f4") for i, axis in enumerate("xyz")}
    fields["intensity"] = (STEPS % 5601).astype("f4")
    fields["t"] = np.linspace(0, 1e8, COUNT).astype("u4")
    fields["reflectivity"] = (STEPS % 200).astype("u2")
    fields["ambient"] = STEPS.astype("u2")
    return write_pcd(folder / "ouster.pcd", fields)


def waymo(folder):
    xyz = forward_x(road(COUNT)) + [0, 0, 1.84]
    elongation = np.random.default_rng(0).uniform(0, 1.5, COUNT)
    return write_bin(folder / "waymo.bin", xyz, STEPS % 40 / 40, elongation)


def livox(folder):
    xyz = forward_x(road(COUNT))
    xyz = xyz[xyz[:, 0] > np.abs(xyz[:, 1])]
    count = np.arange(len(xyz))
    fields = {axis: (xyz[:, i] * 1000).astype("i4") for i, axis in enumerate("xyz")}
    fields |= {"reflectivity": (count % 256).astype("u1"), "tag": (count % 3).astype("u1")}
    fields |= {"line": (count % 6).astype("u1"), "offset_time": (count * 10_000).astype("u4")}
    return write_pcd(folder / "livox.pcd", fields)


def georeferenced(folder):
    xyz = road(COUNT) + [451_230, 5_411_007, 112]
    fields = {axis: xyz[:, i] for i, axis in enumerate("xyz")}
    return write_pcd(folder / "geo.pcd", {**fields, "scalar_Intensity": STEPS % 256.0})


def one(texts, *words):
    (found,) = [t for t in texts if all(word in t for word in words)]
    return found


def test_kitti(tmp_path, check):
    path = kitti(tmp_path)
    said = advice(check(path))
    one(said, "no intensity exceeds 1", "--intensity-scale 255")
    one(said, "forward looks like x (guess): --axes kitti")
    one(said, "the ground is +0.64 m off the model's: --sensor-height 1.2")
    one(said, "--preset kitti")
    mended = check(path, "--preset", "kitti", "--sensor-height", "1.2")
    assert advice(mended) == ["1 of 10 sweeps: --poses adds those of frames before"]
    assert "intensity  0 to 255 (field i, times 255)" in mended


def test_ouster(tmp_path, check):
    path = ouster(tmp_path)
    text = check(path)
    assert "8,000, 6,000 used; dropped: 2000 at the origin" in text
    assert "time       field t: stamps in ns over 0.1 s, one sweep" in text
    said = advice(text)
    one(said, "intensity is 0 to 5600", "--intensity-scale 0.0455")
    one(said, "ambient, reflectivity are those of ouster: --preset ouster")
    one(said, "the ground is +0.94 m off the model's: --sensor-height 0.9")
    mended = check(path, "--preset", "ouster", "--sensor-height", "0.9")
    assert "intensity  0 to 199 (field reflectivity)" in mended
    assert advice(mended) == ["1 of 10 sweeps: --poses adds those of frames before"]


def test_waymo(tmp_path, check):
    path = waymo(tmp_path)
    said = advice(check(path))
    one(said, "column 5", "neither a ring index nor a time", "--no-time-lag")
    one(said, "elongation: --preset waymo --columns 5")
    one(said, "the ground is +1.84 m off the model's: --sensor-height 0")
    mended = check(path, "--preset", "waymo", "--columns", "5")
    assert advice(mended) == ["1 of 10 sweeps: --poses adds those of frames before"]


def test_six_columns_of_waymo(tmp_path, check, capsys):
    """Elongation and the flag of a zone without labels, as exporters write them."""
    xyz = forward_x(road(COUNT)) + [0, 0, 1.84]
    elongation = np.random.default_rng(0).uniform(0, 1.5, COUNT)
    path = write_bin(tmp_path / "w.bin", xyz, STEPS % 40 / 40, elongation, STEPS % 2 * 2 - 1)
    with pytest.raises(SystemExit):
        check(path)
    assert "got what reads as 6: name them, for example" in (said := capsys.readouterr().err)
    assert said.endswith("--preset waymo\n")
    mended = check(path, "--preset", "waymo")
    assert advice(mended) == ["1 of 10 sweeps: --poses adds those of frames before"]


def test_livox(tmp_path, check):
    path = livox(tmp_path)
    text = check(path)
    assert "intensity  0 to 255 (field reflectivity)" in text
    said = advice(text)
    one(said, "coordinates look like millimetres: --unit mm")
    one(said, "line, tag are those of livox: --preset livox")
    mended = check(path, "--preset", "livox", "--unit", "mm")
    assert "offset_time: stamps in ns over 0.0" in mended
    assert advice(mended) == ["1 of 10 sweeps: --poses adds those of frames before"]
    assert "--axes kitti" in one(advice(check(path, "--unit", "mm")), "forward looks like x")


def test_georeferenced(tmp_path, check):
    path = georeferenced(tmp_path)
    text = check(path)
    assert "georeferenced (guess)" in text
    one(advice(text), "no point within +-54 m; x spans 451,")
    mend = one(
        advice(text), "georeferenced coordinates: --origin X,Y,Z", "for example --origin 4512"
    )
    option = mend.split("for example ")[1].split()
    mended = advice(check(path, *option))
    assert mended == ["1 of 10 sweeps: --poses adds those of frames before"]


def test_a_good_cloud_needs_nothing(tmp_path, check):
    lags = np.repeat(np.arange(10) * 0.05, COUNT // 10)
    text = check(write_bin(tmp_path / "good.bin", road(COUNT), STEPS % 256, lags))
    assert text.endswith("nothing to mend\n")
    assert "lags in s over 0.45 s, 10 sweeps" in text


def test_a_folder_goes_on_after_a_bad_file(tmp_path, check, capsys):
    kitti(tmp_path)
    (tmp_path / "a.pcd").write_bytes(b"torn")
    with pytest.raises(SystemExit) as stopped:
        check(tmp_path)
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert "a.pcd: expected a .pcd header" in said.err
    assert "kitti.bin" in said.out


def test_options_that_concern_no_file(tmp_path, check):
    path = ouster(tmp_path)
    for option in (("--columns", "5"), ("--dtype", "float64"), ("--fields", "x,y,z")):
        with pytest.raises(SystemExit, match=rf"error: {option[0]}: expected a \.bin .*got none"):
            check(path, *option)


def zero_boxes(path, best=None):
    return why_no_boxes(examine(read_cloud(path)), best, 0.1)


def test_zero_boxes_are_explained(tmp_path):
    far = np.array([451_200.0, 451_230, 451_260])
    fields = {"x": far, "y": far * 0, "z": far * 0, "intensity": far * 0 + 9}
    text = zero_boxes(write_pcd(tmp_path / "far.pcd", fields))
    assert text.startswith("no point within +-54 m; x spans 451,200 to 451,260; georeferenced")
    points = np.array([[1, 2, 40, 9, 0], [3, 4, 50, 9, 0]], "f4")
    verdict = examine(Cloud(points))
    assert why_no_boxes(verdict, None, 0.1) == "no point within z -5 to 3 m; z spans 40 to 50"
    nothing = examine(Cloud(np.full((3, 5), np.nan, "f4")))
    assert why_no_boxes(nothing, None, 0.1) == "no usable point (3 with NaN or infinity)"
    text = zero_boxes(write_bin(tmp_path / "good.bin", road(COUNT), STEPS % 256), 0.034)
    assert text.startswith(
        "8,000 points in range, the best box scores 0.03, below 0.1; 1 of 10 swe"
    )


def test_absurd_numbers_and_no_returns_are_dropped_and_counted():
    points = np.ones((6, 5), "f4")
    points[1, 3] = 1e30
    points[2, 4] = 1e30
    points[3, :3] = 0
    points[4, 0] = np.nan
    verdict = examine(Cloud(points))
    assert len(verdict.points) == 2
    assert (
        verdict.dropped.text() == "1 with NaN or infinity, 2 with absurd numbers, 1 at the origin"
    )


@pytest.mark.parametrize(
    ("range_m", "sweeps", "density"),
    [
        (Expected.range_m, 3, "trained on 3 sweeps of about 24,000"),
        (Expected.range_m, 10, "trained on 10 sweeps of about 24,000"),
        ((-27, -27, -5, 27, 27, 3), 3, "trained on 3 sweeps"),
    ],
)
def test_density_is_that_of_a_sweep_whatever_their_number(range_m, sweeps, density):
    verdict = examine(Cloud(np.ones((6, 5), "f4")), expected=Expected.of(range_m, sweeps))
    assert verdict.short().endswith(f"; {density}")


def test_real_frames_need_nothing_but_sweeps(real_dir, check):
    (sweep,) = real_dir.glob("n015*.pcd.bin")
    assert advice(check(sweep)) == ["1 of 10 sweeps: --poses adds those of frames before"]
    (ten,) = real_dir.glob("*_float16.bin")
    assert "nothing to mend" in check(ten)
