"""mmdet3d's public inference functions on our configs and checkpoints, and stock parts."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmdet3d.apis import LidarDet3DInferencer, inference_detector, init_model
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from small_detector import MODEL, RANGE_M, assert_sane, batch, build, cloud

import padre3d.plugin  # noqa: F401
from padre3d.io.boxes_json import read_boxes_json
from padre3d.structures.classes import NUSCENES_CLASSES

SCORE_THR = 0.1
CONFIG = """
_base_ = [{base!r}]
model = dict(_delete_=True, **{model!r})
data_root = "no/such/folder"
in_range = dict(type="PointsRangeFilter", point_cloud_range={range_m!r})
test_pipeline = [_base_.test_pipeline[0], in_range, *_base_.test_pipeline[2:]]
test_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=[_base_.load_points, *test_pipeline])
)
val_dataloader = test_dataloader
"""
CELLS = 36
VOXEL_M = [0.6, 0.6, 8.0]
LOW_M = [-RANGE_M, -RANGE_M]
CENTRES_M = [-20, -20, -10, 20, 20, 10]
STOCK_MAP = dict(
    backbone=dict(
        type="SECOND",
        in_channels=16,
        out_channels=[16, 16],
        layer_nums=[1, 1],
        layer_strides=[2, 2],
    ),
    neck=dict(
        type="SECONDFPN", in_channels=[16, 16], out_channels=[16, 16], upsample_strides=[1, 2]
    ),
)
CENTERPOINT = dict(
    type="CenterPoint",
    data_preprocessor=dict(
        type="Det3DDataPreprocessor",
        voxel=True,
        voxel_layer=dict(
            max_num_points=20,
            voxel_size=VOXEL_M,
            point_cloud_range=list(MODEL["grid"]["range_m"]),
            max_voxels=(2000, 2000),
        ),
    ),
    pts_voxel_encoder=dict(
        type="PillarFeatureNet",
        in_channels=5,
        feat_channels=[16],
        voxel_size=VOXEL_M,
        point_cloud_range=list(MODEL["grid"]["range_m"]),
        legacy=False,
    ),
    pts_middle_encoder=dict(
        type="PillarMiddleEncoder", backbone=dict(MODEL["backbone"], grid=MODEL["grid"])
    ),
    pts_backbone=STOCK_MAP["backbone"],
    pts_neck=STOCK_MAP["neck"],
    pts_bbox_head=dict(
        type="CenterHead",
        in_channels=32,
        tasks=[dict(num_class=10, class_names=list(NUSCENES_CLASSES))],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        share_conv_channel=16,
        bbox_coder=dict(
            type="CenterPointBBoxCoder",
            post_center_range=CENTRES_M,
            max_num=50,
            score_threshold=0.0,
            out_size_factor=2,
            voxel_size=VOXEL_M[:2],
            pc_range=LOW_M,
            code_size=9,
        ),
        separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3),
        loss_cls=dict(type="mmdet.GaussianFocalLoss", reduction="mean"),
        loss_bbox=dict(type="mmdet.L1Loss", reduction="mean", loss_weight=0.25),
        norm_bbox=True,
    ),
    train_cfg=dict(
        pts=dict(
            grid_size=[CELLS, CELLS, 1],
            voxel_size=VOXEL_M,
            point_cloud_range=list(MODEL["grid"]["range_m"]),
            out_size_factor=2,
            dense_reg=1,
            gaussian_overlap=0.1,
            max_objs=50,
            min_radius=2,
            code_weights=[1.0] * 10,
        )
    ),
    test_cfg=dict(
        pts=dict(
            post_center_limit_range=CENTRES_M,
            max_per_img=50,
            score_threshold=0.0,
            pc_range=LOW_M,
            out_size_factor=2,
            voxel_size=VOXEL_M[:2],
            nms_type="rotate",
            pre_max_size=100,
            post_max_size=20,
            nms_thr=0.2,
        )
    ),
)
DEMO = """
import sys
from mmdet3d.apis import LidarDet3DInferencer, inference_detector, init_model

