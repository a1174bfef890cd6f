"""What every mixer promises: batches and padding change nothing, shapes are checked."""

import pytest
import torch

from padre3d.mixers import MIXERS, build_mixer

DIM = 16
CONFIGS = [
    dict(type="padre", degree=2, preset="sequence"),
    dict(type="padre", degree=3, preset="sequence", kernel_size=5),
    dict(type="padre", degree=2, preset="paper"),
    dict(type="padre", degree=4, preset="paper"),
    dict(type="padre", degree=3, preset="text"),
    dict(type="set_attention", num_heads=4),
    dict(type="set_attention", num_heads=4, impl="explicit"),
    dict(type="padre_rational"),
    dict(type="padre_rational", degree=3, denominator_degree=2),
    dict(type="conv_control", degree=3),
    dict(type="self_attention", num_heads=4),
    dict(type="sima", num_heads=4),
    dict(type="conv2former"),
    dict(type="conv2former", gelu=True),
    dict(type="hyena", order=1),
    dict(type="hyena", order=3, causal=True),
    dict(type="mamba", state=4),
    dict(type="mamba", state=4, discretisation="euler"),
    dict(type="castling", num_heads=4),
    dict(type="castling", num_heads=4, normalise=False),
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
        torch.testing.assert_close(padded[:, :23], alone, atol=1e-6, rtol=1e-5)


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
        torch.testing.assert_close(together[g : g + 1, :length], alone, atol=1e-6, rtol=1e-5)


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


# Eq. 76 to the letter grows with the number of tokens: why the scheme normalises.
@pytest.mark.parametrize("cfg", [c for c in CONFIGS if c.get("normalise", True)], ids=str)
def test_unit_inputs_give_an_output_no_larger(cfg):
    torch.manual_seed(0)
    out = build_mixer(cfg, 64)(torch.randn(2, 500, 64))
    assert 0.01 < out.std() < 1.2


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
