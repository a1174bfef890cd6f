import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")
pytest.importorskip("nuscenes")

from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils import splits
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.synthetic import dataset, generate
from padre3d.synthetic.catalog import CLASS_TO_CATEGORY
from padre3d.synthetic.scene import build_world
from padre3d.synthetic.statistics import format_statistics, occupied_pillars, real_statistics
from padre3d.synthetic.tables import TABLES, scene_names

from .conftest import NUM_SWEEPS, SEED


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): hashlib.md5(f.read_bytes()).hexdigest() for f in files}


def test_categories_are_those_the_evaluation_maps_to_our_classes():
    assert tuple(CLASS_TO_CATEGORY) == NUSCENES_CLASSES
    for name, category in CLASS_TO_CATEGORY.items():
        assert category_to_detection_name(category) == name


def test_devkit_reads_every_table_and_chain(nusc, generated):
    for name in TABLES:
        assert (generated / "v1.0-mini" / f"{name}.json").is_file()
    assert [scene["name"] for scene in nusc.scene] == ["scene-0061", "scene-0103"]
    for scene in nusc.scene:
        sample = nusc.get("sample", scene["first_sample_token"])
        data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        chain = [data]
        while chain[-1]["next"]:
            chain.append(nusc.get("sample_data", chain[-1]["next"]))
        for data in chain:
            assert (generated / data["filename"]).stat().st_size == 1084 * 32 * 5 * 4
        assert set(np.diff([data["timestamp"] for data in chain])) == {50_000}
        samples = sum(data["is_key_frame"] for data in chain)
        assert (samples, len(chain)) == (scene["nbr_samples"], NUM_SWEEPS)
        assert samples == NUM_SWEEPS // 10
    assert nusc.map[0]["mask"].mask().any()


def test_num_lidar_pts_is_what_the_devkit_counts(nusc):
    total = 0
    for sample in nusc.sample[:4]:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            row = nusc.get("sample_annotation", box.token)
            assert row["num_lidar_pts"] == points_in_box(box, points).sum()
            total += row["num_lidar_pts"]
    assert total > 1000


def test_devkit_velocities_are_the_true_ones(nusc):
    """Central differences over one second equal the mean true velocity in it."""
    fast = still = 0
    for index, scene in enumerate(nusc.scene):
        world = build_world(SEED, index, NUM_SWEEPS)
        for sweep in (10, 20):
            sample = [s for s in nusc.sample if s["scene_token"] == scene["token"]][sweep // 10]
            moving = [a for a in world.actors if a.moves]
            at = np.array([a.centre_m[sweep] for a in moving])
            rows = [nusc.get("sample_annotation", token) for token in sample["anns"]]
            for row in (r for r in rows if r["prev"] and r["next"]):
                near = np.linalg.norm(at - row["translation"], axis=1)
                # Where no moving actor is, something stands.
                track = np.zeros((NUM_SWEEPS, 3))
                if near.min() <= 1e-6:
                    track = moving[int(near.argmin())].centre_m
                velocity = nusc.box_velocity(row["token"])
                true = (track[sweep + 1] - track[sweep - 1]) / 0.1
                np.testing.assert_allclose(velocity[:2], true[:2], atol=0.8)
                mean = track[sweep + 10] - track[sweep - 10]
                np.testing.assert_allclose(velocity, mean, atol=1e-6)
                fast += np.linalg.norm(mean) > 1.0
                still += near.min() > 1e-6
    assert fast >= 10
    assert still >= 10


def test_the_lidar_frame_looks_forward_along_y(nusc):
    for scene in nusc.scene:
        first = nusc.get("sample", scene["first_sample_token"])
        last = nusc.get("sample", scene["last_sample_token"])
        rows = [nusc.get("sample_data", s["data"]["LIDAR_TOP"]) for s in (first, last)]
        poses = [nusc.get("ego_pose", row["ego_pose_token"]) for row in rows]
        calibration = nusc.get("calibrated_sensor", rows[0]["calibrated_sensor_token"])
        turn = (Quaternion(poses[0]["rotation"]) * Quaternion(calibration["rotation"])).inverse
        drive = np.subtract(poses[1]["translation"], poses[0]["translation"])
        assert np.linalg.norm(drive) > 1.0
        ahead = turn.rotate(drive / np.linalg.norm(drive))
        assert ahead[1] > 0.99
        assert Quaternion(calibration["rotation"]).yaw_pitch_roll[0] == pytest.approx(
            -np.pi / 2, abs=0.05
        )


def test_ground_truth_as_detections_scores_one(nusc, generated, tmp_path):
    results: dict[str, list] = {}
    validated = {scene["token"] for scene in nusc.scene if scene["name"] in splits.mini_val}
    for sample in (s for s in nusc.sample if s["scene_token"] in validated):
        found = results.setdefault(sample["token"], [])
        rows = [nusc.get("sample_annotation", token) for token in sample["anns"]]
        for row in (r for r in rows if r["num_lidar_pts"] > 0):
            name = category_to_detection_name(row["category_name"])
            attributes = [nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
            found.append(
                {
                    "sample_token": sample["token"],
                    "translation": row["translation"],
                    "size": row["size"],
                    "rotation": row["rotation"],
                    "velocity": np.nan_to_num(nusc.box_velocity(row["token"])[:2]).tolist(),
                    "detection_name": name,
                    "detection_score": 0.9,
                    "attribute_name": attributes[0] if attributes else "",
                }
            )
    meta = {f"use_{k}": k == "lidar" for k in ("camera", "lidar", "radar", "map", "external")}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"meta": meta, "results": results}))
    evaluation = NuScenesEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        str(path),
        "mini_val",
        str(tmp_path / "out"),
        verbose=False,
    )
    metrics, _ = evaluation.evaluate()
    present = {box.detection_name for box in evaluation.gt_boxes.all}
    assert len(present) >= 7
    for name in present:
        assert metrics.mean_dist_aps[name] == pytest.approx(1.0)
        assert metrics.get_label_tp(name, "trans_err") == pytest.approx(0.0, abs=1e-9)


