"""What a foreign attention does, seen from outside: a copy of it is tried on a few tokens.

Attributes say what a module owns, not what it computes: an attention over channels, one for the
class token alone and one of images have the same ``qkv`` and ``proj`` as self-attention.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOKENS = 6
# Far above the rounding of an attention that takes its softmax in float32.
TOLERANCE = 1e-5
# Far below any weight of attention, above rounding: what changes less was not seen.
UNSEEN = 1e-9


@dataclass(frozen=True)
class Trial:
    """What came out.

    Attributes:
        reason: why it is no self-attention over tokens, or an empty string.
        is_causal: whether the first token does not see the last.
    """

    reason: str
    is_causal: bool = False


def try_attention(module: nn.Module, width: int) -> Trial:
    """Run a copy of ``module`` in float64 on the CPU, with weights of its own, whatever it holds.

    Args:
        module: takes tokens (B, N, D) alone; on any device, the meta device too. It is not touched,
            nor is the global random state.
        width: channels D.
    """
    random = torch.Generator().manual_seed(0)
    x = _samples(width, random)
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            out = _copy(module, random)(x)
    except Exception as error:  # foreign code may raise anything
        return Trial(f"a copy of it fails on tokens (B, N, {width}): {str(error) or repr(error)}")
    if not isinstance(out, Tensor) or out.shape != x.shape:
        return Trial(f"it does not turn tokens (B, N, {width}) into tokens (B, N, {width})")
    if not _averages_values(*out[:4]):
        return Trial("it does not average the values of its tokens: no attention over tokens")
    mixed, of_first, of_last = out[4:]
    if _same(mixed[-1], of_first[-1], UNSEEN):
        return Trial("its last token does not see the first one")
    return Trial("", is_causal=_same(mixed[0], of_last[0], UNSEEN))


def _samples(width: int, random: torch.Generator) -> Tensor:
    """(7, N, D): equal tokens a, b, a + b and 0; other tokens; those with a new first, last one."""
    a, b = torch.randn(2, width, generator=random, dtype=torch.float64, device="cpu")
    x = torch.randn(TOKENS, width, generator=random, dtype=torch.float64, device="cpu")
    first, last = x.clone(), x.clone()
    first[0], last[-1] = a, b
    equal = [t.expand_as(x) for t in (a, b, a + b, torch.zeros_like(a))]
    return torch.stack([*equal, x, first, last])


def _copy(module: nn.Module, random: torch.Generator) -> nn.Module:
    """With random weights, in which zeros hide nothing, and linear behind the attention."""
    values: dict[int, Tensor] = {}
    for old in module.parameters():
        fan_in = old.shape[-1] if old.dim() > 1 else 1
        new = torch.empty(old.shape, dtype=torch.float64, device="cpu")
        new.uniform_(-1, 1, generator=random).mul_((3 / fan_in) ** 0.5)
        values[id(old)] = nn.Parameter(new)
    for buffer in module.buffers():
        values[id(buffer)] = torch.zeros(buffer.shape, dtype=torch.float64, device="cpu")
    tried = copy.deepcopy(module, values).eval()  # what is in ``values`` counts as copied
    for part in tried.modules():  # hooks are someone else's, and should not see the trial
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    for name, part in list(tried.named_children()):
        if name == "norm":
            setattr(tried, name, nn.Identity())
        elif name == "gate":
            for parameter in part.parameters():
                parameter.zero_()
    return tried


def _averages_values(of_a: Tensor, of_b: Tensor, of_both: Tensor, of_zero: Tensor) -> bool:
    """Weights over tokens that sum to 1 give the value of equal tokens, linear up to a bias."""
    rows = all(_same(y, y[:1].expand_as(y)) for y in (of_a, of_b))
    return rows and _same(of_a + of_b, of_both + of_zero)


def _same(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> bool:
    scale = float(torch.maximum(left.abs(), right.abs()).amax())
    return float((left - right).abs().amax()) <= tolerance * scale
