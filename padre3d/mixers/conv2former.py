"""Conv2Former's convolutional modulation (appendix B.2).

A = DConv(W_1 X),  V = W_2 X,  Z = A * V         (Eqs. 28-30), then an output projection

A homogeneous polynomial of degree 2 (Eq. 34), and exactly PADRe with d = 2, B_1 = W_1, C_1 = DConv,
B_2 = W_2: the ``sequence`` preset of degree 2 computes the same function. It is written out here
from its own definition so that the tests can compare the two.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_choice
from padre3d.mixers.linear_maps import TokenWeights
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked
from padre3d.mixers.structure import Conv
from padre3d.mixers.token_image import Size, check_prefix_inputs, check_token_image


class Conv2Former(Mixer):
    """Eqs. 28-30 along a sequence or over an image.

    Args:
        dim: channels D.
        kernel_size: odd width of the depthwise convolution.
        gelu: apply GELU to W_1 X, as that scheme's authors do; the equations (and the claim of
            degree 2) are without.
        dims, size, prefix: 1-D or 2-D, the image and the tokens in front of it, as for
            :class:`padre3d.mixers.PADRe`.
    """

    ends_in = "out"

    def __init__(
        self,
        dim: int,
        kernel_size: int = 11,
        gelu: bool = False,
        dims: int = 1,
        size: Size | None = None,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        check_choice("Conv2Former gelu", gelu, (True, False))
        self.dim, self.gelu, self.prefix = dim, gelu, prefix
        self.size = check_token_image("Conv2Former", dims, size, prefix)
        self.w1 = nn.Linear(dim, dim)
        self.w2 = nn.Linear(dim, dim)
        self.conv = TokenWeights(Conv(kernel_size, dims), dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        check_prefix_inputs("Conv2Former", self.prefix, x, mask)
        tokens = zero_masked(with_position(x, pos), mask)
        hidden = F.gelu(self.w1(tokens)) if self.gelu else self.w1(tokens)
        a = self.conv.tensors(self.size, self.prefix)(zero_masked(hidden, mask))
        return self.out(a * self.w2(tokens))
