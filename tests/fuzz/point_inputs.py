"""Point files from nowhere: structured ones of every format, then damaged byte by byte.

Every input follows from its reader, a seed and its number, so that a failure can be made again.
"""

from __future__ import annotations

import io
import struct

import lzf
import numpy as np

TYPES = ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2")
NAMES = ("x", "y", "z", "intensity", "i", "t", "time", "ring", "_", "reflectivity", "s", "X")
NUMBERS = (
    *("0", "-1", "1", "2", "255", "256", "65536", "4294967295", "4294967296", "1e9", "nan", "inf"),
    *("9223372036854775807", "18446744073709551616", "99999999999999999999999", "-9", "0x10"),
    *("٣", "1.5", "", "True", "1_0", "1j"),
)
SCRAPS = (b"\0", b"\n", b"\r\n", b" ", b"\xff\xfe", b"#", b"(", b"'", b",", b"\x80", b"{", b"%s")
PLY_TYPES = {
    "f4": "float",
    "f8": "double",
    "u1": "uchar",
    "i1": "char",
    "i4": "int",
    "u2": "ushort",
}


def point_input(reader: str, rng: np.random.Generator) -> bytes:
    """One input of a reader (``bin``, ``npy``, ``pcd``, ``ply``)."""
    content = {"bin": _bin, "npy": _npy, "pcd": _pcd, "ply": _ply}[reader](rng)
    for _ in range(rng.choice([0, 0, 1, 2, 4])):
        content = mutated(content, rng)
    return content


def options(reader: str, rng: np.random.Generator) -> dict:
    """Options for ``load_points``; impossible ones among them."""
    given: dict = {}
    if rng.random() < 0.5:
        return given
    if reader in ("bin", "npy") and rng.random() < 0.7:
        given["columns"] = int(rng.choice([-1, 2, 3, 4, 5, 6, 9]))
    if reader in ("bin", "npy") and rng.random() < 0.3:
        given["fields"] = [str(n) for n in rng.choice(NAMES, rng.integers(3, 7))]
    choices = {
        "dtype": ("float16", "float32", "float64", "int8"),
        "time_lag": (True, False),
        "time_unit": ("s", "ms", "us", "ns", "h"),
        "preset": ("kitti", "waymo", "ouster", "livox", "none"),
        "intensity_scale": (255.0, 0.0, 1e30, float("nan")),
        "intensity_field": ("ring", "near_ir"),
        "unit": ("mm", "cm", "m"),
        "origin": ((0.0, 0.0, 0.0), (1e300, 0.0, 0.0), (4e5, 5e6, 1e2)),
    }
    for name, values in choices.items():
        if rng.random() < 0.08:
            given[name] = values[rng.integers(len(values))]
    return given


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    kind = rng.integers(6)
    with np.errstate(all="ignore"):
        if kind == 0:
            return np.frombuffer(rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype)[
                : int(np.prod(shape))
            ].reshape(shape)
        scale = (1, 50, 255, 1e9, 1e300)[rng.integers(5)]
        table = rng.normal(0, scale, shape)
        if kind == 1:
            table = np.abs(np.rint(table))
        if kind == 2:
            table.flat[: rng.integers(1, 5)] = rng.choice([np.nan, np.inf, -np.inf, 0])
        if kind == 3:
            table = np.sort(table, axis=0)
        return table.astype(dtype)


def _bin(rng: np.random.Generator) -> bytes:
    shape = (int(rng.integers(0, 40)), int(rng.choice([2, 3, 4, 4, 5, 5, 6, 7])))
    table = _values(rng, shape, str(rng.choice(["f4", "f4", "f4", "f8", "f2"])))
    if shape[1] > 3 and rng.random() < 0.7:
        # As a LiDAR writes it: near coordinates, counts, and something in the fifth column.
        table = rng.normal(0, 20, shape).astype(table.dtype)
        table[:, 3] = rng.integers(0, 256, shape[0])
        table[:, 4:] = _values(rng, (shape[0], shape[1] - 4), table.dtype.str)
    return table.tobytes()


def _npy(rng: np.random.Generator) -> bytes:
    count, columns = int(rng.integers(0, 40)), int(rng.choice([1, 2, 3, 4, 5, 5, 6]))
    dtype = str(rng.choice(TYPES))
    file = io.BytesIO()
    if rng.random() < 0.2:
        names = list(dict.fromkeys(str(n) for n in rng.choice(NAMES, 6)))
        table = np.zeros(count, [(name, str(rng.choice(TYPES))) for name in names])
        np.save(file, table)
    elif rng.random() < 0.1:
        odd = [
            np.array("text"),
            np.array([None, 1], object),
            np.zeros((2, 3, 4)),
            np.zeros(3, "c8"),
        ]
        np.save(file, odd[rng.integers(4)], allow_pickle=True)
    else:
        np.save(file, _values(rng, (count, columns), dtype))
    return _with_numbers(file.getvalue(), rng, 128)


