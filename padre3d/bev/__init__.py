"""Pillars to a bird's-eye-view map, and the residual 2-D backbone on it."""

from padre3d.bev.backbone import ResidualBEVBackbone
from padre3d.bev.scatter import inverse_map, map_from_inverse, scatter_to_map

__all__ = ["ResidualBEVBackbone", "inverse_map", "map_from_inverse", "scatter_to_map"]
