"""What every mixer promises: batches and padding change nothing, shapes are checked."""

import warnings

import pytest
import torch
from same_outputs import assert_close_to_largest

from padre3d.mixers import MIXERS, PADRe, PadreStructure, build_mixer
from padre3d.mixers.structure import Conv, LowRank

DIM = 16
CONFIGS = [
    dict(type="padre", degree=2, preset="sequence"),
    dict(type="padre", degree=3, preset="sequence", kernel_size=5),
    dict(type="padre", degree=2, preset="paper"),
    dict(type="padre", degree=4, preset="paper"),
    dict(type="padre", degree=3, preset="text"),
    dict(type="padre", degree=3, causal=True),
    dict(type="set_attention", num_heads=4),
    dict(type="set_attention", num_heads=4, impl="explicit"),
    dict(type="padre_rational"),
    dict(type="padre_rational", degree=3, denominator_degree=2),
    dict(type="conv_control", degree=3),
    dict(type="self_attention", num_heads=4),
    dict(type="sima", num_heads=4),
    dict(type="conv2former"),
    dict(type="conv2former", gelu=True),
    dict(type="hyena", max_tokens=500),
    dict(type="hyena", order=3, max_tokens=500),
    dict(type="hyena", order=1, form="equations"),
    dict(type="hyena", order=3, form="equations", causal=True),
    dict(type="mamba", state=4),
    dict(type="mamba", state=4, discretisation="zoh"),
    dict(type="mamba", state=4, discretisation="euler"),
    dict(type="castling", num_heads=4),
    dict(type="castling", num_heads=4, normalise=False),
    dict(type="linear_angular", num_heads=4),
    dict(type="focused_linear", num_heads=4),
    dict(type="efficient", num_heads=4),
    dict(type="hydra"),
    dict(type="enhanced_linear", num_heads=4),
    dict(type="knn_attention", num_heads=4, neighbours=7),
]


def make(cfg, device="cpu"):
    """A mixer with every parameter random, biases too: a zero bias would hide a leak of padding."""
    torch.manual_seed(0)
    mixer = build_mixer(cfg, DIM).eval()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer.to(device)


def test_every_mixer_is_tested():
    assert {cfg["type"] for cfg in CONFIGS} == set(MIXERS)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_padding_and_its_content_change_nothing(cfg, device):
    mixer = make(cfg, device)
    x, pos = torch.randn(2, 2, 23, DIM).to(device)
    alone = mixer(x, pos)
    mask = torch.zeros(2, 30, dtype=torch.bool, device=device)
    mask[:, :23] = True
    for content in (0.0, 1e4, float("nan")):
        pad = torch.full((2, 7, DIM), content, device=device)
        padded = mixer(torch.cat([x, pad], 1), torch.cat([pos, pad], 1), mask)
        assert padded.isfinite().all()
        assert_close_to_largest(padded[:, :23], alone)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_a_sequence_is_the_same_alone_and_in_a_batch(cfg, device):
    mixer = make(cfg, device)
    lengths = [1, 30, 4, 0]
    mask = (torch.arange(30) < torch.tensor(lengths)[:, None]).to(device)
    x, pos = torch.randn(2, 4, 30, DIM).to(device)
    together = mixer(x, pos, mask)
    assert together.isfinite().all()
    for g, length in enumerate(lengths[:3]):
        alone = mixer(x[g : g + 1, :length], pos[g : g + 1, :length])
        assert_close_to_largest(together[g : g + 1, :length], alone)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_gradients_do_not_reach_padding_and_stay_finite(cfg, device):
    mixer = make(cfg, device)
    x = torch.randn(2, 12, DIM).to(device)
    x[:, 8:] = float("nan")
    x.requires_grad_()
    mask = torch.ones(2, 12, dtype=torch.bool, device=device)
    mask[:, 8:] = False
    out = mixer(x, None, mask)
    out[mask].square().sum().backward()
    assert torch.count_nonzero(x.grad[:, 8:]) == 0
    assert x.grad[:, :8].abs().min() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in mixer.parameters())


# SimA divides queries and keys by norms over all tokens, efficient attention by sums: what depends
# on one token falls with their number.
SMALLEST_PART = {"sima": 1e-4, "efficient": 1e-3}


