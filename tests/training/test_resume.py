"""A resumed training is the uninterrupted one, bit for bit, with random augmentation."""

import signal
from contextlib import closing

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet3d")
from training_runs import EPOCHS, Trainings, assert_same_training, write_config

from padre3d.training.seeds import SeededSamples, SkippingBatchSampler, seed_everything, seeded


@pytest.fixture(scope="module")
def trainings(tmp_path_factory, repo_root, tiny_nuscenes):
    folder = tmp_path_factory.mktemp("resume")
    config = write_config(folder / "c.py", repo_root, tiny_nuscenes)
    with closing(Trainings(repo_root / "tools", config)) as trainings:
        yield trainings


@pytest.fixture(scope="module")
def uninterrupted(trainings, tmp_path_factory):
    """The last checkpoint of a training that nothing disturbed."""
    work_dir = tmp_path_factory.mktemp("uninterrupted") / "work"
    run = trainings.finish(work_dir)
    assert run.process.exitcode == 0, run.said
    return work_dir / f"epoch_{EPOCHS}.pth"


def test_killed_in_a_step_and_in_a_write_then_stopped(trainings, uninterrupted, tmp_path):
    work_dir = tmp_path / "work"
    # An epoch has four iterations.
    run = trainings.finish(work_dir, at=3, signal=signal.SIGKILL)
    assert run.process.exitcode == -signal.SIGKILL
    assert not list(work_dir.glob("*.pth"))
    run = trainings.finish(work_dir, "--resume", torn=0.6)
    assert run.process.exitcode == -signal.SIGKILL
    # Half a file has no name that anyone would read.
    assert not list(work_dir.glob("*.pth"))
    assert len(list(work_dir.glob(".epoch_1.pth.*.part"))) == 1

    run = trainings.finish(work_dir, "--resume", at=5, signal=signal.SIGTERM)
    assert run.process.exitcode == 128 + signal.SIGTERM, run.said
    assert f"SIGTERM: stopped after 6 iterations, saved {work_dir / 'stopped.pth'}; go" in run.said
    assert "Traceback" not in run.said
    assert not list(work_dir.glob(".*.part"))
    run = trainings.finish(work_dir, "--resume", at=10, signal=signal.SIGINT)
    assert run.process.exitcode == 128 + signal.SIGINT, run.said
    assert f"--resume: {work_dir / 'stopped.pth'}" in run.said
    assert "resumed epoch: 1, iter: 6" in run.said
    run = trainings.finish(work_dir, "--resume")
    assert run.process.exitcode == 0, run.said
    assert_same_training(work_dir / uninterrupted.name, uninterrupted)
    assert not (work_dir / "stopped.pth").exists()


def test_kill_loses_what_came_after_the_last_minutes(trainings, uninterrupted, tmp_path):
    work_dir = tmp_path / "work"
    every_step = ("--cfg-options", "train_cfg.save_minutes=0")
    run = trainings.finish(work_dir, *every_step, at=6, signal=signal.SIGKILL)
    assert run.process.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in work_dir.glob("*.pth")) == ["epoch_1.pth", "running.pth"]
    run = trainings.finish(work_dir, "--resume")
    assert run.process.exitcode == 0, run.said
    assert f"--resume: {work_dir / 'running.pth'}" in run.said
    assert "resumed epoch: 1, iter: 6" in run.said
    assert_same_training(work_dir / uninterrupted.name, uninterrupted)
    assert not (work_dir / "running.pth").exists()


def test_a_signal_that_ends_the_loader_too_saves_as_well(trainings, tmp_path):
    """As a terminal, timeout(1) or a batch system sends it: to every process of the group."""
    work_dir = tmp_path / "work"
    run = trainings.finish(work_dir, at=5, signal=signal.SIGTERM, children=True)
    assert run.process.exitcode == 128 + signal.SIGTERM, run.said
    assert "SIGTERM: stopped after" in run.said
    assert "Traceback" not in run.said
    assert (work_dir / "stopped.pth").is_file()


def test_another_training_is_refused_before_its_first_step(
    trainings, uninterrupted, tmp_path, repo_root, tiny_nuscenes
):
    work_dir = tmp_path / "work"
    run = trainings.start(work_dir, at=1, signal=signal.SIGSTOP)
    assert run.began.wait(200)
    second = trainings.finish(work_dir)
    assert second.process.exitcode == 1
    assert "Traceback" not in second.said
    line = second.said.splitlines()[-1]
    assert line.startswith(f"error: another training is at work in {work_dir} (process ")
    run.process.kill()
    run.wait()

    changed = write_config(tmp_path / "other.py", repo_root, tiny_nuscenes)
    text = changed.read_text()
    changed.write_text(text.replace("'kernel_size': 5", "'kernel_size': 7"))
    assert changed.read_text() != text
    other = Trainings(repo_root / "tools", changed)
    run = other.finish(work_dir, "--resume", str(uninterrupted))
    assert run.process.exitcode == 1
    line = run.said.splitlines()[-1]
    assert line.startswith(f"error: checkpoint {uninterrupted} does not fit the model, it belongs")
    assert not run.began.is_set()


def test_samples_follow_from_seed_epoch_and_index():
    class Noise(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return np.random.rand(), torch.rand(()).item(), index

    samples = SeededSamples(Noise())
    samples.start(5, 1)
    first = [samples[i] for i in range(3)]
    assert len({value for sample in first for value in sample[:2]}) == 6
    torch.rand(7)
    np.random.rand(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert [samples[i] for i in (2, 0, 1)] == [first[i] for i in (2, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    samples.start(5, 2)
    assert samples[0] != first[0]
    samples.start(6, 1)
    assert samples[0] != first[0]


def test_seeds_of_steps_differ():
    seed_everything(0, 0, 1)
    one = torch.rand(3), np.random.rand(3)
    seed_everything(0, 0, 2)
    assert not torch.equal(torch.rand(3), one[0])
    seed_everything(0, 0, 1)
    assert torch.equal(torch.rand(3), one[0])
    with seeded(1):
        torch.rand(9)
    np.testing.assert_array_equal(np.random.rand(3), one[1])


def test_batches_are_left_out_once():
    batches = SkippingBatchSampler(range(7), 2)
    batches.skip = 3
    assert list(batches) == [[6]]
    assert list(batches) == [[0, 1], [2, 3], [4, 5], [6]]
    assert len(batches) == 4
