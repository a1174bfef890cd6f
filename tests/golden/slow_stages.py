"""The stages before the head with other choices, by loops and torch's layers."""

import torch
import torch.nn.functional as F

from .slow_weights import Weights, save

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}

VFE = dict(
    NAME="DynPillarVFE",
    WITH_DISTANCE=True,
    USE_ABSLOTE_XYZ=False,
    USE_NORM=False,
    NUM_FILTERS=[12, 8, 20],
)
INPUT_LAYER = dict(
    sparse_shape=[26, 20, 1],
    downsample_stride=[],
    d_model=[16],
    set_info=[[7, 3]],
    window_shape=[[6, 5, 1]],
    hybrid_factor=[2, 3, 1],
    shifts_list=[[[0, 0, 0], [8, 4, 0]]],
    normalize_pos=True,
)
BACKBONE = dict(
    INPUT_LAYER=INPUT_LAYER,
    block_name=["DSVTBlock"],
    set_info=[[7, 3]],
    d_model=[16],
    nhead=[2],
    dim_feedforward=[24],
    dropout=0.1,
    activation="relu",
    output_shape=[20, 26],
    conv_out_channel=16,
)
BEV = dict(LAYER_NUMS=[2, 0, 1], LAYER_STRIDES=[2, 1, 1], NUM_FILTERS=[6, 4, 8])


