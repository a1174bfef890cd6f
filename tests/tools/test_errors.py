"""Every tool: an error that a user can mend is one line, and nothing of theirs is overwritten."""

import errno
import importlib
import pickle
import re
import shutil
import sys

import pytest
import torch

pytest.importorskip("mmdet3d")
from mmengine.config import Config
from small_detector import MODEL, build

import padre3d.plugin  # noqa: F401
from padre3d.cli import add_debug_argument, check_targets, run_tool
from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.gt_sampling import load_database

TOOLS = (
    *("build_engine", "check_cloud", "convert_checkpoint", "count", "create_data", "demo"),
    *("distill", "draw", "export", "infer", "make_synthetic", "models_page", "package_model"),
    *("package_sample", "probe", "prune_window", "study", "test", "train"),
)
ARGUMENTS = {
    "build_engine": ["DIR"],
    "check_cloud": ["a.bin"],
    "convert_checkpoint": ["a.pth", "b.pth", "--config", "c.py"],
    "count": ["--table", "4"],
    "create_data": ["nuscenes"],
    "demo": [],
    "distill": ["t.py", "t.pth", "c.py", "--out", "DIR"],
    "draw": ["c.py", "a.pth", "--out", "a.png"],
    "export": ["c.py", "a.pth", "--out", "DIR"],
    "infer": ["c.py", "a.pth", "a.bin"],
    "make_synthetic": ["--out", "DIR"],
    "models_page": [],
    "package_model": [
        *("c.py", "a.pth", "name", "--metrics", "m.json", "--trained-on", "", "--scored-on", ""),
        *("--not-for", "", "--command", "", "--hours", "1"),
    ],
    "package_sample": ["c.py"],
    "probe": ["c.py", "--out", "DIR"],
    "prune_window": ["c.py", "a.pth", "--keep", "9", "--out", "b.pth"],
    "study": ["s.py"],
    "test": ["c.py", "a.pth"],
    "train": ["c.py"],
}


@pytest.fixture
def tool(repo_root, monkeypatch):
    """A module of tools/ by name."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))

    def load(name):
        spec = importlib.util.spec_from_file_location(
            f"tool_{name}", f"{repo_root}/tools/{name}.py"
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def said(tool, capsys):
    """The one line that a tool leaves with."""

    def run(name, *arguments):
        with pytest.raises(SystemExit) as stop:
            tool(name).main([str(a) for a in arguments])
        code = stop.value.code
        text = code if isinstance(code, str) else capsys.readouterr().err.rstrip("\n")
        assert text.startswith("error: "), text
        assert "\n" not in text, text
        return text

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory, repo_root):
    """Config and checkpoint of the tiny detector, on a data set of the test's own."""
    folder = tmp_path_factory.mktemp("files")
    base = repo_root / "configs/dsvt_padre2_synthetic.py"
    cfg = Config.fromfile(base)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].update(num_workers=0, persistent_workers=False)
        cfg[name].dataset.data_root = "ROOT"
    cfg.model = MODEL
    cfg.dump(folder / "c.py")
    torch.save(build().state_dict(), folder / "w.pth")
    return folder


@pytest.fixture
def ready(files, tmp_path, tiny_nuscenes, monkeypatch):
    """A copy of the files, whose data set may be broken."""
    shutil.copytree(files, tmp_path / "at")
    root = tmp_path / "data"
    root.mkdir()
    for path in tiny_nuscenes.iterdir():
        (root / path.name).symlink_to(path)
    config = tmp_path / "at" / "c.py"
    config.write_text(config.read_text().replace("'ROOT'", repr(str(root))))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "at"


@pytest.mark.parametrize("name", TOOLS)
def test_all_tools_have_debug_and_the_same_errors(tool, name, monkeypatch):
    module = tool(name)
    assert module.parse_args([*ARGUMENTS[name], "--debug"]).debug

    def fails(args):
        raise OSError(errno.ENOSPC, "No space left on device", "out\nfile")

    monkeypatch.setattr(module, "run", fails)
    with pytest.raises(OSError, match="No space"):
        module.main([*ARGUMENTS[name], "--debug"])

    # A study returns its exit status, the error is printed.
    expected = "2" if name == "study" else "error: [Errno 28] No space left on device: "
    with pytest.raises(SystemExit, match=f"^{re.escape(expected)}"):
        sys.exit(module.main(ARGUMENTS[name]))


