"""Tables of poses in C++: the CSV files that padre3d.io.poses reads, with the same numbers."""

import numpy as np
import pytest

from padre3d.io.poses import read_poses

HEAD = "stamp,x,y,z,qw,qx,qy,qz"
ROW = "1.5,1,2,3,1,0,0,0"
TABLES = {
    "unix": f"{HEAD}\n{ROW}\n2,4,5,6,1,0,0,0",
    "windows": f"{HEAD}\r\n{ROW}\r\n2,4,5,6,1,0,0,0\r\n\r\n",
    "old": f"{HEAD}\r{ROW}\r\r2,4,5,6,1,0,0,0\r",
    "an empty last cell": f"{HEAD},note\n{ROW},\n2,4,5,6,1,0,0,0,\n",
    "commas in quotes": f'{HEAD},note,file\n{ROW},"a,b","yard, east/a.npy"\n',
    "quotes in quotes": f'"stamp"{HEAD[5:]},file\n{ROW},"say ""a"".npy"\n',
    "lines in quotes": f'{HEAD},note\n{ROW},"one\r\n\ntwo"\n2,4,5,6,1,0,0,0,"open\n',
    "quotes within": f'{HEAD},file\n{ROW},a"b".npy\n2,4,5,6,1,0,0,0,"a"b\n',
    "spaces": f" stamp ,\tx{HEAD[7:]}\n 1.5 , 1,2\t,3,1,0,0,0\n",
    "names with spaces around": f"{HEAD}, file\n{ROW}, a b.npy\t\n",
    "a byte order mark": f"\ufeff{HEAD}\n{ROW}\n",
    "more cells": f"{HEAD}\n{ROW},7,8\n",
    "an unnamed column": f"{HEAD},\n{ROW},\n",
    "other units": f"{HEAD}\n1532402927612460000,+1e1,-.5,3.,0,0,2,0\n",
}


def written(folder, content):
    path = folder / "poses.csv"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("name", TABLES)
def test_same_rows(cpp, tmp_path, name):
    path = written(tmp_path, TABLES[name])
    expected = read_poses(path)
    lines = [line.split(" ", 4) for line in cpp.tool("poses", path).splitlines()]
    numbers = np.array([line[:4] for line in lines], float)
    np.testing.assert_array_equal(numbers, np.c_[expected.stamps_s, expected.positions_m])
    assert [line[4] for line in lines] == [*(expected.files or [""] * len(expected))]


WRONG = {
    "no header": ("", "expected a header with"),
    "an empty first line": (f"\n{HEAD}\n{ROW}\n", "expected a header with"),
    "a column twice": (f"{HEAD},x\n{ROW},5\n", "expected every column once, got x twice"),
    "fewer cells": (f"{HEAD},note\n{ROW}\n", "a value for every column, got fewer in row 1"),
    "a line of spaces": (f"{HEAD}\n{ROW}\n  \n", "a value for every column, got fewer in row 2"),
    "no number": (f"{HEAD}\n1.5,1 2,2,3,1,0,0,0\n", "expected numbers in every row"),
    "an empty number": (f"{HEAD}\n1.5,,2,3,1,0,0,0\n", "expected numbers in every row"),
    "a stamp twice": (f"{HEAD}\n{ROW}\n{ROW}\n", "expected different stamps, got one twice"),
    "no rotation": (f"{HEAD}\n1.5,1,2,3,0,0,0,0\n", "expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refusals(cpp, tmp_path, name):
    content, message = WRONG[name]
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message):
        read_poses(path)
    done = cpp.run("padre3d_test_tool", "poses", path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: {path}: ")
    assert message in done.stderr


@pytest.mark.parametrize("path", ["folder", "/proc/self/mem"])
def test_what_cannot_be_read(cpp, tmp_path, path):
    (tmp_path / "folder").mkdir()
    done = cpp.run("padre3d_test_tool", "poses", tmp_path / path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{tmp_path / path}: expected a file that can be read" in done.stderr
