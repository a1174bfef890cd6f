"""A head with other choices, proposal by proposal, in the reference's axes (x, y)."""

import torch
import torch.nn.functional as F

from .slow_stages import ACTIVATIONS
from .slow_weights import Weights, save

SIDE, CLASSES, RADIUS = 16, 3, 20
RANGE, VOXEL = [-9.6, -9.6, -5.0, 9.6, 9.6, 3.0], [0.6, 0.6, 8.0]
SIZES = dict(center=2, height=1, dim=3, rot=2, vel=2, iou=1)
CONFIG = dict(
    NAME="TransFusionHead",
    CLASS_AGNOSTIC=False,
    NUM_PROPOSALS=40,
    HIDDEN_CHANNEL=16,
    NUM_CLASSES=CLASSES,
    NUM_HEADS=4,
    NMS_KERNEL_SIZE=5,
    FFN_CHANNEL=24,
    DROPOUT=0.1,
    BN_MOMENTUM=0.2,
    ACTIVATION="gelu",
    NUM_HM_CONV=3,
    SEPARATE_HEAD_CFG=dict(
        HEAD_ORDER=["center", "height", "dim", "rot", "vel"],
        HEAD_DICT={
            name: dict(out_channels=size, num_conv=dict(vel=1, dim=3).get(name, 2))
            for name, size in SIZES.items()
        },
    ),
    TARGET_ASSIGNER_CONFIG=dict(
        FEATURE_MAP_STRIDE=2,
        DATASET="Waymo",
        GAUSSIAN_OVERLAP=0.2,
        MIN_RADIUS=1,
        HUNGARIAN_ASSIGNER=dict(cls_cost=dict(weight=0.3), reg_cost={}, iou_cost={}),
    ),
    LOSS_CONFIG=dict(
        LOSS_CLS=dict(use_sigmoid=True, gamma=1.5, alpha=0.3),
        LOSS_WEIGHTS=dict(
            cls_weight=0.5,
            bbox_weight=0.3,
            hm_weight=2.0,
            loss_iou_rescore_weight=0.1,
            code_weights=[0.1 * i for i in range(10)],
        ),
    ),
    POST_PROCESSING=dict(
        SCORE_THRESH=0.02,
        POST_CENTER_RANGE=[-9.0, -8.0, -3.0, 8.0, 9.0, 3.0],
        USE_IOU_TO_RECTIFY_SCORE=True,
        IOU_RECTIFIER=[0.2, 0.5, 0.8],
        NMS_CONFIG=dict(
            NMS_TYPE="nms_normal_gpu",
            NMS_THRESH=0.2,
            NMS_PRE_MAXSIZE=9,
            NMS_POST_MAXSIZE=5,
            SCORE_THRES=0.12,
        ),
    ),
)


@torch.no_grad()
def write_head(path):
    weights, arrays = Weights(8), {}
    bev = torch.randn(2, 6, SIDE, SIDE, generator=torch.Generator().manual_seed(9))
    per_sample = [sample_outputs(weights, bev[b : b + 1]) for b in range(len(bev))]
    for name in per_sample[0][0]:
        arrays[f"eval/{name}"] = torch.cat([found[name] for found, _ in per_sample])
    for sample, (_, final) in enumerate(per_sample):
        for kind, boxes in final.items():
            for name, value in boxes.items():
                arrays[f"eval/final/{kind}_iou_rescore/sample{sample}/{name}"] = value
    arrays |= dict(
        point_cloud_range=torch.tensor(RANGE).double(),
        voxel_size=torch.tensor(VOXEL).double(),
        input_channels=bev.shape[1],
        spatial_features_2d=bev,
    )
    save(path, CONFIG, weights, arrays)


