"""Selection of proposals."""

import torch

from padre3d.head.queries import ProposalSelector
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((0.0, 0.0, -3, 7.0, 5.0, 1), (1.0, 1.0))  # 7 x 5 cells


def test_local_maxima_best_first():
    logits = torch.full((1, 2, 5, 7), -9.0)
    logits[0, 0, 2, 3], logits[0, 0, 2, 4] = 2.0, 1.9  # the second is no local maximum
    logits[0, 0, 0, 0] = 1.0  # in the corner
    logits[0, 1, 4, 6], logits[0, 1, 4, 5] = 3.0, 0.5  # point class: both count
    select = ProposalSelector(GRID, 2, 4, kernel=3, point_classes=(1,))
    labels, cells, scores = select(logits)
    assert labels.tolist() == [[1, 0, 0, 1]]
    assert cells.tolist() == [[34, 17, 0, 33]]
    expected = torch.sigmoid(torch.tensor([3.0, 2.0, 1.0, 0.5]))
    torch.testing.assert_close(scores[0, range(4), labels[0]], expected)
    # In the first proposal's cell class 0 has a plateau of -9 around it, which is a maximum.
    torch.testing.assert_close(scores[0, 0, 0], torch.tensor(-9.0).sigmoid())


def test_reference_loses_the_border_of_area_classes():
    logits = torch.full((1, 2, 5, 7), -9.0)
    logits[0, 0, 0, 3], logits[0, 0, 2, 3], logits[0, 1, 0, 0] = 5.0, 1.0, 0.0
    ours = ProposalSelector(GRID, 2, 2, point_classes=(1,))(logits)
    theirs = ProposalSelector(GRID, 2, 2, point_classes=(1,), drop_border=True)(logits)
    assert ours[1].tolist() == [[3, 17]]
    assert theirs[1].tolist() == [[17, 0]]
    assert theirs[0].tolist() == [[0, 1]]


def test_maxima_by_loop(device):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7)
    select = ProposalSelector(GRID, 3, 6, kernel=5, point_classes=()).to(device)
    labels, cells, _ = select(logits.to(device))
    for b in range(2):
        peaks = []
        for c in range(3):
            for y in range(5):
                for x in range(7):
                    around = logits[b, c, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
                    if logits[b, c, y, x] == around.max():
                        peaks.append((-logits[b, c, y, x].item(), c, y * 7 + x))
        expected = [(c, cell) for _, c, cell in sorted(peaks)[:6]]
        found = list(zip(labels[b].tolist(), cells[b].tolist(), strict=True))
        assert found[: len(expected)] == expected
        assert len(expected) >= 4
