"""The decoder layer: every proposal attends to the map cells around it.

The keys of a query are the (2r + 1)^2 cells around its own. Instead of projecting all of them to
keys and values, the projections are moved to the other side of the products (they are linear)::

    logits  = (W_q q) (W_k z)^T  = (W_k^T W_q q) z^T        z: cell feature + position embedding
    context = sum_j a_j (W_v z_j) = W_v (sum_j a_j z_j)

so one gather of z serves both, and the work per query no longer contains a C x C product per key.
The key bias adds the same number to all logits of a query and vanishes in the softmax; the value
bias comes out unchanged because the weights sum to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.head.windows import LocalWindow
from padre3d.layers.activations import activation_module
from padre3d.layers.norms import RowBatchNorm
from padre3d.layers.position_embedding import embed_positions
from padre3d.structures.grid import PillarGrid


class PositionEmbedding(nn.Sequential):
    """Two-layer perceptron with batch norm on positions (N, 2), in cells."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Linear(2, channels),
            RowBatchNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )

    def forward(self, positions: Tensor, counts: Tensor | None = None, total: int = 0) -> Tensor:
        """Positions (N, 2) to embeddings (N, channels).

        ``counts`` (N,), with their sum ``total``, gives batch statistics as if position n occurred
        ``counts[n]`` times, see :func:`padre3d.layers.position_embedding.embed_positions`.
        """
        first, norm, _, second = self
        assert isinstance(first, nn.Linear)
        positions = positions.to(first.weight.dtype)
        return embed_positions(positions, first, norm, second, counts, total)


class Projections(nn.Module):
    """Weights of one attention: query, key and value stacked, and the output.

    Args:
        channels: C, a multiple of ``num_heads``.
        num_heads: attention heads.
        dropout: probability that an attention weight is dropped in training.
    """

    def __init__(self, channels: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels, self.num_heads, self.dropout = channels, num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.zeros_(self.out_proj.bias)


class SingleTokenAttention(Projections):
    """Self-attention over a sequence of length one: the value and output projections.

    The reference folds the proposals into the batch, so a proposal sees only itself and the
    attention weight is 1. The query and key weights exist for its checkpoints and do nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Rows (N, C) to rows (N, C)."""
        start = 2 * self.channels
        value = F.linear(x, self.in_proj_weight[start:], self.in_proj_bias[start:])
        if self.dropout and self.training:
            weights = F.dropout(value.new_ones(len(x), self.num_heads, 1), self.dropout)
            value = (value.unflatten(1, (self.num_heads, -1)) * weights).flatten(1)
        return self.out_proj(value)


class LocalCrossAttention(Projections):
    """Multi-head attention of N queries, each with its own W keys."""

    def forward(self, query: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (N, C).
            keys: (N, W, C), keys and values at once.
            bias: (N, W) added to the logits; very negative where a key does not exist.

        Returns:
            (N, C).
        """
        channels, heads = self.channels, self.num_heads
        depth = channels // heads
        to_value = self.in_proj_weight[2 * channels :].view(heads, depth, channels)
        weights = torch.softmax(self.logits(query, keys, bias), -1)
        value_bias = self.in_proj_bias[2 * channels :]
        if self.dropout and self.training:
            # What is left of the weights no longer sums to one.
            weights = F.dropout(weights, self.dropout)
            value_bias = (value_bias.view(heads, depth) * weights.sum(2, keepdim=True)).flatten(1)
        context = (weights @ keys).transpose(0, 1)
        values = (context @ to_value.transpose(1, 2)).transpose(0, 1).reshape(-1, channels)
        return self.out_proj(values + value_bias)

    def logits(self, query: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Logits (N, heads, W) of the attention weights; arguments as :meth:`forward`."""
        channels, heads = self.channels, self.num_heads
        depth = channels // heads
        weight, offset = self.in_proj_weight, self.in_proj_bias
        to_key = weight[channels : 2 * channels].view(heads, depth, channels)
        q = F.linear(query, weight[:channels], offset[:channels]) * depth**-0.5
        q = (q.view(-1, heads, depth).transpose(0, 1) @ to_key).transpose(0, 1)
        return q @ keys.transpose(1, 2) + bias[:, None]


class LocalDecoderLayer(nn.Module):
    """Self-attention, local cross-attention and feed-forward, each followed by a layer norm.

    Args:
        grid: the head's map.
        channels: C, a multiple of ``num_heads``.
        num_heads: attention heads.
        ffn_channels: hidden width of the feed-forward part.
        radius: the keys are the (2 * radius + 1)^2 cells around the query.
        dsvt_compat: wrap key indices and weight batch statistics as the reference does.
        activation: of the feed-forward part, "relu" or "gelu".
        dropout: probability, of attention weights, after each part and in the feed-forward part.
        window_offsets: (y, x) of the keys that are left of these cells; None: all of them.
    """

    positions: Tensor

    def __init__(
        self,
        grid: PillarGrid,
        channels: int,
        num_heads: int,
        ffn_channels: int,
        radius: int,
        dsvt_compat: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        window_offsets: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.nx, self.num_cells, self.dsvt_compat = grid.nx, grid.num_cells, dsvt_compat
        self.window = LocalWindow(grid, radius, dsvt_compat, window_offsets)
        self.query_position = PositionEmbedding(channels)
        self.key_position = PositionEmbedding(channels)
        self.self_attention = SingleTokenAttention(channels, num_heads, dropout)
        self.cross_attention = LocalCrossAttention(channels, num_heads, dropout)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ffn_channels),
            activation_module(activation),
            nn.Linear(ffn_channels, channels),
        )
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        y, x = torch.meshgrid(torch.arange(grid.ny), torch.arange(grid.nx), indexing="ij")
        positions = torch.stack((x.flatten(), y.flatten()), 1) + 0.5
        self.register_buffer("positions", positions, persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, query: Tensor, features: Tensor, cells: Tensor) -> Tensor:
        """Refine the proposals.

        Args:
            query: (B, P, C) proposal features.
            features: (B, cells, C) map features.
            cells: (B, P) int64 cell id of each proposal.

        Returns:
            (B, P, C).
        """
        batch, num_proposals, channels = query.shape
        keys, bias = self._keys(features, cells)
        query = query.flatten(0, 1)
        position = self.query_position(self.positions.index_select(0, cells.flatten()))
        query = self.norm1(query + self._drop(self.self_attention(query + position)))
        query = self.norm2(query + self._drop(self.cross_attention(query + position, keys, bias)))
        first, activation, second = self.ffn
        query = self.norm3(query + self._drop(second(self._drop(activation(first(query))))))
        return query.view(batch, num_proposals, channels)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def _keys(self, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B * P, W, C) and their logit bias (B * P, W)."""
        batch, num_cells, channels = features.shape
        ids, bias = self.window(cells.flatten())
        counts = None
        if self.dsvt_compat and self.training:
            counts = torch.zeros(num_cells, device=ids.device)
            counts.index_add_(0, ids.flatten(), counts.new_ones(ids.numel()))
        position = self.key_position(self.positions, counts, ids.numel())
        rows = (features + position.to(features.dtype)).flatten(0, 1)
        if batch > 1:
            sample = torch.arange(batch, device=cells.device).repeat_interleave(cells.shape[1])
            ids = ids + (sample * num_cells)[:, None]
        keys = rows.index_select(0, ids.flatten()).view(*ids.shape, channels)
        return keys, bias.to(keys.dtype)
