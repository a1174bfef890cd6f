import shutil

import numpy as np
import pytest
from mmengine.fileio import load

from padre3d.data.datasets import NuScenesSweepsDataset, SeededCBGSDataset
from padre3d.data.point_files import write_pickle
from padre3d.data.prepare import prepare_nuscenes
from padre3d.structures.classes import NUSCENES_CLASSES

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
FILE = "nuscenes_infos_train.pkl"


def build(root, classes=NUSCENES_CLASSES, ann_file=FILE, **kwargs):
    return NuScenesSweepsDataset(
        str(root), ann_file, data_prefix=PREFIX, metainfo=dict(classes=classes), **kwargs
    )


def labels_of(dataset, index=0):
    return dataset.get_data_info(index)["ann_info"]["gt_labels_3d"].tolist()


def test_labels_follow_the_order_of_the_classes(tiny_nuscenes):
    # Objects: car, truck, pedestrian, traffic_cone, bicycle, animal.
    assert labels_of(build(tiny_nuscenes)) == [0, 1, 8, 9, 7, -1]
    assert labels_of(build(tiny_nuscenes, ("bicycle", "car"))) == [1, -1, -1, -1, 0, -1]


def test_version_and_paths_come_from_the_info_file(tiny_nuscenes):
    meta = build(tiny_nuscenes).metainfo
    assert meta["version"] == "v1.0-mini"
    assert meta["classes"] == NUSCENES_CLASSES
    assert meta["ann_file"] == str(tiny_nuscenes / FILE)
    assert meta["data_root"] == str(tiny_nuscenes)
    given = NuScenesSweepsDataset(
        str(tiny_nuscenes), FILE, data_prefix=PREFIX, metainfo=dict(version="v1.0-trainval")
    )
    assert given.metainfo["version"] == "v1.0-trainval"


def test_samples_carry_the_classes(tiny_nuscenes):
    classes = ("bicycle", "car")
    assert build(tiny_nuscenes, classes).get_data_info(2)["classes"] == classes


def test_unknown_class_is_named(tiny_nuscenes):
    with pytest.raises(ValueError, match=r"expected classes among .*'car'.* unknown \['tram'\]"):
        build(tiny_nuscenes, ("car", "tram"))


def test_missing_and_old_info_files_say_what_to_do(tiny_nuscenes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.pkl; make it with tools/create_data\.py"):
        build(tiny_nuscenes, ann_file="no.pkl")
    write_pickle(tmp_path / FILE, {"infos": [], "metadata": {}})
    with pytest.raises(ValueError, match="expected an mmdet3d 1.1"):
        build(tmp_path)


def test_sweeps_resolve_below_a_folder_called_samples(tiny_nuscenes, tmp_path):
    root = tmp_path / "samples" / "nuscenes"
    shutil.copytree(tiny_nuscenes, root)
    infos = load(root / FILE)
    for info in infos["data_list"]:
        for sweep in info.get("lidar_sweeps", []):
            points = sweep["lidar_points"]
            points["lidar_path"] = str(root / points["lidar_path"])
    write_pickle(root / FILE, infos)
    paths = [
        sweep["lidar_points"]["lidar_path"]
        for sweep in build(root).get_data_info(2)["lidar_sweeps"]
    ]
    assert [p.split("/")[-3] for p in paths] == ["sweeps"] * 9 + ["samples"]
    # Class of mmdet3d: a word in the path decides.
    assert all(np.fromfile(p, np.float32).size for p in paths)


def test_own_categories(raw_root):
    own = {"animal": "animal", "vehicle.car": "vehicle", "vehicle.truck": "vehicle"}
    prepare_nuscenes(raw_root, "v1.0-mini", categories=own)
    assert labels_of(build(raw_root, ("vehicle", "animal"))) == [0, 0, -1, -1, -1, 1]
    assert set(load(raw_root / "nuscenes_dbinfos_train.pkl")) == {"vehicle", "animal"}


class Frames:
    """A data set of frames that hold the given labels."""

    def __init__(self, labels, classes):
        self.labels = labels
        self.metainfo = dict(classes=classes)

    def full_init(self):
        pass

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, index):
        return self.labels[index]


def indices(labels, classes, seed=0):
    wrapper = SeededCBGSDataset.__new__(SeededCBGSDataset)
    wrapper.seed, wrapper._metainfo = seed, dict(classes=classes)
    return wrapper._get_sample_indices(Frames(labels, classes))


def test_cbgs_draws_every_class_equally_often():
    # 90 frames with a car, 10 of them with a bus too: 100 pairs, 50 for each class.
    labels = [{0, -1}] * 80 + [{0, 1}] * 10 + [{-1}] * 5
    chosen = indices(labels, ("car", "bus"))
    assert len(chosen) == 100
    assert set(chosen[50:]) <= set(range(80, 90))
    assert set(chosen[:50]) <= set(range(90))
    assert len(set(chosen[:50])) > 30


def test_cbgs_leaves_out_absent_classes():
    chosen = indices([{0}, {0}, {2}, {-1}], ("car", "bus", "trailer"))
    assert len(chosen) == 2
    assert chosen[0] in (0, 1)
    assert chosen[1] == 2
    with pytest.raises(ValueError, match="found none"):
        indices([{-1}, set()], ("car",))


def test_cbgs_depends_on_its_seed_alone(tiny_nuscenes):
    np.random.seed(1)
    first = SeededCBGSDataset(build(tiny_nuscenes)).sample_indices
    np.random.seed(2)
    assert SeededCBGSDataset(build(tiny_nuscenes)).sample_indices == first
    assert SeededCBGSDataset(build(tiny_nuscenes), seed=5).sample_indices != first
    assert len(first) == 20
