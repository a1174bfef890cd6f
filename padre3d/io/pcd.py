"""The Point Cloud Library's .pcd files: ascii, binary and binary_compressed.

Format: https://pointclouds.org/documentation/tutorials/pcd_file_format.html. A compressed body is
two uint32 (packed and unpacked size) and one LZF stream that holds the fields one after the other.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_HEADER_BYTES = 65536
KINDS = {"F": "f", "I": "i", "U": "u"}


@dataclass(frozen=True)
class PcdHeader:
    """The fields of a .pcd file: names, little-endian types and how many numbers each holds."""

    names: tuple[str, ...]
    dtypes: tuple[np.dtype, ...]
    counts: tuple[int, ...]
    points: int
    encoding: str

    @property
    def record_bytes(self) -> int:
        """Size of one point in bytes."""
        return sum(d.itemsize * c for d, c in zip(self.dtypes, self.counts, strict=True))


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """Read a .pcd file.

    Returns:
        One (P,) array per field of count 1.

    Raises:
        ValueError: if the header is not one, or the body is shorter than it promises.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError(f"{path}: expected points, got an empty file")
    header, start = _parse_header(content, path)
    readers = {
        "ascii": _read_ascii,
        "binary": _read_binary,
        "binary_compressed": _read_compressed,
    }
    return readers[header.encoding](content[start:], header, path)


def lzf_decompress(packed: bytes, size: int) -> bytes:
    """Unpack an LZF stream.

    A control byte below 32 starts a run of ``control + 1`` literal bytes. Any other one copies
    ``(control >> 5) + 2`` bytes (7 there: plus the next byte) from ``((control & 31) << 8) + next
    byte + 1`` bytes back; the copy may overlap its own output.

    Raises:
        ValueError: if the stream is torn or does not unpack to ``size`` bytes.
    """
    out = bytearray()
    position, end = 0, len(packed)
    try:
        while position < end:
            control = packed[position]
            position += 1
            if control < 32:
                run = control + 1
                out += packed[position : position + run]
                position += run
                continue
            length = control >> 5
            if length == 7:
                length += packed[position]
                position += 1
            length += 2
            back = ((control & 31) << 8) + packed[position] + 1
            position += 1
            if back > len(out):
                raise ValueError(f"a copy starts {back} bytes back, only {len(out)} are there")
            begin = len(out) - back
            if back >= length:
                out += out[begin : begin + length]
            else:
                pattern = bytes(out[begin:])
                out += (pattern * (length // back + 1))[:length]
    except IndexError as error:
        raise ValueError("the stream ends inside a copy") from error
    if len(out) != size:
        raise ValueError(f"expected {size} unpacked bytes, got {len(out)}")
    return bytes(out)


def _parse_header(content: bytes, path: Path) -> tuple[PcdHeader, int]:
    """The header and the offset of the body."""
    entries: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in entries:
        stop = content.find(b"\n", start, MAX_HEADER_BYTES)
        if stop < 0:
            raise ValueError(f"{path}: expected a .pcd header that ends with a DATA line, got none")
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
        encoding = entries["DATA"][0].lower()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: expected FIELDS, SIZE, TYPE, POINTS and DATA in the .pcd header ({error!r})"
        ) from error
    if not len(names) == len(counts) == len(dtypes) or points < 0 or min(counts, default=0) < 1:
        raise ValueError(
            f"{path}: expected as many sizes, types and positive counts as fields, got "
            f"{len(names)} fields, {len(dtypes)} types, {len(counts)} counts, {points} points"
        )
    if encoding not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(
            f"{path}: expected DATA ascii, binary or binary_compressed, got {encoding!r}"
        )
    return PcdHeader(names, dtypes, counts, points, encoding), start


def _read_ascii(body: bytes, header: PcdHeader, path: Path) -> dict[str, np.ndarray]:
    width = sum(header.counts)
    if header.points == 0:
        table = np.zeros((0, width))
    else:
        try:
            table = np.loadtxt(io.BytesIO(body), ndmin=2, max_rows=header.points)
        except ValueError as error:
            raise ValueError(f"{path}: expected {width} numbers a line: {error}") from error
    if table.shape != (header.points, width):
        raise ValueError(
            f"{path}: expected {header.points} points of {width} numbers, got {table.shape}"
        )
    columns = np.concatenate(([0], np.cumsum(header.counts)))
    return {
        name: table[:, column]
        for name, column, count in zip(header.names, columns, header.counts, strict=False)
        if count == 1
    }


def _read_binary(body: bytes, header: PcdHeader, path: Path) -> dict[str, np.ndarray]:
    _check_size(len(body), header.points * header.record_bytes, path)
    sizes = [d.itemsize * c for d, c in zip(header.dtypes, header.counts, strict=True)]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    fields = {}
    for name, dtype, count, offset in zip(
        header.names, header.dtypes, header.counts, offsets, strict=False
    ):
        if count == 1:
            # A strided view needs no structured type, which forbids the repeated name "_".
            fields[name] = np.ndarray(
                (header.points,), dtype, body, int(offset), (header.record_bytes,)
            )
    return fields


def _read_compressed(body: bytes, header: PcdHeader, path: Path) -> dict[str, np.ndarray]:
    _check_size(len(body), 8, path)
    packed_size, size = struct.unpack_from("<II", body)
    _check_size(len(body) - 8, packed_size, path)
    if size != header.points * header.record_bytes:
        raise ValueError(
            f"{path}: expected {header.points * header.record_bytes} unpacked bytes "
            f"({header.points} points of {header.record_bytes}), got {size}"
        )
    try:
        unpacked = lzf_decompress(body[8 : 8 + packed_size], size)
    except ValueError as error:
        raise ValueError(f"{path}: expected an LZF stream: {error}") from error
    fields, offset = {}, 0
    for name, dtype, count in zip(header.names, header.dtypes, header.counts, strict=True):
        if count == 1:
            fields[name] = np.frombuffer(unpacked, dtype, header.points, offset)
        offset += header.points * dtype.itemsize * count
    return fields


def _check_size(got: int, wanted: int, path: Path) -> None:
    if got < wanted:
        raise ValueError(f"{path}: expected {wanted} bytes of points, got {got}; it is cut off")
