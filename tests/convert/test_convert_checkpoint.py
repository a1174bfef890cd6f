"""tools/convert_checkpoint.py on a full-size checkpoint: complete or refused, and reversible."""

import contextlib
import json
import os
import pickle

import pytest
import torch

from padre3d.inference import init_model
from padre3d.structures.classes import NUSCENES_CLASSES

FULL_CONFIG = "configs/dsvt_nuscenes_reference.py"


@pytest.fixture(scope="module")
def full_keys(golden_dir):
    return json.loads((golden_dir / "full_keys.json").read_text())["keys"]


@pytest.fixture
def reference(full_keys):
    """A checkpoint of full size with random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, entry in full_keys.items():
        if entry["dtype"] == "int64":
            state[key] = torch.randint(1, 10**6, entry["shape"], generator=generator)
        else:
            state[key] = torch.rand(entry["shape"], generator=generator)
    return dict(epoch=20, it=61780, model_state=state, optimizer_state=None, version="pcdet+0.5")


@pytest.fixture
def convert(tool, repo_root, tmp_path):
    """Convert a checkpoint given as a dict; the path of what it became."""

    def run(checkpoint, *options, config=repo_root / FULL_CONFIG, out=tmp_path / "out.pth"):
        source = tmp_path / "source.pth"
        torch.save(checkpoint, source)
        tool.main([str(source), str(out), "--config", str(config), *options])
        return out

    return run


def refusal(convert, checkpoint, *options, **settings):
    with pytest.raises(SystemExit) as stopped:
        convert(checkpoint, *options, **settings)
    return str(stopped.value)


def test_full_size_converts_completely_and_back(reference, full_keys, convert, repo_root, capsys):
    ours = convert(reference)
    lines = capsys.readouterr().out.splitlines()
    reported = {line.split()[0]: line.split()[-1] for line in lines if " -> " in line}
    assert "global_step (1,): counter of the reference's trainer" in "\n".join(lines)
    assert {*reported, "global_step"} == set(full_keys)
    assert "all 448 weights mapped, none left over" in lines[-1]

    detector = init_model(repo_root / FULL_CONFIG, ours)
    state = detector.state_dict()
    assert sorted(reported.values()) == sorted(state)
    name = "vfe.pfn_layers.1.linear.weight"
    assert torch.equal(state[reported[name]], reference["model_state"][name])

    source = torch.load(ours, weights_only=True)
    assert source["meta"]["dataset_meta"]["classes"] == list(NUSCENES_CLASSES)
    back = torch.load(convert(source, "--reverse"), weights_only=True)
    weights = back.pop("model_state")
    assert weights.keys() == full_keys.keys()
    for key, value in reference.pop("model_state").items():
        assert weights[key].dtype == value.dtype, key
        assert torch.equal(weights[key], value), key
    assert back == reference


def test_weights_trained_here_go_to_the_reference(reference, convert, capsys):
    """A checkpoint of our training has a step counter but no memory of a reference."""
    ours = torch.load(convert(reference), weights_only=True)
    ours = dict(state_dict=ours["state_dict"], meta=dict(epoch=3, iter=1200), optimizer=dict())
    capsys.readouterr()
    back = torch.load(convert(ours, "--reverse"), weights_only=True)
    assert back["model_state"].pop("global_step").tolist() == [1200]
    assert (back["epoch"], back["it"]) == (3, 1200)
    del reference["model_state"]["global_step"]
    for key, value in reference["model_state"].items():
        assert torch.equal(back["model_state"][key], value), key
    assert "all 448 weights mapped" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_bare_state_dict_goes_to_the_reference(reference, convert, prefix):
    """As the packaged weights are; a distributed wrapper's prefix does not matter."""
    ours = torch.load(convert(reference), weights_only=True)["state_dict"]
    bare = {prefix + key: value for key, value in ours.items()}
    back = torch.load(convert(bare, "--reverse"), weights_only=True)
    assert back["model_state"].pop("global_step").tolist() == [0]
    del reference["model_state"]["global_step"]
    assert back["model_state"].keys() == reference["model_state"].keys()
    name = "vfe.pfn_layers.1.linear.weight"
    assert torch.equal(back["model_state"][name], reference["model_state"][name])


def test_a_file_without_weights_of_ours(convert):
    message = refusal(convert, dict(epoch=1), "--reverse")
    assert "expected a state_dict of tensors, got keys epoch" in message


