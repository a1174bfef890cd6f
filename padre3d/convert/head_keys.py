"""The head's weights in the reference's names and shapes, readable both ways.

Names follow one rule each. Shapes differ in two ways: the reference works on maps indexed (x, y),
so its 3 x 3 kernels are transposed, and its per-position layers are 1-D convolutions, so their
kernels carry a last axis of length 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from padre3d.convert.keys import KeyMap

HEAD = KeyMap(
    [
        ("shared_conv.{rest}", "shared_conv.{rest}"),
        ("heatmap_head.0.conv.{rest}", "heatmap_head.0.{rest}"),
        ("heatmap_head.0.bn.{rest}", "heatmap_head.1.{rest}"),
        ("heatmap_head.1.{rest}", "heatmap_head.3.{rest}"),
        ("class_encoding.{rest}", "class_embedding.{rest}"),
        ("decoder.self_attn.{rest}", "decoder.self_attention.{rest}"),
        ("decoder.multihead_attn.{rest}", "decoder.cross_attention.{rest}"),
        ("decoder.linear1.{rest}", "decoder.ffn.0.{rest}"),
        ("decoder.linear2.{rest}", "decoder.ffn.2.{rest}"),
        ("decoder.norm{k}.{rest}", "decoder.norm{k}.{rest}"),
        (
            "decoder.self_posembed.position_embedding_head.{i}.{rest}",
            "decoder.query_position.{i}.{rest}",
        ),
        (
            "decoder.cross_posembed.position_embedding_head.{i}.{rest}",
            "decoder.key_position.{i}.{rest}",
        ),
        ("prediction_head.{branch}.0.0.{rest}", "branches.{branch}.0.{rest}"),
        ("prediction_head.{branch}.0.1.{rest}", "branches.{branch}.1.{rest}"),
        ("prediction_head.{branch}.{k}.0.{rest}", "branches.{branch}.linear{k}.{rest}"),
        ("prediction_head.{branch}.{k}.1.{rest}", "branches.{branch}.norm{k}.{rest}"),
        ("prediction_head.{branch}.1.{rest}", "branches.{branch}.3.{rest}"),
        ("prediction_head.{branch}.{k}.{rest}", "branches.{branch}.last{k}.{rest}"),
    ]
)

_POINTWISE = ("class_embedding.", "decoder.query_position.", "decoder.key_position.", "branches.")


def head_to_ours(key: str, weight: Tensor) -> tuple[str, Tensor] | None:
    """Our name and value of a weight of the reference's head; None for an unknown name."""
    ours = HEAD.to_ours(key)
    if ours is None:
        return None
    if weight.dim() == 4:
        weight = weight.transpose(2, 3).contiguous()
    elif weight.dim() == 3 and weight.shape[2] == 1:
        weight = weight.squeeze(2)
    return ours, weight


def head_to_reference(key: str, weight: Tensor) -> tuple[str, Tensor] | None:
    """The reference's name and value of a weight of our head; None for an unknown name."""
    reference = HEAD.to_reference(key)
    if reference is None:
        return None
    if weight.dim() == 4:
        weight = weight.transpose(2, 3).contiguous()
    elif weight.dim() == 2 and key.startswith(_POINTWISE):
        weight = weight.unsqueeze(2)
    return reference, weight


def convert_head(state: Mapping[str, Tensor], reverse: bool = False) -> dict[str, Tensor]:
    """Convert the state dict of a head, without a prefix.

    Raises:
        ValueError: naming the keys that belong to no rule.
    """
    convert = head_to_reference if reverse else head_to_ours
    converted = {key: convert(key, weight) for key, weight in state.items()}
    unknown = [key for key, pair in converted.items() if pair is None]
    if unknown:
        raise ValueError(f"convert_head: expected keys of a TransFusion head, got {unknown}")
    return dict(pair for pair in converted.values() if pair is not None)
