"""The 3-D backbone: blocks of mixers over the pillars in alternating token orders."""

from padre3d.backbone.voxel import VoxelBackbone

__all__ = ["VoxelBackbone"]
