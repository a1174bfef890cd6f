"""Folders of format 2: other names for two inputs and a table, the same boxes."""

import json
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from padre3d.deploy import Runtime  # noqa: E402
from padre3d.runtime.folder import sha256  # noqa: E402

NAMES = {
    "window_index": "places",
    "cell_to_pillar": "inverse",
    "backbone_features": "mixed",
}


def to_format_2(source, folder):
    """The folder as this project wrote it before: graphs, tables and manifest."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for model in manifest["models"]:
        for part in model["parts"]:
            path = folder / part["file"]
            graph = onnx.load(str(path))
            for value in (*graph.graph.input, *graph.graph.output):
                value.name = NAMES.get(value.name, value.name)
            for node in graph.graph.node:
                node.input[:] = [NAMES.get(name, name) for name in node.input]
                node.output[:] = [NAMES.get(name, name) for name in node.output]
            onnx.save(graph, str(path))
            for value in (*part["inputs"], *part["outputs"]):
                value["name"] = NAMES.get(value["name"], value["name"])
    with np.load(folder / "tables.npz") as tables:
        arrays = {NAMES.get(name, name): tables[name] for name in tables.files}
    np.savez(folder / "tables.npz", **arrays)
    manifest["format"] = 2
    manifest["tokens"] = manifest.pop("layout")
    manifest["sha256"] = {name: sha256(folder / name) for name in manifest["sha256"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("name", ["exported_padre", "exported_attention", "masked_parts"])
def test_format_2_finds_the_same_boxes(request, tmp_path, name):
    """Sequences, sets, and a graph in two parts."""
    export = request.getfixturevalue(name)
    cloud, folder = export.cloud, export.folder
    assert json.loads((folder / "manifest.json").read_text())["format"] == 3
    old = to_format_2(folder, tmp_path / "old")
    inputs = {value.name for p in old.glob("*.onnx") for value in onnx.load(str(p)).graph.input}
    assert {"places", "inverse"} <= inputs
    assert not {"window_index", "cell_to_pillar", "backbone_features"} & inputs
    expected, detections = Runtime(folder)(cloud), Runtime(old)(cloud)
    assert len(expected.scores) > 5
    for a, b in zip(detections, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_of_format_3_do_not_make_a_folder_of_format_2(exported_padre, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(exported_padre.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"format": 2}, {"tokens": manifest.pop("layout")}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ValueError, match="missing required field `layout`"):
            Runtime(folder)