def test_refusal_lists_every_misfit(reference, convert, tmp_path):
    state = reference["model_state"]
    del state["vfe.pfn_layers.0.linear.weight"], state["global_step"]
    state["backbone_3d.extra.weight"] = state["vfe.pfn_layer.weight"] = torch.zeros(2)
    state["dense_head.shared_conv.bias"] = torch.zeros(64)
    message = refusal(convert, reference)
    assert "2 missing:\n  global_step\n  vfe.pfn_layers.0.linear.weight\n" in message
    assert "2 unexpected:\n  backbone_3d.extra.weight\n  vfe.pfn_layer.weight\n" in message
    expected = "1 of the wrong shape:\n  dense_head.shared_conv.bias: expected (128,), got (64,)"
    assert message.endswith(expected)
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("reverse", [False, True])
def test_weights_that_no_detector_loads_are_not_converted(reference, convert, reverse):
    """What loading would refuse: an int64 statistic, a NaN."""
    options = ("--reverse",) if reverse else ()
    given, state = reference, reference["model_state"]
    norm, weight = "vfe.pfn_layers.0.norm.running_mean", "vfe.pfn_layers.1.linear.weight"
    if reverse:
        given = torch.load(convert(reference), weights_only=True)
        state = given["state_dict"]
        norm, weight = (
            next(key for key in state if key.startswith("pillar_encoder.") and key.endswith(end))
            for end in ("0.norm.running_mean", "1.linear.weight")
        )
    (kept, state[norm]) = state[norm], state[norm].long()
    message = refusal(convert, given, *options)
    assert f"1 of another kind:\n  {norm}: expected real numbers, got whole numbers" in message
    state[norm] = kept
    state[weight][0, 0] = float("nan")
    message = refusal(convert, given, *options)
    assert message.endswith(f"expected finite weights, got NaN or infinity in 1:\n  {weight}")


def test_reverse_refuses_another_model(reference, convert, repo_root):
    ours = torch.load(convert(reference), weights_only=True)
    del ours["state_dict"]["backbone.blocks.3.norm.bias"]
    assert "1 missing:\n  backbone.blocks.3.norm.bias" in refusal(convert, ours, "--reverse")
    padre = repo_root / "configs" / "dsvt_padre2_nuscenes.py"
    message = refusal(convert, ours, "--reverse", config=padre)
    assert "expected the config of a DSVT model (mixer set_attention)" in message
    assert "\n  backbone.blocks.0.layers.0.mixer." in message


@pytest.mark.parametrize(
    "checkpoint", [dict(epoch=1), dict(model_state=[1, 2]), dict(model_state=dict(a=3.0))]
)
def test_a_file_without_weights(checkpoint, convert):
    assert "expected a checkpoint with a 'model_state' of tensors" in refusal(convert, checkpoint)


class Payload:
    """Unpickling runs a command that makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("save", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_code_in_a_checkpoint_is_refused_and_not_run(save, tool, repo_root, tmp_path):
    marker, source, out = (tmp_path / name for name in ("marker", "evil.pth", "out.pth"))
    save(dict(model_state=dict(weight=Payload(marker))), source)
    with pytest.raises(SystemExit, match=r"error: checkpoint .*evil\.pth: expected a whole file"):
        tool.main([str(source), str(out), "--config", str(repo_root / FULL_CONFIG)])
    assert not marker.exists()
    assert not out.exists()
    with contextlib.suppress(Exception):
        torch.load(source, weights_only=False)
    assert marker.is_dir(), "the payload does nothing, so this test shows nothing"


def test_an_interrupted_write_leaves_the_old_file(reference, convert, tmp_path, monkeypatch):
    out = tmp_path / "out.pth"
    out.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(SystemExit, match="130"):
        convert(reference)
    assert out.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"out.pth", "source.pth"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a.pth", "b.pth"], "--config or --reference-config is needed"),
        (["a.pth", "--config", "c.py"], "OUT.pth is missing"),
        (["--config", "c.py"], "nothing to do"),
        (["--config", "c.py", "--emit-config", "d.py"], "--emit-config needs --reference-config"),
    ],
)
def test_incomplete_command_lines(arguments, problem, tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(arguments)
    assert problem in capsys.readouterr().err


def test_missing_files_are_named(tool, repo_root, tmp_path):
    source, out = tmp_path / "none.pth", tmp_path / "out.pth"
    for config, problem in (
        (repo_root / FULL_CONFIG, r"checkpoint .*none\.pth: expected a file"),
        (tmp_path / "none.py", r"config .*none\.py: expected a file"),
    ):
        with pytest.raises(SystemExit, match=problem):
            tool.main([str(source), str(out), "--config", str(config)])
