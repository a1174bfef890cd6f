"""Mixers by name, as configs write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from padre3d.checks import check_count
from padre3d.mixers.castling import Castling
from padre3d.mixers.conv2former import Conv2Former
from padre3d.mixers.conv_control import ConvControl
from padre3d.mixers.efficient import EfficientAttention
from padre3d.mixers.enhanced_linear import EnhancedLinear
from padre3d.mixers.focused_linear import FocusedLinear
from padre3d.mixers.hydra import Hydra
from padre3d.mixers.hyena import Hyena
from padre3d.mixers.knn_attention import KNNAttention
from padre3d.mixers.linear_angular import LinearAngular
from padre3d.mixers.mamba import Mamba
from padre3d.mixers.mixer import Mixer
from padre3d.mixers.padre import PADRe
from padre3d.mixers.padre_rational import RationalPADRe
from padre3d.mixers.set_attention import SelfAttention, SetAttention
from padre3d.mixers.sima import SimA

MIXERS: dict[str, type[Mixer]] = {
    "padre": PADRe,
    "padre_rational": RationalPADRe,
    "conv_control": ConvControl,
    "set_attention": SetAttention,
    "self_attention": SelfAttention,
    "sima": SimA,
    "conv2former": Conv2Former,
    "hyena": Hyena,
    "mamba": Mamba,
    "castling": Castling,
    "linear_angular": LinearAngular,
    "focused_linear": FocusedLinear,
    "efficient": EfficientAttention,
    "hydra": Hydra,
    "enhanced_linear": EnhancedLinear,
    "knn_attention": KNNAttention,
}


def build_mixer(cfg: dict[str, Any], dim: int) -> Mixer:
    """Build a mixer for ``dim`` channels from ``dict(type=NAME, **arguments)``.

    Raises:
        ValueError: if the type is missing or unknown; lists the known ones.
    """
    arguments = dict(cfg) if isinstance(cfg, Mapping) else {}
    name = arguments.pop("type", None)
    if not isinstance(name, str):
        raise ValueError(
            f"mixer: expected dict(type=NAME, ...) with one of {sorted(MIXERS)}, got {cfg}"
        )
    if name not in MIXERS:
        raise ValueError(f"mixer type: expected one of {sorted(MIXERS)}, got {name!r}")
    check_count("mixer dim", dim, 1)
    try:
        return MIXERS[name](dim, **arguments)
    except TypeError as error:
        raise ValueError(f"mixer {name!r}: cannot be built from {arguments}: {error}") from error
