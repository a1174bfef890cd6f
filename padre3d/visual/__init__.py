"""Point clouds and boxes: pictures from above, and pages in three dimensions."""

from padre3d.visual.bev import draw_bev, draw_bev_pair
from padre3d.visual.recording import Recording
from padre3d.visual.view import Page

__all__ = ["Page", "Recording", "draw_bev", "draw_bev_pair"]
