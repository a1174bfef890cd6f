"""Input nobody wishes for, through the whole chain: a usable result, or an error that explains."""

import copy
import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet3d")
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from same_outputs import assert_same_outputs, sample_of
from small_detector import (
    BOXES,
    LABELS,
    MODEL,
    RANGE_M,
    assert_sane,
    batch,
    build,
    cloud,
    losses,
    sample,
)

from padre3d.inference import detect
from padre3d.plugin import MODELS

OUT_OF_RANGE = torch.tensor([[RANGE_M + 1, 0, 0, 9, 0], [0, 0, 30, 9, 0.0]])
ONE_POINT = torch.tensor([[4.0, 3.0, -1.0, 9.0, 0.0]])
BAD_ROWS = torch.tensor(
    [
        [torch.nan, 0, 0, 9, 0],
        [1, torch.inf, 0, 9, 0],
        [1, 2, -torch.inf, 9, 0],
        [1, 2, -1, torch.nan, 0],
        [1, 2, -1, 9, torch.inf],
    ]
)
SCARCE = {
    "empty": torch.zeros(0, 5),
    "out of range": OUT_OF_RANGE,
    "one point": ONE_POINT,
    "nothing finite": BAD_ROWS,
}
every_scarce_cloud = pytest.mark.parametrize("points", SCARCE.values(), ids=SCARCE)


@pytest.fixture(scope="module")
def model():
    """The detector, in evaluation mode. Trained copies are the tests' own."""
    return build()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Config and checkpoint of the detector."""
    folder = tmp_path_factory.mktemp("model")
    Config(dict(model=MODEL)).dump(folder / "small.py")
    torch.save(model.state_dict(), folder / "small.pth")
    return folder / "small.py", folder / "small.pth"


@pytest.fixture
def infer(files, repo_root, tmp_path, monkeypatch):
    """tools/infer.py on a file, with the small detector; returns the boxes."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    from infer import main

    def run(path, *options, config=files[0], checkpoint=files[1]):
        out = tmp_path / "boxes.json"
        main([str(config), str(checkpoint), str(path), "--out", str(out), *options])
        return json.loads(out.read_text())["boxes"]

    return run


def trained_a_step(model, data):
    """Losses of a training step on a copy, checked for what would ruin a training."""
    trained = copy.deepcopy(model).train()
    optimizer = OptimWrapper(torch.optim.AdamW(trained.parameters(), lr=1e-3))
    log = {name: float(value) for name, value in trained.train_step(data, optimizer).items()}
    assert all(np.isfinite(value) for value in log.values()), log
    for key, value in trained.state_dict().items():
        assert torch.isfinite(value).all(), key
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters())]  # noqa: B905
    assert any(moved)
    return log


def found_in(model, data):
    with torch.no_grad():
        return [s.pred_instances_3d for s in model.test_step(data)]


def assert_same_boxes(detections, expected):
    """Each box has one of its class at its centre, but for two: a tie is decided by rounding."""
    values = [
        torch.cat([f.bboxes_3d.tensor[:, :6], f.scores_3d[:, None]], 1)
        for f in (detections, expected)
    ]
    distance = (values[0] - values[1][:, None]).abs().amax(2)
    distance = distance.masked_fill(
        detections.labels_3d != expected.labels_3d[:, None], float("inf")
    )
    assert abs(len(detections) - len(expected)) <= 2
    assert (distance.amin(1) < 1e-4).sum() >= len(expected) - 2 > 0


@every_scarce_cloud
def test_scarce_cloud_trains_and_tests(model, points):
    data = batch([points], [sample(BOXES[:0], LABELS[:0])])
    assert trained_a_step(model, data)["loss_bbox"] == 0
    # A cloud that shows nothing may still be annotated.
    assert trained_a_step(model, batch([points], [sample()]))["loss_bbox"] > 0
    (detections,) = found_in(model, data)
    assert_sane(detections, model)


@every_scarce_cloud
def test_scarce_file(infer, tmp_path, points):
    np.save(tmp_path / "cloud.npy", points.numpy())
    boxes = infer(tmp_path / "cloud.npy", "--time-lag", "--png", str(tmp_path / "view.png"))
    # One usable point may be a box, none is none.
    assert len(boxes) <= (points is ONE_POINT) * MODEL["head"]["num_proposals"]
    assert all(np.isfinite(box["center_m"]).all() for box in boxes)
    assert (tmp_path / "view.png").stat().st_size > 1000


@every_scarce_cloud
def test_scarce_cloud_anywhere_in_a_batch(model, points):
    full = cloud(1200, 1)
    (expected,) = found_in(model, batch([full]))
    with torch.no_grad():
        alone = model.forward_points([full])
    for at in range(3):
        clouds = [full, full]
        clouds.insert(at, points)
        detections = found_in(model, batch(clouds))
        assert_sane(detections.pop(at), model)
        for other in detections:
            assert_same_boxes(other, expected)
        with torch.no_grad():
            together = model.forward_points(clouds)
        for row in {0, 1, 2} - {at}:
            assert_same_outputs(sample_of(together, row), alone, model.head)
        samples = [sample(), sample()]
        samples.insert(at, sample(BOXES[:0], LABELS[:0]))
        log = trained_a_step(model, batch(clouds, samples))
        assert log["loss_bbox"] > 0


