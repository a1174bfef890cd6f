"""Stanford .ply point clouds, read with plyfile once the header keeps what it promises."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAX_HEADER_BYTES = 65536
SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}


def read_ply(path: Path) -> dict[str, np.ndarray]:
    """Read the scalar properties of the ``vertex`` element, ascii or binary.

    Returns:
        One (P,) array per property.

    Raises:
        ValueError: if it is no complete .ply file with vertices.
        ImportError: if plyfile is not installed.
    """
    try:
        from plyfile import PlyData
    except ImportError as error:
        raise ImportError(".ply files need plyfile: pip install plyfile") from error
    content = path.read_bytes()
    header, body = _split(content)
    short, is_last = _until_vertex(header, len(body))
    try:
        # A file is mapped into memory; a stream of bytes is read row by row.
        ply = PlyData.read(str(path) if is_last else io.BytesIO(short + body))
    except Exception as error:  # plyfile lets KeyError, TypeError, struct.error and others out.
        raise ValueError(f"expected a complete .ply file: {error}") from error
    vertices = ply["vertex"].data
    return {n: vertices[n] for n in vertices.dtype.names or () if vertices.dtype[n].kind in "fiu"}


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Header, ``end_header`` and its line end included, and body."""
    at = content.find(b"end_header", 0, MAX_HEADER_BYTES)
    stop = content.find(b"\n", at) if at >= 0 else -1
    if content[:3] != b"ply" or stop < 0:
        raise ValueError("expected a complete .ply file: its header has no end")
    return content[: stop + 1], content[stop + 1 :]


def _until_vertex(header: bytes, body_bytes: int) -> tuple[bytes, bool]:
    """The header without the elements after ``vertex``, and whether there are none.

    Raises ValueError unless the body can hold what the header promises until there. Faces after
    the vertices are not read: a mesh may have millions, of a length that only a slow loop finds.
    """
    lines = header.decode("ascii", "replace").splitlines()
    text = any(line.split()[:2] == ["format", "ascii"] for line in lines)
    kept, least, names = [], 0, []
    for group in _groups(lines[:-1]):
        words = group[0].split()
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdecimal():
                raise ValueError(f"expected a complete .ply file: got {group[0]!r}")
            names.append(words[1])
            least += int(words[2]) * _least_bytes(group[1:], text)
        kept += group
        if words[:2] == ["element", "vertex"]:
            break
    else:
        raise ValueError(f"expected an element vertex, got {', '.join(names) or 'none'}")
    # The last line of a text may lack its end.
    if body_bytes + text < least:
        raise ValueError(
            f"expected a complete .ply file: its header promises {least} bytes, got {body_bytes}"
        )
    is_last = len(kept) == len(lines) - 1
    return "\n".join([*kept, "end_header", ""]).encode("ascii", "replace"), is_last


def _groups(lines: list[str]) -> Iterator[list[str]]:
    """The lines before the first element, then every element with its properties."""
    group: list[str] = []
    for line in lines:
        if line.split()[:1] == ["element"] and group:
            yield group
            group = []
        group.append(line)
    yield group


def _least_bytes(properties: list[str], text: bool) -> int:
    """The least bytes of one row; a list may be empty but for its length."""
    kinds = [words for words in map(str.split, properties) if words[:1] == ["property"]]
    if text:
        return max(2 * len(kinds), 1)
    # property TYPE NAME, or property list LENGTH_TYPE TYPE NAME
    types = [words[2 if words[1:2] == ["list"] else 1 :][:1] for words in kinds]
    return max(sum(SIZES.get("".join(kind), 1) for kind in types), 1)
