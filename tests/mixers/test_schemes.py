"""Table 1: what appendix B proves about each scheme, measured on our mixer of that name.

A mixer is a homogeneous polynomial of degree n if f(t x) = t^n f(x); a polynomial of degree n if
the (n+1)-th difference along a line vanishes and the n-th does not. Biases are off, as in the
proofs.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from padre3d.mixers import PADRe, build_mixer
from padre3d.mixers.hyena import long_convolution
from padre3d.mixers.hyena_filters import HyenaFilter
from padre3d.mixers.set_attention import taylor_attention
from padre3d.mixers.sima import column_norms, sima
from padre3d.ops.padre import PadreWeights, Pointwise, TokenConv1d, padre
from padre3d.ops.selective_scan import selective_scan

DIM, TOKENS = 8, 15


def without_biases(cfg):
    torch.manual_seed(0)
    mixer = build_mixer(cfg, DIM).double()
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            if name.split(".")[-1] == "bias" and "filters" not in name:
                parameter.zero_()
    return mixer


def tokens(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, TOKENS, DIM, dtype=torch.float64, generator=generator)


def assert_homogeneous(function, degree):
    x = tokens()
    value = function(x)
    assert value.norm() > 1e-6
    for t in (-2.0, 0.5, 3.0):
        torch.testing.assert_close(function(t * x), t**degree * value)


def assert_degree(function, degree):
    start, direction = tokens(1), tokens(2)
    values = [function(start + t * direction) for t in range(degree + 2)]

    def difference(v):
        n = len(v) - 1
        return sum((-1) ** (n - j) * math.comb(n, j) * f for j, f in enumerate(v))

    top, size = difference(values[:-1]).norm(), max(v.norm() for v in values)
    assert top > 1e-6 * size
    assert difference(values).norm() < 1e-12 * size


def test_b_1_sima_is_of_degree_3_with_its_norms_as_coefficients():
    mixer = without_biases(dict(type="sima", num_heads=2))
    q0, k0, _ = mixer.heads.project(tokens(), None, None)
    norms = column_norms(q0), column_norms(k0)
    assert_homogeneous(lambda x: sima(*mixer.heads.project(x, None, None), *norms), 3)
    assert_degree(lambda x: sima(*mixer.heads.project(x, None, None), *norms), 3)
    assert_homogeneous(mixer, 1)  # the norms follow the input: only the direction of Q, K counts


def test_b_1_sima_is_equation_24():
    mixer = without_biases(dict(type="sima", num_heads=1))
    x = tokens()
    q, k, v = (t[0, 0] for t in mixer.heads.project(x, None, None))
    q, k = q / q.abs().sum(0), k / k.abs().sum(0)
    expected = torch.zeros(TOKENS, DIM, dtype=torch.float64)
    for m in range(TOKENS):
        for i in range(DIM):
            expected[m] += q[m, i] * (k[:, i, None] * v).sum(0)
    torch.testing.assert_close(mixer(x)[0], expected @ mixer.heads.out.weight.T)


def test_b_2_conv2former_is_of_degree_2():
    mixer = without_biases(dict(type="conv2former", kernel_size=5))
    assert_homogeneous(mixer, 2)
    assert_degree(mixer, 2)


def test_b_2_conv2former_is_the_sequence_preset_of_degree_2():
    torch.manual_seed(0)
    conv2former = build_mixer(dict(type="conv2former", kernel_size=5), DIM).double()
    sequence = PADRe(DIM, 2, "sequence", 5).double()
    for ours, theirs in [
        (sequence.b[0], conv2former.w1),
        (sequence.c[0], conv2former.conv),
        (sequence.b[1], conv2former.w2),
        (sequence.v, conv2former.out),
    ]:
        ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(sequence(tokens()), conv2former(tokens()))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_b_3_hyena_of_order_n_is_of_degree_n_plus_1(order, causal):
    mixer = without_biases(dict(type="hyena", order=order, form="equations", causal=causal))
    assert_homogeneous(mixer, order + 1)
    assert_degree(mixer, order + 1)


def test_b_3_hyena_is_padre_with_long_filters():
    """C_i the long convolutions, B_i the projections, only Z_{N+1} in the sum, V the output."""
    torch.manual_seed(0)
    mixer = build_mixer(dict(type="hyena", order=2, form="equations"), DIM).double()
    b = [
        Pointwise(w, bias)
        for w, bias in zip(
            mixer.projections.weight.chunk(3), mixer.projections.bias.chunk(3), strict=True
        )
    ]
    # a convolution layer correlates: lag t - s of the filter is the tap at offset s - t
    c = [TokenConv1d(f(TOKENS).flip(0).T.unsqueeze(1), None, DIM) for f in mixer.filters]
    weights = PadreWeights(
        a=(None,) * 3,
        b=tuple(b),
        c=tuple(c),
        d=(None,) * 2,
        terms=(3,),
        v=Pointwise(mixer.out.weight, mixer.out.bias),
    )
    torch.testing.assert_close(mixer(tokens()), padre(tokens(), weights))


def test_b_3_long_convolution_is_the_sum_of_equation_40():
    filters = torch.randn(2 * TOKENS - 1, DIM, dtype=torch.float64)
    x = tokens()
    expected = torch.zeros_like(x)
    for t in range(TOKENS):
        for s in range(TOKENS):
            expected[:, t] += filters[t - s + TOKENS - 1] * x[:, s]
    torch.testing.assert_close(long_convolution(filters, x), expected)


@pytest.mark.parametrize("order", [2, 3])
def test_b_3_hyena_as_published_is_of_degree_n_plus_1_too(order):
    mixer = without_biases(dict(type="hyena", order=order))
    assert_homogeneous(mixer, order + 1)
    assert_degree(mixer, order + 1)


@pytest.mark.parametrize("form", ["published", "equations"])
def test_b_3_causal_filters_do_not_look_ahead(form):
    torch.manual_seed(0)
    mixer = build_mixer(dict(type="hyena", form=form, causal=True), DIM).double()
    x = tokens()
    changed = x.clone()
    changed[:, 9:] += 1
    change = (mixer(changed) - mixer(x)).abs().amax((0, 2))
    assert change[:9].max() < 1e-12
    assert change[9:].min() > 1e-6


def test_b_3_filters_depend_on_the_lag_alone():
    filters = HyenaFilter(DIM)
    torch.testing.assert_close(filters(20)[10:29], filters(10))


@pytest.mark.parametrize("discretisation", ["published", "zoh", "euler"])
def test_b_4_the_scan_is_of_degree_3_at_a_fixed_step(discretisation):
    """Eq. 74: B and C linear in x, Delta a constant."""
    torch.manual_seed(0)
    w_b, w_c = torch.randn(2, DIM, 4, dtype=torch.float64)
    a = -torch.rand(DIM, 4, dtype=torch.float64)
    delta = torch.full((2, TOKENS, DIM), 0.05, dtype=torch.float64)

    def scan(x):
        return selective_scan(x, delta, a, x @ w_b, x @ w_c, discretisation)

    assert_homogeneous(scan, 3)
    assert_degree(scan, 3)


@pytest.mark.parametrize("discretisation", ["published", "zoh", "euler"])
def test_b_4_mamba_is_its_equations(discretisation):
    """The whole block token by token: Eqs. 51-54 (or 68, 69) with B, C and Delta of Eqs. 60-62."""
    torch.manual_seed(0)
    mixer = build_mixer(dict(type="mamba", state=4, discretisation=discretisation), DIM).double()
    assert build_mixer(dict(type="mamba"), DIM).discretisation == "published"
    x = tokens()[0]
    project = F.linear(x, mixer.project_in.weight, mixer.project_in.bias)
    u, gate = project[:, :DIM], project[:, DIM:]
    taps, past = mixer.conv.weight[:, 0], torch.zeros(3, DIM, dtype=torch.float64)
    past = torch.cat([past, u])
    u = F.silu(sum(past[j : j + TOKENS] * taps[:, j] for j in range(4)) + mixer.conv.bias)
    a = -mixer.log_a.exp()
    state, expected = torch.zeros(DIM, 4, dtype=torch.float64), []
    for t in range(TOKENS):
        b, c = mixer.project_bc(u[t]).chunk(2)
        delta = (1 + mixer.project_delta(u[t]).exp()).log()[:, None]
        if discretisation == "zoh":
            a_bar, b_bar = (delta * a).exp(), ((delta * a).exp() - 1) / (delta * a) * delta * b
        elif discretisation == "published":  # exp(Delta A) and Delta B, as the authors' code has it
            a_bar, b_bar = (delta * a).exp(), delta * b
        else:
            a_bar, b_bar = 1 + delta * a, delta * b
        state = a_bar * state + b_bar * u[t][:, None]
        expected.append((state @ c + mixer.skip * u[t]) * F.silu(gate[t]))
    torch.testing.assert_close(mixer(x[None])[0], mixer.project_out(torch.stack(expected)))


def test_b_5_castling_is_of_degree_3_and_odd():
    mixer = without_biases(dict(type="castling", num_heads=2, normalise=False))
    assert_degree(mixer, 3)
    torch.testing.assert_close(mixer(-tokens()), -mixer(tokens()))  # degrees 3 and 1, nothing else


def test_b_5_castling_is_equation_76():
    mixer = without_biases(dict(type="castling", num_heads=1, normalise=False))
    x = tokens()
    q, k, v = (t[0, 0] for t in mixer.heads.project(x, None, None))
    padded = torch.cat([torch.zeros_like(v[:1]), v, torch.zeros_like(v[:1])])
    taps = mixer.conv.weight[:, 0]
    depthwise = sum(padded[j : j + TOKENS] * taps[:, j] for j in range(3))
    expected = (q @ k.T) @ v / math.pi + v / 2 + depthwise
    torch.testing.assert_close(mixer(x)[0], expected @ mixer.heads.out.weight.T)


def test_b_6_the_taylor_error_of_attention_falls_with_the_degree():
    """Eq. 81: |exp - T_d| <= L^(d+1) e^L / (d+1)! on [-L, L], and its bound on the output."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, TOKENS, DIM, dtype=torch.float64)
    logits = q @ k.transpose(1, 2) / math.sqrt(DIM)
    exact = logits.softmax(-1) @ v
    bound_l = logits.abs().max().item()
    errors, bounds = [], []
    for degree in range(4, 26, 3):
        errors.append((taylor_attention(q, k, v, degree) - exact).abs().max().item())
        exp_error = bound_l ** (degree + 1) * math.exp(bound_l) / math.factorial(degree + 1)
        relative = exp_error * math.exp(bound_l)  # every term of the softmax is at least e^-L
        # From a relative error of 1 on the sum of the terms may be 0, and nothing is bounded.
        bound = 2 * relative / (1 - relative) * v.abs().max().item()
        bounds.append(bound if relative < 0.5 else math.inf)
    assert sum(map(math.isfinite, bounds)) >= 3
    assert all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-10


@pytest.mark.parametrize("preset", ["paper", "text", "sequence"])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_the_control_costs_the_same_and_is_linear(preset, degree):
    cfg = dict(degree=degree, preset=preset, kernel_size=5)
    control, ours = without_biases(dict(type="conv_control", **cfg)), PADRe(DIM, **cfg).double()
    assert [p.shape for p in control.parameters()] == [p.shape for p in ours.parameters()]
    flops = []
    for mixer in (control, ours):
        with FlopCounterMode(display=False) as counter:
            mixer(tokens())
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0
    assert_homogeneous(control, 1)
    assert_degree(control, 1)
