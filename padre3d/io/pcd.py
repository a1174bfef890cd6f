"""The Point Cloud Library's .pcd files: ascii, binary and binary_compressed.

Format: https://pointclouds.org/documentation/tutorials/pcd_file_format.html. A compressed body is
two uint32 (packed and unpacked size) and one LZF stream that holds the fields one after the other.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

MAX_HEADER_BYTES = 65536
KINDS = {"F": "f", "I": "i", "U": "u"}
# Three bytes of LZF copy at most 264: what promises more than that is no such stream.
LZF_MOST_PER_BYTE = 88
# Some 16 million points. Unpacked and as an array they stay below 1 GB.
MAX_UNPACKED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PcdHeader:
    """The fields of a .pcd file: names, little-endian types and how many numbers each holds."""

    names: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    counts: tuple[int, ...]
    points: int
    encoding: str

    @property
    def field_bytes(self) -> tuple[int, ...]:
        """Size of each field of one point in bytes."""
        return tuple(d.itemsize * c for d, c in zip(self.dtypes, self.counts, strict=True))

    @property
    def record_bytes(self) -> int:
        """Size of one point in bytes."""
        return sum(self.field_bytes)


def read_pcd(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read a .pcd file.

    Returns:
        One (P,) array per field of count 1, and warnings.

    Raises:
        ValueError: if the header is not one, or the body is shorter than it promises.
        ImportError: if the file is compressed and python-neo-lzf is not installed.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError("expected points, got an empty file")
    header, start = _parse_header(content)
    body = memoryview(content)[start:]
    read = {
        "ascii": _read_ascii,
        "binary": _read_binary,
        "binary_compressed": _read_compressed,
    }[header.encoding]
    return read(body, header), _warnings(header)


def lzf_decompress(packed: bytes, size: int) -> bytes:
    """Unpack an LZF stream of known unpacked size; it never takes more memory than that.

    Raises:
        ValueError: if the stream is torn or does not unpack to ``size`` bytes.
        ImportError: if python-neo-lzf is not installed.
    """
    try:
        import lzf
    except ImportError as error:
        raise ImportError(
            "compressed .pcd files need python-neo-lzf: pip install python-neo-lzf"
        ) from error
    if size > len(packed) * LZF_MOST_PER_BYTE:
        raise ValueError(f"{len(packed)} bytes cannot unpack to {size}")
    try:
        unpacked = lzf.decompress(packed, size) if size else b""
    except Exception as error:
        raise ValueError(f"expected {size} unpacked bytes: {error}") from error
    if unpacked is None or len(unpacked) != size:
        raise ValueError(f"expected {size} unpacked bytes, got {len(unpacked or b'')}")
    return unpacked


def _parse_header(content: bytes) -> tuple[PcdHeader, int]:
    """The header and the offset of the body."""
    entries: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in entries:
        stop = content.find(b"\n", start, MAX_HEADER_BYTES)
        if stop < 0:
            raise ValueError("expected a .pcd header that ends with a DATA line, got none")
        words = content[start:stop].decode("latin-1").split("#")[0].split()
        if words:
            entries[words[0].upper()] = words[1:]
        start = stop + 1
    try:
        names = tuple(entries["FIELDS"])
        counts = tuple(int(c) for c in entries.get("COUNT", ["1"] * len(names)))
        dtypes = tuple(
            np.dtype(f"<{KINDS[kind.upper()]}{int(size)}")
            for kind, size in zip(entries["TYPE"], entries["SIZE"], strict=True)
        )
        if "POINTS" in entries:
            points = int(entries["POINTS"][0])
        else:
            points = int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0])
        sizes = [int(entries[name][0]) for name in ("WIDTH", "HEIGHT") if entries.get(name)]
        encoding = entries["DATA"][0].lower()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected FIELDS, SIZE, TYPE, POINTS and DATA in the .pcd header ({error!r})"
        ) from error
    numbers = (points, *sizes, *counts)
    if not len(names) == len(counts) == len(dtypes) or min(numbers) < 0:
        raise ValueError(
            f"expected as many sizes, types and counts as fields and no negative number, got "
            f"{len(names)} fields, {len(dtypes)} types, {len(counts)} counts, numbers {numbers}"
        )
    if encoding not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"expected DATA ascii, binary or binary_compressed, got {encoding!r}")
    return PcdHeader(names, dtypes, counts, points, encoding), start


def _warnings(header: PcdHeader) -> list[str]:
    """Fields that promise nothing, and names of which only the first is used."""
    named = [n for n, c in zip(header.names, header.counts, strict=True) if c == 1 and n != "_"]
    empty = [n for n, c in zip(header.names, header.counts, strict=True) if c == 0]
    twice = sorted({n for n in named if named.count(n) > 1})
    found = [f"field {n} has COUNT 0 in the .pcd header: it is left out" for n in empty]
    return found + [f"field {n} is there twice: the first is used" for n in twice]


def _read_ascii(body: memoryview, header: PcdHeader) -> dict[str, np.ndarray]:
    width = sum(header.counts)
    # A number takes a digit and a separator.
    if len(body) + 1 < 2 * header.points * width:
        raise ValueError(
            f"expected {header.points} points of {width} numbers, got {len(body)} bytes"
        )
    if header.points * width == 0:
        table = np.zeros((header.points, width))
    else:
        try:
            table = np.loadtxt(io.BytesIO(body), ndmin=2, max_rows=header.points)
        except ValueError as error:
            raise ValueError(f"expected {width} numbers a line: {error}") from error
    if table.shape != (header.points, width):
        raise ValueError(f"expected {header.points} points of {width} numbers, got {table.shape}")
    return _single(header, [table[:, c] for c in _starts(header.counts) if c < width])


def _read_binary(body: memoryview, header: PcdHeader) -> dict[str, np.ndarray]:
    record = header.record_bytes
    _check_size(len(body), header.points * record)
    arrays = [
        # A strided view needs no structured type, which forbids the repeated name "_".
        np.ndarray((header.points,), dtype, body, offset, (record,))
        if count == 1 and header.points
        else np.zeros(0, dtype)
        for dtype, count, offset in zip(
            header.dtypes, header.counts, _starts(header.field_bytes), strict=True
        )
    ]
    return _single(header, arrays)


def _read_compressed(body: memoryview, header: PcdHeader) -> dict[str, np.ndarray]:
    wanted = header.points * header.record_bytes
    if wanted == 0 and len(body) < 8:
        return _read_binary(body[:0], header)
    _check_size(len(body), 8)
    packed_size, size = struct.unpack_from("<II", body)
    _check_size(len(body) - 8, packed_size)
    if size != wanted:
        raise ValueError(
            f"expected {wanted} unpacked bytes ({header.points} points of "
            f"{header.record_bytes}), got {size}"
        )
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(f"expected at most {MAX_UNPACKED_BYTES} unpacked bytes, got {size}")
    try:
        unpacked = lzf_decompress(bytes(body[8 : 8 + packed_size]), size)
    except ValueError as error:
        raise ValueError(f"expected an LZF stream: {error}") from error
    sizes = [header.points * bytes_ for bytes_ in header.field_bytes]
    arrays = [
        np.frombuffer(unpacked, dtype, header.points, offset)
        if count == 1 and header.points
        else np.zeros(0, dtype)
        for dtype, count, offset in zip(header.dtypes, header.counts, _starts(sizes), strict=True)
    ]
    return _single(header, arrays)


def _starts(sizes: tuple[int, ...] | list[int]) -> list[int]:
    return [0, *accumulate(sizes)][: len(sizes)]


def _single(header: PcdHeader, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the fields of count 1; of two with one name the first."""
    fields: dict[str, np.ndarray] = {}
    for name, count, values in zip(header.names, header.counts, arrays, strict=True):
        if count == 1:
            fields.setdefault(name, values)
    return fields


def _check_size(got: int, wanted: int) -> None:
    if got < wanted:
        raise ValueError(f"expected {wanted} bytes of points, got {got}; it is cut off")
