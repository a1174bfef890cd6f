"""A sub-manifold convolution over neighbouring pillars, before the first block (needs spconv)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.layers.norms import RowBatchNorm
from padre3d.structures.pillars import Pillars


class SubmanifoldDescriptor(nn.Module):
    """``x + ReLU(BatchNorm(conv(x)))`` with a 3 x 3 convolution that reads occupied pillars only.

    Args:
        dim: channels.

    Raises:
        ImportError: without spconv.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        try:
            import spconv.pytorch as spconv

            from padre3d.backbone.submanifold_conv import SubmanifoldConv2d
        except ImportError as error:
            raise ImportError(
                "local_descriptor='submconv' needs spconv: pip install spconv-cu120, and no "
                "PADRE3D_SPCONV=0 in the environment"
            ) from error
        # The implicit-GEMM algorithms exist on CUDA only.
        algo = None if torch.cuda.is_available() else spconv.ConvAlgo.Native
        self.conv = SubmanifoldConv2d(dim, dim, 3, padding=1, bias=False, algo=algo)
        self.norm = RowBatchNorm(dim, eps=1e-3, momentum=0.01)

    def forward(self, pillars: Pillars, ny: int, nx: int) -> Tensor:
        """Features (N, dim) of at least one pillar on a (ny, nx) grid -> (N, dim)."""
        import spconv.pytorch as spconv

        sparse = spconv.SparseConvTensor(
            pillars.features, pillars.coords.int().contiguous(), [ny, nx], pillars.batch_size
        )
        return pillars.features + torch.relu(self.norm(self.conv(sparse).features))
