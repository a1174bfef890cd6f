"""The prediction branches: one small perceptron per quantity, applied to every proposal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from padre3d.checks import check_choice, check_count
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
        layers: linear layers of a branch by its name, at least 1; 2 for those not named.
        iou: whether there is a branch for the IoU.

    Raises:
        ValueError: for a branch that does not exist, or one without a layer.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        hidden: int = 64,
        layers: Mapping[str, int] | None = None,
        iou: bool = True,
    ) -> None:
        outputs = {**BOX_BRANCHES, **({"iou": 1} if iou else {}), "heatmap": num_classes}
        layers = layers or {}
        for name, count in layers.items():
            check_choice("branch_layers", name, tuple(outputs))
            check_count(f"branch_layers[{name!r}]", count, 1)
        super().__init__(
            {n: _branch(channels, hidden, k, layers.get(n, 2)) for n, k in outputs.items()}
        )
        last = list(self["heatmap"].children())[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, HEATMAP_BIAS)

    def forward(self, query: Tensor) -> dict[str, Tensor]:
        """Proposals (B, P, C) to float32 predictions (B, P, size) by branch name."""
        shape = query.shape[:2]
        rows = query.flatten(0, 1)
        return {name: branch(rows).float().view(*shape, -1) for name, branch in self.items()}


def _branch(channels: int, hidden: int, size: int, layers: int) -> nn.Sequential:
    """A perceptron of so many linear layers.

    With two of them the layers have their numbers as names, which our checkpoints know. Other
    numbers would give one name to the last layer of one branch and a hidden one of another.
    """
    if layers == 1:
        return nn.Sequential(OrderedDict(last0=nn.Linear(channels, size)))
    named: OrderedDict[str, nn.Module] = OrderedDict(
        {"0": nn.Linear(channels, hidden), "1": RowBatchNorm(hidden), "2": nn.ReLU()}
    )
    for i in range(1, layers - 1):
        named[f"linear{i}"] = nn.Linear(hidden, hidden)
        named[f"norm{i}"], named[f"relu{i}"] = RowBatchNorm(hidden), nn.ReLU()
    named["3" if layers == 2 else f"last{layers - 1}"] = nn.Linear(hidden, size)
    return nn.Sequential(named)