def test_frames_are_as_dense_as_real_ones(generated):
    figures = json.loads((generated / "statistics.json").read_text())
    assert (figures["seed"], figures["scenes"]) == (SEED, 2)
    assert 10_000 < figures["occupied_pillars"]["median"] < 25_000
    assert 230_000 < figures["ten_sweep_points"]["median"] < 310_000
    assert 25 < figures["boxes_per_frame"] < 80
    frequent = figures["classes"]["car"]["boxes_per_frame"]
    assert all(row["boxes_per_frame"] <= 2 * frequent for row in figures["classes"].values())
    assert figures["classes"]["car"]["median_points_0_20m"] > 30


def test_occupied_pillars_counts_cells_in_range():
    xyz = np.array(
        [[0.1, 0.1, 0], [0.2, 0.2, 1], [0.4, 0.1, 0], [-0.1, 0.1, 0], [60, 0, 0], [5, 5, 9.0]]
    )
    assert occupied_pillars(xyz) == 3


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path):
    made = []
    for name, scenes, seed, workers in (("a", 2, 3, 1), ("b", 2, 3, 2), ("c", 1, 4, 1)):
        generate(tmp_path / name, scenes, seed, scene_seconds=0.6, workers=workers)
        made.append(digest(tmp_path / name))
    assert made[0] == made[1]
    assert len(made[0]) == 2 * 12 + 13 + 2 + 1 + 2 * 2 * 6
    assert set(made[0].values()).isdisjoint(
        value for name, value in made[2].items() if name.endswith(".bin")
    )


def test_an_existing_folder_is_not_touched_unless_asked(tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        generate(tmp_path, 1, 0, scene_seconds=0.05)
    with pytest.raises(FileExistsError, match=r"no statistics\.json"):
        generate(tmp_path, 1, 0, scene_seconds=0.05, overwrite=True)
    assert (tmp_path / "keep.txt").read_text() == "mine"
    generate(tmp_path / "new", 1, 0, scene_seconds=0.05)
    generate(tmp_path / "new", 1, 1, scene_seconds=0.1, overwrite=True)
    assert len(list((tmp_path / "new").rglob("*.bin"))) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keep.txt", "new"]


def test_two_writers_of_one_folder(tmp_path, monkeypatch):
    """The second to finish is told; a folder that merely looks like ours is the user's."""
    mine = tmp_path / "set.partial"
    mine.mkdir()
    (mine / "keep.txt").write_text("mine")
    real = dataset.summarise

    def slow(statistics):
        monkeypatch.setattr(dataset, "summarise", real)
        generate(tmp_path / "set", 1, 0, scene_seconds=0.05)
        return real(statistics)

    monkeypatch.setattr(dataset, "summarise", slow)
    with pytest.raises(FileExistsError, match="set is not empty"):
        generate(tmp_path / "set", 1, 1, scene_seconds=0.1)
    assert len(list((tmp_path / "set").rglob("*.bin"))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "set.partial"]
    assert (mine / "keep.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("count", "version", "train", "val"),
    [
        (1, "v1.0-mini", 1, 0),
        (2, "v1.0-mini", 1, 1),
        (5, "v1.0-mini", 4, 1),
        (10, "v1.0-mini", 8, 2),
        (20, "v1.0-trainval", 17, 3),
        (850, "v1.0-trainval", 700, 150),
    ],
)
def test_both_splits_get_scenes(count, version, train, val):
    names = scene_names(count, version)
    both = (splits.mini_train, splits.mini_val) if "mini" in version else (splits.train, splits.val)
    assert [len(set(names) & set(split)) for split in both] == [train, val]
    assert len(set(names)) == count


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_scenes": 0}, "num_scenes: expected 1 to 10"),
        ({"num_scenes": 11, "version": "v1.0-mini"}, "expected 1 to 10 for v1.0-mini, got 11"),
        ({"num_scenes": 1, "version": "v2"}, "version: expected"),
        ({"num_scenes": 1, "scene_seconds": 0.0}, "scene_seconds >= 0.05"),
        ({"num_scenes": 1, "workers": 0}, "workers >= 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / "x", seed=0, **more)
    assert not (tmp_path / "x").exists()


def test_real_statistics_and_the_printed_comparison(real_dir, generated):
    real = real_statistics(real_dir)
    assert real["boxes_per_frame"] == 69
    assert real["classes"]["barrier"]["boxes"] == 22
    assert real["occupied_pillars"]["median"] == pytest.approx(17_868, rel=0.001)
    assert real["ten_sweep_points"]["median"] == 271_156
    text = format_statistics(json.loads((generated / "statistics.json").read_text()), real)
    assert "(69.0)" in text
    assert "(22.00)" in text


def test_the_tool_writes_prints_and_refuses(tmp_path, repo_root):
    command = [
        sys.executable,
        "tools/make_synthetic.py",
        "--out",
        str(tmp_path / "d"),
        "--scenes",
        "1",
        "--scene-seconds",
        "0.5",
        "--workers",
        "1",
    ]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=True)
    assert "boxes per frame" in done.stdout
    again = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "is not empty" in again.stderr
    assert "Traceback" not in again.stderr
