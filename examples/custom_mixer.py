"""A mixer of your own, registered from outside: python examples/custom_mixer.py

In a config it is ``model.backbone.mixer=dict(type="gated_mean", width=9)``, with this module in
``custom_imports``; padding, batches and shapes are what padre3d.mixers.mixer.Mixer promises.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.mixers import MIXERS, build_mixer
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked


class GatedMean(Mixer):
    """The mean of the neighbours in the order, times a gate of the token itself."""

    def __init__(self, dim: int, width: int = 9) -> None:
        super().__init__()
        if width < 1 or width % 2 == 0:
            raise ValueError(f"GatedMean width: expected an odd number, got {width}")
        self.dim, self.width = dim, width
        self.gate, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)

    @property
    def receptive_radius(self) -> int:
        """Tokens to each side."""
        return self.width // 2

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D)."""
        check_mixer_inputs(x, pos, mask, self.dim)
        if x.shape[0] == 0 or x.shape[1] == 0:
            return x
        x = with_position(x, pos)
        real = torch.ones_like(x[..., :1]) if mask is None else mask.unsqueeze(-1).to(x)
        total = self._sum(zero_masked(self.value(x), mask))
        return torch.sigmoid(self.gate(x)) * total / self._sum(real).clamp_min(1)

    def _sum(self, x: Tensor) -> Tensor:
        padding = self.width // 2
        means = nn.functional.avg_pool1d(x.transpose(1, 2), self.width, 1, padding)
        return means.transpose(1, 2) * self.width


MIXERS["gated_mean"] = GatedMean


def main() -> float:
    """The largest difference that padding makes to real tokens."""
    mixer = build_mixer({"type": "gated_mean", "width": 9}, dim=32)
    tokens = torch.randn(2, 50, 32)
    padded = torch.cat([tokens, torch.full((2, 7, 32), 1e3)], dim=1)
    mask = torch.arange(57).expand(2, -1) < 50
    return (mixer(padded, mask=mask)[:, :50] - mixer(tokens)).abs().max().item()


if __name__ == "__main__":
    print(f"padding changes real tokens by {main():.1e}")
