"""The recounted tables: closed forms against real modules, and which printed figures are met."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from padre3d.analysis.attention_costs import (
    NAMES,
    hyena_parameters,
    named_attention_cost,
    vision_mamba_cost,
)
from padre3d.analysis.costs import attention_cost, padre_cost
from padre3d.analysis.paper_tables import (
    REAL_FRAME,
    TABLES,
    backbone_cost,
    deit_cost,
    row,
    table_4,
)
from padre3d.backbone import VoxelBackbone
from padre3d.mixers import PADRe, SetAttention, build_mixer
from padre3d.mixers.hyena_filters import PublishedFilter
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((-9.0, -9.0, -5.0, 9.0, 9.0, 3.0), (0.3, 0.3))


@pytest.mark.parametrize("name", ["paper", "text", "sequence"])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_padre_cost_is_that_of_the_module(name, degree):
    cost = padre_cost(30, 16, degree, name, 5)
    module = PADRe(16, degree, name, 5)
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 30, 16))
    assert cost.macs == counter.get_total_flops() // 2
    biases = sum(p.numel() for n, p in module.named_parameters() if n.endswith("bias")) // 16
    assert cost.pointwise == 30 * 16 * (biases + (degree - 1) + (degree - 2))


def test_attention_cost_is_that_of_the_module():
    cost = attention_cost(30, 16, 4, sequences=3)
    module = SetAttention(16, 4, impl="explicit")
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(3, 30, 16))
    assert cost.macs == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "mixer"),
    [
        ("attention", dict(type="set_attention", num_heads=8)),
        ("PADRe-2 per set", dict(type="padre", preset="paper")),
        ("PADRe-2 sequence", dict(type="padre", preset="sequence")),
    ],
)
def test_table_4_parameters_are_those_of_our_backbone(name, mixer):
    backbone = VoxelBackbone(GRID, mixer=mixer, pos_embed=None)
    parameters = sum(p.numel() for p in backbone.parameters())
    assert backbone_cost(REAL_FRAME, name).parameters == parameters


MIXERS = {
    "attention": dict(type="set_attention", num_heads=4, impl="explicit"),
    "SimA": dict(type="sima", num_heads=4),
    "k-NN attention": dict(type="knn_attention", num_heads=4),
    "Hydra attention": dict(type="hydra"),
    "Efficient attention": dict(type="efficient", num_heads=4),
    "Enhanced linear attention": dict(type="enhanced_linear", num_heads=4),
    "Linear-angular attention": dict(type="linear_angular", num_heads=4),
    "Focused linear attention": dict(
        type="focused_linear", num_heads=4, tokens=31, dims=2, size=(5, 6), prefix=1
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_named_costs_are_those_of_the_modules(name):
    cost = named_attention_cost(name, 31, 16, 4, prefix=1)
    module = build_mixer(MIXERS[name], 16)
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.randn(1, 31, 16))
    actual = counter.get_total_flops() // 2
    if name in ("Enhanced linear attention", "Focused linear attention"):
        actual -= 31 * 16  # the denominators, one product per token and channel
    if name == "Hydra attention":
        actual += 2 * 31 * 16  # Hadamard products and a sum here
    if name == "SimA":
        actual += 2 * 31 * 16 * (31 - 4)  # Q (K^T V) here, (Q K^T) V in the printed figure
    assert actual == cost.maps + cost.products


def test_hyena_and_vision_mamba_are_the_published_sizes():
    mixer = build_mixer(dict(type="hyena"), 16)
    mixer.filters = PublishedFilter(16, 197, bands=16)
    assert hyena_parameters(16) == sum(p.numel() for p in mixer.parameters())
    # The Vim authors' table: 7 M and 26 M.
    assert vision_mamba_cost(192).parameters == 7_148_008
    assert vision_mamba_cost(384).parameters == pytest.approx(25.8e6, rel=1e-3)
    with pytest.raises(ValueError, match="attention: expected one of .*got 'best'"):
        named_attention_cost("best", 1, 4, 1)


def test_every_printed_figure_of_table_2_has_a_row():
    """38 figures in 20 rows of the paper: two dashes."""
    assert len(TABLES[2]()) == 38
    assert [r.name for r in TABLES[6]()][1:3] == [
        "Linear-angular attention",
        "Focused linear attention",
    ]


def reconciled(number):
    return {r.name: r.reconciles for r in TABLES[number]()}


def test_what_each_table_reconciles():
    assert all(reconciled(6).values())
    two = reconciled(2)
    assert [name for name, ok in two.items() if not ok] == [
        "DeiT-T PADRe-2 FLOPs",
        "DeiT-T PADRe-3 FLOPs",
        "DeiT-S PADRe-2 FLOPs",
        "DeiT-S PADRe-3 FLOPs",
        "DeiT-B PADRe-2 FLOPs",
    ]
    assert [name for name, ok in reconciled(3).items() if ok] == ["DETR attention FLOPs"]
    assert [name for name, ok in reconciled(4).items() if not ok] == [
        "DSVT FLOPs, real frame",
        "PADRe-2 FLOPs, real frame",
        "PADRe-2 sequence / attention, real frame",
    ]


def test_figures_worked_out_by_hand():
    assert deit_cost(192, "attention").parameters == 5_717_416
    assert deit_cost(192, "PADRe-2").parameters == 5_553_832
    assert deit_cost(768, "PADRe-2").parameters == pytest.approx(80.605e6, rel=1e-5)
    assert padre_cost(17_868, 128, 2, "sequence").macs * 2 == pytest.approx(1.807e9, rel=1e-3)
    four = {r.name: r.computed for r in table_4()}
    assert four["DSVT parameters"] == pytest.approx(1.062912)
    assert four["PADRe-2 per set / attention, real frame"] == pytest.approx(0.720, abs=5e-4)
    assert four["PADRe-2 sequence / attention, real frame"] == pytest.approx(0.615, abs=5e-4)


def test_a_row_reconciles_when_rounded_or_cut():
    assert row("cut", 5, 5.99, "M", 0).reconciles
    assert row("rounded", 1.3, 1.254, "G", 1).reconciles
    assert not row("off", 1.2, 1.31, "G", 1).reconciles
    assert not row("off", 5, 4.4, "M", 0).reconciles


def test_unknown_mixer_is_named():
    with pytest.raises(ValueError, match="expected attention or a PADRe-2, got 'best'"):
        backbone_cost(REAL_FRAME, "best")
