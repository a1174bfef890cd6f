"""Other projects' converters prepare the synthetic set: six calibrated cameras in every sample."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.fileio import load
from nuscenes import NuScenes
from PIL import Image
from pyquaternion import Quaternion

from padre3d.synthetic import generate
from padre3d.synthetic.cameras import CAMERAS

pytest.importorskip("mmdet3d")
SECONDS = 1.0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cameras") / "set"
    generate(folder, num_scenes=2, seed=0, scene_seconds=SECONDS)
    return folder


def test_every_sample_has_six_cameras_that_look_where_their_name_says(root):
    nusc = NuScenes("v1.0-mini", str(root), verbose=False)
    for sample in nusc.sample:
        assert set(sample["data"]) == {"LIDAR_TOP", *CAMERAS}
    for name, degrees in CAMERAS.items():
        path, _, intrinsic = nusc.get_sample_data(nusc.sample[0]["data"][name])
        assert Image.open(path).size == (1600, 900)
        record = nusc.get("sample_data", nusc.sample[0]["data"][name])
        row = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
        turn = Quaternion(row["rotation"]).rotation_matrix
        angle = np.deg2rad(degrees)
        np.testing.assert_allclose(turn[:, 2], [np.cos(angle), np.sin(angle), 0], atol=1e-9)
        np.testing.assert_allclose(turn[:, 1], [0, 0, -1], atol=1e-9)
        assert intrinsic.shape == (3, 3)


def converter():
    """mmdet3d's own, as its wheel brings it; its package is called tools."""
    import mmdet3d

    folder = Path(mmdet3d.__file__).parent / ".mim/tools/dataset_converters"
    path = folder / "nuscenes_converter.py"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the wheel of mmdet3d came without its tools")
    spec = importlib.util.spec_from_file_location("nuscenes_converter", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["nuscenes_converter"] = module
    spec.loader.exec_module(module)
    return module


def test_mmdet3d_s_converter_prepares_the_set_unchanged(root):
    converter().create_nuscenes_infos(str(root), "stock", version="v1.0-mini", max_sweeps=3)
    for split in ("train", "val"):
        infos = load(root / f"stock_infos_{split}.pkl")["infos"]
        assert len(infos) == 2 * SECONDS
        for info in infos:
            assert set(info["cams"]) == set(CAMERAS)
            assert all(Path(cam["data_path"]).is_file() for cam in info["cams"].values())
            assert len(info["gt_boxes"]) == len(info["gt_names"]) > 0
    assert len(infos[-1]["sweeps"]) == 3
