"""Recordings for rerun hold what was added."""

import numpy as np
import pytest

from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import Recording

POINTS = np.array([[1, 2, 3, 4, 0], [np.nan] * 5, [5, 6, 7, 8, 0]], np.float32)
CAR = Detections(np.array([[1.0, 2, 0, 4, 2, 1, np.pi / 2, 0, 1]]), np.array([0.7]), np.array([0]))


@pytest.fixture
def recording(tmp_path):
    pytest.importorskip("rerun", reason="needs rerun-sdk")
    return Recording(tmp_path / "new" / "a.rrd", NUSCENES_CLASSES)


def read(path):
    """Entity -> column -> a list for every frame."""
    chunk = pytest.importorskip("rerun.chunk", reason="needs a rerun-sdk that reads its files")
    found = {}
    for part in chunk.RrdReader(path).stream().to_chunks():
        batch = part.to_record_batch()
        columns = {n: batch[n].to_pylist() for n in batch.schema.names if ":" in n}
        found.setdefault(part.entity_path, {}).update(columns)
    return found


def test_frames_are_written_when_closed(recording, tmp_path):
    path = tmp_path / "new" / "a.rrd"
    recording.add("first", POINTS, CAR, CAR)
    recording.add("second", POINTS, Detections.empty())
    assert not path.exists()
    recording.close()
    assert [p.name for p in path.parent.iterdir()] == ["a.rrd"]
    columns = read(path)
    assert columns["/points"]["Points3D:positions"] == 2 * [[[1, 2, 3], [5, 6, 7]]]
    assert columns["/name"]["TextDocument:text"] == [["first"], ["second"]]
    for name in ("/detections", "/ground_truth"):
        assert columns[name]["Boxes3D:half_sizes"][0] == [[2, 1, 0.5]]
    assert columns["/detections"]["Boxes3D:class_ids"][0] == [0]
    assert "score 0.70" in columns["/detections"]["Boxes3D:labels"][0][0]


def test_a_recording_needs_a_frame(recording, tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        recording.close()
    assert not (tmp_path / "new").exists()


def test_points_need_three_columns(recording):
    with pytest.raises(ValueError, match=r"expected shape \(P, >= 3\)"):
        recording.add("a", np.zeros((4, 2)), CAR)
