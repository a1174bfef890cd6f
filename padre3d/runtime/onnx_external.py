"""Which other files an ONNX file reads its weights from, without the onnx package.

Walks the protobuf fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that lead to a
tensor, and skips all others by their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Message -> field number -> message of the field.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {1: "key", 2: "value"},
}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 100


def external_files(path: Path) -> set[str]:
    """Locations of the tensors' external data, as the file has them.

    Raises:
        ValueError: if the file is no protobuf message, or nested too deep to be a model.
    """
    found: set[str] = set()
    waiting = [("model", memoryview(path.read_bytes()), 0)]
    try:
        while waiting:
            kind, data, depth = waiting.pop()
            if depth > _DEEPEST:
                raise ValueError("graphs within graphs without end")
            if kind == "entry":
                found |= _location(data)
                continue
            for number, content in _messages(data):
                inner = _FIELDS[kind].get(number)
                if inner is not None:
                    waiting.append((inner, content, depth + 1))
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{path}: expected an ONNX model that loads, got a damaged file ({error})"
        ) from error
    return found


def _location(entry: memoryview) -> set[str]:
    """The value of a key-value pair whose key is "location"."""
    fields = [(number, bytes(content)) for number, content in _messages(entry)]
    if (1, b"location") not in fields:
        return set()
    return {content.decode(errors="replace") for number, content in fields if number == 2} or {""}


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of the fields that have a length."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _LENGTH:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field beyond its end")
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError(f"a field of type {kind}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number without end")
