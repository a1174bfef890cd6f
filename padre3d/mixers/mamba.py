"""Mamba's selective state-space mixer (appendix B.4).

The block: two projections x and z of E channels, a short causal depthwise convolution with SiLU on
x, the selective scan of :mod:`padre3d.ops.selective_scan` with B and C linear in x and
Delta = softplus of a low-rank linear map (Eqs. 60-62), a skip D x, the gate SiLU(z), a projection
back. As Mamba's authors have it, but for E = D by default (theirs: 2 D, ``expand=2``) and biases on
the outer projections. With the activations and Delta held constant the scan is a homogeneous
polynomial of degree 3, up to O(Delta^2) (Eqs. 63-75).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_choice, check_count
from padre3d.mixers.linear_maps import CausalTaps
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked
from padre3d.ops.selective_scan import DISCRETISATIONS, selective_scan


class Mamba(Mixer):
    """Selective scan along a sequence, from its first token to its last.

    Args:
        dim: channels D.
        state: states S per channel.
        expand: E = expand * D.
        kernel_size: taps of the causal convolution.
        discretisation: "published" (the authors': exp(Delta A) and Delta B), "zoh" (Eqs. 53, 54)
            or "euler" (Eqs. 68, 69; unstable for large steps).
    """

    ends_in = "project_out"

    def __init__(
        self,
        dim: int,
        state: int = 16,
        expand: int = 1,
        kernel_size: int = 4,
        discretisation: str = "published",
    ) -> None:
        super().__init__()
        for name, value in (("state", state), ("expand", expand), ("kernel_size", kernel_size)):
            check_count(f"Mamba {name}", value, 1)
        check_choice("discretisation", discretisation, DISCRETISATIONS)
        inner, rank = expand * dim, math.ceil(dim / 16)
        self.dim, self.state, self.rank, self.discretisation = dim, state, rank, discretisation
        self.project_in = nn.Linear(dim, 2 * inner)
        self.conv = CausalTaps(inner, kernel_size)
        self.project_bc = nn.Linear(inner, 2 * state, bias=False)
        self.project_delta = nn.Sequential(
            nn.Linear(inner, rank, bias=False), nn.Linear(rank, inner)
        )
        # Step sizes between 0.001 and 0.1 and decays 1..S: the scheme's own starting point.
        delta = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)))
        self.project_delta[1].bias.data = delta + torch.log(-torch.expm1(-delta))
        self.log_a = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, dim)

    @property
    def is_causal(self) -> bool:
        """A scan looks back only."""
        return True

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool.

        Masked tokens have step size 0: they leave the state as it is.
        """
        check_mixer_inputs(x, pos, mask, self.dim)
        if x.shape[0] == 0 or x.shape[1] == 0:
            return self.project_out(self.project_in(x).chunk(2, dim=-1)[0])
        tokens = zero_masked(with_position(x, pos), mask)
        u, gate = self.project_in(tokens).chunk(2, dim=-1)
        u = F.silu(self.conv(zero_masked(u, mask)))
        b, c = self.project_bc(u).split(self.state, dim=-1)
        delta = zero_masked(F.softplus(self.project_delta(u)), mask)
        y = selective_scan(u, delta, -self.log_a.exp(), b, c, self.discretisation)
        return self.project_out((y + self.skip * u) * F.silu(gate))
