"""Modules that own weights and mix tokens, all behind one interface.

``mixer(x, pos=None, mask=None)``: tokens x (G, L, D), position embedding pos (G, L, D), mask
(G, L) bool, True for real tokens; returns (G, L, D). A masked token influences no real token; the
output at masked tokens is arbitrary but finite. ``build_mixer`` makes one from a config dictionary.
"""

from padre3d.mixers.build import MIXERS, build_mixer
from padre3d.mixers.padre import PADRe
from padre3d.mixers.padre_cross import CrossPADRe
from padre3d.mixers.replace import replace_attention, set_token_size
from padre3d.mixers.set_attention import SetAttention
from padre3d.mixers.structure import PRESETS, PadreStructure, preset

__all__ = [
    "MIXERS",
    "PRESETS",
    "CrossPADRe",
    "PADRe",
    "PadreStructure",
    "SetAttention",
    "build_mixer",
    "preset",
    "replace_attention",
    "set_token_size",
]
