"""Where the proposals come from: the strongest local maxima of the class heatmap."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.structures.classes import POINT_CLASSES
from padre3d.structures.grid import PillarGrid

# TensorRT's TopK takes no larger K: K = 3841 parses and then fails in the build.
MAX_TOPK = 3840


class ProposalSelector(nn.Module):
    """Picks the P best (class, cell) pairs of a dense heatmap.

    A cell counts for a class where its probability is the largest of its neighbourhood; for
    classes as small as a cell (pedestrian, traffic cone) every cell counts.

    Args:
        grid: the head's map.
        num_classes: channels of the heatmap.
        num_proposals: P.
        kernel: odd side of the neighbourhood in cells.
        point_classes: classes without a neighbourhood.
        drop_border: the reference's behaviour: no maximum in the ``kernel // 2`` border cells,
            except of point classes.
    """

    point: Tensor
    allowed: Tensor

    def __init__(
        self,
        grid: PillarGrid,
        num_classes: int,
        num_proposals: int,
        kernel: int = 3,
        point_classes: tuple[int, ...] = POINT_CLASSES,
        drop_border: bool = False,
    ) -> None:
        super().__init__()
        self.num_cells, self.nx = grid.num_cells, grid.nx
        self.num_proposals, self.kernel, self.drop_border = num_proposals, kernel, drop_border
        point = torch.zeros(1, num_classes, 1, 1, dtype=torch.bool)
        point[:, list(point_classes)] = True
        self.register_buffer("point", point, persistent=False)
        allowed = torch.zeros(1, num_classes, grid.ny, grid.nx)
        border = kernel // 2
        allowed[:, :, border : grid.ny - border, border : grid.nx - border] = 1
        allowed[:, list(point_classes)] = 1
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Select the proposals.

        Args:
            logits: (B, classes, y, x) dense heatmap.

        Returns:
            Labels (B, P) and cell ids ``y * nx + x`` (B, P), both int64, best first, and the
            probabilities (B, P, classes) in those cells, 0 where a class has no maximum.
        """
        heatmap = logits.detach().float().sigmoid()
        pooled = F.max_pool2d(heatmap, self.kernel, stride=1, padding=self.kernel // 2)
        is_peak = heatmap == torch.where(self.point, heatmap, pooled)
        peaks = heatmap * is_peak.to(heatmap.dtype)
        if self.drop_border:
            peaks = peaks * self.allowed.to(heatmap.dtype)
        best = peaks.flatten(1).topk(self.num_proposals, dim=1, sorted=True).indices
        labels = best // self.num_cells
        cells = best - labels * self.num_cells
        every_class = cells[:, None].expand(-1, peaks.shape[1], -1)
        scores = peaks.flatten(2).gather(2, every_class).transpose(1, 2)
        return labels, cells, scores
