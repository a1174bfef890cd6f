"""Focused linear attention (FLatten Transformer, Han et al. 2023).

phi(x) = f_3(ReLU(x) / s),  f_p(x) = (|x| / |x^p|) x^p,  s = softplus of a learned scale per channel
O_i = phi(Q_i) (sum_j phi(K_j)^T V_j) / (phi(Q_i) sum_j phi(K_j)^T) + DWC(V)_i

Norms run over all channels of a token, the products per head. DWC is a depthwise convolution with
the same kernels for every head, 5 x 5 on an image; tokens outside the image get none of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_count
from padre3d.layers.half_precision import full_precision
from padre3d.mixers.heads import Heads, linear_attention
from padre3d.mixers.linear_maps import TokenWeights
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, zero_masked
from padre3d.mixers.structure import Conv
from padre3d.mixers.token_image import Size, check_prefix_inputs, check_token_image
from padre3d.ops.padre import TokenConv1d, TokenConv2d

EPSILON = 1e-6


class FocusedLinear(Mixer):
    """Focused linear attention on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads.
        focus: p.
        kernel_size: odd width of the convolution on V.
        tokens: number of tokens, if each is to have a learned position that is added to its key,
            as the authors do on images; None: only ``pos``.
        dims, size, prefix: 1-D or 2-D, the image and the tokens in front of it, as for
            :class:`padre3d.mixers.PADRe`.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    ends_in = "heads.out"

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        focus: int = 3,
        kernel_size: int = 5,
        tokens: int | None = None,
        dims: int = 1,
        size: Size | None = None,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        self.dim, self.focus = dim, check_count("FocusedLinear focus", focus, 1)
        self.size, self.prefix = check_token_image("FocusedLinear", dims, size, prefix), prefix
        self.heads = Heads(dim, num_heads)
        self.conv = TokenWeights(Conv(kernel_size, dims), dim // num_heads)
        self.scale = nn.Parameter(torch.zeros(dim))
        self.positions = None
        if tokens is not None:
            self.positions = nn.Parameter(
                torch.zeros(check_count("FocusedLinear tokens", tokens, 1), dim)
            )

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        check_prefix_inputs("FocusedLinear", self.prefix, x, mask)
        if self.positions is not None and len(self.positions) != x.shape[1]:
            raise ValueError(
                f"FocusedLinear with tokens={len(self.positions)}: expected as many, got "
                f"{x.shape[1]}"
            )
        q, k, v = (self.heads.merge(t) for t in self.heads.project(x, pos, mask))
        k = k if self.positions is None else k + self.positions
        q, k, v = (
            t.unflatten(-1, self.heads.shape).transpose(1, 2)
            for t in (self._focus(q), zero_masked(self._focus(k), mask), v)
        )
        with full_precision(q):
            out = linear_attention(q, k, v.to(q.dtype))
            out = out / (q @ k.sum(-2, keepdim=True).transpose(-1, -2) + EPSILON)
        out = out.to(v.dtype) + self._local(v)
        return self.heads.out(self.heads.merge(out))

    def _focus(self, x: Tensor) -> Tensor:
        """phi, in at least float32: x^p of small numbers has no room in half precision."""
        work = torch.promote_types(x.dtype, torch.float32)
        x = (F.relu(x.to(work)) + EPSILON) / F.softplus(self.scale.to(work))
        # The power of a large p leaves float32 unless the largest channel is 1.
        length = x.norm(dim=-1, keepdim=True)
        power = (x / x.amax(-1, keepdim=True)) ** self.focus
        return power / power.norm(dim=-1, keepdim=True) * length

    def _local(self, v: Tensor) -> Tensor:
        """The convolution of v (G, h, L, D / h): one kernel for all heads."""
        conv = self.conv.tensors(self.size)
        assert isinstance(conv, TokenConv1d | TokenConv2d)
        mixed = conv(v[:, :, self.prefix :].flatten(0, 1)).unflatten(0, v.shape[:2])
        return F.pad(mixed, (0, 0, self.prefix, 0))
