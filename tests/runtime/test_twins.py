"""What is computed twice, in numpy for the runtime and in torch for the network, is one thing."""

import dataclasses

import numpy as np
import pytest
import torch

from padre3d.export.runtime_tables import encoder_tables
from padre3d.head import DecodeSettings, HeadOutputs
from padre3d.head.decode import decode_detections
from padre3d.head.nms import rotated_nms as torch_nms
from padre3d.head.rotated_iou import bev_columns, pairwise_iou_bev
from padre3d.io import drop_invalid
from padre3d.pillars import DynamicPillarEncoder, voxelise
from padre3d.runtime.decode import decode, iou_bev, rotated_nms
from padre3d.runtime.grid import Grid
from padre3d.runtime.pillar_encoder import PillarEncoder, _argsort, in_range, occupied_cells
from padre3d.runtime.tables import EncoderLayer, EncoderTables
from padre3d.structures.boxes import box_arrays
from padre3d.structures.grid import PillarGrid
from padre3d.structures.points import point_limits

GRID = PillarGrid((-9.6, -7.2, -5, 9.6, 7.2, 3), (0.6, 0.4))
NUMPY_GRID = Grid(GRID.range_m, GRID.cell_m)
EDGES = (-9.6, 9.6, -7.2, 7.2, -5, 3, 0, 0.6, -0.4, 9.5999, np.nan, np.inf, -np.inf, 1e30, 99999)


def awkward_cloud(points=4000, seed=0):
    """Points around the range, on its edges, and ones that do not count."""
    random = np.random.default_rng(seed)
    cloud = random.uniform(-11, 11, (points, 5)).astype(np.float32)
    rows, columns = random.integers(0, points, 900), random.integers(0, 5, 900)
    cloud[rows, columns] = random.choice(np.float32(EDGES), 900)
    return cloud


def head_outputs(count=120, classes=10, seed=0):
    """Raw outputs of proposals that overlap, of the last four classes."""
    random = torch.Generator().manual_seed(seed)
    return HeadOutputs(
        center=torch.rand(1, count, 2, generator=random) * 16,
        height=torch.randn(1, count, 1, generator=random),
        dim=torch.randn(1, count, 3, generator=random) * 0.5,
        rot=torch.randn(1, count, 2, generator=random),
        vel=torch.randn(1, count, 2, generator=random),
        iou=torch.randn(1, count, 1, generator=random),
        heatmap=torch.randn(1, count, classes, generator=random),
        query_heatmap_score=torch.rand(1, count, classes, generator=random),
        dense_heatmap=torch.zeros(1, classes, 16, 16),
        query_labels=torch.randint(6, classes, (1, count), generator=random),
        query_pos=torch.zeros(1, count, 2),
    )


