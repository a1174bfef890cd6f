"""The program from a folder and a cloud to boxes: those of padre3d.deploy.Runtime in OpenVINO."""

import json
import os
import re
import shutil
import threading

import numpy as np
import pytest

from padre3d.deploy import BackendError, Runtime
from padre3d.io import drop_unusable, load_points
from padre3d.io.boxes_json import boxes_to_json
from padre3d.models import model_folder, model_names, sample_cloud
from padre3d.runtime.sweep_buffer import SweepBuffer

pytest.importorskip("openvino")

SCORE_THR = 0.02
DIGITS = 1e-4  # of numbers in the JSON: each is rounded to half of it
CENTRE_M, SCORE = 1e-3, 1e-4


def close(box, other):
    """Whether two boxes are one."""
    numbers = ("center_m", "size_lwh_m", "velocity_mps")
    turn = box["yaw_rad"] - other["yaw_rad"]
    return (
        box["name"] == other["name"]
        and abs(box["score"] - other["score"]) <= SCORE + DIGITS
        and all(np.allclose(box[n], other[n], rtol=1e-4, atol=CENTRE_M) for n in numbers)
        and abs((turn + np.pi) % (2 * np.pi) - np.pi) < 1e-3
    )


def assert_same_boxes(found, expected):
    """The same boxes; those of nearly equal score may have changed places."""
    assert abs(len(found) - len(expected)) <= sum(
        abs(box["score"] - SCORE_THR) <= SCORE + DIGITS for box in expected + found
    )
    for these, those in ((found, expected), (expected, found)):
        rest = [box for box in these if box["score"] > SCORE_THR + SCORE + DIGITS]
        assert [box for box in rest if not any(close(box, other) for other in those)] == []


def assert_mostly_same_boxes(found, expected):
    """With few bits, other last digits of the features are other numbers here and there."""
    near = [
        any(
            box["name"] == other["name"]
            and np.allclose(box["center_m"], other["center_m"], rtol=0, atol=0.2)
            and abs(box["score"] - other["score"]) < 0.03
            for other in expected
        )
        for box in found
    ]
    assert sum(near) > 0.9 * len(found)
    assert len(found) == pytest.approx(len(expected), rel=0.1)


def expected_boxes(folder, points, backend="openvino"):
    """What Python finds, in the form of the JSON file."""
    with Runtime(folder, backend, threads=2) as runtime:
        found = runtime(drop_unusable(points)[0])
        kept = found.select(found.scores >= SCORE_THR)
        return boxes_to_json(kept, runtime.class_names), runtime.last


def detect(cpp, folder, *words):
    """The JSON text that the program prints, and what it says beside it."""
    done = cpp.detect(folder, *words, "--score-thr", SCORE_THR)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("name", model_names())
def test_packaged_models(with_openvino, name):
    """Sequences, sets and the grid, in 16 bit, on the packaged cloud; the file is written alike."""
    path = sample_cloud()[0]
    expected, last = expected_boxes(model_folder(name), load_points(path))
    text, said = detect(with_openvino, model_folder(name), path)
    assert_same_boxes(json.loads(text)["boxes"], expected["boxes"])
    assert len(expected["boxes"]) > 15
    assert f"{last.pillars} pillars, " in said
    form = re.compile(r"-?\d+\.\d+")
    records = text.split('"name"'), json.dumps(expected, indent=1).split('"name"')
    shapes = [{re.sub(r"[a-z_]+", "x", form.sub("0", r)) for r in some[1:-1]} for some in records]
    assert shapes[0] == shapes[1]


