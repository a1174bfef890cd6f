"""Whatever a checkpoint, manifest, info file or table holds: it is usable, or one documented error.

``make fuzz`` runs more inputs (PADRE3D_FUZZ_INPUTS for each reader).
"""

import json
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mmdet3d")
from file_inputs import checkpoint_input, json_input, npz_input, pickle_input
from mmengine.logging import MMLogger
from test_point_readers import INPUTS, MOST_BYTES, MOST_CPU_S, SEED, peak_bytes
from tiny_nuscenes import write_tiny_nuscenes

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.gt_sampling import load_database
from padre3d.data.infos import frame_info
from padre3d.data.nuscenes_tables import (
    check_poses,
    naming_tables,
    open_nuscenes,
    point_files_of,
    samples_of_splits,
)
from padre3d.data.point_files import read_pickle
from padre3d.data.prepare import prepare_nuscenes
from padre3d.runtime.manifest import parse_manifest
from padre3d.runtime.tables import load_tables
from padre3d.training.checkpoint import fit_state, load_checkpoint_file, training_checkpoint

ERRORS = (ValueError, FileNotFoundError)
TABLE_SWEEPS = 2


def run(kind, path, make, read):
    """Try all inputs; the number that could be read."""
    before, good = peak_bytes(), 0
    for number in range(INPUTS):
        name = f"{kind} input {number} of seed {SEED}"
        rng = np.random.default_rng([SEED, sum(map(ord, kind)), number])
        path.write_bytes(make(rng))
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
            good += 1
        except ERRORS as error:
            _check_names(error, path, name)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r} escaped") from error
        assert time.process_time() - start < MOST_CPU_S, name
    assert peak_bytes() - before < MOST_BYTES
    # Otherwise the generators have come to make nothing but noise, or nothing wrong.
    assert INPUTS / 50 < good < INPUTS * 0.9, good
    return good


def _check_names(error, path, name):
    """Every error names its file, or the folder that it is in."""
    assert path.name in str(error) or str(path.parent) in str(error), f"{name}: {error}"


class Net(nn.Module):
    """What the checkpoints are of."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        self.register_buffer("count", torch.tensor(0))


def test_checkpoints(tmp_path):
    model = Net()

    def read(path):
        model.load_state_dict(fit_state(model, load_checkpoint_file(path), path))
        assert torch.isfinite(model.weight).all()
        training_checkpoint(path)

    run("checkpoint", tmp_path / "epoch_1.pth", checkpoint_input, read)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A prepared data set."""
    path = write_tiny_nuscenes(tmp_path_factory.mktemp("tiny") / "nuscenes")
    prepare_nuscenes(path, "v1.0-mini", max_sweeps=TABLE_SWEEPS)
    return path


def test_info_files(tmp_path, root):
    infos = read_pickle(root / "nuscenes_infos_val.pkl", "an info file")
    infos["data_list"] = infos["data_list"][:2]
    # It logs a table for every data set.
    MMLogger.get_current_instance().setLevel("ERROR")

    def read(path):
        prefix = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
        data = NuScenesSweepsDataset(
            str(tmp_path), path.name, data_prefix=prefix, test_mode=True, lazy_init=True
        )
        for info in data.load_data_list():
            # Objects of no class are left out.
            assert len(info["eval_ann_info"]["gt_bboxes_3d"]) <= len(info["instances"])

    run("infos", tmp_path / "infos.pkl", lambda rng: pickle_input(infos, rng), read)


def test_databases(tmp_path, root):
    entries = read_pickle(root / "nuscenes_dbinfos_train.pkl", "a database")
    entries = {name: objects[:2] for name, objects in entries.items()}

    def read(path):
        for boxes, files in load_database(path, 1).values():
            assert boxes.shape == (len(files), 9)

    run("database", tmp_path / "db.pkl", lambda rng: pickle_input(entries, rng), read)


def test_manifests(tmp_path, exported_padre):
    manifest = json.loads((exported_padre.folder / "manifest.json").read_text())
    run("manifest", tmp_path / "manifest.json", lambda rng: json_input(manifest, rng), _manifest)


def _manifest(path):
    assert parse_manifest(path.parent).models[0].parts


def test_runtime_tables(tmp_path, exported_padre):
    manifest = parse_manifest(exported_padre.folder)
    with np.load(exported_padre.folder / "tables.npz") as loaded:
        arrays = dict(loaded)
    run(
        "tables",
        tmp_path / "tables.npz",
        lambda rng: npz_input(arrays, rng),
        lambda path: load_tables(path, manifest),
    )


def test_nuscenes_tables(root):
    folder = root / "v1.0-mini"
    tables = sorted(folder.glob("*.json"))
    before = {path: path.read_bytes() for path in tables}
    contents = {path: json.loads(text) for path, text in before.items()}
    changed = tables[0]

    def make(rng):
        nonlocal changed
        changed.write_bytes(before[changed])
        changed = tables[rng.integers(len(tables))]
        changed.write_bytes(json_input(contents[changed], rng))
        return b""

    def read(_):
        with naming_tables(folder):
            nusc = open_nuscenes(root, folder.name)
            check_poses(nusc)
            samples = samples_of_splits(nusc)
            for records in samples.values():
                point_files_of(nusc, records[:1], TABLE_SWEEPS)
                info = frame_info(nusc, records[0], 0, max_sweeps=TABLE_SWEEPS)
                assert np.isfinite(info["lidar_points"]["lidar2ego"]).all()

    try:
        run("nuscenes", root / "unused", make, read)
    finally:
        changed.write_bytes(before[changed])
