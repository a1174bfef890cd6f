"""Counts of a running model, and the command line that prints them."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from padre3d.analysis.costs import attention_cost, padre_cost
from padre3d.analysis.model_counts import count_stages
from padre3d.analysis.paper_tables import REAL_FRAME, TABLES
from padre3d.backbone import VoxelBackbone
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars

GRID = PillarGrid((-9.0, -9.0, -5.0, 9.0, 9.0, 3.0), (0.3, 0.3))


class Small(nn.Module):
    """A detector's shape: something dense, then a backbone, run by a method that is not forward."""

    def __init__(self, mixer):
        super().__init__()
        self.encoder = nn.Linear(5, 16)
        self.backbone = VoxelBackbone(GRID, 16, num_blocks=2, ffn_dim=24, mixer=mixer)

    def go(self, pillars):
        return self.backbone(pillars.replace(self.encoder(pillars.features)))


def pillars(count):
    torch.manual_seed(0)
    cells = torch.randperm(GRID.ny * GRID.nx)[:count].sort().values
    coords = torch.stack([torch.zeros_like(cells), cells // GRID.nx, cells % GRID.nx], 1)
    return Pillars(torch.randn(count, 5), coords, 1)


def test_stages_of_a_backbone_worked_out_by_hand():
    model = Small(dict(type="padre", degree=2, kernel_size=5)).eval()
    data = pillars(70)
    stages = {s.name: s for s in count_stages(model, lambda: model.go(data))}
    mixer = 3 * 16**2 + 5 * 16
    assert stages["encoder"].macs == 70 * 5 * 16
    assert stages["encoder"].parameters == 6 * 16
    assert stages["backbone: mixers"].macs == 4 * 70 * mixer
    assert stages["backbone: mixers"].parameters == 4 * (mixer + 4 * 16)
    rest = stages["backbone: feed-forward and norms"]
    assert rest.macs == 4 * 70 * 2 * 16 * 24
    assert rest.parameters == 4 * (2 * 16 * 24 + 24 + 16 + 6 * 16) + 2 * 2 * 16
    position = stages["backbone: position embeddings"]
    assert position.macs == 4 * 900 * (2 * 16 + 16 * 16)  # on the table of 30 x 30 places
    assert position.parameters == 4 * (3 * 16 + 2 * 16 + 16**2 + 16)
    total = sum(p.numel() for p in model.parameters())
    assert sum(s.parameters for s in stages.values()) == total


@pytest.mark.parametrize("separable", [False, True])
def test_grid_convolutions_count_the_neighbours_that_are_there(separable):
    mixer = dict(type="padre", degree=3, layout="grid", kernel_size=5, separable=separable)
    model, data = Small(mixer).eval(), pillars(70)
    stages = {s.name: s for s in count_stages(model, lambda: model.go(data))}
    y, x = data.coords[:, 1], data.coords[:, 2]
    dy, dx = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    near = (dy <= 2) & (dx <= 2)
    if separable:  # the 5 x 1 and the 1 x 5 taps
        near = torch.cat([(dy <= 2) & (dx == 0), (dy == 0) & (dx <= 2)])
    cost = padre_cost(70, 16, 3, "sequence", 5, 2, separable, neighbours=int(near.sum()))
    assert near.sum() < 70 * (10 if separable else 25)
    assert cost.macs == 70 * 4 * 16**2 + 2 * int(near.sum()) * 16
    assert stages["backbone: mixers"].macs == 4 * cost.macs
    assert stages["backbone: mixers"].parameters == 4 * cost.parameters


def test_attention_counts_its_matrix_products():
    model = Small(dict(type="set_attention", num_heads=4)).eval()
    data = pillars(70)
    stages = {s.name: s for s in count_stages(model, lambda: model.go(data))}
    slots = sum(layout.index.numel() for layout in model.backbone.plan(data).layouts)
    assert stages["backbone: mixers"].macs == slots * (4 * 16**2 + 2 * 90 * 16)


@pytest.fixture
def count(repo_root, capsys):
    """The tool's main in this process: arguments to what it prints."""
    spec = importlib.util.spec_from_file_location("count_tool", repo_root / "tools" / "count.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*arguments):
        tool.main([str(a) for a in arguments])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("number", sorted(TABLES))
def test_command_line_prints_json_rows(count, number):
    rows = json.loads(count("--table", number, "--json"))
    assert rows == [vars(row) for row in TABLES[number]()]
    assert {"name", "printed", "computed", "unit", "reconciles"} <= set(rows[0])


def test_command_line_prints_a_table(count, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    text = count("--table", 3)
    assert "DETR PADRe-2 FLOPs" in text
    assert "2.868" in text
    assert "3 of 4 rows cannot be reconciled" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "expected either CONFIG or --table"), (("some.py",), "CONFIG needs --points")],
)
def test_command_line_wants_a_config_or_a_table(count, capsys, arguments, message):
    with pytest.raises(SystemExit):
        count(*arguments)
    assert message in capsys.readouterr().err


def test_size_of_the_real_frame(real_dir):
    pytest.importorskip("numpy")
    from padre3d.analysis.detector_counts import frame_size

    frame = next(real_dir.glob("*_10sweeps_float16.bin"))
    size = frame_size(frame)
    assert size.sets == REAL_FRAME.sets
    assert abs(size.pillars - REAL_FRAME.pillars) <= 3  # float16 points on the border of a cell


CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("dsvt*.py"))
SMALL = ("dsvt_padre2_synthetic", "dsvt_padre2_grid_synthetic")
full_size_is_slow = [
    pytest.param(p, id=p.stem, marks=() if p.stem in SMALL else pytest.mark.slow) for p in CONFIGS
]


