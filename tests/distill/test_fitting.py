"""The fit: errors fall phase by phase, a twin is recovered, a kill changes nothing."""

import json

import pytest
import torch
from mmdet3d.structures import LiDARPoints
from small_detector import MIXERS, build

from padre3d.distill.draws import Draws, turned
from padre3d.distill.errors import RelativeError, plain_errors, relative_square
from padre3d.distill.fitting import STATE_FILE, Fitting
from padre3d.distill.pair import Pair, layers_of
from padre3d.distill.phases import FitSettings, StackSteps

SHORT = FitSettings(layer_steps=60, stack_steps=40, layer_rate=1e-2, stack_rate=3e-3)
TINY = FitSettings(layer_steps=4, stack_steps=4)
PHASES = ["start", "closed form", "steps", "closed form again", "stack"]


@pytest.fixture(autouse=True)
def _repeatable():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def mean(values):
    return sum(values) / len(values)


def fit(pair, clouds, settings, folder=None, **options):
    fitting = Fitting(pair, *clouds, settings, **options)
    fitting.run(folder)
    return fitting


@pytest.mark.parametrize("student", ["padre", "grid", "padre on sets"])
def test_errors_fall_phase_by_phase(make_pair, clouds, student):
    pair = make_pair("attention", student)
    before = {k: v.clone() for k, v in pair.student.state_dict().items()}
    errors = fit(pair, clouds, SHORT).errors
    closed = [] if student == "padre on sets" else ["closed form", "closed form again"]
    assert list(errors) == [name for name in PHASES if "closed" not in name or name in closed]
    layers = [mean(errors[name]["layers"]) for name in PHASES[:3] if name in errors]
    assert layers == sorted(layers, reverse=True)
    assert layers[-1] < 0.8 * layers[0]
    blocks = [mean(errors[name]["blocks"]) for name in ("start", "steps", "stack")]
    assert blocks == sorted(blocks, reverse=True)
    after = pair.student.state_dict()
    kept = [key for key in pair.copied.copied if "position_embeddings" not in key]
    assert all(torch.equal(before[key], after[key]) for key in kept)


def test_the_closed_form_meets_a_twin_but_for_its_last_map(make_pair, clouds):
    """A student that differs from its teacher in V alone is recovered by the closed form."""
    pair = make_pair("padre degree 3", "padre degree 3")
    for layer, wanted in zip(pair.layers, layers_of(pair.teacher.backbone), strict=True):
        kept = {k: v.clone() for k, v in layer.mixer.v.state_dict().items()}
        layer.mixer.load_state_dict(wanted.mixer.state_dict())
        layer.mixer.v.load_state_dict(kept)
    nothing = FitSettings(layer_steps=0, stack_steps=0, ridge=0.0)
    errors = fit(pair, clouds, nothing).errors
    assert min(errors["start"]["layers"]) > 0.5
    assert max(errors["closed form"]["layers"]) < 1e-3
    assert max(errors["closed form"]["blocks"]) < 1e-3


def test_a_twin_is_recovered_from_scratch(make_pair, clouds):
    """The same structure with other weights: its polynomial has to be found."""
    pair = make_pair("padre", "padre")
    settings = FitSettings(layer_steps=200, stack_steps=0, layer_rate=2e-2)
    errors = fit(pair, clouds, settings).errors
    assert mean(errors["closed form again"]["layers"]) < 0.2 * mean(errors["start"]["layers"])


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("grid", "attention"),
        ("padre on sets", "grid and sequence"),
        ("attention", dict(mixer=dict(type="mamba", state=4, expand=2))),
        ("padre degree 3", dict(mixer=dict(type="hyena"), pos_embed=None)),
    ],
)
def test_from_any_kind_of_mixer_to_any_other(make_pair, clouds, teacher, student):
    errors = fit(make_pair(teacher, student), clouds, FitSettings(0, 0)).errors
    pairs = zip(errors["start"]["layers"], errors["closed form"]["layers"], strict=True)
    assert all(closed < start for start, closed in pairs)
    assert list(errors) == ["start", "closed form", "closed form again"]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def whole(clouds):
    """The fit that the killed ones are compared with."""
    pair = Pair(build(0, **MIXERS["attention"]), build(1, **MIXERS["padre"]))
    return fit(pair, clouds, TINY)


@pytest.mark.parametrize(
    ("phase", "step"), [("closed form", 3), ("steps", 2), ("steps", 4), ("stack", 1)]
)
def test_a_killed_fit_ends_as_if_it_was_not(make_pair, whole, clouds, tmp_path, phase, step):
    def kill(name, done, steps):
        if (name, done) == (phase, step):
            raise Killed

    with pytest.raises(Killed):
        Fitting(make_pair(), *clouds, TINY, save_every_s=0.0).run(tmp_path, kill)
    resumed = Fitting(make_pair(student_seed=5), *clouds, TINY)
    assert resumed.load(tmp_path)
    seen = []
    resumed.run(tmp_path, lambda name, done, steps: seen.append((name, done)))
    assert seen[0] == (phase, step)
    assert resumed.errors == whole.errors
    state, expected = (f.pair.student.backbone.state_dict() for f in (resumed, whole))
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    again = Fitting(make_pair(), *clouds, TINY)
    assert again.load(tmp_path)
    again.run(tmp_path, lambda *seen: pytest.fail(f"did {seen} again"))