def test_what_run_tool_does(capsys):
    import argparse

    parser = argparse.ArgumentParser()
    add_debug_argument(parser)
    args = parser.parse_args([])

    def raises(error):
        def run(_):
            raise error

        return run

    assert run_tool(lambda _: None, args) == 0
    assert run_tool(lambda _: 3, args) == 3
    with pytest.raises(SystemExit, match="^error: not enough memory$"):
        run_tool(raises(MemoryError()), args)
    with pytest.raises(SystemExit, match="^error: two lines$"):
        run_tool(raises(ValueError("two\n  lines")), args)
    with pytest.raises(SystemExit, match="130"):
        run_tool(raises(KeyboardInterrupt()), args)
    # A fault of the program is not the user's to mend.
    with pytest.raises(AttributeError):
        run_tool(raises(AttributeError("x")), args)


def test_targets(tmp_path):
    path = tmp_path / "a"
    path.write_text("")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ValueError, match="--out .*link: expected a file of its own, got the input"):
        check_targets([("--out", tmp_path / "link")], [path, None])
    with pytest.raises(ValueError, match="--png .*b: expected .*, got the file of --out"):
        check_targets([("--out", tmp_path / "b"), ("--png", tmp_path / "b")], [])
    check_targets([("--out", tmp_path / "b"), ("--png", None)], [path])


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("test", ["c.py", "none.pth"], "checkpoint none.pth: expected a file, found none"),
        ("test", ["none.py", "w.pth"], "config none.py: expected a file, found none"),
        ("test", ["c.py", "w.pth", "--backend", "onnxruntime"], "--backend: expected an exported"),
        ("test", ["c.py", "w.pth", "--metrics-out", "w.pth"], "--metrics-out w.pth: expected a f"),
        ("train", ["none.py"], "config none.py: expected a file, found none"),
        ("train", ["c.py", "--resume", "none.pth"], "checkpoint none.pth: expected a file, found"),
        ("train", ["c.py", "--resume", "w.pth"], "w.pth: expected one of a training, with optim"),
        ("train", ["broken.py"], "config broken.py: ZeroDivisionError: "),
        ("train", ["c.py", "--cfg-options", "model.type=Nothing"], "Nothing is not in the"),
        ("draw", ["c.py", "w.pth", "--out", "c.py"], "--out c.py: expected a file of its own"),
        ("draw", ["c.py", "w.pth", "--out", "a.png", "--device", "gpu"], "--device: expected cpu"),
        ("draw", ["c.py", "w.pth", "--out", "a.png", "--score-thr", "nan"], "--score-thr: exp"),
        ("export", ["c.py", "none.pth", "--out", "d"], "checkpoint none.pth: expected a file"),
        ("export", ["c.py", "w.pth", "--out", "w.pth"], "--out w.pth: expected a file of its own"),
        ("export", ["c.py", "w.pth", "--out", "d", "--calib", "a.bin"], "--calib: expected an 8"),
        ("export", ["c.py", "w.pth", "--out", "d", "--calib-frames", "3"], "--calib-frames: exp"),
        ("export", ["c.py", "w.pth", "--out", "d", "--masked", "--pillars", "9"], "--masked: exp"),
        ("convert_checkpoint", ["w.pth", "w.pth", "--config", "c.py"], "OUT w.pth: expected a f"),
        ("convert_checkpoint", ["w.pth", "c.py", "--config", "c.py"], "OUT c.py: expected a file"),
        ("build_engine", ["none"], "none"),
        ("count", ["--table", "2", "--points", "a.bin"], "--points: expected CONFIG or --table 4"),
        ("count", ["none.py", "--points", "a.bin"], "config none.py: expected a file, found none"),
        ("probe", ["none.py", "--out", "d"], "config none.py: expected a file, found none"),
        ("probe", ["none.py", "--out", "d", "--device", "gpu"], "--device: expected cpu, cuda or"),
        ("make_synthetic", ["--out", "at", "--scenes", "-1"], "scenes"),
        ("make_synthetic", ["--out", "."], "is not empty"),
    ],
)
def test_one_line(said, files, tmp_path, monkeypatch, name, arguments, match):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    (tmp_path / "broken.py").write_text("x = 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert match in said(name, *arguments)
    assert {path: path.read_bytes() for path in before} == before


def test_study_options_without_effect(tool, tmp_path, capsys):
    for option in ("--metrics=a", "--finished", "--metric=a", "--cost=macs"):
        assert tool("study").main([str(tmp_path / "s.py"), option]) == 2
        assert capsys.readouterr().err.startswith(f"error: {option.split('=')[0]}: expected --")
    study = tmp_path / "s.py"
    study.write_text("")
    assert tool("study").main([str(study), "--plot", str(study)]) == 2
    assert "--plot" in capsys.readouterr().err


def replace(root, name, content):
    path = root / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)


