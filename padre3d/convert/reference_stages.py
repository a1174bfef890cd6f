"""The sections of a reference model before its head as the settings of our modules.

A section is read on its own, so a recorded module's config can be read as well as a whole YAML's.
"""

from __future__ import annotations

from typing import Any

from padre3d.convert.settings_reader import Settings, is_whole
from padre3d.structures.grid import PillarGrid

POINT_FEATURES = ["x", "y", "z", "intensity", "timestamp"]
# With one layer of voxels the two compute the same.
_PILLAR_ENCODERS = ("DynPillarVFE", "DynPillarVFE3D")
# The first takes the grid from its INPUT_SHAPE, the second from the data.
_SCATTERS = ("PointPillarScatter3d", "PointPillarScatter")
_ENCODER_FLAGS = (
    ("USE_ABSLOTE_XYZ", "with_xyz", True),
    ("WITH_DISTANCE", "with_distance", False),
    ("USE_NORM", "with_norm", True),
)
# The reference's code reads the first two.
_SHIFTS = 2


def read_pillar_encoder(vfe: Settings, dim: int) -> dict[str, Any]:
    """``MODEL.VFE``; ``dim`` channels go into the backbone."""
    vfe.only("NAME", *_PILLAR_ENCODERS, optional=False)
    filters = vfe.numbers("NUM_FILTERS")
    if filters[-1] != dim:
        vfe.problem("NUM_FILTERS", f"the last must be the backbone's d_model {dim}, got {filters}")
    config: dict[str, Any] = dict(
        type="DynamicPillarEncoder", in_channels=len(POINT_FEATURES), filters=tuple(filters)
    )
    for theirs, ours, usual in _ENCODER_FLAGS:
        value = vfe.flag(theirs, usual)
        if value != usual:
            config[ours] = value
    vfe.finish()
    return config


def read_backbone(voxel: Settings, grid: PillarGrid, notes: list[str]) -> dict[str, Any]:
    """``MODEL.BACKBONE_3D``: one stage of DSVT blocks; several have pooling between them."""
    layer = voxel.part("INPUT_LAYER")
    dim = _only_stage(voxel, "d_model")
    blocks = _only_stage(voxel, "set_info")[1]
    set_size, same_blocks = _only_stage(layer, "set_info")
    if same_blocks != blocks:
        layer.problem("set_info", f"expected {blocks} blocks as in MODEL, got {same_blocks}")
    layer.only("d_model", [dim])
    layer.only("downsample_stride", [])
    layer.only("sparse_shape", [grid.nx, grid.ny, 1])
    windows, shifts = read_windows(layer, notes)
    config: dict[str, Any] = dict(
        type="VoxelBackbone",
        dim=dim,
        num_blocks=blocks,
        ffn_dim=_only_stage(voxel, "dim_feedforward"),
        window=windows[0] if windows[0] == windows[1] else windows,
        shifts=shifts,
        set_size=set_size,
        mixer=_mixer(voxel, dim),
        dsvt_compat=True,
    )
    voxel.only("NAME", "DSVT", optional=False)
    voxel.only("block_name", ["DSVTBlock"])
    voxel.only("activation", "gelu", "relu", optional=False)
    if voxel.values["activation"] != "gelu":
        config["activation"] = voxel.values["activation"]
    if layer.flag("normalize_pos", False):
        config["normalise_positions"] = True
    # Spelt so in the reference's code.
    if voxel.flag("ues_checkpoint", False):
        config["with_cp"] = True
    # Read where there are several stages, by other modules, or not at all.
    voxel.ignore("USE_CHECKPOINT", "reduction_type")
    voxel.unread(notes, conv_out_channel=dim, output_shape=[grid.ny, grid.nx])
    layer.finish()
    voxel.finish()
    return config


def _mixer(voxel: Settings, dim: int) -> dict[str, Any]:
    heads = _only_stage(voxel, "nhead")
    if not is_whole(heads) or heads < 1 or dim % heads:
        voxel.problem("nhead", f"expected heads that divide d_model {dim}, got {heads}")
    mixer = dict(type="set_attention", num_heads=heads)
    dropout = voxel.probability("dropout")
    # Of the attention weights only: the reference's other dropout layers do nothing.
    return {**mixer, "dropout": dropout} if dropout else mixer