def occupancy(points, grid):
    """(1, 1, ny, nx) ones where the grid has a pillar."""
    cells, inside = grid.cells_of(points)
    image = torch.zeros(1, 1, grid.ny, grid.nx)
    image[0, 0, cells[inside, 0], cells[inside, 1]] = 1
    return image


def mixer_costs(model, points):
    """Closed form of a layer: (parameters, MACs of a token, other MACs, tokens of a set or 1)."""
    mixer, dim = model.backbone.mixer, model.backbone.dim
    if mixer.type == "set_attention":
        one = attention_cost(90, dim, mixer.num_heads)
        return one.parameters, one.macs // 90, 0, 90
    if mixer.get("layout") == "grid":
        occupied, k = occupancy(points, PillarGrid(**model.grid)), mixer.kernel_size
        pairs = F.conv2d(occupied, torch.ones(1, 1, k, k), padding=k // 2) * occupied
        one = padre_cost(1, dim, mixer.degree, "sequence", k, 2)
        return one.parameters, 3 * dim**2, int(pairs.sum()) * dim, 1
    one = padre_cost(1, dim, mixer.degree, mixer.preset, mixer.kernel_size)
    return one.parameters, one.macs, 0, 1 if mixer.preset == "sequence" else 90


@pytest.mark.parametrize("config", full_size_is_slow)
def test_every_config_is_counted(count, config, tmp_path):
    """Stages add up, and the mixers cost what the closed form says for this cloud."""
    pytest.importorskip("mmdet3d")
    from mmengine.config import Config

    points = torch.rand(3000, 5, generator=torch.Generator().manual_seed(0))
    points[:, :3] = points[:, :3] * torch.tensor([60.0, 60, 4]) - torch.tensor([30.0, 30, 3])
    cloud = tmp_path / "cloud.bin"
    points.numpy().tofile(cloud)
    counts = json.loads(count(config, "--points", cloud, "--dtype", "float32", "--json"))
    stages = {s["name"]: s for s in counts["stages"]}
    assert counts["points"] == 3000
    assert counts["parameters"] == sum(s["parameters"] for s in stages.values())
    assert counts["macs"] == sum(s["macs"] for s in stages.values())
    position = stages["backbone: position embeddings"]["parameters"]
    mixers, model = stages["backbone: mixers"], Config.fromfile(config).model
    assert counts["parameters"] - counts["parameters_without_position_embedding"] == position
    assert (position > 0) == (model.backbone.mixer.get("layout") != "grid")

    pairs_of_layers = model.backbone.num_blocks
    parameters, per_token, other, set_size = mixer_costs(model, points)
    assert mixers["parameters"] == 2 * pairs_of_layers * parameters
    # Both layers of a pair together: a set order of each has its own number of whole sets.
    macs = mixers["macs"] - 2 * pairs_of_layers * other
    tokens, rest = divmod(macs, pairs_of_layers * per_token)
    assert rest == 0
    assert tokens % set_size == 0
    assert tokens >= 2 * counts["pillars"]
    assert (tokens == 2 * counts["pillars"]) == (set_size == 1)


@pytest.mark.slow
def test_a_config_on_the_real_frame(count, repo_root, real_dir):
    pytest.importorskip("mmdet3d")
    frame = next(real_dir.glob("*_10sweeps_float16.bin"))
    config = repo_root / "configs" / "dsvt_padre2_nuscenes.py"
    counts = json.loads(count(config, "--points", frame, "--json"))
    stages = {s["name"]: s for s in counts["stages"]}
    assert stages["backbone: mixers"]["parameters"] == 8 * 51_072
    assert stages["backbone: mixers"]["macs"] == 8 * counts["pillars"] * (3 * 128**2 + 11 * 128)
    embeddings = stages["backbone: position embeddings"]["parameters"]
    without = counts["parameters_without_position_embedding"]
    assert counts["parameters"] - without == embeddings
