"""One encoder layer and one block of the backbone, whatever the mixer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.backbone.fused_trial import prefers_fused
from padre3d.layers.activations import activation_module
from padre3d.layers.norms import RowBatchNorm
from padre3d.layers.position_embedding import embed_positions
from padre3d.mixers.mixer import Mixer
from padre3d.ops import chunked
from padre3d.structures.grid_index import GridIndex
from padre3d.structures.tokens import TokenLayout, TokenPositions


class EncoderLayer(nn.Module):
    """``a = mixer(x); y = norm1(x + a); z = norm2(y + FFN(y)); out = norm(x + z)``, as DSVT's.

    Args:
        dim: channels D.
        ffn_dim: hidden channels of the feed-forward network.
        mixer: the token mixer; see padre3d/mixers.
        use_mask: whether the mixer is told which tokens are valid.
        dropout: probability, after the mixer and twice in the feed-forward network.
        activation: of the feed-forward network, "gelu" or "relu".

    A mixer that has a fused layer (PADRe with ``impl="triton"``) runs all of it in fused kernels,
    which know GELU only; with ``impl="auto"`` where a trial finds them better (fused_trial.py).
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        mixer: Mixer,
        use_mask: bool,
        dropout: float = 0.0,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        if activation != "gelu" and mixer.has_fused_layer:
            raise ValueError(f"impl='triton': expected activation 'gelu', got {activation!r}")
        self.mixer, self.use_mask, self.dropout = mixer, use_mask, dropout
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.activation = activation_module(activation)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm = nn.LayerNorm(dim)
        _initialise(self.linear1, self.linear2)

    def forward(
        self, x: Tensor, layout: TokenLayout | GridIndex, positions: TokenPositions | None
    ) -> Tensor:
        """Pillar features (N, D) -> (N, D); ``positions`` are the pillars' embeddings."""
        if not isinstance(layout, GridIndex) and self._is_fused(x, layout, positions):
            return self._fused(x, layout, positions, self._mask(layout))
        in_chunks = self._in_chunks(x)
        if in_chunks and not isinstance(layout, GridIndex):
            functions = chunked.LayerFunctions(
                self.mixer, self._finish_in_place, self.use_mask, self.mixer.receptive_radius
            )
            return chunked.encode(functions, x, layout, positions)
        mixed = self.mix(x, layout, positions)
        if in_chunks:
            return chunked.map_rows(self._finish_in_place, x, mixed)
        return self.after_mixer(x, mixed)

    def _in_chunks(self, x: Tensor) -> bool:
        """Chunks call the modules of a layer several times: not where a hook would notice."""
        return chunked.applies(x) and not any(
            module._forward_pre_hooks or module._forward_hooks
            for module in islice(self.modules(), 1, None)
        )

    def mix(
        self, x: Tensor, layout: TokenLayout | GridIndex, positions: TokenPositions | None
    ) -> Tensor:
        """What the mixer makes of pillar features (N, D), in the pillars' order: (N, D)."""
        if isinstance(layout, GridIndex):
            # The tokens are the pillars in their rows' order.
            pos = None if positions is None else positions.of_all().unsqueeze(0)
            return self.mixer(x.unsqueeze(0), pos, None, layout).squeeze(0)
        pos = None if positions is None else positions.of(layout.index)
        return layout.scatter(self.mixer(layout.gather(x), pos, self._mask(layout)))

    def _mask(self, layout: TokenLayout) -> Tensor | None:
        return layout.valid if self.use_mask else None

    def after_mixer(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of the layer, row by row: its input x (N, D) and what the mixer made of it."""
        return self._finish(x, mixed, Tensor.add_ if self._in_chunks(x) else torch.add)

    def _finish_in_place(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self._finish(x, mixed, Tensor.add_)

    def _finish(self, x: Tensor, mixed: Tensor, add: Callable[..., Tensor]) -> Tensor:
        """``add(a, b)`` may keep its result in a, an output of a module of the layer."""
        y = self.norm1(x + self._drop(mixed))
        hidden = self._drop(self.activation(self.linear1(y)))
        z = self.norm2(add(self._drop(self.linear2(hidden)), y))
        return self.norm(add(z, x))

    def _is_fused(self, x: Tensor, layout: TokenLayout, positions: TokenPositions | None) -> bool:
        if self.mixer.tries_fused_layer:
            return prefers_fused(self, x, layout, positions)
        return self.mixer.has_fused_layer

    def _fused(
        self,
        x: Tensor,
        layout: TokenLayout,
        positions: TokenPositions | None,
        mask: Tensor | None,
    ) -> Tensor:
        from padre3d.ops.padre.triton import (
            encoder_layer,  # needs Triton, which the core does without
        )

        if self.dropout and self.training:
            raise ValueError(f"impl='triton': expected dropout 0 in training, got {self.dropout}")
        return encoder_layer(
            x,
            positions,
            layout.index,
            mask,
            self.mixer.fused_weights(),
            (self.linear1, self.linear2),
            (self.norm1, self.norm2, self.norm),
        )

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Block(nn.Module):
    """Encoder layers and a normalised residual connection around them.

    Args:
        layers: one after the other, or
        parallel: side by side, each on the block's input, and averaged.
        dim: channels D.
    """

    def __init__(self, layers: Sequence[EncoderLayer], dim: int, parallel: bool = False) -> None:
        super().__init__()
        self.parallel = parallel
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, layouts: Sequence[TokenLayout | GridIndex], *positions: TokenPositions
    ) -> Tensor:
        """Pillar features (N, D) -> (N, D).

        Args:
            x: features.
            layouts: one per layer.
            positions: the pillars' position embeddings for each layer, or none at all.
        """
        outs: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            pos = positions[i] if positions else None
            outs.append(layer(self.input_of_layer(x, outs), layouts[i], pos))
            if not self.parallel:
                del outs[:-1]
        if chunked.applies(x):
            return chunked.map_rows(self.close, x, *outs)
        return self.close(x, *outs)

    def input_of_layer(self, x: Tensor, outs: Sequence[Tensor]) -> Tensor:
        """What the next layer reads: the block's input, or the last of the outputs so far."""
        return x if self.parallel or not outs else outs[-1]

    def close(self, x: Tensor, *outs: Tensor) -> Tensor:
        """The residual connection, row by row, around the last layer, or the mean of all."""
        out = sum(outs[1:], outs[0]) / len(outs) if self.parallel else outs[-1]
        return self.norm(x + out)


class PositionEmbedding(nn.Module):
    """Linear, BatchNorm, ReLU, Linear of the coordinates in the window.

    All pillars with one index in their windows have one embedding, so the network runs on the table
    of a window's cells (900 for 30 x 30), in training too: the statistics of the batch are those of
    the table weighted with how often each index occurs. Only synchronised normalisation, which
    knows no weights, sees every pillar.

    Args:
        dim: channels D.
        xy: (P, 2) coordinates of a window's cells.
    """

    xy: Tensor

    def __init__(self, dim: int, xy: Tensor) -> None:
        super().__init__()
        self.linear1 = nn.Linear(2, dim)
        self.norm = RowBatchNorm(dim)
        self.linear2 = nn.Linear(dim, dim)
        _initialise(self.linear1, self.linear2)
        self.register_buffer("xy", xy, persistent=False)

    def forward(self, window_index: Tensor) -> TokenPositions:
        """Single-precision embeddings (D) of pillars by ``window_index`` (N,)."""
        if not self.training:
            return TokenPositions(self._embed(self.xy), window_index)
        if not isinstance(self.norm, RowBatchNorm):
            return TokenPositions(self._embed(self.xy[window_index]))
        # Unlike bincount this does not ask the device for the largest index.
        ones = torch.ones(len(window_index), device=window_index.device)
        counts = ones.new_zeros(len(self.xy)).index_add_(0, window_index, ones)
        return TokenPositions(self._embed(self.xy, counts, len(window_index)), window_index)

    def _embed(self, xy: Tensor, counts: Tensor | None = None, total: int = 0) -> Tensor:
        return embed_positions(xy, self.linear1, self.norm, self.linear2, counts, total)


def _initialise(*layers: nn.Linear) -> None:
    """Xavier-uniform weights, as DSVT starts its backbone; mixers initialise themselves."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