TORN = pickle.dumps({"metainfo": {}, "data_list": list(range(5000))})[:300]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (TORN, "expected an info file of tools/create_data.py, got"),
        (b"", "expected an info file of tools/create_data.py, got EOFError"),
        (pickle.dumps([1]), r"expected an mmdet3d 1\.1\+ info file"),
        (pickle.dumps({"metainfo": {}, "data_list": []}), "expected frames, got none"),
        (
            pickle.dumps({"metainfo": {}, "data_list": [1]}),
            "expected 'categories' or 'classes' in metainfo",
        ),
        (pickle.dumps(pytest.raises), "which is not plain data"),
        (b"\x80\x02}r\x00\x00\x00\x70.", "got MemoryError"),
    ],
    ids=["torn", "empty", "list", "no frame", "no categories", "code", "bomb"],
)
def test_info_files_that_are_none(tmp_path, content, match):
    (tmp_path / "infos.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"infos\.pkl: {match}|{match}"):
        NuScenesSweepsDataset(str(tmp_path), "infos.pkl")


def test_databases_that_are_none(tmp_path):
    path = tmp_path / "db.pkl"
    entry = {"box3d_lidar": [0.0] * 9, "num_points_in_gt": 9, "path": "a.bin"}
    for content in (
        TORN,
        b"",
        pickle.dumps({"car": [{}]}),
        pickle.dumps({"car": [{**entry, "box3d_lidar": [0.0] * 7}]}),
        pickle.dumps({"car": [{**entry, "box3d_lidar": [float("nan")] * 9}]}),
        pickle.dumps([entry]),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"db\.pkl: expected a ground-truth database of tools"):
            load_database(path, 5)
    path.write_bytes(pickle.dumps({"car": [entry, {**entry, "num_points_in_gt": 1}], "bus": []}))
    ((name, (boxes, files)),) = load_database(path, 5).items()
    assert (name, boxes.shape, files.tolist()) == ("car", (1, 9), [b"a.bin"])


def test_missing_info_file(said, ready, tmp_path):
    replace(tmp_path / "data", "nuscenes_infos_train.pkl", None)
    assert "info file not found: " in said("train", ready / "c.py", "--work-dir", tmp_path / "w")


def test_checkpoints_that_cannot_be_used(said, ready, tmp_path):
    state = torch.load(ready / "w.pth")
    first = next(iter(state))
    state[first] = torch.full_like(state[first], torch.nan)
    torch.save(state, ready / "nan.pth")
    text = said("test", ready / "c.py", ready / "nan.pth", "--work-dir", tmp_path / "w")
    assert f"expected finite weights, got NaN or infinity in 1 of {len(state)} tensors" in text
    content = (ready / "w.pth").read_bytes()
    (ready / "cut.pth").write_bytes(content[: len(content) // 2])
    assert "cut.pth" in said(
        "test", ready / "c.py", ready / "cut.pth", "--work-dir", tmp_path / "w"
    )


def test_too_few_frames(said, ready, tmp_path, tiny_nuscenes):
    for split, kept in (("train", 0), ("val", 1)):
        infos = pickle.loads((tiny_nuscenes / f"nuscenes_infos_{split}.pkl").read_bytes())
        del infos["data_list"][kept:]
        replace(tmp_path / "data", f"nuscenes_infos_{split}.pkl", pickle.dumps(infos))
    text = said("train", ready / "c.py", "--work-dir", tmp_path / "w")
    assert text.endswith("nuscenes_infos_train.pkl: expected frames, got none")
    text = said("test", ready / "c.py", ready / "w.pth", "--work-dir", tmp_path / "w")
    assert "nuscenes_infos_val.pkl: expected the frames of the split mini_val, got others" in text


def test_bootstrap_finds_the_metric_among_several_evaluators(tool, tmp_path):
    test = tool("test")
    several = [dict(type="DumpResults"), dict(type="NuScenesDetectionMetric")]
    cfg = Config(dict(test_evaluator=several))
    test.set_bootstrap(cfg, 20)
    assert cfg.test_evaluator == [several[0], dict(several[1], bootstrap=20)]
    cfg = Config(dict(test_evaluator=dict(type="NuScenesDetectionMetric")))
    test.set_bootstrap(cfg, 20)
    assert cfg.test_evaluator.bootstrap == 20
    with pytest.raises(ValueError, match="--bootstrap: expected a NuScenesDetectionMetric in"):
        test.set_bootstrap(Config(dict(test_evaluator=several[:1])), 20)


def test_name_of_the_data_follows_the_info_file(tool, tmp_path):
    data_name = tool("test").data_name
    file = tmp_path / "infos.pkl"

    class Frames:
        ann_file = str(file)

    assert data_name(Frames()) is None
    assert data_name(object()) is None
    names = set()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        names.add(data_name(Frames()))
    assert len(names) == 2
    assert None not in names
