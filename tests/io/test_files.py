"""Files are replaced whole; devices, pipes and links keep being what they are."""

import os
import threading

import pytest

from padre3d.io.files import write_atomic


def test_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    stored, link = tmp_path / "store/a.json", tmp_path / "a.json"
    stored.write_text("old")
    link.symlink_to(stored)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert stored.read_text() == "new"
    assert [path.name for path in stored.parent.iterdir()] == ["a.json"]
    stored.unlink()
    write_atomic(link, "again")
    assert stored.read_text() == "again"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomic(pipe, "boxes")
    reader.join(60)
    assert read == ["boxes"]
    assert pipe.is_fifo()


def test_folder_is_no_target(tmp_path):
    with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
        write_atomic(tmp_path, "boxes")
    assert list(tmp_path.iterdir()) == []
