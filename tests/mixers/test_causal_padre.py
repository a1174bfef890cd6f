"""Causal PADRe: convolutions that look back only, for models of sequences in time."""

import pytest
import torch

from padre3d.mixers import PRESETS, PADRe, PadreStructure, build_mixer
from padre3d.mixers.structure import Conv
from padre3d.ops import chunked

DIM = 8
NAMES = ["padre", "conv_control"]


def make(name="padre", **arguments):
    torch.manual_seed(0)
    arguments = dict(kernel_size=5) | arguments
    mixer = build_mixer(dict(type=name, causal=True, **arguments), DIM).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_the_future_is_not_seen_and_the_past_is(name, preset, degree):
    mixer = make(name, preset=preset, degree=degree)
    assert mixer.is_causal
    x = torch.randn(1, 40, DIM, dtype=torch.float64)
    other = x.clone()
    other[:, 20] += 1
    change = (mixer(x) - mixer(other)).abs().amax((0, 2))
    assert change[:20].max() < 1e-12
    reach = mixer.receptive_radius
    assert change[20 : 21 + reach].min() > 1e-12
    assert change[21 + reach :].max() < 1e-12


def test_it_is_the_centred_map_of_the_past():
    """Y_1 at t is sum_j w_j x_{t - 4 + j}, zeros before the first token; then Eq. 3."""
    mixer = make(preset="paper")
    x = torch.randn(1, 9, DIM, dtype=torch.float64)
    first = x[0] @ mixer.b[0].weight.T + mixer.b[0].bias
    past = torch.cat([torch.zeros(4, DIM, dtype=torch.float64), first])
    taps = mixer.a[0].weight[:, 0]
    y = torch.stack([(past[t : t + 5] * taps.T).sum(0) for t in range(9)]) + mixer.a[0].bias
    y = y @ mixer.d[0].weight.T + mixer.d[0].bias
    expected = y * (x[0] @ mixer.b[1].weight.T + mixer.b[1].bias)
    torch.testing.assert_close(mixer(x)[0], expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_costs_what_the_other_form_costs_and_equals_the_oracle(preset):
    mixer, both_ways = make(preset=preset, degree=3), PADRe(DIM, 3, preset, 5)
    assert [p.shape for p in mixer.parameters()] == [p.shape for p in both_ways.parameters()]
    x, mask = torch.randn(2, 11, DIM, dtype=torch.float64), torch.rand(2, 11) < 0.7
    expected = mixer(x, None, mask)
    mixer.impl = "oracle"
    torch.testing.assert_close(mixer(x, None, mask)[mask], expected[mask])


@pytest.mark.parametrize("degree", [2, 3])
def test_chunks_see_the_past_across_their_borders(degree, monkeypatch):
    monkeypatch.setattr(chunked, "MIXER_CHUNK_BYTES", 300 * DIM * 8)
    mixer = make(degree=degree, kernel_size=3)
    x, mask = torch.randn(1, 1001, DIM, dtype=torch.float64), torch.rand(1, 1001) < 0.8
    whole = mixer(x, None, mask).detach()
    with torch.no_grad():
        assert chunked.chunk_length(x, mixer.receptive_radius) == 300
        torch.testing.assert_close(mixer(x, None, mask)[mask], whole[mask])


def test_export_with_an_open_length(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    mixer = make(degree=3).float().eval()
    length = {1: torch.export.Dim("length", min=2)}
    path = tmp_path / "mixer.onnx"
    torch.onnx.export(
        mixer, (torch.randn(1, 20, DIM),), path, dynamo=True, dynamic_shapes=(length,)
    )
    session = onnxruntime.InferenceSession(path)
    for tokens in (2, 33):
        x = torch.randn(1, tokens, DIM)
        got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        torch.testing.assert_close(torch.tensor(got), mixer(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dims=2), "causal: expected dims=1, got dims=2"),
        (dict(prefix=1), "causal: expected"),
        (dict(impl="triton"), "causal: expected prefix=0 and impl='eager'"),
        (
            dict(structure=PadreStructure((Conv(3),), (None,))),
            "causal: expected causal convolutions in the structure",
        ),
    ],
)
def test_what_cannot_be_causal_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PADRe(DIM, causal=True, **arguments)
    structure = PadreStructure((Conv(3, causal=True),), (None,))
    assert PADRe(DIM, causal=True, structure=structure).is_causal
    assert not PADRe(DIM).is_causal
