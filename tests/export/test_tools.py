"""The command-line tools on an exported folder."""

import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import small_detector
import torch

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d.backends.tensorrt_profile import Profile  # noqa: E402
from padre3d.deploy import Runtime  # noqa: E402
from padre3d.export.evaluate import use_runtime  # noqa: E402
from padre3d.runtime.grid import Grid  # noqa: E402
from padre3d.runtime.pillar_counts import choose_profile, count_pillars, distribution  # noqa: E402


@pytest.fixture
def tools(monkeypatch, repo_root):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))


def test_infer_takes_an_exported_folder(exported_padre, tools, tmp_path, capsys):
    import infer

    cloud, folder = exported_padre.cloud, exported_padre.folder
    np.save(tmp_path / "cloud.npy", cloud)
    points, out = str(tmp_path / "cloud.npy"), str(tmp_path / "boxes.json")
    arguments = ["config.py", str(folder), points, "--out", out, "--score-thr", "0.05"]
    infer.main([*arguments, "--time-lag"])
    boxes = json.loads((tmp_path / "boxes.json").read_text())["boxes"]
    expected = Runtime(folder)(cloud)
    kept = expected.scores >= 0.05
    assert len(boxes) == kept.sum() > 0
    np.testing.assert_allclose([b["center_m"] for b in boxes], expected.boxes[kept, :3], atol=1e-4)
    with pytest.raises(SystemExit, match="error: backend: expected one of"):
        infer.main([*arguments, "--backend", "none"])


def test_evaluation_reads_the_runtime(exported_padre):
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder
    runtime = Runtime(folder)

    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = torch.nn.Linear(1, 1)
            self.module.class_names = detector.class_names

    wrapper = Wrapper()
    use_runtime(wrapper, runtime)
    (detections,) = wrapper.module.predict_points([torch.from_numpy(cloud)])
    expected = runtime(cloud)
    np.testing.assert_allclose(detections.boxes.numpy(), expected.boxes, rtol=1e-6)
    np.testing.assert_array_equal(detections.labels.numpy(), expected.labels)
    wrapper.module.class_names = ("car",)
    with pytest.raises(ValueError, match=r"expected the config's classes \('car',\)"):
        use_runtime(wrapper, runtime)


def test_profiles(exported_padre, tools, capsys):
    import build_engine

    grid = Grid(**small_detector.MODEL["grid"])
    points = np.array(
        [
            [0.1, 0.1, 0, 0, 0],
            [0.2, 0.3, 1, 0, 0],
            [0.7, 0.1, 0, 0, 0],
            [99, 0, 0, 0, 0],
            [np.nan] * 5,
        ],
        np.float32,
    )
    assert count_pillars(points, grid) == 2
    counts = [900, 1000, 1100, 4100]
    assert choose_profile(counts) == Profile(1, 1050, 6000)
    assert distribution(counts)["p50"] == 1050
    with pytest.raises(ValueError, match="at least one frame to measure"):
        choose_profile([])
    with pytest.raises(ValueError, match=r"expected 0 < min <= opt <= max pillars, got 5, 4, 9"):
        Profile(5, 4, 9)
    build_engine.main([str(exported_padre.folder), "--dry-run", "--max", "30000", "--min", "2"])
    line = capsys.readouterr().out.replace("\n", " ")
    assert line.startswith("trtexec --onnx=")
    assert (
        "--minShapes=features:2x16,index:4x1x2,slot:4x2,window_index:2x2,cell_to_pillar:1x36x36"
        in line
    )
    assert "--maxShapes=features:30000x16,index:4x1x30000" in line
    with pytest.raises(SystemExit, match="error: --shapes-from: expected --config"):
        build_engine.main([str(exported_padre.folder), "--shapes-from", "nothing.pkl"])


def test_sets_of_a_profile_reach_down_to_one(exported_attention, tools, capsys):
    """A frame below the minimum is padded with pillars, and those of the padding are in no set."""
    import build_engine

    folder = exported_attention.folder
    build_engine.main([str(folder), "--dry-run", "--min", "2000", "--opt", "2000"])
    line = capsys.readouterr().out.replace("\n", " ")
    least = dict(w.split(":") for w in line.split("--minShapes=")[1].split()[0].split(","))
    assert least["features"].startswith("2000x")
    with Runtime(folder) as runtime:
        few = runtime.encode(exported_attention.cloud[:5])
        inputs = runtime.inputs(*few, min_pillars=2000)
    assert {"features", "index"} < least.keys() <= inputs.keys()
    for name, shape in least.items():
        wanted = [int(n) for n in shape.split("x")]
        assert all(s >= low for s, low in zip(inputs[name].shape, wanted, strict=True)), name


