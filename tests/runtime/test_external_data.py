"""Weights outside of an ONNX file: found without the onnx package, and only where they may be."""

import json
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from padre3d.runtime.folder import sha256  # noqa: E402
from padre3d.runtime.manifest import read_manifest  # noqa: E402
from padre3d.runtime.onnx_external import external_files  # noqa: E402


def external(name, location):
    """A tensor whose data are in another file."""
    tensor = onnx.numpy_helper.from_array(np.zeros(300, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=1200)
    tensor.ClearField("raw_data")
    return tensor


def graph(*tensors, nodes=(), sparse=()):
    return onnx.helper.make_graph(nodes, "g", [], [], tensors, sparse_initializer=sparse)


def model_of(holder, tensor):
    """A model with the tensor in one of the fields where a tensor can be."""
    make, constant = onnx.helper.make_node, "Constant"
    body = {
        "initializer": lambda: graph(tensor),
        "constant": lambda: graph(nodes=[make(constant, [], ["a"], value=tensor)]),
        "list": lambda: graph(nodes=[make(constant, [], ["a"], values=[tensor])]),
        "branch": lambda: graph(
            nodes=[make("If", ["c"], ["a"], then_branch=graph(tensor), else_branch=graph())]
        ),
        "branches": lambda: graph(nodes=[make("If", ["c"], ["a"], many=[graph(), graph(tensor)])]),
        "sparse": lambda: graph(
            sparse=[
                onnx.SparseTensorProto(
                    values=tensor,
                    indices=onnx.numpy_helper.from_array(np.zeros(300, np.int64), "i"),
                    dims=[300],
                )
            ]
        ),
        "function": graph,
        "training": graph,
    }[holder]()
    model = onnx.helper.make_model(body)
    if holder == "function":
        node = make(constant, [], ["a"], value=tensor)
        opset = [onnx.helper.make_opsetid("", 20)]
        model.functions.append(onnx.helper.make_function("d", "f", [], ["a"], [node], opset))
    if holder == "training":
        model.training_info.add().initialization.CopyFrom(graph(tensor))
    return model


HOLDERS = (
    *("initializer", "constant", "list", "branch", "branches", "sparse", "function", "training"),
)


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_holder_is_looked_at(tmp_path, holder):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(holder, external("w", "../secret")).SerializeToString())
    assert external_files(path) == {"../secret"}


def test_whole_models_have_none(exported_padre, tmp_path):
    assert external_files(exported_padre.folder / "model.onnx") == set()
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    assert external_files(path) == set()


def test_damaged_files(exported_padre, tmp_path):
    """Cut off anywhere, or noise: a ValueError that names the file, if anything."""
    path, whole = tmp_path / "model.onnx", (exported_padre.folder / "model.onnx").read_bytes()
    refused = 0
    random = np.random.default_rng(0)
    for i in range(60):
        noise = random.integers(0, 256, 300, np.uint8).tobytes()
        path.write_bytes(noise if i % 2 else whole[: int(random.integers(len(whole)))])
        try:
            external_files(path)
        except ValueError as error:
            refused += f"{path}: expected an ONNX model that loads" in str(error)
    assert refused > 50
    path.write_bytes(b"\x3a" + b"\xff" * 30)
    with pytest.raises(ValueError, match="a number without end"):
        external_files(path)


def test_only_files_of_the_manifest(exported_padre, tmp_path):
    """Weights in a listed file load; an unlisted, changed or outside one is refused."""
    folder = tmp_path / "out"
    shutil.copytree(exported_padre.folder, folder)
    path = folder / "model.onnx"
    model = onnx.load(str(path))
    onnx.save(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=100
    )
    assert external_files(path) == {"weights.bin"}
    manifest = json.loads((folder / "manifest.json").read_text())

    def write(*names):
        manifest["sha256"] = {name: sha256(folder / name) for name in names}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    write("model.onnx", "tables.npz")
    with pytest.raises(ValueError, match="weights in files of the manifest, got 'weights.bin'"):
        read_manifest(folder)
    write("model.onnx", "tables.npz", "weights.bin")
    read_manifest(folder)
    from padre3d.deploy import Runtime

    cloud = exported_padre.cloud
    np.testing.assert_allclose(
        Runtime(folder)(cloud).scores, Runtime(exported_padre.folder)(cloud).scores, atol=1e-6
    )
    content = (folder / "weights.bin").read_bytes()
    (folder / "weights.bin").write_bytes(content[:-1] + b"\x07")
    with pytest.raises(ValueError, match="weights.bin: expected the exported file with sha256"):
        read_manifest(folder)
    for location in ("../weights.bin", str(tmp_path / "weights.bin"), ""):
        path.write_bytes(model_of("initializer", external("w", location)).SerializeToString())
        write("model.onnx", "tables.npz")
        with pytest.raises(ValueError, match="model.onnx: expected external weights in files of"):
            read_manifest(folder)
