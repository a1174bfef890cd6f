"""Mixers behind the call signatures of other libraries' attentions.

An adapter passes on what a mixer understands: tokens, positions that are added to them, padding and
a causal order. Whatever else a model hands to its attention is refused, never ignored.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.mixers.mixer import Mixer

# A mask that is added to logits: 0 where a key takes part, below this where it does not.
EXCLUDED = -1e3
# Arguments of transformers' models that pass through the attention and say nothing about it.
NEUTRAL = (
    "position_ids",
    "cache_position",
    "use_cache",
    "return_dict",
    "output_hidden_states",
    "num_items_in_batch",
)


class Masks:
    """Reads attention masks into padding masks; one for all adapters of a model.

    The values are compared once per mask, not once per layer. While a model is traced or exported
    they are unknown: the last query's row is taken, the one that sees all keys in a causal order.
    """

    def __init__(self) -> None:
        self._mask: weakref.ref[Tensor] | None = None
        self._version, self._keep = -1, torch.empty(0)

    def read(self, mask: Tensor, x: Tensor, mixer: Mixer) -> Tensor:
        """(B, N) bool, True for real tokens.

        Args:
            mask: (B, N) bool or integers, True or 1 for real tokens; or (B, heads, queries, N):
                bool, True where a key takes part, or added to the logits.
            x: tokens (B, N, D).
            mixer: what will take the place of the attention.

        Raises:
            ValueError: if the mask is more than padding (and, for a causal mixer, a causal order).
        """
        last = None if self._mask is None else self._mask()
        if last is not mask or self._version != mask._version:
            keep = _padding(mask, x, mixer)
            if not _values_known():
                return keep.expand(len(x), -1)
            self._mask, self._version, self._keep = weakref.ref(mask), mask._version, keep
        return self._keep.expand(len(x), -1)


def _values_known() -> bool:
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def _padding(mask: Tensor, x: Tensor, mixer: Mixer) -> Tensor:
    batch, tokens = x.shape[:2]
    if mask.dim() == 2 and mask.shape == (batch, tokens) and not mask.is_floating_point():
        return mask.bool()
    if mask.dim() != 4 or mask.shape[-1] != tokens or mask.shape[-2] not in (1, tokens):
        raise ValueError(
            f"attention_mask: expected ({batch}, {tokens}) or (B, heads, {tokens}, {tokens}), "
            f"got {tuple(mask.shape)} of {mask.dtype}"
        )
    takes_part = mask if mask.dtype == torch.bool else mask > EXCLUDED
    last = takes_part[:, 0, -1]
    if _values_known():
        if mask.is_floating_point() and ((mask != 0) & (mask > EXCLUDED)).any():
            raise ValueError(
                "attention_mask: expected 0 or very low values, got others: a bias of the logits, "
                "which a mixer has not"
            )
        _check_queries(takes_part, last, mixer)
    return last


def _check_queries(takes_part: Tensor, last: Tensor, mixer: Mixer) -> None:
    """All real queries see the same keys, or those up to themselves if the mixer is causal."""
    queries = takes_part.shape[-2]
    real = last[:, None, :, None] if queries > 1 else torch.ones_like(takes_part)
    allowed = [last[:, None, None].expand_as(takes_part)]
    if mixer.is_causal:
        allowed.append(allowed[0].tril())
    if not any(torch.equal(takes_part & real, a & real) for a in allowed):
        raise ValueError(
            f"attention_mask: expected the same keys for every query, got a mask that differs "
            f"between queries: {type(mixer).__name__} mixes all tokens of a row"
            if not mixer.is_causal
            else "attention_mask: expected padding and a causal order, got another mask"
        )


def _check_causal(wanted: Any, mixer: Mixer) -> None:
    if wanted is not None and wanted is not False and not mixer.is_causal:
        raise ValueError(
            f"a replaced attention: the model asks for a causal order, {type(mixer).__name__} lets "
            "tokens see later ones; replace it by a causal mixer"
        )


def _refuse(given: dict[str, Any], neutral: tuple[str, ...] = ()) -> None:
    """Raise for the arguments of a call that a mixer would ignore."""
    unknown = [n for n, v in given.items() if n not in neutral and v is not None and v is not False]
    if unknown:
        raise ValueError(
            f"a replaced attention: expected no {', '.join(sorted(unknown))}: a mixer has no use "
            "for it"
        )


class TimmAdapter(nn.Module):
    """A mixer in the place of a timm ``Attention``."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, **others: Any
    ) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        _refuse({"attn_mask": attn_mask, **others})
        _check_causal(is_causal, self.mixer)
        return self.mixer(x)