def write_vfe(path):
    random = torch.Generator().manual_seed(0)
    low, high = torch.tensor([-7.0, -5, -4.9, 0, 0]), torch.tensor([7.0, 5, 2.9, 255, 0.45])
    points = low + (high - low) * torch.rand(900, 5, generator=random)
    points = torch.cat([(torch.arange(900) // 500)[:, None].float(), points], 1)
    minimum, size, nx, ny = torch.tensor([-6.0, -4.5]), torch.tensor([0.5, 0.75]), 24, 12
    cells = ((points[:, 1:3] - minimum) / size).floor().long()
    inside = ((cells >= 0) & (cells < torch.tensor([nx, ny]))).all(1)
    used, cells = points[inside], cells[inside]
    key = torch.cat([used[:, :1].long(), cells], 1)
    pillars, owner = key.unique(dim=0, return_inverse=True)
    weights = Weights(1)
    with torch.no_grad():
        inputs = described(used, cells, owner, minimum, size, len(pillars))
        x, first = inputs, None
        for i, width in enumerate(VFE["NUM_FILTERS"]):
            last = i == len(VFE["NUM_FILTERS"]) - 1
            x = F.relu(weights.linear(f"pfn_layers.{i}.linear", x, width if last else width // 2))
            largest = torch.stack([x[owner == p].amax(0) for p in range(len(pillars))])
            x = largest if last else torch.cat([x, largest[owner]], 1)
            first = x if first is None else first
    arrays = dict(
        point_cloud_range=torch.tensor([-6.0, -4.5, -5, 6, 4.5, 3]).double(),
        voxel_size=torch.tensor([0.5, 0.75, 8]).double(),
        grid_size=torch.tensor([nx, ny, 1]),
        points=points,
        pfn0_in_first300=inputs[:300],
        pfn0_out_first300=first[:300],
        point_to_pillar=owner,
        point_in_range_mask=inside,
        pillar_features=x,
        voxel_coords=torch.stack(
            [pillars[:, 0], torch.zeros_like(pillars[:, 0]), pillars[:, 2], pillars[:, 1]], 1
        ),
    )
    save(path, VFE, weights, arrays)


def described(used, cells, owner, minimum, size, count):
    """Inputs of the first layer: no coordinates, the distance last."""
    xyz = used[:, 1:4]
    mean = torch.stack([xyz[owner == p].mean(0) for p in range(count)])
    centre = torch.cat([minimum + (cells + 0.5) * size, torch.full((len(cells), 1), -1.0)], 1)
    distance = xyz.square().sum(1, keepdim=True).sqrt()
    return torch.cat([used[:, 4:], xyz - mean[owner], xyz - centre, distance], 1)


def some_voxels(count=170, seed=3):
    """Coordinates (batch, 0, y, x) of two clouds, ascending in (batch, x, y)."""
    nx, ny, _ = INPUT_LAYER["sparse_shape"]
    random = torch.Generator().manual_seed(seed)
    rows = []
    for b in range(2):
        cells = torch.randperm(nx * ny, generator=random)[: count - 40 * b].sort().values
        rows += [[b, 0, int(c) % ny, int(c) // ny] for c in cells]
    return torch.tensor(rows)


def partition(coords, shift):
    """Window ids, places (z, y, x) in the window, and what the embedding reads, of each voxel."""
    nx, ny, _ = INPUT_LAYER["sparse_shape"]
    wx, wy, _ = INPUT_LAYER["window_shape"][0]
    if shift == 1:
        wx, wy = wx * INPUT_LAYER["hybrid_factor"][0], wy * INPUT_LAYER["hybrid_factor"][1]
    sx, sy, _ = INPUT_LAYER["shifts_list"][0][shift]
    across, along = -(-nx // wx) + 1, -(-ny // wy) + 1
    ids, places, read = [], [], []
    for b, _, y, x in coords.tolist():
        i, j = (x + sx) // wx, (y + sy) // wy
        u, v = (x + sx) % wx, (y + sy) % wy
        ids.append((b * across + i) * along * 2 + j * 2)
        places.append([0, v, u])
        turn = 2 * 3.1415
        read.append([(u - wx / 2) / wx * turn, (v - wy / 2) / wy * turn])
    return torch.tensor(ids), torch.tensor(places), torch.tensor(read)


def sets_of(ids, places):
    """(2, sets, K) voxels of each set, windows sorted by (y, x) and by (x, y)."""
    size = INPUT_LAYER["set_info"][0][0]
    orders = []
    for first, second in ((1, 2), (2, 1)):
        found = []
        for window in ids.unique().tolist():
            rows = (ids == window).nonzero()[:, 0].tolist()
            rows.sort(key=lambda r: (int(places[r, first]), int(places[r, second])))
            sets = -(-len(rows) // size)
            slots = [rows[k * len(rows) // (sets * size)] for k in range(sets * size)]
            found += [slots[k * size : (k + 1) * size] for k in range(sets)]
        orders.append(found)
    return torch.tensor(orders)


def repeats(sets):
    mask = torch.zeros_like(sets, dtype=torch.bool)
    mask[..., 1:] = sets[..., 1:] == sets[..., :-1]
    return mask


def write_input_layer(path):
    coords = some_voxels()
    arrays = {"voxel_coords": coords}
    for shift in (0, 1):
        ids, places, read = partition(coords, shift)
        sets = sets_of(ids, places)
        name = f"stage0_shift{shift}"
        arrays |= {
            f"batch_win_inds_{name}": ids,
            f"coors_in_win_{name}": places,
            f"pos_location_{name}": read,
            f"set_voxel_inds_{name}": sets,
            f"set_voxel_mask_{name}": repeats(sets),
        }
    save(path, INPUT_LAYER, None, arrays, prefix="pillar/")


def embed(weights, block, shift, read):
    head = f"input_layer.posembed_layers.0.{block}.{shift}.position_embedding_head"
    hidden = F.relu(weights.batch_norm(f"{head}.1", weights.linear(f"{head}.0", read, 16), 1e-5))
    return weights.linear(f"{head}.3", hidden, 16)


def encoder_layer(weights, name, x, position, sets):
    config = BACKBONE
    attention = weights.attention(f"{name}.win_attn.self_attn", 16, config["nhead"][0])
    mixed = torch.empty_like(x)
    for rows, masked in zip(sets, repeats(sets), strict=True):
        value = x[rows][None]
        key = value + position[rows]
        mixed[rows] = attention(key, key, value, key_padding_mask=masked[None])[0][0]
    inner = weights.layer_norm(f"{name}.win_attn.norm1", x + mixed)
    hidden = weights.linear(f"{name}.win_attn.linear1", inner, config["dim_feedforward"][0])
    hidden = ACTIVATIONS[config["activation"]](hidden)
    hidden = weights.linear(f"{name}.win_attn.linear2", hidden, 16)
    inner = weights.layer_norm(f"{name}.win_attn.norm2", inner + hidden)
    return weights.layer_norm(f"{name}.norm", x + inner)


@torch.no_grad()
def write_backbone(path):
    coords, weights = some_voxels(), Weights(4)
    features = torch.randn(len(coords), 16, generator=torch.Generator().manual_seed(5))
    shifts = [partition(coords, shift) for shift in (0, 1)]
    sets = [sets_of(ids, places) for ids, places, _ in shifts]
    arrays = {"voxel_features_in": features, "voxel_coords_in": coords, "voxel_coords_out": coords}
    x = features
    for b in range(BACKBONE["set_info"][0][1]):
        out = x
        for i in (0, 1):
            # The block's sets are those of its shift, the embedding is that of shift i.
            position = embed(weights, b, i, shifts[i][2])
            out = encoder_layer(
                weights, f"stage_0.{b}.encoder_list.{i}", out, position, sets[b % 2][i]
            )
            arrays[f"stage0_block{b}_layer{i}_out"] = out
            arrays[f"pos_embed_stage0_block{b}_shift{i}_first400"] = position[:400]
        arrays[f"stage0_block{b}_out"] = out
        x = weights.layer_norm(f"residual_norm_stage_0.{b}", x + out)
        arrays[f"stage0_block{b}_residual_out"] = x
    arrays["voxel_features_out"] = x
    arrays |= {f"set_voxel_inds_stage0_shift{s}": sets[s] for s in (0, 1)}
    save(path, BACKBONE, weights, arrays)


@torch.no_grad()
def write_bev(path):
    weights = Weights(6)
    given = torch.randn(2, 5, 20, 12, generator=torch.Generator().manual_seed(7))
    x, outputs, arrays = given, [], {"input_channels": 5, "spatial_features": given}
    for i, channels in enumerate(BEV["NUM_FILTERS"]):
        for k in range(BEV["LAYER_NUMS"][i] + 1):
            name, stride = f"blocks.{i}.{k}", BEV["LAYER_STRIDES"][i] if k == 0 else 1
            out = weights.conv(f"{name}.conv1", x, channels, stride=stride)
            out = F.relu(weights.batch_norm(f"{name}.bn1", out, 1e-3))
            out = weights.batch_norm(
                f"{name}.bn2", weights.conv(f"{name}.conv2", out, channels), 1e-3
            )
            if k == 0:
                x = weights.conv(f"{name}.downsample_layer.0", x, channels, 1, stride)
                x = weights.batch_norm(f"{name}.downsample_layer.1", x, 1e-3)
            x = F.relu(out + x)
        outputs.append(x)
        arrays[f"block{i}_out"] = x
    save(path, BEV, weights, {**arrays, "spatial_features_2d": torch.cat(outputs, 1)})