def read_windows(
    layer: Settings, notes: list[str]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """``INPUT_LAYER``: window and shift (x, y) in cells, of each of the two partitions."""
    windows = _windows(layer)
    return windows, _shifts(layer, windows, notes)


def _windows(layer: Settings) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the windows with the first and with the second shift."""
    window = _only_stage(layer, "window_shape")
    factor = layer.take("hybrid_factor", [1, 1, 1])
    if len(window) != 3 or window[2] != 1:
        layer.problem("window_shape", f"only [x, y, 1] is supported, got {window}")
    fine = len(factor) == 3 and all(is_whole(f) and f >= 1 for f in factor) and factor[2] == 1
    if not fine:
        layer.problem("hybrid_factor", f"expected whole numbers [x, y, 1], got {factor}")
        factor = [1, 1, 1]
    return (window[0], window[1]), (window[0] * factor[0], window[1] * factor[1])


def _shifts(
    layer: Settings, windows: tuple[tuple[int, int], ...], notes: list[str]
) -> tuple[tuple[int, int], ...]:
    """Shifts below the windows' sizes: whole windows more make the same sets."""
    shifts = _only_stage(layer, "shifts_list")
    if len(shifts) < _SHIFTS or any(len(shift) != 3 for shift in shifts):
        layer.problem("shifts_list", f"expected two of [x, y, z], got {shifts}")
        return ((0, 0),) * _SHIFTS
    if len(shifts) > _SHIFTS:
        notes.append(f"{layer.name('shifts_list')}: only the first {_SHIFTS} are read")
    # There is one layer of pillars, so a shift in z changes nothing.
    return tuple((x % w[0], y % w[1]) for (x, y, _), w in zip(shifts, windows, strict=False))


def _only_stage(settings: Settings, key: str) -> Any:
    """The one entry of a list with an entry for each stage."""
    value = settings.take(key)
    if not isinstance(value, list) or len(value) != 1:
        raise ValueError(f"{settings.name(key)}: only one stage is supported, got {value!r}")
    return value[0]


def read_scatter(bev: Settings, grid: PillarGrid, dim: int) -> None:
    """``MODEL.MAP_TO_BEV``: must fit the grid and the backbone."""
    bev.only("NAME", *_SCATTERS, optional=False)
    if bev.values["NAME"] == _SCATTERS[0]:
        bev.only("INPUT_SHAPE", [grid.nx, grid.ny, 1])
    else:
        bev.ignore("INPUT_SHAPE")
    bev.only("NUM_BEV_FEATURES", dim)
    bev.finish()


def read_bev_backbone(bev: Settings) -> tuple[dict[str, Any], int]:
    """``MODEL.BACKBONE_2D``: config without ``in_channels``, and how many times coarser the map
    becomes."""
    bev.only("NAME", "BaseBEVResBackbone", optional=False)
    strides = bev.numbers("LAYER_STRIDES")
    if not strides:
        raise ValueError(f"{bev.path}: expected at least one stage, got none")
    up_strides, up_channels = (
        bev.numbers(key) if bev.take(key, None) else []
        for key in ("UPSAMPLE_STRIDES", "NUM_UPSAMPLE_FILTERS")
    )
    config = dict(
        type="ResidualBEVBackbone",
        in_channels=0,
        layers=tuple(bev.numbers("LAYER_NUMS")),
        strides=tuple(strides),
        channels=tuple(bev.numbers("NUM_FILTERS")),
        up_strides=tuple(up_strides),
        up_channels=tuple(up_channels),
    )
    keys = ["LAYER_NUMS", "NUM_FILTERS"]
    if up_strides or up_channels:
        keys += ["UPSAMPLE_STRIDES", "NUM_UPSAMPLE_FILTERS"]
    for key in keys:
        found = bev.values.get(key) or []
        if len(found) != len(strides):
            bev.problem(key, f"expected {len(strides)} entries as in LAYER_STRIDES, got {found}")
    if any(stride > 1 and not is_whole(stride) for stride in up_strides):
        bev.problem("UPSAMPLE_STRIDES", f"expected whole numbers above 1, got {up_strides}")
    bev.finish()
    stride = strides[0] / (up_strides[0] if up_strides else 1)
    if stride < 1:
        bev.problem("UPSAMPLE_STRIDES", f"a map finer than the pillars is not supported: {stride}")
    return config, max(1, round(stride))
