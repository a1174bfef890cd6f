"""Exported mixers take sequences of any length: torch.export, ONNX with an open axis, traces."""

import pytest
import torch

from padre3d.mixers import build_mixer

DIM = 8
CONFIGS = [
    dict(type="mamba", state=4),
    dict(type="hyena"),
    dict(type="hyena", order=3, form="equations"),
    dict(type="padre", degree=3, kernel_size=3),
    dict(type="conv2former", kernel_size=3),
]


def problem(cfg, tokens=20):
    torch.manual_seed(0)
    mixer = build_mixer(cfg, DIM).eval()
    return mixer, torch.randn(1, tokens, DIM), torch.rand(1, tokens) < 0.8


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_torch_export_leaves_the_length_open(cfg):
    mixer, x, mask = problem(cfg)
    length = {1: torch.export.Dim("length", min=2, max=1 << 20)}
    program = torch.export.export(mixer, (x, None, mask), dynamic_shapes=(length, None, length))
    for tokens in (2, 7, 33, 500):
        _, x, mask = problem(cfg, tokens)
        got = program.module()(x, None, mask)
        torch.testing.assert_close(got, mixer(x, None, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cfg", CONFIGS[:3], ids=str)
@pytest.mark.parametrize("is_open", [True, False])
def test_onnx(cfg, is_open, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    mixer, x, mask = problem(cfg)
    length = {1: torch.export.Dim("length", min=2, max=1 << 20)} if is_open else None
    shapes = (length, None, length) if is_open else None
    path = tmp_path / "mixer.onnx"
    torch.onnx.export(mixer, (x, None, mask), path, dynamo=True, dynamic_shapes=shapes)
    session = onnxruntime.InferenceSession(path)
    for tokens in (2, 7, 33, 500) if is_open else (20,):
        _, x, mask = problem(cfg, tokens)
        feeds = zip((i.name for i in session.get_inputs()), (x.numpy(), mask.numpy()), strict=True)
        got = torch.tensor(session.run(None, dict(feeds))[0])
        torch.testing.assert_close(got, mixer(x, None, mask), atol=1e-5, rtol=1e-5)
