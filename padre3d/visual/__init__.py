"""Bird's-eye-view pictures of point clouds and boxes."""

from padre3d.visual.bev import draw_bev, draw_bev_pair

__all__ = ["draw_bev", "draw_bev_pair"]
