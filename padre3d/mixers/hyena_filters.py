"""Implicit filters: functions of the lag as long as the sequence. Used by Hyena.

Lags, their phases and the windows are computed in float32 (float64 for a float64 module) whatever
the precision of the weights: a lag of 4,000 tokens has no phase left in half precision.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _work_dtype(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer in the precision of x."""
    assert isinstance(layer, nn.Linear)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype), bias)


class PublishedFilter(nn.Module):
    """The filter of Hyena's authors (Poli et al. 2023, section 3.3 and their published code).

    z(t) = (t, cos(2 pi f t), -sin(2 pi f t)), t = lag / max_tokens (in z_0: max_tokens - 1)
    h(t) = W_3 sin(w * (W_2 sin(w * (W_1 sin(w * (W_0 z + b_0)) + b_1)) + b_2)), one learned w
    filter = h * exp(-t |delta|), delta from log(100) / 1.5 to log(100) / 0.3 over the channels

    Their default of one band, f = 1e-4. The features are fixed here; the authors train them with a
    rate of 1e-5.

    Args:
        channels: number of filters.
        max_tokens: lag at which t is 1.
        width: of the network.
        bands: number of frequencies f, from 1e-4 to bands - 1.
    """

    def __init__(self, channels: int, max_tokens: int, width: int = 64, bands: int = 1) -> None:
        super().__init__()
        self.channels, self.max_tokens, self.bands = channels, max_tokens, bands
        sizes = (2 * bands + 1, width, width, width)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.frequency = nn.Parameter(torch.ones(width))
        self.last = nn.Linear(width, channels, bias=False)

    def forward(self, length: int) -> Tensor:
        """(length, channels) for lags 0 .. length - 1."""
        weight = self.last.weight
        options: dict[str, Any] = {"device": weight.device, "dtype": _work_dtype(weight)}
        lag = torch.arange(length, **options).unsqueeze(-1)
        time = lag / max(1, self.max_tokens - 1)
        bands = torch.linspace(1e-4, self.bands - 1, self.bands, **options)
        phase = bands * lag * (2 * math.pi / self.max_tokens)
        hidden = torch.cat([time, phase.cos(), -phase.sin()], -1)
        for layer in self.hidden:
            hidden = torch.sin(self.frequency.to(hidden.dtype) * _linear(layer, hidden))
        decay = torch.linspace(math.log(100) / 1.5, math.log(100) / 0.3, self.channels, **options)
        return _linear(self.last, hidden) * torch.exp(-time * decay)


class HyenaFilter(nn.Module):
    """Filters of both signs of the lag: a small network on sines of it, under a decaying window.

    A lag is counted in tokens, never in fractions of the length, so padding changes no filter. At
    construction every channel has unit energy over a long sequence (the squares sum to 1): the
    convolution keeps the variance of uncorrelated tokens.

    Args:
        dim: channels D.
        hidden: width of the network.
        frequencies: sines and cosines of the lag.
        reach: token distance at which the slowest channel has decayed to 1 / e.
        causal: filters of negative lags are zero, as in language models; voxels look both ways.
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 32,
        frequencies: int = 8,
        reach: float = 1024.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.frequencies, self.reach, self.causal = dim, frequencies, reach, causal
        self.network = nn.Sequential(
            nn.Linear(2 * frequencies, hidden), nn.SiLU(), nn.Linear(hidden, dim)
        )
        # Relative to the starting reaches, which are exact in any precision.
        self.log_reach = nn.Parameter(torch.zeros(dim))
        self._normalise()

    def forward(self, length: int) -> Tensor:
        """(2 length - 1, D) filters for lags 1 - length .. length - 1."""
        weight = self.log_reach
        options: dict[str, Any] = {"device": weight.device, "dtype": _work_dtype(weight)}
        lag = torch.arange(1 - length, length, **options).unsqueeze(-1)
        phase = lag * (2 * math.pi / torch.logspace(1, 4, self.frequencies, 8.0, **options))
        first = torch.linspace(math.log(4.0), math.log(self.reach), self.dim, **options)
        reach = (first + self.log_reach.to(lag.dtype)).exp()
        window = torch.exp(-lag.abs() / reach) / reach.sqrt()
        if self.causal:
            window = window * (lag >= 0)
        first_layer, _, last_layer = self.network
        hidden = F.silu(_linear(first_layer, torch.cat([phase.sin(), phase.cos()], 1)))
        return _linear(last_layer, hidden) * window

    @torch.no_grad()
    def _normalise(self) -> None:
        norms = self(math.ceil(4 * self.reach)).norm(dim=0).clamp_min(1e-6)
        self.network[2].weight /= norms.unsqueeze(-1)
        self.network[2].bias /= norms
