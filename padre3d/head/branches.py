"""The prediction branches: one small perceptron per quantity, applied to every proposal."""

from __future__ import annotations

from torch import Tensor, nn

from padre3d.layers.norms import RowBatchNorm

# Prior probability of 0.1 for a class, so that the focal loss starts small.
HEATMAP_BIAS = -2.19

BOX_BRANCHES = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


class PredictionBranches(nn.ModuleDict):
    """Linear, batch norm, ReLU, linear for each of center, height, dim, rot, vel, iou, heatmap.

    Args:
        channels: width of a proposal's feature.
        num_classes: outputs of the heatmap branch.
        hidden: hidden width of every branch.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int = 64) -> None:
        outputs = {**BOX_BRANCHES, "iou": 1, "heatmap": num_classes}
        super().__init__(
            {
                name: nn.Sequential(
                    nn.Linear(channels, hidden),
                    RowBatchNorm(hidden),
                    nn.ReLU(),
                    nn.Linear(hidden, size),
                )
                for name, size in outputs.items()
            }
        )
        last = list(self["heatmap"].children())[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, HEATMAP_BIAS)

    def forward(self, query: Tensor) -> dict[str, Tensor]:
        """Proposals (B, P, C) to float32 predictions (B, P, size) by branch name."""
        shape = query.shape[:2]
        rows = query.flatten(0, 1)
        return {name: branch(rows).float().view(*shape, -1) for name, branch in self.items()}