def test_bfloat16(with_openvino):
    """The backend of that name, or why there is none."""
    folder, path = model_folder("padre2_grid_synthetic"), sample_cloud()[0]
    done = with_openvino.detect(
        folder, path, "--backend", "openvino-bf16", "--score-thr", SCORE_THR
    )
    try:
        expected, _ = expected_boxes(folder, load_points(path), "openvino-bf16")
    except BackendError:
        pytest.skip(done.stderr.splitlines()[-1])
    assert_mostly_same_boxes(json.loads(done.stdout)["boxes"], expected["boxes"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8-trt", "int8-cpu"])
def test_precisions(with_openvino, tmp_path, precision):
    """Files of fewer bits take and give numbers of 32."""
    pytest.importorskip("onnxscript")
    import small_detector

    from padre3d.export.export import ExportConfig, export_detector

    detector, clouds = small_detector.build(), [small_detector.cloud(1500, s) for s in (0, 1)]
    config = ExportConfig(precision, tolerance=1.0)
    frames = () if precision == "fp16" else clouds
    export_detector(detector, {"frame": clouds[0]}, tmp_path / "out", config, frames)
    np.save(tmp_path / "cloud.npy", clouds[0].numpy())
    expected, _ = expected_boxes(tmp_path / "out", clouds[0].numpy())
    text, _ = detect(with_openvino, tmp_path / "out", tmp_path / "cloud.npy", "--time-lag")
    assert_mostly_same_boxes(json.loads(text)["boxes"], expected["boxes"])
    assert len(expected["boxes"]) > 5


@pytest.mark.parametrize("frame", ["*_10sweeps_float16.bin", "*LIDAR_TOP*.pcd.bin"])
def test_real_frames(with_openvino, real_dir, frame):
    """Time lags in one, ring indices in the other; most points lie out of this model's range."""
    (path,) = real_dir.glob(frame)
    folder = model_folder("padre2_full_synthetic")
    expected, last = expected_boxes(folder, load_points(path))
    text, said = detect(with_openvino, folder, path)
    assert_same_boxes(json.loads(text)["boxes"], expected["boxes"])
    assert len(expected["boxes"]) > 5
    assert f"{last.pillars} pillars, " in said


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("masked_parts", marks=pytest.mark.slow),
        "exported_attention",
        "exported_grid_with_blocks",
    ],
)
def test_exports(with_openvino, request, tmp_path, kind):
    """Two files in a row with a mask; sets; the grid: fp32 of the small detector."""
    made = request.getfixturevalue(kind)
    np.save(tmp_path / "cloud.npy", made.cloud)
    expected, _ = expected_boxes(made.folder, made.cloud)
    text, _ = detect(with_openvino, made.folder, tmp_path / "cloud.npy", "--time-lag")
    assert_same_boxes(json.loads(text)["boxes"], expected["boxes"])
    assert len(expected["boxes"]) > 5


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    """The same graph, which needs no mask, as one for 300 and one for 900 pillars."""
    source = model_folder("padre2_grid_synthetic")
    folder = shutil.copytree(source, tmp_path_factory.mktemp("buckets") / "out")
    shutil.copy(folder / "model.onnx", folder / "small.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    (large,) = manifest["models"]
    small = {**large, "parts": [{**large["parts"][0], "file": "small.onnx"}]}
    manifest["models"] = [{**large, "pillars": 900}, {**small, "pillars": 300}]
    manifest["sha256"]["small.onnx"] = manifest["sha256"]["model.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("thinned", "size", "dropped"), [(1000, 300, False), (100, 900, False), (1, 900, True)]
)
def test_fixed_numbers_of_pillars(with_openvino, buckets, tmp_path, thinned, size, dropped):
    """The smallest graph that fits; the farthest pillars are dropped, and that is said."""
    cloud = load_points(sample_cloud()[0])[::thinned]
    np.save(tmp_path / "cloud.npy", cloud)
    expected, last = expected_boxes(buckets, cloud)
    assert (last.size, last.dropped > 0) == (size, dropped)
    text, said = detect(with_openvino, buckets, tmp_path / "cloud.npy", "--time-lag")
    assert_same_boxes(json.loads(text)["boxes"], expected["boxes"])
    told = re.findall(r"the (\d+) farthest were dropped", said)
    assert [int(number) for number in told] == [last.dropped] * dropped


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("told", [(3, 1), ()])
def test_sweeps_with_poses(with_openvino, tmp_path, named, told):
    """Several clouds become one in the axes of the latest, as the sweep buffer makes it.

    Rows belong to the clouds in order, which is not that of time, or to those that they name; how
    many sweeps are taken says the command line, or else the model's card.
    """
    rng = np.random.default_rng(0)
    whole = load_points(sample_cloud()[0])
    lags = np.unique(whole[:, 4])
    folder = model_folder("padre2_full_synthetic")
    card = json.loads((folder / "info.json").read_text())
    assert (card["num_sweeps"], card["stride"]) == (3, 4)
    count, stride = told or (3, 4)
    buffer, lines, paths = SweepBuffer(count, stride=stride), [], []
    for i in range(5):
        points = whole[whole[:, 4] == lags[i % len(lags)]][:, :4]
        pose = [*rng.normal(size=3), 1, 0, 0, 0.02 * i]
        buffer.push(points, 5 + 0.1 * i, pose)
        x, y, *rest = pose
        stamp_ns = int(5e9 + 1e8 * i) + 10**18
        # By name 10.npy comes before 8.npy.
        paths.append(tmp_path / f"{8 + i}.npy")
        # With or without the suffix; what stands before the folder may be left out.
        name = f"{tmp_path.name}/{paths[-1].stem if i % 2 else paths[-1].name}" if named else "a"
        lines.append(",".join(map(str, (y, x, *rest, stamp_ns, name))))
        np.save(paths[-1], points)
    header = f"y,x,z,qw,qx,qy,qz,stamp,{'file' if named else 'note'}"
    order = (2, 0, 4, 1, 3)
    rows = [lines[i] for i in order]
    (tmp_path / "poses.csv").write_text("\n".join([header, *rows]) + "\n")
    expected, _ = expected_boxes(folder, buffer.cloud())
    given = sorted(paths) if named else [paths[i] for i in order]
    sweeps = ("--sweeps", count, "--stride", stride) if told else ()
    words = (*given, "--poses", tmp_path / "poses.csv", *sweeps, "--out", tmp_path / "o.json")
    text, _ = detect(with_openvino, folder, *words)
    assert text == ""
    found = json.loads((tmp_path / "o.json").read_text())["boxes"]
    assert_same_boxes(found, expected["boxes"])
    assert len(found) > 10


def test_rows_that_name_other_clouds_are_refused(with_openvino, tmp_path):
    table = tmp_path / "poses.csv"
    one, other = tmp_path / "yard/a.npy", tmp_path / "street/a.npy"
    for names, clouds, message in (
        (["b.npy"], [one], "expected a row for"),
        (["street/a.npy"], [one], "expected a row for"),
        (['""'], [one], "expected the name of a cloud in row 1"),
        (["a.npy", "yard/a"], [one], "expected one row for"),
        (["a.npy"], [one, other], "expected a row for each cloud, got one for"),
    ):
        rows = [f"{stamp},0,0,0,1,0,0,0,{name}" for stamp, name in enumerate(names)]
        table.write_text("\n".join(["stamp,x,y,z,qw,qx,qy,qz,file", *rows]) + "\n")
        words = (model_folder(), *clouds, "--poses", table)
        assert message in refused(with_openvino, *words)


def test_output_may_be_a_pipe_or_a_link(with_openvino, tmp_path):
    stored, link, pipe = tmp_path / "stored.json", tmp_path / "link.json", tmp_path / "pipe"
    stored.write_text("old")
    link.symlink_to(stored)
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    words = (model_folder(), sample_cloud()[0], "--time-lag", "--out")
    for out in (link, pipe):
        detect(with_openvino, *words, out)
    reader.join(60)
    assert link.is_symlink()
    assert pipe.is_fifo()
    assert len(json.loads(stored.read_text())["boxes"]) > 15
    assert read == [stored.read_text()]


def test_a_cloud_that_shows_nothing(with_openvino, tmp_path):
    cloud = np.array([[99, 0, 0, 9, 0], [0, 0, 50, 9, 0], [np.nan] * 5], np.float32)
    np.save(tmp_path / "far.npy", cloud)
    text, said = detect(with_openvino, model_folder(), tmp_path / "far.npy")
    assert text == '{\n "boxes": []\n}\n'
    assert json.dumps({"boxes": []}, indent=1) + "\n" == text
    assert "3 points (dropped: 1 with NaN or infinity, 0 with absurd numbers, 0 at" in said
    assert "0 pillars, 0 boxes" in said


def test_times(with_openvino, tmp_path):
    """Every run leaves the milliseconds of its stages."""
    words = (sample_cloud()[0], "--repeat", 3, "--threads", 1, "--times", tmp_path / "times.json")
    detect(with_openvino, model_folder(), *words)
    runs = json.loads((tmp_path / "times.json").read_text())["runs"]
    assert [set(run) for run in runs] == [{"encoder", "inputs", "graph", "decode", "processor"}] * 3
    assert all(value > 0 for run in runs for value in run.values())


def refused(cpp, *words):
    """The one line on stderr."""
    done = cpp.detect(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


WORDS = [
    ((), "expected an exported folder and a cloud"),
    (("DIR",), "expected an exported folder and a cloud"),
    (("DIR", "a", "b"), "expected one cloud, or --poses to join several, got 2"),
    (("DIR", "a", "--bogus"), "'--bogus': expected an option of --help"),
    (("DIR", "a", "--out"), "--out: expected a value, got none"),
    (("DIR", "a", "--score-thr", "2"), "--score-thr: expected a number from 0 to 1, got '2'"),
    (("DIR", "a", "--score-thr", "nan"), "--score-thr: expected a number"),
    (("DIR", "a", "--threads", "-1"), "--threads: expected a number from 1 to 1024, got '-1'"),
    (("DIR", "a", "--sweeps", "3"), "--sweeps: expected --poses"),
    (("nowhere", "a"), "found no manifest.json in it"),
    (("DIR", "gone.bin"), "gone.bin: expected a point file, got none"),
    (("DIR", "CLOUD", "--backend", "tpu"), "expected one of openvino, openvino-bf16, got 'tpu'"),
    (("DIR", "CLOUD", "--columns", "4"), "expected 4 columns, got values that read as 5"),
    (("DIR", "CLOUD", "--dtype", "int8"), "--dtype: expected one of float32, float16, float64"),
    (("DIR", "CLOUD", "--out", "/proc/none/a.json"), "expected a file that can be written"),
    (("DIR", "CLOUD", "--poses", "gone.csv"), "gone.csv: expected a table of poses"),
]


@pytest.mark.parametrize(("words", "message"), WORDS)
def test_refusals(with_openvino, words, message):
    known = {"DIR": model_folder(), "CLOUD": sample_cloud()[0]}
    done = with_openvino.detect(*(known.get(word, word) for word in words))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_damaged_folders(with_openvino, tmp_path):
    """Every file of a folder, missing and damaged: one line, status 1."""
    cloud = sample_cloud()[0]
    for name in ("manifest.json", "model.onnx", "tables.npz"):
        folder = shutil.copytree(model_folder(), tmp_path / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
        assert str(folder / name) in refused(with_openvino, folder, cloud)
        (folder / name).unlink()
        assert str(folder) in refused(with_openvino, folder, cloud)


def test_a_graph_that_does_not_load(with_openvino, tmp_path):
    """Right checksums around something that is no model, and a model with other inputs."""
    onnx = pytest.importorskip("onnx")
    from padre3d.runtime.folder import sha256

    folder = shutil.copytree(model_folder(), tmp_path / "copy")
    model = onnx.load(str(folder / "model.onnx"))
    for value in model.graph.input:
        value.name = f"other_{value.name}"
    for node in model.graph.node:
        taken = {v.name.removeprefix("other_"): v.name for v in model.graph.input}
        node.input[:] = [taken.get(name, name) for name in node.input]
    contents = {"expected an ONNX model that loads": b"\x08\x07"}
    contents["expected a model with the inputs"] = model.SerializeToString()
    manifest = json.loads((folder / "manifest.json").read_text())
    for message, content in contents.items():
        (folder / "model.onnx").write_bytes(content)
        manifest["sha256"]["model.onnx"] = sha256(folder / "model.onnx")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        done = with_openvino.detect(folder, sample_cloud()[0])
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]


def test_help(cpp):
    done = cpp.detect("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: padre3d_detect DIR CLOUD")