def sample_outputs(weights, bev):
    """Arrays (1, ...) by name, and the final boxes with and without rescoring."""
    hidden, count = CONFIG["HIDDEN_CHANNEL"], CONFIG["NUM_PROPOSALS"]
    features = weights.conv("shared_conv", bev.transpose(2, 3), hidden, bias=True)
    x = weights.conv("heatmap_head.0.conv", features, hidden, bias=True)
    x = F.relu(weights.batch_norm("heatmap_head.0.bn", x, 1e-5))
    dense = weights.conv("heatmap_head.1", x, CLASSES, bias=True)
    peaks = local_maxima(dense[0].sigmoid())
    best = peaks.flatten().argsort(descending=True)[:count]
    labels, cells = best // SIDE**2, best % SIDE**2
    query = features[0].flatten(1).T[cells]
    query = query + weights.pointwise("class_encoding", F.one_hot(labels, CLASSES).float(), hidden)
    decoded, windows = decode_queries(weights, query, features[0].flatten(1).T, cells)
    position = torch.stack([cells // SIDE, cells % SIDE], 1) + 0.5
    predictions = branches(weights, decoded)
    predictions["center"] = predictions["center"] + position
    predictions["query_heatmap_score"] = peaks.flatten(1).T[cells]
    boxes, scores = boxes_and_scores(predictions, labels)
    found = {f"preds/{name}": value.T for name, value in predictions.items()}
    found |= {
        "preds/dense_heatmap": dense[0],
        "query_labels": labels,
        "query_index": cells,
        "query_pos": position,
        "query_feat_init": query,
        "query_feat_decoded": decoded,
        "decoded/boxes": boxes,
        "decoded/scores": scores,
        "decoded/labels0": labels,
        **windows,
    }
    iou = ((predictions["iou"][:, 0] + 1) / 2).clamp(0, 1)
    final = {
        "with": final_boxes(boxes, scores, labels, iou),
        "without": final_boxes(boxes, scores, labels, None),
    }
    return {name: value[None] for name, value in found.items()}, final


def local_maxima(heat):
    """The probability where it is the largest around, 0 elsewhere and within 2 cells of the border.

    Classes 1 and 2 of Waymo have no neighbourhood.
    """
    r = CONFIG["NMS_KERNEL_SIZE"] // 2
    peaks = heat.clone()
    for x in range(SIDE):
        for y in range(SIDE):
            inside = r <= x < SIDE - r and r <= y < SIDE - r
            around = heat[0, x - r : x + r + 1, y - r : y + r + 1] if inside else None
            if around is None or heat[0, x, y] < around.max():
                peaks[0, x, y] = 0
    return peaks


def embed(weights, name, positions):
    head = f"decoder.{name}.position_embedding_head"
    hidden = weights.pointwise(f"{head}.0", positions, CONFIG["HIDDEN_CHANNEL"])
    hidden = F.relu(weights.batch_norm(f"{head}.1", hidden, 1e-5))
    return weights.pointwise(f"{head}.3", hidden, CONFIG["HIDDEN_CHANNEL"])


def decode_queries(weights, queries, rows, cells):
    """The decoder layer, one query after the other, and the windows of the first four."""
    heads, size = CONFIG["NUM_HEADS"], CONFIG["HIDDEN_CHANNEL"]
    alone = weights.attention("decoder.self_attn", size, heads)
    around = weights.attention("decoder.multihead_attn", size, heads)
    out, masks, positions = [], [], []
    for query, cell in zip(queries, cells.tolist(), strict=True):
        x, y = divmod(cell, SIDE)
        steps = range(-RADIUS, RADIUS + 1)
        index = torch.tensor([(x + i) * SIDE + y + j for i in steps for j in steps])
        masked = (index < 0) | (index >= SIDE**2)
        index = index.clamp(0, SIDE**2 - 1)
        place = torch.stack([index // SIDE, index % SIDE], 1) + 0.5
        masks.append(masked)
        positions.append(place)
        here = embed(weights, "self_posembed", torch.tensor([[x + 0.5, y + 0.5]]))
        keys = (rows[index] + embed(weights, "cross_posembed", place))[None]
        q = query[None]
        mixed = alone((q + here)[None], (q + here)[None], (q + here)[None])[0][0]
        q = weights.layer_norm("decoder.norm1", q + mixed)
        mixed = around((q + here)[None], keys, keys, key_padding_mask=masked[None])[0][0]
        q = weights.layer_norm("decoder.norm2", q + mixed)
        hidden = weights.linear("decoder.linear1", q, CONFIG["FFN_CHANNEL"])
        hidden = ACTIVATIONS[CONFIG["ACTIVATION"]](hidden)
        q = weights.layer_norm("decoder.norm3", q + weights.linear("decoder.linear2", hidden, size))
        out.append(q[0])
    masks = torch.stack(masks)
    windows = {
        "num_masked_keys": masks.sum(1),
        "key_mask_first4": masks[:4],
        "key_pos_first4": torch.stack(positions)[:4],
    }
    return torch.stack(out), windows


def branches(weights, rows):
    """Each branch (P, size): hidden layers of 64 channels and the last one."""
    layers = {n: b["num_conv"] for n, b in CONFIG["SEPARATE_HEAD_CFG"]["HEAD_DICT"].items()}
    layers["heatmap"] = CONFIG["NUM_HM_CONV"]
    found = {}
    for name, count in layers.items():
        x = rows
        for k in range(count - 1):
            x = weights.pointwise(f"prediction_head.{name}.{k}.0", x, 64)
            x = F.relu(weights.batch_norm(f"prediction_head.{name}.{k}.1", x, 1e-5))
        size = SIZES.get(name, CLASSES)
        found[name] = weights.pointwise(f"prediction_head.{name}.{count - 1}", x, size)
    return found


def boxes_and_scores(predictions, labels):
    """Boxes (P, 9) with the gravity centre, and the scores of the proposals' classes."""
    cell = VOXEL[0] * CONFIG["TARGET_ASSIGNER_CONFIG"]["FEATURE_MAP_STRIDE"]
    xy = predictions["center"] * cell + RANGE[0]
    size = predictions["dim"].exp()
    z = predictions["height"] - size[:, 2:] / 2
    yaw = torch.atan2(predictions["rot"][:, :1], predictions["rot"][:, 1:])
    rows = torch.arange(len(labels))
    scores = predictions["heatmap"].sigmoid() * predictions["query_heatmap_score"]
    return torch.cat([xy, z, size, yaw, predictions["vel"]], 1), scores[rows, labels]


def final_boxes(boxes, scores, labels, iou):
    """Filters, rescoring and suppression of each class, box by box."""
    post = CONFIG["POST_PROCESSING"]
    low, high = torch.tensor(post["POST_CENTER_RANGE"]).float().split(3)
    rescored = scores
    if iou is not None:
        alpha = torch.tensor(post["IOU_RECTIFIER"])[labels]
        rescored = scores ** (1 - alpha) * iou**alpha
    centres = boxes[:, :3]
    inside = ((centres >= low) & (centres <= high)).all(1) & (scores > post["SCORE_THRESH"])
    nms, kept = post["NMS_CONFIG"], []
    for label in range(CLASSES):
        rows = (inside & (labels == label) & (rescored >= nms["SCORE_THRES"])).nonzero()[:, 0]
        rows = sorted(rows.tolist(), key=lambda i: -rescored[i])[: nms["NMS_PRE_MAXSIZE"]]
        chosen = []
        for i in rows:
            if all(overlap(boxes[i], boxes[j]) <= 0.7 for j in chosen):
                chosen.append(i)
        kept += chosen[: nms["NMS_POST_MAXSIZE"]]
    kept.sort()
    return dict(pred_boxes=boxes[kept], pred_scores=rescored[kept], pred_labels=labels[kept] + 1)


def overlap(a, b):
    """IoU of the rectangles as if they were not rotated."""
    shared = 1.0
    for axis in (0, 1):
        ends = torch.minimum(a[axis] + a[axis + 3] / 2, b[axis] + b[axis + 3] / 2)
        starts = torch.maximum(a[axis] - a[axis + 3] / 2, b[axis] - b[axis + 3] / 2)
        shared = shared * max(0.0, float(ends - starts))
    return shared / (float(a[3] * a[4]) + float(b[3] * b[4]) - shared)