# Eq. 76 to the letter grows with the number of tokens: why the scheme normalises.
@pytest.mark.parametrize("cfg", [c for c in CONFIGS if c.get("normalise", True)], ids=str)
def test_unit_inputs_give_an_output_no_larger(cfg):
    """Of the part that depends on the token, which a bias alone would not give."""
    torch.manual_seed(0)
    out = build_mixer(cfg, 64)(torch.randn(2, 500, 64))
    part = out.std(dim=1).mean()
    assert SMALLEST_PART.get(cfg["type"], 0.01) < part < 1.2
    assert out.std() < 1.5


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_wrong_shapes_are_named(cfg):
    mixer = make(cfg)
    x = torch.zeros(2, 5, DIM)
    with pytest.raises(ValueError, match="mixer x: expected shape"):
        mixer(torch.zeros(2, 5, DIM + 1))
    with pytest.raises(ValueError, match="mixer pos: expected shape"):
        mixer(x, x[:, :3])
    with pytest.raises(ValueError, match="mixer mask: expected shape"):
        mixer(x, None, torch.ones(2, 6, dtype=torch.bool))


def test_unknown_type_lists_the_known_ones():
    with pytest.raises(ValueError, match="'padre'.*got 'transformer'"):
        build_mixer(dict(type="transformer"), DIM)
    with pytest.raises(ValueError, match="cannot be built from"):
        build_mixer(dict(type="padre", colour="red"), DIM)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_masked_tokens_in_the_middle_are_not_seen(cfg, device):
    mixer = make(cfg, device)
    mask = (torch.rand(2, 20) < 0.7).to(device)
    x, noise = torch.randn(2, 2, 20, DIM).to(device)
    other = torch.where(mask.unsqueeze(-1), x, noise * 100)
    torch.testing.assert_close(mixer(x, None, mask)[mask], mixer(other, None, mask)[mask])


def test_mamba_steps_over_masked_tokens():
    """With a one-tap convolution, masked tokens might as well not be there."""
    mixer = make(dict(type="mamba", state=4, kernel_size=1))
    x, mask = torch.randn(1, 20, DIM), torch.arange(20)[None] % 3 != 1
    expected = mixer(x[mask][None])
    torch.testing.assert_close(mixer(x, None, mask)[mask][None], expected)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_autocast_trains_in_low_precision(cfg, device):
    """bfloat16 has 8 bits: a few per cent of the output's scale, and every gradient finite."""
    mixer = make(cfg, device)
    x, mask = torch.randn(2, 20, DIM), torch.ones(2, 20, dtype=torch.bool)
    x, mask = x.to(device), mask.to(device)
    mask[1, 15:] = False
    expected = mixer(x, x, mask)[mask]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out = mixer(x, x, mask)[mask]
    assert (out - expected).std() < 0.05 * expected.std()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters() if p.grad is not None)


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
@pytest.mark.parametrize("shape", [(2, 0, DIM), (0, 5, DIM), (0, 0, DIM)])
def test_nothing_in_nothing_out(cfg, shape):
    """Gradients too: a batch without a token is a batch."""
    mixer = make(cfg)
    x = torch.zeros(shape, requires_grad=True)
    for mask in (None, torch.ones(shape[:2], dtype=torch.bool)):
        out = mixer(x, x, mask)
        assert out.shape == shape
        assert out.dtype == x.dtype
        out.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_a_mask_is_of_booleans(cfg):
    mixer, x = make(cfg), torch.zeros(2, 5, DIM)
    for dtype in (torch.int64, torch.float32):
        with pytest.raises(ValueError, match="mixer mask: expected torch.bool.*got torch"):
            mixer(x, None, torch.ones(2, 5, dtype=dtype))


IMAGES = ["padre", "conv_control", "conv2former", "padre_rational"]


@pytest.mark.parametrize("name", IMAGES)
def test_images_with_prefix_tokens(name):
    """What holds for PADRe holds for every mixer with a 2-D form."""
    mixer = make(dict(type=name, kernel_size=3, dims=2, size=(3, 5), prefix=2)).double()
    x = torch.randn(1, 17, DIM, dtype=torch.float64, requires_grad=True)
    out = mixer(x)
    (from_prefix,) = torch.autograd.grad(out[0, :2].sum(), x, retain_graph=True)
    assert from_prefix.abs().amax(-1)[0, 2:].min() > 0
    (from_patches,) = torch.autograd.grad(out[0, 2:].sum(), x)
    assert from_patches[0, :2].abs().max() == 0
    alone = make(dict(type=name, kernel_size=3, dims=2, size=(3, 5))).double()
    alone.load_state_dict(mixer.state_dict())
    torch.testing.assert_close(out[:, 2:], alone(x[:, 2:]))
    with pytest.raises(ValueError, match=r"size=\(3, 5\): expected 15 tokens, got 14"):
        mixer(x[:, :16])
    with pytest.raises(ValueError, match="prefix=2: expected at least 2 tokens, got 1"):
        mixer(x[:, :1])
    with pytest.raises(ValueError, match="prefix tokens: expected mask=None"):
        mixer(x, None, torch.ones(1, 17, dtype=torch.bool))
    sequence = make(dict(type=name, kernel_size=3, prefix=2))
    assert sequence(torch.randn(1, 2, DIM)).isfinite().all()
    assert mixer(x[:0]).shape == (0, 17, DIM)