assert "padre3d" not in sys.modules
folder = sys.argv[1]
config, weights = f"{folder}/small.py", f"{folder}/small.pth"
inferencer = LidarDet3DInferencer(model=config, weights=weights, device="cpu", palette="none")
for name in ("sweeps", "single"):
    # The call of mmdet3d's demo/pcd_demo.py with --no-save-vis.
    inferencer(
        inputs=dict(points=f"{folder}/{name}.pcd.bin"),
        pred_score_thr=0.3,
        out_dir=f"{folder}/out",
        show=False,
        wait_time=-1,
        no_save_vis=True,
        no_save_pred=False,
        print_result=False,
    )
assert len(inferencer.visualizer.dataset_meta["palette"]) == 10
model = init_model(config, weights, device="cpu")
result, _ = inference_detector(model, f"{folder}/sweeps.pcd.bin")
assert len(result.pred_instances_3d) > 3
"""


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory, repo_root):
    """A config, a checkpoint of bare weights, clouds of ten sweeps and of one, and their boxes."""
    folder = tmp_path_factory.mktemp("apis")
    base = str(repo_root / "configs/dsvt_padre2_nuscenes.py")
    config, weights = folder / "small.py", folder / "small.pth"
    config.write_text(CONFIG.format(base=base, model=MODEL, range_m=MODEL["grid"]["range_m"]))
    torch.save(build().state_dict(), weights)
    sweeps = cloud(1500, 5).numpy()
    single = cloud(1200, 6).numpy()
    single[:, 4] = np.arange(len(single)) % 32  # nuScenes' ring index
    for name, points in (("sweeps", sweeps), ("single", single)):
        points.tofile(folder / f"{name}.pcd.bin")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo_root / "tools"))
        sys.modules.pop("infer", None)
        import infer
    arguments = [config, weights, *folder.glob("*.bin"), "--out", folder]
    infer.main([str(argument) for argument in arguments])
    return folder


def clouds(files):
    for name in ("sweeps", "single"):
        path = files / f"{name}.pcd.bin"
        expected = read_boxes_json(files / f"{name}.pcd.json", NUSCENES_CLASSES)
        yield path, np.fromfile(path, np.float32).reshape(-1, 5), expected


def assert_same(scores, labels, boxes, expected):
    """mmdet3d's boxes against those that tools/infer.py wrote with four digits."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    boxes = LiDARInstance3DBoxes(torch.as_tensor(boxes), box_dim=9)
    rows = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], 1).numpy()
    kept = np.flatnonzero(scores >= SCORE_THR)
    assert len(kept) == len(expected.boxes) > 3
    for box, score, label in zip(*expected, strict=True):
        distance = np.abs(rows[kept, :6] - box[:6]).max(1) + np.abs(scores[kept] - score)
        match = kept[distance.argmin()]
        np.testing.assert_allclose(turned(rows[match]), turned(box), atol=1e-3)
        assert scores[match] == pytest.approx(score, abs=1e-3)
        assert labels[match] == label
        kept = kept[kept != match]


def turned(box):
    """A box whose yaw is a direction: -pi and pi are the same."""
    return [*box[:6], np.sin(box[6]), np.cos(box[6]), *box[7:]]


def assert_result(result, expected):
    detections = result.pred_instances_3d
    assert_same(detections.scores_3d, detections.labels_3d, detections.bboxes_3d.tensor, expected)


