"""Point Cloud Library and Stanford files in every encoding."""

import struct

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from padre3d.io import load_points
from padre3d.io.pcd import lzf_decompress

# What liblzf 3.6 makes of the fields x, y, z, intensity of 24 points (see `cloud`).
PACKED = bytes.fromhex(
    "0a0000c03f000040400000a02003400b4003e0430f002020570080200300c02003400b4003e0430f0180bf20bb"
    "200300c02003400b4003e0440f033e00000041232003400b4003e03f0f01803e"
)
# liblzf's packing of 700 "a", "xyz", 40 "ab": long copies that overlap their own output.
PACKED_LETTERS = bytes.fromhex("016161e0ff00e0ff00e0a1000478797a6162e04301016162")


def cloud():
    rows = [[1.5, 2.5, -1, 0.25], [3, 4, -1.25, 0.5], [5, 6, -1.5, 0.75], [1.5, 2.5, -1, 0.25]]
    return np.array(rows * 6, np.float32)


def expected():
    return np.concatenate([cloud(), np.zeros((24, 1), np.float32)], axis=1)


def header(data, fields="x y z intensity", sizes="4 4 4 4", types="F F F F", counts=None, n=24):
    counts = counts or " ".join("1" for _ in fields.split())
    return (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {fields}\n"
        f"SIZE {sizes}\nTYPE {types}\nCOUNT {counts}\nWIDTH {n}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n}\nDATA {data}\n"
    ).encode()


