"""Checkpoints: nothing torn is picked up, nothing is executed."""

import os

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from padre3d.training.checkpoint import latest_checkpoint, load_checkpoint_file
from padre3d.training.hooks import PlainCheckpointHook


def training_checkpoint(epoch: int) -> dict:
    checkpoint = {
        "meta": {"epoch": epoch, "iter": 10 * epoch},
        "state_dict": {"weight": torch.full((3,), float(epoch))},
        "message_hub": {
            "log_scalars": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])},
            "runtime_info": {"best_score": np.float64(0.5), "array": np.arange(3)},
        },
    }
    PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    return checkpoint


def save(path, epoch, age_s):
    torch.save(training_checkpoint(epoch), path)
    stamp = path.stat().st_mtime - age_s
    os.utime(path, (stamp, stamp))


def test_training_checkpoint_loads_weights_only(tmp_path):
    torch.save(training_checkpoint(3), tmp_path / "epoch_3.pth")
    loaded = load_checkpoint_file(tmp_path / "epoch_3.pth")
    assert loaded["meta"] == {"epoch": 3, "iter": 30}
    assert loaded["message_hub"]["runtime_info"]["best_score"] == 0.5


@pytest.mark.parametrize("kept_fraction", [0.0, 0.3, 0.99])
def test_torn_checkpoint_is_skipped(tmp_path, kept_fraction):
    save(tmp_path / "epoch_1.pth", 1, age_s=100)
    save(tmp_path / "epoch_2.pth", 2, age_s=50)
    torn = tmp_path / "epoch_3.pth"
    torch.save(training_checkpoint(3), torn)
    content = torn.read_bytes()
    torn.write_bytes(content[: int(kept_fraction * len(content))])
    (tmp_path / "last_checkpoint").write_text(str(torn))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"


def test_newest_intact_checkpoint_wins_whatever_its_kind(tmp_path):
    save(tmp_path / "epoch_9.pth", 9, age_s=10)
    save(tmp_path / "iter_120.pth", 120, age_s=5)
    save(tmp_path / "best.pth", 1, age_s=0)
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_120.pth"


def test_empty_work_dir_has_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


class Exploit:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def test_code_in_a_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}, "x": Exploit()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="expected a whole file"):
        load_checkpoint_file(tmp_path / "bad.pth")


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        load_checkpoint_file(tmp_path / "absent.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="expected a dict, got list"):
        load_checkpoint_file(tmp_path / "list.pth")
