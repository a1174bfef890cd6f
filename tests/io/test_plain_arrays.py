"""Arrays out of pickles: equal to numpy's own, and no state that ends the process."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from padre3d.data.point_files import read_pickle

CORE = np.zeros(0).__reduce__()[0].__module__
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 7), np.float32),
    np.array(2.5),
    np.array(["car", "traffic_cone"]),
    np.array([1 + 2j]),
    np.ones((2, 2), np.float16)[:, 0],
]


def read(content: bytes, tmp_path: Path):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    return read_pickle(path, "a pickle")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_numpys_own(protocol, tmp_path):
    for array in ARRAYS:
        content = pickle.dumps([array, array], protocol)
        got, own = read(content, tmp_path), pickle.loads(content)[0]
        np.testing.assert_array_equal(got[0], array)
        assert got[0] is got[1]
        assert (got[0].dtype, got[0].shape) == (own.dtype, own.shape)
        again = pickle.loads(pickle.dumps(got[0], protocol))
        assert type(again) is np.ndarray
        np.testing.assert_array_equal(again, array)
    for number in (np.float64(0.5), np.int32(-3), np.bool_(True), np.str_("car")):
        assert read(pickle.dumps(number, protocol), tmp_path) == number


class Hostile:
    """Pickles as numpy's type or array with another state."""

    def __init__(self, function, args, state):
        self.parts = (function, args, state)

    def __reduce__(self):
        return self.parts


def type_with(state, name="i8"):
    return Hostile(np.dtype, (name, False, True), state)


def array_with(state):
    return Hostile(np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state)


GOOD_TYPE = type_with((3, "<", None, None, None, -1, -1, 0))
HOSTILE = {
    # numpy 1.26 ends the process on this one.
    "short state": (type_with((3, "<", None, -1, -1, 0)), "state of a simple type"),
    "state of text": (type_with("<"), "state of a simple type"),
    "fields": (type_with((3, "|", None, ("a",), {"a": 1}, 8, 1, 0)), "state of a simple type"),
    "order": (type_with((3, "x", None, None, None, -1, -1, 0)), "state of a simple type"),
    "objects": (type_with((3, "|", None, None, None, -1, -1, 63), "O8"), "type of numbers"),
    "records": (type_with((3, "|", None, None, None, -1, -1, 0), "V16"), "type of numbers"),
    "too few bytes": (array_with((1, (3,), GOOD_TYPE, False, b"x" * 23)), "24 bytes .* got 23"),
    "no bytes": (array_with((1, (3,), GOOD_TYPE, False, [1])), "bytes, got list"),
    "negative": (array_with((1, (-1,), GOOD_TYPE, False, b"")), "array's shape"),
    "huge": (array_with((1, (2**40, 2**40), GOOD_TYPE, False, b"")), "bytes for an array"),
    "no type": (array_with((1, (3,), None, False, b"x" * 24)), "type, got NoneType"),
    "no state": (array_with((1, (3,))), "state of 5 entries"),
    "called": (Hostile(np.ndarray, ((2**40,),), None), "got a call of numpy.ndarray"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_states_are_errors(name, protocol, tmp_path):
    value, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message):
        read(pickle.dumps(value, protocol), tmp_path)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_states_in_checkpoints_are_errors(name, tmp_path):
    pytest.importorskip("mmengine")
    from padre3d.training.checkpoint import load_checkpoint_file

    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": {}, "odd": HOSTILE[name][0]}, path)
    with pytest.raises(ValueError, match=r"epoch_1\.pth"):
        load_checkpoint_file(path)
