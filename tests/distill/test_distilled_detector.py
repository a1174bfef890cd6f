"""The detector that is fine-tuned: its losses, and that its teacher is in nothing but them."""

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import DefaultScope
from small_detector import MIXERS, MODEL, batch, build, cloud, losses, total

from padre3d.distill.detector import DistilledDetector, feature_error, heatmap_divergence

TERMS = {"loss_distill_heatmap", "loss_distill_bev"}


def config(mixer):
    cfg = copy.deepcopy(MODEL)
    cfg["backbone"].update(MIXERS[mixer])
    return cfg


@pytest.fixture
def make(tmp_path):
    """A student with a teacher of attention beside it; both may be changed."""

    def distilled(mixer="padre", teacher=None, **student):
        path = tmp_path / "teacher.pth"
        torch.save(build(3, **MIXERS["attention"]).state_dict(), path)
        wanted = {**config("attention"), **(teacher or {})}
        cfg = {**config(mixer), "teacher": wanted, "teacher_checkpoint": str(path), **student}
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            return MODELS.build({**cfg, "type": "DistilledDetector"})

    return distilled


@pytest.fixture
def data():
    return batch([cloud(800, 1), cloud(900, 2)])


def test_a_checkpoint_is_the_plain_students(make):
    model, plain = make(), build()
    assert isinstance(model, DistilledDetector)
    assert model.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    assert len(list(model.modules())) == len(list(plain.modules()))


def test_training_changes_the_student_alone(make, data):
    model = make().train()
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    assert not model.teacher.training
    found = losses(model, data)
    assert set(found) == set(losses(build().train(), data)) | TERMS
    assert all(float(found[name]) > 0 for name in TERMS)
    total(found).backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    after = model.teacher.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_a_student_that_is_its_teacher_has_no_error(make, data):
    model = make("attention")
    model.load_state_dict(model.teacher.state_dict())
    found = losses(model.eval(), data)
    assert all(abs(float(found[name])) < 1e-6 for name in TERMS)


def test_weights_of_the_terms(make, data):
    plain, other = make(), make(distill_weights=dict(bev=0.0, heatmap=3.0))
    ones, others = losses(plain.eval(), data), losses(other.eval(), data)
    torch.testing.assert_close(others["loss_distill_heatmap"], 3 * ones["loss_distill_heatmap"])
    assert others["loss_distill_bev"] == 0
    assert others["loss_bbox"] == ones["loss_bbox"]


def test_the_teacher_moves_with_its_student(make):
    model = make().double()
    assert next(model.teacher.parameters()).dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(distill_weights=dict(boxes=1.0)), r"expected \['bev', 'heatmap'\], got .*'boxes'"),
        (dict(class_names=["a", "b"]), "expected head.num_classes 2, got 10"),
        (dict(class_names=list("abcdefghij")), "expected the classes .*'a'.*, got .*'car'"),
        (
            dict(teacher=dict(grid=dict(MODEL["grid"], cell_m=(0.3, 0.3)))),
            r"expected head.grid .*1\.2.* got .*0\.6",
        ),
        (dict(teacher=config("padre")), "does not fit the model"),
    ],
)
def test_what_does_not_fit_is_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_the_divergence_of_a_cell():
    """KL(1/4 | 1/2) = ln 2 - H(1/4), over the teacher's total probability, at least 1."""
    quarter = torch.full((1, 1, 2, 4), -float(torch.tensor(3.0).log()))
    expected = 0.25 * torch.tensor(0.5).log() + 0.75 * torch.tensor(1.5).log()
    found = heatmap_divergence(torch.zeros(1, 1, 2, 4), quarter)
    torch.testing.assert_close(found, 8 * expected / 2)
    assert abs(float(heatmap_divergence(quarter, quarter))) < 1e-6


def test_the_error_of_features():
    wanted = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert float(feature_error(wanted * 1.5, wanted)) == pytest.approx(0.25)
    assert float(feature_error(torch.zeros_like(wanted), torch.zeros_like(wanted))) == 0
