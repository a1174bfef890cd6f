"""The command line on a prepared data set of a few kilobytes."""

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("mmdet3d")
pytest.importorskip("nuscenes")

import probe
from mmengine.config import Config
from probe_frames import settings
from tiny_nuscenes import write_tiny_nuscenes

from padre3d.probe import training as training_module
from padre3d.probe.frames import probe_frames, scenes_of
from padre3d.probe.training import Training
from padre3d.structures.classes import NUSCENES_CLASSES

SMALL = [
    "--cfg-options",
    "grid.cell_m=(1.35,1.35)",
    "pillar_encoder.filters=(16,)",
    "backbone.dim=16",
    "backbone.ffn_dim=16",
    "backbone.num_blocks=1",
    "val_scenes=1",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Scenes of four and of five frames; one car has no known velocity."""
    from padre3d.data.prepare import prepare_nuscenes

    root = write_tiny_nuscenes(tmp_path_factory.mktemp("probe") / "nuscenes")
    prepare_nuscenes(root, "v1.0-mini")
    path = root / "nuscenes_infos_val.pkl"
    infos = pickle.loads(path.read_bytes())
    infos["data_list"][1]["instances"][0]["velocity"] = [float("nan")] * 2
    path.write_bytes(pickle.dumps(infos))
    return root


@pytest.fixture
def arguments(root, repo_root, tmp_path):
    def make(*more, out="out", steps=6):
        return [
            str(repo_root / "configs/probe_synthetic.py"),
            f"--out={tmp_path / out}",
            f"--data-root={root}",
            f"--cache-dir={tmp_path / 'cache'}",
            f"--steps={steps}",
            "--threads=1",
            *SMALL,
            *more,
        ]

    return make


def metrics_of(tmp_path, out="out"):
    return json.loads((tmp_path / out / probe.METRICS).read_text())


def test_metrics_of_a_run_and_of_a_killed_one(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training_module, "CHECKPOINT_EVERY", 2)
    assert probe.main(arguments()) == 0
    found = metrics_of(tmp_path)
    assert (found["frames"], found["train_frames"]) == (5, 4)
    assert 0 <= found["mean_iou"] <= 100
    assert set(found["by_class"]) | set(found["absent_classes"]) == set(NUSCENES_CLASSES)
    assert {"bus", "trailer"} <= set(found["absent_classes"])
    assert found["nonfinite_share"] == 0
    assert found["parameters"] > found["mixer_parameters"] > 0
    assert found["macs"] > found["mixer_macs"] > 0
    assert "not in the validation frames" in capsys.readouterr().out

    real = Training.one_step

    def die(self):
        if self.step == 5:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(Training, "one_step", die)
    with pytest.raises(SystemExit, match="130"):
        probe.main(arguments(out="killed"))
    monkeypatch.setattr(Training, "one_step", real)
    assert probe.main(arguments(out="killed")) == 0
    assert "going on after step 4" in capsys.readouterr().out
    again = metrics_of(tmp_path, "killed")
    timing = ("seconds", "ms_per_step")
    texts = [json.dumps({k: v for k, v in m.items() if k not in timing}) for m in (found, again)]
    assert texts[0] == texts[1]
    assert probe.main(arguments("--seed=1", out="killed")) == 0
    assert "going on" not in capsys.readouterr().out
    assert metrics_of(tmp_path, "killed")["train_loss"] != found["train_loss"]


def test_mixer_and_backbone_replace(arguments):
    args = probe.parse_args(
        arguments('--mixer={"type": "set_attention"}', '--backbone={"orders": ["hilbert"]}')
    )
    cfg = probe.configure(args)
    assert dict(cfg.backbone.mixer) == {"type": "set_attention"}
    assert cfg.backbone.orders == ["hilbert"]
    assert cfg.backbone.dim == 16
    assert cfg.steps == 6
    assert cfg.backbone.mixer.get("kernel_size") is None


@pytest.mark.parametrize(
    ("option", "name"), [("stepps=3", "steps"), ("train_dataloader.batch_size=9", "train_dataset")]
)
def test_an_override_that_nothing_reads_is_refused(arguments, option, name):
    key = option.split("=")[0]
    with pytest.raises(ValueError, match=f"{key}: expected a key .*did you mean {name}"):
        probe.configure(probe.parse_args(arguments(option)))


def test_the_config_of_a_detector_is_refused(repo_root, tmp_path):
    config = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    args = probe.parse_args([config, f"--out={tmp_path}", '--mixer={"type": "set_attention"}'])
    with pytest.raises(ValueError, match="probe config: expected .*'grid' is missing"):
        probe.configure(args)


@pytest.mark.parametrize("name", ["probe_synthetic", "probe_nuscenes"])
def test_configs(repo_root, name):
    cfg = Config.fromfile(repo_root / f"configs/{name}.py")
    made = training_module.ProbeSettings.from_config(cfg)
    assert made.class_names == NUSCENES_CLASSES
    expected = {"probe_synthetic": (0.675, 64, 4), "probe_nuscenes": (0.3, 128, 8)}[name]
    backbone = made.backbone
    assert (made.grid["cell_m"][0], backbone["dim"], 2 * backbone["num_blocks"]) == expected
    assert made.pillar_encoder["filters"][-1] == backbone["dim"]


def test_frames_of_a_data_set(root, repo_root):
    plain = Config.fromfile(repo_root / "configs/probe_synthetic.py").to_dict()
    plain["val_scenes"] = 1
    train, val = probe_frames(plain, str(root))
    assert (len(train), len(val)) == (4, 5)
    frames = list(val)
    # Animals are of no class, and all boxes hold points.
    assert sorted(frames[0].labels.tolist()) == [0, 1, 7, 8, 9]
    unknown = [np.isnan(frame.boxes[:, 7]).sum() for frame in frames]
    assert unknown == [0, 1, 0, 0, 0]
    car = frames[0].boxes[frames[0].labels == 0][0]
    assert np.hypot(car[7], car[8]) == pytest.approx(5.0, abs=0.05)
    assert car[3:6].tolist() == pytest.approx([4.6, 1.9, 1.7])
    # Points of the car lie around its gravity centre.
    x, y, z = (frames[0].points[:, :3] - car[:3]).T
    near = (np.hypot(x, y) < 1.5) & (np.abs(z) < 0.84)
    assert near.sum() >= 20
    assert abs(z[near].mean()) < 0.3


def test_key_follows_settings_and_annotations(root, repo_root, tmp_path):
    plain = Config.fromfile(repo_root / "configs/probe_synthetic.py").to_dict()
    plain["val_scenes"] = 1

    def keys(**changes):
        return [frames.key() for frames in probe_frames({**plain, **changes}, str(root))]

    first = keys()
    assert first == keys()
    assert first[0] != first[1]
    assert keys(train_frames=2)[0] != first[0]
    assert keys(train_frames=2)[1] == first[1]
    sweeps = [dict(type="LoadSweeps", num_sweeps=1), *plain["test_pipeline"][1:]]
    assert set(keys(test_pipeline=sweeps)).isdisjoint(first)


def test_scenes(root, repo_root):
    assert scenes_of([0.0, 0.5, 1.0, 90.0, 90.5, 20.0]) == [[0, 1, 2], [3, 4], [5]]
    plain = Config.fromfile(repo_root / "configs/probe_synthetic.py").to_dict()
    with pytest.raises(ValueError, match="fewer than the 2 scenes"):
        probe_frames({**plain, "val_scenes": 2}, str(root))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="amp"):
        settings(amp="fp8")
    with pytest.raises(ValueError, match="steps"):
        settings(steps=0)
    with pytest.raises(ValueError, match="'grid' is missing"):
        training_module.ProbeSettings.from_config(Config({}))
