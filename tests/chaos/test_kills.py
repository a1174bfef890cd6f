"""Twenty kills at random moments of trainings, five of them inside a checkpoint write; full disks.

Minutes: ``pytest -m slow tests/chaos``.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("mmdet3d")
from training_runs import EPOCHS, Trainings, assert_same_training, write_config

pytestmark = pytest.mark.slow
KILLS, IN_WRITES, PATIENCE_S = 20, 5, 600
SEED = int(os.environ.get("PADRE3D_CHAOS_SEED", "0"))


@pytest.fixture(scope="module")
def trainings(tmp_path_factory, repo_root, tiny_nuscenes):
    folder = tmp_path_factory.mktemp("chaos")
    config = write_config(folder / "c.py", repo_root, tiny_nuscenes, epochs=12)
    with closing(Trainings(repo_root / "tools", config)) as trainings:
        yield trainings


def test_twenty_kills(trainings, tmp_path):
    last = "epoch_12.pth"
    run = trainings.start(tmp_path / "undisturbed")
    assert run.began.wait(PATIENCE_S), run.said
    start = time.monotonic()
    assert run.wait() == 0, run.said
    seconds = time.monotonic() - start
    wanted = tmp_path / "undisturbed" / last
    rng = np.random.default_rng(SEED)
    writes = set(rng.choice(KILLS, IN_WRITES, replace=False))
    kills = finished = 0
    while kills < KILLS:
        work_dir = tmp_path / f"chain{finished}"
        while kills < KILLS or not (work_dir / last).exists():
            orders = {"torn": rng.random()} if kills in writes and kills < KILLS else {}
            run = trainings.start(work_dir, "--resume", **orders)
            if not orders and kills < KILLS:
                run.kill_in(rng.random() * seconds / 3)
            status = run.wait()
            assert status in (0, -signal.SIGKILL), run.said
            kills += status != 0
            if status == 0:
                break
        assert_same_training(work_dir / last, wanted)
        finished += 1
    assert kills == KILLS


def train_with_limit(repo_root, config, work_dir, most_bytes, *options):
    """tools/train.py that may write no file longer than this, as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [sys.executable, repo_root / "tools/train.py", config, "--work-dir", work_dir, *options],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_full_disk_is_one_line_and_loses_nothing(trainings, tmp_path, repo_root, tiny_nuscenes):
    config = write_config(tmp_path / "c.py", repo_root, tiny_nuscenes)
    work_dir = tmp_path / "work"
    done = train_with_limit(repo_root, config, work_dir, 50_000)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: [Errno 27] File too large")
    assert not list(work_dir.rglob("*.pth"))
    assert not list(work_dir.glob(".*.part"))
    assert not (work_dir / ".lock").exists()
    done = train_with_limit(repo_root, config, work_dir, 2**30, "--resume")
    assert done.returncode == 0, done.stderr
    assert (work_dir / f"epoch_{EPOCHS}.pth").exists()


def test_two_writers_of_one_data_set(tmp_path, repo_root):
    """Both may run; one set is there in the end, whole, and the other run says so."""
    command = [sys.executable, repo_root / "tools/make_synthetic.py", "--out", tmp_path / "set"]
    command += ["--scenes", "2", "--scene-seconds", "1"]
    both = [
        subprocess.Popen([*command, "--seed", str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE_S)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    (loser,) = [text for text, process in zip(said, both, strict=True) if process.returncode]
    assert loser.startswith("error: ")
    assert "set is not empty: choose another folder or overwrite it" in loser
    assert len(list((tmp_path / "set").rglob("*.bin"))) == 2 * 20
    assert [path.name for path in tmp_path.iterdir()] == ["set"]

    create = [sys.executable, repo_root / "tools/create_data.py", "nuscenes", "--root-path"]
    create += [tmp_path / "set", "--version", "v1.0-mini", "--workers", "1"]
    both = [subprocess.Popen(create, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE_S)[1] for process in both]
    refused = [text for text, process in zip(said, both, strict=True) if process.returncode]
    assert len(refused) < 2
    message = "error: another create_data is at work in"
    assert all(text.splitlines()[-1].startswith(message) for text in refused)
    assert not list((tmp_path / "set").glob(".*"))
