"""Checkpoints: nothing torn is picked up, nothing is executed."""

import os
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from padre3d.inference import load_weights
from padre3d.training.checkpoint import (
    check_resumable,
    last_run,
    latest_checkpoint,
    load_checkpoint_file,
    training_checkpoint,
)
from padre3d.training.hooks import PlainCheckpointHook


def make_checkpoint(epoch: int, iteration: int | None = None) -> dict:
    checkpoint = {
        "meta": {"epoch": epoch, "iter": 10 * epoch if iteration is None else iteration},
        "state_dict": {"weight": torch.full((3,), float(epoch)), "table": torch.arange(1024.0)},
        "optimizer": {"state": {}, "param_groups": []},
        "message_hub": {
            "log_scalars": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])},
            "runtime_info": {"best_score": np.float64(0.5), "array": np.arange(3)},
        },
    }
    PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    return checkpoint


def save(path, epoch, age_s=0, iteration=None):
    torch.save(make_checkpoint(epoch, iteration), path)
    stamp = path.stat().st_mtime - age_s
    os.utime(path, (stamp, stamp))


def test_training_checkpoint_loads_weights_only(tmp_path):
    torch.save(make_checkpoint(3), tmp_path / "epoch_3.pth")
    loaded = load_checkpoint_file(tmp_path / "epoch_3.pth")
    assert loaded["meta"] == {"epoch": 3, "iter": 30}
    assert loaded["message_hub"]["runtime_info"]["best_score"] == 0.5


@pytest.mark.parametrize("kept_fraction", [0.0, 0.3, 0.99])
def test_torn_checkpoint_is_skipped(tmp_path, kept_fraction):
    save(tmp_path / "epoch_1.pth", 1, age_s=100)
    save(tmp_path / "epoch_2.pth", 2, age_s=50)
    torn = tmp_path / "epoch_3.pth"
    torch.save(make_checkpoint(3), torn)
    content = torn.read_bytes()
    torn.write_bytes(content[: int(kept_fraction * len(content))])
    (tmp_path / "last_checkpoint").write_text(str(torn))
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"


def test_the_furthest_wins_whatever_its_kind_and_age(tmp_path):
    save(tmp_path / "epoch_1.pth", 1)
    save(tmp_path / "epoch_9.pth", 9, age_s=10)
    save(tmp_path / "best.pth", 99)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_9.pth"
    save(tmp_path / "iter_120.pth", 11, age_s=20, iteration=120)
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_120.pth"
    save(tmp_path / "stopped.pth", 11, age_s=30, iteration=121)
    assert latest_checkpoint(tmp_path) == tmp_path / "stopped.pth"


