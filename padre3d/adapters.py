"""Parts of padre3d in stock mmdet3d detectors, and stock parts in ours, by config alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from padre3d.bev import scatter_to_map
from padre3d.checks import check_shape
from padre3d.structures.pillars import Pillars


class PillarMiddleEncoder(BaseModule):
    """Our backbone of mixers where a stock detector has its ``PointPillarsScatter``.

    It takes what that one takes, the pillars of a stock voxel encoder, and gives what that one
    gives, their map; between the two the pillars pass the backbone. For ``middle_encoder`` of
    VoxelNet and DynamicVoxelNet and ``pts_middle_encoder`` of CenterPoint and MVXNet.

    Args:
        backbone: config of a backbone such as ``VoxelBackbone``; its ``grid`` must be that of the
            stock detector's voxel layer, its ``dim`` the voxel encoder's width.
        init_cfg: as in mmengine.
    """

    def __init__(self, backbone: Mapping[str, Any], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(dict(backbone))

    def forward(
        self, voxel_features: Tensor, coors: Tensor, batch_size: int | Tensor | None = None
    ) -> Tensor:
        """Pillars in any order to their map.

        Args:
            voxel_features: (N, C) one row a pillar.
            coors: (N, 4) integer rows ``[batch, z, y, x]``, each once; z is 0.
            batch_size: number of samples; None: 1.

        Returns:
            (B, C, ny, nx), 0 where there is no pillar.

        Raises:
            ValueError: if a pillar lies outside the backbone's grid or the batch.
        """
        check_shape(coors, f"{len(voxel_features)} 4", name="PillarMiddleEncoder coors")
        grid = self.backbone.grid
        batch_size = 1 if batch_size is None else int(batch_size)
        coors = coors.long()
        sizes = (batch_size, 1, grid.ny, grid.nx)
        if ((coors < 0) | (coors >= coors.new_tensor(sizes))).any():
            raise ValueError(
                "PillarMiddleEncoder coors: expected [batch, z, y, x] below "
                f"{sizes}, got up to {tuple(coors.amax(0).tolist())}: the grid must be that of the "
                "voxel layer"
            )
        coords = coors[:, [0, 2, 3]]
        order = torch.argsort((coords[:, 0] * grid.ny + coords[:, 1]) * grid.nx + coords[:, 2])
        pillars = Pillars(voxel_features[order], coords[order], batch_size)
        return scatter_to_map(self.backbone(pillars), grid.ny, grid.nx)


class StockBEVBackbone(BaseModule):
    """A stock 2-D backbone and neck, such as SECOND and SECONDFPN, as our ``bev_backbone``.

    Args:
        backbone: config of the backbone: a map to one map a level.
        neck: config of the neck, or None: levels to levels. The head takes the first level.
        stride: cells of the grid along a cell of that level; the head refuses a map of another
            size.
        init_cfg: as in mmengine.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        stride: int = 1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(dict(backbone))
        self.neck = MODELS.build(dict(neck)) if neck else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ny, nx) -> the first level (B, C', ny / stride, nx / stride)."""
        levels = self.backbone(x)
        return (levels if self.neck is None else self.neck(levels))[0]