def test_export_prints_the_folder_as_it_is_and_what_is_lost(tools, tmp_path, capsys, monkeypatch):
    import export

    made = {"layer_errors": [], "parity": {"max_abs_err": 0.25, "lost": 2}}
    monkeypatch.setattr(export, "read_clouds", lambda *_: {"a": torch.zeros(1, 5)})
    for name, value in (("init_model", None), ("read_config", {}), ("trained_sweeps", {})):
        monkeypatch.setattr(export, name, lambda *_, value=value: value)
    monkeypatch.setattr(export, "export_detector", lambda *_: (made, []))
    out = tmp_path / "[bold]"
    export.main(["c.py", "w.pth", "--out", str(out), "--precision", "fp16"])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"{out}: largest difference 2.50e-01, lost proposals: 2"


def test_command_line_of_a_model_of_fixed_size_has_no_shapes(tmp_path):
    """trtexec refuses shapes for a model without a free axis."""
    from padre3d.backends.tensorrt import command_line

    onnx = pytest.importorskip("onnx")
    for axis, given in ((8, False), ("pillars", True)):
        ends = [onnx.helper.make_tensor_value_info(name, 1, [axis, 4]) for name in "xy"]
        node = onnx.helper.make_node("Abs", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
        onnx.save(onnx.helper.make_model(graph), str(tmp_path / "m.onnx"))
        line = command_line(
            "tensorrt", tmp_path / "m.onnx", tmp_path / "m.engine", Profile(8, 8, 8)
        )
        assert ("Shapes=" in line) == given


@pytest.mark.parametrize(
    ("option", "got"), [("--min", "0, 20000, 60000"), ("--opt", "1, 0, 60000"), ("--max", "1, 2")]
)
def test_a_profile_of_no_pillars_is_refused(tools, option, got):
    """A zero that is given is no default."""
    import build_engine

    args = build_engine.parse_args(["DIR", option, "0"])
    with pytest.raises(ValueError, match=f"expected 0 < min <= opt <= max pillars, got {got}"):
        build_engine.profile_of(args, None, None)


@pytest.mark.parametrize("axis", [8, "pillars"])
def test_command_line_is_one_for_a_shell(tools, tmp_path, axis, capsys, monkeypatch):
    """Blanks and brackets of a folder's name stay what they are, on the way to the screen too."""
    import build_engine

    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "my models [bold] $HOME"
    folder.mkdir()
    ends = [onnx.helper.make_tensor_value_info(name, 1, [axis, 4]) for name in "xy"]
    node = onnx.helper.make_node("Abs", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph), str(folder / "m.onnx"))
    pillars = axis if axis == 8 else None
    model = SimpleNamespace(pillars=pillars, parts=[SimpleNamespace(file="m.onnx")])
    manifest = SimpleNamespace(models=[model], set_size=None, grid=None)
    monkeypatch.setattr(build_engine, "read_manifest", lambda _: manifest)
    build_engine.main([str(folder), "--dry-run"])
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == [
        *("trtexec", f"--onnx={folder / 'm.onnx'}", f"--saveEngine={folder / 'm.engine'}")
    ]
    assert words[3:] == ["--stronglyTyped"] + [
        f"--{name}=x:{count}x4"
        for name, count in (("minShapes", 1), ("optShapes", 20000), ("maxShapes", 60000))
        if pillars is None
    ]


def test_shapes_from_a_data_set(exported_padre, tools, tiny_nuscenes, repo_root, capsys):
    import build_engine

    infos = tiny_nuscenes / "nuscenes_infos_val.pkl"
    config = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    arguments = [str(exported_padre.folder), "--dry-run", "--config", config, "--shapes-from"]
    build_engine.main([*arguments, str(infos)])
    line = capsys.readouterr().out
    assert "pillars of 5 frames" in line
    opt = int(line.split("--optShapes=features:")[1].split("x")[0])
    # The sweeps of the tiny data set are on the same ground: no more pillars than points of one.
    assert 30 < opt <= 327
    with pytest.raises(SystemExit, match="expected an info file of tools/create_data.py"):
        build_engine.main([*arguments, "missing.pkl"])
