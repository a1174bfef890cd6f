"""Comparing our head with the reference's.

The reference's per-proposal tensors are (B, size, K), ours (B, K, size); its maps are (x, y), ours
(y, x). Proposals are matched by (label, cell).
"""

from dataclasses import replace

import torch

from padre3d.convert.head_keys import convert_head
from padre3d.convert.reference_head import read_head
from padre3d.convert.settings_reader import Settings
from padre3d.head import PADReTransFusionHead
from padre3d.head.box_coding import decode_boxes
from padre3d.head.decode import box_codes, decode_detections, proposal_scores
from padre3d.structures.grid import PillarGrid

from .arrays import without_type

TOLERANCE = dict(atol=1e-4, rtol=1e-4)
PREDICTIONS = ("center", "height", "dim", "rot", "vel", "iou", "heatmap", "query_heatmap_score")


def close(actual, expected, **kwargs):
    tolerance = {**TOLERANCE, **kwargs}
    torch.testing.assert_close(actual, expected, check_dtype=False, **tolerance)


def build_head(golden, config, in_channels, state):
    """Our head with the reference's settings and weights."""
    stride = config["TARGET_ASSIGNER_CONFIG"]["FEATURE_MAP_STRIDE"]
    grid = PillarGrid(golden["point_cloud_range"].tolist(), golden["voxel_size"][:2].tolist())
    section, classes = Settings(config), config["NUM_CLASSES"]
    settings = without_type(read_head(section, classes, in_channels, stride, []))
    assert section.problems == []
    head = PADReTransFusionHead(grid.coarser(stride), num_classes=classes, **settings)
    head.load_state_dict(convert_head(state), strict=True)
    return head.eval().to(golden.device)


def our_cells(index_xy, grid):
    """Cell ids ``y * nx + x`` of the reference's ``x * ny + y``."""
    return index_xy % grid.ny * grid.nx + index_xy // grid.ny


def cells_of(outputs, grid):
    position = (outputs.query_pos - 0.5).long()
    return position[..., 1] * grid.nx + position[..., 0]


def proposal_order(outputs, labels, cells, grid):
    """(B, K) for each reference proposal our proposal of the same (label, cell)."""
    ours = outputs.query_labels * grid.num_cells + cells_of(outputs, grid)
    theirs = labels * grid.num_cells + cells
    assert torch.equal(ours.sort(1).values, theirs.sort(1).values)
    return torch.gather(ours.argsort(1), 1, theirs.argsort(1).argsort(1))


def reorder(value, order):
    return torch.stack([v[o] for v, o in zip(value, order, strict=True)])


def in_order_of_predictions(golden, prefix, outputs):
    """Our proposals in the reference's order, matched by label and values.

    For where no cells are stored. Rounding may exchange the ranks of two proposals.
    """
    theirs, ours = (
        torch.cat(values, -1)
        for values in (
            [golden[f"{prefix}preds/{name}"].transpose(1, 2) for name in PREDICTIONS],
            [getattr(outputs, name).detach() for name in PREDICTIONS],
        )
    )
    distance = torch.cdist(theirs, ours, compute_mode="donot_use_mm_for_euclid_dist")
    other_label = golden[f"{prefix}query_labels"][..., None] != outputs.query_labels[:, None]
    order = distance.masked_fill(other_label, float("inf")).argmin(2)
    assert torch.equal(order.sort(1).values, torch.arange(order.shape[1]).expand_as(order))
    return in_order(outputs, order)


def in_order(outputs, order):
    return type(outputs)(
        *(
            value if name == "dense_heatmap" else reorder(value, order)
            for name, value in outputs._asdict().items()
        )
    )


def assert_predictions(golden, prefix, outputs, order):
    for name in PREDICTIONS:
        expected = golden[f"{prefix}preds/{name}"].transpose(1, 2)
        close(reorder(getattr(outputs, name), order), expected, msg=lambda m, n=name: f"{n}: {m}")
    close(outputs.dense_heatmap, golden[f"{prefix}preds/dense_heatmap"].transpose(2, 3))


def check_inference(golden, prefix, head, bev):
    with torch.no_grad():
        outputs = head(bev)
    grid = head.grid
    labels = golden[f"{prefix}query_labels"]
    cells = our_cells(golden[f"{prefix}query_index"], grid)
    order = proposal_order(outputs, labels, cells, grid)
    close(reorder(outputs.query_pos, order), golden[f"{prefix}query_pos"], atol=0, rtol=0)
    assert_predictions(golden, prefix, outputs, order)

    scores = reorder(proposal_scores(outputs), order)
    close(scores, golden[f"{prefix}decoded/scores"])
    boxes = reorder(decode_boxes(box_codes(outputs), grid), order)
    close(boxes, golden[f"{prefix}decoded/boxes"])
    positive = scores > 0
    expected = golden[f"{prefix}decoded/labels0"]
    assert torch.equal(reorder(outputs.query_labels, order)[positive], expected[positive])
    return outputs, order


def check_final(golden, prefix, head, outputs, order):
    ordered = in_order(outputs, order)
    for name, alpha in (("with", head.decode_settings.iou_alpha), ("without", None)):
        settings = replace(head.decode_settings, iou_alpha=alpha)
        for sample, detections in enumerate(decode_detections(ordered, head.grid, settings)):
            here = f"{prefix}final/{name}_iou_rescore/sample{sample}/"
            close(detections.boxes, golden[here + "pred_boxes"])
            close(detections.scores, golden[here + "pred_scores"])
            assert torch.equal(detections.labels + 1, golden[here + "pred_labels"])