def test_hyena_takes_prefix_tokens_where_it_looks_both_ways():
    mixer = make(dict(type="hyena", form="equations", prefix=1)).double()
    x = torch.randn(1, 17, DIM, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x)[0, 0].sum(), x)
    assert gradient.abs().amax(-1).min() > 0
    assert mixer(x[:, :1]).isfinite().all()


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (dict(degree=2), r"mixer: expected dict\(type=NAME"),
        (dict(type=["padre"]), r"mixer: expected dict\(type=NAME.*got {'type': \['padre'\]}"),
        ("padre", r"mixer: expected dict\(type=NAME.*got padre"),
        (dict(type="set_attention", num_heads=0), "num_heads: expected an integer >= 1, got 0"),
        (dict(type="sima", num_heads=0), "num_heads: expected an integer >= 1, got 0"),
        (dict(type="castling", num_heads=3), "num_heads: expected a divisor of dim = 16, got 3"),
        (dict(type="padre", kernel_size="11"), "kernel_size: expected an integer >= 1, got '11'"),
        (dict(type="castling", kernel_size=4), "kernel_size: expected an odd number, got 4"),
        (dict(type="padre", degree=2.0), "degree: expected an integer >= 2, got 2.0"),
        (dict(type="padre", degree=True), "degree: expected an integer >= 2, got True"),
        (dict(type="padre_rational", degree=0), "degree: expected an integer >= 1, got 0"),
        (dict(type="padre", prefix=-1), "prefix: expected an integer >= 0, got -1"),
        (dict(type="padre", size=(3, 5)), "size: expected None with dims=1"),
        (dict(type="conv2former", size=(3, 5)), "size: expected None with dims=1"),
        (dict(type="padre", dims=2, size=15), r"size: expected \(H, W\), got 15"),
        (dict(type="padre", dims=2, size=(3, 0)), "size, W: expected an integer >= 1, got 0"),
        (dict(type="padre", dims=3), "dims: expected 1 or 2, got 3"),
        (dict(type="conv2former", dims=2.0), "dims: expected an integer >= 1, got 2.0"),
        (dict(type="padre", impl="fast"), "PADRe impl: expected one of .*got 'fast'"),
        (dict(type="padre", grid_impl="fast"), "PADRe grid_impl: expected one of .*got 'fast'"),
        # The fused kernels and the recurrence of a basis hold the product that the control lacks.
        (dict(type="conv_control", impl="triton"), r"impl: expected one of \('eager',\), got"),
        (dict(type="conv_control", basis="legendre"), r"basis: expected one of \('monomial',\)"),
        (dict(type="castling", normalise="layer"), r"normalise: expected one of \(True, False\)"),
        (dict(type="conv2former", gelu="tanh"), r"gelu: expected one of \(True, False\)"),
        (dict(type="padre_rational", epsilon=0.0), "epsilon: expected a number > 0, got 0.0"),
        (dict(type="mamba", discretisation="rk4"), "discretisation: expected one of"),
        (dict(type="mamba", state=0), "state: expected an integer >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named_at_construction(cfg, message):
    with pytest.raises(ValueError, match=message):
        build_mixer(cfg, DIM)


def test_bad_structures_are_named_at_construction():
    plain = dict(a=(Conv(3),), b=(None,))
    for change, message in (
        (dict(basis="fourier"), "basis: expected one of"),
        (dict(normalise="batch"), "normalise: expected one of"),
        (dict(a=(Conv(3, groups=3),)), "groups: expected a divisor of dim = 16, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            PADRe(DIM, structure=PadreStructure(**(plain | change)))
    with pytest.raises(ValueError, match=r"rank: expected an integer >= 1, got 0"):
        LowRank(0)
    with pytest.raises(ValueError, match="size: expected None with dims=1"):
        PADRe(DIM)(torch.zeros(1, 15, DIM), size=(3, 5))


def test_a_trace_with_gradients_passes_its_own_check():
    """torch.jit.trace runs its check without gradients: the graph must be the same."""
    mixer, x = make(dict(type="padre", kernel_size=3)), torch.randn(1, 20, DIM)
    assert torch.is_grad_enabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Output nr|Trace had", torch.jit.TracerWarning)
        traced = torch.jit.trace(mixer, (x,))
    y = torch.randn(1, 33, DIM)
    torch.testing.assert_close(traced(y), mixer(y))