def test_rows_that_are_not_finite_change_nothing(model, infer, tmp_path):
    good = cloud(1200, 1)
    # After every 240 good rows a bad one.
    mixed = torch.cat([torch.cat([g, b[None]]) for g, b in zip(good.split(240), BAD_ROWS)])  # noqa: B905
    trained = copy.deepcopy(model).train()
    with torch.no_grad():
        expected, got = (losses(copy.deepcopy(trained), batch([p])) for p in (good, mixed))
    torch.testing.assert_close(got, expected)
    for one, other in zip(detect(model, good.numpy()), detect(model, mixed.numpy()), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    np.save(tmp_path / "good.npy", good.numpy())
    np.save(tmp_path / "mixed.npy", mixed.numpy())
    expected, got = (
        infer(tmp_path / f"{name}.npy", "--score-thr", "0") for name in ("good", "mixed")
    )
    assert len(expected) == len(got) > 0
    assert [b["name"] for b in got] == [b["name"] for b in expected]


@pytest.mark.parametrize("columns", [3, 4, 6])
def test_wrong_number_of_columns(model, columns):
    points = torch.rand(100, columns)
    message = rf"expected .*5.*got \(100, {columns}\)"
    with pytest.raises(ValueError, match=message):
        detect(model, points.numpy())
    with pytest.raises(ValueError, match=r"points\[1\].*" + message):
        losses(model, batch([cloud(100, 1), points]))
    with pytest.raises(ValueError, match=message):
        found_in(model, batch([points]))


def test_file_with_a_wrong_number_of_columns(infer, tmp_path):
    np.save(tmp_path / "six.npy", np.zeros((7, 6)))
    with pytest.raises(SystemExit, match=r"six\.npy: expected a \(P, 3 to 5\).*got shape \(7, 6\)"):
        infer(tmp_path / "six.npy")
    np.zeros((7, 4), np.float32).tofile(tmp_path / "four.bin")
    with pytest.raises(SystemExit, match=r"four\.bin: .*5 columns of float32.*got 112"):
        infer(tmp_path / "four.bin", "--columns", "5")


def test_truncated_bin(infer, tmp_path):
    path = tmp_path / "cut.pcd.bin"
    content = cloud(1000, 1).numpy().tobytes()
    path.write_bytes(content)
    infer(path)
    path.write_bytes(content[:-7])
    with pytest.raises(SystemExit, match=r"cut\.pcd\.bin: expected a multiple of 20 .*got 19993;"):
        infer(path)
    path.write_bytes(b"")
    with pytest.raises(SystemExit, match=r"cut\.pcd\.bin: expected points, got an empty file"):
        infer(path)


def test_million_and_a_half_points(model, infer, tmp_path):
    points = cloud(1_500_000, 1)
    points.numpy().tofile(tmp_path / "many.bin")
    detections = infer(tmp_path / "many.bin", "--columns", "5", "--score-thr", "0")
    assert 0 < len(detections) <= MODEL["head"]["num_proposals"]
    (again,) = found_in(model, batch([points]))
    assert_sane(again, model)
    assert len(again) == len(detections)
    trained_a_step(model, batch([points]))


def test_unknown_mixer(infer, tmp_path, files):
    cfg = copy.deepcopy(MODEL)
    cfg["backbone"]["mixer"] = dict(type="padree", degree=2)
    message = r"mixer type: expected one of \[.*'padre', .*'set_attention'.*\], got 'padree'"
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)
    Config(dict(model=cfg)).dump(tmp_path / "unknown.py")
    np.save(tmp_path / "cloud.npy", cloud(100, 1).numpy())
    with pytest.raises(SystemExit, match=message):
        infer(tmp_path / "cloud.npy", config=tmp_path / "unknown.py")


def test_checkpoint_of_another_config(infer, tmp_path):
    other = build(mixer=dict(type="set_attention", num_heads=2))
    torch.save(dict(state_dict=other.state_dict()), tmp_path / "other.pth")
    np.save(tmp_path / "cloud.npy", cloud(100, 1).numpy())
    with pytest.raises(SystemExit) as stopped:
        infer(tmp_path / "cloud.npy", checkpoint=tmp_path / "other.pth")
    said = str(stopped.value)
    assert "other.pth does not fit the model, it belongs to another config" in said
    assert "missing: backbone.blocks.0.layers.0.mixer." in said
    assert "unexpected: backbone.blocks.0.layers.0.mixer." in said


def test_wide_checkpoint_names_both_shapes(infer, tmp_path, model):
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["head.shared_conv.bias"] = torch.zeros(99)
    torch.save(state, tmp_path / "wide.pth")
    np.save(tmp_path / "cloud.npy", cloud(100, 1).numpy())
    with pytest.raises(SystemExit, match=r"shared_conv\.bias \(expected \(16,\), got \(99,\)\)"):
        infer(tmp_path / "cloud.npy", checkpoint=tmp_path / "wide.pth")