@pytest.fixture
def save(tmp_path):
    def write(content, name="a.pcd"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.filterwarnings("ignore:.*no intensity exceeds 1")
@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_encodings_agree(save, data):
    bodies = {
        "ascii": "\n".join(" ".join(map(str, row)) for row in cloud().tolist()).encode(),
        "binary": cloud().tobytes(),
        "binary_compressed": struct.pack("<II", len(PACKED), 384) + PACKED,
    }
    np.testing.assert_array_equal(load_points(save(header(data) + bodies[data])), expected())


def test_lzf_overlapping_copies():
    assert lzf_decompress(PACKED_LETTERS, 783) == b"a" * 700 + b"xyz" + b"ab" * 40


@pytest.mark.parametrize(
    ("packed", "match"),
    [
        (PACKED_LETTERS, "expected 784 unpacked bytes, got 783"),
        (b"\x20\x05", "a copy starts 6 bytes back, only 0"),
        (b"\x00a\xe0", "ends inside a copy"),
    ],
)
def test_torn_lzf(packed, match):
    with pytest.raises(ValueError, match=match):
        lzf_decompress(packed, 784)


def test_padding_other_types_and_a_lag(save):
    """Fields that repeat a name, hold several numbers or come in another order are stepped over."""
    record = np.dtype(
        [("p", "u1", 3), ("t", "<f4"), ("x", "<f8"), ("q", "u1", 2), ("y", "<f4"), ("z", "<f4")]
        + [("intensity", "<u2")]
    )
    table = np.zeros(2, record)
    table["x"], table["y"], table["z"] = [1.5, 2.5], [3.5, 4.5], [5.5, 6.5]
    table["t"], table["intensity"], table["p"] = [0.25, 0], [7, 200], 9
    head = header(
        "binary", "_ time x _ y z Intensity", "1 4 8 1 4 4 2", "U F F U F F U", "3 1 1 2 1 1 1", 2
    )
    points = load_points(save(head + table.tobytes()))
    np.testing.assert_array_equal(points, [[1.5, 3.5, 5.5, 7, 0.25], [2.5, 4.5, 6.5, 200, 0]])
    points = load_points(save(head + table.tobytes()), time_lag=False)
    np.testing.assert_array_equal(points[:, 4], 0)


@pytest.mark.parametrize(
    ("stamps", "dtype"),
    [
        ([1532402927.25, 1532402927.75], "f8"),
        ([1532402927250, 1532402927750], "u8"),
        ([1532402927250000, 1532402927750000], "u8"),
        ([1532402927250000000, 1532402927750000000], "u8"),
    ],
)
def test_epoch_stamps_become_lags(save, stamps, dtype):
    record = np.dtype([(n, "<f4") for n in ("x", "y", "z", "i")] + [("t", f"<{dtype}")])
    table = np.zeros(2, record)
    table["t"] = stamps
    head = header("binary", "x y z intensity timestamp", "4 4 4 4 8", f"F F F F {dtype[0]}", n=2)
    np.testing.assert_allclose(load_points(save(head + table.tobytes()))[:, 4], [0.5, 0], atol=1e-6)


def test_scan_relative_nanoseconds_are_refused(save):
    body = b"1 2 3 4 90000000\n"
    head = header("ascii", "x y z intensity t", "4 4 4 4 4", "F F F F U", n=1)
    with pytest.raises(ValueError, match="time field to be a time lag between -1 and 10 s, got 9e"):
        load_points(save(head + body))
    np.testing.assert_array_equal(load_points(save(head + body), time_lag=False), [[1, 2, 3, 4, 0]])


def test_nan_points_and_no_intensity(save):
    path = save(header("ascii", "x y z", "4 4 4", "F F F", n=2) + b"nan nan nan\n1 2 3\n")
    with pytest.warns(UserWarning, match="no intensity field"):
        points = load_points(path)
    np.testing.assert_array_equal(points, [[np.nan, np.nan, np.nan, 0, 0], [1, 2, 3, 0, 0]])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header("binary") + cloud().tobytes()[:-1], "expected 384 bytes of points, got 383"),
        (header("ascii") + b"1 2 3 4\n", r"expected 24 points of 4 numbers, got \(1, 4\)"),
        (header("ascii", n=2) + b"1 2 3 4\n1 2 3\n", "expected 4 numbers a line"),
        (header("zip"), "expected DATA ascii, binary or binary_compressed, got 'zip'"),
        (header("ascii", "x y", "4 4", "F F", n=1) + b"1 2\n", "x, y, z, got x, y .missing: z"),
        (b"VERSION 0.7\nFIELDS x y z\n", "a .pcd header that ends with a DATA line"),
        (b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F Q\nPOINTS 1\nDATA ascii\n", "KeyError..Q"),
        (header("binary_compressed") + struct.pack("<II", 99, 384) + PACKED, "99 bytes of points"),
        (header("binary_compressed") + struct.pack("<II", 77, 380) + PACKED, "384 .* got 380"),
        (header("binary_compressed") + struct.pack("<II", 76, 384) + PACKED, "an LZF stream"),
    ],
)
def test_broken_pcd(save, content, match):
    with pytest.raises(ValueError, match=rf"a\.pcd: expected.*{match}|a\.pcd: {match}"):
        load_points(save(content))


@pytest.mark.parametrize("text", [True, False])
def test_ply(tmp_path, text):
    record = np.dtype([(n, "<f4") for n in ("x", "y", "z", "scalar_Intensity")] + [("time", "f8")])
    table = np.zeros(2, record)
    table["x"], table["y"], table["z"] = [1.5, 2.5], [3.5, 4.5], [5.5, 6.5]
    table["scalar_Intensity"], table["time"] = [7, 200], [0.25, 0]
    path = tmp_path / "a.ply"
    PlyData([PlyElement.describe(table, "vertex")], text=text).write(str(path))
    points = load_points(path)
    np.testing.assert_array_equal(points, [[1.5, 3.5, 5.5, 7, 0.25], [2.5, 4.5, 6.5, 200, 0]])
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"a\.ply: expected a complete \.ply file"):
        load_points(path)


def test_ply_without_vertices(tmp_path):
    path = tmp_path / "a.ply"
    face = np.zeros(1, [("n", "i4")])
    PlyData([PlyElement.describe(face, "face")]).write(str(path))
    with pytest.raises(ValueError, match="expected an element vertex, got face"):
        load_points(path)
    vertices = np.ones(1, [(n, "f4") for n in ("x", "y", "z", "intensity")])
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))
    with pytest.raises(ValueError, match="expected a field time, t"):
        load_points(path, time_lag=True)
