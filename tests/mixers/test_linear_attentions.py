"""The other columns of the paper's Tables 2 and 6, each against its definition token by token."""

import math

import pytest
import torch

from padre3d.mixers import build_mixer

DIM, HEADS, TOKENS = 8, 2, 12
WIDTH = DIM // HEADS


def make(name, **arguments):
    torch.manual_seed(0)
    mixer = build_mixer(dict(type=name, **arguments), DIM).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(1, TOKENS, DIM, dtype=torch.float64)
    q, k = (x[0] @ mixer.heads.query_key.weight.T + mixer.heads.query_key.bias).chunk(2, 1)
    v = x[0] @ mixer.heads.value.weight.T + mixer.heads.value.bias
    return mixer, x, q, k, v


def output(mixer, mixed):
    return mixed @ mixer.heads.out.weight.T + mixer.heads.out.bias


def per_head(function, *tensors):
    """``function`` on the (N, D / h) parts of every head, side by side."""
    parts = zip(*(t.split(WIDTH, 1) for t in tensors), strict=True)
    return torch.cat([function(*part) for part in parts], 1)


def mean_of_values(weights, v):
    """sum_j w_ij v_j, pair by pair."""
    rows = [sum(weights[i, j] * v[j] for j in range(len(v))) for i in range(len(weights))]
    return torch.stack(rows)


def unit(x):
    return x / x.square().sum(1, keepdim=True).sqrt()


def convolved(v, taps):
    """Taps (D, k) along the tokens of v (N, D)."""
    reach = taps.shape[1] // 2
    out = torch.zeros_like(v)
    for t in range(len(v)):
        for j in range(taps.shape[1]):
            if 0 <= t + j - reach < len(v):
                out[t] += taps[:, j] * v[t + j - reach]
    return out


def test_linear_angular_is_the_authors_module():
    mixer, x, q, k, v = make("linear_angular", num_heads=HEADS)
    assert mixer.conv.weight.shape == (HEADS, 1, 9)

    def head(q, k, v):
        angle = unit(q) @ unit(k).T  # the cosine; the angular kernel cut after its linear term
        return unit(mean_of_values(0.5 * torch.eye(TOKENS) + angle / math.pi, v))

    taps = mixer.conv.weight[:, 0].repeat_interleave(WIDTH, 0)
    expected = per_head(head, q, k, v) + convolved(v, taps)
    torch.testing.assert_close(mixer(x)[0], output(mixer, expected))


@pytest.mark.parametrize("prefix", [0, 2])
def test_focused_linear_is_its_definition(prefix):
    mixer, x, q, k, v = make("focused_linear", num_heads=HEADS, tokens=TOKENS, prefix=prefix)
    scale = (1 + mixer.scale.exp()).log()

    def focus(x):
        x = (x.clamp_min(0) + 1e-6) / scale
        cube = x**3
        return cube / cube.norm(dim=1, keepdim=True) * x.norm(dim=1, keepdim=True)

    def head(q, k, v):
        weights = q @ k.T
        return mean_of_values(weights / (weights.sum(1, keepdim=True) + 1e-6), v)

    local = per_head(lambda v: convolved(v, mixer.conv.weight[:, 0]) + mixer.conv.bias, v[prefix:])
    expected = per_head(head, focus(q), focus(k + mixer.positions), v)
    expected[prefix:] += local
    torch.testing.assert_close(mixer(x)[0], output(mixer, expected))


def test_focused_linear_in_an_image():
    arguments = dict(num_heads=HEADS, kernel_size=3, dims=2, size=(2, 5), prefix=2)
    mixer, x, *_ = make("focused_linear", **arguments)
    with torch.no_grad():
        mixer.conv.weight.zero_()
        mixer.conv.weight[:, 0, 0, 1] = 1.0  # the patch above
        mixer.conv.bias.zero_()
    v = (x[0] @ mixer.heads.value.weight.T + mixer.heads.value.bias)[2:]
    with_taps = mixer(x)[0]
    with torch.no_grad():
        mixer.conv.weight.zero_()
    local = with_taps - mixer(x)[0]
    above = torch.zeros(TOKENS, DIM, dtype=torch.float64)
    above[7:] = v[:5]
    torch.testing.assert_close(local, above @ mixer.heads.out.weight.T)
    with pytest.raises(ValueError, match="with tokens=5: expected as many, got 12"):
        build_mixer(dict(type="focused_linear", tokens=5), DIM)(x.float())


def test_efficient_attention_is_its_definition():
    mixer, x, q, k, v = make("efficient", num_heads=HEADS)

    def head(q, k, v):
        of_channels = q.exp() / q.exp().sum(1, keepdim=True)
        of_tokens = k.exp() / k.exp().sum(0, keepdim=True)
        return mean_of_values(of_channels @ of_tokens.T, v)

    torch.testing.assert_close(mixer(x)[0], output(mixer, per_head(head, q, k, v)))


def test_hydra_is_attention_with_a_head_per_channel():
    mixer, x, q, k, v = make("hydra")
    q, k = unit(q), unit(k)
    columns = [mean_of_values(q[:, d : d + 1] @ k[:, d : d + 1].T, v[:, d]) for d in range(DIM)]
    torch.testing.assert_close(mixer(x)[0], output(mixer, torch.stack(columns, 1)))


def test_enhanced_linear_is_relu_attention():
    mixer, x, q, k, v = make("enhanced_linear", num_heads=HEADS)

    def head(q, k, v):
        weights = q.clamp_min(0) @ k.clamp_min(0).T
        return mean_of_values(weights / (weights.sum(1, keepdim=True) + 1e-6), v)

    torch.testing.assert_close(mixer(x)[0], output(mixer, per_head(head, q, k, v)))


def test_knn_attention_leaves_the_farthest_keys_out():
    mixer, x, q, k, v = make("knn_attention", num_heads=HEADS, neighbours=5)

    def head(q, k, v):
        logits = q @ k.T / math.sqrt(WIDTH)
        weights = torch.zeros_like(logits)
        for i, row in enumerate(logits):
            nearest = row.argsort(descending=True)[:5]
            weights[i, nearest] = row[nearest].softmax(0)
        return mean_of_values(weights, v)

    torch.testing.assert_close(mixer(x)[0], output(mixer, per_head(head, q, k, v)))
    everyone, *_ = make("knn_attention", num_heads=HEADS, neighbours=TOKENS)
    expected = per_head(
        lambda q, k, v: mean_of_values((q @ k.T / math.sqrt(WIDTH)).softmax(1), v), q, k, v
    )
    torch.testing.assert_close(everyone(x)[0], output(everyone, expected))
