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
        (b"\x20\x05" * 5, "expected 784 unpacked bytes"),
        (b"\x00a\xe0" * 5, "expected 784 unpacked bytes"),
        (b"\x20\x05", "2 bytes cannot unpack to 784"),
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


def test_times_of_no_cloud_are_refused(save):
    body = b"1 2 3 4 0\n1 2 3 4 90000000000\n"
    head = header("ascii", "x y z intensity t", "4 4 4 4 8", "F F F F U", n=2)
    message = r"a\.pcd: expected field t to hold the times of one cloud.*got 0 to 9e\+10"
    with pytest.raises(ValueError, match=message):
        load_points(save(head + body))
    points = load_points(save(head + body), time_lag=False)
    np.testing.assert_array_equal(points, [[1, 2, 3, 4, 0]] * 2)


def test_nan_points_and_no_intensity(save):
    path = save(header("ascii", "x y z", "4 4 4", "F F F", n=2) + b"nan nan nan\n1 2 3\n")
    with pytest.warns(UserWarning, match="no intensity field"):
        points = load_points(path)
    np.testing.assert_array_equal(points, [[np.nan, np.nan, np.nan, 0, 0], [1, 2, 3, 0, 0]])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header("binary") + cloud().tobytes()[:-1], "expected 384 bytes of points, got 383"),
        (header("ascii") + b"1 2 3 4\n", "expected 24 points of 4 numbers, got 8 bytes"),
        (header("ascii", n=2) + b"1 2 3 4 # 5 6 7 8\n", r"2 points of 4 numbers, got \(1, 4\)"),
        (header("ascii", n=2) + b"1 2 3 4\n11 22 33\n", "expected 4 numbers a line"),
        (header("zip"), "expected DATA ascii, binary or binary_compressed, got 'zip'"),
        (header("ascii", "x y", "4 4", "F F", n=1) + b"1 2\n", "x, y, z, got x, y .missing: z"),
        (header("ascii", n=1).replace(b"H 1", b"H -1") + b"1 2 3 4\n", r"negative number, .* -1"),
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


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_a_field_of_count_zero_is_left_out(save, data):
    """Writers that lost a field leave its name behind."""
    head = header(data, "x y z rgb intensity", "4 4 4 4 4", "F F F F F", "1 1 1 0 1", 2)
    table = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "f4")
    bodies = {
        "ascii": b"1 2 3 4\n5 6 7 8\n",
        "binary": table.tobytes(),
        "binary_compressed": struct.pack("<II", 33, 32) + b"\x1f" + table.T.tobytes(),
    }
    with pytest.warns(UserWarning, match=r"a\.pcd: field rgb has COUNT 0"):
        points = load_points(save(head + bodies[data]))
    np.testing.assert_array_equal(points[:, :4], table)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("body", [b"", struct.pack("<II", 0, 0)])
def test_no_points_are_a_valid_cloud(save, data, body):
    assert load_points(save(header(data, n=0) + body)).shape == (0, 5)


def test_a_name_twice(save):
    head = header("binary", "x y z intensity x", "4 4 4 4 4", "F F F F F", n=1)
    body = np.array([1, 2, 3, 4, 5], "f4").tobytes()
    with pytest.warns(UserWarning, match="field x is there twice: the first is used"):
        points = load_points(save(head + body))
    np.testing.assert_array_equal(points, [[1, 2, 3, 4, 0]])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header("binary", n=10**15), "16000000000000000 bytes of points, got 0"),
        (header("ascii", n=10**15), "1000000000000000 points of 4 numbers, got 0 bytes"),
        (header("binary", counts=f"1 1 1 {10**30}", n=1), "bytes of points, got 0"),
        (header("binary", counts="1 1 1 -1", n=1), "no negative number"),
        (header("binary_compressed", n=20_000_000) + struct.pack("<II", 0, 320_000_000), "at most"),
        (
            header("binary_compressed", n=10**7) + struct.pack("<II", 2, 160_000_000) + b"\0a",
            "cannot",
        ),
    ],
)
def test_promises_are_compared_with_the_file(save, content, match):
    with pytest.raises(ValueError, match=rf"a\.pcd: expected.*{match}"):
        load_points(save(content))


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("elements", ["vertex 1000000000000", "face 99999999\nproperty uchar n"])
def test_ply_promises_are_compared_with_the_file(tmp_path, form, elements):
    path = tmp_path / "a.ply"
    text = f"ply\nformat {form} 1.0\nelement {elements}\nproperty float x\nelement vertex 1\n"
    path.write_text(text + "property float x\nend_header\n1 2 3\n")
    with pytest.raises(
        ValueError, match=r"a\.ply: expected a complete \.ply .* promises \d+ bytes"
    ):
        load_points(path)


@pytest.mark.parametrize("text", [True, False])
def test_ply_faces_after_the_vertices_are_not_read(tmp_path, text):
    table = np.ones(3, [(n, "<f4") for n in ("x", "y", "z", "intensity")])
    faces = np.zeros(2, [("vertex_indices", "O")])
    faces["vertex_indices"] = [np.array([0, 1, 2], "i4")] * 2
    path = tmp_path / "a.ply"
    elements = [PlyElement.describe(table, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, text=text).write(str(path))
    np.testing.assert_array_equal(load_points(path), [[1, 1, 1, 1, 0]] * 3)
    PlyData(elements[::-1], text=text).write(str(path))
    np.testing.assert_array_equal(load_points(path), [[1, 1, 1, 1, 0]] * 3)
