"""PADRe as the token mixer of your own network: python examples/padre_in_your_network.py

Task: the label of every token is whether the numbers of its left and its right neighbour have the
same sign. A product of neighbours is what PADRe computes; one pointwise map cannot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.mixers import build_mixer

DIM, STEPS = 16, 120


class Block(nn.Module):
    """A transformer block whose attention is a mixer."""

    def __init__(self, mixer: dict) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.mixer = build_mixer(mixer, dim=DIM)
        self.ffn = nn.Sequential(nn.Linear(DIM, 32), nn.GELU(), nn.Linear(32, DIM))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, DIM) -> the same; mask (G, L), True for real tokens."""
        x = x + self.mixer(self.norm1(x), mask=mask)
        return x + self.ffn(self.norm2(x))


def accuracy(seed: int = 0) -> float:
    """Train on random sequences and score on a new one."""
    torch.manual_seed(seed)
    block = Block({"type": "padre", "degree": 2, "kernel_size": 3})
    model = nn.Sequential(nn.Linear(1, DIM), block, nn.Linear(DIM, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        logits, same = answers(model)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, same.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits, same = answers(model)
    return ((logits > 0) == same).float().mean().item()


def answers(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Logits and labels of new sequences, without the ends, which have one neighbour."""
    numbers = torch.randn(8, 64, 1)
    same = numbers.roll(1, 1) * numbers.roll(-1, 1) > 0
    return model(numbers)[:, 1:-1], same[:, 1:-1]


if __name__ == "__main__":
    print(f"accuracy on new sequences: {accuracy():.2f} (guessing: 0.50)")