class TransformersAdapter(nn.Module):
    """A mixer in the place of a self-attention of Hugging Face's transformers."""

    def __init__(self, mixer: Mixer, masks: Masks) -> None:
        super().__init__()
        self.mixer, self.masks = mixer, masks

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Tensor | tuple[Tensor, Tensor] | None = None,
        object_queries: Tensor | None = None,
        causal_attention_mask: Tensor | None = None,
        is_causal: bool | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """(B, N, D) -> ((B, N, D), None).

        DETR's positions are a tensor under either of two names. Rotary positions, a pair (cos, sin)
        that turns queries and keys, are left out: a mixer that knows the order has no need of them,
        any other refuses them. A cache of keys is refused: generate with ``use_cache=False``.
        """
        _refuse(others, NEUTRAL)
        _check_causal(is_causal, self.mixer)
        _check_causal(causal_attention_mask, self.mixer)
        pos = object_queries if position_embeddings is None else position_embeddings
        if isinstance(pos, tuple | list):
            if not self.mixer.knows_order:
                raise ValueError(
                    f"a replaced attention: {type(self.mixer).__name__} knows no order of its own, "
                    "and rotary positions act on queries and keys alone"
                )
            pos = None
        mask = None
        if attention_mask is not None:
            mask = self.masks.read(attention_mask, hidden_states, self.mixer)
        return self.mixer(hidden_states, pos, mask), None


class Transformers4Adapter(nn.Module):
    """A mixer in the place of a ViT's attention and its output map, transformers before 5."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden_states: Tensor, head_mask: Tensor | None = None, **others: Any) -> Any:
        """(B, N, D) -> (B, N, D)."""
        _refuse({"head_mask": head_mask, **others})
        return self.mixer(hidden_states)


class MultiheadAdapter(nn.Module):
    """A mixer in the place of an ``nn.MultiheadAttention`` that is used as self-attention.

    The mixer sees the query, to which DETR has already added its positions.
    """

    in_proj_bias = None  # keeps nn.TransformerEncoderLayer off its fused path

    def __init__(self, mixer: Mixer, batch_first: bool) -> None:
        super().__init__()
        self.mixer, self.batch_first = mixer, batch_first

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As ``nn.MultiheadAttention``: (N, B, D), batch first (B, N, D), or without B.

        Raises:
            ValueError: on keys other than the queries (cross-attention), a mask that is neither
                padding nor, for a causal mixer, the causal order, and a wish for weights.
        """
        _refuse({"need_weights": need_weights})
        _check_causal(is_causal, self.mixer)
        _check_self(query, key, value)
        _check_attn_mask(attn_mask, self.mixer)
        mask = None
        if key_padding_mask is not None:
            padded = key_padding_mask
            mask = ~padded if padded.dtype == torch.bool else padded > EXCLUDED
        if query.dim() == 2:
            mask = None if mask is None else mask.unsqueeze(0)
            return self.mixer(query.unsqueeze(0), None, mask).squeeze(0), None
        if self.batch_first:
            return self.mixer(query, None, mask), None
        return self.mixer(query.transpose(0, 1), None, mask).transpose(0, 1), None


def _check_self(query: Tensor, key: Tensor, value: Tensor) -> None:
    same = key is query
    if not same and key.shape == query.shape and _values_known():
        same = torch.equal(key, query)
    if not same or value.shape != query.shape:
        raise ValueError(
            f"a replaced attention: expected self-attention, got queries {tuple(query.shape)} and "
            f"other keys {tuple(key.shape)} or values {tuple(value.shape)}"
        )


def _check_attn_mask(attn_mask: Tensor | None, mixer: Mixer) -> None:
    """Only the causal order, for a mixer that has it."""
    if attn_mask is None:
        return
    excluded = attn_mask if attn_mask.dtype == torch.bool else attn_mask < EXCLUDED
    causal = torch.ones_like(excluded).triu(1)
    if not mixer.is_causal or (_values_known() and not torch.equal(excluded, causal)):
        raise ValueError(
            "a replaced attention: expected self-attention without attn_mask (or the causal one, "
            f"for a causal mixer), got attn_mask {tuple(attn_mask.shape)} for "
            f"{type(mixer).__name__}"
        )