def _pcd(rng: np.random.Generator) -> bytes:
    names = ["x", "y", "z", *(str(n) for n in rng.choice(NAMES, rng.integers(0, 5)))]
    rng.shuffle(names)
    dtypes = [np.dtype(str(rng.choice(TYPES[:10]))) for _ in names]
    counts = [1 if n in "xyz" else int(rng.choice([1, 1, 0, 2, 5])) for n in names]
    points = int(rng.integers(0, 30))
    data = str(rng.choice(["ascii", "binary", "binary_compressed"]))
    columns = [
        _values(rng, (points, count), dtype.str)
        for dtype, count in zip(dtypes, counts, strict=True)
    ]
    kinds = {"f": "F", "i": "I", "u": "U"}
    head = (
        f"VERSION 0.7\nFIELDS {' '.join(names)}\nSIZE {' '.join(str(d.itemsize) for d in dtypes)}\n"
        f"TYPE {' '.join(kinds[d.kind] for d in dtypes)}\nCOUNT {' '.join(map(str, counts))}\n"
        f"WIDTH {points}\nHEIGHT 1\nPOINTS {points}\nDATA {data}\n"
    ).encode()
    if data == "ascii":
        rows = [[str(v) for column in columns for v in column[row]] for row in range(points)]
        body = "\n".join(" ".join(row) for row in rows).encode()
    elif data == "binary":
        body = b"".join(column[row].tobytes() for row in range(points) for column in columns)
    else:
        raw = b"".join(column.T.tobytes() for column in columns)
        packed = (lzf.compress(raw) if raw else None) or _literal(raw)
        body = struct.pack("<II", len(packed), len(raw)) + packed
    return _with_numbers(head, rng, len(head)) + body


def _literal(raw: bytes) -> bytes:
    """An LZF stream that copies nothing."""
    parts = (raw[at : at + 32] for at in range(0, len(raw), 32))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _ply(rng: np.random.Generator) -> bytes:
    form = str(rng.choice(["ascii", "binary_little_endian", "binary_big_endian"]))
    order = ">" if "big" in form else "<"
    lines, body = ["ply", f"format {form} 1.0", "comment made by a test"], b""
    elements = [
        "vertex",
        *(str(e) for e in rng.choice(["face", "edge", "vertex"], rng.integers(0, 2))),
    ]
    rng.shuffle(elements)
    for element in elements:
        count = int(rng.integers(0, 12))
        lines.append(f"element {element} {count}")
        extra = rng.choice(NAMES, rng.integers(0, 4))
        names = ["x", "y", "z", *map(str, extra)] if element == "vertex" else ["a"]
        kinds = [str(rng.choice(list(PLY_TYPES))) for _ in names]
        lists = [rng.random() < (0.5 if element == "face" else 0.03) for _ in names]
        for name, kind, is_list in zip(names, kinds, lists, strict=True):
            lines.append(f"property {'list uchar ' if is_list else ''}{PLY_TYPES[kind]} {name}")
        for _ in range(count):
            body += _ply_row(kinds, lists, order, form == "ascii", rng)
    head = ("\n".join([*lines, "end_header"]) + "\n").encode()
    return _with_numbers(head, rng, len(head)) + body


def _ply_row(kinds, lists, order: str, text: bool, rng: np.random.Generator) -> bytes:
    words, packed = [], b""
    for kind, is_list in zip(kinds, lists, strict=True):
        values = _values(rng, (int(rng.integers(0, 4)) if is_list else 1,), order + kind)
        if is_list:
            words.append(str(len(values)))
            packed += bytes([len(values)])
        words += [str(v) for v in values]
        packed += values.tobytes()
    return (" ".join(words) + "\n").encode() if text else packed


def _with_numbers(content: bytes, rng: np.random.Generator, end: int) -> bytes:
    """Some numbers of the header replaced by hostile ones."""
    if rng.random() < 0.7:
        return content
    head = content[:end]
    digits = [i for i in range(len(head)) if head[i : i + 1].isdigit()]
    if not digits:
        return content
    at = int(rng.choice(digits))
    stop = at
    while head[stop : stop + 1].isdigit():
        stop += 1
    return content[:at] + str(rng.choice(NUMBERS)).encode() + content[stop:]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one thing cut, turned, put in, repeated or replaced."""
    if not content:
        return rng.bytes(int(rng.integers(0, 30)))
    at = int(rng.integers(len(content)))
    kind = rng.integers(7)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + SCRAPS[rng.integers(len(SCRAPS))] + content[at:]
    if kind == 3:
        return content[:at] + content[at + int(rng.integers(1, 9)) :]
    if kind == 4:
        other = int(rng.integers(len(content)))
        return content[:at] + content[other : other + int(rng.integers(1, 60))] + content[at:]
    if kind == 5:
        return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at + 4 :]
    lines = content.split(b"\n")
    line = int(rng.integers(len(lines)))
    return b"\n".join(lines[:line] + lines[line + 1 :])
