"""Pillars to a bird's-eye-view map, and the residual 2-D backbone on it."""

from padre3d.bev.backbone import ResidualBEVBackbone
from padre3d.bev.scatter import cell_to_pillar_map, gather_to_map, scatter_to_map

__all__ = ["ResidualBEVBackbone", "cell_to_pillar_map", "gather_to_map", "scatter_to_map"]
