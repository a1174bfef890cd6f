"""Hyena: the published form against its definition, ours against Eqs. 35-37, and precision."""

import pytest
import torch

from padre3d.mixers import build_mixer
from padre3d.mixers.hyena import long_convolution
from padre3d.mixers.hyena_filters import HyenaFilter, PublishedFilter

# y of order 2 and 3 by loops over tokens, lags and channels in float64, written from the definition
# (Poli et al. 2023, Definition 3.1 and section 3.3, and their code's order: causal convolution of 3
# taps on every projection, z = last projection, then per order gate, long filter plus skip). Two
# channels, six tokens, max_tokens 10, width 3, one band; every array is 0.6 sin(1.7 n + start) over
# its entries n in row-major order, ``start`` as in STARTS, and w is 1 plus its array.
EXPECTED = {
    2: [
        [0.4377070363414, -0.5494314614938],
        [0.5268159436980, -0.6390744220025],
        [0.4487151204861, -0.5641064324818],
        [0.6048362722240, -0.7205726605817],
        [0.4593405355953, -0.5732229764133],
        [0.6266247400214, -0.7413184895260],
    ],
    3: [
        [0.3966547573769, -0.5086391842248],
        [0.4296557282710, -0.5418045395056],
        [0.4132585749075, -0.5253765541496],
        [0.4463603434152, -0.5586744234632],
        [0.4207439183037, -0.5328801091425],
        [0.4590643807938, -0.5714424423743],
    ],
}
STARTS = {
    "projections.weight": 1.0,
    "projections.bias": 2.0,
    "short.weight": 3.0,
    "short.bias": 4.0,
    "filters.hidden.0.weight": 5.0,
    "filters.hidden.0.bias": 6.0,
    "filters.hidden.1.weight": 7.0,
    "filters.hidden.1.bias": 8.0,
    "filters.hidden.2.weight": 9.0,
    "filters.hidden.2.bias": 10.0,
    "filters.frequency": 11.0,
    "filters.last.weight": 12.0,
    "skip": 13.0,
    "out.weight": 14.0,
    "out.bias": 15.0,
}


def array(shape, start):
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (0.6 * torch.sin(1.7 * n + start)).reshape(shape)


@pytest.mark.parametrize("order", [2, 3])
def test_the_published_form_is_the_published_definition(order):
    mixer = build_mixer(dict(type="hyena", order=order, max_tokens=10), 2)
    mixer.filters = PublishedFilter((order - 1) * 2, max_tokens=10, width=3)
    mixer.double()
    assert dict(mixer.named_parameters()).keys() == STARTS.keys()
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            parameter.copy_(array(parameter.shape, STARTS[name]) + (name == "filters.frequency"))
    out = mixer(array((1, 6, 2), 0.3))
    expected = torch.tensor(EXPECTED[order], dtype=torch.float64)
    torch.testing.assert_close(out[0], expected, rtol=0, atol=1e-12)


def test_the_published_start_has_the_published_scale():
    """The part that depends on the token: 0.12 to 0.18 at the length the filters are made for."""
    for seed in range(3):
        torch.manual_seed(seed)
        mixer = build_mixer(dict(type="hyena", max_tokens=500), 64)
        assert 0.08 < mixer(torch.randn(2, 500, 64)).std(1).mean() < 0.25


@pytest.mark.parametrize("causal", [False, True])
def test_filters_by_lag_have_unit_energy(causal):
    torch.manual_seed(0)
    energy = HyenaFilter(64, causal=causal)(20_000).square().sum(0)
    torch.testing.assert_close(energy, torch.ones(64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("form", ["published", "equations"])
def test_low_precision_loses_its_own_digits_and_no_more(form):
    """The lag is far beyond what half precision counts to; phases stay those of float32."""
    torch.manual_seed(0)
    x = torch.randn(1, 4_000, 16)
    mixer = build_mixer(dict(type="hyena", form=form), 16)
    expected = mixer(x)
    error = (mixer.bfloat16()(x.bfloat16()) - expected).std() / expected.std()
    assert error < 0.02
    torch.manual_seed(0)
    half = build_mixer(dict(type="hyena", form=form), 16).half()
    assert half(torch.randn(1, 70_000, 16).half()).isfinite().all()


@pytest.mark.parametrize("make", [HyenaFilter, PublishedFilter])
def test_filters_in_low_precision_keep_their_phases(make):
    """Weights rounded to 8 bits, and nothing else: lags are counted in single precision."""
    torch.manual_seed(0)
    filters = make(64, max_tokens=4_000) if make is PublishedFilter else make(64)
    expected = filters(4_000)
    error = filters.bfloat16()(4_000) - expected
    assert error.norm() < 0.01 * expected.norm()


def test_published_filters_continue_beyond_their_length_and_padding_changes_none():
    filters = PublishedFilter(4, max_tokens=10)
    torch.testing.assert_close(filters(30)[:7], filters(7))
    assert filters(30).isfinite().all()


def test_one_sided_filters_are_the_second_half_of_two_sided_ones():
    x, taps = torch.randn(2, 9, 3).double(), torch.randn(9, 3).double()
    both = torch.cat([torch.zeros(8, 3).double(), taps])
    torch.testing.assert_close(long_convolution(taps, x), long_convolution(both, x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(form="best"), "Hyena form: expected one of"),
        (dict(order=1), "order: expected an integer >= 2"),
        (dict(order=0, form="equations"), "order: expected an integer >= 1"),
        (dict(causal=False), "causal: expected True in the published form"),
        (dict(prefix=1), "prefix: expected 0 where tokens see only earlier ones"),
        (dict(max_tokens=9, form="equations"), "max_tokens: expected form='published'"),
        (dict(max_tokens=0), "max_tokens: expected an integer >= 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_mixer(dict(type="hyena", **arguments), 8)
