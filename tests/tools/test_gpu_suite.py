"""The runner of what needs a GPU: results, limits, what is run again."""

import json
from pathlib import Path

import gpu_suite
import pytest
from gpu_suite import PIECES, Piece, is_done, run_piece, selected

PASSES = Piece("passes", "", ["-c", "print('fine')"])
FAILS = Piece("fails", "", ["-c", "raise SystemExit(3)"])


def test_a_result_says_what_was_run_where_and_how_it_ended(tmp_path):
    result = run_piece(PASSES, tmp_path)
    assert json.loads((tmp_path / "passes.json").read_text()) == result
    assert (result["passed"], result["exit_status"], result["timed_out"]) == (True, 0, False)
    assert result["command"] == "python -c 'print('\"'\"'fine'\"'\"')'"
    assert (tmp_path / "passes.log").read_text() == "fine\n"
    assert result["device"]
    assert len(result["commit"]) == 40
    failed = run_piece(FAILS, tmp_path)
    assert (failed["passed"], failed["exit_status"]) == (False, 3)


def test_a_piece_is_stopped_after_its_time(tmp_path):
    result = run_piece(Piece("slow", "", ["-c", "import time; time.sleep(60)"], 0.01), tmp_path)
    assert (result["passed"], result["exit_status"], result["timed_out"]) == (False, None, True)


def test_tests_are_counted(tmp_path):
    test = tmp_path / "test_three.py"
    test.write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
        "@pytest.mark.skip\ndef test_c(): pass\n"
    )
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(test)]
    result = run_piece(Piece("three", "", command), tmp_path / "out")
    assert result["tests"] == {"tests": 3, "failures": 1, "errors": 0, "skipped": 1}
    assert not result["passed"]
    assert not list((tmp_path / "out").glob("*.xml"))


@pytest.mark.parametrize(
    ("change", "done"),
    [({}, True), ({"passed": False}, False), ({"commit": "x"}, False), ({"device": "x"}, False)],
    ids=str,
)
def test_what_passed_at_this_commit_and_device_is_done(tmp_path, monkeypatch, change, done):
    monkeypatch.setattr(gpu_suite, "commit", lambda root: ("c" * 40, False))
    assert not is_done(PASSES, tmp_path)
    result = run_piece(PASSES, tmp_path)
    (tmp_path / "passes.json").write_text(json.dumps({**result, **change}))
    assert is_done(PASSES, tmp_path) == done


def test_pieces_are_chosen_by_name():
    assert [p.name for p in selected("golden,kernels")] == ["golden", "kernels"]
    with pytest.raises(ValueError, match="--only: expected .*got 'gold'"):
        selected("gold")


def test_every_piece_names_files_that_are_there_and_fits_nine_minutes(repo_root):
    paths = [
        Path(repo_root, word)
        for piece in PIECES
        for word in piece.command
        if word.startswith(("tests/", "benchmarks/"))
    ]
    assert len(paths) >= len(PIECES)
    assert [path for path in paths if not path.exists()] == []
    assert max(piece.minutes for piece in PIECES) <= 9


def test_without_a_gpu_nothing_is_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_suite.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="expected a CUDA device, torch sees none"):
        gpu_suite.main(["--out", str(tmp_path)])
    assert gpu_suite.main(["--list"]) == 0
    assert capsys.readouterr().out.count("at most 9 min") == len(PIECES)