def test_the_state_of_another_fit_or_a_torn_one_is_not_continued(make_pair, clouds, tmp_path):
    fit(make_pair(), clouds, TINY, tmp_path, fingerprint="a")
    assert Fitting(make_pair(), *clouds, TINY, "a").load(tmp_path)
    assert not Fitting(make_pair(), *clouds, TINY, "b").load(tmp_path)
    assert not Fitting(make_pair(), *clouds, FitSettings(), "a").load(tmp_path)
    whole = (tmp_path / STATE_FILE).read_bytes()
    (tmp_path / STATE_FILE).write_bytes(whole[: len(whole) // 2])
    assert not Fitting(make_pair(), *clouds, TINY, "a").load(tmp_path)
    assert not Fitting(make_pair(), *clouds, TINY, "a").load(tmp_path / "none")


@pytest.mark.parametrize("points", [0, 1])
def test_clouds_of_less_than_two_pillars_are_passed_over(make_pair, clouds, points):
    """One pillar has no variance that an error could be relative to."""
    poor = torch.tensor([[0.1, 0.1, -1.5, 9.0, 0.0]])[:points]
    fitted = fit(make_pair(), ([clouds[0][0], poor], [poor, clouds[1][0]]), TINY)
    values = [value for of in fitted.errors.values() for value in of["layers"]]
    assert torch.tensor(values).isfinite().all()
    alone = fit(make_pair(), (clouds[0][:1], clouds[1][:1]), FitSettings(0, 0)).errors["start"]
    assert fitted.errors["start"] == alone


def test_frames_without_pillars_alone_are_no_fit(make_pair, clouds):
    """The closed form of no rows would set every last map to zero."""
    pair = make_pair()
    before = pair.layers[0].mixer.output_map.weight.clone()
    with pytest.raises(ValueError, match="frames: expected some with two pillars or more, got no"):
        fit(pair, ([torch.zeros(0, 5)] * 2, clouds[1][:1]), FitSettings(0, 0))
    assert torch.equal(pair.layers[0].mixer.output_map.weight, before)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e3])
def test_targets_that_do_not_vary_have_no_relative_error(value):
    wanted = torch.full((7, 3), value)
    found = torch.randn(7, 3, requires_grad=True)
    loss = relative_square(found, wanted)
    loss.backward()
    assert float(loss) == 0
    assert not found.grad.any()
    error = RelativeError()
    error.add(found.detach(), wanted)
    assert error.value == float("inf")
    assert relative_square(found, wanted * float("nan")).isnan()


def test_errors_for_a_file_are_numbers_or_none():
    errors = {"start": {"layers": [0.5, float("inf")], "blocks": [float("nan")]}}
    found = plain_errors(errors)
    assert found == {"start": {"layers": [0.5, None], "blocks": [None]}}
    json.dumps(found, allow_nan=False)


def test_a_fit_on_a_device(make_pair, clouds, device):
    pair = make_pair("attention", "grid and sequence")
    pair.teacher.to(device)
    pair.student.to(device)
    errors = fit(pair, ([c[:700] for c in clouds[0][:2]], clouds[1][:1]), TINY).errors
    assert mean(errors["closed form"]["layers"]) < mean(errors["start"]["layers"])
    assert all(p.device.type == device.type for p in pair.student.parameters())


def test_a_loss_that_is_not_finite_stops_the_fit(make_pair, clouds):
    pair = make_pair()
    phase = StackSteps(pair, TINY, 1)
    with torch.no_grad():
        pair.layers[0].mixer.v.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="stack, step 1: expected a finite loss .* got loss nan"):
        phase.step(0, pair.pillars(clouds[0][0]))


def test_settings_and_frames_are_checked(make_pair, clouds):
    with pytest.raises(ValueError, match="layer_steps: expected 0 or more, got -1"):
        FitSettings(layer_steps=-1)
    with pytest.raises(ValueError, match="stack_rate: expected a positive number, got 0"):
        FitSettings(stack_rate=0)
    with pytest.raises(ValueError, match="expected at least one to fit on"):
        Draws([], 0, 0)


def test_draws_are_passes_over_all_clouds_whatever_was_asked_before():
    marked = [torch.full((1, 5), float(i)) for i in range(4)]
    draws, same = Draws(marked, 3, 1), Draws(marked, 3, 1)
    rows = [draws[i] for i in range(8)]
    assert sorted(int(r[0, 2]) for r in rows[:4]) == sorted(int(r[0, 2]) for r in rows[4:])
    assert torch.equal(same[6], rows[6])
    assert not torch.equal(torch.cat([Draws(marked, 4, 1)[i] for i in range(8)]), torch.cat(rows))


def test_a_turned_cloud():
    points = torch.tensor([[1.0, 0.5, 2.0, 3.0, 0.1]])
    out = turned(points, torch.pi / 2, mirror=True)
    torch.testing.assert_close(out, torch.tensor([[0.5, 1.0, 2.0, 3.0, 0.1]]), atol=1e-6, rtol=0)
    assert points[0, 0] == 1


def test_the_mirror_is_that_of_the_training():
    points = torch.tensor([[1.0, 2.0, 0.0, 3.0, 0.1]])
    cloud = LiDARPoints(points.clone(), points_dim=5)
    cloud.flip("vertical")  # flip_ratio_bev_vertical of the configs
    torch.testing.assert_close(turned(points, 0.0, mirror=True), cloud.tensor)


def test_relative_error_of_a_mean_is_one():
    wanted = torch.randn(50, 4) + 7
    error, perfect = RelativeError(), RelativeError()
    for rows in wanted.chunk(3):
        error.add(wanted.mean(0).expand_as(rows), rows)
        perfect.add(rows, rows)
    assert error.value == pytest.approx(1, rel=1e-6)
    assert perfect.value == 0
    assert float(relative_square(wanted.mean(0), wanted)) == pytest.approx(1, rel=1e-5)
