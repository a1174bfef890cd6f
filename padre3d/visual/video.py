"""Pictures one after another as a film: GIF with pillow, MP4 with imageio-ffmpeg."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.files import write_atomic

SUFFIXES = (".mp4", ".gif")
FPS = 4.0
# Of a bird's-eye view, whose writing is still readable at this size. Codecs want even sides.
WIDTH_PX, HEIGHT_PX = 800, 856


def check_video(path: Path, fps: float) -> None:
    """Refuse what cannot become a film before any frame is made.

    Raises:
        ValueError: on another suffix or an impossible rate.
        ImportError: if a library is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not 0 < fps <= 100:
        raise ValueError(f"fps: expected more than 0 and at most 100, got {fps}")
    _pillow()
    if path.suffix.lower() == ".mp4":
        _ffmpeg()


class Video:
    """``add`` a picture for every frame, then ``close``, which writes the film.

    Frames wait in a folder of their own, not in memory.

    Args:
        path: ``.mp4`` or ``.gif``.
        fps: frames a second.

    Raises:
        ValueError, ImportError: as :func:`check_video`.
    """

    def __init__(self, path: str | Path, fps: float = FPS) -> None:
        self._path, self._fps = Path(path), fps
        check_video(self._path, fps)
        self._folder = tempfile.TemporaryDirectory(prefix="padre3d-video-")
        self._count = 0

    def __len__(self) -> int:
        """Frames so far."""
        return self._count

    def add(self, picture: str | Path) -> None:
        """Add a picture (PNG); it is scaled to the size of the film."""
        image = _pillow().open(picture).convert("RGB").resize((WIDTH_PX, HEIGHT_PX))
        image.save(self._name(self._count))
        self._count += 1

    def close(self) -> None:
        """Write the film.

        Raises:
            ValueError: if there is no frame; nothing is written then.
        """
        with self._folder:
            if self._count == 0:
                raise ValueError(f"{self._path}: expected at least one frame, got none")
            suffix = self._path.suffix.lower()
            made = Path(self._folder.name) / f"film{suffix}"
            (self._write_gif if suffix == ".gif" else self._write_mp4)(made)
            write_atomic(self._path, made.read_bytes())

    def _name(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number:06d}.png"

    def _images(self) -> Iterator[Any]:
        for number in range(self._count):
            yield _pillow().open(self._name(number))

    def _write_gif(self, path: Path) -> None:
        colours = _pillow().Palette.ADAPTIVE
        # Viewers slow down what changes more often than 50 times a second.
        milliseconds = max(20, round(1000 / self._fps))
        # Image.save(save_all=True) would hold every frame in memory.
        from PIL.GifImagePlugin import getdata, getheader

        with path.open("wb") as file:
            for number, image in enumerate(self._images()):
                shown = image.convert("P", palette=colours, colors=128)
                if number == 0:
                    file.writelines(getheader(shown, info={"loop": 0, "duration": milliseconds})[0])
                frame = getdata(shown, duration=milliseconds, include_color_table=number > 0)
                file.writelines(frame)
            file.write(b";")

    def _write_mp4(self, path: Path) -> None:
        size = (WIDTH_PX, HEIGHT_PX)
        writer = _ffmpeg().write_frames(str(path), size, fps=self._fps, macro_block_size=2)
        writer.send(None)
        for image in self._images():
            writer.send(np.ascontiguousarray(image))
        writer.close()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("videos need pillow: pip install pillow") from error
    return Image


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(
            ".mp4 needs imageio-ffmpeg: pip install imageio-ffmpeg; .gif needs nothing more"
        ) from error
    return imageio_ffmpeg
