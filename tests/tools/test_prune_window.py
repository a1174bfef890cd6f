"""tools/prune_window.py: scores of frames to a checkpoint that every route reads."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet3d")
import small_detector
from mmengine.config import Config

from padre3d.head.eviction import best_offsets, window_statistics
from padre3d.inference import init_model
from padre3d.training.checkpoint import load_checkpoint_file
from padre3d.training.clouds import read_clouds

KEEP = 7
KEY = "head.decoder.window.kept"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Config, checkpoint and two clouds."""
    folder = tmp_path_factory.mktemp("prune")
    Config(dict(model=small_detector.MODEL, default_scope="mmdet3d")).dump(folder / "c.py")
    state = small_detector.build().state_dict()
    torch.save({"state_dict": state, "meta": {"epoch": 3}}, folder / "w.pth")
    for seed in (0, 1):
        np.save(folder / f"{seed}.npy", small_detector.cloud(1500, seed).numpy())
    return folder


@pytest.fixture
def prune(files, monkeypatch, repo_root):
    """Runs the tool; returns the new checkpoint."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import prune_window

    def run(out, *arguments, source="w.pth"):
        paths = [str(files / "c.py"), str(files / source), "--out", str(out)]
        prune_window.main([*paths, *map(str, arguments)])
        return out

    return run


def points(files):
    return ["--points", files / "0.npy", files / "1.npy"]


def test_best_offsets_of_the_frames_are_written(files, prune, tmp_path, capsys):
    out = prune(tmp_path / "p.pth", "--keep", KEEP, *points(files))
    said = capsys.readouterr().out
    assert f"{KEEP} of 25 offsets kept by joint over 2 frames" in said
    model = init_model(files / "c.py", files / "w.pth")
    clouds = read_clouds([files / "0.npy", files / "1.npy"]).values()
    scores = window_statistics(model, clouds).scores("joint", KEEP)
    expected = best_offsets(model.head.decoder.window, scores, KEEP)
    loaded = load_checkpoint_file(out)
    assert sorted(loaded["state_dict"][KEY].tolist()) == sorted(expected.tolist())
    assert loaded["meta"] == {"epoch": 3}
    old = load_checkpoint_file(files / "w.pth")["state_dict"]
    assert all(torch.equal(loaded["state_dict"][name], old[name]) for name in old)
    pruned = init_model(files / "c.py", out)
    assert sorted(pruned.head.decoder.window.cells().tolist()) == sorted(expected.tolist())


def test_a_pruned_checkpoint_is_pruned_further(files, prune, tmp_path):
    once = prune(tmp_path / "a.pth", "--keep", 9, "--score", "distance")
    twice = prune(tmp_path / "b.pth", "--keep", 5, "--score", "random", source=once)
    first, second = (load_checkpoint_file(path)["state_dict"][KEY] for path in (once, twice))
    assert first.abs().max() == 1
    assert len(second) == 5
    assert set(map(tuple, second.tolist())) < set(map(tuple, first.tolist()))


def test_a_training_that_loads_it_has_its_window(files, prune, tmp_path):
    """``load_from`` and resuming go through mmengine's own loader."""
    from mmengine.runner.checkpoint import load_state_dict

    out = prune(tmp_path / "p.pth", "--keep", 9, "--score", "distance")
    model = init_model(files / "c.py", files / "w.pth")
    load_state_dict(model, load_checkpoint_file(out)["state_dict"], strict=True)
    assert len(model.head.decoder.window.cells()) == 9
    assert KEY in model.state_dict()


def test_all_offsets_change_nothing(files, prune, tmp_path):
    out = prune(tmp_path / "p.pth", "--keep", 25, "--score", "distance")
    cloud = small_detector.cloud(1500)
    with torch.no_grad():
        a, b = (
            init_model(files / "c.py", path).forward_points([cloud])
            for path in (files / "w.pth", out)
        )
    for actual, expected in zip(b, a, strict=True):
        torch.testing.assert_close(actual, expected)


def test_the_export_gathers_the_kept_keys_alone(files, prune, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    import export

    out = prune(tmp_path / "p.pth", "--keep", KEEP, "--score", "distance")
    folder = tmp_path / "out"
    cloud = str(files / "0.npy")
    # Refuses what differs from torch.
    export.main([str(files / "c.py"), str(out), "--out", str(folder), "--points", cloud])
    inferred = onnx.shape_inference.infer_shapes(onnx.load(folder / "model.onnx")).graph
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim] for value in inferred.value_info
    ]
    assert [40, KEEP, 16] in shapes
    assert not any(25 in shape for shape in shapes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", 26, "--score", "distance"], "expected 1..25 offsets of the window, got 26"),
        (["--keep", 0, "--score", "distance"], "expected 1..25 offsets of the window, got 0"),
        (["--keep", 3, "--score", "random", "--frames", 2], "--frames: expected --score joint"),
        (["--keep", 3, "--seed", 2], "--seed: expected --score random"),
        (["--keep", 3, "--frames", 0], "--frames: expected 1 or more, got 0"),
    ],
)
def test_refusals(files, prune, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        prune(tmp_path / "p.pth", *arguments)
    assert not (tmp_path / "p.pth").exists()


def test_frames_without_a_point_in_range(files, prune, tmp_path):
    np.save(tmp_path / "far.npy", small_detector.cloud(100).numpy() + [500, 0, 0, 0, 0])
    with pytest.raises(SystemExit, match="expected a frame with a point in range"):
        prune(tmp_path / "p.pth", "--keep", 3, "--points", tmp_path / "far.npy")


def test_offsets_of_another_window_name_the_checkpoint(files, tmp_path):
    loaded = load_checkpoint_file(files / "w.pth")
    loaded["state_dict"][KEY] = torch.tensor([[0, 0], [0, 3]])
    torch.save(loaded, tmp_path / "far.pth")
    with pytest.raises(ValueError, match=r"checkpoint .*far.pth: window offsets: expected -2..2"):
        init_model(files / "c.py", tmp_path / "far.pth")


def test_a_head_as_the_reference_has_it_is_refused(files, prune, tmp_path):
    config = Config.fromfile(files / "c.py")
    config.model.head.dsvt_compat = True
    config.dump(tmp_path / "compat.py")
    import prune_window

    arguments = [tmp_path / "compat.py", files / "w.pth", "--keep", 3, "--out", tmp_path / "p.pth"]
    with pytest.raises(SystemExit, match="expected a head without dsvt_compat"):
        prune_window.main([*map(str, arguments), "--score", "distance"])


def test_clouds_whose_names_end_alike_are_all_read(tmp_path):
    tail = 30 * "x" + ".npy"
    for name in "ab":
        np.save(tmp_path / (name + tail), small_detector.cloud(10).numpy())
    assert [*read_clouds([tmp_path])] == [f"{row}: {tail[-30:]}" for row in (0, 1)]