def test_grids():
    """padre3d.runtime.grid.Grid: twin of padre3d.structures.grid.PillarGrid."""
    assert NUMPY_GRID.shape == (GRID.ny, GRID.nx)
    assert NUMPY_GRID.num_cells == GRID.num_cells
    ids = torch.arange(GRID.num_cells)
    centres = GRID.centres_m(torch.stack([ids // GRID.nx, ids % GRID.nx], 1))
    np.testing.assert_allclose(NUMPY_GRID.centres_m(ids.numpy()), centres.numpy(), atol=1e-6)


def test_voxelisation():
    """in_range: twin of PillarGrid.cells_of and pillars.voxelise.in_range."""
    cloud = awkward_cloud()
    expected, ids = voxelise.in_range([torch.from_numpy(cloud)], GRID, 5)
    located = in_range(cloud, NUMPY_GRID)
    np.testing.assert_array_equal(located.points, expected.numpy())
    np.testing.assert_array_equal(located.cells, ids.numpy())
    assert 500 < len(located.cells) < 3500
    np.testing.assert_array_equal(occupied_cells(cloud, NUMPY_GRID), ids.unique().numpy())


def test_points_that_do_not_count():
    """in_range and drop_invalid: twin of DynamicPillarEncoder's rule, of any number of columns."""
    assert drop_invalid(awkward_cloud())[1] == in_range(awkward_cloud(), NUMPY_GRID).unusable > 100
    for columns in (3, 4, 5, 7):
        limits = np.float32(point_limits(columns))
        good = np.ones((1, columns), np.float32)
        bad = np.repeat(good, columns, 0)
        with np.errstate(over="ignore"):
            np.fill_diagonal(bad, np.nextafter(limits, np.float32(np.inf)))
        at_limit = np.repeat(good, columns, 0)
        np.fill_diagonal(at_limit, limits)
        cloud = np.concatenate([good, bad, at_limit])
        points, _ = voxelise.in_range([torch.from_numpy(cloud)], GRID, columns)
        located = in_range(cloud, NUMPY_GRID)
        np.testing.assert_array_equal(located.points, points.numpy())
        # The point itself, and those whose limits are no coordinates.
        assert len(points) == 1 + columns - 3
        assert located.unusable == columns
        assert drop_invalid(cloud)[1] == columns


@pytest.mark.parametrize("filters", [(8,), (16, 24), (8, 8, 8)])
def test_pillar_encoder(filters):
    """padre3d.runtime.PillarEncoder: twin of padre3d.pillars.DynamicPillarEncoder."""
    torch.manual_seed(0)
    encoder = DynamicPillarEncoder(GRID, filters=filters).eval()
    layers = []
    for layer in encoder.layers:
        torch.nn.init.uniform_(layer.norm.running_mean, -1, 1)
        torch.nn.init.uniform_(layer.norm.weight, -1.5, 1.5)
        scale = (layer.norm.weight / (layer.norm.running_var + layer.norm.eps).sqrt()).detach()
        shift = (layer.norm.bias - layer.norm.running_mean * scale).detach()
        weight = (layer.linear.weight.detach() * scale[:, None]).t().contiguous().numpy()
        split = layer.point_channels
        layers.append(EncoderLayer(weight[:split], weight[split:], shift.numpy()))
    numpys = PillarEncoder(NUMPY_GRID, EncoderTables(5, tuple(layers)))
    cloud = awkward_cloud()
    with torch.no_grad():
        pillars = encoder([torch.from_numpy(cloud)])
    encoded = numpys(cloud)
    np.testing.assert_array_equal(
        encoded.cells, (pillars.coords[:, 1] * GRID.nx + pillars.coords[:, 2]).numpy()
    )
    scale = pillars.features.abs().max()
    np.testing.assert_allclose(encoded.features, pillars.features.numpy(), atol=2e-6 * scale)


@pytest.mark.parametrize(
    "changes", [{}, dict(nms_rotated=False, nms_pre=9, nms_score_thr=0.15, nms_iou=0.3)]
)
def test_decoding(changes):
    """padre3d.runtime.decode.decode: twin of padre3d.head.decode.decode_detections.

    All branches: thresholds, range, rescoring per class, suppression of two classes.
    """
    raw, classes = head_outputs(), 10
    settings = DecodeSettings(
        score_thr=0.1,
        centre_range_m=(-8, -8, -2, 8, 8, 1),
        nms_max=12,
        iou_alpha=(0.3,) * 5 + (0.7,) * 5,
    )
    settings = dataclasses.replace(settings, **changes)
    grid = PillarGrid((-9.6, -9.6, -5, 9.6, 9.6, 3), (1.2, 1.2))
    (torchs,) = decode_detections(raw, grid, settings)
    expected = box_arrays(torchs, [str(i) for i in range(classes)]).best_first()
    arrays = {name: value.numpy() for name, value in raw._asdict().items()}
    detections = decode(arrays, Grid(grid.range_m, grid.cell_m), settings)
    assert 20 < len(expected.scores) < 100
    np.testing.assert_array_equal(detections.labels, expected.labels)
    np.testing.assert_allclose(detections.boxes, expected.boxes, atol=1e-5)
    np.testing.assert_allclose(detections.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize(
    "choices",
    [
        dict(with_xyz=False),
        dict(with_distance=True),
        dict(with_norm=False),
        dict(with_xyz=False, with_distance=True, with_norm=False, filters=(8,)),
    ],
    ids=str,
)
@torch.no_grad()
def test_pillar_encoder_of_other_inputs(choices):
    """Through the tables of an export, as a runtime reads them."""
    torch.manual_seed(0)
    encoder = DynamicPillarEncoder(GRID, **{"filters": (16, 24), **choices}).eval()
    for layer in encoder.layers:
        if layer.norm is not None:
            torch.nn.init.uniform_(layer.norm.running_mean, -1, 1)
            torch.nn.init.uniform_(layer.norm.weight, -1.5, 1.5)
    arrays = {name: table.numpy() for name, table in encoder_tables(encoder).items()}
    cloud = awkward_cloud()
    pillars = encoder([torch.from_numpy(cloud)])
    encoded = PillarEncoder(NUMPY_GRID, EncoderTables.of(arrays, 5))(cloud)
    scale = pillars.features.abs().max()
    assert scale > 0
    np.testing.assert_allclose(encoded.features, pillars.features.numpy(), atol=2e-6 * scale)


def random_boxes(count, seed=0):
    """Boxes (K, 9) in float64 that overlap, in a few metres."""
    random = np.random.default_rng(seed)
    boxes = random.uniform(-2, 2, (count, 9))
    boxes[:, 3:6] = random.uniform(0.3, 3, (count, 3))
    boxes[:5] = boxes[5:10]  # the same twice
    return boxes, random.uniform(0, 1, count)


def test_overlap():
    """padre3d.runtime.decode.iou_bev: twin of padre3d.head.rotated_iou.pairwise_iou_bev."""
    boxes, _ = random_boxes(60)
    boxes[10, 3], boxes[11, 4], boxes[12, 0] = 0, -1, np.nan
    bev = bev_columns(torch.from_numpy(boxes))
    ious = iou_bev(bev.numpy()[:, None], bev.numpy()[None])
    np.testing.assert_allclose(ious, pairwise_iou_bev(bev, bev).numpy(), atol=1e-9)
    assert ious[0, 5] == pytest.approx(1)
    assert (ious > 0.3).sum() > 2 * len(ious)


@pytest.mark.parametrize(("most", "counts"), [(1, [1]), (6, [6]), (1000, range(7, 60))])
def test_suppression(most, counts):
    """padre3d.runtime.decode.rotated_nms: twin of padre3d.head.nms.rotated_nms."""
    for seed in range(5):
        boxes, scores = random_boxes(80, seed)
        scores[20:30] = scores[20]  # equal scores keep their order
        kept = rotated_nms(boxes, scores, 0.2, most)
        expected = torch_nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.2, most)
        np.testing.assert_array_equal(kept, expected.numpy())
        assert len(kept) in counts
    assert len(rotated_nms(boxes[:0], scores[:0], 0.2, most)) == 0


@pytest.mark.parametrize("threshold", [0, 0.2, -0.5])
def test_suppression_of_boxes_that_are_far_apart(threshold):
    """The runtime computes the overlap of near boxes alone."""
    boxes, scores = random_boxes(300)
    boxes[:, :2] *= 5
    boxes[:50, 3:5] *= 6
    kept = rotated_nms(boxes, scores, threshold, 1000)
    expected = torch_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, 1000)
    np.testing.assert_array_equal(kept, expected.numpy())
    assert (len(kept) == 1) == (threshold < 0)
    assert len(kept) < 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [n for n in HeadOutputs._fields if n != "query_labels"])
def test_outputs_that_are_not_finite(name, value):
    """check_outputs: twin of check_finite. An error that names the output, instead of no boxes."""
    raw = head_outputs()
    broken = getattr(raw, name).clone()
    broken.view(-1)[-1] = value
    raw = raw._replace(**{name: broken})
    kind = "NaN" if np.isnan(value) else "infinity"
    message = f"^outputs: expected finite numbers, got {kind} in {name}$"
    with pytest.raises(ValueError, match=message):
        decode_detections(raw, GRID, DecodeSettings())
    with pytest.raises(ValueError, match=message):
        decode({n: v.numpy() for n, v in raw._asdict().items()}, NUMPY_GRID, DecodeSettings())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("vel"), "got no vel"),
        (lambda raw: raw.update(dim=raw["dim"][:, :-1]), r"expected dim \(1, 120, 3\), got"),
        (lambda raw: raw.update(heatmap=raw["heatmap"][0]), r"expected heatmap \(1, P, classes\)"),
        (lambda raw: raw.update(query_labels=raw["query_labels"] + 6), "query_labels from 0 to 9"),
        (lambda raw: raw.update(query_labels=raw["query_labels"] - 9), "query_labels from 0 to 9"),
        (lambda raw: raw.update(query_labels=raw["query_labels"] * 1.0), "query_labels from 0"),
    ],
)
def test_outputs_of_another_network(change, message):
    raw = {name: value.numpy() for name, value in head_outputs()._asdict().items()}
    change(raw)
    with pytest.raises(ValueError, match=f"^outputs: expected .*{message}|^outputs: .*{message}"):
        decode(raw, NUMPY_GRID, DecodeSettings())


def test_points_are_sorted_by_more_cells_than_16_bits_hold():
    """A nuScenes grid has 129,600 cells."""
    random = np.random.default_rng(0)
    for most in (60_000, 129_600, 1 << 31):
        ids = random.integers(0, most, 5000)
        ids[2500:] = ids[:2500]
        np.testing.assert_array_equal(_argsort(ids), np.argsort(ids, kind="stable"))
