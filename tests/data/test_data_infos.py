import json

import numpy as np
import pytest
from mmdet3d.datasets import NuScenesDataset
from mmengine.fileio import load
from pyquaternion import Quaternion
from tiny_nuscenes import (
    LIDAR_HEIGHT_M,
    OBJECTS,
    ego_pose,
    lidar_to_global,
    object_centre,
    token,
)

from padre3d.data.infos import INFO_CLASSES
from padre3d.data.prepare import prepare_nuscenes

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")


@pytest.fixture(scope="module")
def infos(tiny_nuscenes):
    return load(tiny_nuscenes / "nuscenes_infos_val.pkl")


def expected_box(index, seconds):
    """x, y, z (centre), l, w, h, yaw and velocity in the LiDAR frame, from the definition."""
    _, _, (width, length, height), yaw, speed, _ = OBJECTS[index]
    lidar = np.linalg.inv(lidar_to_global(seconds))
    centre = lidar[:3, :3] @ object_centre(index, seconds) + lidar[:3, 3]
    # The LiDAR's x axis points to the right of the ego, 90 degrees clockwise from its heading.
    local_yaw = yaw - (ego_pose(seconds)[1] - np.pi / 2)
    velocity = lidar[:2, :2] @ (speed * np.array([np.cos(yaw), np.sin(yaw)]))
    return centre, (length, width, height), local_yaw, velocity


def test_head(infos):
    assert infos["metainfo"]["version"] == "v1.0-mini"
    assert infos["metainfo"]["categories"] == mmdet3d_categories()
    assert [i["sample_idx"] for i in infos["data_list"]] == [0, 1, 2, 3, 4]


def mmdet3d_categories():
    return {name: i for i, name in enumerate(NuScenesDataset.METAINFO["classes"])}


def test_boxes_and_velocities_from_the_definition(infos):
    for frame, info in enumerate(infos["data_list"]):
        seconds = 0.5 * frame
        assert len(info["instances"]) == len(OBJECTS)
        for index, instance in enumerate(info["instances"]):
            centre, size, yaw, velocity = expected_box(index, seconds)
            np.testing.assert_allclose(instance["bbox_3d"][:3], centre, atol=1e-6)
            np.testing.assert_allclose(instance["bbox_3d"][3:6], size)
            turns = (instance["bbox_3d"][6] - yaw) / (2 * np.pi)
            assert turns == pytest.approx(round(turns), abs=1e-6)
            np.testing.assert_allclose(instance["velocity"], velocity, atol=1e-4)
            assert instance["num_lidar_pts"] == OBJECTS[index][5]


def test_labels_follow_mmdet3d_and_other_categories_have_none(infos):
    names = [
        INFO_CLASSES[i["bbox_label_3d"]] if i["bbox_label_3d"] >= 0 else None
        for i in infos["data_list"][0]["instances"]
    ]
    assert names == ["car", "truck", "pedestrian", "traffic_cone", "bicycle", None]
    assert list(NuScenesDataset.METAINFO["classes"]) == list(INFO_CLASSES)


def test_transforms(infos):
    info = infos["data_list"][2]
    lidar2ego = np.array(info["lidar_points"]["lidar2ego"])
    np.testing.assert_allclose(lidar2ego[:3, 3], [0.94, 0, LIDAR_HEIGHT_M])
    np.testing.assert_allclose(
        np.array(info["ego2global"]) @ lidar2ego, lidar_to_global(1.0), atol=1e-9
    )
    sweep = info["lidar_sweeps"][4]
    expected = np.linalg.inv(lidar_to_global(0.75)) @ lidar_to_global(1.0)
    np.testing.assert_allclose(sweep["lidar_points"]["lidar2sensor"], expected, atol=1e-9)


def test_the_stock_dataset_of_mmdet3d_reads_the_infos(tiny_nuscenes):
    stock = NuScenesDataset(str(tiny_nuscenes), "nuscenes_infos_val.pkl", data_prefix=PREFIX)
    info = stock.get_data_info(1)
    boxes = info["ann_info"]["gt_bboxes_3d"]
    centre, size, _, velocity = expected_box(0, 0.5)
    np.testing.assert_allclose(boxes.gravity_center[0], centre, atol=1e-4)
    np.testing.assert_allclose(boxes.bottom_center[0, 2], centre[2] - size[2] / 2, atol=1e-4)
    np.testing.assert_allclose(boxes.tensor[0, 7:], velocity, atol=1e-4)
    assert (tiny_nuscenes / "sweeps/LIDAR_TOP").samefile(
        info["lidar_sweeps"][0]["lidar_points"]["lidar_path"].rsplit("/", 1)[0]
    )


def test_object_annotated_once_stands_still_in_the_stock_dataset(raw_root):
    folder = raw_root / "v1.0-mini"
    annotations = json.loads((folder / "sample_annotation.json").read_text())
    for row in annotations:
        row["prev"] = row["next"] = ""
    (folder / "sample_annotation.json").write_text(json.dumps(annotations))
    prepare_nuscenes(raw_root, "v1.0-mini")
    raw = load(raw_root / "nuscenes_infos_val.pkl")["data_list"][1]["instances"][0]
    assert np.isnan(raw["velocity"]).all()
    stock = NuScenesDataset(str(raw_root), "nuscenes_infos_val.pkl", data_prefix=PREFIX)
    assert (stock.get_data_info(1)["ann_info"]["gt_bboxes_3d"].tensor[:, 7:] == 0).all()


def add_camera(root):
    folder = root / "v1.0-mini"
    tables = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("sensor", "calibrated_sensor", "sample_data", "sample")
    }
    tables["sensor"].append({"token": "cam", "channel": "CAM_FRONT", "modality": "camera"})
    # A camera at (1.7, 0, 1.5) of the ego that looks ahead: z forward, x to the right, y down.
    rotation = Quaternion(matrix=np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]))
    tables["calibrated_sensor"].append(
        {
            "token": "cam",
            "sensor_token": "cam",
            "translation": [1.7, 0.0, 1.5],
            "rotation": list(rotation.elements),
            "camera_intrinsic": [[1266.0, 0, 816], [0, 1266.0, 491], [0, 0, 1]],
        }
    )
    for row in [r for r in tables["sample_data"] if r["is_key_frame"]]:
        tables["sample_data"].append(
            dict(
                row,
                token=token(row["token"], "cam"),
                calibrated_sensor_token="cam",
                fileformat="jpg",
                width=1600,
                height=900,
                filename=row["filename"].replace("LIDAR_TOP", "CAM_FRONT") + ".jpg",
                prev="",
                next="",
            )
        )
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))


def test_cameras_are_listed_where_the_tables_have_them(raw_root, infos):
    assert infos["data_list"][0]["images"] == {}
    add_camera(raw_root)
    prepare_nuscenes(raw_root, "v1.0-mini")
    image = load(raw_root / "nuscenes_infos_val.pkl")["data_list"][1]["images"]["CAM_FRONT"]
    assert image["cam2img"][0] == [1266.0, 0, 816]
    assert image["img_path"].endswith(".jpg")
    assert "/" not in image["img_path"]
    # 20 m ahead of the LiDAR (its y axis) is 20.94 - 1.7 m in front of the camera, 0.34 m above it.
    seen = np.array(image["lidar2cam"]) @ [0, 20, 0, 1]
    np.testing.assert_allclose(seen[:3], [0, -(LIDAR_HEIGHT_M - 1.5), 20 + 0.94 - 1.7], atol=1e-9)
