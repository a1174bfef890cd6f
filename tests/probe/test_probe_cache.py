"""The cache of frames: whole or made anew."""

import numpy as np
import pytest
from probe_frames import small_frames

from padre3d.probe.cache import DamagedCacheError, FrameCache, open_cache


@pytest.fixture
def made(tmp_path):
    """Path of a cache and a list that counts how often frames were asked for."""
    calls = []

    def frames():
        calls.append(1)
        return small_frames()

    path = tmp_path / "deep" / "cache.npz"
    open_cache(path, "key", frames, notify=lambda text: None)
    return path, frames, calls


def reopen(made, key="key"):
    path, frames, _ = made
    said = []
    return open_cache(path, key, frames, said.append), said


def test_frames_come_back_exactly(made):
    cache, said = reopen(made)
    assert len(made[2]) == 1
    assert said == []
    assert len(cache) == 5
    for got, expected in zip(cache, small_frames(), strict=True):
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    with pytest.raises(IndexError):
        cache[5]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_cache_is_found_and_made_anew(made, damage):
    path, _, calls = made
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = b""
    else:
        data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedCacheError):
        FrameCache(path, "key")
    cache, said = reopen(made)
    assert len(calls) == 2
    assert "made anew" in said[0]
    assert np.array_equal(cache[3].points, small_frames()[3].points)


def test_cache_of_another_key_is_made_anew(made):
    cache, said = reopen(made, key="other")
    assert len(made[2]) == 2
    assert "expected a whole cache of key other, got key" in said[0]
    assert len(cache) == 5


def test_failed_write_leaves_the_old_file(made):
    path = made[0]
    before = path.read_bytes()

    def broken():
        yield small_frames()[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        open_cache(path, "other", broken, notify=lambda text: None)
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}
