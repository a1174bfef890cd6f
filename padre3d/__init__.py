"""PADRe for LiDAR 3-D detection: points -> pillars -> sequences -> BEV -> boxes.

| stage | in | out | where |
|---|---|---|---|
| pillar encoder | points [(P_b, 5)] | Pillars (N, C) | padre3d/pillars |
| sequences | Pillars.coords (N, 3) | TokenLayout (G, L) per layer | padre3d/sequences |
| backbone of mixers | Pillars (N, C) | Pillars (N, C) | padre3d/backbone/voxel.py, padre3d/mixers |
| BEV map and backbone | Pillars (N, C) | (B, C', H/2, W/2) | padre3d/bev |
| head | (B, C', H/2, W/2) | boxes (K, 9), scores (K,), labels (K,) | padre3d/head |
| wiring | points | boxes | padre3d/detector.py |

Configs name ``padre3d.plugin`` in ``custom_imports``; nothing here imports it.

``padre3d.list_models()`` names the trained models that come with the package, ``create_model(name,
pretrained=True)`` builds one, ``detect(model, points)`` finds boxes with it. They are imported when
they are first asked for: the package alone needs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padre3d.inference import detect
    from padre3d.models import list_models
    from padre3d.pretrained import create_model

__version__ = "0.1.0"
__all__ = ["create_model", "detect", "list_models"]
_HOMES = {
    "create_model": "padre3d.pretrained",
    "detect": "padre3d.inference",
    "list_models": "padre3d.models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
