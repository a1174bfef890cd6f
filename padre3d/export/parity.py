"""Torch against the exported file, by value.

Rounding can exchange two proposals of almost equal heatmap values, so proposals are compared after
matching them by class and cell. One that the other side lacks is excused only where the heatmap
shows a tie that the measured rounding error can turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.head.box_coding import decode_boxes
from padre3d.head.decode import box_codes, proposal_scores
from padre3d.head.outputs import HeadOutputs

if TYPE_CHECKING:
    from padre3d.head import PADReTransFusionHead

COMPARED = (
    *("center", "height", "dim", "rot", "vel", "iou", "heatmap"),
    *("query_heatmap_score", "query_pos", "dense_heatmap"),
)

# An output that is almost zero everywhere, such as velocities that a short training has not learnt,
# is held against this RMS (cells, m, m/s, logits) instead of its own.
LEAST_RMS = 0.1
# fp32: largest absolute difference of any raw output. Others: largest relative RMS of an output.
TOLERANCES = {"fp32": 1e-3, "fp16": 0.05, "int8-trt": 0.5, "int8-cpu": 0.5, "int8-qnn": 0.25}


@dataclass(frozen=True)
class FrameParity:
    """How far the two sides are apart on one frame.

    Attributes:
        frame: its name.
        pillars: occupied pillars.
        errors: largest absolute difference of each raw output over the matched proposals.
        relative: RMS of the difference over the RMS of torch's values (:data:`LEAST_RMS` at least),
            likewise.
        matched: proposals that both sides have.
        ties: proposals of one side that fell to a tie of the heatmap.
        lost: proposals of one side that nothing excuses.
        centre_m: largest difference of a coordinate of a matched box's centre in metres.
        score: largest difference of a matched box's score.
    """

    frame: str
    pillars: int
    errors: dict[str, float]
    relative: dict[str, float]
    matched: int
    ties: int
    lost: int
    centre_m: float
    score: float

    @property
    def difference(self) -> float:
        """The largest of the errors, lost proposals or not."""
        return max(self.errors.values())

    @property
    def worst(self) -> float:
        """The largest of the errors; infinite if a proposal is lost."""
        return float("inf") if self.lost else self.difference

    @property
    def worst_relative(self) -> float:
        """The largest relative RMS; infinite if not one proposal is the same."""
        return max(self.relative.values()) if self.matched else float("inf")

    def distance(self, precision: str) -> float:
        """What is held against the precision's tolerance: lost proposals count in fp32 only."""
        return self.worst if precision == "fp32" else self.worst_relative

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def compare_outputs(
    frame: str,
    pillars: int,
    expected: HeadOutputs,
    exported: HeadOutputs,
    head: PADReTransFusionHead,
) -> FrameParity:
    """Compare the raw outputs of one sample.

    Args:
        frame: name of the frame.
        pillars: its occupied pillars.
        expected: of torch, B = 1.
        exported: of the exported file.
        head: the head; its grid and the kernel of its local maxima are read.
    """
    ours, theirs = _match(expected, exported)
    pairs = {
        name: (getattr(expected, name)[:, ours], getattr(exported, name)[:, theirs])
        for name in COMPARED[:-1]
    }
    # The other classes' values in a proposal's cell are 0 or not by a tie, and are never read.
    pairs["query_heatmap_score"] = (_own_class(expected)[:, ours], _own_class(exported)[:, theirs])
    pairs["dense_heatmap"] = (expected.dense_heatmap, exported.dense_heatmap)
    errors = {name: _error(*pair) for name, pair in pairs.items()}
    relative = {name: _relative(*pair) for name, pair in pairs.items()}
    kernel = head.selector.kernel
    tie = 2 * _error(expected.dense_heatmap.sigmoid(), exported.dense_heatmap.sigmoid()) + 1e-7
    ties = _ties(expected, exported, ours, kernel, tie) + _ties(
        exported, expected, theirs, kernel, tie
    )
    boxes = [
        decode_boxes(box_codes(o), head.grid)[:, rows, :3]
        for o, rows in ((expected, ours), (exported, theirs))
    ]
    scores = [proposal_scores(o)[:, rows] for o, rows in ((expected, ours), (exported, theirs))]
    missing = 2 * (expected.query_labels.shape[1] - len(ours))
    return FrameParity(
        frame,
        pillars,
        errors,
        relative,
        len(ours),
        ties,
        missing - ties,
        _error(*boxes),
        _error(*scores),
    )


def parity_table(results: Sequence[FrameParity], precision: str, tolerance: float) -> object:
    """The results as a table for a rich console: absolute for fp32, relative RMS otherwise."""
    from rich.table import Table

    exact = precision == "fp32"
    kind = "largest |torch - ONNX|" if exact else "RMS of torch - ONNX over RMS of torch"
    table = Table(title=f"{precision}: {kind}, tolerance {tolerance:g}")
    table.add_column("output")
    for result in results:
        table.add_column(f"{result.frame}\n{result.pillars} pillars", justify="right")
    for name in COMPARED:
        values = ((r.errors if exact else r.relative)[name] for r in results)
        table.add_row(name, *(f"{value:.1e}" for value in values))
    table.add_section()
    table.add_row("box centre, mm", *(f"{result.centre_m * 1e3:.4f}" for result in results))
    table.add_row("box score", *(f"{result.score:.1e}" for result in results))
    table.add_row(
        "proposals: same / tied / lost",
        *(f"{r.matched} / {r.ties} / {r.lost}" for r in results),
    )
    return table


def _match(expected: HeadOutputs, exported: HeadOutputs) -> tuple[Tensor, Tensor]:
    """Rows of the proposals with the same class and cell on both sides, in one order."""
    rows = {key: row for row, key in enumerate(_keys(exported))}
    pairs = [(row, rows[key]) for row, key in enumerate(_keys(expected)) if key in rows]
    ours, theirs = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    return ours, theirs


def _keys(outputs: HeadOutputs) -> list[tuple[int, ...]]:
    cells = outputs.query_pos[0].floor().long()
    return list(map(tuple, torch.cat([outputs.query_labels[0, :, None], cells], 1).tolist()))


def _own_class(outputs: HeadOutputs) -> Tensor:
    return outputs.query_heatmap_score.gather(2, outputs.query_labels[..., None]).squeeze(2)


def _ties(side: HeadOutputs, other: HeadOutputs, matched: Tensor, kernel: int, tie: float) -> int:
    """How many proposals of one side the other side lost by a tie: with the last one that was
    taken, or with a neighbour for being the local maximum."""
    heatmap = other.dense_heatmap.sigmoid()
    largest = F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)
    last = _own_class(other).min()
    count = 0
    for row in set(range(side.query_labels.shape[1])) - set(matched.tolist()):
        x, y = side.query_pos[0, row].floor().long().tolist()
        label = int(side.query_labels[0, row])
        value, neighbour = heatmap[0, label, y, x], largest[0, label, y, x]
        count += bool(value <= last + tie or 0 < neighbour - value <= tie)
    return count


def _error(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite if one side is not finite."""
    if a.numel() == 0:
        return 0.0
    return float(torch.nan_to_num((a.double() - b.double()).abs(), nan=float("inf")).max())


def _relative(expected: Tensor, exported: Tensor) -> float:
    """RMS of the difference over that of the expected values; infinite if not finite."""
    if expected.numel() == 0:
        return 0.0
    difference = (expected.double() - exported.double()).square().mean().sqrt()
    ratio = difference / expected.double().square().mean().sqrt().clamp_min(LEAST_RMS)
    return float(torch.nan_to_num(ratio, nan=float("inf")))
