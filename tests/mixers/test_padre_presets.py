"""The presets: wiring, parameter and MAC formulas, initial scale, 2-D."""

import pytest
import torch
from same_outputs import assert_close_to_largest
from torch.utils.flop_counter import FlopCounterMode

from padre3d.mixers import PRESETS, PADRe, PadreStructure, preset
from padre3d.mixers.structure import Conv, Dense, Linear, LowRank

COUNTS = {  # preset -> degree -> (dense maps, convolutions)
    "paper": {2: (3, 1), 3: (5, 4), 4: (7, 6)},
    "text": {2: (3, 3), 3: (5, 5), 4: (7, 7), 5: (9, 9)},
    "sequence": {2: (3, 1), 3: (4, 2), 4: (5, 3), 5: (6, 4)},
}
CASES = [(name, degree, *ab) for name, counts in COUNTS.items() for degree, ab in counts.items()]


@pytest.mark.parametrize(("name", "degree", "a", "b"), CASES)
@pytest.mark.parametrize(("dims", "kernel"), [(1, 11), (2, 3)])
def test_parameter_and_mac_formulas(name, degree, a, b, dims, kernel):
    dim, size, taps = 16, (6, 7), kernel**dims
    mixer = PADRe(dim, degree, name, kernel, dims, size=size if dims == 2 else None)
    parameters = sum(p.numel() for p in mixer.parameters())
    assert parameters == a * dim**2 + b * taps * dim + (a + b) * dim

    with FlopCounterMode(display=False) as counter:
        mixer(torch.randn(1, 42, dim))
    macs = counter.get_total_flops() / 2
    assert macs == 42 * (a * dim**2 + b * taps * dim)


@pytest.mark.parametrize(
    ("name", "degree", "dim", "dims", "parameters"),
    [
        ("paper", 2, 128, 1, 51_072),
        ("paper", 3, 128, 1, 88_704),
        ("paper", 4, 128, 1, 124_800),
        ("paper", 2, 192, 2, 134_592),
        ("paper", 3, 192, 2, 278_976),
        ("paper", 4, 192, 2, 399_936),
        ("text", 2, 128, 1, 54_144),
        ("text", 3, 128, 1, 90_240),
        ("text", 4, 128, 1, 126_336),
        ("sequence", 2, 128, 1, 51_072),
        ("sequence", 3, 128, 1, 69_120),
        ("sequence", 4, 128, 1, 87_168),
    ],
)
def test_printed_parameter_counts(name, degree, dim, dims, parameters):
    mixer = PADRe(dim, degree, name, 11, dims)
    assert sum(p.numel() for p in mixer.parameters()) == parameters


def linear(x, module):
    return x @ module.weight.T + module.bias


