"""Names of the reference implementation's weights in our modules, readable both ways.

A rule is a pair of templates with the same fields: ``{name}`` stands for one or more parts of a
key. The first rule that fits decides. One :class:`KeyMap` per module, without the module's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class KeyMap:
    """A one-to-one map of key names.

    Args:
        rules: pairs ``(reference template, our template)``.
    """

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        self.rules = tuple(rules)

    def to_ours(self, key: str) -> str | None:
        """Our name of a reference key; None if no rule fits."""
        return _apply(key, self.rules)

    def to_reference(self, key: str) -> str | None:
        """The reference's name of one of our keys; None if no rule fits."""
        return _apply(key, [(ours, reference) for reference, ours in self.rules])


def _apply(key: str, rules: Sequence[tuple[str, str]]) -> str | None:
    for source, target in rules:
        # Numbered fields (b, i) are whole numbers, the others any rest of the key.
        pattern = re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d+)", re.escape(source))
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", pattern)
        match = re.fullmatch(pattern, key)
        if match:
            return target.format(**match.groupdict())
    return None


PILLAR_ENCODER = KeyMap([("pfn_layers.{i}.{rest}", "layers.{i}.{rest}")])

_POSITION = "input_layer.posembed_layers.0.{b}.{i}.position_embedding_head"
_LAYER = "stage_0.{b}.encoder_list.{i}"

BACKBONE = KeyMap(
    [
        (_POSITION + ".0.{rest}", "position_embeddings.{b}.{i}.linear1.{rest}"),
        (_POSITION + ".1.{rest}", "position_embeddings.{b}.{i}.norm.{rest}"),
        (_POSITION + ".3.{rest}", "position_embeddings.{b}.{i}.linear2.{rest}"),
        (_LAYER + ".win_attn.self_attn.{rest}", "blocks.{b}.layers.{i}.mixer.self_attn.{rest}"),
        (_LAYER + ".win_attn.linear{k}.{rest}", "blocks.{b}.layers.{i}.linear{k}.{rest}"),
        (_LAYER + ".win_attn.norm{k}.{rest}", "blocks.{b}.layers.{i}.norm{k}.{rest}"),
        (_LAYER + ".norm.{rest}", "blocks.{b}.layers.{i}.norm.{rest}"),
        ("residual_norm_stage_0.{b}.{rest}", "blocks.{b}.norm.{rest}"),
    ]
)

BEV_BACKBONE = KeyMap(
    [
        ("blocks.{i}.{b}.downsample_layer.0.{rest}", "stages.{i}.{b}.shortcut.conv.{rest}"),
        ("blocks.{i}.{b}.downsample_layer.1.{rest}", "stages.{i}.{b}.shortcut.norm.{rest}"),
        ("blocks.{i}.{b}.conv{k}.{rest}", "stages.{i}.{b}.conv{k}.{rest}"),
        ("blocks.{i}.{b}.bn{k}.{rest}", "stages.{i}.{b}.norm{k}.{rest}"),
        ("deblocks.{i}.0.{rest}", "resize.{i}.conv.{rest}"),
        ("deblocks.{i}.1.{rest}", "resize.{i}.norm.{rest}"),
    ]
)

# Prefix of a module in the reference checkpoint -> its map.
MODULES = {"vfe.": PILLAR_ENCODER, "backbone_3d.": BACKBONE, "backbone_2d.": BEV_BACKBONE}


def rename(state: Mapping[str, T], keys: KeyMap, prefix: str = "") -> dict[str, T]:
    """Rename the reference keys that start with a prefix to ours, and drop the prefix.

    Args:
        state: reference key -> value.
        keys: the module's map.
        prefix: the module's place in the reference checkpoint, such as ``"vfe."``.

    Raises:
        ValueError: if a key with this prefix is unknown.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            ours = keys.to_ours(key[len(prefix) :])
            if ours is None:
                raise ValueError(f"unknown reference key {key!r}")
            renamed[ours] = value
    return renamed
