"""Mixers behind the call signatures of other libraries' attentions.

An adapter passes on what a mixer understands: tokens, positions that are added to them, padding and
a causal order. Whatever else a model hands to its attention is refused, never ignored.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

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


class _Read(NamedTuple):
    """A mask that was read, and what of its state and of the reader the result depends on."""

    mask: weakref.ref[Tensor]
    version: int
    is_causal: bool
    keep: Tensor

    def answers(self, mask: Tensor, mixer: Mixer) -> bool:
        """Whether ``keep`` is what ``mask`` means to ``mixer`` now, and may be used here."""
        return (
            self.mask() is mask
            and self.version == mask._version
            and self.is_causal == mixer.is_causal
            # Autograd refuses tensors that were made in inference mode.
            and (torch.is_inference_mode_enabled() or not self.keep.is_inference())
        )


class Masks:
    """Reads attention masks into padding masks; one for all adapters of a model.

    The values are compared once per mask, not once per layer. While a model is traced, exported or
    captured in a CUDA graph they are unknown: the last query's row is taken, the one that sees all
    keys in a causal order.
    """

    # The last two, for a padding mask and a causal one beside it. Replaced as a whole and read once
    # a call: threads share this object.
    _last: tuple[_Read, ...] = ()

    def __reduce__(self) -> tuple[type[Masks], tuple[()]]:
        """Copies and pickles start empty: they are of a model, not of its last inputs."""
        return Masks, ()

    def read(self, mask: Tensor, x: Tensor, mixer: Mixer) -> Tensor:
        """(B, N) bool, True for real tokens.

        Args:
            mask: (B, N) bool or integers, True or 1 for real tokens; or (B or 1, heads, queries or
                1, N): bool, True where a key takes part, or 0 there and very low elsewhere.
            x: tokens (B, N, D).
            mixer: what will take the place of the attention.

        Raises:
            ValueError: if the mask is more than padding (and, for a causal mixer, a causal order).
        """
        _check_form(mask, x)
        if not _values_known(mask):
            return _padding(mask).expand(x.shape[0], -1)
        last = self._last
        keep = next((read.keep for read in last if read.answers(mask, mixer)), None)
        if keep is None:
            version = None if mask.is_inference() else mask._version
            _check_values(mask, mixer)
            keep = _padding(mask).clone()  # no view, which would keep the mask alive
            if version is not None:
                read = _Read(weakref.ref(mask), version, mixer.is_causal, keep)
                self._last = (read, *last[:1])
        return keep.expand(x.shape[0], -1)


def _values_known(x: Tensor) -> bool:
    """Whether the values of ``x`` can be looked at now and will be the same at every run."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or x.is_meta:
        return False
    return not (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def _check_form(mask: Tensor, x: Tensor) -> None:
    batch, tokens = x.shape[:2]
    if mask.dim() == 2:
        fits = mask.shape == (batch, tokens) and not mask.is_floating_point()
    else:
        fits = (
            mask.dim() == 4
            and mask.shape[0] in (1, batch)
            and mask.shape[2] in (1, tokens)
            and mask.shape[3] == tokens
            and (mask.dtype == torch.bool or mask.is_floating_point())
        )
    if not fits:
        raise ValueError(
            f"attention_mask: expected ({batch}, {tokens}) of bool or integers, or "
            f"({batch}, heads, {tokens}, {tokens}) of bool or floats, got {tuple(mask.shape)} of "
            f"{mask.dtype}"
        )


def _padding(mask: Tensor) -> Tensor:
    """The keys of the last query, (B or 1, N) bool."""
    return mask.bool() if mask.dim() == 2 else _takes_part(mask)[:, 0, -1]


def _takes_part(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask > EXCLUDED


def _check_values(mask: Tensor, mixer: Mixer) -> None:
    if mask.dim() == 4:
        _check_no_bias("attention_mask", mask)
        _check_queries(_takes_part(mask), _padding(mask), mixer)
    elif not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"attention_mask: expected 1 for real tokens and 0 for others, got values from "
            f"{mask.min().item()} to {mask.max().item()}"
        )


def _check_no_bias(name: str, mask: Tensor) -> None:
    """Bool, or 0 where a key takes part and very low where it does not."""
    if mask.dtype == torch.bool or not _values_known(mask):
        return
    known = (mask == 0) | (mask <= EXCLUDED)
    if not known.all():
        raise ValueError(
            f"{name}: expected 0 or very low values, got {mask[~known][0].item():g}: a bias of the "
            "logits, which a mixer has not"
        )


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

        DETR's positions are a tensor (B or 1, N, D) under either of two names. Rotary positions, a
        pair (cos, sin) that turns queries and keys, are left out: a mixer that knows the order has
        no need of them, any other refuses them. A cache of keys is refused: generate with
        ``use_cache=False``.
        """
        _refuse(others, NEUTRAL)
        _check_causal(is_causal, self.mixer)
        _check_causal(causal_attention_mask, self.mixer)
        if object_queries is not None and position_embeddings is not None:
            raise ValueError(
                "a replaced attention: expected position_embeddings or object_queries, got both"
            )
        pos = object_queries if position_embeddings is None else position_embeddings
        if isinstance(pos, tuple | list):
            if not self.mixer.knows_order:
                raise ValueError(
                    f"a replaced attention: {type(self.mixer).__name__} knows no order of its own, "
                    "and rotary positions act on queries and keys alone"
                )
            pos = None
        if pos is not None:
            pos = _positions(pos, hidden_states)
        mask = None
        for given in (attention_mask, causal_attention_mask):
            if given is not None:
                keep = self.masks.read(given, hidden_states, self.mixer)
                mask = keep if mask is None else mask & keep
        return self.mixer(hidden_states, pos, mask), None


def _positions(pos: Tensor, x: Tensor) -> Tensor:
    """(B, N, D), of positions that are the same for every sample too."""
    try:
        return pos if pos.shape == x.shape else pos.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"position_embeddings: expected a shape that broadcasts to {tuple(x.shape)}, got "
            f"{tuple(pos.shape)}"
        ) from None


class Transformers4Adapter(nn.Module):
    """A mixer in the place of a ViT's attention and its output map, transformers before 5."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden_states: Tensor, head_mask: Tensor | None = None, **others: Any) -> Any:
        """(B, N, D) -> (B, N, D)."""
        _refuse({"head_mask": head_mask, **others})
        return self.mixer(hidden_states)


class _NoWeights:
    """What ``nn.TransformerEncoder`` finds where it looks for an attention's weights.

    Something with ``__torch_function__`` among them keeps it from nested tensors.
    """

    weight = bias = None

    @classmethod
    def __torch_function__(cls, *_: Any) -> Any:
        return NotImplemented


class MultiheadAdapter(nn.Module):
    """A mixer in the place of an ``nn.MultiheadAttention`` that is used as self-attention.

    The mixer sees the query, to which DETR has already added its positions. The values, in DETR the
    same tokens without positions, are not looked at.
    """

    # What torch's encoders and their layers read before they take their fused paths.
    in_proj_weight, out_proj = _NoWeights(), _NoWeights()
    in_proj_bias = None
    _qkv_same_embed_dim = False

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
            ValueError: on keys other than the queries (cross-attention), a nested tensor, a mask
                that is neither padding nor, for a causal mixer, the causal order, and a wish for
                weights.
        """
        _refuse({"need_weights": need_weights})
        _check_causal(is_causal, self.mixer)
        _check_self(query, key, value)
        axis = 0 if query.dim() == 2 or not self.batch_first else 1
        _check_attn_mask(attn_mask, query.shape[axis], self.mixer)
        mask = None
        if key_padding_mask is not None:
            mask = ~_excluded("key_padding_mask", key_padding_mask)
        if query.dim() == 2:
            mask = None if mask is None else mask.unsqueeze(0)
            return self.mixer(query.unsqueeze(0), None, mask).squeeze(0), None
        if self.batch_first:
            return self.mixer(query, None, mask), None
        return self.mixer(query.transpose(0, 1), None, mask).transpose(0, 1), None


def _check_self(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.is_nested:
        raise ValueError(
            "a replaced attention: expected a dense tensor, got a nested one: set "
            "use_nested_tensor=False on the nn.TransformerEncoder"
        )
    same = key is query
    if not same and key.shape == query.shape and _values_known(query):
        same = torch.equal(key, query)
    if not same or value.shape != query.shape:
        raise ValueError(
            f"a replaced attention: expected self-attention, got queries {tuple(query.shape)} and "
            f"other keys {tuple(key.shape)} or values {tuple(value.shape)}"
        )


def _excluded(name: str, mask: Tensor) -> Tensor:
    """True for what one of ``nn.MultiheadAttention``'s masks leaves out."""
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(f"{name}: expected bool or floats, got {mask.dtype}")
    _check_no_bias(name, mask)
    return mask if mask.dtype == torch.bool else mask <= EXCLUDED


def _check_attn_mask(attn_mask: Tensor | None, tokens: int, mixer: Mixer) -> None:
    """Only the causal order, (N, N) or (B heads, N, N), for a mixer that has it."""
    if attn_mask is None:
        return
    excluded = _excluded("attn_mask", attn_mask)
    is_causal = attn_mask.dim() in (2, 3) and attn_mask.shape[-2:] == (tokens, tokens)
    if is_causal and _values_known(attn_mask):
        is_causal = torch.equal(excluded, torch.ones_like(excluded).triu(1))
    if not (mixer.is_causal and is_causal):
        raise ValueError(
            "a replaced attention: expected self-attention without attn_mask (or the causal one, "
            f"for a causal mixer), got attn_mask {tuple(attn_mask.shape)} for {tokens} tokens and "
            f"{type(mixer).__name__}"
        )