def test_what_a_former_training_left_does_not_count(tmp_path):
    save(tmp_path / "epoch_20.pth", 20)
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_20.pth"
    assert last_run(tmp_path) == (0, 200)
    for epoch in (1, 2):
        content = make_checkpoint(epoch)
        content["meta"]["run"] = 1
        torch.save(content, tmp_path / f"epoch_{epoch}.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"
    assert last_run(tmp_path) == (1, 20)
    # Nor where nothing of the later training is left to go on from.
    content["state_dict"]["weight"][0] = torch.nan
    for epoch in (1, 2):
        torch.save(content, tmp_path / f"epoch_{epoch}.pth")
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("spoilt", ["state_dict", "ema_state_dict"])
def test_weights_that_are_not_finite_are_passed_over_and_said(tmp_path, spoilt):
    save(tmp_path / "epoch_1.pth", 1)
    content = make_checkpoint(2)
    content["ema_state_dict"] = {f"module.{k}": v.clone() for k, v in Net().state_dict().items()}
    next(iter(content[spoilt].values()))[0] = torch.inf
    path = tmp_path / "epoch_2.pth"
    torch.save(content, path)
    said = []
    assert latest_checkpoint(tmp_path, said.append) == tmp_path / "epoch_1.pth"
    (line,) = said
    assert line.startswith(f"passed over: checkpoint {path}: expected finite weights")
    with pytest.raises(ValueError, match="expected finite weights"):
        check_resumable(Net(), path)


def test_the_best_weights_are_no_training(tmp_path):
    save(tmp_path / "epoch_1.pth", 1)
    torch.save(make_checkpoint(2)["state_dict"], tmp_path / "best_NuScenes_NDS_epoch_2.pth")
    said = []
    assert latest_checkpoint(tmp_path, said.append) == tmp_path / "epoch_1.pth"
    assert said == []


def test_names_of_a_template_are_trainings(tmp_path):
    save(tmp_path / "epoch_1.pth", 1)
    save(tmp_path / "mine_epoch_2.pth", 2)
    assert latest_checkpoint(tmp_path) == tmp_path / "mine_epoch_2.pth"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


def damaged(path, rng):
    """The file with one bit of a member turned."""
    content = bytearray(path.read_bytes())
    inside = [m for m in members(path) if m.file_size]
    member = inside[rng.integers(len(inside))]
    # A local header of 30 bytes, the name and padding precede the bytes of a member.
    name, extra = (
        int.from_bytes(content[member.header_offset + o :][:2], "little") for o in (26, 28)
    )
    at = member.header_offset + 30 + name + extra + int(rng.integers(member.file_size))
    content[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def test_a_turned_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "epoch_3.pth"
    for seed in range(40):
        save(path, 3)
        damaged(path, np.random.default_rng(seed))
        with pytest.raises(ValueError, match=r"epoch_3\.pth: expected a whole file .* checksum of"):
            load_checkpoint_file(path)


def test_a_zeroed_page_is_passed_over_and_said(tmp_path):
    save(tmp_path / "epoch_1.pth", 1)
    save(tmp_path / "epoch_2.pth", 2)
    path = tmp_path / "epoch_3.pth"
    save(path, 3)
    content = path.read_bytes()
    at = content.index(torch.arange(1024.0).numpy().tobytes()[4:])
    path.write_bytes(content[:at] + bytes(2048) + content[at + 2048 :])
    said = []
    assert latest_checkpoint(tmp_path, said.append) == tmp_path / "epoch_2.pth"
    (line,) = said
    assert line.startswith(f"passed over: checkpoint {path}: ")
    assert "checksum" in line


def test_a_checkpoint_that_unpacks_to_more_is_refused_unread(tmp_path):
    path = tmp_path / "epoch_1.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**24))
    with pytest.raises(ValueError, match=f"unpacks to {2**24} bytes of"):
        load_checkpoint_file(path)


def test_members_with_names_that_are_no_text(tmp_path):
    path = tmp_path / "epoch_1.pth"
    save(path, 1)
    content = path.read_bytes()
    at = content.rindex(b"epoch_1/version")
    # A flag of the directory says that names are UTF-8.
    flags = at - 46 + 8
    path.write_bytes(
        content[:flags] + b"\x00\x08" + content[flags + 2 : at] + b"\x85" + content[at + 1 :]
    )
    with pytest.raises(ValueError, match=r"epoch_1\.pth: expected .* no intact zip archive"):
        load_checkpoint_file(path)


def test_files_without_sums_are_refused(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="expected a whole file of torch 1.6 or later"):
        load_checkpoint_file(path)


def test_damaged_pickles_are_named_by_more_than_a_byte(tmp_path):
    path = tmp_path / "epoch_1.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02h\x65.")
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")
    with pytest.raises(ValueError, match="without running code, got: KeyError 101"):
        load_checkpoint_file(path)


class Net(nn.Module):
    """The weights of ``make_checkpoint``."""

    def __init__(self, width=3):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.register_buffer("table", torch.zeros(1024))


def test_weights_alone_are_not_a_training(tmp_path):
    path = tmp_path / "epoch_4.pth"
    torch.save(make_checkpoint(4)["state_dict"], path)
    save(tmp_path / "epoch_1.pth", 1)
    with pytest.raises(ValueError, match="expected one of a training, with optimizer, epoch and"):
        check_resumable(Net(), path)
    said = []
    assert latest_checkpoint(tmp_path, said.append) == tmp_path / "epoch_1.pth"
    assert "epoch_4.pth: expected one of a training" in said[0]


def test_what_a_training_cannot_go_on_from(tmp_path):
    path = tmp_path / "epoch_2.pth"
    save(path, 2)
    check_resumable(Net(), path)
    with pytest.raises(ValueError, match=r"another config.*weight \(expected \(5,\), got \(3,\)\)"):
        check_resumable(Net(5), path)
    content = training_checkpoint(path)
    content["state_dict"]["weight"][1] = torch.nan
    torch.save(content, path)
    for refuse in (check_resumable, load_weights):
        with pytest.raises(ValueError, match="finite weights, .* 1 of 2 tensors: weight"):
            refuse(Net(), path)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.zeros(3, dtype=torch.int32), "whole numbers"),
        (torch.zeros(3, dtype=torch.complex64), "complex numbers"),
        (torch.zeros(3).to_sparse(), "sparse or quantized numbers"),
    ],
)
def test_weights_of_another_kind(tmp_path, value, kind):
    torch.save({"weight": value, "table": torch.zeros(1024)}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"weight \(expected real numbers, got {kind}\)"):
        load_weights(Net(), tmp_path / "odd.pth")


def test_empty_work_dir_has_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert last_run(tmp_path) == (0, -1)
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