def conv(x, module):
    """Depthwise convolution over the tokens of (N, D), tap by tap."""
    kernel = module.weight[:, 0]
    width = kernel.shape[1]
    padded = torch.cat(
        [x.new_zeros(width // 2, x.shape[1]), x, x.new_zeros(width // 2, x.shape[1])]
    )
    taps = [padded[j : j + len(x)] * kernel[:, j] for j in range(width)]
    return sum(taps) + module.bias


def randomised(name, degree):
    torch.manual_seed(1)
    mixer = PADRe(8, degree, name, 5).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_(std=0.5)
    return mixer, torch.randn(1, 9, 8, dtype=torch.float64)


def test_paper_wiring():
    """P = [A_1 (X B_1) D_1] * (X B_2); from d = 3 on all A, C_1 = I."""
    m, x = randomised("paper", 2)
    expected = linear(conv(linear(x[0], m.b[0]), m.a[0]), m.d[0]) * linear(x[0], m.b[1])
    torch.testing.assert_close(m(x)[0], expected)

    m, x = randomised("paper", 4)
    y = [conv(linear(x[0], b), a) for a, b in zip(m.a, m.b, strict=True)]
    z2 = linear(y[0], m.d[0]) * y[1]
    z3 = conv(linear(z2, m.d[1]), m.c[1]) * y[2]
    z4 = conv(linear(z3, m.d[2]), m.c[2]) * y[3]
    torch.testing.assert_close(m(x)[0], z2 + z3 + z4)


def test_text_wiring():
    m, x = randomised("text", 3)
    y = [conv(linear(x[0], b), a) for a, b in zip(m.a, m.b, strict=True)]
    z2 = conv(linear(y[0], m.d[0]), m.c[0]) * y[1]
    z3 = conv(linear(z2, m.d[1]), m.c[1]) * y[2]
    torch.testing.assert_close(m(x)[0], z2 + z3)


def test_sequence_wiring():
    m, x = randomised("sequence", 3)
    y = [linear(x[0], b) for b in m.b]
    z2 = conv(y[0], m.c[0]) * y[1]
    z3 = conv(z2, m.c[1]) * y[2]
    torch.testing.assert_close(m(x)[0], linear(z2 + z3, m.v))


@pytest.mark.parametrize("name", PRESETS)
def test_an_image_is_mixed_in_two_dimensions(name):
    """A token moves exactly the outputs within its k x k reach; rows do not wrap around."""
    torch.manual_seed(0)
    mixer = PADRe(4, 2, name, kernel_size=3, dims=2).double()
    x = torch.randn(1, 25, 4, dtype=torch.float64)
    moved = x.clone()
    moved[0, 9] += 1.0  # row 1, column 4: the right edge
    change = (mixer(moved, size=(5, 5)) - mixer(x, size=(5, 5))).abs().sum(-1).view(5, 5)
    reach = 2 if name == "text" else 1  # two convolutions in a row
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[max(0, 1 - reach) : 2 + reach, 4 - reach :] = True
    assert torch.equal(change > 1e-12, expected)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_initial_output_is_smaller_than_the_input(name, degree):
    torch.manual_seed(0)
    out = PADRe(64, degree, name)(torch.randn(4, 400, 64))
    assert 0.3 < out.std() < 0.8


def test_bad_presets_are_named():
    with pytest.raises(ValueError, match="preset: expected one of .*got 'best'"):
        preset("best", 2)
    with pytest.raises(ValueError, match="degree: expected an integer >= 2, got 1"):
        preset("paper", 1)
    with pytest.raises(ValueError, match="odd number, got 10"):
        preset("paper", 2, 10)
    with pytest.raises(ValueError, match="expected size"):
        PADRe(4, dims=2)(torch.zeros(1, 4, 4))


def test_any_structure_as_a_module():
    """Every kind of spec, W, L, U and V reach the operator: against explicit matrices."""
    torch.manual_seed(0)
    structure = PadreStructure(
        a=(Conv(3), LowRank(2, tokens=7), Dense(7)),
        b=(Linear(), LowRank(3), None),
        c=(Conv(5, groups=2), None),
        d=(None, Linear()),
        terms=(1, 3),
        w="channel",
        l="channel",
        u=Dense(7),
        v=LowRank(2),
        normalise="rms",
        basis="legendre",
    )
    mixer = PADRe(8, structure=structure)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 7, 8)
    mixer.impl = "oracle"
    expected = mixer(x)
    mixer.impl = "eager"
    assert_close_to_largest(mixer(x).double(), expected)
    mixer(x).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mixer.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PadreStructure((None,), (None,), w="token"), "w: expected None, 'scalar'"),
        (lambda: PadreStructure((None,), (None,), l="token"), "l: expected None or 'channel'"),
        (lambda: Conv(3, dims=3), "dims: expected 1 or 2, got 3"),
        (lambda: PADRe(4, structure=PadreStructure((LowRank(2),), (None,))), "number of tokens"),
    ],
)
def test_bad_structures_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_export_is_one_convolution_per_conv_and_any_length(tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    mixer = PADRe(8, 3).eval()
    x, mask = torch.randn(1, 20, 8), torch.arange(20)[None] < 17
    length = {1: torch.export.Dim("length", min=2)}
    path = tmp_path / "mixer.onnx"
    shapes = (length, None, length)
    torch.onnx.export(mixer, (x, None, mask), path, dynamo=True, dynamic_shapes=shapes)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Conv") == 2
    session = onnxruntime.InferenceSession(path)
    for tokens in (2, 33):
        x, mask = torch.randn(1, tokens, 8), torch.rand(1, tokens) < 0.8
        feeds = zip((i.name for i in session.get_inputs()), (x.numpy(), mask.numpy()), strict=True)
        got = torch.tensor(session.run(None, dict(feeds))[0])
        torch.testing.assert_close(got, mixer(x, None, mask), atol=1e-5, rtol=1e-5)


def test_gain_scales_the_start_of_all_factors_but_the_first():
    torch.manual_seed(0)
    small, large = PADRe(64, 3, gain=0.1), PADRe(64, 3, gain=1.0)
    scales = [[m.weight.std().item() * 8 for m in mixer.b] for mixer in (small, large)]
    assert scales[0] == pytest.approx([1.0, 0.1, 0.1], rel=0.1)
    assert scales[1] == pytest.approx([1.0, 1.0, 1.0], rel=0.1)


def test_normalise_and_basis_reach_the_structure():
    mixer = PADRe(16, 3, normalise="max", basis="chebyshev")
    assert mixer.structure.normalise == "max"
    assert mixer.structure.basis == "chebyshev"
    x = torch.randn(1, 9, 16)
    plain = PADRe(16, 3)
    plain.load_state_dict(mixer.state_dict())
    assert not torch.allclose(plain(x), mixer(x), atol=1e-3)
