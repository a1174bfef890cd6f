"""The order-N Hyena operator (appendix B.3).

z^1 = x^0,  z^{n+1} = x^n * (h^n conv z^n),  y = z^{N+1}     (Eqs. 35-37)

x^0..x^N are linear projections of the input, h^n are filters as long as the sequence: a
homogeneous polynomial of degree N + 1 (Eq. 47) in quasi-linear time. As PADRe: B_i the projections,
C_i the long convolutions, only the last Z in the sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked


def long_convolution(filters: Tensor, x: Tensor) -> Tensor:
    """``y_t = sum_s h_{t - s} x_s`` by FFT, per channel, in at least float32.

    Args:
        filters: (2 L - 1, D), entry j is the lag j - (L - 1).
        x: (G, L, D).
    """
    length = x.shape[1]
    work = torch.promote_types(x.dtype, torch.float32)
    size = 1 << (3 * length - 3).bit_length()  # linear, not circular
    product = torch.fft.rfft(filters.to(work), size, dim=0) * torch.fft.rfft(
        x.to(work), size, dim=1
    )
    out = torch.fft.irfft(product, size, dim=1)
    return out[:, length - 1 : 2 * length - 1].to(x.dtype)


class HyenaFilter(nn.Module):
    """Filters as a function of the lag: a small network on sines of it, under a decaying window.

    A lag is counted in tokens, never in fractions of the length, so padding changes no filter.

    Args:
        dim: channels D.
        hidden: width of the network.
        frequencies: sines and cosines of the lag.
        reach: token distance at which the slowest channel has decayed to 1 / e.
        causal: filters of negative lags are zero, as in language models; voxels look both ways.
    """

    omega: Tensor

    def __init__(
        self,
        dim: int,
        hidden: int = 32,
        frequencies: int = 8,
        reach: float = 1024.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.network = nn.Sequential(
            nn.Linear(2 * frequencies, hidden), nn.SiLU(), nn.Linear(hidden, dim)
        )
        self.register_buffer("omega", 2 * math.pi / torch.logspace(1, 4, frequencies, base=8.0))
        self.log_reach = nn.Parameter(torch.linspace(math.log(4.0), math.log(reach), dim))

    def forward(self, length: int) -> Tensor:
        """(2 length - 1, D) filters for lags 1 - length .. length - 1, of about unit energy."""
        lag = torch.arange(1 - length, length, device=self.omega.device)[:, None]
        phase = lag * self.omega
        reach = self.log_reach.exp()
        window = torch.exp(-lag.abs() / reach) / reach.sqrt()
        if self.causal:
            window = window * (lag >= 0)
        return self.network(torch.cat([phase.sin(), phase.cos()], 1)) * window


class Hyena(Mixer):
    """Eqs. 35-37 with implicit filters, then an output projection.

    Args:
        dim: channels D.
        order: N >= 1; the degree is N + 1 (N = 2 is the common choice).
        causal: whether tokens see only earlier ones.
    """

    def __init__(self, dim: int, order: int = 2, causal: bool = False) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"Hyena order: expected an integer >= 1, got {order}")
        self.dim, self.order, self.causal = dim, order, causal
        self.projections = nn.Linear(dim, (order + 1) * dim)
        self.filters = nn.ModuleList(HyenaFilter(dim, causal=causal) for _ in range(order))
        self.out = nn.Linear(dim, dim)

    @property
    def is_causal(self) -> bool:
        """As asked for."""
        return self.causal

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        tokens = zero_masked(with_position(x, pos), mask)
        z, *gates = self.projections(tokens).chunk(self.order + 1, dim=-1)
        for gate, make_filter in zip(gates, self.filters, strict=True):
            z = gate * long_convolution(make_filter(x.shape[1]), zero_masked(z, mask))
        return self.out(z)
