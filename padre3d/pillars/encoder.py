"""Dynamic pillar encoder: a small PointNet per pillar, without a limit on points or pillars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.layers.norms import RowBatchNorm, evaluation_affine
from padre3d.pillars.segments import linear_segment_max, segment_max, segment_mean
from padre3d.pillars.voxelise import voxelise
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars


class PointLayer(nn.Module):
    """Linear, BatchNorm and ReLU per point; without BatchNorm the linear layer has a bias.

    The input may have two parts: columns of the point, and columns its whole pillar shares (the
    maximum of the layer before). The shared part is multiplied once per pillar, not per point.

    Args:
        point_channels: columns of a point.
        shared_channels: columns of its pillar, behind those of the point in the weight.
        out_channels: columns of the result.
        norm: whether there is a BatchNorm.
    """

    def __init__(
        self, point_channels: int, shared_channels: int, out_channels: int, norm: bool = True
    ) -> None:
        super().__init__()
        self.point_channels = point_channels
        self.linear = nn.Linear(point_channels + shared_channels, out_channels, bias=not norm)
        self.norm = RowBatchNorm(out_channels, eps=1e-3, momentum=0.01) if norm else None

    def forward(self, points: Tensor, shared: Tensor | None, rows: Tensor) -> Tensor:
        """Points (P, C), shared (N, S) or None, pillar row of each point (P,) -> (P, out)."""
        if self.norm is not None and self.norm.training:
            own, common = self._products(points, shared, self.linear.weight)
            return F.relu(self.norm(own if common is None else own + common.index_select(0, rows)))
        weight, shift = self.folded()
        own, common = self._products(points, shared, weight, shift)
        return F.relu(own if common is None else own + common.index_select(0, rows), inplace=True)

    def forward_max(self, points: Tensor, shared: Tensor | None, rows: Tensor, n: int) -> Tensor:
        """The pillar maximum (n, out) of :meth:`forward`, where :meth:`reduces_first` says so.

        With the normalisation folded into the weight, everything but the points' own product is
        constant over a pillar or increasing, so it is done once per pillar, after the maximum.
        """
        if self.norm is not None and self.norm.training:
            affine = self.norm.affine_of_linear(points, self.linear.weight)
            weight, shift = self._scaled(affine)
        else:
            weight, shift = self.folded()
        largest = linear_segment_max(points, weight[:, : self.point_channels], rows, n)
        largest = largest + shift.to(largest.dtype)
        if shared is not None:
            largest = largest + F.linear(shared, weight[:, self.point_channels :])
        return F.relu(largest)

    def reduces_first(self) -> bool:
        """Whether the maximum can be taken before the normalisation.

        In training that needs the statistics of the product, which are known beforehand for an
        input without a shared part, and on one process.
        """
        if self.norm is None or not self.norm.training:
            return True
        one_part = self.linear.in_features == self.point_channels
        return one_part and isinstance(self.norm, RowBatchNorm)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight (out, in) and shift (out,) before the ReLU in evaluation mode."""
        if self.norm is None:
            return self.linear.weight, self.linear.bias
        return self._scaled(evaluation_affine(self.norm))

    def _scaled(self, affine: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scale, shift = affine
        return self.linear.weight * scale.unsqueeze(1), shift

    def _products(
        self, points: Tensor, shared: Tensor | None, weight: Tensor, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        own = F.linear(points, weight[:, : self.point_channels], shift)
        if shared is None:
            return own, None
        return own, F.linear(shared, weight[:, self.point_channels :])


class DynamicPillarEncoder(nn.Module):
    """Points to one feature vector per occupied pillar.

    Each point is described by x, y, z, its further columns, its offset to the mean of the points
    in its pillar and to the pillar's centre. Every layer is followed by the maximum over the
    pillar; all but the last hand on the point's own columns next to that maximum.

    Args:
        grid: the pillar grid, or a config's dict of it.
        in_channels: columns of a point: x, y, z in metres, intensity, time lag in seconds, ...
        filters: output width of each layer; all but the last must be even.
        with_xyz: whether x, y, z are inputs besides the offsets.
        with_distance: whether the distance to the sensor is the last input.
        with_norm: whether the layers have a BatchNorm; otherwise a bias.
    """

    def __init__(
        self,
        grid: PillarGrid | Mapping[str, Any],
        in_channels: int = 5,
        filters: Sequence[int] = (128, 128),
        with_xyz: bool = True,
        with_distance: bool = False,
        with_norm: bool = True,
    ) -> None:
        super().__init__()
        if in_channels < 3 or not filters or any(f % 2 for f in filters[:-1]):
            raise ValueError(
                "DynamicPillarEncoder expected at least 3 columns and even filters before the "
                f"last one, got in_channels={in_channels}, filters={tuple(filters)}"
            )
        self.grid = PillarGrid.of(grid)
        self.in_channels = in_channels
        self.with_xyz, self.with_distance = with_xyz, with_distance
        self.out_channels = filters[-1]
        layers = []
        own, shared = in_channels + 6 - 3 * (not with_xyz) + with_distance, 0
        for i, width in enumerate(filters):
            out = width if i == len(filters) - 1 else width // 2
            layers.append(PointLayer(own, shared, out, with_norm))
            own = shared = out
        self.layers = nn.ModuleList(layers)

    def forward(self, points: Sequence[Tensor]) -> Pillars:
        """Encode a batch of clouds.

        Args:
            points: one (P_b, in_channels) tensor per sample. Points outside the range and points
                with a NaN, an infinity or a value beyond
                :func:`padre3d.structures.points.point_limits` are dropped. A cloud may be empty.

        Returns:
            Pillars with features (N, filters[-1]).

        Raises:
            ValueError: without a sample, or on a wrong number of columns.
        """
        flat, rows, coords = voxelise(points, self.grid, self.in_channels)
        features = self.encode(self.describe(flat, rows, coords[:, 1:]), rows, len(coords))
        return Pillars(features, coords, len(points))

    def describe(self, points: Tensor, rows: Tensor, cells: Tensor) -> Tensor:
        """The inputs of the first layer: (P, in_channels + 6) as published.

        Args:
            points: (P, in_channels) points.
            rows: (P,) pillar row of each point.
            cells: (N, 2) ``[y, x]`` of the pillars.
        """
        xyz = points[:, :3]
        mean = segment_mean(xyz, rows, len(cells))
        centre_z = (self.grid.range_m[2] + self.grid.range_m[5]) / 2
        centre = self.grid.centres_m(cells).to(xyz)
        centre = F.pad(centre, (0, 1), value=centre_z)
        columns = [
            points if self.with_xyz else points[:, 3:],
            xyz - mean.index_select(0, rows),
            xyz - centre.index_select(0, rows),
        ]
        if self.with_distance:
            columns.append(xyz.norm(dim=1, keepdim=True))
        return torch.cat(columns, 1)

    def encode(self, inputs: Tensor, rows: Tensor, num_pillars: int) -> Tensor:
        """Point descriptions of :meth:`describe` to pillar features (num_pillars, out)."""
        # Offsets are taken in float32; a module in another precision goes on in its own.
        x: Tensor = inputs.to(next(self.parameters()).dtype)
        shared: Tensor | None = None
        for layer in self.layers:
            assert isinstance(layer, PointLayer)
            # Coordinates of 54 m have steps of 3 cm in half precision: the first layer, which
            # reads them, stays in single precision.
            autocast = torch.is_autocast_enabled(x.device.type) and shared is not None
            with torch.autocast(x.device.type, enabled=autocast):
                if layer is self.layers[-1] and layer.reduces_first():
                    return layer.forward_max(x, shared, rows, num_pillars)
                x = layer(x, shared, rows)
                shared = segment_max(x, rows, num_pillars)
        assert shared is not None
        return shared
