"""Which boxes are kept, where they go, and what is said at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.boxes_json import boxes_to_json
from padre3d.io.files import write_atomic
from padre3d.io.formats_out import (
    FORMATS,
    boxes_to_csv,
    boxes_to_kitti,
    nuscenes_results,
    nuscenes_submission,
)
from padre3d.runtime.decode import rotated_nms
from padre3d.structures.boxes import Detections


@dataclass(frozen=True)
class Selection:
    """Which boxes are kept.

    Attributes:
        thresholds: least score of every class; infinity for one that is left out.
        nms_iou: boxes of whatever class that overlap a better one by more are dropped; None: none.
    """

    thresholds: np.ndarray
    nms_iou: float | None = None

    def __call__(self, found: Detections) -> Detections:
        """The boxes kept, best first."""
        kept = found.select(found.scores >= self.thresholds[found.labels])
        if self.nms_iou is not None and len(kept.scores):
            order = rotated_nms(kept.boxes, kept.scores, self.nms_iou, len(kept.scores))
            kept = kept.select(order)
        return kept


def selection(
    class_names: Sequence[str],
    score_thr: float,
    class_thr: str | None,
    classes: str | None,
    nms_iou: float | None,
) -> Selection:
    """From the command line's texts.

    Args:
        class_names: the model's classes.
        score_thr: least score.
        class_thr: ``car=0.4,bus=0.2``: other least scores.
        classes: ``car,bus``: the only ones kept.
        nms_iou: see :class:`Selection`.

    Raises:
        ValueError: on an unknown class, or a number outside of 0 to 1.
    """
    least = np.full(len(class_names), in_unit_range("--score-thr", score_thr))
    wanted = [_known("--classes", name, class_names) for name in _parts(classes)]
    for part in _parts(class_thr):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise ValueError(f"--class-thr: expected CLASS=SCORE, got {part!r}") from error
        label = _known("--class-thr", name, class_names)
        if wanted and label not in wanted:
            raise ValueError(f"--class-thr: expected one of --classes, got {name}")
        least[label] = in_unit_range("--class-thr", number)
    if wanted:
        least[[label for label in range(len(class_names)) if label not in wanted]] = np.inf
    if nms_iou is not None:
        in_unit_range("--nms-iou", nms_iou)
    return Selection(least, nms_iou)


def in_unit_range(option: str, value: float) -> float:
    """The value; ValueError unless it lies in 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{option}: expected a number from 0 to 1, got {value}")
    return value


@dataclass
class BoxWriter:
    """Writes or prints the boxes of frames in one format.

    Attributes:
        class_names: the model's classes.
        form: a key of ``padre3d.io.formats_out.FORMATS``.
        out: file, or folder that gets a file for each frame; None prints if ``prints``.
        to_folder: whether ``out`` is a folder.
        forward_rad: direction of forward in the boxes' frame.
        prints: whether boxes without ``out`` go to standard output.
    """

    class_names: Sequence[str]
    form: str
    out: Path | None
    to_folder: bool
    forward_rad: float
    prints: bool
    _samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(
        self, name: str, found: Detections, token: str, global_from_boxes: np.ndarray | None
    ) -> None:
        """Write one frame, or keep it for the one file that nuScenes wants.

        Raises:
            ValueError: if that file has a frame of this token.
        """
        if self.form == "nuscenes":
            assert global_from_boxes is not None  # checked with the arguments
            if token in self._samples:
                raise ValueError(f"{name}: expected different tokens, got {token} again")
            self._samples[token] = nuscenes_results(
                found, self.class_names, token, global_from_boxes
            )
            return
        if self.out is None and not self.prints:
            return
        text = {
            "json": lambda: json.dumps(boxes_to_json(found, self.class_names), indent=1) + "\n",
            "kitti": lambda: boxes_to_kitti(found, self.class_names, self.forward_rad),
            "csv": lambda: boxes_to_csv(found, self.class_names, name),
        }[self.form]()
        if self.out is None:
            print(text, end="", flush=True)
        else:
            write_atomic(self.target(name), text)

    def target(self, name: str) -> Path:
        """The file of a frame, where there is one."""
        assert self.out is not None
        if self.form == "nuscenes" or not self.to_folder:
            return self.out
        return self.out / f"{name}{FORMATS[self.form]}"

    def close(self) -> None:
        """Write what waits for the last frame."""
        if self.form == "nuscenes":
            assert self.out is not None  # checked with the arguments
            write_atomic(self.out, json.dumps(nuscenes_submission(self._samples)) + "\n")


def summary(
    frames: int, failures: Sequence[str], boxes: Mapping[str, int], seconds: Sequence[float]
) -> str:
    """The last line: files, failures, boxes of each class, milliseconds a frame."""
    counts = ", ".join(f"{name} {count}" for name, count in Counter(boxes).most_common())
    time = f"{1000 * float(np.mean(seconds)):.0f} ms a frame" if seconds else "no time measured"
    return (
        f"{frames} {'file' if frames == 1 else 'files'}, {len(failures)} failed; "
        f"boxes: {counts or 'none'}; {time} (reading and detection)"
    )


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _known(option: str, name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise ValueError(f"{option}: expected one of {', '.join(class_names)}, got {name!r}")
    return list(class_names).index(name)
