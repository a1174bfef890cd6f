"""Compressed .pcd bodies: legal ones of any make are read, and hostile ones stop where they say."""

import contextlib
import resource
import struct
from pathlib import Path

import numpy as np
import pytest

from padre3d.io import load_points

STATM = Path("/proc/self/statm")
POINTS = 700_000
BYTES = 16 * POINTS


@contextlib.contextmanager
def memory_of(most):
    """Let this process grow by so many bytes only."""
    if not STATM.exists():
        pytest.skip("the limit needs Linux's /proc")
    now = int(STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def save(folder, packed, points, unpacked):
    head = "FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    head += f"WIDTH {points}\nHEIGHT 1\nPOINTS {points}\nDATA binary_compressed\n"
    path = folder / "a.pcd"
    path.write_bytes(head.encode() + struct.pack("<II", len(packed), unpacked) + packed)
    return path


def test_eleven_megabytes_of_short_copies(tmp_path):
    """One byte, then three more of it: the legal stream with the most to do for its length."""
    letters = np.random.default_rng(0).choice(np.frombuffer(b"?@AB", np.uint8), BYTES // 4)
    tokens = np.zeros((len(letters), 4), np.uint8)
    tokens[:, 1], tokens[:, 2] = letters, 0x20
    path = save(tmp_path, tokens.tobytes(), POINTS, BYTES)
    with memory_of(2**28):
        points = load_points(path)
    expected = np.repeat(letters, 4).view("<f4").reshape(4, POINTS).T
    np.testing.assert_array_equal(points[:, :4], expected)


def test_eleven_megabytes_that_are_a_gigabyte(tmp_path):
    """Legal, and more than a cloud may be: refused before any of it is unpacked."""
    copies = 3_666_667
    size = 8 + 264 * copies
    packed = b"\x07" + b"a" * 8 + b"\xe0\xff\x00" * copies
    path = save(tmp_path, packed, size // 16, size)
    with memory_of(2**28), pytest.raises(ValueError, match=r"a\.pcd: expected at most \d+"):
        load_points(path)


def test_thirty_megabytes_that_promise_one_point(tmp_path):
    """They would unpack to 2.6 GB."""
    path = save(tmp_path, b"\x00a" + b"\xe0\xff\x00" * 10_000_000, 1, 16)
    with (
        memory_of(2**28),
        pytest.raises(ValueError, match=r"a\.pcd: expected an LZF stream: .* 16 unpacked bytes"),
    ):
        load_points(path)
