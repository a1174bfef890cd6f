"""The pillar encoder of the C++ runtime in place of numpy's: optional, equal but for rounding.

``make cpp`` builds its library, ``libpadre3d_encoder.so``, which needs no backend. It is code that
runs in this process: it is named by whoever starts the runtime, never by an exported folder.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from pathlib import Path

import numpy as np

from padre3d.backends.base import BackendError, one_line
from padre3d.runtime.grid import Grid
from padre3d.runtime.pillar_encoder import EncodedPillars, PillarEncoder, encoder_threads
from padre3d.runtime.tables import EncoderTables

NUMPY = "numpy"
VERSION = 1  # of the library's functions, see cpp/src/encoder_library.hpp
_ERROR_BYTES = 1000
_ENCODERS: weakref.WeakSet[CompiledPillarEncoder] = weakref.WeakSet()


def make_encoder(
    which: str | Path, grid: Grid, tables: EncoderTables, threads: int | None
) -> PillarEncoder | CompiledPillarEncoder:
    """The encoder in numpy if ``which`` is "numpy", else that of a compiled library.

    Raises:
        FileNotFoundError, BackendError: as :func:`load_library`.
    """
    if which == NUMPY:
        return PillarEncoder(grid, tables, threads)
    return CompiledPillarEncoder(which, grid, tables, threads)


def load_library(path: str | Path) -> ctypes.CDLL:
    """The compiled encoder's library, ready to be called.

    Raises:
        FileNotFoundError: if there is no such file.
        BackendError: if it is no library, another one, or one of another version.
    """
    wanted = f"encoder {str(path)!r}: expected the libpadre3d_encoder that make cpp builds"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{wanted}, or {NUMPY!r}, found no such file")
    try:
        library = ctypes.CDLL(str(Path(path).resolve()))
    except OSError as error:
        raise BackendError(f"{wanted}, got what cannot be loaded: {one_line(error)}") from error
    try:
        version = library.padre3d_encoder_version()
    except AttributeError:
        raise BackendError(f"{wanted}, got a library without padre3d_encoder_version") from None
    if version != VERSION:
        raise BackendError(f"{wanted}, version {VERSION}, got version {version}: build it again")
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    """The functions of cpp/src/encoder_library.hpp."""
    floats, doubles, longs = (
        np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS")
        for dtype in (np.float32, np.float64, np.int64)
    )
    handle, long, integer = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    error = (ctypes.c_char_p, ctypes.c_size_t)
    for name, result, arguments in (
        ("create", handle, (doubles, long, integer, long, longs, floats, long, integer, *error)),
        ("locate", long, (handle, floats, long, ctypes.POINTER(long), *error)),
        ("encode", integer, (handle, longs, floats, *error)),
        ("destroy", None, (handle,)),
    ):
        function = getattr(library, f"padre3d_encoder_{name}")
        function.restype, function.argtypes = result, arguments


class CompiledPillarEncoder:
    """Points to one feature vector per occupied pillar, as :class:`PillarEncoder` makes them.

    Calls from several threads take turns. A process that forked makes its threads anew.

    Args:
        library: path of the compiled library.
        grid, tables, threads: as of :class:`PillarEncoder`.

    Raises:
        FileNotFoundError, BackendError: as :func:`load_library`.
        ValueError: if the library refuses the tables, or the system gives it no more threads.
    """

    def __init__(
        self, library: str | Path, grid: Grid, tables: EncoderTables, threads: int | None = None
    ) -> None:
        self.grid, self.columns, self.channels = grid, tables.columns, tables.channels
        self.threads = encoder_threads(threads)
        self.with_distance = tables.with_distance
        self._library = load_library(library)
        self._widths = np.array([len(layer.shift) for layer in tables.layers], np.int64)
        arrays = (a for layer in tables.layers for a in (layer.point, layer.pillar, layer.shift))
        self._weights = np.concatenate([array.ravel() for array in arrays])
        self._lock = threading.Lock()
        _ENCODERS.add(self)
        self._open()

    def _open(self) -> None:
        """An encoder for this process, which is freed with this object."""
        said = ctypes.create_string_buffer(_ERROR_BYTES)
        handle = self._library.padre3d_encoder_create(
            np.array([*self.grid.range_m, *self.grid.cell_m], np.float64),
            self.columns,
            self.with_distance,
            len(self._widths),
            self._widths,
            self._weights,
            len(self._weights),
            self.threads,
            said,
            len(said),
        )
        if not handle:
            raise ValueError(f"pillar encoder: {_text(said)}")
        self._process, self._handle = os.getpid(), handle
        self._free = weakref.finalize(self, _destroy, self._library, handle, self._process)
        # The end of the process frees all of it; a thread may be in it then.
        self._free.atexit = False

    def close(self) -> None:
        """Free it and end its threads; a closed encoder takes no points any more."""
        with self._lock:
            self._handle = None
            self._free()

    def __call__(self, points: np.ndarray) -> EncodedPillars:
        """Encode points (P, columns) float32.

        Raises:
            ValueError: if they have another shape or are no real numbers, the encoder is closed, or
                the system gives it no more memory or threads.
        """
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise ValueError(f"points: expected shape (P, {self.columns}), got {points.shape}")
        if points.dtype.kind not in "fiu":
            raise ValueError(f"points: expected numbers, got dtype {points.dtype}")
        points = np.ascontiguousarray(points, np.float32)
        said, unusable = ctypes.create_string_buffer(_ERROR_BYTES), ctypes.c_int64()
        with self._lock:
            if self._handle is None:
                raise ValueError("pillar encoder: expected an open one, it was closed")
            if self._process != os.getpid():
                self._open()
            pillars = self._library.padre3d_encoder_locate(
                self._handle, points, len(points), unusable, said, len(said)
            )
            _check(pillars, said)
            features = np.empty((pillars, self.channels), np.float32)
            cells = np.empty(pillars, np.int64)
            done = self._library.padre3d_encoder_encode(
                self._handle, cells, features, said, len(said)
            )
            _check(done, said)
        return EncodedPillars(features, cells, unusable.value)


def _check(result: int, said: ctypes.Array[ctypes.c_char]) -> None:
    if result < 0:
        raise ValueError(f"pillar encoder: {_text(said)}")


def _text(said: ctypes.Array[ctypes.c_char]) -> str:
    return said.value.decode(errors="replace")


def _destroy(library: ctypes.CDLL, handle: int, process: int) -> None:
    """Free an encoder; a forked process has a copy without the threads that would be waited for."""
    if os.getpid() == process:
        library.padre3d_encoder_destroy(handle)


def _renew_locks() -> None:
    """In a forked process: another thread may have held a lock, which nobody would release."""
    for encoder in list(_ENCODERS):
        encoder._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
