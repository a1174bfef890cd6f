"""Linear-angular attention as its authors build it (Castling-ViT, You et al. 2023).

O = Norm(Qhat (Khat^T V) / pi + V / 2) + M_DW V,  Qhat, Khat, Norm: unit length per token and head

The same as :class:`padre3d.mixers.castling.Castling` but for M_DW: a convolution of 9 taps along
the sequence of tokens, class token included, with one kernel per head and no bias.
"""

from __future__ import annotations

import torch
from torch import nn

from padre3d.mixers.castling import Castling
from padre3d.mixers.structure import Conv
from padre3d.ops.padre import TokenConv1d


class HeadTaps(nn.Module):
    """A convolution over tokens with one kernel per head, (h, 1, k), and no bias."""

    def __init__(self, dim: int, num_heads: int, kernel_size: int) -> None:
        super().__init__()
        self.dim = dim
        taps = Conv(kernel_size).kernel_size
        self.weight = nn.Parameter(torch.randn(num_heads, 1, taps) / taps**0.5)

    def tensors(self, size: None) -> TokenConv1d:
        """The map as the operator takes it: the heads' kernels for all their channels."""
        weight = self.weight.repeat_interleave(self.dim // self.weight.shape[0], 0)
        return TokenConv1d(weight, None, self.dim)


class LinearAngular(Castling):
    """Linear-angular attention on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads.
        kernel_size: odd width of the convolution on V; the authors' default is 9.
    """

    def __init__(self, dim: int, num_heads: int = 8, kernel_size: int = 9) -> None:
        super().__init__(dim, num_heads, kernel_size)
        self.conv = HeadTaps(dim, num_heads, kernel_size)  # type: ignore[assignment]
