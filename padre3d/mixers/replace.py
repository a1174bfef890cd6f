"""Swap the self-attention of a model for a mixer: timm ViT and DeiT, DETR encoders.

Modules are recognised by what they own, so none of those libraries is imported:

| attention | recognised by | replaced by |
|---|---|---|
| timm ``Attention`` | ``qkv``, ``proj`` | :class:`ViTAdapter` |
| Hugging Face DETR | ``q_proj``, ``k_proj``, ``v_proj`` | :class:`DetrAdapter` |
| ``nn.MultiheadAttention`` (original DETR, torch's encoder) | type | :class:`MultiheadAdapter` |

A model with an image of tokens gets 2-D convolutions, as in the paper. The class token of a ViT is
not part of the image. The paper does not say what happens to it; its parameter counts leave no room
for extra weights. Here it keeps its own row in every linear map and receives, at every convolution,
the mean of the convolved patches; patches do not see it (``padre3d.ops.padre.TokenPrefix``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.mixers.build import build_mixer
from padre3d.mixers.padre import PADRe

Size = tuple[int, int]
DEFAULT = {"type": "padre", "degree": 2, "preset": "paper", "kernel_size": 11}


class ViTAdapter(nn.Module):
    """A mixer in the place of a timm ``Attention``."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if attn_mask is not None:
            raise ValueError("a replaced ViT attention: expected attn_mask=None, got a mask")
        return self.mixer(x)


class DetrAdapter(nn.Module):
    """A mixer in the place of the self-attention of a Hugging Face DETR encoder layer."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        object_queries: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """(B, N, D) -> ((B, N, D), None).

        The mask is (B, 1, N, N), True or 0 where a key takes part; positions come under the name of
        either generation of the library.
        """
        pos = object_queries if position_embeddings is None else position_embeddings
        mask = None
        if attention_mask is not None:
            row = attention_mask[:, 0, 0]
            mask = row if row.dtype == torch.bool else row > -1
        return self.mixer(hidden_states, pos, mask), None


class MultiheadAdapter(nn.Module):
    """A mixer in the place of an ``nn.MultiheadAttention`` that is used as self-attention.

    The mixer sees the query, to which DETR has already added its positions.
    """

    in_proj_bias = None  # keeps nn.TransformerEncoderLayer off its fused path

    def __init__(self, mixer: nn.Module, batch_first: bool) -> None:
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
        **_: Any,
    ) -> tuple[Tensor, None]:
        """As ``nn.MultiheadAttention``: (N, B, D) or, batch first, (B, N, D)."""
        if key.shape != query.shape or attn_mask is not None:
            raise ValueError(
                "a replaced attention: expected self-attention without attn_mask, got queries "
                f"{tuple(query.shape)}, keys {tuple(key.shape)} and attn_mask {attn_mask}"
            )
        mask = None
        if key_padding_mask is not None:
            padded = key_padding_mask
            mask = ~padded if padded.dtype == torch.bool else padded > -1
        if self.batch_first:
            return self.mixer(query, None, mask), None
        return self.mixer(query.transpose(0, 1), None, mask).transpose(0, 1), None


def replace_attention(
    model: nn.Module,
    mixer: dict[str, Any] | None = None,
    *,
    size: Size | None = None,
    prefix: int | None = None,
    skip: Sequence[str] = ("decoder",),
) -> list[str]:
    """Replace every self-attention of ``model`` by a fresh mixer, in place.

    Args:
        model: a timm ViT or DeiT, a DETR or its encoder, or any model made of these attentions.
        mixer: config for :func:`build_mixer`; the default is the paper's PADRe-2.
        size: (H, W) of the token image; read from ``model.patch_embed.grid_size`` if there is one.
            Without it PADRe mixes the tokens as a sequence. :func:`set_token_size` changes it.
        prefix: leading tokens outside the image; read from ``model.num_prefix_tokens``.
        skip: modules with one of these in a part of their name stay. A decoder's queries have no
            order to convolve over, so decoders stay unless asked for.

    Returns:
        The names of the replaced modules.

    Raises:
        ValueError: if there is nothing to replace.
    """
    size = getattr(getattr(model, "patch_embed", None), "grid_size", None) if size is None else size
    prefix = getattr(model, "num_prefix_tokens", 0) if prefix is None else prefix
    cfg = dict(DEFAULT if mixer is None else mixer)
    if cfg["type"] == "padre":
        cfg["prefix"] = prefix
        if size is not None:
            cfg.update(dims=2, size=(int(size[0]), int(size[1])))

    found = [
        name
        for name, module in model.named_modules()
        if _width(module) is not None and not any(part in name.split(".") for part in skip)
    ]
    if not found:
        raise ValueError(f"replace_attention: found no self-attention in {type(model).__name__}")
    for name in found:
        old = model.get_submodule(name)
        parent, _, child = name.rpartition(".")
        new = _adapter(old, build_mixer(cfg, _width(old) or 0))
        like = next(old.parameters())
        new = new.to(device=like.device, dtype=like.dtype).train(old.training)
        setattr(model.get_submodule(parent), child, new)
    return found


def set_token_size(model: nn.Module, size: Size) -> None:
    """Tell every 2-D PADRe in ``model`` the (H, W) of the next images."""
    for module in model.modules():
        if isinstance(module, PADRe) and module.size is not None:
            module.size = size


def _width(module: nn.Module) -> int | None:
    """Channels of a self-attention that can be replaced, else None."""
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim
    crossing = "cross" in type(module).__name__.lower()
    for projections in (("qkv", "proj"), ("q_proj", "k_proj", "v_proj")):
        first = getattr(module, projections[0], None)
        if isinstance(first, nn.Linear) and all(hasattr(module, p) for p in projections):
            return None if crossing else first.in_features
    return None


def _adapter(old: nn.Module, mixer: nn.Module) -> nn.Module:
    if isinstance(old, nn.MultiheadAttention):
        return MultiheadAdapter(mixer, old.batch_first)
    return ViTAdapter(mixer) if hasattr(old, "qkv") else DetrAdapter(mixer)
