"""Query, key and value projections with heads, shared by the linear attentions."""

from __future__ import annotations

from torch import Tensor, nn

from padre3d.checks import check_count
from padre3d.mixers.mixer import with_position, zero_masked


def check_heads(dim: int, num_heads: int) -> None:
    """Check that ``num_heads`` cut ``dim`` channels into equal parts.

    Raises:
        ValueError: if it is no positive integer or no divisor.
    """
    check_count("num_heads", num_heads, 1)
    if dim % num_heads:
        raise ValueError(f"num_heads: expected a divisor of dim = {dim}, got {num_heads}")


class Heads(nn.Module):
    """Q = (X + E) W_Q, K = (X + E) W_K, V = X W_V, cut into heads; and the output projection.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: h.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.shape = (num_heads, dim // num_heads)
        self.query_key = nn.Linear(dim, 2 * dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def project(
        self, x: Tensor, pos: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each (G, h, L, D / h) and zero at masked tokens."""
        tokens = zero_masked(with_position(x, pos), mask)
        q, k = zero_masked(self.query_key(tokens), mask).chunk(2, dim=-1)
        v = zero_masked(self.value(zero_masked(x, mask)), mask)
        return self._split(q), self._split(k), self._split(v)

    def merge(self, x: Tensor) -> Tensor:
        """(G, h, L, D / h) -> (G, L, D)."""
        return x.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, self.shape).transpose(1, 2)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``Q (K^T V)`` over (..., L, D): linear in L."""
    return q @ (k.transpose(-1, -2) @ v)
