"""What is copied from the teacher, what is not, and which pairs are refused."""

import pytest
import torch
from small_detector import GRID_PADRE, MIXERS, build

from padre3d.distill.pair import Pair, layers_of
from padre3d.distill.trace import mix_each, trace

GRID = MIXERS["grid"]


def test_all_but_the_mixers_is_copied(make_pair):
    pair = make_pair("attention", "padre")
    teacher, student = (m.state_dict() for m in (pair.teacher, pair.student))
    assert pair.copied.own == pair.copied.left == ()
    assert all(torch.equal(teacher[key], student[key]) for key in pair.copied.copied)
    assert {key.split(".")[5] for key in pair.copied.mixers} == {"mixer"}
    assert len(pair.copied.copied) + len(pair.copied.mixers) == len(student)


def test_a_mixer_of_the_same_kind_is_not_copied(make_pair):
    pair = make_pair("padre", "padre")
    pairs = zip(layers_of(pair.teacher.backbone), pair.layers, strict=True)
    assert not any(torch.equal(a.mixer.v.weight, b.mixer.v.weight) for a, b in pairs)


def test_weights_of_one_side_alone_are_named(make_pair):
    pair = make_pair("attention", "grid")
    assert pair.copied.own == ()
    assert all(key.startswith("backbone.position_embeddings.") for key in pair.copied.left)
    assert len(pair.copied.left) > 0
    back = make_pair("grid", "attention").copied
    assert (set(back.own), back.left) == (set(pair.copied.left), ())


def test_what_fitting_may_change(make_pair):
    """Mixers and position embeddings, and what the teacher's backbone does not have."""
    pair = make_pair("attention", dict(**MIXERS["padre"], ffn_dim=24))
    names = {name for name, p in pair.student.named_parameters() if p.requires_grad}
    kinds = {
        ".".join(part for part in name.split(".") if not part.isdigit()).split(".weight")[0]
        for name in names
    }
    feed_forward = "backbone.blocks.layers.linear"
    assert {f"{feed_forward}1", f"{feed_forward}1.bias", f"{feed_forward}2"} <= kinds
    assert {"backbone.position_embeddings.linear1", "backbone.blocks.layers.mixer.v"} <= kinds
    assert not [kind for kind in kinds if not kind.startswith("backbone.")]
    assert not [name for name in names if "norm" in name and "position" not in name]
    assert not any(p.requires_grad for p in pair.teacher.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["attention", "padre", "padre on sets", "grid", "parallel"])
def test_the_open_run_is_the_backbones_own(name, clouds):
    model = build(**MIXERS[name])
    pillars = model.pillar_encoder([clouds[0][0]])
    seen = trace(model.backbone, pillars)
    expected = model.backbone(pillars).features
    torch.testing.assert_close(seen.states[-1], expected, rtol=1e-4, atol=1e-5)
    assert len(seen.inputs) == 4
    torch.testing.assert_close(mix_each(model.backbone, pillars, seen.inputs), seen.mixed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_blocks=1), "expected the teacher's number of layers 4, got 2"),
        (dict(parallel=True), "expected the teacher's parallel layers False, got True"),
        (dict(mixer=dict(type="hydra"), dim=8), "expected the teacher's channels 16, got 8"),
    ],
)
def test_pairs_of_other_shapes_are_refused(changes, message):
    model = build()
    other = model.backbone.__class__(grid=model.grid, **{"dim": 16, "num_blocks": 2, **changes})
    student = build()
    student.backbone = other
    with pytest.raises(ValueError, match=message):
        Pair(model, student)


def test_another_grid_is_refused():
    from padre3d.structures.grid import PillarGrid

    teacher, student = build(), build()
    student.grid = PillarGrid(teacher.grid.range_m, (0.3, 0.3))
    with pytest.raises(ValueError, match="expected the teacher's grid .*0.6.*, got .*0.3"):
        Pair(teacher, student)


def test_the_same_classes_in_another_order_are_refused():
    """The heads have the same shapes, and the rows of one class would become another's."""
    teacher, student = build(), build()
    student.class_names = teacher.class_names[::-1]
    both = "expected the teacher's classes .*'car', 'truck', .*, got .*'truck', 'car'"
    with pytest.raises(ValueError, match=both):
        Pair(teacher, student)


def test_other_inputs_of_the_pillar_encoder_are_refused():
    teacher, student = build(), build()
    student.pillar_encoder.with_distance = True
    with pytest.raises(ValueError, match="expected the teacher's inputs of the pillar encoder"):
        Pair(teacher, student)


@pytest.mark.parametrize("which", [0, 1])
def test_another_pillar_encoder_is_refused(which):
    teacher, student = pair = build(), build()
    pair[which].pillar_encoder.add_module("more", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="pillar encoder: expected the teacher's, got another"):
        Pair(teacher, student)


def test_models_without_mixers_to_fit_are_refused():
    from padre3d.mixers.mixer import Mixer

    teacher, student = build(), build(mixer=GRID_PADRE, pos_embed=None)
    with pytest.raises(ValueError, match="student: expected a PADReDetector .* got Linear"):
        Pair(teacher, torch.nn.Linear(2, 2))
    for layer in layers_of(student.backbone):
        layer.mixer = Mixer()
    with pytest.raises(ValueError, match=r"expected mixers with weights to fit, got \['Mixer'\]"):
        Pair(teacher, student)


PRUNED = [[-1, 0], [0, 0], [0, 2], [1, 1]]


def pruned(model, offsets=PRUNED):
    model.head.decoder.window.keep(torch.tensor(offsets))
    return model


def test_a_pruned_window_of_the_teacher_is_the_students():
    """The copied decoder learnt to attend to these keys alone."""
    student = Pair(pruned(build()), build(1, **GRID)).student
    assert student.head.decoder.window.cells().tolist() == PRUNED
    assert student.state_dict()["head.decoder.window.kept"].tolist() == PRUNED


def test_a_window_that_the_students_config_chooses_stays():
    """Also one of as many keys, which a state dict would replace."""
    own = [[-2, -2], [0, 0], [0, 1], [1, 1]]
    pair = Pair(pruned(build()), build(1, head=dict(window_offsets=own), **GRID))
    assert pair.student.head.decoder.window.cells().tolist() == own
    assert "head.decoder.window.kept" in pair.copied.own


def test_a_student_that_cannot_have_the_teachers_window_is_refused():
    with pytest.raises(ValueError, match=r"window offsets: expected -1\.\.1 cells, got \[0, 2\]"):
        Pair(pruned(build()), build(1, head=dict(local_radius=1), **GRID))
    with pytest.raises(ValueError, match="window offsets: expected a head without dsvt_compat"):
        Pair(pruned(build()), build(1, head=dict(dsvt_compat=True), **GRID))
