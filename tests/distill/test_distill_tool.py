"""The command line on the tiny data set: from a teacher's checkpoint to the student's boxes."""

import json

import distill
import numpy as np
import pytest
import torch
from mmengine.config import Config
from small_detector import MIXERS, MODEL, build, cloud

from padre3d.distill.detector import DistilledDetector
from padre3d.inference import detect, init_model
from padre3d.training.checkpoint import load_checkpoint_file

QUICK = ["--frames=2", "--unseen-frames=1", "--layer-steps=3", "--stack-steps=2", "--threads=1"]
EPOCHS = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory, repo_root, tiny_nuscenes):
    """Configs and weights of a teacher with attention and of students."""
    folder = tmp_path_factory.mktemp("distill")
    base = Config.fromfile(repo_root / "configs/dsvt_padre2_synthetic.py")
    base.train_cfg.max_epochs = EPOCHS
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        base[name].update(num_workers=0, persistent_workers=False)
        base[name].dataset.data_root = str(tiny_nuscenes)
    for step in base.train_dataloader.dataset.pipeline + base.test_dataloader.dataset.pipeline:
        if "point_cloud_range" in step:
            step["point_cloud_range"] = list(MODEL["grid"]["range_m"])
    for name, mixer in (("teacher", "attention"), ("student", "padre"), ("grid", "grid")):
        base.model = {**MODEL, "backbone": {**MODEL["backbone"], **MIXERS[mixer]}}
        base.dump(folder / f"{name}.py")
    torch.save(build(7, **MIXERS["attention"]).state_dict(), folder / "teacher.pth")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def arguments(files, out, *more, student="student"):
    return [
        *(str(files / "teacher.py"), str(files / "teacher.pth"), str(files / f"{student}.py")),
        *(f"--out={out}", *QUICK, *more),
    ]


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The folder of a distillation that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert distill.main(arguments(files, out, f"--finetune-epochs={EPOCHS}")) == 0
    return out


def test_the_result_is_a_checkpoint_of_the_student(files, whole):
    model = init_model(files / "student.py", whole / "student.pth")
    found = detect(model, cloud(1500, 5).numpy())
    assert np.isfinite(found.boxes).all()
    fitted = load_checkpoint_file(whole / "fitted.pth")["state_dict"]
    tuned = model.state_dict()
    assert fitted.keys() == tuned.keys()
    assert not torch.equal(fitted["head.shared_conv.weight"], tuned["head.shared_conv.weight"])
    teacher = load_checkpoint_file(files / "teacher.pth")
    assert torch.equal(fitted["head.shared_conv.weight"], teacher["head.shared_conv.weight"])
    (last,) = whole.glob(f"finetune-*/epoch_{EPOCHS}.pth")
    assert load_checkpoint_file(last)["state_dict"].keys() == tuned.keys()


@pytest.mark.parametrize("name", ["student.pth", "fitted.pth"])
def test_the_checkpoints_name_their_classes(files, whole, name):
    found = load_checkpoint_file(whole / name)["meta"]["dataset_meta"]["classes"]
    assert found == init_model(files / "student.py", whole / name).class_names


def test_the_errors_are_stored(whole):
    report = json.loads((whole / "errors.json").read_text())
    phases = ["start", "closed form", "steps", "closed form again", "stack"]
    assert list(report["errors"]) == phases
    assert all(len(of["layers"]) == 4 for of in report["errors"].values())
    assert all(len(of["blocks"]) == 2 for of in report["errors"].values())
    assert (report["frames"], report["unseen_frames"]) == (2, 1)
    assert report["weights"]["copied"] > report["weights"]["mixers"] > 0
    assert report["own"] == report["left"] == []


def test_a_finished_distillation_is_not_done_again(files, whole, capsys, monkeypatch):
    def never(*_, **__):
        pytest.fail("trained again")

    monkeypatch.setattr(DistilledDetector, "loss", never)
    distill.main(arguments(files, whole, f"--finetune-epochs={EPOCHS}"))
    printed = capsys.readouterr().out
    assert "going on after start, closed form, steps, closed form again, stack" in printed
    assert "layer 0: SetAttention -> PADRe" in printed
    assert printed.endswith(f"{whole / 'student.pth'}\n")