def test_the_inferencer_gives_the_boxes_of_our_tool(files):
    """As pcd_demo.py calls it, and without an import of ours before the config's own."""
    done = subprocess.run(
        [sys.executable, "-c", DEMO, str(files)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for path, _, expected in clouds(files):
        out = json.loads((files / f"out/preds/{path.stem}.json").read_text())
        assert out["box_type_3d"] == "LiDAR"
        assert_same(out["scores_3d"], out["labels_3d"], out["bboxes_3d"], expected)


def test_the_inferencer_takes_arrays_and_folders(files, tmp_path):
    inferencer = LidarDet3DInferencer(str(files / "small.py"), str(files / "small.pth"), "cpu")
    for path, points, expected in clouds(files):
        before = points.copy()
        results = inferencer(dict(points=points), return_datasamples=True)
        assert_result(results["predictions"][0], expected)
        np.testing.assert_array_equal(points, before)
        (tmp_path / path.name).write_bytes(path.read_bytes())
    results = inferencer(dict(points=str(tmp_path)), batch_size=2, return_datasamples=True)
    by_name = {r.lidar_path.rsplit("/")[-1]: r for r in results["predictions"]}
    for path, _, expected in clouds(files):
        assert_result(by_name[path.name], expected)


def test_inference_detector(files):
    model = init_model(str(files / "small.py"), str(files / "small.pth"), device="cpu")
    assert tuple(model.dataset_meta["classes"]) == NUSCENES_CLASSES
    assert len(model.dataset_meta["palette"]) == len(NUSCENES_CLASSES)
    paths, arrays, expected = zip(*clouds(files), strict=True)
    results, _ = inference_detector(model, [str(path) for path in paths])
    for path, boxes, result in zip(paths, expected, results, strict=True):
        assert_result(inference_detector(model, str(path))[0], boxes)
        assert_result(result, boxes)
    # Last: mmdet3d 1.4 writes the loader of arrays into the model's config.
    for points, boxes in zip(arrays, expected, strict=True):
        assert_result(inference_detector(model, points)[0], boxes)
    nothing, _ = inference_detector(model, np.zeros((0, 5), np.float32))
    assert len(nothing.pred_instances_3d) == 0


def test_train_cfg_and_test_cfg_go_before_the_head_s_settings():
    cfg = copy.deepcopy(MODEL)
    cfg["head"]["decode"] = dict(score_thr=0.3, nms_max=7)
    cfg |= dict(train_cfg=dict(min_radius=3), test_cfg=dict(score_thr=0.2))
    head = MODELS.build(cfg).head
    assert head.target_settings.min_radius == 3
    assert (head.decode_settings.score_thr, head.decode_settings.nms_max) == (0.2, 7)
    head = MODELS.build({**cfg, "train_cfg": None, "test_cfg": None}).head
    assert head.target_settings.min_radius == 2
    assert head.decode_settings.score_thr == 0.3
    with pytest.raises(TypeError, match="nms_thr"):
        MODELS.build({**cfg, "test_cfg": dict(nms_thr=0.2)})


def test_our_names_leave_mmdet3d_s_head_its_own():
    """mmdet3d's BEVFusion project registers a TransFusionHead, which no process may have twice."""

    class TransFusionHead(torch.nn.Module):
        pass

    MODELS.register_module(module=TransFusionHead)
    try:
        assert MODELS.get("PADReTransFusionHead") is type(build().head)
        assert MODELS.get("TransFusionHead") is TransFusionHead
    finally:
        MODELS.module_dict.pop("TransFusionHead")


def train_and_test(cfg):
    """One training step that reaches every weight, and the detections of one test step."""
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(copy.deepcopy(cfg))).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    log = model.train_step(batch([cloud(900, 1), cloud(700, 2)]), OptimWrapper(optimizer))
    assert 0 < log["loss"] < 1e4
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    with torch.no_grad():
        (result,) = model.eval().test_step(batch([cloud(900, 3)]))
    return model, result.pred_instances_3d


def test_our_backbone_in_a_stock_centerpoint():
    _, detections = train_and_test(CENTERPOINT)
    assert 0 < len(detections) <= 50
    assert torch.isfinite(detections.bboxes_3d.tensor).all()
    assert ((detections.scores_3d >= 0) & (detections.scores_3d <= 1)).all()


def test_stock_map_layers_in_our_detector():
    stock = dict(type="StockBEVBackbone", stride=2, **STOCK_MAP)
    model, detections = train_and_test(dict(MODEL, bev_backbone=stock))
    assert model.head.grid.nx == CELLS // 2
    assert_sane(detections, model)
    assert len(detections) > 0
    wrong = MODELS.build(dict(MODEL, bev_backbone=dict(stock, stride=4)))
    with pytest.raises(ValueError, match=r"expected shape \(B, 32, 9, 9\), got \(1, 32, 18, 18\)"):
        wrong.forward_points([cloud(300, 1)])


def documented_config(repo_root, folder, name):
    """A config of docs/mmdet3d.md, built."""
    blocks = (repo_root / "docs/mmdet3d.md").read_text().split("```python\n")
    (text,) = [block.split("```")[0] for block in blocks if block.startswith(f"# {name}\n")]
    path = folder / name
    path.write_text(text.replace('"configs/', f'"{repo_root}/configs/'))
    return MODELS.build(Config.fromfile(path).model)


def test_the_documented_centerpoint(repo_root, tmp_path):
    model = documented_config(repo_root, tmp_path, "centerpoint_padre2.py")
    grid, voxels = model.pts_middle_encoder.backbone.grid, model.data_preprocessor.voxel_layer
    assert [grid.nx, grid.ny, 1] == voxels.grid_shape
    assert list(grid.range_m) == voxels.point_cloud_range
    assert model.pts_voxel_encoder.pfn_layers[-1].units == model.pts_middle_encoder.backbone.dim


def test_the_documented_stock_map_layers(repo_root, tmp_path):
    model = documented_config(repo_root, tmp_path, "stock_bev.py").eval()
    with torch.no_grad():
        bev = model.bev_backbone(torch.zeros(1, 128, 16, 24))
    assert bev.shape == (1, model.head.in_channels, 8, 12)
    assert model.head.grid.nx == 180


def stock_pillars(model):
    """Features, coordinates and number of samples, as stock voxel encoders give them: unsorted."""
    with torch.no_grad():
        pillars = model.pillar_encoder([cloud(300, 1), cloud(200, 2)])
    order = torch.randperm(len(pillars.coords), generator=torch.Generator().manual_seed(0))
    coors = torch.nn.functional.pad(pillars.coords, (1, 0))[:, [1, 0, 2, 3]]
    return pillars, pillars.features[order], coors[order].int(), torch.tensor(2)


def test_the_middle_encoder_is_the_backbone_before_stock_scatter():
    model = build()
    encoder = MODELS.build(CENTERPOINT["pts_middle_encoder"]).eval()
    encoder.backbone.load_state_dict(model.backbone.state_dict())
    pillars, features, coors, samples = stock_pillars(model)
    scatter = MODELS.build(
        dict(type="PointPillarsScatter", in_channels=16, output_shape=[CELLS, CELLS])
    )
    with torch.no_grad():
        got = encoder(features, coors, samples)
        backbone_features = model.backbone(pillars).features
        z = torch.zeros_like(pillars.coords[:, :1])
        rows = torch.cat([pillars.coords[:, :1], z, pillars.coords[:, 1:]], 1)
        expected = scatter(backbone_features, rows, 2)
        one = encoder(features[coors[:, 0] == 0], coors[coors[:, 0] == 0])
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(one[0], got[0], atol=1e-5, rtol=1e-4)


def test_pillars_of_another_grid_are_an_error():
    encoder = MODELS.build(CENTERPOINT["pts_middle_encoder"])
    for column, value in enumerate((2, 1, CELLS, CELLS)):
        _, features, coors, samples = stock_pillars(build())
        coors[5, column] = value
        message = r"expected \[batch, z, y, x\] below \(2, 1, 36, 36\), got up to"
        with pytest.raises(ValueError, match=message):
            encoder(features, coors, samples)
