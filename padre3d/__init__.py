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
"""

__version__ = "0.1.0"