@pytest.mark.slow
def test_a_distillation_killed_while_fine_tuning(files, whole, tmp_path, capsys, monkeypatch):
    real, calls = DistilledDetector.loss, []

    def die(self, *given):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(DistilledDetector, "loss", die)
    command = arguments(files, tmp_path / "out", f"--finetune-epochs={EPOCHS}")
    with pytest.raises(SystemExit, match="130"):
        distill.main(command)
    assert not (tmp_path / "out/student.pth").exists()
    monkeypatch.setattr(DistilledDetector, "loss", real)
    capsys.readouterr()
    distill.main(command)
    printed = capsys.readouterr().out
    assert "Epoch(train) [1]" not in printed.replace("  ", " ")
    found, expected = (
        load_checkpoint_file(folder / "student.pth")["state_dict"]
        for folder in (tmp_path / "out", whole)
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_another_fit_starts_a_fine_tuning_of_its_own(files, whole, tmp_path, monkeypatch):
    folders = []

    def note(config, work_dir, epochs):
        folders.append(work_dir.name)
        return work_dir.parent / "fitted.pth"

    monkeypatch.setattr(distill, "finetune", note)
    for more in ((), ("--seed=1",), ("--finetune-rate=0.5",)):
        distill.main(arguments(files, tmp_path, "--finetune-epochs=2", *more))
    assert len(set(folders)) == 3
    assert [f.name for f in whole.glob("finetune-*")] == folders[:1]


@pytest.mark.parametrize(
    ("more", "left"),
    [
        (["--finetune-epochs=0"], True),
        (["--finetune-epochs=2"], False),
        (["--finetune-epochs=2", "--seed=1"], False),
    ],
)
def test_no_result_of_another_call_is_left(files, tmp_path, monkeypatch, more, left):
    """A call that is stopped leaves a student only if it is the one that it would make."""

    def stop(*_):
        raise KeyboardInterrupt

    distill.main(arguments(files, tmp_path, "--finetune-epochs=0"))
    made = load_checkpoint_file(tmp_path / "student.pth")["meta"]["distilled"]
    fitted = load_checkpoint_file(tmp_path / "fitted.pth")["meta"]["distilled"]
    assert made["key"] == fitted["key"]
    monkeypatch.setattr(distill, "finetune", stop)
    monkeypatch.setattr(distill, "state_of", stop)
    with pytest.raises(SystemExit, match="130"):
        distill.main(arguments(files, tmp_path, *more))
    assert (tmp_path / "student.pth").exists() == left


def test_a_stopped_fit_leaves_no_result_of_another(files, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    distill.main(arguments(files, tmp_path, "--finetune-epochs=0"))
    monkeypatch.setattr(distill.Fitting, "run", stop)
    with pytest.raises(SystemExit, match="130"):
        distill.main(arguments(files, tmp_path, "--finetune-epochs=0", "--seed=1"))
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"student.pth", "fitted.pth", "errors.json"}


def test_the_schedule_of_the_fine_tuning(files, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "finetune", lambda config, out, epochs: tmp_path / "fitted.pth")
    distill.main(arguments(files, tmp_path, student="grid"))
    (path,) = tmp_path.glob("finetune-1-*/config.py")
    made, plain = Config.fromfile(path), Config.fromfile(files / "grid.py")
    assert (made.train_cfg.max_epochs, made.train_cfg.val_begin) == (1, 2)
    assert made.optim_wrapper.optimizer.lr == pytest.approx(plain.optim_wrapper.optimizer.lr / 4)
    for short, long in zip(made.param_scheduler, plain.param_scheduler, strict=True):
        assert short.end == pytest.approx(long.end / EPOCHS)
        assert short.begin == pytest.approx(long.begin / EPOCHS)
    assert made.load_from == str(tmp_path / "fitted.pth")
    assert made.model.type == "DistilledDetector"


def test_the_config_alone_can_be_written(files, whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(distill, "finetune", lambda *_: pytest.fail("trained"))
    command = arguments(files, tmp_path, f"--finetune-epochs={EPOCHS}", "--write-config")
    assert distill.main(command) == 0
    (path,) = tmp_path.glob("finetune-*/config.py")
    assert capsys.readouterr().out.endswith(f"{path}\n")
    assert (whole / path.relative_to(tmp_path)).is_file()
    assert not (tmp_path / "student.pth").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--finetune-rate=0"], "positive rate, got 1 and 0.0"),
        (["--finetune-rate=-0.1"], "positive rate, got 1 and -0.1"),
        (["--finetune-rate=nan"], "positive rate, got 1 and nan"),
        (["--cfg-options", "train_cfg.max_epochs=0"], "expected train_cfg.max_epochs and"),
        (
            ["--cfg-options", "optim_wrapper.optimizer.lr=None"],
            "a number as optim_wrapper",
        ),
        (["--cfg-options", "param_scheduler.0.type=CosineRestartLR"], "got CosineRestartLR"),
        (
            ["--cfg-options", "model.bev_backbone.up_channels=(16,8)", "model.head.in_channels=24"],
            r"teacher: expected head\.in_channels 24, got 32",
        ),
    ],
)
def test_what_the_fine_tuning_refuses_is_known_before_the_fit(
    files, tmp_path, more, message, monkeypatch
):
    monkeypatch.setattr(distill.Fitting, "run", lambda *_: pytest.fail("fitted first"))
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        distill.main(arguments(files, tmp_path / "out", *more))


def test_weights_of_the_losses_are_settings_of_the_fine_tuning(files, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "finetune", lambda config, out, epochs: tmp_path / "fitted.pth")
    distill.main(arguments(files, tmp_path, "--cfg-options", "model.distill_weights.bev=0.5"))
    (path,) = tmp_path.glob("finetune-1-*/config.py")
    assert Config.fromfile(path).model.distill_weights == dict(bev=0.5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--frames=0"], "frames: expected at least 1 of each kind, got 0 and 1"),
        (["--layer-steps=-1"], "layer_steps: expected 0 or more, got -1"),
        (["--finetune-epochs=-1"], "--finetune-epochs: expected 0 or more, got -1"),
        (["--finetune-epochs=0", "--finetune-rate=1"], "--finetune-rate: expected --finetune-ep"),
        (["--cfg-options", "model.backbone.num_blocks=1"], "number of layers 4, got 2"),
        (["--cfg-options", "model.grid.cell_m=(1.2,1.2)"], "expected the teacher's grid"),
        (["--teacher-options", "model.backbone.dim=8"], "does not fit the model|expected"),
        (["--device=cuda:99"], "expected one of"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, more, message):
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as stop:
        distill.main(arguments(files, tmp_path / "out", *more))
    assert "\n" not in str(stop.value)


def test_a_student_that_is_no_detector_of_ours(files, tmp_path):
    other = files / "other.py"
    other.write_text("model = dict(type='mmdet3d.PointNet2SASSG', in_channels=5)\n")
    with pytest.raises(SystemExit, match="^error: student: expected a PADReDetector"):
        distill.main(arguments(files, tmp_path / "out", student="other"))
