"""A reference YAML becomes our config: every setting carried over, or refused by name."""

import re

import pytest
import torch
import yaml
from mmengine.config import Config

from padre3d.convert.reference_config import read_reference_config

HEAD = "MODEL.DENSE_HEAD"
LAYER = "MODEL.BACKBONE_3D.INPUT_LAYER"


UNSUPPORTED = {
    "MODEL.NAME": "CenterPoint",
    "MODEL.VFE.NAME": "MeanVFE",
    "MODEL.VFE.NUM_FILTERS": [16, 8],
    "MODEL.VFE.NEW_OPTION": 3,
    "MODEL.PFE": {"NAME": "VoxelSetAbstraction"},
    "MODEL.MAP_TO_BEV.NAME": "HeightCompression",
    "MODEL.MAP_TO_BEV.NUM_BEV_FEATURES": 32,
    "MODEL.BACKBONE_3D.activation": "glu",
    "MODEL.BACKBONE_3D.nhead": [3],
    "MODEL.BACKBONE_3D.block_name": ["OtherBlock"],
    "MODEL.BACKBONE_3D.d_model": [16, 16],
    f"{LAYER}.d_model": [32],
    f"{LAYER}.hybrid_factor": [2, 2, 2],
    f"{LAYER}.downsample_stride": [[1, 1, 4]],
    f"{LAYER}.sparse_shape": [468, 468, 1],
    f"{LAYER}.window_shape": [[30, 30, 2]],
    f"{LAYER}.shifts_list": [[[0, 0, 0]]],
    "MODEL.BACKBONE_2D.NAME": "BaseBEVBackbone",
    "MODEL.BACKBONE_2D.NUM_FILTERS": [8, 12],
    "MODEL.BACKBONE_2D.USE_ATTENTION": True,
    "MODEL.BACKBONE_2D.UPSAMPLE_STRIDES": [0.5, 1, 2, 2],
    f"{HEAD}.NAME": "CenterHead",
    f"{HEAD}.CLASS_AGNOSTIC": True,
    f"{HEAD}.ACTIVATION": "glu",
    f"{HEAD}.NMS_KERNEL_SIZE": 4,
    f"{HEAD}.NUM_HEADS": 7,
    f"{HEAD}.SEPARATE_HEAD_CFG.HEAD_ORDER": ["center", "height", "dim", "rot"],
    f"{HEAD}.SEPARATE_HEAD_CFG.HEAD_DICT.vel.out_channels": 3,
    f"{HEAD}.SEPARATE_HEAD_CFG.HEAD_DICT.heading": {"num_conv": 2, "out_channels": 2},
    f"{HEAD}.TARGET_ASSIGNER_CONFIG.DATASET": "kitti",
    f"{HEAD}.TARGET_ASSIGNER_CONFIG.FEATURE_MAP_STRIDE": 4,
    f"{HEAD}.TARGET_ASSIGNER_CONFIG.HUNGARIAN_ASSIGNER.iou_cost.power": 2,
    f"{HEAD}.LOSS_CONFIG.LOSS_CLS.use_sigmoid": False,
    f"{HEAD}.LOSS_CONFIG.LOSS_WEIGHTS.code_weights": [1.0, 1.0],
    f"{HEAD}.POST_PROCESSING.IOU_RECTIFIER": [0.5, 0.6],
    f"{HEAD}.POST_PROCESSING.NMS_CONFIG.NMS_TYPE": "multi_class_nms",
    "DATA_CONFIG.DATA_PROCESSOR.0.MASK_Z": False,
    "DATA_CONFIG.DATA_PROCESSOR.0.NAME": "sample_points",
    "DATA_CONFIG.POINT_FEATURE_ENCODING.used_feature_list": ["x", "y", "z", "intensity"],
    "DATA_CONFIG.POINT_FEATURE_ENCODING.filter_sweeps": True,
    "DATA_CONFIG.FOV_POINTS_ONLY": True,
    "SYNC_BN": True,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_setting_is_an_error_with_its_name_and_value(name, read):
    with pytest.raises(ValueError, match=r"^reference config .*changed\.yaml: ") as refused:
        read({name: UNSUPPORTED[name]})
    shown = re.sub(r"\.(\d+)\.", r"[\1].", name)
    assert f" {shown}: " in str(refused.value)
    assert repr(UNSUPPORTED[name]).strip("[]") in str(refused.value)


def test_the_refusal_that_the_documentation_shows(read, repo_root):
    with pytest.raises(ValueError, match="2 settings are not supported") as refused:
        read({f"{LAYER}.hybrid_factor": [2, 2, 2], f"{HEAD}.NAME": "CenterHead"})
    lines = str(refused.value).splitlines()
    shown = (repo_root / "docs/data-and-checkpoints.md").read_text()
    assert len(lines) == 3
    assert "\n".join(["not supported:", *lines[1:], "```"]) in shown


def test_voxels_of_several_layers_are_refused(read):
    with pytest.raises(ValueError, match="DATA_CONFIG.VOXEL_SIZE: only pillars .* got 4.0 m"):
        read({"DATA_CONFIG.DATA_PROCESSOR.2.VOXEL_SIZE": [0.3, 0.3, 4.0]})


@pytest.mark.parametrize(
    "name",
    [
        "CLASS_NAMES",
        "MODEL.VFE",
        "MODEL.BACKBONE_3D.nhead",
        f"{LAYER}.window_shape",
        f"{HEAD}.NUM_PROPOSALS",
        "DATA_CONFIG.POINT_CLOUD_RANGE",
    ],
)
def test_a_missing_setting_is_named(name, read):
    with pytest.raises(ValueError, match=f"{name}: expected this setting, got none"):
        read({name: None})


def test_all_problems_come_at_once(read):
    with pytest.raises(ValueError, match="3 settings are not supported") as refused:
        read({"MODEL.VFE.EXTRA": 1, "MODEL.BACKBONE_3D.block_name": ["B"], "AUGMENT": "no"})
    for name in ("MODEL.VFE.EXTRA", "MODEL.BACKBONE_3D.block_name", "AUGMENT"):
        assert f"\n  {name}: " in str(refused.value)


@pytest.mark.parametrize(
    "text", ["MODEL: !!python/object/apply:os.mkdir [{marker}]", "[1, 2]", "a: [", "\x00"]
)
def test_a_yaml_of_something_else_is_refused_and_not_run(text, tmp_path):
    path, marker = tmp_path / "bad.yaml", tmp_path / "marker"
    path.write_text(text.format(marker=marker))
    with pytest.raises(ValueError, match=r"reference config .*bad\.yaml: expected"):
        read_reference_config(path)
    assert not marker.exists()


FULL = {
    "MODEL.VFE.NUM_FILTERS": [128, 128],
    f"{LAYER}.d_model": [128],
    "MODEL.BACKBONE_3D.d_model": [128],
    "MODEL.BACKBONE_3D.nhead": [8],
    "MODEL.BACKBONE_3D.dim_feedforward": [256],
    "MODEL.BACKBONE_3D.conv_out_channel": 128,
    "MODEL.MAP_TO_BEV.NUM_BEV_FEATURES": 128,
    "MODEL.BACKBONE_2D.NUM_FILTERS": [128, 128, 256],
    "MODEL.BACKBONE_2D.NUM_UPSAMPLE_FILTERS": [128, 128, 128],
    f"{HEAD}.FFN_CHANNEL": 256,
}


def test_the_published_model_is_our_reference_config(read, repo_root, tool):
    """Also where our config leaves a default unsaid: both build the same modules."""
    read_model = read(FULL).model
    shipped = Config.fromfile(repo_root / "configs" / "dsvt_nuscenes_reference.py").model
    for part in ("grid", "pillar_encoder", "backbone", "bev_backbone"):
        assert Config({"part": read_model[part]}).part == shipped[part]
    heads = [tool.build_detector(model).head for model in (read_model, shipped)]
    for name in ("target_settings", "loss_settings", "decode_settings", "grid", "dsvt_compat"):
        assert getattr(heads[0], name) == getattr(heads[1], name)
    assert str(heads[0]) == str(heads[1])
    assert vars(heads[0].selector).keys() == vars(heads[1].selector).keys()


CUSTOM = {
    "CLASS_NAMES": [f"kind{i}" for i in range(11)],
    "DATA_CONFIG.MAX_SWEEPS": 3,
    "DATA_CONFIG.POINT_CLOUD_RANGE": [-40.0, -20.0, -4.0, 40.0, 20.0, 2.0],
    "DATA_CONFIG.DATA_PROCESSOR.2.VOXEL_SIZE": [0.25, 0.5, 6.0],
    f"{LAYER}.sparse_shape": [320, 80, 1],
    f"{LAYER}.set_info": [[36, 2]],
    "MODEL.BACKBONE_3D.set_info": [[36, 2]],
    f"{LAYER}.window_shape": [[20, 10, 1]],
    f"{LAYER}.shifts_list": [[[0, 0, 0], [10, 5, 0]]],
    "MODEL.BACKBONE_3D.output_shape": [80, 320],
    "MODEL.BACKBONE_3D.nhead": [2],
    "MODEL.MAP_TO_BEV.INPUT_SHAPE": [320, 80, 1],
    f"{HEAD}.NUM_CLASSES": 11,
    f"{HEAD}.NUM_PROPOSALS": 77,
    f"{HEAD}.NMS_KERNEL_SIZE": 5,
    f"{HEAD}.TARGET_ASSIGNER_CONFIG.MIN_RADIUS": 3,
    f"{HEAD}.TARGET_ASSIGNER_CONFIG.HUNGARIAN_ASSIGNER.reg_cost.weight": 0.5,
    f"{HEAD}.LOSS_CONFIG.LOSS_WEIGHTS.loss_iou_rescore_weight": 0.75,
    f"{HEAD}.POST_PROCESSING.SCORE_THRESH": 0.05,
    f"{HEAD}.POST_PROCESSING.POST_CENTER_RANGE": [-41, -21, -9, 41, 21, 9],
    f"{HEAD}.POST_PROCESSING.IOU_RECTIFIER": [0.1 * i for i in range(11)],
    f"{HEAD}.POST_PROCESSING.NMS_CONFIG.NMS_POST_MAXSIZE": 50,
}


def test_a_custom_model_arrives_in_the_modules(read, settings, tool, tmp_path):
    read(CUSTOM)
    out = tmp_path / "emitted.py"
    tool.main(["--reference-config", str(tmp_path / "changed.yaml"), "--emit-config", str(out)])
    cfg = Config.fromfile(out)
    detector = tool.build_detector(cfg.model)
    assert detector.class_names == tuple(CUSTOM["CLASS_NAMES"])
    assert detector.grid.range_m == (-40, -20, -4, 40, 20, 2)
    assert (detector.grid.nx, detector.grid.ny) == (320, 80)
    assert len(detector.backbone.blocks) == 2
    mixer = detector.backbone.blocks[0].layers[0].mixer
    assert mixer.self_attn.num_heads == 2
    assert cfg.model.backbone.window == (20, 10)
    assert cfg.model.backbone.shifts == ((0, 0), (10, 5))
    assert cfg.model.backbone.set_size == 36
    head = detector.head
    assert head.target_settings.min_radius == 3
    assert head.target_settings.reg_cost == 0.5
    assert head.loss_settings.iou == 0.75
    assert head.decode_settings.score_thr == 0.05
    assert head.decode_settings.centre_range_m == (-41, -21, -9, 41, 21, 9)
    assert head.decode_settings.nms_max == 50
    assert head.decode_settings.alphas(11) == pytest.approx(
        CUSTOM[f"{HEAD}.POST_PROCESSING.IOU_RECTIFIER"]
    )
    assert cfg.model.head.num_proposals == 77
    assert cfg.model.head.nms_kernel == 5

    for loader in ("train_dataloader", "test_dataloader"):
        dataset = cfg[loader].dataset
        dataset = dataset.get("dataset", dataset)
        assert tuple(dataset.metainfo.classes) == tuple(CUSTOM["CLASS_NAMES"])
        steps = {step.type: step for step in dataset.pipeline}
        # Where mmdet3d's inference functions look for the loader and the names.
        assert list(steps)[:2] == ["LoadPointsFromFile", "LoadSweeps"]
        assert tuple(cfg.class_names) == tuple(CUSTOM["CLASS_NAMES"])
        assert steps["LoadSweeps"].num_sweeps == 3
        assert steps["PointsRangeFilter"].point_cloud_range == (-40, -20, -4, 40, 20, 2)
        # The sampled objects of the base are of nuScenes' own classes.
        assert "SampleGroundTruth" not in steps
    torch.manual_seed(0)
    detections = detector.eval().predict_points([torch.rand(500, 5) * 10])[0]
    assert torch.isfinite(detections.boxes).all()


def test_without_rescoring(read):
    model = read({f"{HEAD}.POST_PROCESSING.USE_IOU_TO_RECTIFY_SCORE": False}).model
    assert model["head"]["decode"] == dict(iou_alpha=None)


def test_emitted_beside_our_configs_it_names_its_bases_by_relative_path(tiny_yaml, repo_root):
    from padre3d.convert.emit import config_text

    configs = repo_root / "configs"
    reference = read_reference_config(tiny_yaml)
    inside = config_text(reference, configs / "mine" / "tiny.py", configs)
    assert '"../_base_/datasets/nuscenes.py"' in inside
    assert str(repo_root) not in inside
    assert str(configs) in config_text(reference, tiny_yaml.parent / "tiny.py", configs)


def test_the_base_of_the_data_is_read_where_it_is_found(settings, tmp_path):
    base = tmp_path / settings["DATA_CONFIG"]["_BASE_CONFIG_"]
    base.parent.mkdir(parents=True)
    base.write_text("MAX_SWEEPS: 5\nPOINT_CLOUD_RANGE: [0, 0, 0, 1, 1, 1]\n")
    del settings["DATA_CONFIG"]["MAX_SWEEPS"]
    path = tmp_path / "cfgs" / "models" / "m.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(settings))
    reference = read_reference_config(path)
    assert reference.num_sweeps == 5
    assert reference.grid.range_m == (-54, -54, -5, 54, 54, 3)
    assert not any("_BASE_CONFIG_" in note for note in reference.notes)
